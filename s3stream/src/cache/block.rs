//! Blocks that were read back from a store, least recently used first out.
//!
//! Owns the memory of the class block cache: a fixed part for what is kept, the rest for loads in flight, which no cache
//! counts (DESIGN §7). What is in here was checked when it was loaded. Does not own loading ([`super::reader`]).
//!
//! moka evicts in batches and by default prefers what was read often, which keeps none of the newest blocks of a log;
//! hence plain LRU, and its pending work after every insert (LIBRARIES §5: 1.1–1.25 × the cap, against 2–5 ×).
//!
//! A large cache has a window before it (as 2Q has: Johnson and Shasha, 1994). What is new goes there, and from there into the
//! rest when somebody comes back for it. So a replay of terabytes pushes out nothing that is read again and again, and goes
//! through the same memory from its beginning to its end: to touch new memory costs more than all else that it does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;

use crate::block_ref::{BlockRef, LaneRef, SMALL_OBJECT_BYTES};
use crate::budget::{Budget, ByteSemaphore, Class, Permit};
use crate::ids::LaneNumber;

/// Parts of the class, in per cent: what is kept, with room for what moka overshoots; the rest is for loads.
const KEPT_PERCENT: u64 = 60;
const OVERSHOOT_PERCENT: u64 = 15;
/// The window is this part of a cache, but not less than [`WINDOW_MIN`]: those who read at one place of the log, one behind the
/// other, shall find what the first of them read. A cache that is not twice as large has none.
const WINDOW_PART: u64 = 8;
const WINDOW_MIN: u64 = 256 << 20;
/// This part of the class is for loads that nobody may hold up, and no less than the largest of them takes. Less is kept for it.
const AT_ONCE_PART: u64 = 32;
/// A hit of the newest so many says nothing: whoever reads on, or right behind, is no new interest (2Q's "correlated
/// references").
const CORRELATED: u64 = 16;

/// Memory of an entry besides its bytes: key, `Bytes`, moka's own.
const ENTRY_BYTES: usize = 256;

/// What is asked for and found by itself: a block, or a small object whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct UnitKey {
    lane: LaneRef,
    number: LaneNumber,
    /// First byte in the object.
    position: u64,
}

impl UnitKey {
    /// The unit that holds `block`.
    pub fn of(block: &BlockRef) -> UnitKey {
        let position = if block.small { 0 } else { block.position };
        UnitKey { lane: block.lane, number: block.number, position }
    }
}

/// What one GET brought, kept and evicted as one.
#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    /// Of its first byte in the object.
    position: u64,
    /// What it holds.
    units: Box<[UnitKey]>,
}

impl Kept {
    fn memory(&self) -> usize {
        self.bytes.len() + ENTRY_BYTES * (1 + self.units.len())
    }

    fn slice(&self, block: &BlockRef) -> Option<Bytes> {
        let at = usize::try_from(block.position.checked_sub(self.position)?).ok()?;
        let end = at.checked_add(block.length as usize)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(at..end))
    }
}

/// Where each unit is.
type Places = Mutex<HashMap<UnitKey, u64>>;

/// By a number that is never used again.
type Lru = Cache<u64, Arc<Kept>>;

/// Blocks and small objects that were read back.
#[derive(Debug)]
pub struct BlockCache {
    kept: Lru,
    /// What nobody has come back for.
    window: Option<Lru>,
    places: Arc<Places>,
    next: AtomicU64,
    loads: ByteSemaphore,
    /// What those may take that nobody may hold up.
    at_once: ByteSemaphore,
    /// The part of the class that both may fill, that of loads at once, and the memory of reads, for good.
    _charge: Permit,
}

impl BlockCache {
    /// Bytes of the class for what stores keep of the memory of reads for the next ones
    /// ([`crate::store::Store::keep_read_memory`]): a replay of many partitions gives back and takes several of the largest at a
    /// time, of several sizes.
    pub fn read_memory(budget: &Budget) -> u64 {
        (budget.class(Class::BlockCache).capacity() / 16).min(256 << 20)
    }

    /// An empty cache in the class block cache of `budget`, which it has for itself. Keeps at most `keep_bytes`, however
    /// large that is.
    pub fn new(budget: &Budget, keep_bytes: u64) -> BlockCache {
        let class = budget.class(Class::BlockCache);
        let kept = class.capacity() / 100 * KEPT_PERCENT;
        let at_once = (class.capacity() / AT_ONCE_PART).max(SMALL_OBJECT_BYTES).min(kept / 2);
        let kept = (kept - at_once).min(keep_bytes);
        let charge = class.overdraw(kept + at_once + BlockCache::read_memory(budget));
        let capacity = kept / 100 * (100 - OVERSHOOT_PERCENT);
        let places: Arc<Places> = Arc::default();
        let window = (capacity / WINDOW_PART).max(WINDOW_MIN);
        let window = (capacity >= 2 * window).then_some(window);
        let kept = lru(capacity - window.unwrap_or_default(), &places);
        let window = window.map(|window| lru(window, &places));
        // Loads take turns in what is left; a single larger one has all of it.
        let loads = ByteSemaphore::new("block-loads", class.capacity() - charge.bytes());
        let at_once = ByteSemaphore::new("block-loads-at-once", at_once);
        BlockCache { kept, window, places, next: AtomicU64::new(0), loads, at_once, _charge: charge }
    }

