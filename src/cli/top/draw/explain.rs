//! Texts to read: what a verdict means, and the keys.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Paper, scrolled};
use crate::cli::top::cursor::Cursor;
use crate::cli::top::keys::HELP;
use crate::detect::verdict::Verdict;

/// Lines longer than this are tiring to read, however wide the terminal is.
const COLUMNS_MAX: usize = 100;

/// The explanation of the verdict called `name`. It is part of this program, so that it can be read
/// while the sidecar does not answer.
pub fn verdict(name: &str, cursor: &mut Cursor, paper: &Paper) -> Vec<Line<'static>> {
    let paper = Paper {
        cells: paper.cells.min(COLUMNS_MAX),
        ..*paper
    };
    let Ok(verdict) = name.parse::<Verdict>() else {
        let name = super::super::text::visible(name);
        let text =
            format!("{name} is not a verdict that this version knows: the sidecar is another one.");
        return paper.paragraph("", &text, paper.look.loud());
    };
    let severity = verdict.severity().as_str();
    let mut lines = vec![Line::from(vec![
        Span::styled(verdict.as_str(), paper.look.head()),
        Span::styled(format!("  {severity}"), paper.look.severity(severity)),
    ])];
    lines.extend(paper.paragraph("", verdict.summary(), Style::new()));
    for (heading, text) in verdict.explanation().sections() {
        lines.push(Line::default());
        lines.push(Line::styled(heading, paper.look.head()));
        lines.extend(paper.paragraph("  ", text, Style::new()));
    }
    scrolled(lines, cursor, &paper)
}

/// The keys.
pub fn help(cursor: &mut Cursor, paper: &Paper) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Keys", paper.look.head())];
    for (keys, text) in HELP {
        lines.extend(paper.paragraph(&format!("  {keys:14} "), text, Style::new()));
    }
    scrolled(lines, cursor, paper)
}
