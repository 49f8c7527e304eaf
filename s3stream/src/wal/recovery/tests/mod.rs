//! Recovery against lanes that were really written and really sealed: what of them counts, in which order, and what speaks
//! against opening a stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::verify::{LaneEndFound, LaneReport, verify_lane};
use super::*;
use crate::block_ref::BlockRef;
use crate::cache::rig::{SlowStore, bytes_of};
use crate::cache::{Reader, TailCache};
use crate::catalog::{Catalog, NewObject, ObjectPart, StorageRecord};
use crate::ids::{Incarnation, ObjectId, StreamEpoch};
use crate::journal::MutationPoint;
use crate::object::{Object, ObjectBuilder, ObjectHeader};
use crate::store::{MemoryStore, PutNew};
use crate::wal::chunk::ChunkPool;
use crate::wal::{Append, Attachment, Lane, LaneConfig, Prefix, StreamSink, seal};

/// A bucket with two stores, and its catalog.
struct Cluster {
    env: Env,
    budget: Budget,
    stores: [MemoryStore; 2],
    catalog: Catalog,
    seq: u64,
    writers: BTreeMap<u64, Writer>,
}

/// What an incarnation has written.
#[derive(Default)]
struct Writer {
    number: u64,
    /// (stream, epoch, base, end, body), uncut.
    appends: Vec<(u64, u32, u64, u64, Vec<u8>)>,
    /// (stream, epoch, offset, body), uncut.
    attachments: Vec<(u64, u32, u64, Vec<u8>)>,
}

impl Cluster {
    fn new() -> Cluster {
        let mut cluster = Cluster {
            env: Env::seeded(7),
            budget: Budget::new(256 << 20),
            stores: [MemoryStore::new(), MemoryStore::new()],
            catalog: Catalog::new(),
            seq: 0,
            writers: BTreeMap::new(),
        };
        for (store, url) in [(0, "memory://a"), (1, "memory://b")] {
            cluster.apply(0, StorageRecord::StoreRegistered { store: StoreId(store), url: url.into() });
        }
        cluster
    }

    fn apply(&mut self, proposer: u64, record: StorageRecord) {
        self.seq += 1;
        let proposer = Some(Incarnation { seq: proposer, index: 0 });
        let at = MutationPoint { seq: self.seq, index: 0, proposer, level: 1 };
        self.catalog.apply(at, &record).unwrap_or_else(|illegal| panic!("{record:?}: {illegal}"));
    }

    /// A broker joins with a lane in `store`; named by its incarnation's number.
    fn join_in(&mut self, store: u8) -> u64 {
        let nonce = self.env.entropy.nonce();
        self.apply(0, StorageRecord::LaneRegistered { nonce, store: StoreId(store) });
        self.writers.insert(self.seq, Writer::default());
        self.seq
    }

    fn join(&mut self) -> u64 {
        self.join_in(0)
    }

    fn create(&mut self, stream: u64, owner: u64) {
        let owner = Incarnation { seq: owner, index: 0 };
        self.apply(0, StorageRecord::StreamCreated { stream: StreamId(stream), owner });
    }

    fn lane(&self, broker: u64) -> LaneId {
        self.catalog.lane(Incarnation { seq: broker, index: 0 }).expect("registered").id
    }

    fn store(&self, broker: u64) -> &MemoryStore {
        let store = self.catalog.lane(Incarnation { seq: broker, index: 0 }).expect("registered").store;
        &self.stores[usize::from(store.0)]
    }

    /// `broker` appends records [base, end) of a stream, under the stream's epoch unless another is given.
    fn append_in(&mut self, broker: u64, stream: u64, epoch: u32, base: u64, end: u64) {
        let body = format!("{stream}/{epoch}:{base}-{end};").into_bytes();
        self.writers.get_mut(&broker).unwrap().appends.push((stream, epoch, base, end, body));
    }

    fn append(&mut self, broker: u64, stream: u64, base: u64, end: u64) {
        let epoch = self.catalog.stream(StreamId(stream)).unwrap().epoch.0;
        self.append_in(broker, stream, epoch, base, end);
    }

    fn attach(&mut self, broker: u64, stream: u64, offset: u64, body: &[u8]) {
        let epoch = self.catalog.stream(StreamId(stream)).unwrap().epoch.0;
        self.writers.get_mut(&broker).unwrap().attachments.push((stream, epoch, offset, body.to_vec()));
    }

    /// `broker` cuts and puts its open object.
    fn cut(&mut self, broker: u64) -> u64 {
        let (lane, store) = (self.lane(broker), self.store(broker).clone());
        let writer = self.writers.get_mut(&broker).unwrap();
        let object = object_of(lane, writer);
        put(&store, &lane_key(lane, LaneNumber(writer.number)), bytes_of(&object));
        writer.number += 1;
        writer.number - 1
    }

