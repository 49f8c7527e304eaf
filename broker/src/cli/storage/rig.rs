//! Small buckets, written by the real journal and the real lane of two incarnations (the first killed, sealed and succeeded),
//! for tests to look at and to damage.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::record_batch::{Batch, HEADER_BYTES};
use s3stream::block_ref::{BlockRef, LaneRef, LaneTable};
use s3stream::budget::Budget;
use s3stream::cache::{Stores, TailCache};
use s3stream::catalog::{Catalog, StorageRecord, StreamState};
use s3stream::claims::Claims;
use s3stream::env::Env;
use s3stream::history::History;
use s3stream::ids::{LaneId, LaneNumber, ObjectId, StoreId, StreamEpoch, StreamId};
use s3stream::journal::{Journal, JournalConfig};
use s3stream::merge::{MergeDials, Merger};
use s3stream::object::AttachmentEntry;
use s3stream::rewrite::Rewriter;
use s3stream::store::{MemoryStore, Store};
use s3stream::upload::{CatalogJournal, Checkpoints, ObjectCounter, UploadDials, UploadSink, Uploader};
use s3stream::wal::{Append, Attachment, Lane, LaneConfig, Prefix, StreamSink, seal};
use uuid::Uuid;

use super::run;
use crate::cli::args::StorageCommand;
use crate::config::BrokerConfig;
use crate::metadata::{ADOPTION_LEVEL, Endpoint, LEVEL_MAX, MetadataImage, MetadataRecord};
use crate::partition::attachment::ProducerAttachment;
use crate::partition::checkpoint;

struct Quiet;

impl StreamSink for Quiet {
    fn durable(&self, _: LaneNumber, _: &[BlockRef]) {}
}

/// One process: its journal, its registration, its lane.
struct Process {
    store: Arc<dyn Store>,
    env: Env,
    journal: Journal<MetadataImage>,
    lane: Lane,
    lane_ref: LaneRef,
    tables: Arc<LaneTable>,
    tail: Arc<TailCache>,
    budget: Budget,
    counter: Arc<ObjectCounter>,
}

