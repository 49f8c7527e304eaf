//! Sections over a store in memory: what is read again is what was to stay, whatever the sizes.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::record_batch::Batch;
use s3stream::block_ref::LaneTable;
use s3stream::budget::Budget;
use s3stream::cache::Stores;
use s3stream::catalog::{NewObject, ObjectPart};
use s3stream::claims::Claims;
use s3stream::env::Env;
use s3stream::history::History;
use s3stream::ids::{Incarnation, LaneId, LaneNumber, Nonce, StoreId, StreamEpoch};
use s3stream::journal::MutationPoint;
use s3stream::object::{BlockKind, IndexEntry, ObjectKind};
use s3stream::store::{MemoryStore, Store};
use s3stream::upload::{CatalogJournal, ObjectCounter};

use super::*;
use crate::log_cleaner::filter::FilterRules;
use crate::log_cleaner::offset_map::OffsetMap;
use crate::log_cleaner::samples::{LIMIT, NOW, Told, map_of, plain, told};
use crate::log_cleaner::section::sections;
use crate::log_cleaner::transactions::CleanedTransactions;

const STREAM: StreamId = StreamId(0);
const ME: Incarnation = Incarnation { seq: 1, index: 0 };

struct Side(Mutex<(u64, Catalog)>);

#[async_trait]
impl CatalogJournal for Side {
    fn catalog(&self) -> (u64, Catalog) {
        self.0.lock().clone()
    }

    fn can_adopt(&self) -> bool {
        true
    }

    async fn propose(&self, records: Vec<StorageRecord>) -> Result<(), String> {
        let mut state = self.0.lock();
        for record in records {
            state.0 += 1;
            let at = MutationPoint { seq: state.0, index: 0, proposer: Some(ME), level: 4 };
            state.1.apply(at, &record).map_err(|illegal| illegal.to_string())?;
        }
        Ok(())
    }
}

struct Rig {
    store: Arc<MemoryStore>,
    side: Arc<Side>,
    objects: Rewriter,
}

impl Rig {
    async fn new() -> Rig {
        let (env, store) = (Env::seeded(1), Arc::new(MemoryStore::new()));
        let mut catalog = Catalog::new();
        let (url, nonce) = ("memory://".into(), Nonce(1));
        for record in [
            StorageRecord::StoreRegistered { store: StoreId(0), url },
            StorageRecord::LaneRegistered { nonce, store: StoreId(0) },
            StorageRecord::StreamCreated { stream: STREAM, owner: ME },
        ] {
            let at = MutationPoint { seq: 1, index: 0, proposer: Some(ME), level: 4 };
            catalog.apply(at, &record).unwrap();
        }
        let side = Arc::new(Side(Mutex::new((1, catalog))));
        let stores = Stores::new().with(StoreId(0), store.clone());
        let tables = Arc::new(LaneTable::new());
        let objects = Rewriter {
            history: History::new(env.clone(), stores.clone(), tables.clone(), &Budget::new(64 << 20)),
            env,
            data_store: StoreId(0),
            stores,
            tables,
            journal: side.clone(),
            counter: Arc::new(ObjectCounter::default()),
            me: LaneId { incarnation: ME, nonce },
            claims: Claims::default(),
            cold: Arc::default(),
        };
        Rig { store, side, objects }
    }

