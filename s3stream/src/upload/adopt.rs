//! Lane objects that stay where they lie (DESIGN §6 "Upload"): large, of few streams, in the store of `data/`. The catalog
//! refers to them, nothing is written a second time, and the lane's trim passes them. Merging rewrites them once, when it
//! suits.

use std::collections::BTreeMap;

use super::plan::{PlannedObject, SourceIndex, plan};
use super::task::{Batch, RoundError, Source, Uploader};
use crate::catalog::{Catalog, LaneState, NewObject, ObjectPart, StorageRecord};
use crate::ids::{Incarnation, LaneNumber, ObjectId, StreamId};
use crate::object::AttachmentEntry;

/// This part of the least that is adopted must be of each stream, on average: 256 KiB of 4 MiB are worth a GET of their own.
const STREAM_PART: u64 = 16;

/// Is what counts of a lane object of `len` bytes enough, and in large enough parts, to read history from where it lies?
fn is_worth_it(len: u64, planned: &PlannedObject, bytes_min: u64) -> bool {
    len >= bytes_min
        && planned.bytes >= len / 2
        && planned.bytes >= planned.parts.len() as u64 * (bytes_min / STREAM_PART)
}

impl Uploader {
    /// What is in a lane object that is better adopted than written again.
    pub(super) fn adoptable(
        &self,
        catalog: &Catalog,
        lane: &LaneState,
        number: LaneNumber,
        source: &Source,
    ) -> Option<PlannedObject> {
        if lane.store != self.data_store || !self.journal.can_adopt() {
            return None;
        }
        let index = SourceIndex { number, entries: source.index() };
        let mut planned = plan(catalog, lane.id.incarnation, &[index], u64::MAX);
        // More than one: it has more parts than a record may.
        let object = if planned.len() == 1 { planned.pop()? } else { return None };
        is_worth_it(source.len(), &object, self.dials.adopted_bytes_min).then_some(object)
    }

    /// Enters a run of lane objects in the catalog, after the object that holds the checkpoints at their end.
    pub(super) async fn adopt(
        &mut self,
        catalog: &Catalog,
        incarnation: Incarnation,
        lane: &LaneState,
        batch: &Batch,
        attached: &BTreeMap<StreamId, Vec<AttachmentEntry>>,
    ) -> Result<(), RoundError> {
        let mut objects: Vec<(NewObject, Vec<ObjectPart>)> = Vec::new();
        let mut last: BTreeMap<StreamId, ObjectPart> = BTreeMap::new();
        for ((number, source), planned) in batch.numbers.iter().zip(&batch.sources).zip(&batch.adopted) {
            let id = ObjectId::adopted(incarnation, *number);
            last.extend(planned.parts.iter().map(|part| (part.stream, *part)));
            objects.push((NewObject { id, store: lane.store, len: source.len() }, planned.parts.clone()));
        }
        let ends: Vec<(StreamId, u64)> = last.values().map(|part| (part.stream, part.end)).collect();
        let without_records =
            |part: ObjectPart| ObjectPart { start: part.end, bytes: 0, max_timestamp: -1, ..part };
        let mut parts: Vec<ObjectPart> = last.into_values().map(without_records).collect();
        let states = self.advance(catalog, &mut parts, attached, &mut BTreeMap::new()).await?;
        parts.retain(|part| part.checkpoint);
        let in_work = self.counter.begin();
        if !parts.is_empty() {
            let checkpoints = PlannedObject { parts, ..PlannedObject::default() };
            let (id, composed) = self.compose(&checkpoints, &states, batch, &in_work)?;
            let new = NewObject { id, store: self.data_store, len: composed.len };
            self.put(id, &composed).await?;
            objects.push((new, checkpoints.parts));
        }
        let (from, trim) = (lane.trim, batch.to);
        let record = StorageRecord::LaneAdopted { incarnation, from, trim, objects };
        let outcome = self.journal.propose(vec![record]).await;
        drop(in_work);
        self.proposed(outcome, states, &ends)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::rig::{ME, RigJournal};
    use super::super::{CatalogJournal, UploadDials};
    use super::*;
    use crate::block_ref::LaneRef;
    use crate::budget::Budget;
    use crate::cache::{Stores, TailCache};
    use crate::env::Env;
    use crate::ids::StoreId;
    use crate::store::MemoryStore;
    use crate::wal::open_object::tests::append;
    use crate::wal::{Lane, LaneConfig};

    /// However little is worth adopting, as much as a record may hold is adopted by one.
    #[tokio::test]
    async fn many_objects_are_adopted_by_several_records() {
        const STREAMS: u64 = 24;
        const OBJECTS: u64 = 1_000;
        let (journal, store, env) = (RigJournal::new(STREAMS), Arc::new(MemoryStore::new()), Env::seeded(1));
        let budget = Budget::new(256 << 20);
        let tail = TailCache::new(&budget);
        let config = LaneConfig::for_store(crate::store::Store::traits(&*store), &budget);
        let lane = Lane::start(store.clone(), &env, ME, LaneRef(0), config, tail.clone());
        for base in 0..OBJECTS {
            let pushed =
                (0..STREAMS).map(|stream| lane.push(append(stream, base, &[7; 300])).unwrap()).max().unwrap();
            lane.wait_durable(pushed).await.unwrap();
        }
        let dials =
            UploadDials { bytes: 64 << 20, objects: 1, interval: Duration::ZERO, adopted_bytes_min: 0 };
        let uploader = Uploader {
            env: env.clone(),
            data_store: StoreId(0),
            stores: Stores::new().with(StoreId(0), store),
            lane: lane.clone(),
            lane_ref: LaneRef(0),
            tail,
            budget,
            dials,
            journal: journal.clone(),
            checkpoints: journal.clone(),
            sink: journal.clone(),
            counter: Arc::default(),
            known: HashMap::new(),
        };
        let task = tokio::spawn(uploader.run());
        let durable = lane.durable_below();
        let trim = || journal.catalog().1.lane(ME.incarnation).unwrap().trim;
        for _ in 0..1_000 {
            if trim() == durable {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        task.abort();
        assert_eq!(trim(), durable, "the lane is trimmed");
        let catalog = journal.catalog().1;
        assert!(catalog.objects().all(|(object, _)| object.lane_number().is_some()));
        assert!(catalog.streams().all(|(_, state)| state.base == OBJECTS));
    }

    #[test]
    fn large_objects_of_few_streams_are_worth_it() {
        let planned = |bytes, parts: usize| PlannedObject {
            parts: vec![
                ObjectPart {
                    stream: StreamId(1),
                    epoch: crate::ids::StreamEpoch(0),
                    start: 0,
                    end: 1,
                    bytes: 0,
                    max_timestamp: 0,
                    checkpoint: false,
                };
                parts
            ],
            bytes,
            ..PlannedObject::default()
        };
        let mib = 1 << 20;
        for (what, len, object, worth) in [
            ("full, four streams", 8 * mib, planned(8 * mib, 4), true),
            ("full, a part per block", 8 * mib, planned(8 * mib, 32), true),
            ("full, many streams", 8 * mib, planned(8 * mib, 33), false),
            ("small", 4 * mib - 1, planned(4 * mib - 1, 1), false),
            ("most of it counts no more", 8 * mib, planned(4 * mib - 1, 1), false),
        ] {
            assert_eq!(is_worth_it(len, &object, 4 * mib), worth, "{what}");
        }
    }
}
