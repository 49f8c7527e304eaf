//! What a round deletes, and when: under paused time, over a store that notes it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::cache::rig::SlowStore;
use crate::ids::{LaneId, Nonce, StreamId};
use crate::upload::rig::{ME, RigJournal};

struct Rig {
    /// Store 0, and store 1, where only the lanes are that a case puts there.
    store: Arc<SlowStore>,
    other: Arc<SlowStore>,
    journal: Arc<RigJournal>,
    short_of_room: Arc<AtomicBool>,
    collector: Collector,
}

impl Rig {
    /// A collector without delays.
    fn new() -> Rig {
        let (store, other) = (Arc::new(SlowStore::default()), Arc::new(SlowStore::default()));
        let journal = RigJournal::new(1);
        journal.apply(StorageRecord::StoreRegistered { store: StoreId(1), url: "memory://other".into() });
        let stores = Stores::new().with(StoreId(0), store.clone()).with(StoreId(1), other.clone());
        let dials =
            GcDials { object_delay: Duration::ZERO, lane_delay: Duration::ZERO, ..GcDials::default() };
        let (env, me, counter) = (Env::seeded(1), ME.incarnation, Arc::default());
        let short_of_room = Arc::new(AtomicBool::new(false));
        let is_short = short_of_room.clone();
        let is_short = Box::new(move || is_short.load(Ordering::Relaxed));
        let collector = Collector::new(env, stores, journal.clone(), me, counter, dials, is_short);
        Rig { store, other, journal, short_of_room, collector }
    }

    fn put(&self, key: &str) {
        self.store.memory.overwrite(key, bytes::Bytes::from_static(b"an object"));
    }

    /// So many objects of the lane are trimmed, and their trim is seen.
    async fn trimmed(&mut self, objects: u64) {
        (0..objects).for_each(|number| self.put(&lane_key(ME, LaneNumber(number))));
        let (incarnation, trim) = (ME.incarnation, LaneNumber(objects));
        self.journal.apply(StorageRecord::LaneTrimmed { incarnation, trim });
        self.collector.round().await;
    }

    /// The lane of somebody who has died, all of which is trimmed.
    fn dead_lane(&self, store: StoreId, objects: u64) {
        let (nonce, trim) = (Nonce(2), LaneNumber(objects));
        self.journal.apply(StorageRecord::LaneRegistered { nonce, store });
        let incarnation = Incarnation { seq: self.journal.catalog().0, index: 0 };
        let (length, heir) = (trim, Some(ME.incarnation));
        self.journal.apply(StorageRecord::LaneFenced { incarnation, length, seal_nonce: nonce, heir });
        self.journal.apply(StorageRecord::LaneTrimmed { incarnation, trim });
        let of_store = if store == StoreId(0) { &self.store } else { &self.other };
        for number in 0..objects {
            let key = lane_key(LaneId { incarnation, nonce }, LaneNumber(number));
            of_store.memory.overwrite(&key, bytes::Bytes::from_static(b"an object"));
        }
    }

    /// So many objects of `data/` are condemned.
    fn condemn(&self, objects: u64) -> Vec<ObjectId> {
        let objects: Vec<ObjectId> =
            (0..objects).map(|counter| ObjectId { incarnation: ME.incarnation, counter }).collect();
        objects.iter().for_each(|object| self.journal.uploaded(*object, StreamId(0), 9));
        let (_, catalog) = self.journal.catalog();
        objects.iter().for_each(|object| self.put(&catalog.object_key(*object)));
        self.journal.apply(StorageRecord::StreamDeleted { stream: StreamId(0) });
        assert_eq!(self.condemned(), objects);
        objects
    }

    fn bytes_left(&self) -> u64 {
        self.store.memory.total_bytes() + self.other.memory.total_bytes()
    }

    fn condemned(&self) -> Vec<ObjectId> {
        let (_, catalog) = self.journal.catalog();
        catalog.objects().filter(|(_, state)| state.is_condemned()).map(|(object, _)| object).collect()
    }
}

/// However many: not many at once, and all of them soon.
#[tokio::test(start_paused = true)]
async fn what_is_given_up_together_is_deleted_over_some_time_and_no_longer() {
    for (objects, at_least, at_most) in
        [(1, 0, 0), (200, 990, 1_000), (4_000, 19_000, 20_000), (50_000, 59_000, 60_000)]
    {
        let mut rig = Rig::new();
        rig.trimmed(objects).await;
        assert_eq!(rig.store.deletes.lock().len(), 0, "a trim counts from when it was seen");
        rig.collector.round().await;
        let at = rig.store.deletes.lock().clone();
        assert_eq!((at.len() as u64, rig.store.memory.total_bytes()), (objects, 0));
        let took = (*at.last().unwrap() - at[0]).as_millis();
        assert!((at_least..=at_most).contains(&took), "{objects} objects in {took} ms");
        let in_100_ms = |from: &Instant| at.partition_point(|at| *at < *from + Duration::from_millis(100));
        let most = at.iter().enumerate().map(|(n, from)| in_100_ms(from) - n).max().unwrap_or(0) as u64;
        assert!(most <= (objects / 200).max(20) + 5, "{most} of {objects} within 100 ms");
    }
}

