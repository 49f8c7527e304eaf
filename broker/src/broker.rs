//! One broker process: what its handlers share. How it comes to be is `start.rs`.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::frame::FrameLimits;
use s3stream::block_ref::LaneRef;
use s3stream::budget::{Budget, Class};
use s3stream::buffers::BufferPool;
use s3stream::cache::Reader;
use s3stream::env::Env;
use s3stream::history::History;
use s3stream::ids::Incarnation;
use s3stream::journal::Journal;
use s3stream::store::Store;
use s3stream::wal::Lane;
use uuid::Uuid;

use crate::config::BrokerConfig;
use crate::config::live::Live;
use crate::controller::Refused;
use crate::coordinator::runtime::Groups;
use crate::error::propose_error_code;
use crate::fetch::session::SessionCache;
use crate::free_space::FreeSpace;
use crate::metadata::{Endpoint, MetadataImage, MetadataRecord};
use crate::partition::table::PartitionTable;
use crate::producer_ids::ProducerIds;
use crate::server::connections::Connections;
use crate::server::receive_buffers::ReceiveBuffers;
use crate::topics::TopicChanges;

pub use crate::start::run;

/// What handlers share. Every field has one owner, or is immutable.
pub struct Broker {
    /// Time, chance, tasks.
    pub env: Env,
    /// As it was started.
    pub config: BrokerConfig,
    /// What of it is in force now, swapped when the image's configuration changes.
    pub live: ArcSwap<Live>,
    /// Who is connected, and how many may be.
    pub connections: Connections,
    /// The one number of memory, in classes.
    pub budget: Budget,
    /// Memory for small frames, used again.
    pub receive_buffers: Arc<ReceiveBuffers>,
    /// Memory for those of middling size, used again.
    pub frame_buffers: Arc<BufferPool>,
    /// Id of the cluster, of the bucket.
    pub cluster_id: String,
    /// Kafka's broker id.
    pub node_id: i32,
    /// This life of the process.
    pub incarnation: Incarnation,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// The store of everything but, where that is another, the lanes.
    pub store: Arc<dyn Store>,
    /// The metadata log.
    pub journal: Journal<MetadataImage>,
    /// The write-ahead lane.
    pub lane: Lane,
    /// Its short name in references to blocks.
    pub lane_ref: LaneRef,
    /// Blocks, from memory or the bucket.
    pub reader: Reader,
    /// Which blocks of `data/` hold what was uploaded.
    pub history: History,
    /// The partitions led here.
    pub partitions: ArcSwap<PartitionTable>,
    /// Serializes changes of topics.
    pub topic_changes: TopicChanges,
    /// Fetch sessions.
    pub sessions: SessionCache,
    /// Group coordinators.
    pub groups: Groups,
    /// Producer ids.
    pub producer_ids: ProducerIds,
    /// The free-space floor.
    pub free_space: Arc<FreeSpace>,
}

impl Broker {
    /// The largest frames that are read: never more than ingress could ever hold.
    pub fn frame_limits(&self) -> FrameLimits {
        let configured = self.config.values.int("socket.request.max.bytes") as u64;
        let ingress = self.budget.class(Class::Ingress).capacity();
        let control = self.budget.class(Class::Control).capacity();
        let default = FrameLimits::default();
        FrameLimits {
            produce_bytes_max: configured.min(ingress) as u32,
            plain_bytes_max: u64::from(default.plain_bytes_max).min(configured).min(control) as u32,
            ..default
        }
    }

    /// The most that one batch may take when decompressed: one is at a time on each of the few worker threads, so this
    /// stays within what the budget leaves beside its classes (I8, I11).
    pub fn decompressed_bytes_max(&self) -> usize {
        (self.budget.total() / 16).clamp(8 << 20, 64 << 20) as usize
    }

    /// What clients of a listener are told to connect to.
    pub fn endpoint(&self, listener: &str) -> Endpoint {
        let named = self.endpoints.iter().find(|e| e.listener == listener);
        named.or(self.endpoints.first()).cloned().expect("a broker has a listener")
    }

    /// Commits a change of metadata that was judged before; it is in this process's image when this returns.
    pub async fn propose(&self, records: Vec<MetadataRecord>) -> Result<(), Refused> {
        match self.journal.propose(records).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Refused::new(propose_error_code(&error), error.to_string())),
        }
    }

    /// A random UUID (v4) out of the process's own chance.
    pub fn random_uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.env.entropy.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Has a lane object been under way for so long?
    pub fn lane_stalled(&self, bound: Duration) -> bool {
        self.lane.stats().oldest_put.is_some_and(|age| age > bound)
    }
}
