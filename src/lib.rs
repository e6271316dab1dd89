//! oncewatch: shows what happens to idempotency tokens.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod detect;
pub mod edge;
pub mod metrics;
pub mod pipeline;
