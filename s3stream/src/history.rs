//! Reading what was uploaded: which blocks of which objects hold an offset, when only the catalog knows.
//!
//! The catalog has a range per object and stream; the object's own index has the blocks. Indexes are read from the end of
//! their object (one GET, usually), kept by least recent use, and loaded once however many ask ([`History::blocks`]). So
//! memory does not grow with the log. Does not own the bytes of blocks: [`crate::cache::Reader`] brings them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;

use crate::block_ref::{BlockRef, LaneRef, LaneTable};
use crate::budget::{Budget, Class, Permit};
use crate::cache::{ReadError, Stores};
use crate::catalog::{Catalog, StreamRange};
use crate::env::Env;
use crate::ids::{LaneId, LaneNumber, ObjectId, StoreId, StreamId};
use crate::object::{BlockKind, Footer, FormatError, IndexEntry, TailParse, parse_tail};
use crate::store::{StoreError, retry};

/// Bytes read of the end of an object: the index of 1,000 blocks.
const TAIL_BYTES: u64 = 64 << 10;
/// How long one object is asked for while the store does not answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Part of the class block cache that indexes take.
const CACHE_PART: u64 = 16;
/// Memory of a kept index besides its entries.
const INDEX_BYTES: usize = 256;

/// A range of a stream, and what it takes to find its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeAt {
    /// What the catalog says.
    pub range: StreamRange,
    /// Where the object lies.
    pub store: StoreId,
    /// Who wrote it.
    pub writer: LaneId,
}

/// What to look for: made of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRead {
    /// Of which stream.
    pub stream: StreamId,
    /// Ranges in offset order; the first holds `offset`, or is the next after a loss.
    pub ranges: Vec<RangeAt>,
    /// The range after them.
    pub next: Option<RangeAt>,
    /// First offset wanted.
    pub offset: u64,
    /// About how many bytes.
    pub bytes_max: u64,
}

impl Catalog {
    /// The ranges that hold about `bytes_max` bytes of a stream from `offset` on; none where no object does.
    pub fn history(&self, stream: StreamId, offset: u64, bytes_max: u64) -> HistoryRead {
        let all: &[StreamRange] = self.stream(stream).map_or(&[], |state| &state.ranges);
        let first = all.partition_point(|range| range.end <= offset);
        let mut bytes = 0;
        let (mut ranges, mut next) = (Vec::new(), None);
        for range in &all[first..] {
            if !ranges.is_empty() && bytes >= bytes_max {
                next = Some(self.range_at(range));
                break;
            }
            // Of the first, an unknown part lies below the offset: the next is taken along.
            bytes += if ranges.is_empty() { 0 } else { range.bytes };
            ranges.push(self.range_at(range));
        }
        HistoryRead { stream, ranges, next, offset, bytes_max }
    }

    /// Where an object that is in the catalog, or was, is found in its store.
    pub fn object_key(&self, object: ObjectId) -> String {
        object.key(self.lane(object.incarnation).expect("lanes never leave the catalog").id)
    }

    /// A range, with what it takes to find its object.
    pub fn range_at(&self, range: &StreamRange) -> RangeAt {
        let object = self.object(range.object).expect("what refers to an object keeps it in the catalog");
        let writer = self.lane(range.object.incarnation).expect("lanes never leave the catalog").id;
        RangeAt { range: *range, store: object.store, writer }
    }
}

/// The blocks of data in one object.
#[derive(Debug)]
struct ObjectIndex {
    series: LaneRef,
    number: LaneNumber,
    object_len: u64,
    /// By (stream, epoch, base).
    entries: Vec<IndexEntry>,
}

