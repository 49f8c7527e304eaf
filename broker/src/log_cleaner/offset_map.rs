//! Key → latest offset in a fixed number of bytes.
//!
//! Owns: the table that pass 1 fills and pass 2 asks. Does not own which records go in (`build_map.rs`). One allocation, at
//! creation; nothing per key. (Kafka: `SkimpyOffsetMap`, `OffsetMap`.)
//!
//! A key is known by a digest of 16 bytes, never compared itself. Two keys of one digest would be taken for one, and the
//! older one's value lost. By accident that is as likely as with Kafka's MD5, also 16 bytes: n²/2¹²⁹ for n keys, 10⁻²³ for
//! a hundred million. By intent: MD5 collisions are made in seconds and hold in every broker for ever; XXH3 is no
//! cryptographic hash either, but ours is seeded anew each round with what nobody outside knows, so a pair would have to
//! collide under a seed that its maker cannot try. Whoever writes to a topic can overwrite its keys anyway.

use thiserror::Error;
use twox_hash::XxHash3_128;

/// Bytes of an entry: the digest and the offset (`SkimpyOffsetMap.bytesPerEntry`).
pub const ENTRY_BYTES: usize = 24;

/// Why a table cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum OffsetMapError {
    /// Not even one key fits: cleaning would never make progress (`Cleaner`'s constructor asserts the same).
    #[error("{bytes} bytes filled to {load_factor} hold no key")]
    TooSmall {
        /// Bytes of the table.
        bytes: usize,
        /// How full it may be.
        load_factor: f64,
    },
}

/// The digest's two words, then the offset plus one; 0 there: free. Plain words, so that a new table is zeros, which the
/// allocator gives untouched.
type Slot = [u64; 3];

const FREE: Slot = [0; 3];

/// Open addressing with linear probing: at a load of 0.9 a miss looks at 50 slots, but at neighbours.
pub struct OffsetMap {
    slots: Box<[Slot]>,
    capacity: usize,
    entries: usize,
    latest_offset: Option<i64>,
    seed: u64,
}

impl OffsetMap {
    /// A table of at most `bytes` (`log.cleaner.dedupe.buffer.size` / `log.cleaner.threads`), to be filled up to
    /// `load_factor` (`log.cleaner.io.buffer.load.factor`; more than 1 is 1). `seed`: random, told to nobody.
    pub fn new(bytes: usize, load_factor: f64, seed: u64) -> Result<OffsetMap, OffsetMapError> {
        let slots = bytes / ENTRY_BYTES;
        // One slot stays free, or a miss would never end. NaN becomes 0.
        let capacity = ((slots as f64 * load_factor.min(1.0)) as usize).min(slots.saturating_sub(1));
        if capacity == 0 || load_factor.is_nan() {
            return Err(OffsetMapError::TooSmall { bytes, load_factor });
        }
        let slots = vec![FREE; slots].into_boxed_slice();
        Ok(OffsetMap { slots, capacity, entries: 0, latest_offset: None, seed })
    }

    /// Bytes of a table that takes so many keys, filled up to `load_factor`.
    pub fn bytes_for(keys: u64, load_factor: f64) -> u64 {
        let slots = (keys as f64 / load_factor.min(1.0)).ceil() as u64;
        slots.saturating_add(1).saturating_mul(ENTRY_BYTES as u64)
    }

    /// Associates the key with an offset from 0, replacing what it had. False, and nothing is changed, if the key is new and
    /// the table is full. (Kafka also stops at a known key; one less round for us.)
    pub fn put(&mut self, key: &[u8], offset: i64) -> bool {
        debug_assert!(offset >= 0, "offset {offset}");
        let digest = self.digest(key);
        let position = self.position(digest);
        let slot = &mut self.slots[position];
        if slot[2] == 0 {
            if self.entries == self.capacity {
                return false;
            }
            self.entries += 1;
        }
        *slot = [digest[0], digest[1], offset as u64 + 1];
        self.latest_offset = Some(offset);
        true
    }

