//! What nobody refers to goes (DESIGN §6 "Deletion"). Decided in the journal, never by a listing or an age (I6): a listing
//! only finds what the journal has given up already.
//!
//! Three kinds, and what allows their end:
//! - *lane objects* below the trim of the image at hand that the catalog does not refer to; and, once, those above the length of
//!   an ended lane that its owner was still writing (never acknowledged; the seal itself stays);
//! - *condemned* objects of `data/`: nothing refers to them, for good (SAFETY F7);
//! - *orphans* of `data/`: begun and never introduced. First the mark below which nothing can be introduced any more is
//!   committed, then they are listed and deleted (SAFETY F6).
//!
//! Each waits a little between being given up and being deleted, as a courtesy to readers that hold an older image. What a
//! round deletes is spread over up to a minute, as a courtesy to producers, while they may write.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::cache::Stores;
use crate::catalog::{Catalog, StorageRecord};
use crate::env::Env;
use crate::ids::{
    DATA_PREFIX, Incarnation, LaneNumber, ObjectId, StoreId, lane_key, lane_prefix, parse_data_key,
};
use crate::store::{StoreError, retry};
use crate::upload::{CatalogJournal, ObjectCounter};

/// Deletes under way at a time.
const DELETES_AT_ONCE: usize = 16;
/// What a round deletes in a store is deleted one after another, as far apart as this, and all of it within this time: a disk
/// that frees what a minute left at once holds up what is written to it, and so does a server; over a minute they go as fast as
/// they came. Where there is no room nothing is written anyway.
const DELETES_APART: Duration = Duration::from_millis(5);
const DELETES_WITHIN: Duration = Duration::from_secs(60);
/// Objects named by one record.
const RECORD_OBJECTS_MAX: usize = 10_000;
/// How long a store is asked to delete or to list before the next round does it.
const PATIENCE: Duration = Duration::from_secs(60);

/// When.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcDials {
    /// How often it looks.
    pub interval: Duration,
    /// How long objects of `data/` stay after they were condemned. Kafka's `file.delete.delay.ms` in spirit; default 1 h.
    pub object_delay: Duration,
    /// How long lane objects stay after they were trimmed: readers find their records in `data/` by then.
    pub lane_delay: Duration,
    /// How often orphans of the own incarnation are swept.
    pub sweep_interval: Duration,
}

impl Default for GcDials {
    fn default() -> GcDials {
        GcDials {
            interval: Duration::from_secs(1),
            object_delay: Duration::from_secs(3600),
            lane_delay: Duration::from_secs(10),
            sweep_interval: Duration::from_secs(3600),
        }
    }
}

/// Is there so little room that producers are refused? Asked before every delete.
pub type ShortOfRoom = Box<dyn Fn() -> bool + Send + Sync>;

/// The collector of one process. One is enough for a cluster; several do no harm.
pub struct Collector {
    /// Surroundings.
    pub env: Env,
    /// All stores.
    pub stores: Stores,
    /// The journal.
    pub journal: Arc<dyn CatalogJournal>,
    /// Whose objects in work must not be released.
    pub me: Incarnation,
    /// Their ids.
    pub counter: Arc<ObjectCounter>,
    /// When.
    pub dials: GcDials,
    short_of_room: ShortOfRoom,
    lanes: BTreeMap<Incarnation, LaneProgress>,
    condemned: BTreeMap<ObjectId, Instant>,
    swept_at: Option<Instant>,
}

/// Keys to be deleted, by store, and what each of them is.
type Deletes<T> = BTreeMap<StoreId, Vec<(String, T)>>;

/// What a round deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GivenUp {
    /// An object of this lane, below its trim.
    OfLane(Incarnation),
    /// A condemned object.
    Object(ObjectId),
}

/// How far a lane's objects were deleted.
#[derive(Debug)]
struct LaneProgress {
    /// Everything below is gone.
    deleted_below: LaneNumber,
    /// The trim that was seen, and since when.
    seen: (LaneNumber, Instant),
}

impl Collector {
    /// One that has deleted nothing yet.
    pub fn new(
        env: Env,
        stores: Stores,
        journal: Arc<dyn CatalogJournal>,
        me: Incarnation,
        counter: Arc<ObjectCounter>,
        dials: GcDials,
        short_of_room: ShortOfRoom,
    ) -> Collector {
        let (lanes, condemned, swept_at) = (BTreeMap::new(), BTreeMap::new(), None);
        Collector { env, stores, journal, me, counter, dials, short_of_room, lanes, condemned, swept_at }
    }

    /// Collects for as long as the process lives.
    pub async fn run(mut self) {
        self.sweep_lanes().await;
        loop {
            self.round().await;
            tokio::time::sleep(self.dials.interval).await;
        }
    }

