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

mod epochs;
mod losses;
mod measurements;
mod model;
mod reads;

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
