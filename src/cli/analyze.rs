//! `oncewatch analyze`: judges recordings by their own times (SPEC §4, fine print 9).

mod merge;
mod report;
mod source;
mod summary;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::terminal::counted;
use super::{Environment, Failure, SettingFlags};
use crate::config::{Flags, Settings};
use crate::daemon;
use crate::detect::event::{Event, Kind, Reason};
use crate::detect::finding::{Observation, Verdicts};
use crate::detect::time::Timestamp;
use crate::detect::verdict::Severity;
use crate::detect::{Detector, Options, Source as Sender, Trace};
use crate::edge::clock;
use crate::edge::display::TokenDisplay;
use merge::Place;
use report::Report;
use source::Source;
use summary::Tally;

/// Arguments of `analyze`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every event needs `at`; it drives the clock. Several files are merged by it. Nothing is judged after
the last event: attempts that are still open are listed in the summary. Findings go to standard
output, progress and summary to standard error.

Examples:
  oncewatch analyze events.ndjson
  zcat old/*.gz | oncewatch analyze - --min-severity info
  oncewatch analyze pod-*.ndjson --format json | jq .verdict
  oncewatch analyze events.ndjson --fail-on critical     for a test pipeline

Exit codes: 0 done, 1 a file could not be read (the others are judged), 2 bad usage, 3 --fail-on met.")]
pub struct Arguments {
    /// Files with one event a line, as applications send them; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// table: for people; json: one finding a line, in order of time, and nothing else
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Mildest verdicts printed [info, warning, error, critical]; info prints every verdict
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    min_severity: Severity,
    /// Exit with 3 if there is a verdict of this severity or worse
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    #[command(flatten)]
    settings: SettingFlags<false>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let settings = arguments.settings.load(environment)?;
    if arguments
        .files
        .iter()
        .filter(|file| file.as_os_str() == "-")
        .count()
        > 1
    {
        let text = "FILE: standard input (-) can be read only once";
        return Err(Failure::Usage(text.to_owned()));
    }
    let display = token_display(&settings, &arguments.settings.0)?;
    let mut unreadable = Vec::new();
    let chunk_bytes = source::chunk_bytes(arguments.files.len());
    let mut sources = Vec::new();
    for path in &arguments.files {
        match Source::open(path, settings.max_line_bytes, chunk_bytes) {
            Ok(source) => sources.push(source),
            Err(error) => unreadable.push(cannot_read(&path.to_string_lossy(), &error)),
        }
    }
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    let mut judge = Judge {
        detector: Detector::for_recordings(settings.profiles, options(arguments.min_severity)?),
        out: Verdicts::default(),
        tally: Tally::default(),
        report: match arguments.format {
            Format::Json => Report::json(display),
            Format::Table => Report::table(display),
        },
        progress: progress_bar(&sources, arguments.format),
    };
    let begun = clock::now();
    let read = merge::run(sources, &mut judge)?;
    if let Some(bar) = &judge.progress {
        bar.finish_and_clear();
    }
    judge.report.write_block()?;
    unreadable.extend(read.iter().map(|(name, error)| cannot_read(name, error)));
    let mut err = anstream::stderr().lock();
    let took = clock::now().since(begun);
    if std::io::stdout().is_terminal() {
        let _ = writeln!(err);
    }
    // Who closed standard error does not want the summary.
    let _ = judge
        .tally
        .print(&mut err, &names, &judge.detector, &judge.report, took);
    let _ = err.flush();
    let found = arguments
        .fail_on
        .map_or(0, |least| judge.tally.at_least(least));
    match (unreadable.is_empty(), arguments.fail_on) {
        (false, _) => Err(Failure::Failed(unreadable.join("\n"))),
        (true, Some(least)) if found > 0 => Err(Failure::Found(format!(
            "--fail-on {least}: {} of this severity or worse",
            counted(found, "verdict")
        ))),
        _ => Ok(()),
    }
}

/// Everything that one event passes through.
pub struct Judge {
    detector: Detector,
    out: Verdicts,
    tally: Tally,
    report: Report,
    progress: Option<indicatif::ProgressBar>,
}

impl Judge {
    fn event(&mut self, event: &Event<'_>, at: Timestamp, place: Place) -> std::io::Result<()> {
        self.tally.saw_time(at, place);
        self.out.clear();
        self.detector
            .handle_event(event, Sender::default(), at, &mut self.out);
        for observation in &self.out.observations {
            match observation {
                Observation::Duplicate => self.tally.reject(Reason::Duplicate, place),
                other => self.tally.count(other),
            }
        }
        self.tally.confirmed += self.out.confirmed.len() as u64;
        for finding in &self.out.findings {
            self.report.write(finding)?;
        }
        let report = &mut self.report;
        match &self.progress {
            _ if !report.is_due() => Ok(()),
            Some(bar) => bar.suspend(|| report.write_block()),
            None => report.write_block(),
        }
    }

    fn reject(&mut self, reason: Reason, place: Place) {
        self.tally.reject(reason, place);
    }

    /// Brings out what is known before a read that may take long.
    fn before_waiting(&mut self) -> std::io::Result<()> {
        self.report.flush()
    }

    fn read_bytes(&self, bytes: u64) {
        if let Some(bar) = &self.progress {
            bar.inc(bytes);
        }
    }
}

/// A progress bar for what takes longer than a moment, on a terminal only, and not between lines of
/// JSON.
fn progress_bar(sources: &[Source], format: Format) -> Option<indicatif::ProgressBar> {
    const WORTH_BYTES: u64 = 16 << 20;
    let bytes: u64 = sources.iter().filter_map(|source| source.bytes_total).sum();
    let mixed = format == Format::Json && std::io::stdout().is_terminal();
    if bytes < WORTH_BYTES || mixed || !std::io::stderr().is_terminal() {
        return None;
    }
    let template = "{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    let style = indicatif::ProgressStyle::with_template(template).ok()?;
    Some(indicatif::ProgressBar::new(bytes).with_style(style))
}

fn options(min_severity: Severity) -> Result<Options, Failure> {
    Ok(Options {
        detail: min_severity,
        trace: Trace::Off,
        hash_key: daemon::table_key().map_err(no_random_bytes)?,
    })
}

/// Tokens in full unless the flag says otherwise: the input has them anyway, so neither file nor
/// environment, which are made for the sidecar, hide them here.
fn token_display(settings: &Settings, flags: &Flags) -> Result<TokenDisplay, Failure> {
    if flags.contains_key("token-display") {
        daemon::token_display(settings, None).map_err(no_random_bytes)
    } else {
        Ok(TokenDisplay::Full)
    }
}

fn no_random_bytes(error: std::io::Error) -> Failure {
    Failure::Failed(format!("no random bytes: {error}"))
}

fn cannot_read(name: &str, error: &std::io::Error) -> String {
    format!("cannot read {}: {error}", super::terminal::printable(name))
}

/// Position of a kind in [`Kind::ALL`].
fn kind_index(kind: Kind) -> usize {
    Kind::ALL
        .iter()
        .position(|other| *other == kind)
        .unwrap_or(0)
}