    /// One look at the image, and what follows from it.
    pub async fn round(&mut self) {
        let (_, catalog) = self.journal.catalog();
        let mut deletes = Deletes::new();
        let lanes = self.trimmed_lanes(&catalog, &mut deletes);
        let objects = self.condemned_objects(&catalog, &mut deletes);
        let left: BTreeSet<GivenUp> = self.delete(deletes).await.into_iter().collect();
        let is_gone = |what: GivenUp| !left.contains(&what);
        self.advance(&catalog, lanes.into_iter().filter(|lane| is_gone(GivenUp::OfLane(*lane))));
        let gone = objects.into_iter().filter(|object| is_gone(GivenUp::Object(*object)));
        self.propose_deleted(gone.collect()).await;
        let due = self.swept_at.is_none_or(|at| at.elapsed() >= self.dials.sweep_interval);
        if due && self.sweep_orphans(&catalog).await {
            self.swept_at = Some(Instant::now());
        }
    }

    /// What an earlier process left below the trims, or above the lengths, of the lanes.
    async fn sweep_lanes(&mut self) {
        let (_, catalog) = self.journal.catalog();
        let mut deletes = Deletes::new();
        for (incarnation, lane) in catalog.lanes() {
            let sealed = lane.end.seal_nonce().and(lane.end.length());
            if lane.trim == LaneNumber(0) && sealed.is_none() {
                continue;
            }
            let Some(store) = self.stores.get(lane.store) else { continue };
            let prefix = lane_prefix(lane.id);
            let listed = match retry(&self.env, Some(PATIENCE), || store.list(&prefix)).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::warn!(%error, %prefix, "what was trimmed of a lane could not be listed");
                    continue;
                }
            };
            let number = |key: &str| key.strip_prefix(&*prefix)?.parse::<u64>().ok().map(LaneNumber);
            let given_up = |n: LaneNumber| {
                let adopted = catalog.object(ObjectId::adopted(incarnation, n)).is_some();
                n < lane.trim && !adopted || sealed.is_some_and(|length| n > length)
            };
            let keys =
                listed.into_iter().filter(|l| number(&l.key).is_some_and(given_up)).map(|l| (l.key, ()));
            deletes.entry(lane.store).or_default().extend(keys);
            self.lanes.insert(
                incarnation,
                LaneProgress { deleted_below: lane.trim, seen: (lane.trim, Instant::now()) },
            );
        }
        self.delete(deletes).await;
    }

    /// Lanes of which something is to be deleted now.
    fn trimmed_lanes(&mut self, catalog: &Catalog, deletes: &mut Deletes<GivenUp>) -> Vec<Incarnation> {
        let mut due = Vec::new();
        for (incarnation, lane) in catalog.lanes() {
            let begin =
                || LaneProgress { deleted_below: LaneNumber(0), seen: (LaneNumber(0), Instant::now()) };
            let progress = self.lanes.entry(incarnation).or_insert_with(begin);
            let (from, (below, since)) = (progress.deleted_below, progress.seen);
            if from < below && since.elapsed() >= self.dials.lane_delay {
                // What is adopted dies as objects of `data/` do, condemned or not yet.
                let of_lane =
                    |number: &LaneNumber| catalog.object(ObjectId::adopted(incarnation, *number)).is_none();
                let numbers = (from.0..below.0).map(LaneNumber).filter(of_lane);
                let given_up = |number| (lane_key(lane.id, number), GivenUp::OfLane(incarnation));
                deletes.entry(lane.store).or_default().extend(numbers.map(given_up));
                due.push(incarnation);
            }
        }
        due
    }

    /// Nothing is left below the trims that were seen of these lanes. A trim counts from when it is seen; one that moves meanwhile
    /// waits for the next turn.
    fn advance(&mut self, catalog: &Catalog, deleted: impl Iterator<Item = Incarnation>) {
        for incarnation in deleted {
            let progress = self.lanes.get_mut(&incarnation).expect("it was due");
            progress.deleted_below = progress.seen.0;
        }
        for (incarnation, lane) in catalog.lanes() {
            let progress = self.lanes.get_mut(&incarnation).expect("every lane was looked at");
            if progress.deleted_below == progress.seen.0 && lane.trim > progress.seen.0 {
                progress.seen = (lane.trim, Instant::now());
            }
        }
    }

    /// Condemned objects that are to be deleted now.
    fn condemned_objects(&mut self, catalog: &Catalog, deletes: &mut Deletes<GivenUp>) -> Vec<ObjectId> {
        let condemned: BTreeMap<ObjectId, StoreId> = catalog
            .objects()
            .filter(|(_, state)| state.is_condemned())
            .map(|(object, state)| (object, state.store))
            .collect();
        self.condemned.retain(|object, _| condemned.contains_key(object));
        let mut due = Vec::new();
        for (object, store) in condemned {
            let since = self.condemned.entry(object).or_insert_with(Instant::now);
            if since.elapsed() >= self.dials.object_delay {
                let given_up = (catalog.object_key(object), GivenUp::Object(object));
                deletes.entry(store).or_default().push(given_up);
                due.push(object);
            }
        }
        due
    }

    /// Takes what is gone out of the catalog.
    async fn propose_deleted(&self, gone: Vec<ObjectId>) {
        for objects in gone.chunks(RECORD_OBJECTS_MAX) {
            let record = StorageRecord::ObjectsDeleted { objects: objects.to_vec() };
            if let Err(error) = self.journal.propose(vec![record]).await {
                tracing::warn!(%error, "deleted objects stay in the catalog for now");
                return;
            }
        }
    }

    /// Releases what can be released, then deletes what is listed, released and in no catalog. False: not all was done.
    async fn sweep_orphans(&self, catalog: &Catalog) -> bool {
        let mut records = Vec::new();
        for (incarnation, lane) in catalog.lanes() {
            let below = match lane.is_open() {
                false => u64::MAX,
                true if incarnation == self.me => self.counter.lowest_in_work(),
                true => continue,
            };
            // One that never began an object has no orphans; its mark is not worth a record.
            let began = !lane.is_open() || below > 0;
            if lane.released < below && began {
                records.push(StorageRecord::ObjectsReleased { incarnation, below });
            }
        }
        for records in records.chunks(RECORD_OBJECTS_MAX) {
            if let Err(error) = self.journal.propose(records.to_vec()).await {
                tracing::warn!(%error, "objects that were never introduced could not be released");
                return false;
            }
        }
        let (_, catalog) = self.journal.catalog();
        let stores: HashSet<StoreId> = catalog.stores().map(|(store, _)| store).collect();
        let mut deletes = Deletes::new();
        for (id, store) in stores.into_iter().filter_map(|id| Some((id, self.stores.get(id)?))) {
            let listed = match retry(&self.env, Some(PATIENCE), || store.list(DATA_PREFIX)).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::warn!(%error, "objects could not be listed");
                    return false;
                }
            };
            let is_orphan = |key: &str| {
                parse_data_key(key).is_some_and(|object| {
                    let lane = catalog.lane(object.incarnation);
                    let released = lane.is_some_and(|lane| object.counter < lane.released);
                    released && catalog.object(object).is_none()
                })
            };
            let keys: Vec<_> =
                listed.into_iter().filter(|l| is_orphan(&l.key)).map(|l| (l.key, ())).collect();
            if !keys.is_empty() {
                tracing::info!(objects = keys.len(), "sweeping objects that were never introduced");
            }
            deletes.insert(id, keys);
        }
        self.delete(deletes).await.is_empty()
    }

    /// Deletes these, in all stores at a time; gives what may still be there.
    async fn delete<T: Send>(&self, deletes: Deletes<T>) -> Vec<T> {
        let of_stores = deletes.into_iter().map(|(store, of_store)| self.delete_in(store, of_store));
        join_all(of_stores).await.into_iter().flatten().collect()
    }

    /// The same, in one store. An object that the store refuses to delete holds up no other; where it does not answer, another
    /// round does it.
    async fn delete_in<T: Send>(&self, store: StoreId, deletes: Vec<(String, T)>) -> Vec<T> {
        let (env, short_of_room, begun) = (&self.env, &self.short_of_room, Instant::now());
        let (keys, given_up): (Vec<String>, Vec<T>) = deletes.into_iter().unzip();
        let Some(store) = self.stores.get(store) else { return given_up };
        let apart = DELETES_APART.min(DELETES_WITHIN / keys.len().max(1) as u32);
        let mut left: BTreeMap<usize, T> = given_up.into_iter().enumerate().collect();
        let at_once = store.traits().deletes_at_once.max(1);
        let mut keys = keys.into_iter();
        let batch =
            move || Some(keys.by_ref().take(at_once).collect()).filter(|keys: &Vec<_>| !keys.is_empty());
        let deletes = std::iter::from_fn(batch).enumerate().map(|(n, keys)| async move {
            let first = n * at_once;
            if !short_of_room() {
                sleep_until(begun + apart * first as u32).await;
            }
            let asked = || async {
                let mut answers = store.delete_all(&keys).await;
                let unanswered =
                    |answer: &Result<_, _>| !matches!(answer, Ok(()) | Err(StoreError::Refused(_)));
                match answers.iter().position(unanswered) {
                    Some(n) => answers.swap_remove(n).map(|()| Vec::new()),
                    None => Ok(answers),
                }
            };
            let answers = retry(env, Some(PATIENCE), asked).await;
            (first, keys, answers)
        });
        let mut deletes = stream::iter(deletes).buffer_unordered(DELETES_AT_ONCE);
        let mut failed = None;
        while let Some((first, keys, answers)) = deletes.next().await {
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) => {
                    failed.get_or_insert((keys[0].clone(), error));
                    break;
                }
            };
            for (n, answer) in answers.into_iter().enumerate() {
                match answer {
                    Ok(()) => drop(left.remove(&(first + n))),
                    Err(error) => drop(failed.get_or_insert_with(|| (keys[n].clone(), error))),
                }
            }
        }
        if let Some((key, error)) = failed {
            tracing::warn!(%key, %error, left = left.len(), "objects could not be deleted");
        }
        left.into_values().collect()
    }
}

#[cfg(test)]
#[path = "gc_tests.rs"]
mod tests;
