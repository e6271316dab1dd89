//! oncewatch shows what happens to idempotency tokens: which are retried correctly, which collide
//! in flight, are reused too late, carry other parameters, or were replaced by a fresh token while
//! the first outcome was unknown, which silently writes twice.
//!
//! # Layers
//!
//! Dependencies run one way, and a test holds them to it:
//!
//! ```text
//! main → cli → daemon → edge → pipeline → metrics → detect
//! ```
//!
//! | room | does |
//! |---|---|
//! | [`cli`] | one file per command |
//! | [`daemon`] | composition root: builds the parts, binds, owns tasks and the order of shutdown |
//! | [`edge`] | all I/O: sockets, HTTP, spans, logs, signals, the state on disk, and the only clock |
//! | [`pipeline`] | one event through the detector and out to its effects; sole owner of the lock |
//! | [`metrics`] | every Prometheus series |
//! | [`detect`] | the rules: events, profiles, tokens, verdicts; no I/O, clock, lock or async |
//!
//! [`config`] stands beside them: every setting, and the only reader of the environment. It knows
//! nothing of the others but what a profile is.
//!
//! # The path of one event
//!
//! 1. A reader thread of [`edge::ingest`] takes all that a socket holds, cuts it into lines and
//!    reads the clock once. If the client said hello, they are numbered, and acknowledged once what
//!    follows is done.
//! 2. [`pipeline::Pipeline::process`] decodes the lines ([`detect::event`]), and judges them under
//!    the lock.
//! 3. [`detect::Detector::handle_event`] first handles the deadlines up to now, then finds the
//!    token, gives the start or end its verdict, and derives everything that follows: status,
//!    bounds, the place among the undecided.
//!    With a state directory, what a batch changed is handed to the system before it is told
//!    ([`detect::journal`], [`edge::state`]).
//! 4. Outside the lock, [`metrics::Metrics`] counts what was said; findings and complete lifecycles
//!    leave on bounded channels, to the log, the API and the span exporter. A full channel drops
//!    and counts; it never waits.
//!
//! # Invariants
//!
//! - Nothing a client sends can block, crash or grow the process without bound. Every bound that is
//!   hit is counted.
//! - `now` is an argument. Recordings and live events go through the same detector.
//! - A token is changed only through `Detector::with_token`, which derives what follows; no rule
//!   can forget to.
//! - In the table, list order is expiry order: a sighting both promotes and renews.
//! - What tokens take is bounded in bytes, for all tables together, not only in number.
//! - Tokens leave the process only as `--token-display` says.
//! - What is deliberately absent: any way to influence the application. oncewatch only observes.

#![forbid(unsafe_code)]
// Tests measure how long something takes, and make temporary directories.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod cli;
pub mod config;
pub mod daemon;
pub mod detect;
pub mod edge;
pub mod metrics;
pub mod pipeline;
