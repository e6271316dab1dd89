//! I/O: what touches sockets, clocks, files and collectors.

pub mod process;
pub mod spans;
pub mod telemetry;