impl Process {
    async fn start(store: Arc<dyn Store>, seed: u64, before: Option<&Process>) -> Process {
        let env = Env::seeded(seed);
        let config =
            JournalConfig { level_max: LEVEL_MAX, genesis_level: LEVEL_MAX, ..JournalConfig::default() };
        let journal =
            Journal::open(store.clone(), env.clone(), config, MetadataImage::default()).await.unwrap();
        let mut storage = vec![
            StorageRecord::StoreRegistered { store: StoreId(0), url: "memory://".into() },
            StorageRecord::LaneRegistered { nonce: journal.nonce(), store: StoreId(0) },
        ];
        if let Some(before) = before {
            let sealed = seal(&*store, &env, before.lane.id(), LaneNumber(0), 1, b"node 0").await.unwrap();
            let from = before.lane.id().incarnation;
            storage.push(StorageRecord::LaneFenced {
                incarnation: from,
                length: sealed.length,
                seal_nonce: sealed.seal_nonce,
                heir: None,
            });
            storage.push(StorageRecord::StreamsAdopted { from, to: None });
        }
        let mut records: Vec<MetadataRecord> = storage.into_iter().map(MetadataRecord::Storage).collect();
        records.push(MetadataRecord::BrokerRegistered {
            node_id: 0,
            endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9092 }],
            peer_address: "127.0.0.1:1".into(),
            rack: None,
            release: "0.0.0".into(),
        });
        let incarnation = journal.elect_now(records).await.unwrap();
        let id = LaneId { incarnation, nonce: journal.nonce() };
        let budget = Budget::new(256 << 20);
        let (tables, tail) = (Arc::new(LaneTable::new()), TailCache::new(&budget));
        let lane_ref = tables.intern(StoreId(0), id);
        let config = LaneConfig::for_store(store.traits(), &budget);
        let lane = Lane::start(store.clone(), &env, id, lane_ref, config, tail.clone());
        let counter = Arc::default();
        Process { store, env, journal, lane, lane_ref, tables, tail, budget, counter }
    }

    /// Appends a batch of two records, as a partition would, and waits until it is stored.
    async fn append(&self, stream: u64, epoch: u32, base: u64) {
        self.append_value(stream, epoch, base, b"one").await;
    }

    async fn append_value(&self, stream: u64, epoch: u32, base: u64, value: &[u8]) {
        let batch = BatchBuilder::new()
            .base_offset(base as i64)
            .leader_epoch(epoch as i32)
            .producer(7, 0, base as i32)
            .append(1000, None, Some(value), &[])
            .append(2000, None, Some(b"two"), &[])
            .build();
        let header = *Batch::parse(batch.clone()).unwrap().header();
        let attachment = ProducerAttachment::of(&header).unwrap().encode();
        let append = Append {
            stream: StreamId(stream),
            epoch: StreamEpoch(epoch),
            base,
            count: 2,
            max_timestamp: 2000,
            prefix: Prefix::new(&batch[..HEADER_BYTES]).unwrap(),
            body: batch.slice(HEADER_BYTES..),
            attachment: Attachment::new(&attachment),
            sink: Arc::new(Quiet),
            charge: None,
        };
        let number = self.lane.push(append).unwrap();
        self.lane.wait_durable(number).await.unwrap();
    }

    /// Topic t, its partitions being streams 0, 1 …
    async fn create_topic(&self, partitions: u32) {
        let owner = self.lane.id().incarnation;
        let topic_id = Uuid::from_u128(7);
        let mut records =
            vec![MetadataRecord::TopicCreated { topic_id, name: "t".into(), replication_factor: 3 }];
        records.extend((0..u64::from(partitions)).map(|stream| {
            MetadataRecord::Storage(StorageRecord::StreamCreated { stream: StreamId(stream), owner })
        }));
        records.push(MetadataRecord::PartitionsCreated {
            topic_id,
            first_index: 0,
            first_stream: StreamId(0),
            count: partitions,
        });
        self.journal.propose(records).await.unwrap();
    }

    fn stores(&self) -> Stores {
        Stores::new().with(StoreId(0), self.store.clone())
    }

    /// Uploads all that is durable.
    async fn upload(&self) {
        self.upload_or_adopt(u64::MAX).await;
    }

    /// The same, but lane objects of so many bytes stay where they lie.
    async fn upload_or_adopt(&self, adopted_bytes_min: u64) {
        let side = Arc::new(Side(self.journal.clone()));
        let uploader = Uploader {
            env: self.env.clone(),
            data_store: StoreId(0),
            stores: self.stores(),
            lane: self.lane.clone(),
            lane_ref: self.lane_ref,
            tail: self.tail.clone(),
            budget: self.budget.clone(),
            dials: UploadDials { bytes: 1 << 20, objects: 1, interval: Duration::ZERO, adopted_bytes_min },
            journal: side.clone(),
            checkpoints: side.clone(),
            sink: side,
            counter: self.counter.clone(),
            known: HashMap::new(),
        };
        let task = tokio::spawn(uploader.run());
        let (me, all) = (self.lane.id().incarnation, self.lane.durable_below());
        self.until(|catalog| catalog.lane(me).unwrap().trim == all).await;
        task.abort();
    }

    /// Merges until each stream has one range.
    async fn merge(&self) {
        let objects = Rewriter {
            env: self.env.clone(),
            data_store: StoreId(0),
            stores: self.stores(),
            tables: self.tables.clone(),
            history: History::new(self.env.clone(), self.stores(), self.tables.clone(), &self.budget),
            journal: Arc::new(Side(self.journal.clone())),
            counter: self.counter.clone(),
            me: self.lane.id(),
            claims: Claims::default(),
            cold: Arc::default(),
        };
        let merger = Merger {
            objects,
            budget: self.budget.clone(),
            lane: self.lane.clone(),
            dials: MergeDials { fan_in: 3, ..MergeDials::default() },
        };
        let task = tokio::spawn(merger.run());
        let is_one = |(_, state): (StreamId, &StreamState)| state.ranges.len() == 1;
        self.until(|catalog| catalog.streams().all(is_one)).await;
        task.abort();
    }

    async fn until(&self, done: impl Fn(&Catalog) -> bool) {
        for _ in 0..3000 {
            if done(&self.journal.image().inner.catalog) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("30 s have passed: {:?}", self.journal.image().inner.catalog);
    }

    async fn trim(&self, stream: u64, start: u64) {
        let record = StorageRecord::StreamTrimmed { stream: StreamId(stream), start };
        self.journal.propose(vec![MetadataRecord::Storage(record)]).await.unwrap();
    }
}

