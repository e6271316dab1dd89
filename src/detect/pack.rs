//! How a table keeps a token while nobody looks at it: packed, and nothing of it lost.
//!
//! A [`Token`] in use takes one to two kilobytes with its lists. Nearly all of those remembered had
//! one call with one attempt, and fit into the 80 bytes of a [`Plain`]; the others are written
//! into a few cells. What is still to be handed out for a span stays as it is.
//!
//! Unpacking gives back the very token, with one exception that [`Plain`] names.

mod bytes;
mod cells;
mod image;
mod long;
mod plain;
#[cfg(test)]
mod tests;

use super::finding::Status;
use super::names::NameId;
use super::text::Text;
use super::time::Timestamp;
use super::token::{Life, Token};
use cells::{Cells, Kept};

pub use self::bytes::{Reader, Writer};
pub use image::{read_trace, write_trace};
pub use plain::{ATTEMPT_SERIAL, Plain};

/// A packed token.
pub enum Packed {
    Plain(Plain),
    Long(Kept),
    Whole(Box<Token>),
    /// In use; its status when it was taken.
    Out(Status),
}

/// What packed tokens take beyond their places in the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of the cells of those written into some.
    pub long: usize,
    /// Bytes of those kept as they are.
    pub whole: usize,
    /// Places among the undecided.
    pub placed: usize,
}

impl std::ops::AddAssign for Held {
    fn add_assign(&mut self, other: Self) {
        self.long += other.long;
        self.whole += other.whole;
        self.placed += other.placed;
    }
}

impl std::ops::SubAssign for Held {
    fn sub_assign(&mut self, other: Self) {
        self.long -= other.long;
        self.whole -= other.whole;
        self.placed -= other.placed;
    }
}

/// What a token is found by.
pub struct Brief {
    /// API as the events named it.
    pub api: NameId,
    pub text: Text,
    /// First start of the current lifecycle.
    pub first_start: Timestamp,
    /// Attempts still remembered, of all lifecycles.
    pub attempt_count: usize,
}

/// Attempts up to which a token is written into cells; one with more is used so often that
/// writing it anew each time would cost more than its memory.
const ATTEMPTS_WRITTEN_MAX: usize = 8;
/// Tokens kept for their memory: a judgement uses at most a fresh token and an older one.
const POOL_MAX: usize = 4;

/// Packs tokens and unpacks them, without allocating: their lists and cells are used again.
pub struct Packer {
    #[expect(clippy::vec_box, reason = "a token that stays whole keeps its box")]
    pool: Vec<Box<Token>>,
    cells: Cells,
    buffer: Vec<u8>,
    /// Bytes of the tokens that stay whole.
    whole_bytes: usize,
}

impl Packer {
    pub fn new() -> Self {
        Self {
            pool: Vec::new(),
            cells: Cells::new(),
            buffer: Vec::new(),
            whole_bytes: 0,
        }
    }

    /// Bytes that the packed tokens of all tables take.
    pub fn held(&self) -> Held {
        Held {
            long: self.cells.bytes(),
            whole: self.whole_bytes,
            placed: 0,
        }
    }

    /// A token with the memory of an earlier one; the caller begins with [`Token::renew`].
    pub fn blank(&mut self) -> Box<Token> {
        self.pool.pop().unwrap_or_else(blank)
    }

    /// Takes back a token that is forgotten.
    pub fn recycle(&mut self, token: Box<Token>) {
        // One that was made large must not be what small ones are kept in.
        if self.pool.len() < POOL_MAX && token.is_small() {
            self.pool.push(token);
        }
    }

    /// Packs a token as it is after an event.
    pub fn pack(&mut self, token: Box<Token>) -> Packed {
        if let Some(plain) = Plain::pack(&token) {
            self.recycle(token);
            return Packed::Plain(plain);
        }
        let history = &token.life.history;
        let waits = history.pending || !history.marks.is_empty() || token.life.note.is_some();
        if waits || token.attempts.len() > ATTEMPTS_WRITTEN_MAX {
            self.whole_bytes += token.bytes();
            return Packed::Whole(token);
        }
        self.buffer.clear();
        long::write(&token, &mut self.buffer);
        let kept = self.cells.keep(token.status, token.placed, &self.buffer);
        self.recycle(token);
        Packed::Long(kept)
    }

