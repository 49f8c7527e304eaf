//! Reads blocks: from the tail, else from the block cache, else from the store.
//!
//! Owns the loads in flight: however many ask for a block at once, one GET brings it. Neighbouring blocks of one call come
//! in one GET of at most [`RUN_BYTES_MAX`]; objects that are small come whole, for all their streams. Does not own which
//! blocks a stream has ([`crate::stream`]) nor what will be wanted next ([`super::ahead`]).
//!
//! In this order, and why: memory first, without an await, so that what is at hand is never held up by what is not. Then
//! room in the budget. Then the GET. Then the CRC of every block (I7): what is wrong or missing is asked for once more
//! before it is believed, and is kept nowhere. Errors are never cached; the next call asks the store again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared, WeakShared, join_all};
use parking_lot::Mutex;

use super::ahead::{Ahead, Room};
use super::block::{BlockCache, UnitKey};
use super::cold::{ColdRead, ColdReads};
use super::error::ReadError;
use super::stores::Stores;
use super::tail::TailCache;
use super::wanted::{Wanted, Wants};
use crate::block_ref::{BlockRef, LaneRef, LaneTable, SMALL_OBJECT_BYTES};
use crate::budget::{Budget, Permit};
use crate::env::Env;
use crate::ids::{LaneNumber, StoreId};
use crate::object::parse_whole;
use crate::store::{Store, StoreError, retry_in_turn};

/// Bytes that one GET of neighbouring blocks brings at most; a larger single block comes alone.
pub const RUN_BYTES_MAX: u64 = 4 << 20;

/// Kept of what was read from directories: enough that several who read at one place of the log share a read, though they drift
/// apart, and that there is a window for one who reads alone ([`super::block`]). What is read again and again is in the page cache,
/// and memory that is used again costs less than memory that grows.
const KEPT_OF_DIRECTORIES_BYTES: u64 = 768 << 20;

/// What a small object has, before it is known.
const WHOLE_BYTES_EXPECTED: u64 = 64 << 10;

/// How long a load asks a store that does not answer, once its turn has come.
const PATIENCE: Duration = Duration::from_secs(15);

/// What reading did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Blocks from the tail.
    pub tail_blocks: u64,
    /// Blocks from the block cache.
    pub cached_blocks: u64,
    /// Blocks that joined somebody else's load.
    pub joined_blocks: u64,
    /// GETs that answered with bytes.
    pub gets: u64,
    /// Bytes that they brought.
    pub get_bytes: u64,
    /// Units that were wrong or missing when first read, and asked for again.
    pub repeats: u64,
    /// Of the GETs, those begun before anybody asked for what they bring.
    pub ahead_gets: u64,
    /// Times that there was no room to load ahead.
    pub ahead_refused: u64,
    /// GETs ahead whose reader did not come for what they brought.
    pub ahead_unread: u64,
    /// Bytes per second that may be read beside producers. None: no limit.
    pub rate: Option<u64>,
    /// Slow GETs that were sent a second time, those of indexes included.
    pub hedges: u64,
    /// Of these, those whose second was answered first.
    pub hedges_won: u64,
}

/// Reads blocks. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Reader(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub env: Env,
    pub stores: Stores,
    lanes: Arc<LaneTable>,
    tail: Arc<TailCache>,
    pub cache: BlockCache,
    /// In whose way reads shall not be.
    pub cold: Arc<ColdReads>,
    /// By every unit that it will bring.
    pub in_flight: Mutex<HashMap<UnitKey, InFlight>>,
    pub ahead: Ahead,
    pub counters: Counters,
}

#[derive(Default)]
pub(super) struct Counters {
    tail_blocks: AtomicU64,
    cached_blocks: AtomicU64,
    joined_blocks: AtomicU64,
    gets: AtomicU64,
    get_bytes: AtomicU64,
    repeats: AtomicU64,
    pub ahead_gets: AtomicU64,
    pub ahead_refused: AtomicU64,
    pub ahead_unread: AtomicU64,
}

pub(super) type Load = BoxFuture<'static, Result<Arc<Loaded>, ReadError>>;

