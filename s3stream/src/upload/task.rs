//! The upload of one process: what earlier lanes left to it, then its own lane, for as long as that lives.
//!
//! In this order, and why: the lane objects are read (from the tail, where they are for nothing; else from the store); the
//! plan is made of the catalog at hand; the object is put; then one record makes it count and trims the lane. A record
//! that is refused, or whose outcome is unknown, changes nothing here: the next round looks at the catalog again, and
//! what was put is an orphan that [`crate::gc`] sweeps. Dead lanes come first and in the order of their registration,
//! because a stream's epochs are uploaded in their order.
//!
//! Memory: what is composed of is held and charged to class merge; the object itself refers to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::plan::{PARTS_MAX, PlannedObject, SourceIndex, plan};
use super::{CatalogJournal, Checkpoints, UploadSink};
use crate::block_ref::LaneRef;
use crate::budget::{Budget, Class};
use crate::cache::{Stores, TailCache};
use crate::catalog::{Catalog, LaneState, NewObject, ObjectPart, StorageRecord};
use crate::env::Env;
use crate::ids::{Incarnation, LaneId, LaneNumber, ObjectId, StoreId, StreamId, data_key, lane_key};
use crate::object::{
    AttachmentEntry, BlockKind, Composed, Composer, FormatError, IndexEntry, Object, ObjectHeader,
    ObjectKind, Whole, attachments, parse_whole,
};
use crate::store::{Create, CreateOptions, StoreError, create, retry};
use crate::wal::Lane;
use crate::wal::recovery::checkpoints::read_checkpoints;

/// How often the lane is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Pause after a round that failed; doubles up to the second.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Half of a full lane object: as many objects as merging leaves of them, more or less.
const ADOPTED_BYTES_MIN: u64 = 4 << 20;

/// When to upload (DESIGN §5 "Bounds").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadDials {
    /// Bytes of lane objects that are not uploaded: 64 MiB in a directory, 256 MiB elsewhere, a quarter of the budget at
    /// most. One object holds as much at most.
    pub bytes: u64,
    /// Lane objects that are not uploaded: 8,192 in a directory, 1,024 elsewhere.
    pub objects: u64,
    /// The longest that a durable lane object waits. 60 s.
    pub interval: Duration,
    /// Lane objects of so many bytes, of few streams, are adopted where they lie, if that is the store of `data/` too.
    pub adopted_bytes_min: u64,
}

impl UploadDials {
    /// Defaults for the lane's store and a memory budget.
    pub fn for_store(directory: bool, budget: &Budget) -> UploadDials {
        let (most, objects) = if directory { (64 << 20, 8192) } else { (256 << 20, 1024) };
        // What a round holds in memory is charged to class merge, which others use as well.
        let share = budget.class(Class::Merge).capacity() / 2;
        let bytes = share.clamp(1 << 20, most);
        UploadDials {
            bytes,
            objects,
            interval: Duration::from_secs(60),
            adopted_bytes_min: ADOPTED_BYTES_MIN,
        }
    }
}

/// Counters of the objects of `data/` that this incarnation begins, and which of them are not introduced yet.
#[derive(Debug, Default)]
pub struct ObjectCounter(Mutex<CounterState>);

#[derive(Debug, Default)]
struct CounterState {
    next: u64,
    in_work: BTreeSet<u64>,
}

/// An object in work: its id may still be introduced. Dropped when it is, or never will be.
#[derive(Debug)]
pub struct InWork {
    counter: Arc<ObjectCounter>,
    /// Its place in the incarnation's count.
    pub number: u64,
}

impl ObjectCounter {
    /// Begins an object.
    pub fn begin(self: &Arc<Self>) -> InWork {
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        state.in_work.insert(number);
        InWork { counter: Arc::clone(self), number }
    }

    /// Below this nothing is in work: it may be released (SAFETY F6).
    pub fn lowest_in_work(&self) -> u64 {
        let state = self.0.lock();
        state.in_work.first().copied().unwrap_or(state.next)
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.counter.0.lock().in_work.remove(&self.number);
    }
}

