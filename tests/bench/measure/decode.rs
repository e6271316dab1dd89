//! Decoding alone: bytes of a line in, an event out; beside it serde_json's own speed for the same
//! lines.

use std::hint::black_box;

use oncewatch::detect::event::Event;

use super::cpu;
use super::floor;
use super::wire::{Protocol, Writer};
use super::workload::{Act, Mix, Workload};

/// Distinct lines: more than a branch predictor learns by heart.
const LINES: usize = 4096;

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[arg(value_enum)]
    pub case: Case,
    #[arg(long, default_value_t = 100_000)]
    pub events: usize,
    /// Make the lines and do not decode them: what a count of instructions has to leave out
    #[arg(long)]
    pub idle: bool,
    /// Read no clock: rustix reads it in a way that valgrind does not support
    #[arg(long)]
    pub no_clock: bool,
}

/// What is decoded, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    Start,
    End,
    /// All events of the mixed workload.
    Mixed,
    /// The same by the floor harness.
    Floor,
}

/// CPU time per event in nanoseconds, and the mean length of a line in bytes.
///
/// # Panics
/// When a line cannot be decoded.
pub fn run(options: &Options) -> (f64, f64) {
    let clock = cpu::clock(options.no_clock);
    let lines = lines(options.case);
    let bytes: usize = lines.iter().map(Vec::len).sum();
    let begun = clock();
    let events = if options.idle { 0 } else { options.events };
    for line in lines.iter().cycle().take(events) {
        if options.case == Case::Floor {
            assert!(black_box(floor::decode(line)).is_some());
        } else {
            assert!(black_box(Event::decode(line)).is_ok());
        }
    }
    let spent = (clock() - begun).as_nanos() as f64;
    (
        spent / options.events as f64,
        bytes as f64 / lines.len() as f64,
    )
}

fn lines(case: Case) -> Vec<Vec<u8>> {
    let mut workload = Workload::new(Mix::Mixed, 0, 1);
    let writer = Writer::new(Protocol::Oncewatch, 0, "");
    let mut lines = Vec::new();
    while lines.len() < LINES {
        let (call, step) = workload.next_event();
        let wanted = match case {
            Case::Start => step.act == Act::Start,
            Case::End => step.act == Act::Ok,
            Case::Mixed | Case::Floor => true,
        };
        if wanted {
            let mut line = Vec::new();
            writer.write(call, step, &mut line);
            line.pop();
            lines.push(line);
        }
    }
    lines
}