/// A load that may be joined. Weak: one that nobody awaits any more is gone, with its room. One that was made ahead stays when it
/// is done, for as long as it is held.
#[derive(Clone)]
pub(super) struct InFlight {
    load: WeakShared<Load>,
    wants: Wants,
}

impl InFlight {
    pub fn new(load: &Shared<Load>, wants: Wants) -> InFlight {
        InFlight { load: load.downgrade().expect("not polled yet"), wants }
    }

    /// The load, if somebody awaits it.
    pub fn load(&self) -> Option<Shared<Load>> {
        self.load.upgrade()
    }

    fn join(&self, wanted: Wanted) -> Option<Shared<Load>> {
        let load = self.load()?;
        self.wants.join(wanted);
        Some(load)
    }
}

/// What one GET brought.
pub(super) struct Loaded {
    /// Position of the first byte in the object.
    position: u64,
    bytes: Bytes,
    /// Every block of it was checked and is right. Else each reader checks its own.
    pub sound: bool,
    /// Of what was loaded ahead: its charge, for as long as it is held.
    _room: Option<Room>,
}

impl Loaded {
    fn slice(&self, block: &BlockRef) -> Option<Bytes> {
        let at = usize::try_from(block.position.checked_sub(self.position)?).ok()?;
        let end = at.checked_add(block.length as usize)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(at..end))
    }
}

impl Reader {
    /// A reader that keeps what it loads in the class block cache of `budget`.
    pub fn new(
        env: Env,
        stores: Stores,
        lanes: Arc<LaneTable>,
        tail: Arc<TailCache>,
        budget: &Budget,
        cold: Arc<ColdReads>,
    ) -> Reader {
        let keep_bytes = if stores.are_directories() { KEPT_OF_DIRECTORIES_BYTES } else { u64::MAX };
        let cache = BlockCache::new(budget, keep_bytes);
        Reader(Arc::new(Inner {
            env,
            stores,
            lanes,
            tail,
            in_flight: Mutex::default(),
            ahead: Ahead::new(&cache),
            cache,
            cold,
            counters: Counters::default(),
        }))
    }

    /// The bytes of a block, if they are in memory. By reference; does not wait.
    ///
    /// Where a sealed epoch ends inside a block, its bytes go on past [`BlockRef::end`]: what lies there is void.
    pub fn memory(&self, block: &BlockRef) -> Option<Bytes> {
        let inner = &self.0;
        if let Some(bytes) = inner.tail.block(block) {
            count(&inner.counters.tail_blocks, 1);
            return Some(bytes);
        }
        let bytes = inner.cache.get(block).or_else(|| inner.held(block))?;
        count(&inner.counters.cached_blocks, 1);
        Some(bytes)
    }

    /// Is the block in memory since this process wrote it?
    pub fn in_tail(&self, block: &BlockRef) -> bool {
        self.0.tail.has(block)
    }

    /// The key of the object that holds the block.
    pub fn key(&self, block: &BlockRef) -> String {
        self.0.lanes.key(block.lane, block.number).1
    }

    /// The bytes of all these blocks, in their order; loads what is not in memory. Dropping the call leaves a load to
    /// others who wait for it, and ends it when there are none.
    ///
    /// # Errors
    /// Of the first block, in their order, that could not be read; ask for fewer to get those before it.
    pub async fn load(&self, blocks: &[BlockRef]) -> Result<Vec<Bytes>, ReadError> {
        self.load_as(blocks, Wanted::InTurn).await
    }

