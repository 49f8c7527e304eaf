//! What storage does by itself beside the requests: upload, merging, log compaction, deletion of what nobody refers to. The tasks are `s3stream`'s;
//! here they get what is Kafka's: the journal, the state of producers, the partitions that are told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use s3stream::block_ref::{LaneRef, LaneTable};
use s3stream::budget::{Budget, Class};
use s3stream::cache::{Stores, TailCache};
use s3stream::catalog::{Catalog, StorageRecord};
use s3stream::claims::Claims;
use s3stream::gc::{Collector, GcDials};
use s3stream::ids::{StoreId, StreamId};
use s3stream::merge::{MergeDials, Merger};
use s3stream::object::AttachmentEntry;
use s3stream::rewrite::Rewriter;
use s3stream::upload::{CatalogJournal, Checkpoints, ObjectCounter, UploadDials, UploadSink, Uploader};

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::log_cleaner;
use crate::metadata::{ADOPTION_LEVEL, MetadataRecord};
use crate::partition::checkpoint;

/// The feature level of the journal that has objects of `data/`.
const OBJECTS_LEVEL: u16 = 3;
/// The one that has streams rewritten.
const REWRITES_LEVEL: u16 = 4;

/// What the tasks need beside the broker.
pub struct StorageParts {
    /// All stores.
    pub stores: Stores,
    /// Short numbers of lanes and objects.
    pub tables: Arc<LaneTable>,
    /// The newest objects of our lane.
    pub tail: Arc<TailCache>,
    /// Our lane's short number.
    pub lane_ref: LaneRef,
    /// Is the lane in a directory?
    pub lane_in_directory: bool,
    /// The checkpoints that were read at the start.
    pub checkpoints: BTreeMap<StreamId, Bytes>,
}

/// Starts them.
pub fn spawn(broker: &Arc<Broker>, parts: StorageParts) {
    let side = Arc::new(BrokerSide(broker.clone()));
    let counter = Arc::new(ObjectCounter::default());
    let uploader = Uploader {
        env: broker.env.clone(),
        // Lanes may lie in a faster store; history lies in the one that everything else is in.
        data_store: StoreId(0),
        stores: parts.stores.clone(),
        lane: broker.lane.clone(),
        lane_ref: parts.lane_ref,
        tail: parts.tail,
        budget: broker.budget.clone(),
        dials: upload_dials(&broker.config, parts.lane_in_directory, &broker.budget),
        journal: side.clone(),
        checkpoints: side.clone(),
        sink: side.clone(),
        counter: counter.clone(),
        known: HashMap::from_iter(parts.checkpoints),
    };
    let fan_in = broker.config.values.int("merge.fan.in") as u64;
    let objects = Rewriter {
        env: broker.env.clone(),
        data_store: StoreId(0),
        stores: parts.stores.clone(),
        tables: parts.tables,
        history: broker.history.clone(),
        journal: side.clone(),
        counter: counter.clone(),
        me: broker.lane.id(),
        claims: Claims::default(),
        cold: broker.lane.cold_reads(),
    };
    let merger = Merger {
        objects: objects.clone(),
        budget: broker.budget.clone(),
        lane: broker.lane.clone(),
        dials: MergeDials { fan_in, ..Merger::dials(&broker.budget) },
    };
    broker.env.tasks.spawn("merge", {
        let broker = broker.clone();
        async move {
            if reached_level(&broker, OBJECTS_LEVEL).await {
                merger.run().await;
            }
        }
    });
    broker.env.tasks.spawn("log-cleaner", {
        let broker = broker.clone();
        async move {
            if reached_level(&broker, REWRITES_LEVEL).await {
                log_cleaner::task::run(broker, objects).await;
            }
        }
    });
    let (dials, free_space) = (gc_dials(broker), broker.free_space.clone());
    let collector = Collector::new(
        broker.env.clone(),
        parts.stores,
        side.clone(),
        broker.incarnation,
        counter,
        dials,
        Box::new(move || free_space.is_short()),
    );
    broker.env.tasks.spawn("upload", {
        let broker = broker.clone();
        async move {
            if reached_level(&broker, OBJECTS_LEVEL).await {
                uploader.run().await;
            }
        }
    });
    broker.env.tasks.spawn("gc", {
        let broker = broker.clone();
        async move {
            if reached_level(&broker, OBJECTS_LEVEL).await {
                collector.run().await;
            }
        }
    });
}

