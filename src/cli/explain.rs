//! `oncewatch explain`: the list of verdicts, or one of them at length.

use std::io::Write;

use clap::Args;

use super::{Failure, terminal};
use crate::config::suggestion;
use crate::detect::verdict::Verdict;

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  oncewatch explain                      all verdicts, with their severity
  oncewatch explain in_progress_remote   what it means, whether to retry, how to fix it")]
pub struct Arguments {
    /// Name of a verdict, as in findings and in the label `verdict`; without it all are listed
    verdict: Option<String>,
}

/// Lines longer than this are tiring to read, however wide the terminal is.
const COLUMNS_MAX: usize = 100;

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let columns = terminal::columns().unwrap_or(COLUMNS_MAX).min(COLUMNS_MAX);
    let mut out = std::io::BufWriter::new(anstream::stdout().lock());
    match &arguments.verdict {
        None => list(&mut out, columns)?,
        Some(name) => {
            let verdict = name.parse().map_err(|_| {
                let hint = suggestion(name, Verdict::ALL.iter().map(|verdict| verdict.as_str()));
                let name = terminal::printable(name);
                let list = "`oncewatch explain` lists them";
                Failure::Usage(format!("{name:?} is not a verdict{hint}; {list}"))
            })?;
            long_form(&mut out, verdict, columns)?;
        }
    }
    Ok(out.flush()?)
}

fn list(out: &mut impl Write, columns: usize) -> std::io::Result<()> {
    let width = Verdict::ALL.iter().map(|verdict| verdict.as_str().len());
    let width = width.max().unwrap_or(0);
    for verdict in Verdict::ALL {
        let style = terminal::style(verdict.severity());
        let severity = verdict.severity();
        write!(out, "{verdict:<width$}  {style}{severity:<8}{style:#}  ")?;
        // Lines after the first stand below the summary's beginning.
        let indent = " ".repeat(width + 12);
        let summary = terminal::wrap(verdict.summary(), &indent, columns);
        out.write_all(summary.trim_start().as_bytes())?;
    }
    Ok(())
}

fn long_form(out: &mut impl Write, verdict: Verdict, columns: usize) -> std::io::Result<()> {
    let (severity, style) = (verdict.severity(), terminal::style(verdict.severity()));
    let bold = anstyle::Style::new().bold();
    writeln!(out, "{bold}{verdict}{bold:#}  {style}{severity}{style:#}")?;
    out.write_all(terminal::wrap(verdict.summary(), "", columns).as_bytes())?;
    for (heading, text) in verdict.explanation().sections() {
        writeln!(out, "\n{bold}{heading}{bold:#}")?;
        out.write_all(terminal::wrap(text, "  ", columns).as_bytes())?;
    }
    Ok(())
}
