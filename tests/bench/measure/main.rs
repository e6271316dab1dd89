//! The programs of the benchmark that must be fast. `tests/bench/run` calls them; each prints one
//! line of JSON.

// A benchmark measures how long something takes.
#![allow(clippy::disallowed_methods)]

mod cpu;
mod decode;
mod detector;
mod endpoint;
mod floor;
mod latency;
mod load;
mod record;
mod wire;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    program: Option<Program>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Program {
    /// Send events to a server
    Load(load::Options),
    /// Serve one connection with the least work that is possible
    Floor(floor::Options),
    /// Judge decoded events
    Detector(detector::Options),
    /// Decode lines
    Decode(decode::Options),
    /// Time from a write to the finding it causes
    Latency(latency::Options),
    /// Write a recording for offline analysis to standard output
    Record(record::Options),
}

fn main() -> ExitCode {
    let Some(program) = Arguments::parse().program else {
        println!("run tests/bench/run, or name a program: --help");
        return ExitCode::SUCCESS;
    };
    let outcome = match program {
        Program::Load(options) => load::run(&options),
        Program::Floor(options) => floor::run(&options),
        Program::Latency(options) => latency::run(&options),
        Program::Record(options) => record::run(&options),
        Program::Detector(options) => {
            println!("{{\"ns_per_event\":{:.1}}}", detector::run(&options));
            Ok(())
        }
        Program::Decode(options) => {
            let (ns, bytes) = decode::run(&options);
            println!("{{\"ns_per_event\":{ns:.1},\"bytes_per_event\":{bytes:.1}}}");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