    /// Unpacks a token, seen last at `last_seen`, to use it.
    pub fn take(&mut self, packed: &mut Packed, last_seen: Timestamp) -> Box<Token> {
        let status = packed.status();
        let mut token = match std::mem::replace(packed, Packed::Out(status)) {
            Packed::Whole(token) => {
                self.whole_bytes -= token.bytes();
                token
            }
            other => {
                let mut token = self.blank();
                match &other {
                    Packed::Plain(plain) => plain.unpack(last_seen, &mut token),
                    Packed::Long(kept) => {
                        self.cells.read(kept, &mut self.buffer);
                        long::read(&self.buffer, last_seen, &mut token);
                        token.placed = kept.placed;
                        self.cells.free(kept);
                    }
                    Packed::Whole(_) | Packed::Out(_) => {}
                }
                token
            }
        };
        token.last_seen = last_seen;
        token
    }

    /// Calls `look` with a token that stays where it is.
    pub fn look<R>(
        &self,
        packed: &Packed,
        last_seen: Timestamp,
        look: impl FnOnce(&Token) -> R,
    ) -> R {
        if let Packed::Whole(token) = packed {
            return look(token);
        }
        let mut token = blank();
        match packed {
            Packed::Plain(plain) => plain.unpack(last_seen, &mut token),
            Packed::Long(kept) => {
                let mut buffer = Vec::new();
                self.cells.read(kept, &mut buffer);
                long::read(&buffer, last_seen, &mut token);
                token.placed = kept.placed;
            }
            Packed::Whole(_) | Packed::Out(_) => {}
        }
        token.last_seen = last_seen;
        look(&token)
    }

    /// What a token is found by. One with more than one attempt is unpacked for it.
    pub fn brief(&self, packed: &Packed, last_seen: Timestamp) -> Brief {
        match packed {
            Packed::Plain(plain) => plain.brief(last_seen),
            packed => self.look(packed, last_seen, |token| Brief {
                api: token.api,
                text: token.text.clone(),
                first_start: token.life.first_start,
                attempt_count: token.attempts.len(),
            }),
        }
    }

    /// Calls `mark` with every name that a packed token uses, some of them more than once.
    pub fn mark_names(&mut self, packed: &Packed, mark: &mut dyn FnMut(NameId)) {
        match packed {
            Packed::Plain(plain) => plain.mark_names(mark),
            Packed::Whole(token) => token.mark_names(mark),
            Packed::Long(kept) => {
                let mut token = self.blank();
                self.cells.read(kept, &mut self.buffer);
                long::read(&self.buffer, Timestamp::default(), &mut token);
                token.mark_names(mark);
                self.recycle(token);
            }
            Packed::Out(_) => {}
        }
    }
}

impl Packed {
    /// The token's status.
    pub fn status(&self) -> Status {
        match self {
            Self::Plain(plain) => plain.status(),
            Self::Long(kept) => kept.status,
            Self::Whole(token) => token.status,
            Self::Out(status) => *status,
        }
    }

    /// What it takes beyond its place in the table.
    pub fn held(&self) -> Held {
        let (long, whole) = match self {
            Self::Plain(_) | Self::Out(_) => (0, 0),
            Self::Long(kept) => (kept.bytes(), 0),
            Self::Whole(token) => (0, token.bytes()),
        };
        Held {
            long,
            whole,
            placed: usize::from(self.is_placed()),
        }
    }

    /// Whether it has a place among the undecided.
    pub fn is_placed(&self) -> bool {
        match self {
            Self::Plain(plain) => plain.is_undecided(),
            Self::Long(kept) => kept.placed,
            Self::Whole(token) => token.placed,
            Self::Out(_) => false,
        }
    }

    /// Whether nothing follows from forgetting it: no lease, no place among the undecided, no span.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Plain(plain) if plain.is_settled())
    }

    /// Whether it has something to hand out for a span.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Whole(token) if token.life.history.pending)
    }
}

fn blank() -> Box<Token> {
    let none = NameId::from_bits(0);
    let life = Life::new(1, Timestamp::MIN, 0);
    Box::new(Token::new(Text::new(""), none, none, life))
}