    /// The same, for what many wait for (L10): not behind those who read history, neither for a turn nor for room. What one of
    /// them waits for is read for both.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub async fn load_at_once(&self, blocks: &[BlockRef]) -> Result<Vec<Bytes>, ReadError> {
        self.load_as(blocks, Wanted::AtOnce).await
    }

    async fn load_as(&self, blocks: &[BlockRef], wanted: Wanted) -> Result<Vec<Bytes>, ReadError> {
        let mut found: Vec<Option<Result<Bytes, ReadError>>> =
            blocks.iter().map(|block| self.memory(block).map(Ok)).collect();
        let missing: Vec<usize> = (0..blocks.len()).filter(|at| found[*at].is_none()).collect();
        let loads = self.0.loads_of(blocks, &missing, wanted);
        let loaded = join_all(loads.iter().map(|(load, _)| load.clone())).await;
        for ((_, members), loaded) in loads.iter().zip(loaded) {
            for at in members {
                found[*at] = Some(self.0.block_of(&blocks[*at], loaded.clone()));
            }
        }
        found.into_iter().map(|found| found.expect("a block is in memory or has a load")).collect()
    }

    /// Bytes of budget that loads in flight hold, and what was loaded ahead and not read yet.
    pub fn loads_in_use(&self) -> u64 {
        self.0.cache.loads_in_use()
    }

    /// What reading did so far.
    pub fn stats(&self) -> ReadStats {
        let counters = &self.0.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let hedges = self.0.stores.hedges();
        ReadStats {
            tail_blocks: get(&counters.tail_blocks),
            cached_blocks: get(&counters.cached_blocks),
            joined_blocks: get(&counters.joined_blocks),
            gets: get(&counters.gets),
            get_bytes: get(&counters.get_bytes),
            repeats: get(&counters.repeats),
            ahead_gets: get(&counters.ahead_gets),
            ahead_refused: get(&counters.ahead_refused),
            ahead_unread: get(&counters.ahead_unread),
            rate: self.0.cold.rate(),
            hedges: hedges.sent,
            hedges_won: hedges.won,
        }
    }
}

/// Neighbouring blocks of one object, or a small object whole: what one GET brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    lane: LaneRef,
    number: LaneNumber,
    /// Take the whole object.
    whole: bool,
    /// The blocks, by position, each once. Of a whole object only those that were asked for.
    blocks: Vec<BlockRef>,
}

impl Run {
    /// With this block alone.
    pub fn of(block: BlockRef) -> Run {
        Run { lane: block.lane, number: block.number, whole: block.small, blocks: vec![block] }
    }

    fn start(&self) -> u64 {
        if self.whole { 0 } else { self.blocks[0].position }
    }

    fn end(&self) -> u64 {
        self.blocks.last().expect("a run has blocks").range().end
    }

    /// Bytes that it brings at most.
    pub fn bytes_max(&self) -> u64 {
        if self.whole { SMALL_OBJECT_BYTES } else { self.end() - self.start() }
    }

    /// About so many.
    fn bytes_expected(&self) -> u64 {
        if self.whole { WHOLE_BYTES_EXPECTED } else { self.bytes_max() }
    }

    /// Bytes of its blocks.
    pub fn block_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.length)).sum()
    }

    /// Could a GET of at most `bytes_max` bring one more that is as large as this?
    pub fn has_room(&self, block: &BlockRef, bytes_max: u64) -> bool {
        self.whole || self.bytes_max() + u64::from(block.length) <= bytes_max
    }

    /// Adds the next block, if the same GET of at most `bytes_max` can bring it.
    pub fn take(&mut self, next: BlockRef, bytes_max: u64) -> bool {
        let same_object = (self.lane, self.number, self.whole) == (next.lane, next.number, next.small);
        let fits = self.end() == next.position && next.range().end - self.start() <= bytes_max;
        let taken = same_object && (self.whole || fits);
        if taken {
            self.blocks.push(next);
        }
        taken
    }

    pub fn keys(&self) -> impl Iterator<Item = UnitKey> + '_ {
        self.blocks.iter().map(UnitKey::of)
    }
}

/// The GETs that bring these blocks, few as they can be.
fn runs_of(mut blocks: Vec<BlockRef>, bytes_max: u64) -> Vec<Run> {
    blocks.sort_by_key(|block| (block.lane, block.number, block.position));
    blocks.dedup_by_key(|block| (block.lane, block.number, block.position));
    let mut runs: Vec<Run> = Vec::new();
    for block in blocks {
        if !runs.last_mut().is_some_and(|run| run.take(block, bytes_max)) {
            runs.push(Run::of(block));
        }
    }
    runs
}

