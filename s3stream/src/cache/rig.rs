//! Objects, and a slow store that can lie, for the tests of caches, readers and recovery.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{ColdReads, Reader, Stores, TailCache};
use crate::block_ref::{BlockRef, LaneRef, LaneTable};
use crate::budget::Budget;
use crate::env::Env;
use crate::ids::{Incarnation, LaneId, LaneNumber, Nonce, StoreId, StreamEpoch, StreamId, lane_key};
use crate::object::{BlockKind, Object, ObjectBuilder, ObjectHeader, ObjectKind};
use crate::store::{Listed, MemoryStore, PutNew, PutPayload, Space, Store, StoreError, StoreTraits, Tail};
use crate::wal::chunk::ChunkPool;

/// The lane of incarnation (`seq`, 0).
pub fn lane(seq: u64) -> LaneId {
    LaneId { incarnation: Incarnation { seq, index: 0 }, nonce: Nonce(seq) }
}

/// Object `number` of lane 1: one append of ten records per (stream, base, body), epoch 0, timestamps are offsets.
pub fn object(number: u64, blocks: &[(u64, u64, &[u8])]) -> Arc<Object> {
    let header = ObjectHeader::new(ObjectKind::Wal, lane(1), number, Nonce(number));
    let bytes = blocks.iter().map(|(_, _, body)| body.len()).sum();
    let mut builder = ObjectBuilder::new(header, ChunkPool::new(0), bytes, blocks.len());
    for (stream, base, body) in blocks {
        let end = base + 10;
        builder.append(StreamId(*stream), StreamEpoch(0), *base, end, end as i64 - 1, &[body]);
    }
    Arc::new(builder.finish())
}

/// A block of a large object that is nowhere.
pub fn block_ref(number: u64, position: u64, length: u32) -> BlockRef {
    BlockRef {
        lane: LaneRef(0),
        number: LaneNumber(number),
        position,
        length,
        epoch: StreamEpoch(0),
        base: 0,
        end: 1,
        max_timestamp: 0,
        crc: 0,
        small: false,
    }
}

/// The bytes of an object.
pub fn bytes_of(object: &Object) -> Bytes {
    object.payload.concat().into()
}

/// A producer beside whom reads wait for their turn, until it is aborted. None of its objects is late.
pub fn producing(cold: &Arc<ColdReads>) -> JoinHandle<()> {
    let object = |cold: &ColdReads| cold.durable(cold.put(), Duration::from_millis(1));
    object(cold);
    let cold = Arc::clone(cold);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            object(&cold);
        }
    })
}

/// A store in memory whose reads take their time, fail or are garbled as told, and are counted. Of deletes it tells when they
/// came; some are refused.
#[derive(Debug, Default)]
pub struct SlowStore {
    pub memory: MemoryStore,
    /// Milliseconds of a read more than 10.
    pub slower_ms: AtomicU32,
    /// Every so manieth read takes so many milliseconds more.
    pub slow_every: Mutex<Option<(u32, u64)>>,
    pub reads: AtomicU32,
    pub fail: AtomicU32,
    pub garble: AtomicU32,
    pub deletes: Mutex<Vec<Instant>>,
    pub undeletable: Mutex<HashSet<String>>,
}

impl SlowStore {
    async fn begin(&self) -> Result<(), StoreError> {
        let reads = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        let slow = self.slow_every.lock().filter(|(every, _)| reads.is_multiple_of(*every));
        let slower = self.slower_ms.load(Ordering::SeqCst);
        let slower = u64::from(slower) + slow.map_or(0, |(_, ms)| ms);
        tokio::time::sleep(Duration::from_millis(10 + slower)).await;
        let left = |left: u32| left.checked_sub(1);
        match self.fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
            Ok(_) => Err(StoreError::Transient("503".into())),
            Err(_) => Ok(()),
        }
    }

    fn maybe_garbled(&self, bytes: Bytes) -> Bytes {
        let left = |left: u32| left.checked_sub(1);
        match self.garble.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
            Ok(_) => bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into(),
            Err(_) => bytes,
        }
    }
}