    /// `broker` dies; its lane is sealed, `heir` adopts what it had.
    fn fence(&mut self, broker: u64, heir: u64) -> u64 {
        let (lane, store) = (self.lane(broker), self.store(broker).clone());
        let from = Incarnation { seq: broker, index: 0 };
        let trim = self.catalog.lane(from).unwrap().trim;
        let sealed =
            seal(&store, &self.env, lane, trim, 2, b"").now_or_never().expect("memory does not wait");
        let sealed = sealed.expect("sealed");
        let heir = Some(Incarnation { seq: heir, index: 0 });
        let (length, seal_nonce) = (sealed.length, sealed.seal_nonce);
        self.apply(0, StorageRecord::LaneFenced { incarnation: from, length, seal_nonce, heir });
        self.apply(0, StorageRecord::StreamsAdopted { from, to: heir });
        length.0
    }

    fn move_stream(&mut self, stream: u64, end: u64, below: u64, to: u64) {
        let state = self.catalog.stream(StreamId(stream)).unwrap();
        let (owner, epoch) = (state.owner.seq, state.epoch);
        let to = Incarnation { seq: to, index: 0 };
        let below = LaneNumber(below);
        self.apply(owner, StorageRecord::StreamSealed { stream: StreamId(stream), epoch, end, below, to });
    }

    fn trim(&mut self, stream: u64, start: u64) {
        let owner = self.catalog.stream(StreamId(stream)).unwrap().owner.seq;
        self.apply(owner, StorageRecord::StreamTrimmed { stream: StreamId(stream), start });
    }

    fn stores(&self) -> Stores {
        let [a, b] = self.stores.clone();
        Stores::new().with(StoreId(0), Arc::new(a)).with(StoreId(1), Arc::new(b))
    }

    async fn recover(&self) -> Result<(Recovered, Arc<LaneTable>), RecoverError> {
        let lanes = Arc::new(LaneTable::new());
        let plan = self.catalog.recovery(self.catalog.streams().map(|(stream, _)| stream));
        let recovered = recover(&self.env, &self.stores(), &lanes, &self.budget, &plan).await?;
        Ok((recovered, lanes))
    }

    /// The streams, all whole, and what a reader reads of each.
    async fn read(&self) -> BTreeMap<u64, (StreamIndex, String)> {
        let (recovered, lanes) = self.recover().await.expect("recovered");
        let tail = TailCache::new(&self.budget);
        let reader = Reader::new(
            self.env.clone(),
            self.stores(),
            lanes,
            tail,
            &Budget::new(256 << 20),
            Arc::default(),
        );
        let mut read = BTreeMap::new();
        for (stream, recovered) in recovered.whole().expect("whole") {
            let blocks: Vec<BlockRef> = recovered.index.blocks().collect();
            let bytes = reader.load(&blocks).await.expect("readable").concat();
            read.insert(stream.0, (recovered.index, String::from_utf8(bytes).unwrap()));
        }
        read
    }

    fn damage(&self, broker: u64, number: u64) {
        let (store, key) = (self.store(broker), lane_key(self.lane(broker), LaneNumber(number)));
        let mut bytes = store.get(&key).now_or_never().unwrap().unwrap().expect("there").to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        store.overwrite(&key, bytes.into());
    }
}

fn put(store: &MemoryStore, key: &str, bytes: Bytes) {
    let put = store.put_new(key, bytes.into(), Duration::from_secs(1)).now_or_never();
    assert!(matches!(put, Some(PutNew::Created)), "{key}");
}

fn object_of(lane: LaneId, writer: &mut Writer) -> Object {
    let mut appends = std::mem::take(&mut writer.appends);
    let mut attached = std::mem::take(&mut writer.attachments);
    appends.sort_by_key(|(stream, epoch, base, ..)| (*stream, *epoch, *base));
    attached.sort_by_key(|(stream, epoch, offset, _)| (*stream, *epoch, *offset));
    let header = ObjectHeader::new(ObjectKind::Wal, lane, writer.number, Nonce(writer.number));
    let mut builder = ObjectBuilder::new(header, ChunkPool::new(0), 1024, appends.len());
    for (stream, epoch, base, end, body) in &appends {
        builder.append(StreamId(*stream), StreamEpoch(*epoch), *base, *end, *end as i64, &[body]);
    }
    for (stream, epoch, offset, body) in &attached {
        builder.attach(StreamId(*stream), StreamEpoch(*epoch), *offset, body);
    }
    builder.finish()
}

fn epochs(index: &StreamIndex) -> Vec<(u32, u64)> {
    index.epochs().map(|(epoch, start)| (epoch.0, start)).collect()
}

fn blocked(recovered: &Recovered) -> Vec<(u64, usize)> {
    recovered.blocked.iter().map(|(stream, why)| (stream.0, why.len())).collect()
}