impl Inner {
    /// A load for each of `missing` (indices of `blocks`), with the indices that it serves: one that is in flight, else a
    /// new one.
    fn loads_of(
        self: &Arc<Self>,
        blocks: &[BlockRef],
        missing: &[usize],
        wanted: Wanted,
    ) -> Vec<(Shared<Load>, Vec<usize>)> {
        if missing.is_empty() {
            return Vec::new();
        }
        let mut in_flight = self.in_flight.lock();
        let joined = |in_flight: &HashMap<UnitKey, InFlight>, at: usize| {
            in_flight.get(&UnitKey::of(&blocks[at])).and_then(|load| load.join(wanted))
        };
        let mut loads = Vec::new();
        let mut unread = Vec::new();
        for &at in missing {
            match joined(&in_flight, at).or_else(|| self.just_loaded(&blocks[at])) {
                Some(load) => {
                    count(&self.counters.joined_blocks, 1);
                    loads.push((load, vec![at]));
                }
                None => unread.push(at),
            }
        }
        // What nobody awaits any more is dropped here; it holds nothing but its entry.
        if in_flight.len() > 1024 {
            in_flight.retain(|_, load| load.load().is_some());
        }
        let bytes_max = RUN_BYTES_MAX.min(self.cold.read_bytes_max());
        for run in runs_of(unread.iter().map(|at| blocks[*at]).collect(), bytes_max) {
            let keys: Vec<UnitKey> = run.keys().collect();
            let wants = Wants::new(wanted);
            let load = Arc::clone(self).fetch(run, None, wants.clone()).boxed().shared();
            let entry = InFlight::new(&load, wants);
            in_flight.extend(keys.iter().map(|key| (*key, entry.clone())));
            let members = unread.iter().copied().filter(|at| keys.contains(&UnitKey::of(&blocks[*at])));
            loads.push((load, members.collect()));
        }
        loads
    }

    /// Is the block in memory, or on its way there?
    pub fn at_hand(&self, in_flight: &HashMap<UnitKey, InFlight>, block: &BlockRef) -> bool {
        let key = UnitKey::of(block);
        self.tail.has(block)
            || self.cache.has(&key)
            || in_flight.get(&key).is_some_and(|load| load.load().is_some())
    }

    /// The bytes of a block that was loaded ahead and is still held.
    fn held(&self, block: &BlockRef) -> Option<Bytes> {
        let load = self.in_flight.lock().get(&UnitKey::of(block))?.load()?;
        load.peek()?.as_ref().ok().filter(|loaded| loaded.sound)?.slice(block)
    }

    /// A load that ended between the look into the cache and the lock has left its bytes in there.
    fn just_loaded(&self, block: &BlockRef) -> Option<Shared<Load>> {
        let bytes = self.cache.get(block)?;
        let loaded = Loaded { position: block.position, bytes, sound: true, _room: None };
        Some(std::future::ready(Ok(Arc::new(loaded))).boxed().shared())
    }

    /// Loads. With `ahead`, the room it has, what comes is not kept but stays in flight, until it is let go.
    pub async fn fetch(
        self: Arc<Self>,
        run: Run,
        ahead: Option<Room>,
        wants: Wants,
    ) -> Result<Arc<Loaded>, ReadError> {
        let room = match &ahead {
            None => Some(self.room(run.bytes_max(), &wants).await),
            Some(_) => None,
        };
        let loaded = self.fetch_twice(&run, &wants).await;
        let sound = loaded.as_ref().is_ok_and(|loaded| loaded.sound);
        if sound && let Some(mut ahead) = ahead {
            return loaded.map(|loaded| {
                ahead.shrink_to(loaded.bytes.len() as u64);
                Arc::new(Loaded { _room: Some(ahead), ..loaded })
            });
        }
        if let Ok(loaded) = &loaded
            && sound
        {
            self.keep(&run, loaded);
        }
        // In this order: who misses the entry finds the bytes.
        let mut in_flight = self.in_flight.lock();
        for key in run.keys() {
            in_flight.remove(&key);
        }
        drop(in_flight);
        drop(room);
        loaded.map(Arc::new)
    }

    async fn room(&self, bytes: u64, wants: &Wants) -> Permit {
        tokio::select! {
            biased;
            room = self.cache.admit(bytes) => room,
            // Who reads in turn may hold all of it until that comes.
            () = wants.at_once() => self.cache.admit_at_once(bytes).await,
        }
    }

