//! The memory that objects are built in: chunks of 2 MiB, given out as [`Bytes`] and back in the pool when the last
//! slice of them is dropped, so that nobody can recycle a buffer that somebody still reads (PRACTICE P4).
//!
//! A chunk that one object fills is a huge page ([`huge_pages`]).
//!
//! A chunk begins where its address has the remainder that its place in the object has, by [`ALIGNMENT`]: a directory
//! store writes such memory past the page cache as it lies.
//!
//! Objects of [`ALIGNED_MIN`] and more that do not fill a chunk lie in one *together*, one behind the other: memory of their own
//! sizes would be fresh from the system again and again. They go in the order in which they came, and their chunk with the last.
//! A pool that keeps little for the next objects does not do so.
//!
//! What is smaller, or larger than a chunk, gets memory of its own size and goes back to the allocator: a quiet broker's
//! objects of some KiB shall not hold two MiB each. The pool bounds what it *keeps*; what is *in use* is bounded by whoever
//! pays for it: the lane, by its objects' capacity.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use memmap2::MmapMut;
use parking_lot::Mutex;

use super::shared_chunks::SharedChunks;
use crate::huge_pages;

/// What a disk wants memory, offsets and lengths to be multiples of that it reads by itself: no less than the block size of
/// any disk.
pub const ALIGNMENT: usize = 4096;

/// Of the chunks that wait for use one in so many is of those that objects share.
const SHARED_PART: usize = 4;

/// Chunks waiting for use, and a count of those in use.
#[derive(Debug)]
pub struct ChunkPool {
    idle: Mutex<Vec<MmapMut>>,
    idle_max: usize,
    /// None where too little is kept.
    shared: Option<Mutex<SharedChunks>>,
    in_use: AtomicUsize,
}

impl ChunkPool {
    /// Bytes of a pooled chunk: of a huge page.
    pub const CHUNK_BYTES: usize = huge_pages::HUGE_PAGE_BYTES;

    /// A pool that keeps at most `idle_bytes_max` bytes for the next objects.
    pub fn new(idle_bytes_max: usize) -> Arc<ChunkPool> {
        let idle_max = idle_bytes_max / Self::CHUNK_BYTES;
        let shared_max = idle_max / SHARED_PART;
        let shared = (shared_max > 0).then(|| Mutex::new(SharedChunks::new(Self::CHUNK_BYTES, shared_max)));
        let idle_max = idle_max - shared_max;
        Arc::new(ChunkPool { idle: Mutex::default(), idle_max, shared, in_use: AtomicUsize::new(0) })
    }

    /// Memory for about `length` bytes from `position` of an object on, and for `least` of them in any case: a pooled chunk
    /// if that is its size, what is left of a shared one if that is a good part of it, else so much and at most [`ALIGNMENT`]
    /// more.
    pub fn take(self: &Arc<Self>, length: usize, least: usize, position: u64) -> ChunkWriter {
        let mut shared = self.shared.as_ref().map(Mutex::lock);
        shared.iter_mut().for_each(|shared| shared.reclaim());
        let memory = match (length, shared) {
            (Self::CHUNK_BYTES, _) => self.mapped(),
            (ALIGNED_MIN..Self::CHUNK_BYTES, Some(mut shared)) if least + ALIGNMENT <= Self::CHUNK_BYTES => {
                let room = least.max(length.min(SHARED_ROOM_MIN)) + ALIGNMENT;
                let (memory, left) = shared.take(room);
                Some(Memory::Shared { memory, left })
            }
            _ => None,
        };
        let aligned = if length < ALIGNED_MIN { 0 } else { ALIGNMENT };
        let memory = memory.unwrap_or_else(|| Memory::Allocated(Vec::with_capacity(length + aligned)));
        let capacity = memory.capacity();
        self.in_use.fetch_add(memory.own_bytes(), Ordering::Relaxed);
        let mut writer = ChunkWriter { chunk: Chunk { memory, lead: 0, capacity, pool: self.clone() } };
        let address = writer.written().as_ptr() as usize;
        let lead = (position as usize).wrapping_sub(address) % ALIGNMENT;
        if least + lead <= capacity && capacity >= ALIGNED_MIN {
            writer.extend(&[0; ALIGNMENT][..lead]);
            writer.chunk.lead = lead;
        }
        writer
    }

    fn mapped(&self) -> Option<Memory> {
        let map = self.idle.lock().pop().or_else(|| huge_pages::map(Self::CHUNK_BYTES))?;
        Some(Memory::Mapped { map, written: 0 })
    }

    /// Bytes given out and not yet dropped; of shared chunks all, until some time after the last slice of one is dropped.
    pub fn in_use(&self) -> usize {
        let shared = self.shared.as_ref().map_or(0, |shared| shared.lock().in_use());
        self.in_use.load(Ordering::Relaxed) + shared
    }

    /// Bytes kept for the next objects.
    pub fn idle(&self) -> usize {
        let shared = self.shared.as_ref().map_or(0, |shared| shared.lock().idle());
        self.idle.lock().len() * Self::CHUNK_BYTES + shared
    }
}

/// Shorter memory lies anywhere: it is copied sooner than written by itself.
pub const ALIGNED_MIN: usize = 64 << 10;
/// A shared chunk with less room is not gone on with for an object that is larger.
pub const SHARED_ROOM_MIN: usize = 256 << 10;

