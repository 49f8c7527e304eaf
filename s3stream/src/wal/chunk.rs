//! The memory that objects are built in: chunks of 2 MiB, given out as [`Bytes`] and back in the pool when the last
//! slice of them is dropped, so that nobody can recycle a buffer that somebody still reads (PRACTICE P4).
//!
//! A chunk is a huge page ([`huge_pages`]).
//!
//! A chunk begins where its address has the remainder that its place in the object has, by [`ALIGNMENT`]: a directory
//! store writes such memory past the page cache as it lies.
//!
//! What is smaller than a chunk, or larger, gets memory of its own size and goes back to the allocator: a quiet broker's
//! objects of some KiB shall not hold two MiB each. The pool bounds what it *keeps*; what is *in use* is bounded by whoever
//! pays for it: the lane, by its objects' capacity.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use memmap2::MmapMut;
use parking_lot::Mutex;

use crate::huge_pages;

/// What a disk wants memory, offsets and lengths to be multiples of that it reads by itself: no less than the block size of
/// any disk.
pub const ALIGNMENT: usize = 4096;

/// Chunks waiting for use, and a count of those in use.
#[derive(Debug)]
pub struct ChunkPool {
    idle: Mutex<Vec<MmapMut>>,
    idle_max: usize,
    in_use: AtomicUsize,
}

impl ChunkPool {
    /// Bytes of a pooled chunk: of a huge page.
    pub const CHUNK_BYTES: usize = huge_pages::HUGE_PAGE_BYTES;

    /// A pool that keeps at most `idle_bytes_max` bytes for the next objects.
    pub fn new(idle_bytes_max: usize) -> Arc<ChunkPool> {
        let idle_max = idle_bytes_max / Self::CHUNK_BYTES;
        Arc::new(ChunkPool { idle: Mutex::new(Vec::new()), idle_max, in_use: AtomicUsize::new(0) })
    }

    /// Memory for about `length` bytes from `position` of an object on, and for `least` of them in any case: a pooled chunk
    /// if that is its size, else so much and at most [`ALIGNMENT`] more.
    pub fn take(self: &Arc<Self>, length: usize, least: usize, position: u64) -> ChunkWriter {
        let mapped = if length == Self::CHUNK_BYTES {
            self.idle.lock().pop().or_else(|| huge_pages::map(Self::CHUNK_BYTES))
        } else {
            None
        };
        let memory = match mapped {
            Some(map) => Memory::Mapped { map, written: 0 },
            None => Memory::Allocated(Vec::with_capacity(
                length + if length < ALIGNED_MIN { 0 } else { ALIGNMENT },
            )),
        };
        let capacity = memory.capacity();
        self.in_use.fetch_add(capacity, Ordering::Relaxed);
        let mut writer = ChunkWriter { chunk: Chunk { memory, lead: 0, capacity, pool: self.clone() } };
        let address = writer.written().as_ptr() as usize;
        let lead = (position as usize).wrapping_sub(address) % ALIGNMENT;
        if least + lead <= capacity && capacity >= ALIGNED_MIN {
            writer.extend(&[0; ALIGNMENT][..lead]);
            writer.chunk.lead = lead;
        }
        writer
    }

    /// Bytes given out and not yet dropped.
    pub fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Bytes kept for the next objects.
    pub fn idle(&self) -> usize {
        self.idle.lock().len() * Self::CHUNK_BYTES
    }
}

/// Shorter memory lies anywhere: it is copied sooner than written by itself.
const ALIGNED_MIN: usize = 64 << 10;

/// A chunk while it is written.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk: Chunk,
}

impl ChunkWriter {
    /// Bytes of memory.
    pub fn capacity(&self) -> usize {
        self.chunk.capacity
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.chunk.capacity - self.chunk.lead - self.written().len()
    }

    /// What was written so far.
    pub fn written(&self) -> &[u8] {
        self.chunk.as_ref()
    }