impl ObjectIndex {
    fn blocks<'a>(&'a self, stream: StreamId, range: &'a StreamRange) -> impl Iterator<Item = BlockRef> + 'a {
        let key = |entry: &IndexEntry| (entry.stream, entry.epoch, entry.end);
        let first = self.entries.partition_point(|entry| key(entry) <= (stream, range.epoch, range.start));
        let of_range = move |entry: &&IndexEntry| {
            (entry.stream, entry.epoch) == (stream, range.epoch) && entry.base < range.end
        };
        self.entries[first..].iter().take_while(of_range).map(|entry| {
            let block = BlockRef::new(self.series, self.number, entry, self.object_len);
            BlockRef { end: block.end.min(range.end), ..block }
        })
    }
}

type Load = BoxFuture<'static, Result<Arc<ObjectIndex>, ReadError>>;

/// Finds blocks of what was uploaded. Cheap to clone; one per process.
#[derive(Clone)]
pub struct History(Arc<Inner>);

struct Inner {
    env: Env,
    stores: Stores,
    tables: Arc<LaneTable>,
    indexes: Cache<ObjectId, Arc<ObjectIndex>>,
    in_flight: Mutex<HashMap<ObjectId, WeakShared<Load>>>,
    _charge: Permit,
}

impl History {
    /// Keeps indexes in a part of the class block cache.
    pub fn new(env: Env, stores: Stores, tables: Arc<LaneTable>, budget: &Budget) -> History {
        let class = budget.class(Class::BlockCache);
        let charge = class.overdraw(class.capacity() / CACHE_PART);
        let weigh = |_: &ObjectId, index: &Arc<ObjectIndex>| {
            u32::try_from(index.entries.len() * size_of::<IndexEntry>() + INDEX_BYTES).unwrap_or(u32::MAX)
        };
        let indexes = Cache::builder()
            .max_capacity(charge.bytes())
            .weigher(weigh)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let in_flight = Mutex::default();
        History(Arc::new(Inner { env, stores, tables, indexes, in_flight, _charge: charge }))
    }

    /// The blocks that hold what is wanted, as far as the indexes in memory tell; None if the first of them is not there.
    pub fn known(&self, read: &HistoryRead) -> Option<Vec<BlockRef>> {
        let mut found = Found::new(read);
        for at in &read.ranges {
            let Some(index) = self.0.indexes.get(&at.range.object) else { break };
            if found.take(&index, &at.range) {
                break;
            }
        }
        (!found.blocks.is_empty()).then_some(found.blocks)
    }

    /// The blocks that hold what is wanted, in offset order: at least one where there is a range.
    ///
    /// # Errors
    /// An index could not be read; [`ReadError::Missing`] where the image that `read` was made of is old.
    pub async fn blocks(&self, read: &HistoryRead) -> Result<Vec<BlockRef>, ReadError> {
        let mut found = Found::new(read);
        for at in &read.ranges {
            let index = self.index(at).await?;
            if found.take(&index, &at.range) {
                break;
            }
        }
        Ok(found.blocks)
    }

    /// Begins to read the index of the range after those, for who will go on there. It may fail unheard.
    pub fn expect_next(&self, read: &HistoryRead) {
        let Some(next) = read.next.filter(|next| !self.0.indexes.contains_key(&next.range.object)) else {
            return;
        };
        let load = self.load_of(&next);
        self.0.env.tasks.spawn("read-index", async move { drop(load.await) });
    }

    /// All blocks of one range.
    ///
    /// # Errors
    /// As [`History::blocks`].
    pub async fn blocks_of(&self, stream: StreamId, at: &RangeAt) -> Result<Vec<BlockRef>, ReadError> {
        let index = self.index(at).await?;
        Ok(index.blocks(stream, &at.range).collect())
    }

    async fn index(&self, at: &RangeAt) -> Result<Arc<ObjectIndex>, ReadError> {
        match self.0.indexes.get(&at.range.object) {
            Some(index) => Ok(index),
            None => self.load_of(at).await,
        }
    }

    fn load_of(&self, at: &RangeAt) -> Shared<Load> {
        let mut in_flight = self.0.in_flight.lock();
        if let Some(load) = in_flight.get(&at.range.object).and_then(WeakShared::upgrade) {
            return load;
        }
        let load: Shared<Load> = Arc::clone(&self.0).load(*at).boxed().shared();
        in_flight.insert(at.range.object, load.downgrade().expect("not polled yet"));
        load
    }
}

