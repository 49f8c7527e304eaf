//! What a consumer has asked for so far. A fetch session (KIP-227) is a *named* set of slots that lives in the broker; a
//! client without one keeps an unnamed set on its connection, found again by comparing requests. Either way only what
//! changed is looked at.
//!
//! Owns the slots, their registration with partitions, and the cache of sessions with its rules (`FetchSession.scala`,
//! `FetchSessionCache`). Does not read anything: see [`super::gather`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::error::ErrorCode;
use s3stream::cache::ReadError;
use s3stream::ids::StreamId;
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use super::interest::FetchInterest;
use crate::partition::Partition;
use crate::partition::table::PartitionTable;

/// A session idle for so long makes room for another (`min.incremental.fetch.session.eviction.ms`).
const EVICTION_IDLE: Duration = Duration::from_secs(120);
/// `FetchMetadata.INVALID_SESSION_ID`: none.
pub const INVALID_SESSION_ID: i32 = 0;
/// `FetchMetadata.INITIAL_EPOCH`: a full request that wants a session.
const INITIAL_EPOCH: i32 = 0;
/// `FetchMetadata.FINAL_EPOCH`: no session, or the end of one.
const FINAL_EPOCH: i32 = -1;

/// How a request names a topic: v13 and later by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(Uuid),
}

/// One partition of a request, in the newest shape.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its topic.
    pub topic: TopicKey,
    /// Its index.
    pub index: i32,
    /// The first offset wanted.
    pub offset: i64,
    /// The most bytes of it.
    pub max_bytes: i32,
    /// The leader epoch the client knows, -1 for none.
    pub leader_epoch: i32,
}

/// A partition that somebody reads.
pub struct Slot {
    /// What was asked for.
    pub wanted: Wanted,
    /// It, if there is one that we lead.
    pub partition: Option<Arc<Partition>>,
    /// Must be looked at: it is new, was moved, had data, or was marked.
    pub hungry: bool,
    /// Place in the rotation: who returned data goes to the tail (`FetchSession`, KIP-74).
    pub turn: u64,
    /// High watermark, log start and error of the last answer that told them.
    pub told: Option<(i64, i64, i16)>,
    /// A read from the store under way or done.
    pub load: Option<Arc<Load>>,
}

/// What was not in memory.
pub struct Load {
    /// Of which log.
    pub stream: StreamId,
    /// From which offset on.
    pub offset: i64,
    /// What became of it.
    pub done: Mutex<Done>,
}

/// What became of a load.
pub enum Done {
    /// It is on its way.
    UnderWay,
    /// The bytes of its blocks, or that they could not be read.
    Read(Result<Vec<bytes::Bytes>, ReadError>),
    /// A fetch has them, or nobody came for them.
    Taken,
}

/// A set of slots.
pub struct FetchSlots {
    /// Marked by partitions.
    pub interest: Arc<FetchInterest>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_name: HashMap<Arc<str>, HashMap<i32, u32>>,
    by_id: HashMap<Uuid, HashMap<i32, u32>>,
    hungry: Vec<u32>,
    next_turn: u64,
}

impl Default for FetchSlots {
    fn default() -> FetchSlots {
        FetchSlots {
            interest: Arc::new(FetchInterest::new()),
            slots: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::new(),
            by_id: HashMap::new(),
            hungry: Vec::new(),
            next_turn: 0,
        }
    }
}

impl FetchSlots {
    /// Takes what a request says of one partition; gives its slot.
    pub fn update(&mut self, wanted: Wanted, table: &PartitionTable) -> u32 {
        if let Some(slot) = self.find(&wanted.topic, wanted.index) {
            let known = self.slots[slot as usize].as_mut().expect("indexed slots exist");
            let moved =
                known.wanted.offset != wanted.offset || known.wanted.leader_epoch != wanted.leader_epoch;
            if moved {
                known.load = None;
            }
            known.wanted = wanted;
            if moved {
                self.feed(slot);
            }
            return slot;
        }
        let partition = resolve(&wanted, table);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        if let Some(p) = &partition {
            p.register(&self.interest, slot);
        }
        match &wanted.topic {
            TopicKey::Name(name) => self.by_name.entry(name.clone()).or_default().insert(wanted.index, slot),
            TopicKey::Id(id) => self.by_id.entry(*id).or_default().insert(wanted.index, slot),
        };
        let turn = self.next_turn;
        self.next_turn += 1;
        self.slots[slot as usize] =
            Some(Slot { wanted, partition, hungry: false, turn, told: None, load: None });
        self.feed(slot);
        slot
    }

