//! I/O around the pipeline: the clock, signals, sockets and what leaves the process.

pub mod admin;
pub mod cgroup;
pub mod clock;
pub mod descriptors;
pub mod display;
pub mod findings;
pub mod http;
pub mod ingest;
pub mod probes;
pub mod process;
pub mod signal;
pub mod spans;
pub mod state;
pub mod telemetry;
pub mod throttle;
