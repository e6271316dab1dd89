//! A vector that grows in pieces.

use std::ops::{Index, IndexMut};

/// A vector that never moves what it holds: growing copies nothing, however long it is, and memory
/// is taken as it fills.
#[derive(Debug)]
pub struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: u32,
}

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// No position: one past the last that can be held.
pub const NONE: u32 = u32::MAX;

impl<T> Chunks<T> {
    pub fn new() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }

    /// Adds an item and returns its position.
    pub fn push(&mut self, item: T) -> u32 {
        if self.len as usize == self.chunks.len() * CHUNK {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(item);
        }
        self.len += 1;
        self.len - 1
    }

    pub fn len(&self) -> u32 {
        self.len
    }

    pub fn get(&self, at: u32) -> Option<&T> {
        (at < self.len).then(|| &self[at])
    }

    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        (at < self.len).then(|| &mut self[at])
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        &self.chunks[(at >> CHUNK_BITS) as usize][at as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        &mut self.chunks[(at >> CHUNK_BITS) as usize][at as usize % CHUNK]
    }
}
