//! A place in a list that may be longer than the screen.

/// The chosen entry and the first one that is drawn. Whoever draws tells it how much fits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cursor {
    /// The chosen entry.
    pub index: usize,
    /// The first entry drawn.
    pub top: usize,
    /// Entries drawn at once.
    rows: usize,
    /// Entries there are.
    len: usize,
}

impl Cursor {
    /// Adapts to a list of `len` entries on `rows` rows, so that the chosen one is seen.
    pub fn place(&mut self, len: usize, rows: usize) {
        self.len = len;
        self.rows = rows.max(1);
        self.index = self.index.min(len.saturating_sub(1));
        let lowest = (self.index + 1).saturating_sub(self.rows);
        let last_top = len.saturating_sub(self.rows);
        self.top = self
            .top
            .clamp(lowest, self.index.max(lowest))
            .min(last_top.max(lowest));
    }

    /// The entries that are drawn.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.top..(self.top + self.rows).min(self.len)
    }

    /// Goes to another entry; `false`: it would leave the list.
    pub fn go(&mut self, step: Step) -> bool {
        let (page, last) = (self.rows.max(2) - 1, self.len.saturating_sub(1));
        let (wanted, leaves) = match step {
            Step::Up => (self.index.saturating_sub(1), self.index == 0),
            Step::Down => (self.index + 1, self.index >= last),
            Step::PageUp => (self.index.saturating_sub(page), self.index == 0),
            Step::PageDown => (self.index + page, self.index >= last),
            Step::First => (0, false),
            Step::Last => (last, false),
        };
        self.index = wanted.min(last);
        !leaves
    }

    /// Moves a text without a chosen line: its first drawn line is the chosen one.
    pub fn scroll(&mut self, step: Step) {
        let last = self.len.saturating_sub(self.rows);
        let page = self.rows.max(2) - 1;
        let wanted = match step {
            Step::Up => self.top.saturating_sub(1),
            Step::Down => self.top + 1,
            Step::PageUp => self.top.saturating_sub(page),
            Step::PageDown => self.top + page,
            Step::First => 0,
            Step::Last => last,
        };
        self.top = wanted.min(last);
    }

    /// Adapts to a text of `len` lines on `rows` rows.
    pub fn place_text(&mut self, len: usize, rows: usize) {
        (self.len, self.rows) = (len, rows.max(1));
        self.top = self.top.min(len.saturating_sub(self.rows));
    }

    /// `3-12 of 40`, where not all is seen.
    pub fn position(&self) -> Option<String> {
        let seen = self.range();
        (seen.len() < self.len).then(|| format!("{}-{} of {}", seen.start + 1, seen.end, self.len))
    }
}

/// Where to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_entry_is_always_seen() {
        let mut cursor = Cursor::default();
        cursor.place(100, 10);
        assert_eq!(cursor.range(), 0..10);
        assert_eq!(cursor.position().unwrap(), "1-10 of 100");
        for (step, range) in [
            (Step::PageDown, 0..10),
            (Step::Down, 1..11),
            (Step::Last, 90..100),
            (Step::Up, 90..100),
            (Step::PageUp, 89..99),
            (Step::First, 0..10),
        ] {
            assert!(cursor.go(step));
            cursor.place(100, 10);
            assert_eq!(cursor.range(), range, "{step:?}");
            assert!(cursor.range().contains(&cursor.index));
        }
        assert!(!cursor.go(Step::Up));
        // Fewer entries, fewer rows, none at all.
        cursor.go(Step::Last);
        for (len, rows) in [(100, 10), (5, 10), (5, 2), (0, 3), (0, 0), (7, 0)] {
            cursor.place(len, rows);
            assert!(
                len == 0 || cursor.range().contains(&cursor.index),
                "{len} {rows}"
            );
        }
    }

    #[test]
    fn a_text_stops_at_its_end() {
        let mut cursor = Cursor::default();
        cursor.place_text(25, 10);
        cursor.scroll(Step::Last);
        assert_eq!(cursor.range(), 15..25);
        cursor.scroll(Step::Down);
        assert_eq!(cursor.top, 15);
        cursor.scroll(Step::PageUp);
        assert_eq!(cursor.top, 6);
        cursor.place_text(4, 10);
        assert_eq!((cursor.range(), cursor.position()), (0..4, None));
    }
}
