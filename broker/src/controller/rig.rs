//! An image with one live broker, for tests of decisions.

use protocol::error::ErrorCode;
use s3stream::catalog::StorageRecord;
use s3stream::ids::{Incarnation, Nonce, StoreId};
use s3stream::journal::{Image, MutationPoint};
use uuid::Uuid;

use super::Refused;
use super::topics::{NewTopic, TopicDefaults, create};
use crate::config::{Values, keys};
use crate::metadata::{MetadataImage, MetadataRecord};

/// What stands in for -1.
pub const DEFAULTS: TopicDefaults = TopicDefaults { num_partitions: 3, replication_factor: 2 };

/// The image, its broker (node 0) and the tables' defaults.
pub struct Rig {
    pub image: MetadataImage,
    pub leader: Incarnation,
    pub values: Values,
    seq: u64,
}

impl Rig {
    pub fn new() -> Rig {
        let mut rig = Rig {
            image: MetadataImage::default(),
            leader: Incarnation { seq: 1, index: 0 },
            values: Values::defaults(keys::all()),
            seq: 0,
        };
        rig.apply(&[
            MetadataRecord::Storage(StorageRecord::StoreRegistered {
                store: StoreId(0),
                url: "memory://".into(),
            }),
            MetadataRecord::Storage(StorageRecord::LaneRegistered { nonce: Nonce(1), store: StoreId(0) }),
            MetadataRecord::BrokerRegistered {
                node_id: 0,
                endpoints: Vec::new(),
                peer_address: String::new(),
                rack: None,
                release: "0".into(),
            },
        ]);
        rig
    }

    /// The next mutation, of the broker itself.
    pub fn apply(&mut self, records: &[MetadataRecord]) {
        self.seq += 1;
        let proposer = (self.seq > 1).then_some(self.leader);
        let at = MutationPoint { seq: self.seq, index: 0, proposer, level: 1 };
        self.image.apply(at, records).unwrap();
    }

    /// A topic with so many partitions.
    pub fn create(&mut self, name: &str, num_partitions: i32) {
        let topic =
            NewTopic { name: name.into(), num_partitions, replication_factor: 1, ..NewTopic::default() };
        let id = Uuid::from_u128(u128::from(self.seq) + 1);
        let created = create(&self.image, &topic, id, self.leader, DEFAULTS, &self.values).unwrap();
        self.apply(&created.records);
    }
}

/// Code and words of a refusal.
pub fn refused<T: std::fmt::Debug>(result: Result<T, Refused>) -> (ErrorCode, String) {
    let refused = result.unwrap_err();
    (refused.code, refused.message)
}
