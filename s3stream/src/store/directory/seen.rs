//! What was read of a directory's files before, roughly. A replay that passes once shall not fill the page cache, which costs
//! more than all else that is done with its bytes ([`super::direct`]); what is read again shall be found there.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use super::direct::DIRECT_MIN;

/// Files are remembered in parts of this many bytes: one begins in every range that is long enough to be read directly.
const PART_BYTES: u64 = DIRECT_MIN as u64;
/// Parts that are remembered at most: 16 GiB of them.
const PARTS: usize = 1 << 16;

/// The parts that were read last. Where two of them meet in one place the later one stays; where they are taken for one
/// another, once in 2^32 times, something is read through the page cache that need not be.
pub(super) struct Seen {
    hasher: RandomState,
    places: Box<[AtomicU32]>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { hasher: RandomState::new(), places: (0..PARTS).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Seen {
    /// Bytes `start..end` of an object are read: was the first part that begins in them read before? (Not the part that they
    /// begin in: that is also of the range before.)
    pub fn again(&self, key: &str, start: u64, end: u64) -> bool {
        let parts = start.div_ceil(PART_BYTES)..end.div_ceil(PART_BYTES);
        // From the last to the first, so that what is said is about the first.
        parts.rev().fold(false, |_, part| self.mark(key, part))
    }

    fn mark(&self, key: &str, part: u64) -> bool {
        let hash = self.hasher.hash_one((key, part));
        let (place, print) = (hash as usize % PARTS, (hash >> 32) as u32);
        self.places[place].swap(print, Ordering::Relaxed) == print
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = PART_BYTES;

    #[test]
    fn what_is_read_again_is_known_by_the_first_part_that_begins_in_it() {
        let seen = Seen::default();
        assert!(!seen.again("a", 0, 8 * PART + 5));
        assert!(!seen.again("a", 8 * PART + 5, 20 * PART), "it goes on where that ended");
        assert!(seen.again("a", 0, PART), "any part of it");
        assert!(seen.again("a", 7 * PART - 1, 9 * PART));
        assert!(!seen.again("a", 20 * PART, 21 * PART));
        assert!(!seen.again("b", 0, PART), "another object");
    }

    #[test]
    fn a_long_pass_is_forgotten() {
        let seen = Seen::default();
        seen.again("first", 0, 4 * PART);
        seen.again("pass", 0, 16 * PARTS as u64 * PART);
        let kept = (0..4).filter(|part| seen.again("first", part * PART, (part + 1) * PART)).count();
        assert_eq!(kept, 0);
    }
}