/// The upload of one process.
pub struct Uploader {
    /// Surroundings.
    pub env: Env,
    /// Where to write objects of `data/`.
    pub data_store: StoreId,
    /// All stores.
    pub stores: Stores,
    /// The process's own lane.
    pub lane: Lane,
    /// Its short number.
    pub lane_ref: LaneRef,
    /// The tail, which has what it wrote last.
    pub tail: Arc<TailCache>,
    /// Whose memory it uses.
    pub budget: Budget,
    /// When.
    pub dials: UploadDials,
    /// The journal.
    pub journal: Arc<dyn CatalogJournal>,
    /// What is kept beside the streams.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// Who is told.
    pub sink: Arc<dyn UploadSink>,
    /// Ids.
    pub counter: Arc<ObjectCounter>,
    /// The checkpoints at the end of what was uploaded, as far as they were read.
    pub known: HashMap<StreamId, Bytes>,
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error("{key}: {error}")]
    Store { key: String, error: StoreError },
    #[error("store {} is not at hand", .0.0)]
    UnknownStore(StoreId),
    #[error("{key} is missing or damaged: {why}")]
    Unreadable { key: String, why: String },
    #[error("{0}")]
    Journal(String),
    #[error("{0}")]
    Checkpoint(String),
    #[error("{0} is somebody else's")]
    Foreign(String),
}

/// A lane object that is at hand.
pub(super) enum Source {
    Written(Arc<Object>),
    Read(Whole),
}

impl Source {
    pub(super) fn index(&self) -> &[IndexEntry] {
        match self {
            Source::Written(object) => &object.index,
            Source::Read(whole) => &whole.footer.entries,
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Source::Written(object) => object.len(),
            Source::Read(whole) => whole.footer.object_len,
        }
    }

    fn block(&self, entry: &IndexEntry) -> Result<Bytes, FormatError> {
        match self {
            Source::Written(object) => object
                .slice(entry.position, entry.length)
                .ok_or(FormatError::Inconsistent("a block is not in its object")),
            Source::Read(whole) => whole.block(entry),
        }
    }
}

/// What one round reads.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) numbers: Vec<LaneNumber>,
    pub(super) sources: Vec<Source>,
    /// What is in each, where they are adopted; empty where they are not.
    pub(super) adopted: Vec<PlannedObject>,
    /// The trim after it.
    pub(super) to: LaneNumber,
    pub(super) bytes: u64,
}

impl Uploader {
    /// Uploads until the lane ends.
    pub async fn run(mut self) {
        for incarnation in self.dead_lanes() {
            if !self.inherit(incarnation).await {
                // Its streams' later epochs cannot be uploaded either. Producers go on; the lane grows.
                self.lane.trimmed(u64::MAX);
                return;
            }
        }
        self.own_lane().await;
    }

    /// The ended lanes that hold something, in the order of their registration.
    fn dead_lanes(&self) -> Vec<Incarnation> {
        let (_, catalog) = self.journal.catalog();
        let ended = |(_, lane): &(Incarnation, &LaneState)| !lane.is_open() && !lane.is_spent();
        catalog.lanes().filter(ended).map(|(incarnation, _)| incarnation).collect()
    }

    /// Uploads all of an ended lane, as its heir. False if it cannot be read.
    async fn inherit(&mut self, incarnation: Incarnation) -> bool {
        let me = self.lane.id().incarnation;
        let mut pause = PAUSE;
        loop {
            if self.lane.ended().is_some() {
                return true;
            }
            let (_, catalog) = self.journal.catalog();
            let Some(lane) = catalog.lane(incarnation) else { return true };
            let Some(length) = lane.end.length() else { return true };
            if lane.is_spent() {
                return true;
            }
            let outcome = match lane.heir {
                Some(heir) if heir == me => self.round(&catalog, incarnation, lane, length).await.map(drop),
                Some(heir) if catalog.is_live(heir) => return true,
                _ => {
                    let record = StorageRecord::LaneHeirNamed { incarnation, heir: Some(me) };
                    self.journal.propose(vec![record]).await.map_err(RoundError::Journal)
                }
            };
            match outcome {
                Ok(()) => pause = PAUSE,
                Err(error @ RoundError::Unreadable { .. }) => {
                    tracing::error!(lane = %lane.id, %error, "an earlier lane cannot be uploaded");
                    return false;
                }
                Err(error) => pause = self.rest(&error, pause).await,
            }
        }
    }

