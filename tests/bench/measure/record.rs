//! A recording for `oncewatch analyze`: the mixed workload with times of its own.

use std::io::{self, BufWriter, Write};

use super::wire::{Protocol, Writer};
use super::workload::{Mix, Workload};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[arg(long)]
    pub events: u64,
    /// Events for each second of recorded time
    #[arg(long, default_value_t = 1000)]
    pub rate: u64,
}

pub fn run(options: &Options) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut workload = Workload::new(Mix::Mixed, 0, 1);
    let mut writer = Writer::new(Protocol::Oncewatch, 0, "");
    let mut line = Vec::new();
    for number in 0..options.events {
        writer.set_clock_micros(1_700_000_000_000_000 + number * 1_000_000 / options.rate);
        line.clear();
        let (call, step) = workload.next_event();
        writer.write(call, step, &mut line);
        out.write_all(&line)?;
    }
    out.flush()
}
