//! The commands, a file each, and what they share: flags, failures, terminal output.

pub mod analyze;
mod check_config;
mod demo;
mod explain;
mod flags;
mod send;
mod terminal;
mod top;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Problems, Settings};
use crate::daemon;
use crate::detect::profile::parse_duration;
use crate::edge::spans::SpanSettings;
pub use flags::{Environment, SettingFlags};

const EXAMPLES: &str = "\
Examples:
  oncewatch demo                          see every verdict within 30 seconds
  oncewatch analyze events.ndjson         judge what was recorded
  oncewatch top                           watch a running sidecar in the terminal
  oncewatch explain reuse_after_window    what a verdict means and what to do
  oncewatch run --metrics-addr 0.0.0.0:9464

Exit codes: 0 done, 1 failed while running, 2 bad usage or configuration, 3 --fail-on met.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "oncewatch",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ONCEWATCH_REVISION"), ")"),
    about = "Shows what happens to idempotency tokens",
    long_about = "Shows what happens to idempotency tokens.\n\n\
        Applications in the same pod tell oncewatch over a Unix socket which token each of their requests\n\
        carries. It remembers each token for as long as it matters, says in words what is wrong (used again\n\
        too late, held by another process, sent with other parameters, replaced while the outcome was\n\
        unknown), and exports Prometheus metrics and OpenTelemetry spans. It only observes: it cannot slow\n\
        down or break the application.",
    after_help = EXAMPLES,
    max_term_width = 100,
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar until SIGTERM or Ctrl-C
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        #[command(flatten)]
        settings: SettingFlags<true>,
    },
    /// Run the sidecar with a scripted workload that shows every verdict within 30 seconds
    #[command(after_help = demo::HELP)]
    Demo {
        /// End after this long, such as 40s; without it, Ctrl-C ends it
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        duration: Option<Duration>,
        #[command(flatten)]
        settings: SettingFlags<true>,
    },
    /// Judge recorded events offline
    Analyze(analyze::Arguments),
    /// Send events to a running sidecar
    Send(Box<send::Arguments>),
    /// Watch the sidecar in a terminal: counts, findings, tokens, timelines
    Top(top::Arguments),
    /// Explain a verdict, or list all of them
    Explain(explain::Arguments),
    /// Check settings and profiles, and print the effective ones
    #[command(after_help = CHECK_EXAMPLES)]
    CheckConfig {
        #[command(flatten)]
        settings: SettingFlags<true>,
    },
    /// Print a completion script for a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
  oncewatch run
  oncewatch run --config oncewatch.toml --token-hash-key-file key.txt
  ONCEWATCH_METRICS_ADDR=0.0.0.0:9464 oncewatch run --spans all

Spans are exported if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set.";

const CHECK_EXAMPLES: &str = "\
Prints TOML that can be given to --config again; comments say where each value came from. The hash
key is never printed. All problems are reported at once, with exit code 2.";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  oncewatch completions bash > ~/.local/share/bash-completion/completions/oncewatch
  oncewatch completions zsh > ~/.zfunc/_oncewatch
  oncewatch completions fish > ~/.config/fish/completions/oncewatch.fish";

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or the configuration: the user's fault. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The world around: files, sockets. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// `--fail-on` was met. Exit code 3.
    #[error("{0}")]
    Found(String),
    /// Whoever read our output has enough. Not a fault; exit code 0.
    #[error("")]
    ClosedPipe,
}

impl Failure {
    fn config(problems: Problems) -> Self {
        let text = match problems.0.len() {
            1 => problems.to_string(),
            n => format!("{n} problems with the configuration:\n{problems}"),
        };
        Self::Usage(text)
    }

    /// What to tell the user, if anything.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::ClosedPipe => None,
            other => Some(other.to_string()),
        }
    }

    /// The process's exit code (SPEC §6).
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::ClosedPipe => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Found(_) => 3,
        })
    }
}

/// Errors of writing output; those of reading are turned into sentences where the file is known.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// Runs one command to its end.
pub fn run(cli: Cli, environment: &Environment<'_>) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::Failed(format!("{error:#}"));
    match cli.command {
        Command::Run { settings } => {
            let (settings, spans) = load(&settings, environment)?;
            daemon::run(&settings, spans).map_err(failed)
        }
        Command::Demo { duration, settings } => {
            let (settings, spans) = load(&settings, environment)?;
            demo::run(settings, spans, duration, environment)
        }
        Command::Analyze(arguments) => analyze::run(&arguments, environment),
        Command::Send(arguments) => send::run(&arguments, environment),
        Command::Top(arguments) => top::run(&arguments, environment),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::CheckConfig { settings } => {
            let (settings, spans) = load(&settings, environment)?;
            check_config::run(&settings, spans.as_ref())
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "oncewatch", &mut script);
            Ok(io::stdout().lock().write_all(&script)?)
        }
    }
}

/// The settings and, from OpenTelemetry's own variables, where spans go; all problems of both.
fn load(
    flags: &SettingFlags<true>,
    environment: &Environment<'_>,
) -> Result<(Settings, Option<SpanSettings>), Failure> {
    let settings = flags.load(environment);
    match (settings, SpanSettings::from_lookup(environment.lookup)) {
        (Ok(settings), Ok(spans)) => Ok((settings, spans)),
        (Ok(_), Err(problems)) => Err(Failure::Usage(problems.join("\n"))),
        (Err(failure), Ok(_)) => Err(failure),
        (Err(failure), Err(problems)) => {
            let problems = problems.join("\n");
            Err(Failure::Usage(format!("{failure}\n{problems}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