/// A broker as storage's tasks see it: the journal, and the state of producers.
struct Side(Journal<MetadataImage>);

#[async_trait]
impl CatalogJournal for Side {
    fn catalog(&self) -> (u64, Catalog) {
        let image = self.0.image();
        (image.seq, image.inner.catalog.clone())
    }

    async fn propose(&self, records: Vec<StorageRecord>) -> Result<(), String> {
        let records = records.into_iter().map(MetadataRecord::Storage).collect();
        self.0.propose(records).await.map(drop).map_err(|error| error.to_string())
    }

    fn can_adopt(&self) -> bool {
        self.0.image().level >= ADOPTION_LEVEL
    }
}

impl Checkpoints for Side {
    fn advance(&self, _: StreamId, before: Option<&Bytes>, attachments: &[AttachmentEntry]) -> Option<Bytes> {
        let mut states = checkpoint::decode(before).unwrap();
        checkpoint::replay(&mut states, attachments);
        checkpoint::encode(&states)
    }
}

impl UploadSink for Side {
    fn uploaded(&self, _: &[(StreamId, u64)]) {}
}

/// What a bucket with history has, by key; made once.
struct Made {
    objects: BTreeMap<String, Bytes>,
    first: LaneId,
    second: LaneId,
    commits: u64,
}

static WITH_HISTORY: tokio::sync::OnceCell<Made> = tokio::sync::OnceCell::const_new();

async fn make_with_history() -> Made {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let one = Process::start(store.clone(), 11, None).await;
    one.create_topic(2).await;
    for base in [0, 2, 4] {
        one.append(0, 0, base).await;
        one.append(1, 0, base).await;
        one.upload().await;
    }
    one.merge().await;
    one.trim(0, 3).await;
    one.trim(1, 2).await;
    one.append(0, 0, 6).await;
    one.upload().await;
    one.append(1, 0, 6).await;
    one.env.tasks.kill();
    let two = Process::start(store.clone(), 12, Some(&one)).await;
    two.append(0, 1, 8).await;
    two.env.tasks.kill();
    Made {
        objects: objects(&*store).await,
        first: one.lane.id(),
        second: two.lane.id(),
        commits: two.journal.image().seq,
    }
}

async fn objects(store: &dyn Store) -> BTreeMap<String, Bytes> {
    let mut objects = BTreeMap::new();
    for listed in store.list("").await.unwrap() {
        let body = store.get(&listed.key).await.unwrap().unwrap();
        objects.insert(listed.key, body);
    }
    objects
}

fn write_out(objects: &BTreeMap<String, Bytes>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (key, body) in objects {
        let path = dir.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, body).unwrap();
    }
    dir
}

/// The bucket as a directory, and what is in it by name.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub first: LaneId,
    pub second: LaneId,
    pub commits: u64,
}