/// SAFETY F9, seed leader-dies-twice-before-upload.
#[tokio::test]
async fn leader_dies_twice_before_upload() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join_in(1)); // the second lane lies in the other store
    c.create(0, l);
    c.append(l, 0, 0, 30);
    c.cut(l);
    c.append(l, 0, 30, 50);
    c.cut(l);
    c.fence(l, m);
    let read = c.read().await;
    assert_eq!((read[&0].0.end(), read[&0].1.as_str()), (50, "0/0:0-30;0/0:30-50;"));
    c.append(m, 0, 50, 150);
    c.cut(m);
    let third = c.join();
    c.fence(m, third);
    let read = c.read().await;
    assert_eq!(read[&0].1, "0/0:0-30;0/0:30-50;0/1:50-150;");
    assert_eq!((epochs(&read[&0].0), read[&0].0.end()), (vec![(0, 0), (1, 50)], 150));
    // The third dies with nothing written, before it uploaded either: its epoch has an end, too.
    let fourth = c.join();
    c.fence(third, fourth);
    let read = c.read().await;
    assert_eq!(read[&0].0.end_offset_for_epoch(StreamEpoch(0)), Some((StreamEpoch(0), 50)));
    assert_eq!(read[&0].0.end(), 150);
}

/// SAFETY F4, seed move-with-stuck-put: what a former owner's lane holds at or above the end it stated is void, wherever it
/// landed.
#[tokio::test]
async fn records_count_only_inside_what_the_image_gives() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.create(1, l);
    c.append(l, 0, 0, 10);
    c.append(l, 1, 0, 10);
    c.cut(l);
    c.append_in(l, 0, 0, 10, 20); // stuck when the stream was sealed at 10, landed later
    c.append(l, 1, 10, 20);
    c.move_stream(0, 10, 1, m);
    c.cut(l);
    c.append(m, 0, 10, 15);
    c.cut(m);
    // The lane of l goes on: only what stream 0 needs of it is read.
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(recovered.streams[&StreamId(0)].index.end(), 10);
    assert!(recovered.streams[&StreamId(1)].index.is_empty(), "its owner has it in memory");
    c.fence(m, l);
    let third = c.join();
    c.fence(l, third);
    let read = c.read().await;
    assert_eq!(read[&0].1, "0/0:0-10;0/1:10-15;");
    assert_eq!(read[&1].1, "1/0:0-10;1/0:10-20;");
    // An end inside a block: the block ends there, its bytes go on.
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.append(l, 0, 10, 20);
    c.cut(l);
    c.move_stream(0, 10, 1, m);
    c.append(m, 0, 10, 12);
    c.cut(m);
    c.fence(m, l);
    let (recovered, _) = c.recover().await.unwrap();
    let blocks: Vec<(u64, u64)> =
        recovered.streams[&StreamId(0)].index.blocks().map(|b| (b.base, b.end)).collect();
    assert_eq!(blocks, [(0, 10), (10, 12)]);
}

#[tokio::test]
async fn a_stream_that_went_and_came_back_is_in_epoch_order() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.attach(l, 0, 3, b"a");
    c.cut(l);
    c.move_stream(0, 10, 1, m);
    c.append(m, 0, 10, 20);
    c.attach(m, 0, 13, b"b");
    c.cut(m);
    c.move_stream(0, 20, 1, l);
    c.append(l, 0, 20, 30);
    c.attach(l, 0, 23, b"c");
    c.cut(l);
    let third = c.join();
    c.fence(l, third);
    c.fence(m, third);
    let (recovered, _) = c.recover().await.unwrap();
    let stream = &recovered.streams[&StreamId(0)];
    assert_eq!(epochs(&stream.index), [(0, 0), (1, 10), (2, 20)]);
    let attached: Vec<(u64, &[u8])> = stream.attachments.iter().map(|a| (a.offset, &a.bytes[..])).collect();
    assert_eq!(attached, [(3, &b"a"[..]), (13, b"b"), (23, b"c")]);
    assert_eq!(c.read().await[&0].1, "0/0:0-10;0/1:10-20;0/2:20-30;");
}

/// An upload of several objects trims with the last: a process that ends in between leaves in its lane what the checkpoint
/// has already. Replayed again it would take the place of older batches, and their retries would not be known.
#[tokio::test]
async fn what_was_uploaded_is_not_replayed_again_though_the_lane_was_not_trimmed() {
    let mut c = Cluster::new();
    let l = c.join();
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.attach(l, 0, 3, b"a");
    c.attach(l, 0, 7, b"b");
    c.cut(l);
    c.append(l, 0, 10, 20);
    c.attach(l, 0, 13, b"c");
    c.cut(l);
    let incarnation = Incarnation { seq: l, index: 0 };
    let (stream, epoch) = (StreamId(0), StreamEpoch(0));
    let (start, end, bytes, max_timestamp) = (0, 10, 8, -1);
    let parts = vec![ObjectPart { stream, epoch, start, end, bytes, max_timestamp, checkpoint: true }];
    let object = NewObject { id: ObjectId { incarnation, counter: 0 }, store: StoreId(0), len: 100 };
    let (from, trim) = (LaneNumber(0), LaneNumber(0));
    c.apply(l, StorageRecord::LaneUploaded { incarnation, from, trim, object, parts });
    let m = c.join();
    c.fence(l, m);
    let (recovered, _) = c.recover().await.unwrap();
    let recovered = &recovered.streams[&stream];
    let attached: Vec<u64> = recovered.attachments.iter().map(|attachment| attachment.offset).collect();
    let blocks: Vec<u64> = recovered.index.blocks().map(|block| block.base).collect();
    assert_eq!((attached, blocks), (vec![13], vec![10]));
}

