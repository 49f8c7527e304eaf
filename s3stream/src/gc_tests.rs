//! What a round deletes, and when: under paused time, over a store that notes it.

use super::*;
use crate::cache::rig::SlowStore;
use crate::ids::StreamId;
use crate::upload::rig::{ME, RigJournal};

struct Rig {
    store: Arc<SlowStore>,
    journal: Arc<RigJournal>,
    collector: Collector,
}

impl Rig {
    /// A collector without delays.
    fn new() -> Rig {
        let (store, journal) = (Arc::new(SlowStore::default()), RigJournal::new(1));
        let stores = Stores::new().with(StoreId(0), store.clone());
        let dials =
            GcDials { object_delay: Duration::ZERO, lane_delay: Duration::ZERO, ..GcDials::default() };
        let (env, me, counter) = (Env::seeded(1), ME.incarnation, Arc::default());
        let collector = Collector::new(env, stores, journal.clone(), me, counter, dials);
        Rig { store, journal, collector }
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

    fn condemned(&self) -> Vec<ObjectId> {
        let (_, catalog) = self.journal.catalog();
        catalog.objects().filter(|(_, state)| state.is_condemned()).map(|(object, _)| object).collect()
    }
}

/// However many: not many at once, and all of them soon.
#[tokio::test(start_paused = true)]
async fn what_is_given_up_together_is_deleted_over_some_seconds_and_no_longer() {
    for (objects, at_least, at_most) in
        [(1, 0, 0), (200, 990, 1_000), (4_000, 19_000, 20_000), (50_000, 19_000, 20_000)]
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

/// One that the store keeps is tried again with every round; all others go, and leave the catalog.
#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_deleted_holds_up_no_other() {
    let mut rig = Rig::new();
    let objects: Vec<ObjectId> =
        (0..100).map(|counter| ObjectId { incarnation: ME.incarnation, counter }).collect();
    objects.iter().for_each(|object| rig.journal.uploaded(*object, StreamId(0), 9));
    let (_, catalog) = rig.journal.catalog();
    objects.iter().for_each(|object| rig.put(&catalog.object_key(*object)));
    let kept = catalog.object_key(objects[5]);
    rig.store.undeletable.lock().insert(kept.clone());
    rig.journal.apply(StorageRecord::StreamDeleted { stream: StreamId(0) });
    assert_eq!(rig.condemned().len(), 100);
    for _ in 0..2 {
        rig.collector.round().await;
        assert_eq!(rig.condemned(), [objects[5]]);
        assert_eq!(rig.store.memory.total_bytes(), 9, "all but one are gone");
    }
    rig.store.undeletable.lock().clear();
    rig.collector.round().await;
    assert_eq!((rig.condemned(), rig.store.memory.total_bytes()), (vec![], 0));
}