/// A chunk while it is written.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk: Chunk,
}

impl ChunkWriter {
    /// Bytes of memory that it costs: of a shared chunk what was written, and what was left unused at the end of the one before.
    pub fn cost(&self) -> usize {
        match &self.chunk.memory {
            Memory::Shared { memory, left } => memory.len() + left,
            Memory::Mapped { .. } | Memory::Allocated(_) => self.chunk.capacity,
        }
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
            Memory::Shared { memory, .. } => memory.extend_from_slice(bytes),
            Memory::Mapped { map, written } => {
                map[*written..*written + bytes.len()].copy_from_slice(bytes);
                *written += bytes.len();
            }
        }
    }

    /// Makes it immutable and shared.
    pub fn freeze(mut self) -> Bytes {
        match &mut self.chunk.memory {
            Memory::Shared { memory, .. } => {
                let mut written = memory.split().freeze();
                written.advance(self.chunk.lead);
                written
            }
            Memory::Mapped { .. } | Memory::Allocated(_) => Bytes::from_owner(self.chunk),
        }
    }
}

#[derive(Debug)]
enum Memory {
    Mapped {
        map: MmapMut,
        written: usize,
    },
    /// What is left of a chunk that several objects lie in, and how much was left of the one before.
    Shared {
        memory: BytesMut,
        left: usize,
    },
    Allocated(Vec<u8>),
}

impl Memory {
    fn capacity(&self) -> usize {
        match self {
            Memory::Mapped { map, .. } => map.len(),
            Memory::Shared { memory, .. } => memory.capacity(),
            Memory::Allocated(memory) => memory.capacity(),
        }
    }

    /// Bytes that nobody else counts.
    fn own_bytes(&self) -> usize {
        match self {
            Memory::Shared { .. } => 0,
            Memory::Mapped { .. } | Memory::Allocated(_) => self.capacity(),
        }
    }

    fn written(&self) -> &[u8] {
        match self {
            Memory::Mapped { map, written } => &map[..*written],
            Memory::Shared { memory, .. } => memory,
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
        self.pool.in_use.fetch_sub(self.memory.own_bytes(), Ordering::Relaxed);
        match std::mem::replace(&mut self.memory, Memory::Allocated(Vec::new())) {
            Memory::Mapped { map, .. } => {
                let mut idle = self.pool.idle.lock();
                if idle.len() < self.pool.idle_max {
                    idle.push(map);
                }
            }
            Memory::Shared { memory, .. } => {
                if let Some(shared) = &self.pool.shared {
                    shared.lock().put_back(memory);
                }
            }
            Memory::Allocated(_) => {}
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
        assert_eq!(odd.cost(), 100);
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

    /// A pool that keeps one shared chunk, and what gives objects of it: their bytes, and what they cost.
    fn sharing() -> (Arc<ChunkPool>, impl Fn(usize, u8) -> (Bytes, usize)) {
        let pool = ChunkPool::new(SHARED_PART * ChunkPool::CHUNK_BYTES);
        let of = pool.clone();
        let object = move |length: usize, byte: u8| {
            let mut writer = of.take(length, length, 0);
            writer.extend(&vec![byte; length]);
            let cost = writer.cost();
            (writer.freeze(), cost)
        };
        (pool, object)
    }

    #[test]
    fn objects_of_middling_size_lie_in_one_chunk_and_pay_for_what_is_left_of_it() {
        let (pool, object) = sharing();
        let objects: Vec<_> = (0..20).map(|n| object(100 << 10, n)).collect();
        assert_eq!(pool.in_use(), ChunkPool::CHUNK_BYTES, "twenty objects of 100 KiB, each at a page");
        assert!(objects.iter().all(|(_, cost)| (100 << 10..=104 << 10).contains(cost)));
        for (n, (bytes, _)) in (0..).zip(&objects) {
            assert!(
                bytes.iter().all(|byte| *byte == n) && (bytes.as_ptr() as usize).is_multiple_of(ALIGNMENT)
            );
        }
        let (_, cost) = object(120 << 10, 99);
        assert_eq!(pool.in_use(), 2 * ChunkPool::CHUNK_BYTES);
        let left = ChunkPool::CHUNK_BYTES - objects.iter().map(|(_, cost)| cost).sum::<usize>();
        assert!(cost > (120 << 10) + left - ALIGNMENT, "{cost}, {left} were left");
    }

    #[test]
    fn a_shared_chunk_is_used_again_after_its_last_slice_whatever_objects_come() {
        let (pool, object) = sharing();
        let objects: Vec<Bytes> = (0..30).map(|n| object(200 << 10, n).0).collect();
        assert_eq!(pool.in_use(), 3 * ChunkPool::CHUNK_BYTES, "ten of them are two MiB");
        let slice = objects[0].slice(7..9);
        drop(objects);
        object(100, 0);
        assert_eq!((pool.in_use(), pool.idle()), (2 * ChunkPool::CHUNK_BYTES, ChunkPool::CHUNK_BYTES));
        assert_eq!(slice, [0, 0][..]);
        drop(slice);
        object(100, 0);
        assert_eq!((pool.in_use(), pool.idle()), (ChunkPool::CHUNK_BYTES, ChunkPool::CHUNK_BYTES));
    }
}
