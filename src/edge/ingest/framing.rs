//! Splits a byte stream into lines in bounded memory (SPEC §2). Pure.

use memchr::{memchr, memrchr};

/// Bytes that a silent stream may keep in each of two buffers, so that lines of the usual length
/// cost no allocation wherever a read cuts them.
const KEPT_BYTES: usize = 1024;

/// Cuts what the reads of one stream bring at its newlines.
///
/// Complete lines are lent out where they lie in the read buffer; only a line that a read cut in
/// two is copied. At most two lines of the longest length are held, and next to nothing between
/// lines.
/// Every byte is looked at a constant number of times, however it arrives.
#[derive(Debug)]
pub struct Framer {
    line_bytes_max: usize,
    /// Begin of the line whose newline has not come yet.
    tail: Vec<u8>,
    /// The line that was begun in an earlier read and ended in the last one.
    head: Vec<u8>,
    /// The current line is too long, and was reported; wait for its newline.
    skipping: bool,
}

impl Framer {
    /// `line_bytes_max` does not count the newline.
    pub fn new(line_bytes_max: usize) -> Self {
        Self {
            line_bytes_max,
            tail: Vec::new(),
            head: Vec::new(),
            skipping: false,
        }
    }

    /// Takes one read; the lines that it completed are in the result.
    pub fn feed<'a>(&'a mut self, chunk: &'a [u8]) -> Lines<'a> {
        let (mut body, rest) = chunk.split_at(memrchr(b'\n', chunk).map_or(0, |last| last + 1));
        let mut too_long_before = 0;
        self.head.clear();
        if (self.skipping || !self.tail.is_empty())
            && let Some(end) = memchr(b'\n', body)
        {
            too_long_before = self.carry(&body[..end]);
            std::mem::swap(&mut self.head, &mut self.tail);
            self.skipping = false;
            body = &body[end + 1..];
        }
        let too_long_after = self.carry(rest);
        Lines {
            head: (!self.head.is_empty()).then_some(&self.head),
            body,
            line_bytes_max: self.line_bytes_max,
            too_long_before,
            too_long_after,
            too_long: too_long_before + too_long_after,
            taken: 0,
        }
    }

    /// What the end of the stream left without a newline, if anything.
    pub fn finish(&mut self) -> Option<&[u8]> {
        (!self.tail.is_empty()).then_some(&self.tail)
    }

    /// Gives memory back, but for what a usual line needs, if no line is under way; for a stream
    /// that has fallen silent.
    pub fn shrink(&mut self) {
        self.head.clear();
        for buffer in [&mut self.head, &mut self.tail] {
            if buffer.is_empty() && buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }

    /// Keeps a part of a line; 1 if that made it too long.
    fn carry(&mut self, part: &[u8]) -> usize {
        if self.skipping {
            return 0;
        }
        if self.tail.len() + part.len() > self.line_bytes_max {
            self.tail.clear();
            self.skipping = true;
            return 1;
        }
        self.tail.extend_from_slice(part);
        0
    }
}

/// The lines of one read or datagram, without their newlines; lines that are too long are left out.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    head: Option<&'a [u8]>,
    body: &'a [u8],
    line_bytes_max: usize,
    /// Of the lines that a read cut in two, those that are too long: before all others and after.
    too_long_before: usize,
    too_long_after: usize,
    too_long: usize,
    taken: usize,
}

/// A line that is longer than any may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl<'a> Lines<'a> {
    /// The lines of a text that is complete: its last line needs no newline.
    pub fn whole(text: &'a [u8], line_bytes_max: usize) -> Self {
        Self {
            head: None,
            body: text,
            line_bytes_max,
            too_long_before: 0,
            too_long_after: 0,
            too_long: 0,
            taken: 0,
        }
    }

    /// Lines left out so far; final once the iterator has ended.
    pub fn too_long(&self) -> usize {
        self.too_long
    }

    /// Lines handed out so far.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// All lines in their order, those that are too long included; blank ones are no lines.
    pub fn each(self) -> Each<'a> {
        Each(self)
    }

    /// The next line that lies in the buffers.
    fn step(&mut self) -> Option<Result<&'a [u8], TooLong>> {
        let line = match self.head.take() {
            Some(head) => head,
            None if self.body.is_empty() => return None,
            None => {
                let end = memchr(b'\n', self.body).unwrap_or(self.body.len());
                let (line, rest) = self.body.split_at(end);
                self.body = rest.get(1..).unwrap_or_default();
                line
            }
        };
        if line.len() > self.line_bytes_max {
            self.too_long += 1;
            return Some(Err(TooLong));
        }
        self.taken += 1;
        Some(Ok(line))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Ok(line) = self.step()? {
                return Some(line);
            }
        }
    }
}

/// The lines of one read, each in its place.
#[derive(Clone, Debug)]
pub struct Each<'a>(Lines<'a>);

impl<'a> Each<'a> {
    /// Those that were not handed out.
    pub fn rest(self) -> Lines<'a> {
        self.0
    }
}