#[tokio::test]
async fn what_is_below_the_log_start_is_neither_read_nor_missed() {
    let mut c = Cluster::new();
    let l = c.join();
    c.create(0, l);
    for number in 0..4 {
        c.append(l, 0, number * 10, number * 10 + 10);
        c.attach(l, 0, number * 10 + 5, b"x");
        c.cut(l);
    }
    c.trim(0, 25);
    // Objects 0 and 1 hold nothing that counts: trimmed and deleted.
    let incarnation = Incarnation { seq: l, index: 0 };
    c.apply(l, StorageRecord::LaneTrimmed { incarnation, trim: LaneNumber(2) });
    for number in 0..2 {
        c.store(l).delete(&lane_key(c.lane(l), LaneNumber(number))).await.unwrap();
    }
    let m = c.join();
    c.fence(l, m);
    let read = c.read().await;
    assert_eq!(read[&0].1, "0/0:20-30;0/0:30-40;");
    assert_eq!((read[&0].0.start(), read[&0].0.end()), (25, 40));
    let (recovered, _) = c.recover().await.unwrap();
    let attached = recovered.streams[&StreamId(0)].attachments.iter().map(|a| a.offset);
    assert_eq!(attached.collect::<Vec<u64>>(), [25, 35]);
    // Nothing is left above the log start: the next epoch begins there.
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.attach(l, 0, 3, b"a dead record's");
    c.cut(l);
    c.trim(0, 10);
    c.fence(l, m);
    assert_eq!(c.read().await[&0].0.end(), 10);
    // Its state is still needed (SAFETY F15).
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(recovered.streams[&StreamId(0)].attachments[0].offset, 3);
}

/// SAFETY F19: exactly the streams that the neighbours do not prove whole are blocked, until the loss is accepted by name.
#[tokio::test]
async fn an_unreadable_object_blocks_what_it_may_have_held() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    for stream in 0..6 {
        c.create(stream, l);
    }
    // 0: whole across the gap. 1: a part was in it. 2: its last records were, or not. 3: begins after it, at 0.
    // 4: never wrote. 5: sealed and moved away where it had ended before.
    for stream in [0, 1, 2, 5] {
        c.append(l, stream, 0, 10);
    }
    c.cut(l);
    c.move_stream(5, 10, 2, m);
    c.append(l, 1, 10, 20);
    let bad = c.cut(l);
    c.append(l, 0, 10, 20);
    c.append(l, 1, 20, 30);
    c.append(l, 3, 0, 10);
    c.cut(l);
    c.damage(l, bad);
    let third = c.join();
    c.fence(l, third);
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(blocked(&recovered), [(1, 1), (2, 1), (4, 1)]);
    assert_eq!(recovered.streams.keys().map(|stream| stream.0).collect::<Vec<u64>>(), [0, 3, 5]);
    assert!(!recovered.any_missing());
    let message = recovered.whole().unwrap_err().to_string();
    let key = lane_key(c.lane(l), LaneNumber(bad));
    assert!(message.contains(&key) && message.contains("blocks streams 1, 2, 4"), "{message}");
    // Accepted by name: what is left is opened, and what was lost is a gap, never reused.
    let incarnation = Incarnation { seq: l, index: 0 };
    c.apply(third, StorageRecord::LossAccepted { incarnation, number: LaneNumber(bad) });
    let read = c.read().await;
    assert_eq!(read[&1].1, "1/0:0-10;1/0:20-30;");
    assert_eq!(read[&1].0.lookup(15, 1).unwrap()[0].base, 20);
    assert_eq!((read[&1].0.end(), read[&2].0.end(), read[&4].0.end()), (30, 10, 0));
    // Uploaded up to the gap, which is below the trim now: it is excused still.
    let part = |stream| ObjectPart {
        stream: StreamId(stream),
        epoch: StreamEpoch(0),
        start: 0,
        end: 10,
        bytes: 8,
        max_timestamp: 0,
        checkpoint: false,
    };
    let id = ObjectId { incarnation: Incarnation { seq: third, index: 0 }, counter: 0 };
    let object = NewObject { id, store: StoreId(0), len: 24 };
    let (from, trim) = (LaneNumber(0), LaneNumber(bad + 1));
    let parts = [0, 1, 2].map(part).to_vec();
    c.apply(third, StorageRecord::LaneUploaded { incarnation, from, trim, object, parts });
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(blocked(&recovered), []);
    assert_eq!(recovered.streams[&StreamId(1)].index.end(), 30);
}

