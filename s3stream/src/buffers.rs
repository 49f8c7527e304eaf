//! Memory for what passes through, used again: frames on their way to the lane, blocks on their way from a disk.
//!
//! Fresh memory is not free: the kernel clears every page of it at the first touch, which costs more than the copy into it
//! (0.5 CPU·s per GiB against 0.03). A buffer goes back to its pool when the last slice of its bytes is dropped, so nobody
//! can recycle what somebody still reads. The pool bounds what it *keeps*; what is in use is bounded by whoever charges
//! it. Small buffers are the allocator's business: it keeps those itself.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use memmap2::MmapMut;
use parking_lot::Mutex;

use crate::huge_pages::{self, HUGE_PAGE_BYTES};

/// Buffers that wait for their next use.
#[derive(Debug)]
pub struct BufferPool {
    idle: Mutex<Idle>,
    idle_bytes_max: AtomicUsize,
}

#[derive(Debug, Default)]
struct Idle {
    /// Of each size in the order in which they came, each with its turn.
    by_size: BTreeMap<usize, VecDeque<(u64, Memory)>>,
    bytes: usize,
    /// The last that was given.
    turn: u64,
}

/// Sizes are multiples of this.
const GRAIN_BYTES: usize = 64 << 10;
/// Shorter ones are not pooled.
pub const POOLED_BYTES_MIN: usize = 64 << 10;
/// Longer ones are not pooled either: few of them would displace all others.
pub const POOLED_BYTES_MAX: usize = (8 << 20) + GRAIN_BYTES;

/// Memory for `length` bytes, which are pooled. Few sizes, an eighth apart at most: lengths that differ a little use the same memory.
fn size_of(length: usize) -> usize {
    let grain = (length.next_power_of_two() / 16).max(GRAIN_BYTES);
    length.next_multiple_of(grain).min(POOLED_BYTES_MAX)
}

impl BufferPool {
    /// A pool that keeps at most `idle_bytes_max` bytes.
    pub fn new(idle_bytes_max: usize) -> Arc<BufferPool> {
        Arc::new(BufferPool { idle: Mutex::default(), idle_bytes_max: AtomicUsize::new(idle_bytes_max) })
    }

    /// From now on it keeps at most so many.
    pub fn keep(&self, idle_bytes_max: usize) {
        self.idle_bytes_max.store(idle_bytes_max, Ordering::Relaxed);
    }

    /// A buffer of `length` bytes of any content. Its memory may be half as much again, or two grains more.
    pub fn take(self: &Arc<Self>, length: usize) -> Buffer {
        let memory = if (POOLED_BYTES_MIN..=POOLED_BYTES_MAX).contains(&length) {
            let idle = self.idle.lock().take(length);
            idle.unwrap_or_else(|| Memory::new(size_of(length)))
        } else {
            Memory::Allocated(vec![0; length])
        };
        Buffer { memory, length, pool: self.clone() }
    }

    /// Bytes kept.
    pub fn idle_bytes(&self) -> usize {
        self.idle.lock().bytes
    }

    fn give_back(&self, memory: Memory) {
        let size = memory.bytes().len();
        let most = self.idle_bytes_max.load(Ordering::Relaxed);
        if !(POOLED_BYTES_MIN..=POOLED_BYTES_MAX).contains(&size) || size > most {
            return;
        }
        let mut idle = self.idle.lock();
        let displaced = idle.make_room(most - size);
        idle.add(size, memory);
        drop(idle);
        // Not under the lock.
        drop(displaced);
    }
}

impl Idle {
    /// The smallest that is large enough and not much larger: where lengths differ as those of GETs do, one of the very size
    /// is seldom here, and a replay from MinIO cleared two fifths of what it read into. What is in use is a tenth larger so.
    fn take(&mut self, length: usize) -> Option<Memory> {
        let size = *self.by_size.range(length..=size_of(length).max(length + length / 2)).next()?.0;
        self.remove(size, VecDeque::pop_back)
    }

    fn add(&mut self, size: usize, memory: Memory) {
        self.turn += 1;
        self.bytes += size;
        self.by_size.entry(size).or_default().push_back((self.turn, memory));
    }

    fn remove(
        &mut self,
        size: usize,
        which: impl FnOnce(&mut VecDeque<(u64, Memory)>) -> Option<(u64, Memory)>,
    ) -> Option<Memory> {
        let of_size = self.by_size.get_mut(&size)?;
        let (_, memory) = which(of_size)?;
        if of_size.is_empty() {
            self.by_size.remove(&size);
        }
        self.bytes -= size;
        Some(memory)
    }

