//! How the demo speaks: a frame that is redrawn on a terminal, plain lines anywhere else.

use std::io::{self, IsTerminal, Write};

use super::table::{self, Hint, Paper, View};
use super::tally::Tally;
use crate::cli::{Environment, terminal};
use crate::detect::verdict::Verdict;
use crate::edge::findings::Findings;

/// Other screen, cursor hidden, long lines cut instead of wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const INTRODUCTION: &str = "\
oncewatch demo: the sidecar, and five pods of a web shop that report to it.
They make every mistake with idempotency tokens that oncewatch knows: each
verdict appears within 30 seconds; then the story begins again, with new
tokens. Ctrl-C ends it.
";

/// Where the demo's output goes, and how.
pub enum Screen {
    /// On a terminal: the frame has the terminal's other screen, so that what was said before and
    /// what is said at the end stay in the scroll-back.
    Live(Alternate),
    /// Each verdict gets a line when it first appears.
    Plain(Vec<Verdict>),
}

/// The terminal's other screen; left when this is dropped, however the demo ends.
pub struct Alternate(());

impl Drop for Alternate {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // A terminal that is gone needs no care.
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}

impl Screen {
    /// Says what this is and where to look. `logs`: the sidecar's log lines go to standard error.
    pub fn open(environment: &Environment<'_>, logs: bool, hints: &[Hint]) -> io::Result<Self> {
        let mut out = io::stdout().lock();
        let paper = paper();
        out.write_all(INTRODUCTION.as_bytes())?;
        for hint in hints {
            // These are for copying: none is cut.
            let columns = usize::MAX;
            writeln!(
                out,
                "  {}",
                table::hint_line(hint, Paper { columns, ..paper })
            )?;
        }
        writeln!(out)?;
        let dumb = (environment.lookup)("TERM").is_none_or(|term| term == "dumb");
        let garbled = logs && io::stderr().is_terminal();
        if !io::stdout().is_terminal() || dumb || garbled {
            out.flush()?;
            return Ok(Self::Plain(Verdict::ALL.to_vec()));
        }
        // From here on the terminal is put right again, even if this write fails.
        let screen = Self::Live(Alternate(()));
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        drop(out);
        Ok(screen)
    }

    /// Shows how things are.
    pub fn show(&mut self, view: &View<'_>, findings: &Findings) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Self::Live(_) => {
                let paper = paper();
                let lines = table::frame(view, paper);
                // Cleared before it is written: behind a full line, the cursor is still on its end.
                let mut text = "\x1b[H\x1b[K".to_owned();
                text += &lines.join("\r\n\x1b[K");
                if lines.len() < paper.rows {
                    text += "\r\n\x1b[J";
                }
                out.write_all(text.as_bytes())?;
            }
            Self::Plain(expected) => {
                for (verdict, sentence) in appeared(expected, view.tally, findings) {
                    let after = view.tally.first(verdict).unwrap_or(view.elapsed);
                    writeln!(
                        out,
                        "{}",
                        table::appearance(verdict, after, &sentence, paper())
                    )?;
                }
            }
        }
        out.flush()
    }

    /// Leaves the table of all verdicts behind.
    pub fn close(self, tally: &Tally, last: &str) -> io::Result<()> {
        drop(self);
        let mut out = io::stdout().lock();
        writeln!(out)?;
        for line in table::table(tally, paper()) {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{}\n{last}", table::totals(tally, paper()))?;
        out.flush()
    }
}

/// The verdicts that appeared since the last time, with a finding's message, or for healthy use
/// with what the verdict means. One whose finding is still under way waits.
fn appeared(
    expected: &mut Vec<Verdict>,
    tally: &Tally,
    findings: &Findings,
) -> Vec<(Verdict, String)> {
    let mut new = Vec::new();
    expected.retain(|&verdict| {
        let sentence = match verdict.is_finding() {
            false => Some(verdict.summary().to_owned()),
            true => {
                let latest = findings.list(|finding| finding.verdict == verdict, 1);
                latest.first().map(|finding| finding.message.clone())
            }
        };
        match sentence.filter(|_| tally.first(verdict).is_some()) {
            Some(sentence) => {
                new.push((verdict, sentence));
                false
            }
            None => true,
        }
    });
    new
}

/// The terminal as it is now: its user may have resized it. Files take lines of any length.
fn paper() -> Paper {
    let (columns, rows) = terminal::size().unwrap_or((usize::MAX, usize::MAX));
    Paper {
        columns,
        rows,
        colour: terminal::has_colour(),
    }
}
