//! What is known, as a screen. Pure: state in, cells out; the only thing that is written back is how
//! much of each list fits.

pub mod explain;
pub mod findings;
pub mod now;
pub mod timeline;
pub mod tokens;
pub mod trust;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::cursor::Cursor;
use super::look::Look;
use super::state::{Link, Over, State, View};
use super::text::{clock, counted, fit, width, wrap};

/// A part of the screen and how to draw on it.
#[derive(Clone, Copy)]
pub struct Paper {
    pub look: Look,
    /// Columns.
    pub cells: usize,
    pub rows: usize,
}

impl Paper {
    /// The text in exactly so many cells, on their left.
    pub fn left(&self, text: &str, cells: usize) -> String {
        super::text::left(text, cells, self.look.signs.ellipsis)
    }

    /// The text in exactly so many cells, on their right.
    pub fn right(&self, text: &str, cells: usize) -> String {
        super::text::right(text, cells, self.look.signs.ellipsis)
    }

    /// The text, cut to the width.
    pub fn line(&self, text: &str, style: Style) -> Line<'static> {
        let text = fit(text, self.cells, self.look.signs.ellipsis).into_owned();
        Line::styled(text, style)
    }

    /// A paragraph: a heading before its first line, the others below the text.
    pub fn paragraph(&self, heading: &str, text: &str, style: Style) -> Vec<Line<'static>> {
        let indent = width(heading);
        let lines = wrap(text, self.cells.saturating_sub(indent)).into_iter();
        let lines = lines.enumerate().map(|(i, line)| {
            let before = match i {
                0 => heading.to_owned(),
                _ => " ".repeat(indent),
            };
            Line::from(vec![
                Span::styled(before, self.look.head()),
                Span::styled(line, style),
            ])
        });
        lines.collect()
    }

    /// A heading with a line up to the border.
    pub fn heading(&self, text: &str) -> Line<'static> {
        let rest = self.cells.saturating_sub(width(text) + 1);
        Line::from(vec![
            Span::styled(text.to_owned(), self.look.head()),
            Span::styled(
                format!(" {}", self.look.signs.rule.repeat(rest)),
                self.look.quiet(),
            ),
        ])
    }

    /// A row of a list: `>` before the chosen one.
    pub fn row(&self, chosen: bool, spans: Vec<Span<'static>>) -> Line<'static> {
        let mut all = vec![Span::raw(if chosen { "> " } else { "  " })];
        all.extend(spans);
        let line = Line::from(all);
        if !chosen {
            return line;
        }
        // The bar reaches the border.
        let fill = self.cells.saturating_sub(line.width());
        let mut line = line;
        line.push_span(Span::raw(" ".repeat(fill)));
        line.style(self.look.chosen())
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &mut State, look: Look) {
    let area = frame.area();
    let (cells, rows) = (usize::from(area.width), usize::from(area.height));
    if rows < 4 || cells < 20 {
        let paper = Paper { look, cells, rows };
        put(
            frame,
            0,
            vec![paper.line("oncewatch: too small", look.loud())],
        );
        return;
    }
    // Below this, what can be read matters more than what frames it.
    let is_roomy = rows >= 10;
    let mut paper = Paper { look, cells, rows };
    let mut top = vec![header(state, &paper)];
    top.extend(banner(state, &paper));
    if is_roomy {
        top.extend(now::counts_line(state, &paper));
    }
    let mut bottom = Vec::new();
    if is_roomy {
        bottom.extend(trust::line(state, &paper));
    }
    bottom.push(keys_line(state, &paper));
    paper.rows = rows.saturating_sub(top.len() + bottom.len());
    let below = top.len();
    let body = body(state, &paper);
    put(frame, 0, top);
    put(frame, below, body.into_iter().take(paper.rows).collect());
    put(frame, rows - bottom.len(), bottom);
}

fn put(frame: &mut Frame<'_>, from: usize, lines: Vec<Line<'static>>) {
    let area = frame.area();
    for (i, line) in (from..).zip(lines) {
        let y = u16::try_from(i).unwrap_or(u16::MAX);
        if y < area.height {
            frame.render_widget(line, Rect::new(0, y, area.width, 1));
        }
    }
}

fn body(state: &mut State, paper: &Paper) -> Vec<Line<'static>> {
    // An explanation needs nobody's answer.
    match state.over.last_mut() {
        Some(Over::Explain(verdict, cursor)) => return explain::verdict(verdict, cursor, paper),
        Some(Over::Help(cursor)) => return explain::help(cursor, paper),
        _ => {}
    }
    if state.summary.is_none() {
        return nothing_yet(state, paper);
    }
    match (state.over.last(), state.view) {
        (Some(_), _) => timeline::body(state, paper),
        (None, View::Now) => now::body(state, paper),
        (None, View::Findings) => findings::body(state, paper),
        (None, View::Tokens) => tokens::body(state, paper),
        (None, View::Trust) => trust::body(state, paper),
    }
}

