//! Parse, run one command, exit code. Everything else is in the library.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use oncewatch::cli::{self, Cli};

#[expect(clippy::disallowed_methods, reason = "the look-up of all others")]
fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe behind `--help | head` is no news.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let lookup = |name: &str| {
        let value = std::env::var_os(name)?;
        Some(value.to_string_lossy().into_owned())
    };
    let variables = std::env::vars_os()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    let environment = cli::Environment {
        lookup: &lookup,
        variables,
    };
    match cli::run(cli, &environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                let _ = writeln!(anstream::stderr(), "oncewatch: {text}");
            }
            failure.exit_code()
        }
    }
}
