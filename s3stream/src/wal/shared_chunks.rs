//! Chunks that several objects lie in, one behind the other. Pure: who waits, locks and counts is [`super::chunk`].
//!
//! Of each chunk this keeps a handle without bytes: behind the last object of it while there is room, and after that to get the
//! memory back when nobody has a slice of it any more. Objects go in about the order in which they came, and so do chunks: a few
//! of the oldest are looked at whenever an object is made, whatever its size, so that none stays for long.

use std::collections::VecDeque;

use bytes::BytesMut;

/// The oldest of the full ones that are looked at for each object.
const LOOKED_AT: usize = 4;

/// The chunks of one pool.
#[derive(Debug)]
pub struct SharedChunks {
    chunk_bytes: usize,
    free_max: usize,
    /// What is left of the one that is being filled; None before the first, and while somebody writes to it.
    open: Option<BytesMut>,
    /// With no room for more, oldest first.
    full: VecDeque<BytesMut>,
    /// Nobody has a slice of them.
    free: Vec<BytesMut>,
    /// Chunks that are open or being written to.
    filling: usize,
}

impl SharedChunks {
    /// None yet; `free_max` of them are kept for later.
    pub fn new(chunk_bytes: usize, free_max: usize) -> SharedChunks {
        SharedChunks {
            chunk_bytes,
            free_max,
            open: None,
            full: VecDeque::new(),
            free: Vec::new(),
            filling: 0,
        }
    }

    /// Memory with room for `room` bytes, at most a chunk; and how much was left for nobody of the chunk before.
    pub fn take(&mut self, room: usize) -> (BytesMut, usize) {
        let mut left = 0;
        if let Some(open) = self.open.take() {
            if open.capacity() >= room {
                return (open, 0);
            }
            left = open.capacity();
            self.fill(open);
        }
        self.filling += 1;
        (self.free.pop().unwrap_or_else(|| BytesMut::with_capacity(self.chunk_bytes)), left)
    }

    /// Somebody has written to it, and split off what he wrote.
    pub fn put_back(&mut self, mut memory: BytesMut) {
        memory.clear();
        match &self.open {
            None => self.open = Some(memory),
            Some(_) => self.fill(memory),
        }
    }

    /// Gets back what of the oldest is free; what is more than may be kept goes.
    pub fn reclaim(&mut self) {
        for _ in 0..LOOKED_AT.min(self.full.len()) {
            let Some(mut memory) = self.full.pop_front() else { break };
            if !memory.try_reclaim(self.chunk_bytes) {
                self.full.push_back(memory);
            } else if self.free.len() < self.free_max {
                self.free.push(memory);
            }
        }
    }

    fn fill(&mut self, memory: BytesMut) {
        self.filling -= 1;
        self.full.push_back(memory);
    }

    /// Bytes of chunks that objects lie in, or did until a moment ago.
    pub fn in_use(&self) -> usize {
        (self.filling + self.full.len()) * self.chunk_bytes
    }

    /// Bytes of those that wait for use.
    pub fn idle(&self) -> usize {
        self.free.len() * self.chunk_bytes
    }
}
