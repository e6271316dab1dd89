//! Tells the oncewatch sidecar how this process uses idempotency tokens.
//!
#![cfg_attr(feature = "aws-sdk", doc = "```no_run")]
#![cfg_attr(not(feature = "aws-sdk"), doc = "```ignore")]
//! # fn example(shared: &aws_sdk_dynamodb::Config) {
//! let config = shared.to_builder().interceptor(oncewatch_client::Dynamodb::new()).build();
//! let dynamodb = aws_sdk_dynamodb::Client::from_conf(config);
//! # }
//! ```
//!
//! [`begin`] is for any other API that takes a token. This library only observes: nothing here waits for the sidecar,
//! fails because of it, or changes a request. `README.md` has the limits.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
// Nothing here may throw into the application.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

mod attempt;
#[cfg(feature = "aws-sdk")]
mod dynamodb;
mod event;
mod fingerprint;
mod json;
mod sender;
mod settings;
mod transport;

#[cfg(test)]
mod testing;

use std::time::Duration;

pub use attempt::{Answer, Attempt, Options, begin};
#[cfg(feature = "aws-sdk")]
pub use dynamodb::Dynamodb;
pub use event::{Outcome, TokenOrigin};
pub use fingerprint::{Fingerprint, canonical, fingerprint};
pub use transport::Stats;

/// How long [`FlushOnDrop`] waits.
const FLUSH: Duration = Duration::from_millis(200);

/// Waits at most `timeout` until every queued event is written; true if all are.
///
/// It blocks the calling thread, so in asynchronous code it belongs at the end of `main`.
pub fn flush(timeout: Duration) -> bool {
    transport::current().is_none_or(|transport| transport.flush(timeout))
}

/// What this process has sent and dropped so far.
pub fn stats() -> Stats {
    transport::current()
        .map(transport::Transport::stats)
        .unwrap_or_default()
}

/// Gives waiting events at most 200 ms when it goes out of scope; see [`flush_on_drop`].
#[derive(Debug)]
#[must_use = "it flushes when it is dropped: keep it until the end of main"]
pub struct FlushOnDrop(());

/// For the first line of `main`: `let _flush = oncewatch_client::flush_on_drop();`.
///
/// Rust ends a process without waiting for its threads, so events of the last few milliseconds would be lost.
/// `std::process::exit` runs no destructors: call [`flush`] before it.
pub fn flush_on_drop() -> FlushOnDrop {
    FlushOnDrop(())
}

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        flush(FLUSH);
    }
}