impl Rig {
    /// `idle` is for how many commits more the first incarnation lives: 256 make a snapshot.
    pub async fn new(idle: usize) -> Rig {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let one = Process::start(store.clone(), idle as u64 * 2, None).await;
        one.create_topic(1).await;
        one.append(0, 0, 0).await;
        one.append(0, 0, 2).await;
        for n in 0..idle {
            let next = MetadataRecord::ProducerIdsAllocated { next: n as i64 + 1 };
            one.journal.propose(vec![next]).await.unwrap();
        }
        while idle >= 256 && one.journal.image().snapshots.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        one.env.tasks.kill();
        let two = Process::start(store.clone(), idle as u64 * 2 + 1, Some(&one)).await;
        two.append(0, 1, 4).await;
        let (first, second) = (one.lane.id(), two.lane.id());
        let commits = two.journal.image().seq;
        two.env.tasks.kill();

        let dir = write_out(&objects(&*two.store).await);
        Rig { dir, first, second, commits }
    }

    /// A bucket with objects of `data/`. Of two streams, whose records are two and two: three uploads (0, 1, 2) with 0..6 of
    /// both, merged into object 3; 0 starts at 3, and has 6..8 in object 4; 1 starts at 2, and has 6..8 in the lane of the
    /// first incarnation; the second has 8..10 of 0 in its lane. What was merged and trimmed was not deleted yet.
    pub async fn with_history() -> Rig {
        let Made { objects, first, second, commits } = WITH_HISTORY.get_or_init(make_with_history).await;
        Rig { dir: write_out(objects), first: *first, second: *second, commits: *commits }
    }

    /// A bucket with lane objects 0 and 1 of the first incarnation adopted (0..2 and 2..4 of stream 0), 2 uploaded, and 3
    /// in the lane. Nothing was deleted yet.
    pub async fn with_adopted() -> Rig {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let one = Process::start(store.clone(), 21, None).await;
        one.create_topic(1).await;
        one.append_value(0, 0, 0, &[1; 4096]).await;
        one.append_value(0, 0, 2, &[2; 4096]).await;
        one.append(0, 0, 4).await;
        one.upload_or_adopt(4096).await;
        one.append(0, 0, 6).await;
        one.env.tasks.kill();
        let two = Process::start(store.clone(), 22, Some(&one)).await;
        two.env.tasks.kill();
        let (first, second, commits) = (one.lane.id(), two.lane.id(), two.journal.image().seq);
        Rig { dir: write_out(&objects(&*store).await), first, second, commits }
    }

    /// The first incarnation's object of this count.
    pub fn object(&self, counter: u64) -> ObjectId {
        ObjectId { incarnation: self.first.incarnation, counter }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Output and whether all is well.
    pub async fn run(&self, command: StorageCommand) -> anyhow::Result<(String, bool)> {
        let storage = self.path().display().to_string();
        let config = BrokerConfig::read([("storage", storage.as_str())].into_iter()).unwrap();
        let mut out = Vec::new();
        let well = run(&config, &command, &mut out).await?;
        Ok((String::from_utf8(out).unwrap(), well))
    }

    pub async fn dump(&self, key: &str) -> (String, bool) {
        self.run(StorageCommand::Dump { key: key.into() }).await.unwrap()
    }

    pub async fn verify(&self) -> (String, bool) {
        self.run(StorageCommand::Verify { json: false }).await.unwrap()
    }

    /// Flips one bit, verifies, and puts it back.
    pub async fn verify_flipped(&self, key: &str, at: usize) -> (String, bool) {
        let path = self.path().join(key);
        let bytes = std::fs::read(&path).unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, damaged).unwrap();
        let said = self.verify().await;
        std::fs::write(&path, bytes).unwrap();
        said
    }

    /// Verifies without an object.
    pub async fn verify_without(&self, key: &str) -> (String, bool) {
        let path = self.path().join(key);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let said = self.verify().await;
        std::fs::write(&path, bytes).unwrap();
        said
    }

    pub fn len(&self, key: &str) -> usize {
        std::fs::metadata(self.path().join(key)).unwrap().len() as usize
    }
}

pub fn found(said: &str, key: &str) -> bool {
    said.lines().any(|l| l.starts_with(&format!("FOUND {key}: ")))
}