/// When the lane is uploaded: the dials of its store, or what was configured.
pub fn upload_dials(config: &BrokerConfig, lane_in_directory: bool, budget: &Budget) -> UploadDials {
    let mut dials = UploadDials::for_store(lane_in_directory, budget);
    let values = &config.values;
    let number = |key: &str| values.get(key).and_then(|text| text.parse::<u64>().ok());
    if let Some(bytes) = number("wal.upload.bytes") {
        // A round is held in memory (I8).
        dials.bytes = bytes.min(budget.class(Class::Merge).capacity());
    }
    dials.adopted_bytes_min = values.long("wal.adopt.bytes") as u64;
    dials.interval = Duration::from_millis(values.long("wal.upload.interval.ms") as u64);
    dials
}

fn gc_dials(broker: &Broker) -> GcDials {
    let ms = |key: &str| Duration::from_millis(broker.config.values.long(key) as u64);
    let object_delay = ms("object.delete.delay.ms");
    let default = GcDials::default();
    GcDials { object_delay, lane_delay: default.lane_delay.min(object_delay), ..default }
}

/// Waits until the journal may have our records. False: the journal stopped.
async fn reached_level(broker: &Broker, level: u16) -> bool {
    let mut images = broker.journal.subscribe();
    while images.borrow_and_update().level < level {
        if images.changed().await.is_err() {
            return false;
        }
    }
    true
}

/// The broker as storage's tasks see it.
struct BrokerSide(Arc<Broker>);

#[async_trait]
impl CatalogJournal for BrokerSide {
    fn catalog(&self) -> (u64, Catalog) {
        let image = self.0.journal.image();
        (image.seq, image.inner.catalog.clone())
    }

    async fn propose(&self, records: Vec<StorageRecord>) -> Result<(), String> {
        let records = records.into_iter().map(MetadataRecord::Storage).collect();
        self.0.journal.propose(records).await.map(drop).map_err(|error| error.to_string())
    }

    fn can_adopt(&self) -> bool {
        self.0.journal.image().level >= ADOPTION_LEVEL
    }
}

impl Checkpoints for BrokerSide {
    fn advance(
        &self,
        stream: StreamId,
        before: Option<&Bytes>,
        attachments: &[AttachmentEntry],
    ) -> Option<Bytes> {
        if before.is_none() && attachments.is_empty() {
            return None;
        }
        let mut states = checkpoint::decode(before).unwrap_or_else(|error| {
            // It was read whole, CRC and all: a fault of ours, never to be covered by an empty state.
            panic!("the checkpoint of stream {stream} that was read before is damaged: {error}")
        });
        checkpoint::replay(&mut states, attachments);
        let expiration = i64::from(self.0.live.load().values.int("producer.id.expiration.ms"));
        checkpoint::forget_silent(&mut states, expiration);
        checkpoint::encode(&states)
    }
}

impl UploadSink for BrokerSide {
    fn uploaded(&self, ends: &[(StreamId, u64)]) {
        let ends: HashMap<StreamId, u64> = ends.iter().copied().collect();
        let reader = &self.0.reader;
        for topic in self.0.partitions.load().topics() {
            for partition in &topic.partitions {
                if let Some(end) = ends.get(&partition.stream) {
                    partition.uploaded(*end, |block| reader.in_tail(block));
                }
            }
        }
    }
}