    /// The bytes of a block, if they are here: a slice of what one GET brought, which lives as long as the slice does. Who keeps
    /// it for long copies it.
    pub fn get(&self, block: &BlockRef) -> Option<Bytes> {
        let unit = UnitKey::of(block);
        let id = *self.places.lock().get(&unit)?;
        // It may be on its way from the window to the rest: then it has another number by now.
        let again = || {
            let id = *self.places.lock().get(&unit)?;
            self.find(id)
        };
        self.find(id).or_else(again)?.slice(block)
    }

    fn find(&self, id: u64) -> Option<Arc<Kept>> {
        let Some((window, kept)) = self.window.as_ref().and_then(|window| Some((window, window.get(&id)?)))
        else {
            return self.kept.get(&id);
        };
        if self.next.load(Ordering::Relaxed) - id > CORRELATED {
            // Under a new number: what leaves the window then leaves its places to this. Two may come at once; then one of
            // theirs is never found again, and ages.
            self.insert_into(&self.kept, kept.bytes.clone(), kept.position, kept.units.clone());
            window.invalidate(&id);
        }
        Some(kept)
    }

    /// Is this unit here?
    pub(super) fn has(&self, key: &UnitKey) -> bool {
        self.places.lock().contains_key(key)
    }

    /// What loads in flight may take.
    pub(super) fn loads(&self) -> &ByteSemaphore {
        &self.loads
    }

    /// Bytes kept.
    pub fn bytes(&self) -> u64 {
        self.kept.weighted_size() + self.window.as_ref().map_or(0, Lru::weighted_size)
    }

    /// Bytes charged for loads in flight.
    pub fn loads_in_use(&self) -> u64 {
        self.loads.usage().used + self.at_once.usage().used
    }

    /// Waits for room to load `bytes`; held until they are inserted or dropped. Cancel-safe.
    pub(super) async fn admit(&self, bytes: u64) -> Permit {
        self.loads.acquire(bytes).await
    }

    /// The same, not behind those who hold room until their turn to read comes (L10). Cancel-safe.
    pub(super) async fn admit_at_once(&self, bytes: u64) -> Permit {
        self.at_once.acquire(bytes).await
    }

    /// Keeps what one GET brought from `position` of an object on, checked by the caller. It is evicted as one: blocks share
    /// its memory, which is gone only with the last of them.
    pub(super) fn insert(&self, bytes: Bytes, position: u64, units: impl IntoIterator<Item = UnitKey>) {
        let lru = self.window.as_ref().unwrap_or(&self.kept);
        self.insert_into(lru, bytes, position, units.into_iter().collect());
    }

    fn insert_into(&self, lru: &Lru, bytes: Bytes, position: u64, units: Box<[UnitKey]>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // Before it is there: what is refused or evicted at once must find its places.
        self.places.lock().extend(units.iter().map(|unit| (*unit, id)));
        lru.insert(id, Arc::new(Kept { bytes, position, units }));
        lru.run_pending_tasks();
    }
}

