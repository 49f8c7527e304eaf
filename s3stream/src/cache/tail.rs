//! The newest objects of the lanes that this process writes, whole and in memory.
//!
//! Owns the objects between the cut and their eviction, and their charge in the class lane + tail. The lane reserves room
//! before it cuts, inserts at the cut, and says how far its durable prefix reaches; consumers at the tail and the upload
//! read from here. Does not own the PUT ([`crate::wal`]) nor what was read back from a store ([`super::block`]): a scan of
//! old data evicts nothing here.
//!
//! An object is *pinned* until it is durable: until then it exists nowhere else. Durable ones go oldest first, whole
//! (a chunk goes with the last object in it, at most a few later), and only when room is needed. Eviction gives the charge back;
//! a reader that still holds a slice is charged by the class of its answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::block_ref::{BlockRef, LaneRef};
use crate::budget::{Budget, ByteSemaphore, Class, Permit};
use crate::ids::LaneNumber;
use crate::object::writer::Object;

/// The tail of all lanes of one process.
#[derive(Debug)]
pub struct TailCache {
    class: ByteSemaphore,
    state: RwLock<State>,
    /// Something became evictable: wakes who found nothing to evict.
    evictable: Notify,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<(LaneRef, LaneNumber), Held>,
    /// Per lane, the numbers that are not durable yet, ascending.
    pinned: BTreeMap<LaneRef, VecDeque<LaneNumber>>,
    /// What may be evicted, oldest first.
    durable: VecDeque<(LaneRef, LaneNumber)>,
    /// Charged for all of `objects`.
    bytes: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Held {
    object: Arc<Object>,
    charge: Permit,
}

/// How full the tail is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailStats {
    /// Objects held.
    pub objects: usize,
    /// Bytes charged for them.
    pub bytes: u64,
    /// How many of the objects wait for their PUT.
    pub pinned: usize,
    /// Objects evicted since the start.
    pub evicted: u64,
}

impl TailCache {
    /// An empty tail that charges the class lane + tail of `budget`, and may fill it.
    pub fn new(budget: &Budget) -> Arc<TailCache> {
        Arc::new(TailCache {
            class: budget.class(Class::LaneTail).clone(),
            state: RwLock::default(),
            evictable: Notify::new(),
        })
    }

    /// Room for an object that will hold `bytes` of memory ([`Object::capacity`]): evicts durable objects, oldest first,
    /// as far as needed. Waits only while nothing durable is left and holds no lock meanwhile: then the lane's PUTs are
    /// behind, and producers shall wait (PRACTICE P7). Cancel-safe.
    pub async fn reserve(&self, bytes: u64) -> Permit {
        loop {
            // Registered before the search, so that what becomes durable right after it still wakes us.
            let evictable = self.evictable.notified();
            tokio::pin!(evictable);
            evictable.as_mut().enable();
            if let Some(permit) = self.try_reserve(bytes) {
                return permit;
            }
            tokio::select! {
                biased;
                permit = self.class.acquire(bytes) => return permit,
                () = evictable => {}
            }
        }
    }

    /// As [`TailCache::reserve`], without waiting.
    pub fn try_reserve(&self, bytes: u64) -> Option<Permit> {
        loop {
            if let Some(permit) = self.class.try_acquire(bytes) {
                return Some(permit);
            }
            self.evict_oldest()?;
        }
    }

    /// Takes an object at its cut, before its PUT. It stays until [`TailCache::mark_durable`] passes it. `charge` is what
    /// was reserved for it; what it does not need is given back.
    ///
    /// # Panics
    /// If a lane's numbers do not ascend.
    pub fn insert(&self, lane: LaneRef, number: LaneNumber, object: Arc<Object>, mut charge: Permit) {
        charge.shrink_to(object.capacity() as u64);
        let mut state = self.state.write();
        let pinned = state.pinned.entry(lane).or_default();
        assert!(pinned.back().is_none_or(|&last| last < number), "object {number} after {pinned:?}");
        pinned.push_back(number);
        state.bytes += charge.bytes();
        let known = state.objects.insert((lane, number), Held { object, charge });
        assert!(known.is_none(), "object {number} of {lane:?} was cut twice");
    }

    /// Every object of `lane` below this number is durable: it may be evicted from now on.
    pub fn mark_durable(&self, lane: LaneRef, below: LaneNumber) {
        let mut guard = self.state.write();
        let state = &mut *guard;
        let Some(pinned) = state.pinned.get_mut(&lane) else { return };
        let mut any = false;
        while let Some(number) = pinned.front().copied().filter(|number| *number < below) {
            pinned.pop_front();
            state.durable.push_back((lane, number));
            any = true;
        }
        drop(guard);
        if any {
            self.evictable.notify_waiters();
        }
    }

    /// The lane ended: what lies at or above `from` was never acknowledged and never will be (SAFETY F8).
    pub fn forget_from(&self, lane: LaneRef, from: LaneNumber) {
        let mut guard = self.state.write();
        let state = &mut *guard;
        if let Some(pinned) = state.pinned.get_mut(&lane) {
            pinned.retain(|number| *number < from);
        }
        state.durable.retain(|(of, number)| *of != lane || *number < from);
        // Dropped outside the lock: chunks go back to their pool, charges to whoever waits.
        let range = (lane, from)..=(lane, LaneNumber(u64::MAX));
        let keys: Vec<(LaneRef, LaneNumber)> = state.objects.range(range).map(|(key, _)| *key).collect();
        let gone: Vec<Held> = keys.iter().filter_map(|key| state.objects.remove(key)).collect();
        state.bytes -= gone.iter().map(|held| held.charge.bytes()).sum::<u64>();
        drop(guard);
        drop(gone);
    }