/// Of whatever lanes and kinds it is; and what is in another store is deleted meanwhile.
#[tokio::test(start_paused = true)]
async fn all_that_a_round_deletes_is_deleted_within_the_same_time() {
    let mut rig = Rig::new();
    rig.condemn(4_000);
    rig.dead_lane(StoreId(0), 4_000);
    rig.dead_lane(StoreId(0), 4_000);
    rig.dead_lane(StoreId(1), 4_000);
    rig.collector.dials.object_delay = Duration::from_secs(1);
    rig.trimmed(4_000).await;
    sleep_until(Instant::now() + Duration::from_secs(1)).await;
    assert_eq!(rig.store.deletes.lock().len(), 0, "what was condemned waits as well");
    let begun = Instant::now();
    rig.collector.round().await;
    let took = begun.elapsed().as_millis();
    assert!((59_000..=60_000).contains(&took), "{took} ms");
    assert_eq!((rig.store.deletes.lock().len(), rig.other.deletes.lock().len()), (16_000, 4_000));
    assert_eq!((rig.bytes_left(), rig.condemned()), (0, vec![]));
}

/// Producers are refused then, so that no courtesy is due to them; from that moment on.
#[tokio::test(start_paused = true)]
async fn where_room_is_short_nothing_is_spread() {
    for (short_from, at_most) in [(0, 0), (2_000, 2_100)] {
        let mut rig = Rig::new();
        rig.trimmed(4_000).await;
        let (begun, short_of_room) = (Instant::now(), rig.short_of_room.clone());
        tokio::spawn(async move {
            sleep_until(begun + Duration::from_millis(short_from)).await;
            short_of_room.store(true, Ordering::Relaxed);
        });
        tokio::task::yield_now().await;
        rig.collector.round().await;
        let took = begun.elapsed().as_millis() as u64;
        assert_eq!(rig.bytes_left(), 0);
        assert!((short_from..=at_most).contains(&took), "{took} ms, short from {short_from} ms on");
    }
}

/// What is left of one lane is tried again, and of no other.
#[tokio::test(start_paused = true)]
async fn a_lane_of_which_something_stays_is_not_done_and_others_are() {
    let mut rig = Rig::new();
    rig.dead_lane(StoreId(0), 10);
    let kept = lane_key(ME, LaneNumber(3));
    rig.store.undeletable.lock().insert(kept);
    rig.trimmed(10).await;
    rig.collector.round().await;
    assert_eq!((rig.bytes_left(), rig.store.deletes.lock().len()), (9, 20));
    rig.store.undeletable.lock().clear();
    rig.collector.round().await;
    assert_eq!((rig.bytes_left(), rig.store.deletes.lock().len()), (0, 30));
    rig.collector.round().await;
    assert_eq!(rig.store.deletes.lock().len(), 30);
}

/// One that the store keeps is tried again with every round; all others go, and leave the catalog.
#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_deleted_holds_up_no_other() {
    let mut rig = Rig::new();
    let objects = rig.condemn(100);
    let kept = rig.journal.catalog().1.object_key(objects[5]);
    rig.store.undeletable.lock().insert(kept);
    for _ in 0..2 {
        rig.collector.round().await;
        assert_eq!(rig.condemned(), [objects[5]]);
        assert_eq!(rig.store.memory.total_bytes(), 9, "all but one are gone");
    }
    rig.store.undeletable.lock().clear();
    rig.collector.round().await;
    assert_eq!((rig.condemned(), rig.store.memory.total_bytes()), (vec![], 0));
}

/// Where a store deletes several by one request, on a bad day: few requests, one that stays holds up no other, and all go
/// in the end.
#[tokio::test(start_paused = true)]
async fn several_are_deleted_by_one_request() {
    use crate::sim::s3::{FakeS3, Faults};
    for (seed, faults) in (0..20).map(|seed| (seed, Faults::rough())).chain([(0, Faults::none())]) {
        let rough = faults != Faults::none();
        let fake = FakeS3::new(seed, faults.clone());
        fake.set_faults(Faults::none());
        let mut rig = Rig::new();
        let store = fake.client("a");
        rig.collector.stores = Stores::new().with(StoreId(0), store.clone());
        let objects = rig.condemn(200);
        let (_, catalog) = rig.journal.catalog();
        for object in &objects {
            store.put_new(&catalog.object_key(*object), "x".into(), Duration::from_secs(3)).await;
        }
        let kept = catalog.object_key(objects[5]);
        fake.keep(&kept);
        fake.set_faults(faults);
        for _ in 0..if rough { 20 } else { 1 } {
            rig.collector.round().await;
        }
        assert_eq!(rig.condemned(), [objects[5]], "seed {seed}");
        assert_eq!(fake.objects().into_keys().collect::<Vec<_>>(), [kept.as_str()]);
        let requests = fake.trace().iter().filter(|entry| entry.op.starts_with("DELETE")).count();
        assert!(rough || requests == 200_usize.div_ceil(32) + 1, "{requests} requests");
    }
}