impl Inner {
    async fn load(self: Arc<Self>, at: RangeAt) -> Result<Arc<ObjectIndex>, ReadError> {
        let loaded = self.read(&at).await.map(Arc::new);
        if let Ok(index) = &loaded {
            self.indexes.insert(at.range.object, Arc::clone(index));
            self.indexes.run_pending_tasks();
        }
        self.in_flight.lock().remove(&at.range.object);
        loaded
    }

    async fn read(&self, at: &RangeAt) -> Result<ObjectIndex, ReadError> {
        let object = at.range.object;
        let key = object.key(at.writer);
        let corrupt = |position, what: String| ReadError::Corrupt { key: key.clone(), position, what };
        let footer = self.footer(at, &key).await?;
        let header = &footer.header;
        let number = object.lane_number().unwrap_or(LaneNumber(object.counter));
        if header.owner != at.writer || header.number != number.0 {
            return Err(corrupt(0, format!("it is {} of {}", header.number, header.owner)));
        }
        let Footer { object_len, mut entries, .. } = footer;
        entries.retain(|entry| entry.kind == BlockKind::Data);
        entries.shrink_to_fit();
        let key_of = |entry: &IndexEntry| (entry.stream, entry.epoch, entry.base);
        if !entries.windows(2).all(|pair| key_of(&pair[0]) < key_of(&pair[1])) {
            return Err(corrupt(0, "its blocks are not in order".into()));
        }
        // What was adopted may be in the tail still, and the cache knows it by its place in the lane.
        let series = match object.lane_number() {
            Some(_) => self.tables.intern(at.store, at.writer),
            None => self.tables.intern_data(at.store, at.writer),
        };
        Ok(ObjectIndex { series, number, object_len, entries })
    }

    /// What is wrong or missing is asked for once more before it is believed.
    async fn footer(&self, at: &RangeAt, key: &str) -> Result<Footer, ReadError> {
        let Some(store) = self.stores.get(at.store) else {
            return Err(ReadError::UnknownStore { key: key.to_owned(), store: at.store });
        };
        let failed =
            |error: StoreError| ReadError::Store { key: key.to_owned(), position: 0, error: Arc::new(error) };
        let mut wrong: Option<FormatError> = None;
        for _ in 0..2 {
            let mut bytes = TAIL_BYTES;
            loop {
                let get = || self.stores.hedged(at.store, bytes, || Some(()), || store.get_tail(key, bytes));
                let tail = retry(&self.env, Some(PATIENCE), get).await;
                let Some(tail) = tail.map_err(failed)? else { break };
                match parse_tail(&tail) {
                    Ok(TailParse::Index(footer)) => return Ok(footer),
                    Ok(TailParse::NeedMore(more)) => bytes = more,
                    Err(error) => {
                        wrong = Some(error);
                        break;
                    }
                }
            }
        }
        match wrong {
            Some(error) => {
                Err(ReadError::Corrupt { key: key.to_owned(), position: 0, what: error.to_string() })
            }
            None => Err(ReadError::Missing { key: key.to_owned(), position: 0 }),
        }
    }
}

/// Blocks found so far.
struct Found<'a> {
    read: &'a HistoryRead,
    blocks: Vec<BlockRef>,
    bytes: u64,
}

impl Found<'_> {
    fn new(read: &HistoryRead) -> Found<'_> {
        Found { read, blocks: Vec::new(), bytes: 0 }
    }

    /// Takes the blocks of the next range; true when there are enough.
    fn take(&mut self, index: &ObjectIndex, range: &StreamRange) -> bool {
        for block in index.blocks(self.read.stream, range).filter(|block| block.end > self.read.offset) {
            self.bytes += u64::from(block.length);
            self.blocks.push(block);
            if self.bytes >= self.read.bytes_max {
                return true;
            }
        }
        false
    }
}
