//! What the commands share in writing for people: width, colour, wrapping, safe text, time.

use std::borrow::Cow;
use std::fmt::Write;
use std::io::{self, IsTerminal};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};

use crate::detect::time::Timestamp;
use crate::detect::verdict::Severity;

/// Columns of the terminal behind standard output; `None` if there is none.
pub fn columns() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    let columns = usize::from(size.ws_col);
    Some(if columns == 0 { 80 } else { columns })
}

/// Whether standard output takes colour: a terminal, and the user has not declined (`NO_COLOR`).
pub fn has_colour() -> bool {
    let choice = anstream::AutoStream::choice(&io::stdout());
    !matches!(choice, ColorChoice::Never)
}

/// The colour of a severity.
pub const fn style(severity: Severity) -> Style {
    match severity {
        Severity::Info => Style::new().dimmed(),
        Severity::Warning => AnsiColor::Yellow.on_default(),
        Severity::Error => AnsiColor::Red.on_default(),
        Severity::Critical => AnsiColor::Red.on_default().bold(),
    }
}

/// A text from outside that a terminal shows as it is: control characters, and those that reorder
/// or hide text, are written as escapes.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_unsafe(c: char) -> bool {
    let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || hidden
}

/// Breaks a text at its spaces into lines of at most `columns` characters, each after `indent`.
/// A line that begins with two spaces is kept as it is: it is a command to copy.
pub fn wrap(text: &str, indent: &str, columns: usize) -> String {
    let room = columns.saturating_sub(indent.len()).max(20);
    let mut out = String::new();
    for paragraph in text.lines() {
        if paragraph.starts_with("  ") {
            let _ = writeln!(out, "{indent}{paragraph}");
            continue;
        }
        let mut used = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > room {
                out.push('\n');
                used = 0;
            }
            if used == 0 {
                out += indent;
            } else {
                out.push(' ');
                used += 1;
            }
            out += word;
            used += length;
        }
        out.push('\n');
    }
    out
}

/// Date and time in UTC, to the millisecond.
pub fn date_and_time(at: Timestamp) -> (String, String) {
    let time = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or_default();
    let text = format!("{time:.3}");
    match text.trim_end_matches('Z').split_once('T') {
        Some((date, time)) => (date.to_owned(), time.to_owned()),
        None => (String::new(), text),
    }
}

/// Counts and rates with thin groups of three digits: `1 234 567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `1 event`, `2 events`.
pub fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(printable("order-17 é"), "order-17 é");
        assert_eq!(printable("\u{1b}[2J\r\n"), "\\u{1b}[2J\\r\\n");
        assert_eq!(
            printable("a\u{9b}b\u{202e}c\u{200b}"),
            "a\\u{9b}b\\u{202e}c\\u{200b}"
        );
    }

    #[test]
    fn wraps_at_spaces_and_keeps_commands() {
        let text = "one two three four five six\n  curl -s a b c d e f g h i j k l m n o p";
        assert_eq!(
            wrap(text, "> ", 22),
            "> one two three four\n> five six\n>   curl -s a b c d e f g h i j k l m n o p\n"
        );
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = Timestamp::from_micros(1_700_000_000_500_900);
        let (date, time) = date_and_time(at);
        assert_eq!(
            (date.as_str(), time.as_str()),
            ("2023-11-14", "22:13:20.500")
        );
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(counted(0, "event"), "0 events");
        assert_eq!(
            (grouped(0), grouped(999), grouped(1000)),
            ("0".into(), "999".into(), "1 000".into())
        );
    }
}
