//! Reads blocks: from the tail, else from the block cache, else from the store.
//!
//! Owns the loads in flight: however many ask for a block at once, one GET brings it. Neighbouring blocks of one call come
//! in one GET of at most [`RUN_BYTES_MAX`]; objects that are small come whole, for all their streams. Does not own which
//! blocks a stream has ([`crate::stream`]) nor read-ahead.
//!
//! In this order, and why: memory first, without an await, so that what is at hand is never held up by what is not. Then
//! room in the budget. Then the GET. Then the CRC of every block (I7): what is wrong or missing is asked for once more
//! before it is believed, and is kept nowhere. Errors are never cached; the next call asks the store again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared, WeakShared, join_all};
use parking_lot::Mutex;

use super::block::{BlockCache, UnitKey};
use super::tail::TailCache;
use crate::block_ref::{BlockRef, LaneRef, LaneTable, SMALL_OBJECT_BYTES};
use crate::budget::Budget;
use crate::env::Env;
use crate::ids::{LaneNumber, StoreId};
use crate::object::parse_whole;
use crate::store::{Store, StoreError, retry};

/// Bytes that one GET of neighbouring blocks brings at most; a larger single block comes alone.
pub const RUN_BYTES_MAX: u64 = 4 << 20;

/// Kept of what was read from directories: enough that neighbours at one place of the log share a read. What is read
/// again later is in the page cache, and memory that is used again costs less than memory that grows.
const KEPT_OF_DIRECTORIES_BYTES: u64 = 128 << 20;

/// How long a load asks a store that does not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The stores of the cluster, by id.
#[derive(Clone, Debug, Default)]
pub struct Stores(BTreeMap<StoreId, Arc<dyn Store>>);

impl Stores {
    /// No stores.
    pub fn new() -> Stores {
        Stores::default()
    }

    /// With one more.
    pub fn with(mut self, id: StoreId, store: Arc<dyn Store>) -> Stores {
        self.0.insert(id, store);
        self
    }

    /// Does the kernel's page cache hold what is read of all of them?
    fn are_directories(&self) -> bool {
        self.0.values().all(|store| store.traits().directory)
    }

    /// The store of that id, if this process has it.
    pub fn get(&self, id: StoreId) -> Option<&Arc<dyn Store>> {
        self.0.get(&id)
    }
}

/// Why a block could not be read. Names the object and where in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The object is not there. The image at hand is old (DESIGN §7: catch up and read again), or data is lost.
    #[error("{key} is missing (wanted at position {position})")]
    Missing {
        /// The object.
        key: String,
        /// First byte of the block in it.
        position: u64,
    },
    /// Twice the bytes were not what the index says.
    #[error("{key} is damaged at position {position}: {what}")]
    Corrupt {
        /// The object.
        key: String,
        /// First byte of the block in it.
        position: u64,
        /// What differs.
        what: String,
    },
    /// The store did not answer in time, or refused.
    #[error("{key} could not be read at position {position}: {error}")]
    Store {
        /// The object.
        key: String,
        /// First byte of the block in it.
        position: u64,
        /// Its last answer.
        error: Arc<StoreError>,
    },
    /// This process was not given that store.
    #[error("{key} lies in store {}, which this process does not have", store.0)]
    UnknownStore {
        /// The object.
        key: String,
        /// Where it lies.
        store: StoreId,
    },
}

impl ReadError {
    /// The same, of another block of the same load.
    fn at(mut self, at: u64) -> ReadError {
        match &mut self {
            ReadError::Missing { position, .. }
            | ReadError::Corrupt { position, .. }
            | ReadError::Store { position, .. } => *position = at,
            ReadError::UnknownStore { .. } => {}
        }
        self
    }

    /// May the same call succeed later, with the same image?
    pub fn is_transient(&self) -> bool {
        matches!(self, ReadError::Store { error, .. } if matches!(**error, StoreError::Transient(_)))
    }
}

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
}

