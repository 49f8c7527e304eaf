//! Blocks that were read back from a store, least recently used first out.
//!
//! Owns the memory of the class block cache: a fixed part for what is kept, the rest for loads in flight, which no cache
//! counts (DESIGN §7). What is in here was checked when it was loaded. Does not own loading ([`super::reader`]).
//!
//! moka evicts in batches and by default prefers what was read often, which keeps none of the newest blocks of a log;
//! hence plain LRU, and its pending work after every insert (LIBRARIES §5: 1.1–1.25 × the cap, against 2–5 ×).

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::block_ref::{BlockRef, LaneRef};
use crate::budget::{Budget, ByteSemaphore, Class, Permit};
use crate::ids::LaneNumber;

/// Parts of the class, in per cent: what is kept, with room for what moka overshoots; the rest is for loads.
const KEPT_PERCENT: u64 = 60;
const OVERSHOOT_PERCENT: u64 = 15;

/// Memory of an entry besides its bytes: key, `Bytes`, moka's own.
const ENTRY_BYTES: usize = 256;

/// What is loaded, kept and evicted as one: a block, or a small object whole.
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

    /// The bytes of `block` in its unit; None if the unit is shorter than the block's index says.
    pub fn slice(block: &BlockRef, unit: &Bytes) -> Option<Bytes> {
        let at = if block.small { usize::try_from(block.position).ok()? } else { 0 };
        let end = at.checked_add(block.length as usize)?;
        (end <= unit.len()).then(|| unit.slice(at..end))
    }
}

/// Blocks and small objects that were read back.
#[derive(Debug)]
pub struct BlockCache {
    kept: Cache<UnitKey, Bytes>,
    loads: ByteSemaphore,
    /// The part of the class that `kept` may fill, for good.
    _charge: Permit,
}

impl BlockCache {
    /// An empty cache in the class block cache of `budget`, which it has for itself. Keeps at most `keep_bytes`, however
    /// large that is.
    pub fn new(budget: &Budget, keep_bytes: u64) -> BlockCache {
        let class = budget.class(Class::BlockCache);
        let charge = class.overdraw((class.capacity() / 100 * KEPT_PERCENT).min(keep_bytes));
        let capacity = charge.bytes() / 100 * (100 - OVERSHOOT_PERCENT);
        let weigh = |_: &UnitKey, unit: &Bytes| u32::try_from(unit.len() + ENTRY_BYTES).unwrap_or(u32::MAX);
        let kept = Cache::builder()
            .max_capacity(capacity)
            .weigher(weigh)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        // Loads take turns in what is left; a single larger one has all of it.
        let loads = ByteSemaphore::new("block-loads", class.capacity() - charge.bytes());
        BlockCache { kept, loads, _charge: charge }
    }

    /// The bytes of a block, if they are here.
    pub fn get(&self, block: &BlockRef) -> Option<Bytes> {
        UnitKey::slice(block, &self.kept.get(&UnitKey::of(block))?)
    }

    /// Is this unit here?
    pub(super) fn has(&self, key: &UnitKey) -> bool {
        self.kept.contains_key(key)
    }

    /// What loads in flight may take.
    pub(super) fn loads(&self) -> &ByteSemaphore {
        &self.loads
    }

    /// Bytes kept.
    pub fn bytes(&self) -> u64 {
        self.kept.weighted_size()
    }

    /// Bytes charged for loads in flight.
    pub fn loads_in_use(&self) -> u64 {
        self.loads.usage().used
    }

    /// Waits for room to load `bytes`; held until they are inserted or dropped. Cancel-safe.
    pub(super) async fn admit(&self, bytes: u64) -> Permit {
        self.loads.acquire(bytes).await
    }

    /// Keeps a unit, checked by the caller.
    pub(super) fn insert(&self, key: UnitKey, unit: Bytes) {
        self.kept.insert(key, unit);
        self.kept.run_pending_tasks();
    }
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
            cache.insert(UnitKey::of(block), vec![0; block.length as usize].into());
            peak = peak.max(cache.bytes());
        }
        assert!(peak <= capacity / 100 * KEPT_PERCENT, "{peak} of {capacity}");
        let newest = blocks.iter().rev().take(64).filter(|block| cache.get(block).is_some()).count();
        assert_eq!(newest, 64);
        assert!(cache.get(&blocks[0]).is_none());
    }
}