#[tokio::test]
async fn a_missing_object_blocks_and_says_that_it_is_missing() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    for number in 0..3 {
        c.append(l, 0, number * 10, number * 10 + 10);
        c.cut(l);
    }
    c.fence(l, m);
    c.store(l).delete(&lane_key(c.lane(l), LaneNumber(1))).await.unwrap();
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(blocked(&recovered), [(0, 1)]);
    assert!(recovered.any_missing());
}

#[tokio::test]
async fn a_hole_that_nothing_explains_blocks_its_stream_alone() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.create(1, l);
    c.append(l, 0, 0, 10);
    c.append(l, 1, 0, 10);
    c.cut(l);
    c.append(l, 0, 11, 20); // a hole
    c.append(l, 1, 10, 20);
    c.cut(l);
    c.fence(l, m);
    let (recovered, _) = c.recover().await.unwrap();
    let [Blocked::Contradiction { key, what }] = &recovered.blocked[&StreamId(0)][..] else {
        panic!("{recovered:?}")
    };
    assert!(what.contains("goes on at 11, it had ended at 10"), "{what}");
    assert_eq!(key, &lane_key(c.lane(l), LaneNumber(1)));
    assert_eq!(recovered.streams[&StreamId(1)].index.end(), 20);
    // A sealed epoch that does not reach its end, and two epochs that hold the same offset.
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.create(1, l);
    c.append(l, 0, 0, 10);
    c.append(l, 1, 0, 10);
    c.cut(l);
    c.move_stream(0, 20, 1, m);
    c.fence(l, m);
    c.append(m, 1, 5, 15);
    c.cut(m);
    let third = c.join();
    c.fence(m, third);
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(blocked(&recovered), [(0, 1), (1, 1)]);
}

/// SAFETY F3: who opens by way of a fence reads that seal first.
#[tokio::test]
async fn nothing_is_opened_without_the_seal_that_the_journal_names() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.cut(l);
    c.fence(l, m);
    let key = lane_key(c.lane(l), LaneNumber(1));
    let seal = c.store(l).get(&key).await.unwrap().unwrap();
    c.store(l).delete(&key).await.unwrap();
    let error = c.recover().await.unwrap_err();
    assert!(matches!(&error, RecoverError::NotTheSeal { found, .. } if found == "nothing"), "{error}");
    // Another seal, or the owner's own object in its place.
    let other = ObjectBuilder::new(
        ObjectHeader::new(ObjectKind::Seal, c.lane(l), 1, Nonce(99)),
        ChunkPool::new(0),
        0,
        0,
    )
    .finish();
    c.store(l).overwrite(&key, bytes_of(&other));
    assert!(matches!(c.recover().await, Err(RecoverError::NotTheSeal { .. })));
    c.append(l, 0, 10, 20);
    c.store(l).delete(&key).await.unwrap();
    c.cut(l);
    assert!(matches!(c.recover().await, Err(RecoverError::NotTheSeal { .. })));
    c.store(l).overwrite(&key, seal);
    assert_eq!(c.read().await[&0].0.end(), 10);
}

#[tokio::test]
async fn long_indexes_and_far_attachments_are_read_too() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    // 2,000 blocks: an index of 106 KB.
    for stream in 0..2000 {
        c.create(stream, l);
        c.append(l, stream, 0, 10);
        c.attach(l, stream, 3, b"first");
        c.attach(l, stream, 7, b"second");
    }
    c.cut(l);
    // One stream with 300 KB of attachments: they begin far before the tail.
    for at in 0..1000 {
        c.append(l, 0, 10 + at, 11 + at);
        c.attach(l, 0, 10 + at, &[at as u8; 300]);
    }
    c.cut(l);
    c.fence(l, m);
    let (recovered, _) = c.recover().await.unwrap();
    let streams = recovered.whole().unwrap();
    assert_eq!(streams.len(), 2000);
    for (stream, recovered) in &streams {
        let first: Vec<(u64, &[u8])> =
            recovered.attachments[..2].iter().map(|a| (a.offset, &a.bytes[..])).collect();
        assert_eq!(first, [(3, &b"first"[..]), (7, b"second")], "{stream}");
    }
    let far = &streams[&StreamId(0)].attachments;
    assert_eq!((far.len(), far[1001].offset, &far[1001].bytes[..]), (1002, 1009, &[231_u8; 300][..]));
}