/// Reads blocks. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    env: Env,
    stores: Stores,
    lanes: Arc<LaneTable>,
    tail: Arc<TailCache>,
    cache: BlockCache,
    /// By every unit that it will bring. Weak: a load that nobody awaits any more is gone, with its room.
    in_flight: Mutex<HashMap<UnitKey, WeakShared<Load>>>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    tail_blocks: AtomicU64,
    cached_blocks: AtomicU64,
    joined_blocks: AtomicU64,
    gets: AtomicU64,
    get_bytes: AtomicU64,
    repeats: AtomicU64,
}

type Load = BoxFuture<'static, Result<Arc<Loaded>, ReadError>>;

/// What one GET brought.
struct Loaded {
    /// Position of the first byte in the object.
    position: u64,
    bytes: Bytes,
    /// Every block of it was checked and is right. Else each reader checks its own.
    sound: bool,
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
    ) -> Reader {
        let keep_bytes = if stores.are_directories() { KEPT_OF_DIRECTORIES_BYTES } else { u64::MAX };
        Reader(Arc::new(Inner {
            env,
            stores,
            lanes,
            tail,
            cache: BlockCache::new(budget, keep_bytes),
            in_flight: Mutex::default(),
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
        let bytes = inner.cache.get(block)?;
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
        let mut found: Vec<Option<Result<Bytes, ReadError>>> =
            blocks.iter().map(|block| self.memory(block).map(Ok)).collect();
        let missing: Vec<usize> = (0..blocks.len()).filter(|at| found[*at].is_none()).collect();
        let loads = self.0.loads_of(blocks, &missing);
        let loaded = join_all(loads.iter().map(|(load, _)| load.clone())).await;
        for ((_, members), loaded) in loads.iter().zip(loaded) {
            for at in members {
                found[*at] = Some(self.0.block_of(&blocks[*at], loaded.clone()));
            }
        }
        found.into_iter().map(|found| found.expect("a block is in memory or has a load")).collect()
    }

    /// Bytes of budget that loads in flight hold.
    pub fn loads_in_use(&self) -> u64 {
        self.0.cache.loads_in_use()
    }

    /// What reading did so far.
    pub fn stats(&self) -> ReadStats {
        let counters = &self.0.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReadStats {
            tail_blocks: get(&counters.tail_blocks),
            cached_blocks: get(&counters.cached_blocks),
            joined_blocks: get(&counters.joined_blocks),
            gets: get(&counters.gets),
            get_bytes: get(&counters.get_bytes),
            repeats: get(&counters.repeats),
        }
    }
}

/// Neighbouring blocks of one object, or a small object whole: what one GET brings.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    lane: LaneRef,
    number: LaneNumber,
    /// Take the whole object.
    whole: bool,
    /// The blocks, by position, each once. Of a whole object only those that were asked for.
    blocks: Vec<BlockRef>,
}

impl Run {
    fn start(&self) -> u64 {
        if self.whole { 0 } else { self.blocks[0].position }
    }

    fn end(&self) -> u64 {
        self.blocks.last().expect("a run has blocks").range().end
    }

    /// Bytes that it brings at most.
    fn bytes_max(&self) -> u64 {
        if self.whole { SMALL_OBJECT_BYTES } else { self.end() - self.start() }
    }

    fn takes(&self, next: &BlockRef) -> bool {
        let same_object = (self.lane, self.number, self.whole) == (next.lane, next.number, next.small);
        let fits = self.end() == next.position && next.range().end - self.start() <= RUN_BYTES_MAX;
        same_object && (self.whole || fits)
    }

    fn keys(&self) -> impl Iterator<Item = UnitKey> + '_ {
        self.blocks.iter().map(UnitKey::of)
    }
}

/// The GETs that bring these blocks, few as they can be.
fn runs_of(mut blocks: Vec<BlockRef>) -> Vec<Run> {
    blocks.sort_by_key(|block| (block.lane, block.number, block.position));
    blocks.dedup_by_key(|block| (block.lane, block.number, block.position));
    let mut runs: Vec<Run> = Vec::new();
    for block in blocks {
        match runs.last_mut().filter(|run| run.takes(&block)) {
            Some(run) => run.blocks.push(block),
            None => runs.push(Run {
                lane: block.lane,
                number: block.number,
                whole: block.small,
                blocks: vec![block],
            }),
        }
    }
    runs
}