    /// Lets go of those that waited longest, until `bytes_max` bytes are left: a new size of traffic displaces the one before,
    /// and a size that is rarely taken does not displace those that are taken often.
    fn make_room(&mut self, bytes_max: usize) -> Vec<Memory> {
        let mut displaced = Vec::new();
        while self.bytes > bytes_max {
            let turns = self.by_size.iter().filter_map(|(size, all)| Some((all.front()?.0, *size)));
            let Some((_, oldest)) = turns.min() else { break };
            displaced.extend(self.remove(oldest, VecDeque::pop_front));
        }
        displaced
    }
}

/// All of it is initialized: what is used again is not cleared.
#[derive(Debug)]
enum Memory {
    Allocated(Vec<u8>),
    /// Of huge pages, from the first of them on: page faults of a cache of gigabytes were a third of what a cold replay cost.
    Mapped {
        map: MmapMut,
        size: usize,
    },
}

impl Memory {
    fn new(size: usize) -> Memory {
        if size < HUGE_PAGE_BYTES {
            return Memory::Allocated(vec![0; size]);
        }
        match huge_pages::map(size) {
            Some(map) => Memory::Mapped { map, size },
            None => Memory::Allocated(vec![0; size]),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Memory::Allocated(memory) => memory,
            Memory::Mapped { map, size } => &map[..*size],
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Allocated(memory) => memory,
            Memory::Mapped { map, size } => &mut map[..*size],
        }
    }
}

/// A buffer while it is filled. Goes back to its pool when dropped, frozen or not.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    length: usize,
    pool: Arc<BufferPool>,
}

impl Buffer {
    /// Makes it immutable and shared.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.bytes()[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[..self.length]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::replace(&mut self.memory, Memory::Allocated(Vec::new())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    const KIB: usize = 1 << 10;

    #[test]
    fn a_buffer_returns_when_its_last_slice_is_dropped_and_not_before() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = pool.take(100 * KIB);
        assert_eq!(buffer.len(), 100 * KIB);
        buffer[..3].copy_from_slice(b"abc");
        let bytes = buffer.freeze();
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert_eq!((pool.idle_bytes(), &slice[..]), (0, &b"b"[..]));
        drop(slice);
        assert_eq!(pool.idle_bytes(), 128 * KIB);
        let again = pool.take(90 * KIB);
        assert_eq!((pool.idle_bytes(), again.len(), &again[..3]), (0, 90 * KIB, &b"abc"[..]), "used again");
    }

    #[test]
    fn what_is_much_larger_is_not_used_and_odd_sizes_are_not_kept() {
        let pool = BufferPool::new(8 << 20);
        drop(pool.take(1 << 20));
        let small = pool.take(200 * KIB);
        assert_eq!(pool.idle_bytes(), 1 << 20, "a MiB is not pinned by 200 KiB");
        drop((small, pool.take(1), pool.take(9 << 20)));
        assert_eq!(pool.idle_bytes(), (1 << 20) + 256 * KIB);
        let large = BufferPool::new(16 << 20);
        drop(large.take((8 << 20) + 4096));
        assert_eq!(large.idle_bytes(), POOLED_BYTES_MAX, "the longest that is pooled is kept");
    }

    /// As replays read: what comes is as long as blocks happen to be, and what came before goes in that order.
    #[test]
    fn lengths_of_all_sizes_use_the_same_memory() {
        let pool = BufferPool::new(64 << 20);
        let mut window = VecDeque::new();
        let (mut fresh, mut taken, dice) = (0, 0, Entropy::seeded(1));
        for turn in 0..4_000 {
            let length = (64 << 10) + dice.u64() as usize % (3 << 20);
            let before = pool.idle_bytes();
            let buffer = pool.take(length);
            assert!(buffer.memory.bytes().len() <= length + (length / 2).max(2 * GRAIN_BYTES));
            if turn >= 1_000 {
                taken += length;
                fresh += if pool.idle_bytes() == before { length } else { 0 };
            }
            window.push_back(buffer);
            if window.len() > 40 {
                window.pop_front();
            }
        }
        assert!(fresh < taken / 50, "{fresh} of {taken} bytes were touched for the first time");
    }

    #[test]
    fn a_new_size_displaces_others_and_never_passes_the_bound() {
        let pool = BufferPool::new(1 << 20);
        drop([pool.take(512 * KIB), pool.take(512 * KIB), pool.take(512 * KIB)]);
        assert_eq!(pool.idle_bytes(), 1 << 20);
        let many: Vec<Buffer> = (0..20).map(|_| pool.take(128 * KIB)).collect();
        drop(many);
        assert_eq!(pool.idle_bytes(), 1 << 20);
        assert_eq!(pool.idle.lock().by_size.keys().copied().collect::<Vec<_>>(), [128 * KIB]);
    }
}