    /// Forgets a partition.
    pub fn remove(&mut self, topic: &TopicKey, index: i32) {
        let Some(slot) = self.find(topic, index) else { return };
        match topic {
            TopicKey::Name(name) => remove_from(&mut self.by_name, name, index),
            TopicKey::Id(id) => remove_from(&mut self.by_id, id, index),
        }
        self.release(slot);
    }

    /// Keeps only these slots: what a sessionless request lists is all it wants.
    pub fn retain(&mut self, listed: &[u32]) {
        let mut keep = vec![false; self.slots.len()];
        for slot in listed {
            keep[*slot as usize] = true;
        }
        let gone: Vec<(TopicKey, i32)> = self
            .slots
            .iter()
            .enumerate()
            .filter(|(i, _)| !keep[*i])
            .filter_map(|(_, s)| s.as_ref().map(|s| (s.wanted.topic.clone(), s.wanted.index)))
            .collect();
        for (topic, index) in gone {
            self.remove(&topic, index);
        }
    }

    /// The slots to look at now, in the order of their turns. They are no longer hungry afterwards.
    pub fn candidates(&mut self) -> Vec<u32> {
        for slot in self.interest.take() {
            if self.slots.get(slot as usize).is_some_and(Option::is_some) {
                self.feed(slot);
            }
        }
        let mut all = std::mem::take(&mut self.hungry);
        all.retain(|slot| self.slots[*slot as usize].as_ref().is_some_and(|s| s.hungry));
        for slot in &all {
            self.get_mut(*slot).hungry = false;
        }
        all.sort_by_key(|slot| self.get(*slot).turn);
        all.dedup();
        all
    }

    /// `slot` must be looked at.
    pub fn feed(&mut self, slot: u32) {
        let s = self.get_mut(slot);
        if !s.hungry {
            s.hungry = true;
            self.hungry.push(slot);
        }
    }

    /// `slot` returned data: others come first next time.
    pub fn to_tail(&mut self, slot: u32) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.get_mut(slot).turn = turn;
    }

    /// A slot.
    pub fn get(&self, slot: u32) -> &Slot {
        self.slots[slot as usize].as_ref().expect("a live slot")
    }

    /// A slot, to change.
    pub fn get_mut(&mut self, slot: u32) -> &mut Slot {
        self.slots[slot as usize].as_mut().expect("a live slot")
    }

    /// All live slots.
    pub fn live(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().enumerate().filter(|(_, s)| s.is_some()).map(|(i, _)| i as u32)
    }

    /// Nobody is looked at.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many partitions are looked at.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Looks a slot's partition up again: it may have been created, or deleted, since.
    pub fn resolve(&mut self, slot: u32, table: &PartitionTable) -> Option<Arc<Partition>> {
        let interest = self.interest.clone();
        let s = self.get_mut(slot);
        let now = resolve(&s.wanted, table);
        let same = match (&s.partition, &now) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        if !same {
            if let Some(old) = &s.partition {
                old.unregister(&interest, slot);
            }
            if let Some(new) = &now {
                new.register(&interest, slot);
            }
            s.partition = now.clone();
            s.load = None;
        }
        now
    }

    fn find(&self, topic: &TopicKey, index: i32) -> Option<u32> {
        let slots = match topic {
            TopicKey::Name(name) => self.by_name.get(name),
            TopicKey::Id(id) => self.by_id.get(id),
        };
        slots.and_then(|s| s.get(&index)).copied()
    }

    fn release(&mut self, slot: u32) {
        if let Some(s) = self.slots[slot as usize].take() {
            if let Some(p) = s.partition {
                p.unregister(&self.interest, slot);
            }
            self.free.push(slot);
        }
    }
}

fn remove_from<K: std::hash::Hash + Eq>(map: &mut HashMap<K, HashMap<i32, u32>>, key: &K, index: i32) {
    if let Some(slots) = map.get_mut(key) {
        slots.remove(&index);
        if slots.is_empty() {
            map.remove(key);
        }
    }
}

