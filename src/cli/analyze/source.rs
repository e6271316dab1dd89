//! One input, line by line, in bounded memory.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

/// Bytes asked for by one read of a source; less when there are many, so that they fit together.
pub const fn chunk_bytes(sources: usize) -> usize {
    if sources <= 8 { 256 * 1024 } else { 16 * 1024 }
}

/// What [`Source::next_line`] found.
pub enum Line {
    /// A line without its newline; its place in [`Source::bytes`].
    Whole(Range<usize>),
    /// A line that was skipped because it is too long.
    TooLong,
    /// No more.
    End,
}

/// A file or standard input.
pub struct Source {
    /// As the user named it.
    pub name: String,
    /// Size, if it is a file that has one.
    pub bytes_total: Option<u64>,
    /// Bytes read so far.
    pub bytes_read: u64,
    /// Number of the line last given, from 1.
    pub line: u64,
    /// Whether a read can take as long as the writer likes.
    pub is_live: bool,
    input: Box<dyn Read>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    line_bytes_max: usize,
    skipping: bool,
    ended: bool,
}

impl Source {
    /// Opens a file, or standard input for `-`.
    pub fn open(path: &Path, line_bytes_max: usize, chunk_bytes: usize) -> io::Result<Self> {
        let name = path.to_string_lossy().into_owned();
        if name == "-" {
            let stdin = Box::new(io::stdin().lock());
            return Ok(Self::new(name, stdin, None, line_bytes_max, chunk_bytes));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Self::new(
            name,
            Box::new(file),
            size,
            line_bytes_max,
            chunk_bytes,
        ))
    }

    fn new(
        name: String,
        input: Box<dyn Read>,
        bytes_total: Option<u64>,
        line_bytes_max: usize,
        chunk_bytes: usize,
    ) -> Self {
        Self {
            name,
            is_live: bytes_total.is_none(),
            bytes_total,
            bytes_read: 0,
            line: 0,
            input,
            // Room for the longest line and its newline, besides a chunk.
            buffer: vec![0; line_bytes_max + 1 + chunk_bytes],
            start: 0,
            end: 0,
            line_bytes_max,
            skipping: false,
            ended: false,
        }
    }

    /// The bytes of a line that was the last one given.
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.buffer[range.clone()]
    }

    /// Whether the next line is here already, so that asking for it does not wait.
    pub fn has_line(&self) -> bool {
        self.ended || memchr::memchr(b'\n', &self.buffer[self.start..self.end]).is_some()
    }

    /// The next line that is not blank; invalidates the one before.
    pub fn next_line(&mut self) -> io::Result<Line> {
        let mut searched = 0;
        loop {
            let found = memchr::memchr(b'\n', &self.buffer[self.start + searched..self.end]);
            let (length, newline) = match found {
                Some(offset) => (searched + offset, 1),
                None if self.ended && self.start == self.end && !self.skipping => {
                    return Ok(Line::End);
                }
                None if self.ended => (self.end - self.start, 0),
                None => {
                    searched = self.end - self.start;
                    if searched > self.line_bytes_max {
                        self.skipping = true;
                    }
                    if self.skipping {
                        (self.start, self.end, searched) = (0, 0, 0);
                    }
                    self.refill()?;
                    continue;
                }
            };
            let line = self.start..self.start + length;
            self.start = line.end + newline;
            self.line += 1;
            searched = 0;
            if std::mem::take(&mut self.skipping) || length > self.line_bytes_max {
                return Ok(Line::TooLong);
            }
            if !self.buffer[line.clone()].trim_ascii().is_empty() {
                return Ok(Line::Whole(line));
            }
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let read = loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.end += read;
        self.bytes_read += read as u64;
        self.ended = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of a fixed size.
    struct Pieces(Vec<u8>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn lines(text: &str, piece: usize, line_bytes_max: usize) -> Vec<(u64, Option<String>)> {
        let input = Box::new(Pieces(text.as_bytes().to_vec(), piece));
        let mut source = Source::new("x".into(), input, None, line_bytes_max, 8);
        let mut lines = Vec::new();
        loop {
            let line = match source.next_line().unwrap() {
                Line::Whole(range) => {
                    Some(String::from_utf8(source.bytes(&range).to_vec()).unwrap())
                }
                Line::TooLong => None,
                Line::End => return lines,
            };
            lines.push((source.line, line));
        }
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let text =
            "one\n\n  \r\n12345678\n123456789\n1234567890123456789012345678901234567890\nlast";
        let whole = |n, text: &str| (n, Some(text.to_owned()));
        let expected = vec![
            whole(1, "one"),
            whole(4, "12345678"),
            (5, None),
            (6, None),
            whole(7, "last"),
        ];
        for piece in 1..text.len() + 1 {
            assert_eq!(lines(text, piece, 8), expected, "pieces of {piece}");
            assert_eq!(
                lines(&format!("{text}\n"), piece, 8),
                expected,
                "pieces of {piece}"
            );
        }
        assert_eq!(lines(&"x".repeat(100), 7, 8), [(1, None)]);
        assert_eq!(lines("", 1, 8), []);
    }
}
