//! With what is drawn: colours only where they are wanted, other signs where the terminal has no
//! Unicode. Words carry the meaning; colours and signs only repeat it.

use ratatui::style::{Color, Modifier, Style};

/// The signs of drawings.
#[derive(Debug)]
pub struct Signs {
    /// What was cut off.
    pub ellipsis: &'static str,
    /// Heights of a bar, from none to all.
    pub bars: [&'static str; 9],
    /// A line across.
    pub rule: &'static str,
    /// Between two facts of a line.
    pub dot: &'static str,
    /// An attempt whose write was applied, was refused, may have been applied, and one that is open.
    pub applied: &'static str,
    pub refused: &'static str,
    pub unclear: &'static str,
    pub open: &'static str,
    /// The lease after an attempt's start, and its end.
    pub lease: &'static str,
    pub lease_end: &'static str,
    /// Between an attempt and the one before.
    pub gap: &'static str,
    /// A finding.
    pub mark: &'static str,
    /// The window, the part of it that cannot be known exactly, and its end.
    pub window: &'static str,
    pub edge: &'static str,
    pub window_end: &'static str,
}

const UNICODE: Signs = Signs {
    ellipsis: "…",
    bars: ["·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    rule: "─",
    dot: "·",
    applied: "█",
    refused: "▒",
    unclear: "░",
    open: "═",
    lease: "─",
    lease_end: "┤",
    gap: "·",
    mark: "◆",
    window: "━",
    edge: "╍",
    window_end: "┫",
};

const ASCII: Signs = Signs {
    ellipsis: "~",
    bars: [".", "1", "2", "3", "4", "5", "6", "7", "8"],
    rule: "-",
    dot: "|",
    applied: "#",
    refused: "x",
    unclear: "?",
    open: "=",
    lease: "-",
    lease_end: "|",
    gap: ".",
    mark: "*",
    window: "=",
    edge: "~",
    window_end: "|",
};

/// How it is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub colour: bool,
    pub signs: &'static Signs,
}

impl Look {
    /// With or without colours and Unicode.
    pub const fn new(colour: bool, unicode: bool) -> Self {
        let signs = if unicode { &UNICODE } else { &ASCII };
        Self { colour, signs }
    }

    /// As the environment wants it: no colour with `NO_COLOR` or on a terminal that has none, ASCII
    /// on a terminal or in a locale without Unicode. Without a locale, as in most images, the
    /// terminal is at the other end of `kubectl exec` and nearly always has it.
    pub fn of(lookup: &dyn Fn(&str) -> Option<String>, ascii: bool) -> Self {
        let given = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let plain = given("TERM").is_some_and(|term| term == "dumb" || term.starts_with("vt"));
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(given);
        let unicode = locale.is_none_or(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        let colour = !plain && given("NO_COLOR").is_none();
        Self::new(colour, unicode && !plain && !ascii)
    }

    fn coloured(self, colour: Color) -> Style {
        match self.colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    /// The style of a severity's word.
    pub fn severity(self, severity: &str) -> Style {
        match severity {
            "critical" => self.coloured(Color::Red).add_modifier(Modifier::BOLD),
            "error" => self.coloured(Color::Red),
            "warning" => self.coloured(Color::Yellow),
            _ => self.quiet(),
        }
    }

    /// What is good to know.
    pub fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    /// What must not be overlooked.
    pub fn loud(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What only helps to read.
    pub const fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Headings.
    pub const fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The chosen row, which also has `>` before it.
    pub const fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_about_colour_and_signs() {
        let look = |variables: &[(&str, &str)]| {
            let lookup = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let look = Look::of(&lookup, false);
            (look.colour, look.signs.ellipsis == "…")
        };
        assert_eq!(look(&[]), (true, true));
        assert_eq!(
            look(&[("TERM", "xterm"), ("LANG", "C.UTF-8")]),
            (true, true)
        );
        assert_eq!(look(&[("NO_COLOR", "1")]), (false, true));
        assert_eq!(look(&[("NO_COLOR", "")]), (true, true));
        assert_eq!(look(&[("TERM", "dumb")]), (false, false));
        assert_eq!(
            look(&[("TERM", "vt100"), ("LANG", "de_DE.utf8")]),
            (false, false)
        );
        assert_eq!(look(&[("LANG", "C")]), (true, false));
        assert_eq!(look(&[("LC_ALL", "C"), ("LANG", "C.UTF-8")]), (true, false));
        assert_eq!(Look::of(&|_| None, true).signs.ellipsis, "~");
    }

    #[test]
    fn without_colour_no_style_has_one() {
        let look = Look::new(false, true);
        let severities = ["critical", "error", "warning", "info"].map(|name| look.severity(name));
        for style in severities.into_iter().chain([look.good(), look.loud()]) {
            assert_eq!((style.fg, style.bg), (None, None));
        }
    }
}