fn resolve(wanted: &Wanted, table: &PartitionTable) -> Option<Arc<Partition>> {
    let topic = match &wanted.topic {
        TopicKey::Name(name) => table.topic(name),
        TopicKey::Id(id) => table.topic_by_id(*id),
    };
    topic.and_then(|t| t.partition(wanted.index)).cloned()
}

/// The slots of a connection that fetches without a session.
#[derive(Default)]
pub struct ConnectionFetch {
    /// Taken by one fetch at a time, in request order.
    pub slots: AsyncMutex<FetchSlots>,
}

/// A session, as one fetch uses it.
#[derive(Clone)]
pub struct Session {
    /// Its id, never 0.
    pub id: i32,
    /// Its slots.
    pub slots: Arc<AsyncMutex<FetchSlots>>,
}

/// What a fetch is, given its session id and epoch.
pub enum FetchKind {
    /// No session asked for, or none left: answer everything, session id 0.
    Sessionless,
    /// A new session: answer everything.
    Full(Session),
    /// Answer what changed.
    Incremental(Session),
}

/// All sessions of this broker.
pub struct SessionCache {
    sessions: Mutex<HashMap<i32, Cached>>,
    /// `max.incremental.fetch.session.cache.slots`.
    sessions_max: usize,
}

struct Cached {
    session: Session,
    next_epoch: i32,
    by_id: bool,
    last_used: Duration,
    size: usize,
}

/// What a request says of its session.
#[derive(Clone, Copy, Debug)]
pub struct SessionRequest {
    /// Session id, 0 for none.
    pub id: i32,
    /// Session epoch.
    pub epoch: i32,
    /// Topics are named by id (v13 and later).
    pub by_id: bool,
    /// Partitions listed.
    pub partitions: usize,
}

impl SessionCache {
    /// Room for so many sessions.
    pub fn new(sessions_max: usize) -> SessionCache {
        SessionCache { sessions: Mutex::default(), sessions_max }
    }

