//! oncewatch: shows what happens to idempotency tokens.

// Tests measure how long something takes, and make temporary directories.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod cli;
pub mod config;
pub mod daemon;
pub mod detect;
pub mod edge;
pub mod metrics;
pub mod pipeline;
