//! oncewatch: shows what happens to idempotency tokens.

pub mod detect;
pub mod metrics;
pub mod pipeline;