    /// An object with batches of ten records of these keys, uploaded.
    async fn upload(&self, number: u64, batches: &[Bytes]) {
        let (id, _work, mut composer) = self.objects.begin(ObjectKind::Stream);
        let header = |bytes: &Bytes| *Batch::parse(bytes.clone()).unwrap().header();
        for bytes in batches {
            let header = header(bytes);
            let entry = IndexEntry {
                kind: BlockKind::Data,
                stream: STREAM,
                epoch: StreamEpoch(0),
                base: header.base_offset as u64,
                end: header.next_offset() as u64,
                position: 0,
                length: bytes.len() as u32,
                max_timestamp: header.max_timestamp,
                crc: crc32fast::hash(bytes),
            };
            composer.data(&entry, bytes.clone());
        }
        let part = ObjectPart {
            stream: STREAM,
            epoch: StreamEpoch(0),
            start: header(&batches[0]).base_offset as u64,
            end: header(batches.last().unwrap()).next_offset() as u64,
            bytes: batches.iter().map(|bytes| bytes.len() as u64).sum(),
            max_timestamp: header(batches.last().unwrap()).max_timestamp,
            checkpoint: false,
        };
        let composed = composer.finish();
        self.objects.put(id, &composed).await.unwrap();
        let object = NewObject { id, store: StoreId(0), len: composed.len };
        let (from, trim, incarnation) = (LaneNumber(number), LaneNumber(number + 1), ME);
        let record = StorageRecord::LaneUploaded { incarnation, from, trim, object, parts: vec![part] };
        self.objects.propose(record).await.unwrap();
    }

    /// Everything that objects hold, by the image at hand.
    async fn told(&self) -> Vec<Told> {
        let catalog = self.side.catalog().1;
        let ranges = catalog.stream(STREAM).unwrap().ranges.clone();
        let mut batches = Batches::new(&self.objects, &catalog, STREAM, &ranges, 1 << 10);
        let mut log = Vec::new();
        while let Some(batch) = batches.next().await.unwrap() {
            batch.check_crc().unwrap();
            log.push(batch.bytes().clone());
        }
        told(&log)
    }

    fn state(&self) -> StreamState {
        self.side.catalog().1.stream(STREAM).unwrap().clone()
    }

    async fn objects_put(&self) -> usize {
        self.store.list("data/").await.unwrap().len()
    }

    /// Pass 2 with a map of what is newest; which sections changed.
    async fn clean(&self, newest: &[(&str, i64)], object_bytes: u64) -> Result<Vec<bool>, Failed> {
        self.clean_in_sections(newest, object_bytes, object_bytes).await
    }

    async fn clean_in_sections(
        &self,
        newest: &[(&str, i64)],
        object_bytes: u64,
        section_bytes: u64,
    ) -> Result<Vec<bool>, Failed> {
        let (_, catalog) = self.side.catalog();
        let state = catalog.stream(STREAM).unwrap().clone();
        let round = Round {
            objects: &self.objects,
            stream: STREAM,
            catalog: &catalog,
            state: &state,
            object_bytes,
            step_bytes: 2 << 10,
        };
        let mut map: OffsetMap = map_of(newest.len());
        newest.iter().for_each(|(key, offset)| assert!(map.put(key.as_bytes(), *offset)));
        let until = state.base as i64;
        let rules = FilterRules {
            until,
            upper_bound: until,
            now_ms: NOW,
            delete_retention_ms: 0,
            decompressed_bytes_max: LIMIT,
        };
        let producers = HashMap::new();
        let mut filter = Filter::new(&map, rules, &producers, CleanedTransactions::default());
        let mut changed = Vec::new();
        let sections = sections(&state.ranges, section_bytes);
        for (at, ranges) in sections.iter().enumerate() {
            let cleaned = (at + 1 == sections.len()).then_some(state.base);
            changed.push(round.rewrite(ranges, cleaned, &mut filter).await?);
        }
        Ok(changed)
    }
}

/// Ten records of keys of their own, or of one that repeats in every batch.
fn batch(base: i64, repeats: bool) -> Bytes {
    let keys: Vec<String> =
        (base..base + 10).map(|n| if repeats { format!("r{}", n % 10) } else { format!("k{n}") }).collect();
    let value = "v".repeat(40);
    plain(base, &keys.iter().map(|key| (&key[..], Some(&value[..]))).collect::<Vec<_>>())
}

fn offsets(told: &[Told]) -> Vec<i64> {
    told.iter().map(|(offset, _, _)| *offset).collect()
}

