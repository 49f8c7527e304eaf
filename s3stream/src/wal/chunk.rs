//! The memory that objects are built in: chunks of 1 MiB, given out as [`Bytes`] and back in the pool when the last
//! slice of them is dropped, so that nobody can recycle a buffer that somebody still reads (PRACTICE P4).
//!
//! What is smaller than a chunk, or larger, gets memory of its own size and goes back to the allocator: a quiet broker's
//! objects of some KiB shall not hold a MiB each. The pool bounds what it *keeps*; what is *in use* is bounded by whoever
//! pays for it: the lane, by its objects' capacity.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

/// Chunks waiting for use, and a count of those in use.
#[derive(Debug)]
pub struct ChunkPool {
    idle: Mutex<Vec<Vec<u8>>>,
    idle_max: usize,
    in_use: AtomicUsize,
}

impl ChunkPool {
    /// Bytes of a pooled chunk.
    pub const CHUNK_BYTES: usize = 1 << 20;

    /// A pool that keeps at most `idle_bytes_max` bytes for the next objects.
    pub fn new(idle_bytes_max: usize) -> Arc<ChunkPool> {
        let idle_max = idle_bytes_max / Self::CHUNK_BYTES;
        Arc::new(ChunkPool { idle: Mutex::new(Vec::new()), idle_max, in_use: AtomicUsize::new(0) })
    }

    /// Memory for `length` bytes: a pooled chunk if that is its size, else exactly so much.
    pub fn take(self: &Arc<Self>, length: usize) -> ChunkWriter {
        let pooled = (length == Self::CHUNK_BYTES).then(|| self.idle.lock().pop()).flatten();
        let buffer = pooled.unwrap_or_else(|| Vec::with_capacity(length));
        let capacity = buffer.capacity();
        self.in_use.fetch_add(capacity, Ordering::Relaxed);
        ChunkWriter { chunk: Chunk { buffer, capacity, pool: self.clone() } }
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
        self.chunk.capacity - self.chunk.buffer.len()
    }

    /// To write into, at most [`ChunkWriter::room`] more bytes.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.chunk.buffer
    }

    /// Makes it immutable and shared.
    pub fn freeze(self) -> Bytes {
        let chunk = self.chunk;
        assert!(chunk.buffer.capacity() == chunk.capacity, "a chunk was written past its end");
        Bytes::from_owner(chunk)
    }
}

/// The owner of the memory; goes back to the pool when dropped.
#[derive(Debug)]
struct Chunk {
    buffer: Vec<u8>,
    capacity: usize,
    pool: Arc<ChunkPool>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.in_use.fetch_sub(self.capacity, Ordering::Relaxed);
        if self.capacity != ChunkPool::CHUNK_BYTES {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut idle = self.pool.idle.lock();
        if idle.len() < self.pool.idle_max {
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_returns_when_its_last_slice_is_dropped_and_not_before() {
        let pool = ChunkPool::new(1 << 20);
        let mut writer = pool.take(ChunkPool::CHUNK_BYTES);
        writer.buffer().extend_from_slice(b"abc");
        let bytes = writer.freeze();
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert_eq!((pool.idle(), pool.in_use()), (0, 1 << 20));
        assert_eq!(&slice[..], b"b");
        drop(slice);
        assert_eq!((pool.idle(), pool.in_use()), (1 << 20, 0));

        let again = pool.take(ChunkPool::CHUNK_BYTES);
        assert_eq!((pool.idle(), again.room()), (0, 1 << 20), "reused, and empty again");
    }

    #[test]
    fn the_pool_keeps_no_more_than_it_may_and_no_odd_sizes() {
        let pool = ChunkPool::new(1 << 20);
        let odd = pool.take(100);
        assert_eq!(odd.capacity(), 100);
        let chunks = [pool.take(ChunkPool::CHUNK_BYTES), pool.take(ChunkPool::CHUNK_BYTES)];
        drop(odd);
        assert_eq!(pool.idle(), 0);
        drop(chunks);
        assert_eq!((pool.idle(), pool.in_use()), (1 << 20, 0));
    }
}