/// What the sinks of a real lane were told is what recovery finds.
#[tokio::test(start_paused = true)]
async fn recovery_finds_what_the_lane_told_its_sinks() {
    #[derive(Default)]
    struct Told(Mutex<Vec<BlockRef>>);
    impl StreamSink for Told {
        fn durable(&self, _: LaneNumber, blocks: &[BlockRef]) {
            self.0.lock().extend_from_slice(blocks);
        }
    }
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    let lanes = Arc::new(LaneTable::new());
    let lane_ref = lanes.intern(StoreId(0), c.lane(l));
    let tail = TailCache::new(&c.budget);
    let config = LaneConfig::for_store(c.stores[0].traits(), &c.budget);
    let lane = Lane::start(Arc::new(c.stores[0].clone()), &c.env, c.lane(l), lane_ref, config, tail.clone());
    let sinks: Vec<Arc<Told>> = (0..20).map(|_| Arc::default()).collect();
    let mut ends = [0; 20];
    let mut last = LaneNumber(0);
    for stream in 0..20 {
        c.create(stream, l);
    }
    for round in 0..200 {
        let stream = c.env.entropy.u64() % 20;
        let base = ends[stream as usize];
        let count = 1 + (c.env.entropy.u64() % 50) as u32;
        ends[stream as usize] += u64::from(count);
        let attachment = (round % 7 == 0).then(|| Attachment::new(&base.to_be_bytes()).unwrap());
        last = lane
            .push(Append {
                stream: StreamId(stream),
                epoch: StreamEpoch(0),
                base,
                count,
                max_timestamp: round,
                prefix: Prefix::new(&[round as u8; 12]).unwrap(),
                body: vec![round as u8; 100 + (c.env.entropy.u64() % 300_000) as usize].into(),
                attachment,
                sink: sinks[stream as usize].clone(),
                charge: None,
            })
            .unwrap();
        if round % 10 == 0 {
            lane.wait_durable(last).await.unwrap();
        }
    }
    lane.wait_durable(last).await.unwrap();
    assert!(lane.durable_below().0 > 10);
    c.env.tasks.kill();
    c.env = Env::seeded(8);
    c.fence(l, m);
    let plan = c.catalog.recovery((0..20).map(StreamId));
    let recovered = recover(&c.env, &c.stores(), &lanes, &c.budget, &plan).await.unwrap().whole().unwrap();
    let reader = Reader::new(c.env.clone(), c.stores(), lanes, tail, &c.budget, Arc::default());
    for stream in 0..20 {
        let told = sinks[stream as usize].0.lock().clone();
        let index = &recovered[&StreamId(stream)].index;
        assert_eq!(index.blocks().collect::<Vec<BlockRef>>(), told, "stream {stream}");
        assert_eq!(index.end(), ends[stream as usize]);
        reader.load(&told).await.unwrap();
        let attachments = &recovered[&StreamId(stream)].attachments;
        assert!(attachments.iter().all(|a| *a.bytes == a.offset.to_be_bytes()));
    }
    let attachments: usize = recovered.values().map(|stream| stream.attachments.len()).sum();
    assert_eq!(attachments, 200_usize.div_ceil(7));
}

#[tokio::test(start_paused = true)]
async fn transient_faults_are_waited_out_and_garbled_answers_asked_for_again() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    for number in 0..10 {
        c.append(l, 0, number * 10, number * 10 + 10);
        c.cut(l);
    }
    c.fence(l, m);
    let slow = Arc::new(SlowStore { memory: c.stores[0].clone(), ..SlowStore::default() });
    let stores = Stores::new().with(StoreId(0), slow.clone());
    let mut plan = c.catalog.recovery([StreamId(0)]);
    // Once with the faults in the way of the seal, once in the way of the objects.
    for _ in 0..2 {
        slow.fail.store(8, std::sync::atomic::Ordering::SeqCst);
        slow.garble.store(1, std::sync::atomic::Ordering::SeqCst);
        let recovered = recover(&c.env, &stores, &LaneTable::new(), &c.budget, &plan).await.unwrap();
        assert_eq!(recovered.whole().unwrap()[&StreamId(0)].index.end(), 100);
        plan.lanes[0].seal_nonce = None;
    }
    let elsewhere = Stores::new().with(StoreId(1), Arc::new(MemoryStore::new()));
    let error = recover(&c.env, &elsewhere, &LaneTable::new(), &c.budget, &plan).await.unwrap_err();
    assert!(matches!(error, RecoverError::UnknownStore { .. }), "{error}");
}

