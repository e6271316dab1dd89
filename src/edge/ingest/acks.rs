//! Acknowledgements on their way to one client, who may never read them (SPEC §2). Pure.

use std::io::{self, Write};

/// The longest: 20 digits.
const LINE_BYTES_MAX: usize = 42;

/// At most one line is under way. What is acknowledged while the client does not read is folded
/// into one number, so that not reading costs nothing.
#[derive(Debug, Default)]
pub(super) struct Acks {
    owed: Option<u64>,
    line: Line,
    broken: bool,
}

#[derive(Debug)]
struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    sent: usize,
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; LINE_BYTES_MAX],
            sent: 0,
            length: 0,
        }
    }
}

impl Acks {
    /// All lines up to `seq` are read.
    pub(super) fn owe(&mut self, seq: u64) {
        if !self.broken {
            self.owed = Some(seq);
        }
    }

    /// Sends what `write` takes. A line that it took a part of is completed before the next one;
    /// a client that cannot be written to any more gets none.
    pub(super) fn send(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) {
        loop {
            let Self { owed, line, .. } = self;
            if (line.sent == 0 || line.sent == line.length)
                && let Some(seq) = owed.take()
            {
                line.set(seq);
            }
            let rest = &line.bytes[line.sent..line.length];
            if rest.is_empty() {
                return;
            }
            match write(rest) {
                Ok(0) => return self.give_up(),
                Ok(taken) => line.sent += taken.min(rest.len()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.give_up(),
            }
        }
    }

    fn give_up(&mut self) {
        *self = Self {
            broken: true,
            ..Self::default()
        };
    }
}

impl Line {
    fn set(&mut self, seq: u64) {
        let mut rest = &mut self.bytes[..];
        // It fits: the line has a longest form.
        let _ = writeln!(rest, "{{\"type\":\"ack\",\"seq\":{seq}}}");
        self.length = LINE_BYTES_MAX - rest.len();
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: io::ErrorKind = io::ErrorKind::WouldBlock;

    fn pending(acks: &Acks) -> bool {
        acks.owed.is_some() || acks.line.sent < acks.line.length
    }

    /// Sends to a client that has room for `room` more bytes.
    fn send(acks: &mut Acks, mut room: usize, to: &mut Vec<u8>) {
        acks.send(|bytes| {
            let taken = bytes.len().min(room);
            if taken == 0 {
                return Err(FULL.into());
            }
            room -= taken;
            to.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        });
    }

    #[test]
    fn what_is_not_read_is_folded_into_one() {
        let (mut acks, mut got) = (Acks::default(), Vec::new());
        for seq in 1..=1000 {
            acks.owe(seq);
            send(&mut acks, 0, &mut got);
            assert!(pending(&acks));
        }
        send(&mut acks, 10_000, &mut got);
        assert_eq!(got, b"{\"type\":\"ack\",\"seq\":1000}\n");
        assert!(!pending(&acks));
        send(&mut acks, 10_000, &mut got);
        assert_eq!(got.len(), 26);
    }

    #[test]
    fn a_line_sent_in_part_is_completed_first() {
        let max = u64::MAX.to_string();
        for room in 1..40 {
            let (mut acks, mut got) = (Acks::default(), Vec::new());
            acks.owe(7);
            send(&mut acks, room, &mut got);
            acks.owe(8);
            acks.owe(u64::MAX);
            let mut turns = 0;
            while pending(&acks) {
                send(&mut acks, room, &mut got);
                turns += 1;
                assert!(turns < 100);
            }
            let text = String::from_utf8(got).unwrap();
            let seqs: Vec<_> = text
                .lines()
                .map(|line| line.strip_prefix("{\"type\":\"ack\",\"seq\":").unwrap())
                .map(|line| line.strip_suffix('}').unwrap())
                .collect();
            assert_eq!(seqs, ["7", &max], "room {room}");
        }
    }

    #[test]
    fn a_client_that_closed_its_end_gets_no_more() {
        for answer in [Ok(0), Err(io::ErrorKind::BrokenPipe)] {
            let mut acks = Acks::default();
            acks.owe(1);
            acks.send(|_| answer.map_err(Into::into));
            acks.owe(2);
            assert!(!pending(&acks));
            acks.send(|_| panic!("written to again"));
        }
    }
}
