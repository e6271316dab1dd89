//! A token as bytes. What repeats (fingerprints, traces, who sent what) is written once; times are
//! written as the distance from the last sighting, orders as that from the lifecycle's.

mod read;
mod write;

pub use read::read;
pub use write::write;