    /// A whole object, for the upload.
    pub fn get(&self, lane: LaneRef, number: LaneNumber) -> Option<Arc<Object>> {
        self.state.read().objects.get(&(lane, number)).map(|held| Arc::clone(&held.object))
    }

    /// Is the object of a block here?
    pub fn has(&self, block: &BlockRef) -> bool {
        self.state.read().objects.contains_key(&(block.lane, block.number))
    }

    /// The bytes of a block by reference; None if its object is not here (any more). They never left this process's
    /// memory since their CRC was made, so it is not checked again.
    pub fn block(&self, block: &BlockRef) -> Option<Bytes> {
        let object = self.get(block.lane, block.number)?;
        let bytes = object.slice(block.position, block.length);
        debug_assert!(bytes.as_ref().is_some_and(|bytes| crc32fast::hash(bytes) == block.crc), "{block:?}");
        bytes
    }

    /// How full it is.
    pub fn stats(&self) -> TailStats {
        let state = self.state.read();
        TailStats {
            objects: state.objects.len(),
            bytes: state.bytes,
            pinned: state.pinned.values().map(VecDeque::len).sum(),
            evicted: state.evicted,
        }
    }

    /// Evicts the oldest durable object; None if there is none.
    fn evict_oldest(&self) -> Option<()> {
        let mut state = self.state.write();
        let oldest = state.durable.pop_front()?;
        let held = state.objects.remove(&oldest);
        state.bytes -= held.as_ref().map_or(0, |held| held.charge.bytes());
        state.evicted += 1;
        drop(state);
        drop(held);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::rig;

    const LANE: LaneRef = LaneRef(0);

    fn tail() -> (Arc<TailCache>, u64) {
        let budget = Budget::new(crate::budget::BUDGET_BYTES_MIN);
        let capacity = budget.class(Class::LaneTail).capacity();
        (TailCache::new(&budget), capacity)
    }

    fn insert(tail: &TailCache, number: u64, body: &[u8]) -> Arc<Object> {
        let object = rig::object(number, &[(1, number * 10, body)]);
        let charge = tail.try_reserve(object.capacity() as u64).expect("there is room");
        tail.insert(LANE, LaneNumber(number), Arc::clone(&object), charge);
        object
    }

    #[test]
    fn a_block_is_read_by_reference_until_its_object_goes() {
        let (tail, _) = tail();
        let object = insert(&tail, 0, b"hello");
        let block = BlockRef::new(LANE, LaneNumber(0), &object.index[0], object.len());
        let bytes = tail.block(&block).unwrap();
        assert_eq!(&bytes[..], b"hello");
        let inside = object.payload.iter().any(|part| part.as_ptr_range().contains(&bytes.as_ptr()));
        assert!(inside, "the block was copied");
        assert_eq!(tail.block(&BlockRef { number: LaneNumber(1), ..block }), None);
        assert_eq!(tail.block(&BlockRef { lane: LaneRef(1), ..block }), None);
        tail.forget_from(LANE, LaneNumber(0));
        assert_eq!(tail.block(&block), None);
        assert_eq!(tail.stats(), TailStats::default());
    }

    #[test]
    fn durable_objects_make_room_oldest_first_and_pinned_ones_never() {
        let (tail, capacity) = tail();
        let (body, object) = (vec![7; 1 << 20], 1025 << 10);
        let mut number = 0;
        while tail.stats().bytes + object <= capacity {
            insert(&tail, number, &body);
            number += 1;
        }
        assert!(number >= 3, "a tail of {capacity} bytes holds some objects");
        assert!(tail.try_reserve(object).is_none(), "everything is pinned");
        assert_eq!(tail.stats().pinned as u64, number);
        tail.mark_durable(LANE, LaneNumber(2));
        insert(&tail, number, &body);
        assert!(tail.get(LANE, LaneNumber(0)).is_none(), "the oldest went");
        assert!(tail.get(LANE, LaneNumber(2)).is_some(), "what is pinned stays");
        assert!(tail.stats().bytes <= capacity);
        tail.mark_durable(LANE, LaneNumber(2));
        assert_eq!(tail.stats().evicted, 1);
    }

    #[tokio::test]
    async fn a_reservation_waits_for_the_next_durable_object() {
        let (tail, capacity) = tail();
        let charge = tail.try_reserve(capacity).unwrap();
        let object = rig::object(0, &[(1, 0, b"x")]);
        tail.insert(LANE, LaneNumber(0), object, charge);
        let rest = tail.reserve(1 << 20).await;
        drop(rest);
        let all = capacity - tail.stats().bytes;
        let held = tail.try_reserve(all).unwrap();
        let waiting = tokio::spawn({
            let tail = Arc::clone(&tail);
            async move { tail.reserve(1).await.bytes() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        tail.mark_durable(LANE, LaneNumber(1));
        assert_eq!(waiting.await.unwrap(), 1);
        assert_eq!(tail.stats().evicted, 1);
        drop(held);
    }

    #[test]
    #[should_panic(expected = "object 0 after")]
    fn numbers_of_a_lane_ascend() {
        let (tail, _) = tail();
        insert(&tail, 0, b"a");
        insert(&tail, 0, b"b");
    }
}