    /// The key's offset, if it was put.
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        let position = self.position(self.digest(key));
        self.slots[position][2].checked_sub(1).map(|offset| offset as i64)
    }

    /// Whether no new key fits.
    pub fn is_full(&self) -> bool {
        self.entries == self.capacity
    }

    /// Keys in the table.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The most keys it takes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Entries per slot, from 0 to 1 (`OffsetMap.utilization`).
    pub fn utilization(&self) -> f64 {
        self.entries as f64 / self.slots.len() as f64
    }

    /// The last offset it knows of, of a key or noted by [`OffsetMap::update_latest_offset`].
    pub fn latest_offset(&self) -> Option<i64> {
        self.latest_offset
    }

    /// Notes that everything up to and with `offset` was looked at.
    pub fn update_latest_offset(&mut self, offset: i64) {
        self.latest_offset = Some(offset);
    }

    /// Empties the table for a new round, with a new seed.
    pub fn clear(&mut self, seed: u64) {
        if self.entries > 0 {
            self.slots.fill(FREE);
        }
        self.entries = 0;
        self.latest_offset = None;
        self.seed = seed;
    }

    fn digest(&self, key: &[u8]) -> [u64; 2] {
        let digest = XxHash3_128::oneshot_with_seed(self.seed, key);
        [digest as u64, (digest >> 64) as u64]
    }

    /// Where the digest stands, or the free slot where it would.
    fn position(&self, digest: [u64; 2]) -> usize {
        let slots = self.slots.len();
        // The high word scaled to the table: no division, any size.
        let mut position = ((u128::from(digest[1]) * slots as u128) >> 64) as usize;
        while self.slots[position][2] != 0 && self.slots[position][..2] != digest {
            position += 1;
            if position == slots {
                position = 0;
            }
        }
        position
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_agrees_with_a_hash_map_up_to_its_last_entry() {
        let mut map = OffsetMap::new(1_000 * ENTRY_BYTES + 23, 1.0, 7).unwrap();
        let mut model: HashMap<Vec<u8>, i64> = HashMap::new();
        assert_eq!((map.capacity(), map.latest_offset()), (999, None));
        for offset in 0..5_000i64 {
            // Keys of all lengths that the digest treats in its own way, the empty one among them.
            let n = (offset * 7_919) % 1_500;
            let key = [n.to_be_bytes().to_vec(), vec![n as u8; (n % 300) as usize]].concat();
            let key = if n == 0 { Vec::new() } else { key };
            let fits = model.len() < 999 || model.contains_key(&key);
            assert_eq!(map.put(&key, offset), fits, "offset {offset}");
            if fits {
                model.insert(key.clone(), offset);
                assert_eq!(map.latest_offset(), Some(offset));
            }
            assert_eq!(map.get(&key), model.get(&key).copied());
        }
        assert!(map.is_full());
        assert_eq!(map.len(), model.len());
        assert!(model.iter().all(|(key, offset)| map.get(key) == Some(*offset)));
        assert_eq!(map.get(b"never put"), None, "a miss ends in a full table");
    }

    #[test]
    fn clearing_forgets_keys_and_latest_offset() {
        let mut map = OffsetMap::new(1 << 10, 0.9, 1).unwrap();
        map.put(b"k", 0);
        map.update_latest_offset(9);
        assert_eq!((map.get(b"k"), map.latest_offset(), map.len()), (Some(0), Some(9), 1));
        map.clear(2);
        assert_eq!((map.get(b"k"), map.latest_offset(), map.is_empty()), (None, None, true));
        assert!(map.utilization() < f64::EPSILON);
    }

    #[test]
    fn the_load_factor_bounds_the_entries_and_leaves_one_slot_free() {
        let capacity =
            |slots: usize, load| OffsetMap::new(slots * ENTRY_BYTES, load, 0).map(|m| m.capacity());
        assert_eq!(capacity(100, 0.9), Ok(90));
        assert_eq!(capacity(100, 1.0), Ok(99));
        assert_eq!(capacity(100, 7.5), Ok(99));
        assert_eq!(capacity(2, 0.9), Ok(1));
        for (slots, load_factor) in [(0, 0.9), (1, 1.0), (100, 0.0), (100, -1.0), (100, 0.005)] {
            let bytes = slots * ENTRY_BYTES;
            assert_eq!(capacity(slots, load_factor), Err(OffsetMapError::TooSmall { bytes, load_factor }));
        }
        assert!(capacity(100, f64::NAN).is_err());
    }

    #[test]
    fn what_a_number_of_keys_needs_takes_them() {
        for load_factor in [0.01, 0.5, 0.9, 1.0, 3.0] {
            for keys in [1, 2, 9, 10, 1_000, 123_457] {
                let bytes = OffsetMap::bytes_for(keys, load_factor);
                let capacity = OffsetMap::new(bytes as usize, load_factor, 0).unwrap().capacity();
                assert!(capacity as u64 >= keys, "{keys} keys at {load_factor}: {capacity}");
            }
        }
        assert_eq!(OffsetMap::bytes_for(9, 0.0), u64::MAX);
    }

    #[test]
    fn a_slot_takes_the_bytes_that_are_stated() {
        assert_eq!(std::mem::size_of::<Slot>(), ENTRY_BYTES);
    }

    #[test]
    fn digests_depend_on_the_seed() {
        let digest = |seed| OffsetMap::new(1 << 10, 0.9, seed).unwrap().digest(b"key");
        assert_ne!(digest(1), digest(2));
        assert_eq!(digest(1), digest(1));
    }
}