    /// Writes on.
    ///
    /// # Panics
    /// If there are more than [`ChunkWriter::room`].
    pub fn extend(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "a chunk is written past its end");
        match &mut self.chunk.memory {
            Memory::Allocated(memory) => memory.extend_from_slice(bytes),
            Memory::Mapped { map, written } => {
                map[*written..*written + bytes.len()].copy_from_slice(bytes);
                *written += bytes.len();
            }
        }
    }

    /// Makes it immutable and shared.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self.chunk)
    }
}

#[derive(Debug)]
enum Memory {
    Mapped { map: MmapMut, written: usize },
    Allocated(Vec<u8>),
}

impl Memory {
    fn capacity(&self) -> usize {
        match self {
            Memory::Mapped { map, .. } => map.len(),
            Memory::Allocated(memory) => memory.capacity(),
        }
    }

    fn written(&self) -> &[u8] {
        match self {
            Memory::Mapped { map, written } => &map[..*written],
            Memory::Allocated(memory) => memory,
        }
    }
}

/// The owner of the memory; goes back to the pool when dropped.
#[derive(Debug)]
struct Chunk {
    memory: Memory,
    /// Unused bytes before the first.
    lead: usize,
    capacity: usize,
    pool: Arc<ChunkPool>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.memory.written()[self.lead..]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.in_use.fetch_sub(self.capacity, Ordering::Relaxed);
        let memory = std::mem::replace(&mut self.memory, Memory::Allocated(Vec::new()));
        if let Memory::Mapped { map, .. } = memory {
            let mut idle = self.pool.idle.lock();
            if idle.len() < self.pool.idle_max {
                idle.push(map);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_returns_when_its_last_slice_is_dropped_and_not_before() {
        let pool = ChunkPool::new(2 << 20);
        let mut writer = pool.take(ChunkPool::CHUNK_BYTES, 0, 0);
        writer.extend(b"abc");
        let bytes = writer.freeze();
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert_eq!((pool.idle(), pool.in_use()), (0, 2 << 20));
        assert_eq!(&slice[..], b"b");
        drop(slice);
        assert_eq!((pool.idle(), pool.in_use()), (2 << 20, 0));

        let again = pool.take(ChunkPool::CHUNK_BYTES, 0, 0);
        assert_eq!((pool.idle(), again.room()), (0, 2 << 20), "reused, and empty again");
    }

    #[test]
    fn the_pool_keeps_no_more_than_it_may_and_no_odd_sizes() {
        let pool = ChunkPool::new(2 << 20);
        let odd = pool.take(100, 100, 7);
        assert_eq!(odd.capacity(), 100);
        let chunks = [pool.take(ChunkPool::CHUNK_BYTES, 0, 0), pool.take(ChunkPool::CHUNK_BYTES, 0, 0)];
        drop(odd);
        assert_eq!(pool.idle(), 0);
        drop(chunks);
        assert_eq!((pool.idle(), pool.in_use()), (2 << 20, 0));
    }

    #[test]
    fn memory_lies_where_its_place_in_the_object_is_unless_what_must_fit_would_not() {
        let pool = ChunkPool::new(0);
        for length in [ChunkPool::CHUNK_BYTES, ALIGNED_MIN, 3 * ChunkPool::CHUNK_BYTES + 1] {
            for position in [0, 1, 4095, 4096, 5_000_001_u64] {
                let mut writer = pool.take(length, 1000, position);
                writer.extend(b"abc");
                assert_eq!(writer.written(), b"abc");
                let address = writer.written().as_ptr() as u64;
                assert_eq!(address % ALIGNMENT as u64, position % ALIGNMENT as u64, "{length} at {position}");
                let room = writer.room();
                writer.extend(&vec![7; room]);
                assert_eq!((writer.room(), writer.freeze().len()), (0, room + 3));
            }
        }
        let whole = pool.take(ChunkPool::CHUNK_BYTES, ChunkPool::CHUNK_BYTES, 5);
        assert_eq!(whole.room(), ChunkPool::CHUNK_BYTES);
    }
}