impl Inner {
    /// A load for each of `missing` (indices of `blocks`), with the indices that it serves: one that is in flight, else a
    /// new one.
    fn loads_of(self: &Arc<Self>, blocks: &[BlockRef], missing: &[usize]) -> Vec<(Shared<Load>, Vec<usize>)> {
        if missing.is_empty() {
            return Vec::new();
        }
        let mut in_flight = self.in_flight.lock();
        let joined = |in_flight: &HashMap<UnitKey, WeakShared<Load>>, at: usize| {
            in_flight.get(&UnitKey::of(&blocks[at])).and_then(WeakShared::upgrade)
        };
        let mut loads = Vec::new();
        let mut wanted = Vec::new();
        for &at in missing {
            match joined(&in_flight, at).or_else(|| self.just_loaded(&blocks[at])) {
                Some(load) => {
                    count(&self.counters.joined_blocks, 1);
                    loads.push((load, vec![at]));
                }
                None => wanted.push(at),
            }
        }
        // What nobody awaits any more is dropped here; it holds nothing but its entry.
        if in_flight.len() > 1024 {
            in_flight.retain(|_, load| load.upgrade().is_some());
        }
        for run in runs_of(wanted.iter().map(|at| blocks[*at]).collect()) {
            let keys: Vec<UnitKey> = run.keys().collect();
            let load = Arc::clone(self).fetch(run).boxed().shared();
            let weak = load.downgrade().expect("not polled yet");
            in_flight.extend(keys.iter().map(|key| (*key, weak.clone())));
            let members = wanted.iter().copied().filter(|at| keys.contains(&UnitKey::of(&blocks[*at])));
            loads.push((load, members.collect()));
        }
        loads
    }

    /// A load that ended between the look into the cache and the lock has left its bytes in there.
    fn just_loaded(&self, block: &BlockRef) -> Option<Shared<Load>> {
        let bytes = self.cache.get(block)?;
        let loaded = Loaded { position: block.position, bytes, sound: true };
        Some(std::future::ready(Ok(Arc::new(loaded))).boxed().shared())
    }