    pub fn keep(&self, run: &Run, loaded: &Loaded) {
        // All of a small object is one unit.
        let units = if run.whole { 1 } else { run.blocks.len() };
        self.cache.insert(loaded.bytes.clone(), loaded.position, run.keys().take(units));
    }

    /// What is missing or wrong is asked for once more before it is believed.
    async fn fetch_twice(&self, run: &Run, wants: &Wants) -> Result<Loaded, ReadError> {
        let (id, key) = self.lanes.key(run.lane, run.number);
        let Some(store) = self.stores.get(id) else {
            return Err(ReadError::UnknownStore { key, store: id });
        };
        let position = run.blocks[0].position;
        let failed = |error| ReadError::Store { key: key.clone(), position, error: Arc::new(error) };
        let first = self.fetch_once(id, &**store, &key, run, wants).await.map_err(failed)?;
        if let Some(loaded) = first.filter(|loaded| loaded.sound) {
            return Ok(loaded);
        }
        count(&self.counters.repeats, 1);
        tracing::warn!(%key, position, "missing or damaged when first read; asking again");
        let second = self.fetch_once(id, &**store, &key, run, wants).await.map_err(failed)?;
        second.ok_or(ReadError::Missing { key, position })
    }

    async fn fetch_once<'a>(
        &'a self,
        id: StoreId,
        store: &dyn Store,
        key: &str,
        run: &Run,
        wants: &Wants,
    ) -> Result<Option<Loaded>, StoreError> {
        let get = || async {
            if run.whole { store.get(key).await } else { store.get_range(key, run.start()..run.end()).await }
        };
        // A second answer needs the room of a second load, and does not wait for it.
        let room = || self.cache.loads().try_acquire(run.bytes_max());
        let turn = || async {
            tokio::select! {
                biased;
                () = wants.at_once() => self.cold.at_once(run.bytes_expected()),
                turn = self.cold.turn(run.bytes_expected()) => turn,
            }
        };
        // Not over what is between two attempts.
        let hedged = |mut turn: ColdRead<'a>| async move {
            let got = self.stores.hedged(id, run.bytes_max(), room, get).await;
            turn.got(&got);
            got
        };
        let got = retry_in_turn(&self.env, Some(PATIENCE), turn, hedged).await?;
        let Some(bytes) = got else { return Ok(None) };
        count(&self.counters.gets, 1);
        count(&self.counters.get_bytes, bytes.len() as u64);
        let mut loaded = Loaded { position: run.start(), bytes, sound: false, _room: None };
        let asked_for =
            run.blocks.iter().all(|block| loaded.slice(block).is_some_and(|bytes| is_right(block, &bytes)));
        loaded.sound = asked_for && (!run.whole || self.is_whole_object(run, &loaded.bytes));
        Ok(Some(loaded))
    }

    /// All of a small object is kept, so all of it must be right.
    fn is_whole_object(&self, run: &Run, bytes: &Bytes) -> bool {
        let (_, lane) = self.lanes.resolve(run.lane);
        let Ok(whole) = parse_whole(bytes.clone()) else { return false };
        let header = &whole.footer.header;
        header.owner == lane && header.number == run.number.0 && whole.verify_all().is_ok()
    }

    fn block_of(&self, block: &BlockRef, loaded: Result<Arc<Loaded>, ReadError>) -> Result<Bytes, ReadError> {
        let loaded = loaded.map_err(|error| error.at(block.position))?;
        let corrupt = |what: String| {
            let (_, key) = self.lanes.key(block.lane, block.number);
            ReadError::Corrupt { key, position: block.position, what }
        };
        let bytes = loaded.slice(block).ok_or_else(|| corrupt("it ends before the block does".into()))?;
        if !loaded.sound && !is_right(block, &bytes) {
            let actual = crc32fast::hash(&bytes);
            return Err(corrupt(format!("CRC {actual:08x}, the index says {:08x}", block.crc)));
        }
        Ok(bytes)
    }
}

fn is_right(block: &BlockRef, bytes: &[u8]) -> bool {
    crc32fast::hash(bytes) == block.crc
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