impl<'a> Iterator for Each<'a> {
    type Item = Result<&'a [u8], TooLong>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self(lines) = self;
        if lines.too_long_before > 0 {
            lines.too_long_before -= 1;
            return Some(Err(TooLong));
        }
        while let Some(line) = lines.step() {
            if !line.is_ok_and(|line| line.trim_ascii().is_empty()) {
                return Some(line);
            }
        }
        let after = lines.too_long_after.checked_sub(1)?;
        lines.too_long_after = after;
        Some(Err(TooLong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 12;

    /// A generator of its own, so that a seed means the same run everywhere.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 11).unwrap() % bound
        }
    }

    /// Lines of the whole input at once, and how many were too long.
    fn model(input: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let lines = input.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
        let (good, long): (Vec<_>, Vec<_>) = lines.partition(|line| line.len() <= MAX);
        (
            good.into_iter().filter(|l| !l.is_empty()).collect(),
            long.len(),
        )
    }

    fn framed(input: &[u8], mut cut: impl FnMut() -> usize) -> (Vec<Vec<u8>>, usize) {
        let mut framer = Framer::new(MAX);
        let (mut out, mut too_long, mut rest) = (Vec::new(), 0, input);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(cut().min(rest.len()));
            rest = after;
            let mut lines = framer.feed(chunk);
            out.extend(lines.by_ref().map(<[u8]>::to_vec));
            too_long += lines.too_long();
            if rest.len() % 3 == 0 {
                framer.shrink();
            }
            assert!(framer.tail.len() <= MAX && framer.head.len() <= MAX);
        }
        out.extend(framer.finish().map(<[u8]>::to_vec));
        out.retain(|line| !line.is_empty());
        (out, too_long)
    }

    #[test]
    fn chunks_do_not_matter() {
        let (mut saw_long, mut saw_tail) = (0, 0);
        for seed in 1..=3000 {
            let mut random = Random(seed * 0x9E37_79B9);
            let input: Vec<u8> = (0..random.below(120))
                .map(|_| b"ab\n\r\0\xff"[random.below(if seed % 2 == 0 { 6 } else { 30 }).min(5)])
                .collect();
            let chunk_max = 1 + random.below(40);
            let got = framed(&input, || 1 + random.below(chunk_max));
            let wanted = model(&input);
            saw_long += wanted.1;
            saw_tail += usize::from(!input.ends_with(b"\n"));
            assert_eq!(got, wanted, "seed {seed}, input {input:?}");
        }
        assert!(saw_long > 1000 && saw_tail > 1000, "{saw_long} {saw_tail}");
    }

    #[test]
    fn each_line_has_its_place_wherever_reads_cut() {
        let input = b"one\n0123456789abc\n \n\ntwo\n0123456789abcd\n0123456789abcde\nthree\n";
        let wanted = ["one", "-", "two", "-", "-", "three"];
        for first in 1..input.len() {
            for second in 1..=input.len() - first {
                let mut framer = Framer::new(MAX);
                let (one, rest) = input.split_at(first);
                let (two, three) = rest.split_at(second);
                let mut got = Vec::new();
                for chunk in [one, two, three] {
                    let lines = framer.feed(chunk).each();
                    got.extend(lines.map(|line| match line {
                        Ok(line) => String::from_utf8(line.to_vec()).unwrap(),
                        Err(TooLong) => "-".to_owned(),
                    }));
                }
                assert_eq!(got, wanted, "cut after {first} and {second} more");
            }
        }
    }

    #[test]
    fn a_long_line_is_reported_once_and_before_its_end() {
        let mut framer = Framer::new(MAX);
        let mut reported = 0;
        for _ in 0..100 {
            let mut lines = framer.feed(b"0123456789");
            assert_eq!(lines.next(), None);
            reported += lines.too_long();
        }
        assert_eq!(reported, 1);
        assert_eq!(framer.finish(), None);
        let mut lines = framer.feed(b"end\nnext\n");
        assert_eq!(lines.next(), Some(&b"next"[..]));
        assert_eq!(
            (lines.next(), lines.too_long(), lines.taken()),
            (None, 0, 1)
        );
    }

    #[test]
    fn a_silent_stream_keeps_little() {
        let mut framer = Framer::new(1 << 20);
        for _ in 0..3 {
            for length in [10, 100_000] {
                let line = vec![b'x'; length];
                assert_eq!(framer.feed(&line).next(), None);
                framer.shrink();
                let mut lines = framer.feed(b"y\n");
                assert_eq!(lines.next().map(<[u8]>::len), Some(length + 1));
            }
            framer.shrink();
            assert!(framer.head.capacity() + framer.tail.capacity() <= 2 * KEPT_BYTES);
        }
    }

    #[test]
    fn complete_lines_are_not_copied() {
        let chunk = b"one\ntwo\n";
        let mut framer = Framer::new(MAX);
        let lines: Vec<_> = framer.feed(chunk).collect();
        assert!(std::ptr::eq(lines[0].as_ptr(), chunk.as_ptr()));
        assert!(std::ptr::eq(lines[1].as_ptr(), chunk[4..].as_ptr()));
    }

    #[test]
    fn a_datagram_needs_no_last_newline() {
        let mut lines = Lines::whole(b"one\n0123456789abc\ntwo", MAX);
        assert_eq!(lines.by_ref().collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(lines.too_long(), 1);
    }
}