#[tokio::test]
async fn verify_reads_everything_and_writes_down_what_is_wrong() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    for number in 0..5 {
        c.append(l, 0, number * 10, number * 10 + 10);
        c.attach(l, 0, number * 10, b"x");
        c.cut(l);
    }
    async fn verify(c: &Cluster, l: u64, below: Option<u64>) -> LaneReport {
        let mut told = 0;
        let report =
            verify_lane(&c.env, c.store(l), c.lane(l), LaneNumber(0), below.map(LaneNumber), |_| told += 1);
        let report = report.await.unwrap();
        assert!(told >= report.objects);
        report
    }
    let report = verify(&c, l, None).await;
    assert_eq!((report.objects, report.blocks, report.end), (5, 10, (LaneNumber(5), LaneEndFound::Nothing)));
    c.fence(l, m);
    let report = verify(&c, l, None).await;
    assert!(report.is_clean() && matches!(report.end, (LaneNumber(5), LaneEndFound::Seal(_))), "{report:?}");
    assert_eq!(report.streams[&StreamId(0)], (StreamEpoch(0), 50));
    assert!(verify(&c, l, Some(5)).await.is_clean());
    // A flipped bit in a block, a missing object, another lane's object, a hole.
    let key = |c: &Cluster, number| lane_key(c.lane(l), LaneNumber(number));
    let mut bytes = c.store(l).get(&key(&c, 1)).await.unwrap().unwrap().to_vec();
    bytes[crate::object::format::HEADER_LEN] ^= 1;
    c.store(l).overwrite(&key(&c, 1), bytes.into());
    c.store(l).delete(&key(&c, 2)).await.unwrap();
    let mut foreign = Writer { number: 3, ..Writer::default() };
    let foreign = object_of(c.lane(m), &mut foreign);
    c.store(l).overwrite(&key(&c, 3), bytes_of(&foreign));
    let mut hole = Writer {
        number: 4,
        appends: vec![(0, 0, 40, 50, vec![1]), (1, 0, 0, 1, vec![1])],
        ..Writer::default()
    };
    hole.appends[0].2 = 41;
    c.store(l).overwrite(&key(&c, 4), bytes_of(&object_of(c.lane(l), &mut hole)));
    let report = verify(&c, l, Some(6)).await;
    let problems: Vec<&str> = report.problems.iter().map(|problem| problem.what.as_str()).collect();
    let expected = ["CRC of the block", "Nothing below", "object 3 of lane", "Seal("];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem} / {expected}");
    }
    let honest_until_hole = verify(&c, l, None).await;
    assert_eq!(honest_until_hole.end, (LaneNumber(2), LaneEndFound::Nothing));
}

/// What brokers do in any order, against a list of what must be there.
#[derive(Clone, Debug)]
enum Deed {
    Append {
        stream: u64,
        count: u64,
    },
    Cut {
        broker: usize,
    },
    /// Flushes, then gives the stream away.
    Move {
        stream: u64,
        to: usize,
    },
    /// Loses what is not cut.
    Die {
        broker: usize,
    },
    Trim {
        stream: u64,
        part: u64,
    },
}

fn any_deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        10 => (0u64..4, 1u64..20).prop_map(|(stream, count)| Deed::Append { stream, count }),
        5 => (0usize..3).prop_map(|broker| Deed::Cut { broker }),
        2 => (0u64..4, 0usize..3).prop_map(|(stream, to)| Deed::Move { stream, to }),
        1 => (0usize..3).prop_map(|broker| Deed::Die { broker }),
        1 => (0u64..4, 0u64..100).prop_map(|(stream, part)| Deed::Trim { stream, part }),
    ]
}

/// Of one stream: what was cut (durable), and what was not yet.
#[derive(Clone, Debug, Default)]
struct Model {
    start: u64,
    durable: Vec<(u64, u64, String)>,
    pending: Vec<(u64, u64, String)>,
}