/// Name, views, whether the sidecar answers, and its time.
fn header(state: &State, paper: &Paper) -> Line<'static> {
    let look = paper.look;
    let wide = paper.cells >= 70;
    let mut spans = vec![Span::styled(
        if wide { "oncewatch " } else { "" },
        look.head(),
    )];
    for (view, digit) in View::ALL.into_iter().zip('1'..) {
        let is_here = view == state.view;
        let title = match wide || is_here {
            true => format!("{digit} {}", view.title()),
            false => digit.to_string(),
        };
        spans.push(match is_here {
            true => Span::styled(format!("[{title}]"), look.chosen()),
            false => Span::raw(format!(" {title} ")),
        });
    }
    let (word, style) = match state.link {
        Link::Asking => ("asking", look.quiet()),
        Link::Live => ("live", look.good()),
        Link::Lost { .. } => ("NO ANSWER", look.loud()),
    };
    let paused = match state.findings.waiting() {
        Some(_) if wide => "list held  ",
        _ => "",
    };
    let time = match &state.summary {
        Some(_) if wide => format!(" {} UTC", clock(state.now(), state.now())),
        Some(_) => format!(" {}", clock(state.now(), state.now())),
        None => String::new(),
    };
    let line = Line::from(spans);
    let used = line.width() + width(paused) + width(word) + width(&time);
    let mut line = line;
    line.push_span(Span::raw(" ".repeat(paper.cells.saturating_sub(used))));
    line.push_span(Span::styled(paused, look.loud()));
    line.push_span(Span::styled(word, style));
    line.push_span(Span::raw(time));
    line
}

/// The part that fits, with a last line that says how much more there is.
pub fn scrolled(
    lines: Vec<Line<'static>>,
    cursor: &mut Cursor,
    paper: &Paper,
) -> Vec<Line<'static>> {
    if lines.len() <= paper.rows {
        cursor.place_text(lines.len(), paper.rows);
        return lines;
    }
    cursor.place_text(lines.len(), paper.rows.saturating_sub(1));
    let mut shown = lines[cursor.range()].to_vec();
    let position = cursor.position().unwrap_or_default();
    let more = if cursor.range().end < lines.len() {
        "; down shows more"
    } else {
        ""
    };
    shown.push(paper.line(&format!("lines {position}{more}"), paper.look.quiet()));
    shown
}

/// What is wrong with the connection, if anything.
fn banner(state: &State, paper: &Paper) -> Option<Line<'static>> {
    let text = match (&state.link, &state.refused) {
        (Link::Lost { times, why }, _) => {
            let seen = state.summary.as_ref()?;
            let at = clock(seen.now, state.now());
            let tries = counted(u64::from(*times), "try").replace("trys", "tries");
            format!("! No answer for {tries}, asking on. Shown: {at}. {why}")
        }
        (_, Some(why)) => format!("! {why}"),
        _ => return None,
    };
    Some(paper.line(&text, paper.look.loud()))
}

fn nothing_yet(state: &State, paper: &Paper) -> Vec<Line<'static>> {
    let address = &state.address;
    let (text, style) = match &state.link {
        Link::Lost { times, why } => (
            format!(
                "No sidecar answers at {address}: {why}.\n\nTrying again every second, {times} so far.\n\n\
                 Is it running? `oncewatch demo` starts one with something to see. In a cluster:\n\
                 \x20 kubectl exec -it POD -c oncewatch -- oncewatch top\n\
                 Another address: --admin-addr, or the variable ONCEWATCH_ADMIN_ADDR.\n"
            ),
            paper.look.loud(),
        ),
        _ => (
            format!("Asking the sidecar at {address}."),
            paper.look.quiet(),
        ),
    };
    let mut lines = vec![Line::default()];
    for (i, line) in wrap(&text, paper.cells).into_iter().enumerate() {
        lines.push(Line::styled(
            line,
            if i == 0 { style } else { Style::new() },
        ));
    }
    lines
}

/// The keys that matter here, or the line being typed.
fn keys_line(state: &State, paper: &Paper) -> Line<'static> {
    let look = paper.look;
    if let Some(input) = &state.input {
        let what = match state.view {
            View::Findings => "in verdict, API, token, client, message",
            _ => "a whole token, or a part of what is shown",
        };
        let shown = super::text::visible(input);
        let shown = if input.is_empty() { "" } else { &*shown };
        let line = format!("/{shown}_");
        // The end is what is being typed.
        let cut = width(&line).saturating_sub(paper.cells);
        let line: String = line.chars().skip(cut).collect();
        let room = paper.cells.saturating_sub(width(&line) + 3);
        let hint = if width(what) <= room { what } else { "" };
        return Line::from(vec![
            Span::styled(line, look.head()),
            Span::styled(format!("   {hint}"), look.quiet()),
        ]);
    }
    let keys = match (state.over.last(), state.view) {
        (Some(Over::Life(_)), _) => "esc back  up/down choose  e explain  z scale  ? help  q quit",
        (Some(_), _) => "esc back  up/down scroll  q quit",
        (None, View::Now) => "? help  tab view  up/down choose  enter explain  a all  q quit",
        (None, View::Findings) => {
            "? help  tab view  enter timeline  e explain  / search  s severity  p hold  q quit"
        }
        (None, View::Tokens) => {
            "? help  tab view  enter timeline  / search  s status  a API  o sort  r reverse  q quit"
        }
        (None, View::Trust) => "? help  tab view  up/down scroll  q quit",
    };
    // What does not fit is in the help.
    let short = "? help  q quit";
    let keys = if keys.len() <= paper.cells {
        keys
    } else if paper.cells >= 78 {
        keys.trim_end_matches("  q quit")
    } else {
        short
    };
    paper.line(keys, look.quiet())
}

#[cfg(test)]
mod tests;