    /// Finds, creates or closes a session (`FetchManager.newContext`). `now` is monotonic; `fresh_id` a random id.
    pub fn enter(
        &self,
        request: SessionRequest,
        now: Duration,
        mut fresh_id: impl FnMut() -> i32,
    ) -> Result<FetchKind, ErrorCode> {
        let mut sessions = self.sessions.lock();
        if request.epoch == INITIAL_EPOCH || request.epoch == FINAL_EPOCH {
            // A full request: it ends the session it names, if any.
            sessions.remove(&request.id);
            if request.epoch == FINAL_EPOCH
                || !make_room(&mut sessions, self.sessions_max, now, request.partitions)
            {
                return Ok(FetchKind::Sessionless);
            }
            let id = loop {
                let id = fresh_id();
                if id > 0 && !sessions.contains_key(&id) {
                    break id;
                }
            };
            let session = Session { id, slots: Arc::default() };
            let cached = Cached {
                session: session.clone(),
                next_epoch: 1,
                by_id: request.by_id,
                last_used: now,
                size: request.partitions,
            };
            sessions.insert(id, cached);
            return Ok(FetchKind::Full(session));
        }
        let cached = sessions.get_mut(&request.id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if cached.next_epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if cached.by_id != request.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        // FetchMetadata.nextEpoch: wraps to 1.
        cached.next_epoch = if request.epoch == i32::MAX { 1 } else { request.epoch + 1 };
        cached.last_used = now;
        Ok(FetchKind::Incremental(cached.session.clone()))
    }

    /// Notes how many partitions a session has after an incremental request; an empty one is over. Gives the id to
    /// answer with.
    pub fn resized(&self, id: i32, size: usize) -> i32 {
        let mut sessions = self.sessions.lock();
        if size == 0 {
            sessions.remove(&id);
            return INVALID_SESSION_ID;
        }
        if let Some(cached) = sessions.get_mut(&id) {
            cached.size = size;
        }
        id
    }
}

fn make_room(sessions: &mut HashMap<i32, Cached>, sessions_max: usize, now: Duration, size: usize) -> bool {
    if sessions.len() < sessions_max {
        return true;
    }
    let idle = sessions
        .iter()
        .min_by_key(|(_, c)| c.last_used)
        .filter(|(_, c)| now.saturating_sub(c.last_used) > EVICTION_IDLE)
        .map(|(id, _)| *id);
    let victim = idle.or_else(|| {
        sessions.iter().min_by_key(|(_, c)| c.size).filter(|(_, c)| c.size < size).map(|(id, _)| *id)
    });
    match victim {
        Some(id) => {
            sessions.remove(&id);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSIONS_MAX: usize = 5;

    fn ask(cache: &SessionCache, id: i32, epoch: i32, at: u64) -> Result<FetchKind, ErrorCode> {
        let mut next = at as i32 * 1_000 + 1;
        let request = SessionRequest { id, epoch, by_id: true, partitions: 3 };
        cache.enter(request, Duration::from_secs(at), || {
            next += 1;
            next
        })
    }

    fn full(kind: FetchKind) -> i32 {
        match kind {
            FetchKind::Full(s) => s.id,
            _ => panic!("not a new session"),
        }
    }

    #[test]
    fn a_session_goes_through_its_epochs_in_order() {
        let cache = SessionCache::new(SESSIONS_MAX);
        let id = full(ask(&cache, 0, 0, 1).unwrap());
        assert!(matches!(ask(&cache, id, 1, 2), Ok(FetchKind::Incremental(s)) if s.id == id));
        assert!(matches!(ask(&cache, id, 1, 3), Err(ErrorCode::InvalidFetchSessionEpoch)));
        assert!(matches!(ask(&cache, id, 2, 3), Ok(FetchKind::Incremental(_))));
        assert!(matches!(ask(&cache, id + 1, 3, 3), Err(ErrorCode::FetchSessionIdNotFound)));
        let by_name = |epoch| {
            let names = SessionRequest { id, epoch, by_id: false, partitions: 0 };
            cache.enter(names, Duration::ZERO, || 1).err()
        };
        assert_eq!(by_name(3), Some(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(by_name(4), Some(ErrorCode::InvalidFetchSessionEpoch), "the epoch is judged first");
        assert!(matches!(ask(&cache, id, -1, 4), Ok(FetchKind::Sessionless)));
        assert!(matches!(ask(&cache, id, 3, 5), Err(ErrorCode::FetchSessionIdNotFound)));
    }

    #[test]
    fn a_full_cache_gives_up_the_idle_then_the_smaller_then_nobody() {
        let cache = SessionCache::new(SESSIONS_MAX);
        let mut next = 0;
        let mut open = |partitions: usize, at: u64| {
            let request = SessionRequest { id: 0, epoch: 0, by_id: true, partitions };
            let kind = cache.enter(request, Duration::from_secs(at), || {
                next += 1;
                next
            });
            matches!(kind, Ok(FetchKind::Full(_)))
        };
        for _ in 0..SESSIONS_MAX {
            assert!(open(5, 0));
        }
        assert!(!open(5, 60), "nobody is idle, nobody is smaller");
        assert!(open(6, 60), "a larger one takes the place of a smaller");
        assert!(open(1, 121), "an idle one goes");
    }

    #[test]
    fn a_session_that_begins_empty_lasts_and_one_that_becomes_empty_is_over() {
        let cache = SessionCache::new(SESSIONS_MAX);
        let empty = SessionRequest { id: 0, epoch: 0, by_id: true, partitions: 0 };
        let id = full(cache.enter(empty, Duration::ZERO, || 7).unwrap());
        assert!(matches!(ask(&cache, id, 1, 1), Ok(FetchKind::Incremental(_))));
        assert_eq!(cache.resized(id, 3), id);
        assert!(matches!(ask(&cache, id, 2, 1), Ok(FetchKind::Incremental(_))));
        assert_eq!(cache.resized(id, 0), INVALID_SESSION_ID);
        assert!(matches!(ask(&cache, id, 3, 1), Err(ErrorCode::FetchSessionIdNotFound)));
    }

    #[test]
    fn no_slots_no_sessions() {
        assert!(matches!(ask(&SessionCache::new(0), 0, 0, 1), Ok(FetchKind::Sessionless)));
    }
}