#[async_trait]
impl Store for SlowStore {
    async fn put_new(&self, key: &str, body: PutPayload, timeout: Duration) -> PutNew {
        self.memory.put_new(key, body, timeout).await
    }
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.begin().await?;
        Ok(self.memory.get(key).await?.map(|bytes| self.maybe_garbled(bytes)))
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        self.begin().await?;
        Ok(self.memory.get_range(key, range).await?.map(|bytes| self.maybe_garbled(bytes)))
    }
    async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError> {
        self.begin().await?;
        let tail = self.memory.get_tail(key, len).await?;
        Ok(tail.map(|tail| Tail { bytes: self.maybe_garbled(tail.bytes), ..tail }))
    }
    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        self.memory.head(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.memory.list(prefix).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.deletes.lock().push(Instant::now());
        if self.undeletable.lock().contains(key) {
            return Err(StoreError::Refused("403".into()));
        }
        self.memory.delete(key).await
    }
    async fn space(&self) -> Result<Option<Space>, StoreError> {
        Ok(None)
    }
    fn traits(&self) -> &StoreTraits {
        self.memory.traits()
    }
}

/// A reader over a slow store that holds objects of lane 1.
pub struct RigReader {
    pub reader: Reader,
    pub lane: LaneRef,
    pub tail: Arc<TailCache>,
    pub budget: Budget,
    store: Arc<SlowStore>,
}

impl RigReader {
    pub fn new() -> RigReader {
        RigReader::with_budget(256 << 20)
    }

    pub fn with_budget(bytes: u64) -> RigReader {
        let store = Arc::new(SlowStore::default());
        let stores = Stores::new().with(StoreId(0), store.clone());
        let lanes = Arc::new(LaneTable::new());
        let lane = lanes.intern(StoreId(0), lane(1));
        let budget = Budget::new(bytes);
        let tail = TailCache::new(&budget);
        let reader = Reader::new(Env::seeded(1), stores, lanes, Arc::clone(&tail), &budget, Arc::default());
        RigReader { reader, lane, tail, store, budget }
    }

    /// Puts an object and gives its data blocks.
    pub fn put_object(&self, number: u64, blocks: &[(u64, u64, &[u8])]) -> Vec<BlockRef> {
        let object = object(number, blocks);
        self.replace(number, bytes_of(&object));
        let block = |entry| BlockRef::new(self.lane, LaneNumber(number), entry, object.len());
        object.blocks(BlockKind::Data).map(block).collect()
    }

    pub fn key(&self, number: u64) -> String {
        lane_key(lane(1), LaneNumber(number))
    }

    pub fn replace(&self, number: u64, bytes: Bytes) {
        self.store.memory.overwrite(&self.key(number), bytes);
    }

    /// Flips a bit at `position` of the object; gives its honest bytes.
    pub fn flip(&self, number: u64, position: u64) -> Bytes {
        let honest = self.take(number);
        let mut damaged = honest.to_vec();
        damaged[position as usize] ^= 1;
        self.replace(number, damaged.into());
        honest
    }

    /// Removes the object.
    pub fn take(&self, number: u64) -> Bytes {
        let get = async {
            let bytes = self.store.memory.get(&self.key(number)).await.unwrap().unwrap();
            self.store.memory.delete(&self.key(number)).await.unwrap();
            bytes
        };
        futures::FutureExt::now_or_never(get).expect("memory does not wait")
    }

    pub fn garble_next_read(&self) {
        self.store.garble.store(1, Ordering::SeqCst);
    }

    /// Reads take so long.
    pub fn read_takes(&self, ms: u32) {
        self.store.slower_ms.store(ms - 10, Ordering::SeqCst);
    }

    /// Every `every`th read takes `ms` more.
    pub fn slow_every(&self, every: u32, ms: u64) {
        *self.store.slow_every.lock() = Some((every, ms));
    }

    pub fn fail_reads(&self, reads: u32) {
        self.store.fail.store(reads, Ordering::SeqCst);
    }

    /// Reads that brought bytes.
    pub fn gets(&self) -> u64 {
        self.reader.stats().gets
    }

    /// Reads that were tried.
    pub fn calls(&self) -> u32 {
        self.store.reads.load(Ordering::SeqCst)
    }

    /// Bytes that loads in flight hold.
    pub fn loads_in_use(&self) -> u64 {
        self.reader.loads_in_use()
    }
}
