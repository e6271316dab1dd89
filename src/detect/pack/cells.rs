//! Byte strings of any length in cells of 32 bytes, without an allocation each.

use crate::detect::chunks::{Chunks, NONE};
use crate::detect::finding::Status;

const CELL: usize = 32;
/// Bytes of a cell that another one follows; the number of that one is in the rest.
const PART: usize = CELL - 4;
/// Bytes kept in place.
const HEAD: usize = 64;

/// A byte string in [`Cells`], and of the token it stands for its status and whether it has its place
/// among the undecided.
#[derive(Debug)]
pub struct Kept {
    first: u32,
    length: u16,
    pub status: Status,
    pub placed: bool,
    head: [u8; HEAD],
}

pub struct Cells {
    cells: Chunks<[u8; CELL]>,
    free: u32,
    used: usize,
}

impl Cells {
    pub fn new() -> Self {
        Self {
            cells: Chunks::new(),
            free: NONE,
            used: 0,
        }
    }

    /// Keeps `bytes`, at most 65535.
    pub fn keep(&mut self, status: Status, placed: bool, bytes: &[u8]) -> Kept {
        let in_head = bytes.len().min(HEAD);
        let (start, mut rest) = bytes.split_at(in_head);
        let mut head = [0; HEAD];
        head[..in_head].copy_from_slice(start);
        let mut first = NONE;
        let mut previous = NONE;
        while !rest.is_empty() {
            let at = self.allocate();
            match previous {
                NONE => first = at,
                previous => self.cells[previous][PART..].copy_from_slice(&at.to_le_bytes()),
            }
            let (part, others) = rest.split_at(part(rest.len()));
            self.cells[at][..part.len()].copy_from_slice(part);
            (previous, rest) = (at, others);
        }
        Kept {
            first,
            length: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
            status,
            placed,
            head,
        }
    }

    /// Reads what was kept into `buffer`.
    pub fn read(&self, kept: &Kept, buffer: &mut Vec<u8>) {
        buffer.clear();
        let length = usize::from(kept.length);
        buffer.extend_from_slice(&kept.head[..length.min(HEAD)]);
        let mut at = kept.first;
        while buffer.len() < length {
            let cell = &self.cells[at];
            buffer.extend_from_slice(&cell[..part(length - buffer.len())]);
            at = next(cell);
        }
    }

    /// Frees the cells of what was kept.
    pub fn free(&mut self, kept: &Kept) {
        let mut left = usize::from(kept.length).saturating_sub(HEAD);
        let mut at = kept.first;
        while left > 0 {
            left -= part(left);
            self.used -= 1;
            let free = self.free.to_le_bytes();
            let cell = &mut self.cells[at];
            (self.free, at) = (at, next(cell));
            cell[PART..].copy_from_slice(&free);
        }
    }

    /// Bytes of the cells in use.
    pub fn bytes(&self) -> usize {
        self.used * CELL
    }

    #[cfg(test)]
    pub fn len(&self) -> u32 {
        self.cells.len()
    }

    fn allocate(&mut self) -> u32 {
        self.used += 1;
        if self.free == NONE {
            return self.cells.push([0; CELL]);
        }
        let at = self.free;
        self.free = next(&self.cells[at]);
        at
    }
}

impl Kept {
    /// Bytes of its cells.
    pub fn bytes(&self) -> usize {
        let rest = usize::from(self.length).saturating_sub(HEAD);
        // All cells but the last one hold a part.
        let cells = match rest {
            0 => 0,
            rest if rest <= CELL => 1,
            rest => 1 + (rest - CELL).div_ceil(PART),
        };
        cells * CELL
    }
}

/// How many of `left` bytes the next cell holds: all, if no other has to follow.
fn part(left: usize) -> usize {
    if left <= CELL { left } else { PART }
}

fn next(cell: &[u8; CELL]) -> u32 {
    u32::from_le_bytes([cell[PART], cell[PART + 1], cell[PART + 2], cell[PART + 3]])
}
