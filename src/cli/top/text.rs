//! Text for the cells of a terminal: foreign text made harmless, numbers as people read them, and
//! what fits.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::terminal;
pub use crate::cli::terminal::counted;
use crate::detect::time::Timestamp;

/// Text from a client as it may be shown: what could steer the terminal, hide, turn its
/// neighbours, or take another number of cells than one thinks, is written out.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("(empty)");
    }
    let edge = |text: &str| text.starts_with(' ') || text.ends_with(' ');
    if !text.chars().any(is_unsafe) && !edge(text) {
        return Cow::Borrowed(text);
    }
    let last = text.chars().count() - 1;
    let mut out = String::with_capacity(text.len() + 16);
    for (i, c) in text.chars().enumerate() {
        if is_unsafe(c) || (c == ' ' && (i == 0 || i == last)) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_unsafe(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    // Controls, marks that join the letter before, and invisible characters take no cell.
    c.width().is_none_or(|cells| cells == 0)
        || c.is_whitespace()
        || matches!(c,
            // A hyphen that may be hidden, fillers that look like nothing, Hangul parts that join,
            '\u{ad}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{1100}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7ff}'
            // letters of scripts that run from right to left: a row with them is read in another order,
            | '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
            | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}'
            // flags and skin tones, which change the character before,
            | '\u{1f1e6}'..='\u{1f1ff}' | '\u{1f3fb}'..='\u{1f3ff}'
            // and private characters, which mean something else in every font.
            | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..)
}

/// Cells that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, cut with `ellipsis` (one cell) to at most so many cells.
pub fn fit<'a>(text: &'a str, cells: usize, ellipsis: &str) -> Cow<'a, str> {
    if width(text) <= cells {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > cells {
            break;
        }
        out.push(c);
    }
    if cells > 0 {
        out.push_str(ellipsis);
    }
    Cow::Owned(out)
}

/// The text in exactly so many cells, on their left.
pub fn left(text: &str, cells: usize, ellipsis: &str) -> String {
    let text = fit(text, cells, ellipsis);
    let fill = " ".repeat(cells.saturating_sub(width(&text)));
    format!("{text}{fill}")
}

/// The text in exactly so many cells, on their right.
pub fn right(text: &str, cells: usize, ellipsis: &str) -> String {
    let text = fit(text, cells, ellipsis);
    let fill = " ".repeat(cells.saturating_sub(width(&text)));
    format!("{fill}{text}")
}

/// Lines of at most so many cells, broken at spaces and, in words that are longer, anywhere. A line
/// that begins with two spaces is a command to copy: it keeps its spaces.
pub fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(8);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let (mut line, mut used) = (String::new(), 0);
        let is_code = paragraph.starts_with("  ");
        let words: Vec<&str> = match is_code {
            true => vec![paragraph],
            false => paragraph
                .split(' ')
                .filter(|word| !word.is_empty())
                .collect(),
        };
        for word in words {
            let long = width(word);
            if used > 0 && used + 1 + long > cells {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            for c in word.chars() {
                let next = c.width().unwrap_or(0);
                if used + next > cells {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push(c);
                used += next;
            }
        }
        lines.push(line);
    }
    lines
}

/// A length of time in seconds, with the precision that its size deserves.
pub fn span(seconds: f64) -> String {
    // Also for what is no number: a broken answer must not end the display.
    let s = if seconds.is_finite() {
        seconds.max(0.0)
    } else {
        0.0
    };
    if s < 0.9995 {
        return format!("{:.0} ms", s * 1000.0);
    }
    if s < 9.95 {
        return format!("{s:.1} s");
    }
    let whole = s.round().min(1e15) as u64;
    let (big, size, small, part) = match whole {
        0..60 => return format!("{whole} s"),
        60..3600 => ("min", 60, "s", 1),
        3600..86_400 => ("h", 3600, "min", 60),
        _ => ("d", 86_400, "h", 3600),
    };
    match whole % size / part {
        0 => format!("{} {big}", whole / size),
        rest => format!("{} {big} {rest} {small}", whole / size),
    }
}