#[tokio::test]
async fn a_range_larger_than_an_object_becomes_several_of_one_record() {
    let rig = Rig::new().await;
    // 40 batches of 600 bytes and more; the last ten say again what four in the middle said.
    let repeats = |n: i64| (20..24).contains(&n) || n >= 30;
    let batches: Vec<Bytes> = (0..40).map(|n| batch(n * 10, repeats(n))).collect();
    rig.upload(0, &batches).await;
    let before = rig.told().await;
    let newest: Vec<(String, i64)> = (0..10).map(|n| (format!("r{n}"), 390 + n)).collect();
    let newest: Vec<(&str, i64)> = newest.iter().map(|(key, offset)| (&key[..], *offset)).collect();
    assert_eq!(rig.clean(&newest, 4 << 10).await.unwrap(), [true]);
    let state = rig.state();
    assert!(state.ranges.len() >= 4, "{:?}", state.ranges);
    assert!(state.ranges.iter().all(|range| range.bytes < 6 << 10), "{:?}", state.ranges);
    assert_eq!((state.ranges[0].start, state.ranges.last().unwrap().end, state.cleaned), (0, 400, 400));
    assert!(state.ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{:?}", state.ranges);
    let wanted: Vec<Told> =
        before.into_iter().filter(|(offset, ..)| !repeats(offset / 10) || *offset >= 390).collect();
    assert_eq!(rig.told().await, wanted);
    assert_eq!(rig.objects_put().await, 1 + state.ranges.len());
    // Nothing changes by another round: nothing is written, not even where one object would not do.
    assert_eq!(rig.clean(&newest, 2 << 10).await.unwrap(), vec![false; state.ranges.len()]);
    assert_eq!((rig.state(), rig.objects_put().await), (state.clone(), 1 + state.ranges.len()));
}

#[tokio::test]
async fn sections_are_proposed_one_by_one() {
    let rig = Rig::new().await;
    for number in 0..6 {
        rig.upload(number, &[batch(number as i64 * 20, true), batch(number as i64 * 20 + 10, number != 3)])
            .await;
    }
    let newest: Vec<(String, i64)> = (0..10).map(|n| (format!("r{n}"), 110 + n)).collect();
    let newest: Vec<(&str, i64)> = newest.iter().map(|(key, offset)| (&key[..], *offset)).collect();
    // Two ranges to a section.
    assert_eq!(rig.clean(&newest, 3 << 10).await.unwrap(), [true; 3]);
    let of_own = 70..80;
    let wanted: Vec<i64> = of_own.chain(110..120).collect();
    assert_eq!(offsets(&rig.told().await), wanted);
    let bounds: Vec<(u64, u64)> = rig.state().ranges.iter().map(|range| (range.start, range.end)).collect();
    assert_eq!(bounds, [(0, 40), (40, 80), (80, 120)]);
    assert!(rig.side.catalog().1.objects().filter(|(_, object)| object.is_condemned()).count() == 6);
}

/// Ranges that together are more than an object are one section all the same: one record, several objects. What is before the
/// first change is read again then.
#[tokio::test]
async fn a_section_of_several_ranges_may_become_several_objects() {
    let rig = Rig::new().await;
    let repeats = |n: i64| n == 7 || n >= 11;
    for number in 0..12i64 {
        rig.upload(number as u64, &[batch(number * 10, repeats(number))]).await;
    }
    let before = rig.told().await;
    let newest: Vec<(String, i64)> = (0..10).map(|n| (format!("r{n}"), 110 + n)).collect();
    let newest: Vec<(&str, i64)> = newest.iter().map(|(key, offset)| (&key[..], *offset)).collect();
    assert_eq!(rig.clean_in_sections(&newest, 3 << 10, 1 << 20).await.unwrap(), [true]);
    let wanted: Vec<Told> =
        before.into_iter().filter(|(offset, ..)| !repeats(offset / 10) || *offset >= 110).collect();
    assert_eq!(rig.told().await, wanted);
    let state = rig.state();
    assert!((2..12).contains(&state.ranges.len()), "{:?}", state.ranges);
    assert_eq!((state.ranges[0].start, state.ranges.last().unwrap().end, state.cleaned), (0, 120, 120));
    let put = rig.objects_put().await;
    assert_eq!(rig.clean_in_sections(&newest, 3 << 10, 1 << 20).await.unwrap(), [false]);
    assert_eq!((rig.state(), rig.objects_put().await), (state, put));
}

/// Who does not hear of the last step has not seen everything: it must not look as if there were no more.
#[tokio::test]
async fn reading_that_ends_too_early_is_an_error() {
    let rig = Rig::new().await;
    for number in 0..4 {
        rig.upload(number, &[batch(number as i64 * 10, false)]).await;
    }
    let (_, catalog) = rig.side.catalog();
    let ranges = &catalog.stream(STREAM).unwrap().ranges;
    let mut batches = Batches::new(&rig.objects, &catalog, STREAM, ranges, 1);
    assert!(batches.next().await.unwrap().is_some());
    rig.objects.env.tasks.kill();
    let failed = loop {
        match batches.next().await {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(failed, Some(ReadFailed::Ended)), "{failed:?}");
}

#[tokio::test]
async fn what_was_merged_or_trimmed_meanwhile_is_refused_and_nothing_is_lost() {
    let rig = Rig::new().await;
    for number in 0..2 {
        rig.upload(number, &[batch(number as i64 * 10, true)]).await;
    }
    let old = rig.side.catalog().1.stream(STREAM).unwrap().clone();
    let trimmed = StorageRecord::StreamTrimmed { stream: STREAM, start: 10 };
    rig.objects.propose(trimmed).await.unwrap();
    let (_, catalog) = rig.side.catalog();
    let round = Round {
        objects: &rig.objects,
        stream: STREAM,
        catalog: &catalog,
        state: &old,
        object_bytes: 1 << 20,
        step_bytes: 1 << 10,
    };
    // Of an image that had the object still; here it has no place to be read from any more.
    let map = map_of(1);
    let rules = FilterRules {
        until: 20,
        upper_bound: 20,
        now_ms: NOW,
        delete_retention_ms: 0,
        decompressed_bytes_max: LIMIT,
    };
    let producers = HashMap::new();
    let mut filter = Filter::new(&map, rules, &producers, CleanedTransactions::default());
    let stale = StreamState { epoch: StreamEpoch(7), ..old.clone() };
    let refused = Round { state: &stale, ..round };
    let error = refused.rewrite(&old.ranges[1..], Some(20), &mut filter).await.unwrap_err();
    assert!(error.is_of_storage() && error.to_string().contains("is in epoch 0, not 7"), "{error}");
    assert_eq!(offsets(&rig.told().await), (10..20).collect::<Vec<_>>());
}

/// The last batch of a section stays as a header, though nobody asks for it. It changes nothing the next time.
#[tokio::test]
async fn what_was_emptied_at_the_end_of_a_section_is_not_written_again() {
    let rig = Rig::new().await;
    for number in 0..4 {
        let base = number as i64 * 20;
        rig.upload(number, &[batch(base, false), batch(base + 10, true)]).await;
    }
    let newest: Vec<(String, i64)> = (0..10).map(|n| (format!("r{n}"), 70 + n)).collect();
    let newest: Vec<(&str, i64)> = newest.iter().map(|(key, offset)| (&key[..], *offset)).collect();
    assert_eq!(rig.clean(&newest, 3 << 10).await.unwrap(), [true, true]);
    let (state, put) = (rig.state(), rig.objects_put().await);
    // A section that one object holds, and one that it would not.
    for object_bytes in [2 << 10, 1 << 10] {
        let changed = rig.clean(&newest, object_bytes).await.unwrap();
        assert!(changed.iter().all(|changed| !changed), "{object_bytes}: {changed:?}");
        assert_eq!((rig.state(), rig.objects_put().await), (state.clone(), put), "{object_bytes}");
    }
}
