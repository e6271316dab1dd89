//! I/O: everything that touches sockets, files or clocks.

pub mod ingest;