    async fn own_lane(&mut self) {
        let me = self.lane.id().incarnation;
        let mut pause = PAUSE;
        let mut waiting_since: Option<Instant> = None;
        while self.lane.ended().is_none() {
            let (_, catalog) = self.journal.catalog();
            let Some(lane) = catalog.lane(me).filter(|lane| lane.is_open()) else { return };
            let durable = self.lane.durable_below();
            let objects = durable.0 - lane.trim.0;
            if objects == 0 {
                waiting_since = None;
            }
            let stats = self.lane.stats();
            let bytes = stats.bytes.saturating_sub(stats.trimmed_bytes);
            let since = *waiting_since.get_or_insert_with(Instant::now);
            let due = objects > 0
                && (bytes >= self.dials.bytes
                    || objects >= self.dials.objects
                    || since.elapsed() >= self.dials.interval);
            if !due {
                if objects == 0 {
                    waiting_since = None;
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            match self.round(&catalog, me, lane, durable).await {
                Ok(trimmed) => {
                    self.lane.trimmed(trimmed);
                    pause = PAUSE;
                    waiting_since = None;
                }
                Err(error) => pause = self.rest(&error, pause).await,
            }
        }
    }

    async fn rest(&self, error: &RoundError, pause: Duration) -> Duration {
        tracing::warn!(%error, "an upload failed; trying again");
        tokio::time::sleep(pause / 2 + self.env.entropy.jitter(pause / 2)).await;
        (pause * 2).min(PAUSE_MAX)
    }

    /// One round: what the lane holds from its trim on, as much as one object may hold, below `below`. Returns the bytes of
    /// the lane objects that were trimmed.
    async fn round(
        &mut self,
        catalog: &Catalog,
        incarnation: Incarnation,
        lane: &LaneState,
        below: LaneNumber,
    ) -> Result<u64, RoundError> {
        let _room = self.budget.class(Class::Merge).acquire(self.dials.bytes).await;
        let batch = self.read(catalog, lane, below).await?;
        let attached = attachments_of(catalog, incarnation, &batch)?;
        if !batch.adopted.is_empty() {
            self.adopt(catalog, incarnation, lane, &batch, &attached).await?;
            return Ok(batch.bytes);
        }
        let indexes: Vec<SourceIndex<'_>> = batch
            .numbers
            .iter()
            .zip(&batch.sources)
            .map(|(number, source)| SourceIndex { number: *number, entries: source.index() })
            .collect();
        let planned = plan(catalog, incarnation, &indexes, self.dials.bytes);
        let from = lane.trim;
        if planned.is_empty() {
            let record = StorageRecord::LaneTrimmed { incarnation, trim: batch.to };
            self.journal.propose(vec![record]).await.map_err(RoundError::Journal)?;
            return Ok(batch.bytes);
        }
        let last = planned.len() - 1;
        let mut reached: BTreeMap<StreamId, u64> = BTreeMap::new();
        for (at, mut object) in planned.into_iter().enumerate() {
            let states = self.advance(catalog, &mut object.parts, &attached, &mut reached).await?;
            let in_work = self.counter.begin();
            let (id, composed) = self.compose(&object, &states, &batch, &in_work)?;
            let new = NewObject { id, store: self.data_store, len: composed.len };
            self.put(id, &composed).await?;
            drop(composed);
            let trim = if at == last { batch.to } else { from };
            let ends: Vec<(StreamId, u64)> =
                object.parts.iter().map(|part| (part.stream, part.end)).collect();
            let record =
                StorageRecord::LaneUploaded { incarnation, from, trim, object: new, parts: object.parts };
            let proposed = self.journal.propose(vec![record]).await;
            drop(in_work);
            self.proposed(proposed, states, &ends)?;
        }
        Ok(batch.bytes)
    }

    /// What follows from the outcome of a record that uploads up to `ends`.
    pub(super) fn proposed(
        &mut self,
        outcome: Result<(), String>,
        states: BTreeMap<StreamId, Option<Bytes>>,
        ends: &[(StreamId, u64)],
    ) -> Result<(), RoundError> {
        if let Err(error) = outcome {
            // It may count all the same: what was known is asked for again.
            ends.iter().for_each(|(stream, _)| drop(self.known.remove(stream)));
            return Err(RoundError::Journal(error));
        }
        for (stream, state) in states {
            match state {
                Some(bytes) => drop(self.known.insert(stream, bytes)),
                None => drop(self.known.remove(&stream)),
            }
        }
        self.sink.uploaded(ends);
        Ok(())
    }

    /// Lane objects from the trim on, until they are as much as one object may hold; of those that are adopted a run.
    async fn read(
        &self,
        catalog: &Catalog,
        lane: &LaneState,
        below: LaneNumber,
    ) -> Result<Batch, RoundError> {
        let mut batch = Batch { to: lane.trim, ..Batch::default() };
        // Objects and parts that one record has to list for what is adopted.
        let mut listed = 0;
        while batch.to < below && batch.bytes < self.dials.bytes {
            let number = batch.to;
            if lane.lost.binary_search(&number).is_ok() {
                batch.to = number.next();
                continue;
            }
            let written = (lane.id == self.lane.id()).then(|| self.tail.get(self.lane_ref, number)).flatten();
            let source = match written {
                Some(object) => Source::Written(object),
                None => self.fetch(lane, number).await?,
            };
            match self.adoptable(catalog, lane, number, &source) {
                Some(planned) if batch.adopted.len() == batch.sources.len() => {
                    listed += planned.parts.len() + 1;
                    if listed > PARTS_MAX && !batch.adopted.is_empty() {
                        break;
                    }
                    batch.adopted.push(planned);
                }
                // A few small ones before it are worth no object of their own: it goes with them.
                Some(_) if batch.adopted.is_empty() && batch.bytes < self.dials.bytes / 16 => {}
                None if batch.adopted.is_empty() => {}
                Some(_) | None => break,
            }
            batch.to = number.next();
            batch.bytes += source.len();
            batch.numbers.push(number);
            batch.sources.push(source);
        }
        Ok(batch)
    }

    async fn fetch(&self, lane: &LaneState, number: LaneNumber) -> Result<Source, RoundError> {
        let store = self.stores.get(lane.store).ok_or(RoundError::UnknownStore(lane.store))?;
        let key = lane_key(lane.id, number);
        let mut why = String::new();
        for _ in 0..2 {
            let got = retry(&self.env, None, || store.get(&key)).await;
            match got.map_err(|error| RoundError::Store { key: key.clone(), error })? {
                None => why = "it is not there".into(),
                Some(bytes) => match parse_whole(bytes) {
                    Ok(whole) if is_of(&whole, lane.id, number) => return Ok(Source::Read(whole)),
                    Ok(_) => why = "it is another object".into(),
                    Err(error) => why = error.to_string(),
                },
            }
        }
        Err(RoundError::Unreadable { key, why })
    }

    /// The state of every stream at the end of what the object holds of it, and which part bears it. `reached` is how far
    /// the attachments of this round have been folded in.
    pub(super) async fn advance(
        &mut self,
        catalog: &Catalog,
        parts: &mut [ObjectPart],
        attached: &BTreeMap<StreamId, Vec<AttachmentEntry>>,
        reached: &mut BTreeMap<StreamId, u64>,
    ) -> Result<BTreeMap<StreamId, Option<Bytes>>, RoundError> {
        let unknown = |stream: &StreamId| {
            let named = catalog.stream(*stream).is_some_and(|state| state.checkpoint.is_some());
            named && !self.known.contains_key(stream)
        };
        let to_read: BTreeSet<StreamId> = parts.iter().map(|part| part.stream).filter(unknown).collect();
        let read = read_checkpoints(&self.env, &self.stores, catalog, to_read).await;
        self.known.extend(read.map_err(|error| RoundError::Checkpoint(error.to_string()))?);
        let mut states = BTreeMap::new();
        for at in 0..parts.len() {
            let part = &parts[at];
            let base = catalog.stream(part.stream).map_or(0, |state| state.base);
            let begins = *reached.entry(part.stream).or_insert(base);
            let last = parts.get(at + 1).is_none_or(|next| next.stream != part.stream);
            let entries = attached.get(&part.stream).map_or(&[][..], Vec::as_slice);
            let first = entries.partition_point(|entry| entry.offset < begins);
            let end = entries.partition_point(|entry| entry.offset < part.end);
            let before = states.get(&part.stream).cloned();
            let before = before.unwrap_or_else(|| self.known.get(&part.stream).cloned());
            let after =
                self.checkpoints.advance(part.stream, before.as_ref(), &entries[first..end.max(first)]);
            let stream = part.stream;
            reached.insert(stream, part.end);
            parts[at].checkpoint = last && after.is_some();
            states.insert(stream, after);
        }
        Ok(states)
    }

    pub(super) fn compose(
        &self,
        object: &PlannedObject,
        states: &BTreeMap<StreamId, Option<Bytes>>,
        batch: &Batch,
        in_work: &InWork,
    ) -> Result<(ObjectId, Composed), RoundError> {
        let owner: LaneId = self.lane.id();
        let id = ObjectId { incarnation: owner.incarnation, counter: in_work.number };
        let nonce = self.env.entropy.nonce();
        let mut composer = Composer::new(ObjectHeader::new(ObjectKind::Merged, owner, in_work.number, nonce));
        for (at, entry) in &object.blocks {
            let bytes = batch.sources[*at].block(entry).map_err(|error| RoundError::Unreadable {
                key: format!("lane object {}", batch.numbers[*at]),
                why: error.to_string(),
            })?;
            composer.data(entry, bytes);
        }
        for part in object.parts.iter().filter(|part| part.checkpoint) {
            if let Some(Some(state)) = states.get(&part.stream) {
                composer.checkpoint(part.stream, part.epoch, part.end, state.clone());
            }
        }
        Ok((id, composer.finish()))
    }

    pub(super) async fn put(&self, id: ObjectId, composed: &Composed) -> Result<(), RoundError> {
        let key = data_key(id);
        let store = self.stores.get(self.data_store).ok_or(RoundError::UnknownStore(self.data_store))?;
        let options = CreateOptions { patient: true, ..CreateOptions::default() };
        match create(&**store, &self.env, &key, composed.put_payload(), options).await {
            Ok(Create::Mine) => Ok(()),
            Ok(Create::Foreign(_)) => Err(RoundError::Foreign(key)),
            Err(error) => Err(RoundError::Store { key, error }),
        }
    }
}

fn is_of(whole: &Whole, lane: LaneId, number: LaneNumber) -> bool {
    let header = &whole.footer.header;
    header.object_kind == ObjectKind::Wal && header.owner == lane && header.number == number.0
}

/// What counts of the attachments of a batch, by stream, in offset order. Blocks of attachments are clipped as those of
/// data are; what was uploaded before is skipped by its offset.
fn attachments_of(
    catalog: &Catalog,
    incarnation: Incarnation,
    batch: &Batch,
) -> Result<BTreeMap<StreamId, Vec<AttachmentEntry>>, RoundError> {
    let mut attached: BTreeMap<StreamId, Vec<AttachmentEntry>> = BTreeMap::new();
    for (number, source) in batch.numbers.iter().zip(&batch.sources) {
        let of_kind = source.index().iter().filter(|entry| entry.kind == BlockKind::Attachment);
        for entry in of_kind.filter(|entry| super::plan::counts(catalog, incarnation, *number, entry)) {
            let taken = source.block(entry).and_then(|block| attachments(entry, &block));
            let taken = taken.map_err(|error| RoundError::Unreadable {
                key: format!("lane object {number}"),
                why: error.to_string(),
            })?;
            attached.entry(entry.stream).or_default().extend(taken);
        }
    }
    // Epochs of a stream come in their order, and offsets with them, but for two lanes of one process.
    attached.values_mut().for_each(|entries| entries.sort_by_key(|entry| entry.offset));
    Ok(attached)
}