/// A length of time in its greatest unit: at most seven cells.
pub fn brief(seconds: f64) -> String {
    let text = span(seconds);
    let words: Vec<&str> = text.split(' ').take(2).collect();
    words.join(" ")
}

fn timestamp(at: f64) -> Timestamp {
    Timestamp::from_seconds(at).unwrap_or(Timestamp::from_micros(0))
}

/// A time of day in UTC; with the date unless it is within a day of `now`.
pub fn clock(at: f64, now: f64) -> String {
    let (date, time) = terminal::date_and_time(timestamp(at));
    let time = time.get(..8).unwrap_or_default();
    if (now - at).abs() < 43_200.0 {
        time.to_owned()
    } else {
        format!("{date} {time}")
    }
}

/// `1 234`.
pub fn count(number: u64) -> String {
    terminal::grouped(number)
}

/// A name of a closed list as people read it.
pub fn words(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_steer_hide_or_turn() {
        assert_eq!(visible("orders-1/77 é 注文"), "orders-1/77 é 注文");
        assert_eq!(visible("\u{1b}[2J\r"), "\\u{1b}[2J\\u{d}");
        assert_eq!(
            visible("a\u{202e}b\u{200b}c\u{ad}"),
            "a\\u{202e}b\\u{200b}c\\u{ad}"
        );
        assert_eq!(visible("e\u{301}"), "e\\u{301}");
        assert_eq!(visible("\u{5e9}\u{61c}"), "\\u{5e9}\\u{61c}");
        assert_eq!(visible(" a b "), "\\u{20}a b\\u{20}");
        assert_eq!(visible("a\u{a0}\u{3000}"), "a\\u{a0}\\u{3000}");
        assert_eq!(
            visible("\u{1f1e9}\u{1f1ea}\u{e0041}"),
            "\\u{1f1e9}\\u{1f1ea}\\u{e0041}"
        );
        assert_eq!(visible(""), "(empty)");
    }

    #[test]
    fn text_takes_the_cells_it_is_given() {
        assert_eq!(fit("abcdef", 6, "~"), "abcdef");
        assert_eq!(fit("abcdef", 5, "~"), "abcd~");
        assert_eq!(fit("注文番号", 6, "~"), "注文~");
        assert_eq!(fit("abc", 0, "~"), "");
        assert_eq!(left("注", 4, "~"), "注  ");
        assert_eq!(right("12", 4, "~"), "  12");
    }

    #[test]
    fn lines_are_broken_where_they_must() {
        assert_eq!(
            wrap("one two  three\nfour", 8),
            ["one two", "three", "four"]
        );
        assert_eq!(wrap("0123456789abc d", 8), ["01234567", "89abc d"]);
        assert_eq!(wrap("  curl  x", 20), ["  curl  x"]);
        assert_eq!(wrap("注文番号注文", 8), ["注文番号", "注文"]);
        assert_eq!(wrap("a\n\nb", 8), ["a", "", "b"]);
    }

    #[test]
    fn lengths_of_time_have_their_precision() {
        for (seconds, text) in [
            (0.0123, "12 ms"),
            (1.24, "1.2 s"),
            (59.6, "1 min"),
            (61.0, "1 min 1 s"),
            (7260.0, "2 h 1 min"),
            (180_000.0, "2 d 2 h"),
            (-1.0, "0 ms"),
            (f64::NAN, "0 ms"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!((brief(7260.0), brief(59.4)), ("2 h".into(), "59 s".into()));
    }

    #[test]
    fn times_of_day_have_a_date_when_they_need_one() {
        assert_eq!(clock(1_700_000_000.9, 1_700_000_100.0), "22:13:20");
        assert_eq!(
            clock(1_700_000_000.0, 1_700_100_000.0),
            "2023-11-14 22:13:20"
        );
        assert_eq!(clock(f64::NAN, 0.0), "1970-01-01 00:00:00");
    }
}