impl Model {
    fn end(&self) -> u64 {
        self.pending.last().or(self.durable.last()).map_or(0, |(_, end, _)| *end)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_brokers_do_recovery_finds_what_was_durable(deeds in prop::collection::vec(any_deed(), 1..80)) {
        let mut c = Cluster::new();
        let mut brokers = [c.join(), c.join_in(1), c.join()];
        let mut models: Vec<Model> = vec![Model::default(); 4];
        for stream in 0..4 {
            c.create(stream, brokers[stream as usize % 3]);
        }
        let owner = |c: &Cluster, stream: u64| c.catalog.stream(StreamId(stream)).unwrap().owner.seq;
        let cut = |c: &mut Cluster, models: &mut [Model], broker: u64| {
            if c.writers[&broker].appends.is_empty() {
                return;
            }
            c.cut(broker);
            for (stream, model) in models.iter_mut().enumerate() {
                if owner(c, stream as u64) == broker {
                    let pending = std::mem::take(&mut model.pending);
                    model.durable.extend(pending);
                }
            }
        };
        for deed in deeds {
            match deed {
                Deed::Append { stream, count } => {
                    let broker = owner(&c, stream);
                    let (base, epoch) = (models[stream as usize].end(), c.catalog.stream(StreamId(stream)).unwrap().epoch.0);
                    let end = base + count;
                    c.append(broker, stream, base, end);
                    models[stream as usize].pending.push((base, end, format!("{stream}/{epoch}:{base}-{end};")));
                }
                Deed::Cut { broker } => cut(&mut c, &mut models, brokers[broker]),
                Deed::Move { stream, to } => {
                    let from = owner(&c, stream);
                    if from == brokers[to] {
                        continue;
                    }
                    cut(&mut c, &mut models, from);
                    let below = c.writers[&from].number;
                    c.move_stream(stream, models[stream as usize].end(), below, brokers[to]);
                }
                Deed::Die { broker } => {
                    let (dead, heir) = (brokers[broker], c.join());
                    for (stream, model) in models.iter_mut().enumerate() {
                        if owner(&c, stream as u64) == dead {
                            model.pending.clear();
                        }
                    }
                    c.fence(dead, heir);
                    brokers[broker] = heir;
                }
                Deed::Trim { stream, part } => {
                    let model = &mut models[stream as usize];
                    let durable = model.durable.last().map_or(0, |(_, end, _)| *end);
                    model.start = model.start.max(durable * part / 100);
                    let start = model.start;
                    c.trim(stream, start);
                }
            }
        }
        for broker in brokers {
            let heir = c.join();
            c.fence(broker, heir);
        }
        let read = c.read().now_or_never().expect("memory does not wait");
        for (stream, model) in models.iter().enumerate() {
            let (index, text) = &read[&(stream as u64)];
            let durable = model.durable.last().map_or(0, |(_, end, _)| *end);
            prop_assert_eq!(index.end(), durable.max(model.start));
            // Blocks of one object are read whole: what is below the log start may come along.
            let expected: String = model.durable.iter().filter(|(_, end, _)| *end > model.start).map(|(.., text)| text.as_str()).collect();
            prop_assert!(text.ends_with(&expected), "{} does not end in {}", text, expected);
            let all: String = model.durable.iter().map(|(.., text)| text.as_str()).collect();
            prop_assert!(all.ends_with(text.as_str()), "{} is not the end of {}", text, all);
        }
    }
}

/// `cargo test --release -p aquifer-s3stream a_thousand_streams -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "it is a measurement")]
async fn a_thousand_streams_in_a_thousand_objects() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    for stream in 0..1000 {
        c.create(stream, l);
    }
    for number in 0..1000 {
        for stream in 0..1000 {
            c.append(l, stream, number, number + 1);
        }
        c.cut(l);
    }
    let begun = std::time::Instant::now();
    c.fence(l, m);
    println!("sealed and adopted in {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    let (recovered, _) = c.recover().await.unwrap();
    let streams = recovered.whole().unwrap();
    let memory: usize = streams.values().map(|stream| stream.index.memory()).sum();
    println!(
        "recovered {} streams, 1,000,000 blocks in {:?}, {memory} bytes",
        streams.len(),
        begun.elapsed()
    );
    assert!(streams.values().all(|stream| stream.index.end() == 1000));
}

/// 1 GiB of one dead lane in a directory: 128 objects of 8 MiB, of 16 streams.
#[tokio::test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "it is a measurement")]
async fn a_gibibyte_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    let store = crate::store::DirectoryStore::open(directory.path(), &c.env).unwrap();
    for stream in 0..16 {
        c.create(stream, l);
    }
    let lane = c.lane(l);
    for number in 0..128 {
        let body = |stream: u64| (stream, 0, number, number + 1, vec![number as u8; 512 << 10]);
        let mut writer = Writer { number, appends: (0..16).map(body).collect(), ..Writer::default() };
        let object = object_of(lane, &mut writer);
        let put = store.put_new(&lane_key(lane, LaneNumber(number)), object.put_payload(), PATIENCE).await;
        assert!(matches!(put, PutNew::Created), "{put:?}");
    }
    let begun = std::time::Instant::now();
    let sealed = seal(&store, &c.env, lane, LaneNumber(0), 1, b"").await.unwrap();
    println!("sealed in {:?}", begun.elapsed());
    let (length, seal_nonce) = (sealed.length, sealed.seal_nonce);
    let (from, heir) = (Incarnation { seq: l, index: 0 }, Some(Incarnation { seq: m, index: 0 }));
    c.apply(0, StorageRecord::LaneFenced { incarnation: from, length, seal_nonce, heir });
    c.apply(0, StorageRecord::StreamsAdopted { from, to: heir });
    let plan = c.catalog.recovery((0..16).map(StreamId));
    let (stores, lanes) = (Stores::new().with(StoreId(0), Arc::new(store)), Arc::new(LaneTable::new()));
    let begun = std::time::Instant::now();
    let recovered = recover(&c.env, &stores, &lanes, &c.budget, &plan).await.unwrap().whole().unwrap();
    println!("recovered in {:?}", begun.elapsed());
    assert!(recovered.values().all(|stream| stream.index.end() == 128));
    let reader =
        Reader::new(c.env.clone(), stores, lanes, TailCache::new(&c.budget), &c.budget, Arc::default());
    let begun = std::time::Instant::now();
    let mut bytes = 0;
    for stream in recovered.values() {
        for block in stream.index.blocks() {
            bytes += reader.load(&[block]).await.unwrap()[0].len();
        }
    }
    println!("read {bytes} bytes block by block in {:?}", begun.elapsed());
}