    async fn fetch(self: Arc<Self>, run: Run) -> Result<Arc<Loaded>, ReadError> {
        let room = self.cache.admit(run.bytes_max()).await;
        let loaded = self.fetch_twice(&run).await;
        if let Ok(loaded) = &loaded
            && loaded.sound
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

    fn keep(&self, run: &Run, loaded: &Loaded) {
        if run.whole {
            self.cache.insert(UnitKey::of(&run.blocks[0]), loaded.bytes.clone());
            return;
        }
        for block in &run.blocks {
            let bytes = loaded.slice(block).expect("a sound run has all its blocks");
            self.cache.insert(UnitKey::of(block), bytes);
        }
    }

    /// What is missing or wrong is asked for once more before it is believed.
    async fn fetch_twice(&self, run: &Run) -> Result<Loaded, ReadError> {
        let (store, key) = self.lanes.key(run.lane, run.number);
        let Some(store) = self.stores.get(store) else {
            return Err(ReadError::UnknownStore { key, store });
        };
        let position = run.blocks[0].position;
        let failed = |error| ReadError::Store { key: key.clone(), position, error: Arc::new(error) };
        let first = self.fetch_once(&**store, &key, run).await.map_err(failed)?;
        if let Some(loaded) = first.filter(|loaded| loaded.sound) {
            return Ok(loaded);
        }
        count(&self.counters.repeats, 1);
        tracing::warn!(%key, position, "missing or damaged when first read; asking again");
        let second = self.fetch_once(&**store, &key, run).await.map_err(failed)?;
        second.ok_or(ReadError::Missing { key, position })
    }

    async fn fetch_once(
        &self,
        store: &dyn Store,
        key: &str,
        run: &Run,
    ) -> Result<Option<Loaded>, StoreError> {
        let get = || async {
            if run.whole { store.get(key).await } else { store.get_range(key, run.start()..run.end()).await }
        };
        let Some(bytes) = retry(&self.env, Some(PATIENCE), get).await? else { return Ok(None) };
        count(&self.counters.gets, 1);
        count(&self.counters.get_bytes, bytes.len() as u64);
        let mut loaded = Loaded { position: run.start(), bytes, sound: false };
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

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::rig::{self, RigReader};

    fn small(rig: &RigReader) -> Vec<BlockRef> {
        rig.put_object(0, &[(1, 0, b"one"), (2, 0, b"two"), (3, 0, b"three")])
    }

    /// One large object: eight blocks of 512 KiB of one stream.
    fn large(rig: &RigReader, number: u64) -> Vec<BlockRef> {
        let bodies: Vec<Vec<u8>> = (0..12).map(|at| vec![at; 512 << 10]).collect();
        let parts: Vec<(u64, u64, &[u8])> =
            bodies.iter().enumerate().map(|(at, body)| (1, at as u64 * 10, &body[..])).collect();
        rig.put_object(number, &parts)
    }

    #[test]
    fn neighbours_come_in_one_get_and_small_objects_whole() {
        let at = |number: u64, position: u64, length: u32, small: bool| BlockRef {
            number: LaneNumber(number),
            small,
            ..rig::block_ref(0, position, length)
        };
        type Gets = &'static [(u64, u64, usize)]; // from, to, blocks
        let table: [(&str, Vec<BlockRef>, Gets); 6] = [
            ("neighbours", vec![at(0, 100, 50, false), at(0, 150, 50, false)], &[(100, 200, 2)]),
            (
                "in any order, once each",
                vec![at(0, 150, 50, false), at(0, 100, 50, false), at(0, 150, 50, false)],
                &[(100, 200, 2)],
            ),
            (
                "not over a gap",
                vec![at(0, 100, 50, false), at(0, 151, 50, false)],
                &[(100, 150, 1), (151, 201, 1)],
            ),
            (
                "not into the next object",
                vec![at(0, 100, 50, false), at(1, 150, 50, false)],
                &[(100, 150, 1), (150, 200, 1)],
            ),
            (
                "up to 4 MiB",
                vec![at(0, 0, 3 << 20, false), at(0, 3 << 20, 1 << 20, false), at(0, 4 << 20, 1, false)],
                &[(0, 4 << 20, 2), (4 << 20, (4 << 20) + 1, 1)],
            ),
            (
                "a larger one alone",
                vec![at(0, 0, 9 << 20, false), at(0, 9 << 20, 1, false)],
                &[(0, 9 << 20, 1), (9 << 20, (9 << 20) + 1, 1)],
            ),
        ];
        for (what, blocks, expected) in table {
            let runs: Vec<_> =
                runs_of(blocks).iter().map(|run| (run.start(), run.end(), run.blocks.len())).collect();
            assert_eq!(runs, expected, "{what}");
        }
        let runs = runs_of(vec![at(0, 100, 50, true), at(0, 900, 50, true), at(1, 100, 50, true)]);
        assert_eq!(
            runs.iter().map(|run| (run.whole, run.start(), run.blocks.len())).collect::<Vec<_>>(),
            [(true, 0, 2), (true, 0, 1)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_object_is_read_once_for_all_its_streams() {
        let rig = RigReader::new();
        let blocks = small(&rig);
        assert_eq!(rig.reader.memory(&blocks[0]), None);
        assert_eq!(rig.reader.load(&blocks[1..2]).await.unwrap(), [&b"two"[..]]);
        assert_eq!(rig.reader.load(&blocks).await.unwrap(), [&b"one"[..], b"two", b"three"]);
        assert_eq!(rig.reader.memory(&blocks[2]).unwrap(), &b"three"[..]);
        assert_eq!(rig.gets(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_tail_is_asked_first_and_the_store_when_it_has_gone() {
        let rig = RigReader::new();
        let block = rig.put_object(3, &[(1, 0, b"tail")])[0];
        let object = rig::object(3, &[(1, 0, b"tail")]);
        let charge = rig.tail.try_reserve(object.capacity() as u64).unwrap();
        rig.tail.insert(rig.lane, LaneNumber(3), object, charge);
        assert_eq!(rig.reader.memory(&block).unwrap(), &b"tail"[..]);
        assert_eq!(rig.reader.load(&[block]).await.unwrap(), [&b"tail"[..]]);
        assert_eq!((rig.gets(), rig.reader.stats().tail_blocks), (0, 2));
        rig.tail.forget_from(rig.lane, LaneNumber(0));
        assert_eq!(rig.reader.load(&[block]).await.unwrap(), [&b"tail"[..]]);
        assert_eq!(rig.gets(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_wait_one_get_brings_it() {
        let rig = RigReader::new();
        let blocks = large(&rig, 7);
        let readers = (0..50).map(|_| rig.reader.load(&blocks[2..6]));
        for loaded in join_all(readers).await {
            let loaded = loaded.unwrap();
            assert_eq!((loaded.len(), loaded[3][0]), (4, 5));
        }
        assert_eq!(rig.gets(), 1);
        assert_eq!(rig.reader.stats().get_bytes, 4 * (512 << 10));
        // Overlapping asks share what they can: blocks 4 and 5 are there, 6 and 7 are one more GET, however many ask.
        let (a, b) = tokio::join!(rig.reader.load(&blocks[4..8]), rig.reader.load(&blocks[6..8]));
        assert_eq!((a.unwrap().len(), b.unwrap().len()), (4, 2));
        assert_eq!(rig.gets(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_goes_on_for_others_and_ends_with_the_last() {
        let rig = RigReader::new();
        let blocks = large(&rig, 0);
        let mut first = Box::pin(rig.reader.load(&blocks[..1]));
        assert!(futures::poll!(&mut first).is_pending(), "the store takes its time");
        let mut second = Box::pin(rig.reader.load(&blocks[..1]));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await.unwrap().len(), 1);
        assert_eq!(rig.gets(), 1);
        // The last one to go takes the load along; the next begins another.
        let mut gone = Box::pin(rig.reader.load(&blocks[1..2]));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        assert_eq!(rig.reader.load(&blocks[1..2]).await.unwrap()[0][0], 1);
        assert_eq!(rig.loads_in_use(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn damage_is_asked_for_again_then_told_and_never_kept() {
        for big in [false, true] {
            let rig = RigReader::new();
            let blocks = if big { large(&rig, 0) } else { small(&rig) };
            let honest = rig.flip(0, blocks[1].position);
            let error = rig.reader.load(&blocks[..3]).await.unwrap_err();
            let ReadError::Corrupt { key, position, .. } = &error else { panic!("{error}") };
            assert_eq!((key.as_str(), *position), (&*rig.key(0), blocks[1].position));
            assert_eq!(rig.gets(), 2, "asked twice");
            assert_eq!(rig.reader.load(&blocks[..1]).await.unwrap().len(), 1, "its neighbour is whole");
            assert!(rig.reader.load(&blocks[1..2]).await.is_err());
            rig.replace(0, honest);
            assert_eq!(rig.reader.load(&blocks[..3]).await.unwrap().len(), 3, "nothing bad was kept");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn damage_on_the_way_is_healed_by_asking_again() {
        let rig = RigReader::new();
        let blocks = large(&rig, 0);
        rig.garble_next_read();
        assert_eq!(rig.reader.load(&blocks[..2]).await.unwrap()[1][0], 1);
        assert_eq!(rig.reader.stats().repeats, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_asked_for_again_and_never_remembered() {
        let rig = RigReader::new();
        let blocks = small(&rig);
        let honest = rig.take(0);
        let error = rig.reader.load(&blocks).await.unwrap_err();
        assert!(
            matches!(&error, ReadError::Missing { position, .. } if *position == blocks[0].position),
            "{error}"
        );
        assert!(!error.is_transient());
        assert_eq!(rig.calls(), 2);
        rig.replace(0, honest);
        assert_eq!(rig.reader.load(&blocks).await.unwrap().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_waited_for_then_told() {
        let rig = RigReader::new();
        let blocks = small(&rig);
        rig.fail_reads(3);
        assert!(rig.reader.load(&blocks).await.is_ok());
        let rig = RigReader::new();
        let blocks = small(&rig);
        rig.fail_reads(u32::MAX);
        let error = rig.reader.load(&blocks).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains(&rig.key(0)), "{error}");
        rig.fail_reads(0);
        assert!(rig.reader.load(&blocks).await.is_ok(), "errors are not kept");
    }
}