/// Keeps `capacity` bytes; what goes leaves its places.
fn lru(capacity: u64, places: &Arc<Places>) -> Lru {
    let places = places.clone();
    let gone = move |id: Arc<u64>, kept: Arc<Kept>, _| {
        let mut places = places.lock();
        for unit in &kept.units {
            // It may have come once more since.
            if places.get(unit) == Some(&*id) {
                places.remove(unit);
            }
        }
    };
    Cache::builder()
        .max_capacity(capacity)
        .weigher(|_: &u64, kept: &Arc<Kept>| u32::try_from(kept.memory()).unwrap_or(u32::MAX))
        .eviction_policy(EvictionPolicy::lru())
        .eviction_listener(gone)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::rig;

    #[test]
    fn a_scan_stays_inside_the_class_and_leaves_the_newest() {
        let budget = Budget::new(256 << 20);
        let capacity = budget.class(Class::BlockCache).capacity();
        let cache = BlockCache::new(&budget, u64::MAX);
        let blocks: Vec<BlockRef> = (0..400).map(|at| rig::block_ref(at, 0, 512 << 10)).collect();
        let mut peak = 0;
        for block in &blocks {
            cache.insert(vec![0; block.length as usize].into(), block.position, [UnitKey::of(block)]);
            peak = peak.max(cache.bytes());
        }
        let known = cache.places.lock().len();
        assert!(known < 100, "places of what was evicted are forgotten: {known}");
        assert!(peak <= capacity / 100 * KEPT_PERCENT, "{peak} of {capacity}");
        let newest = blocks.iter().rev().take(64).filter(|block| cache.get(block).is_some()).count();
        assert_eq!(newest, 64);
        assert!(cache.get(&blocks[0]).is_none());
    }

    #[test]
    fn what_loads_may_take_is_in_the_class_too() {
        for total in [32 << 20, 64 << 20, 256 << 20, 1 << 30, 64 << 30] {
            let budget = Budget::new(total);
            let cache = BlockCache::new(&budget, u64::MAX);
            let capacity = |lru: &Lru| lru.policy().max_capacity().unwrap();
            let kept = capacity(&cache.kept) + cache.window.as_ref().map_or(0, capacity);
            let loads = cache.loads.capacity() + cache.at_once.capacity();
            let parts = kept + loads + BlockCache::read_memory(&budget);
            assert!(parts <= budget.class(Class::BlockCache).capacity(), "{parts} of {total}");
            assert!(cache.at_once.capacity() >= SMALL_OBJECT_BYTES || total < 64 << 20, "{total}");
        }
    }

    #[test]
    fn what_is_read_again_outlives_a_scan_that_goes_through_the_window() {
        let budget = Budget::new(8 << 30);
        let cache = BlockCache::new(&budget, 1 << 30);
        let once = |number: u64| {
            let (bytes, blocks) = one_get(number);
            cache.insert(bytes, 0, blocks.iter().map(UnitKey::of));
            blocks
        };
        let again = once(10_000);
        let alone = rig::block_ref(10_001, 0, 128 << 10);
        cache.insert(vec![9; 128 << 10].into(), 0, [UnitKey::of(&alone)]);
        let read_on = once(10_002);
        assert!(cache.get(&read_on[0]).is_some());
        (10_003..10_020).for_each(|number| drop(once(number)));
        assert!(cache.get(&again[3]).is_some() && cache.get(&alone).is_some());
        let mut behind = 0;
        for number in 2..1_000 {
            once(number);
            let first = |number: u64| UnitKey::of(&rig::block_ref(number, 0, 128 << 10));
            behind = (2..number).rev().take_while(|before| cache.has(&first(*before))).count();
            assert!(cache.bytes() < WINDOW_MIN + (2 << 20), "{} at {number}", cache.bytes());
        }
        assert!(behind > 240, "who comes {behind} MiB behind finds it");
        assert!(again.iter().all(|block| cache.has(&UnitKey::of(block))), "and what it came with");
        assert!(!cache.has(&UnitKey::of(&read_on[0])), "who reads on wants it once");
        assert_eq!(cache.get(&again[3]).unwrap()[0], 3);
        assert_eq!(cache.get(&alone).unwrap()[0], 9);
    }

    /// Blocks 0..8 of one object, as one GET of 1 MiB brings them: block n is full of n.
    fn one_get(number: u64) -> (Bytes, Vec<BlockRef>) {
        let blocks: Vec<BlockRef> =
            (0..8).map(|at| rig::block_ref(number, at * (128 << 10), 128 << 10)).collect();
        let bytes: Vec<u8> = (0..1 << 20).map(|at| (at >> 17) as u8).collect();
        (bytes.into(), blocks)
    }

    #[test]
    fn what_came_together_goes_together() {
        let budget = Budget::new(256 << 20);
        let cache = BlockCache::new(&budget, 4 << 20);
        let (bytes, blocks) = one_get(0);
        let memory = bytes.as_ptr_range();
        cache.insert(bytes, 0, blocks.iter().map(UnitKey::of));
        assert!(blocks.iter().all(|block| cache.has(&UnitKey::of(block))));
        let hit = cache.get(&blocks[3]).unwrap();
        assert!(hit.iter().all(|byte| *byte == 3) && hit.len() == 128 << 10);
        assert!(memory.contains(&hit.as_ptr()), "nothing is copied");
        for number in 1.. {
            let (bytes, others) = one_get(number);
            cache.insert(bytes, 0, others.iter().map(UnitKey::of));
            let left = blocks.iter().filter(|block| cache.has(&UnitKey::of(block))).count();
            assert!(left == 8 || left == 0, "{left}");
            assert!(cache.bytes() <= 4 << 20);
            if left == 0 {
                return;
            }
        }
    }

    #[test]
    fn what_comes_once_more_outlives_what_it_came_with_first() {
        let budget = Budget::new(256 << 20);
        let cache = BlockCache::new(&budget, 4 << 20);
        let (bytes, blocks) = one_get(0);
        cache.insert(bytes.clone(), 0, blocks.iter().map(UnitKey::of));
        for number in 1..3 {
            let (bytes, others) = one_get(number);
            cache.insert(bytes, 0, others.iter().map(UnitKey::of));
        }
        let last = &blocks[7];
        cache.insert(bytes.slice(7 << 17..), last.position, [UnitKey::of(last)]);
        let (more, others) = one_get(3);
        cache.insert(more, 0, others.iter().map(UnitKey::of));
        assert!(!cache.has(&UnitKey::of(&blocks[0])), "the first GET is evicted");
        assert!(cache.get(last).unwrap().iter().all(|byte| *byte == 7));
        let huge = vec![0; 8 << 20];
        cache.insert(huge.into(), 0, [UnitKey::of(&rig::block_ref(9, 0, 8 << 20))]);
        assert!(
            !cache.has(&UnitKey::of(&rig::block_ref(9, 0, 8 << 20))),
            "what does not fit leaves no place"
        );
    }
}
