//! What is fuzzed: functions from arbitrary bytes to a check that panics.
//!
//! Used twice: by the fuzzer (`tests/fuzz/run`), and by `cargo test`, which replays the inputs that
//! the fuzzer kept (`tests/fuzz.rs`). A new target is a function here, a program in `fuzz_targets`
//! with its entry in `Cargo.toml`, and files in `seeds` and
//! `corpus`; the run script and the test find it.

// Each program uses one.
#![allow(dead_code)]

#[path = "targets/config.rs"]
mod config;
#[path = "targets/decode.rs"]
mod decode;
#[path = "targets/framing.rs"]
mod framing;
#[path = "targets/http.rs"]
mod http;
#[path = "targets/judge.rs"]
mod judge;
#[path = "targets/state.rs"]
mod state;

/// A check by name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Target; 6] = [
    ("config", config::check),
    ("decode", decode::check),
    ("framing", framing::check),
    ("http", http::check),
    ("judge", judge::check),
    ("state", state::check),
];

/// Longest input that says anything; longer ones only cost time.
pub const BYTES_MAX: usize = 4096;

/// Runs one target on one input.
pub fn run(name: &str, data: &[u8]) {
    let target = ALL.iter().find(|(known, _)| *known == name);
    let (_, check) = target.expect("a target of this name");
    if data.len() <= BYTES_MAX {
        check(data);
    }
}
