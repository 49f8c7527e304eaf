//! Joining: what a process says of itself in its first mutation, and what it takes over from incarnations that have ended.
//! Pure.

use s3stream::catalog::StorageRecord;
use s3stream::ids::{Incarnation, LaneNumber, Nonce, StoreId};

use crate::metadata::{Endpoint, MetadataImage, MetadataRecord};

/// A process that wants to be a broker.
#[derive(Clone, Debug)]
pub struct Joiner {
    /// Its nonce, by which the registration is known again.
    pub nonce: Nonce,
    /// `node.id`.
    pub node_id: i32,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// Where other brokers reach it.
    pub peer_address: String,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// URLs of the stores it can read, by id, without secrets; its lane lies in the last.
    pub stores: Vec<(StoreId, String)>,
}

/// A lane that the joiner has sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedPredecessor {
    /// Whose.
    pub incarnation: Incarnation,
    /// Its sealed length.
    pub length: LaneNumber,
    /// The seal's nonce.
    pub seal_nonce: Nonce,
}

/// The registering mutation: stores, the lane, the fence of every predecessor with its streams taken over, the broker.
/// Streams of incarnations that ended before are taken over, too: nobody else would.
pub fn register(
    image: &MetadataImage,
    joiner: &Joiner,
    predecessors: &[SealedPredecessor],
) -> Vec<MetadataRecord> {
    let mut storage = Vec::new();
    for (store, url) in &joiner.stores {
        storage.push(StorageRecord::StoreRegistered { store: *store, url: url.clone() });
    }
    let lane_store = joiner.stores.last().map_or(StoreId(0), |(store, _)| *store);
    storage.push(StorageRecord::LaneRegistered { nonce: joiner.nonce, store: lane_store });
    for p in predecessors {
        storage.push(StorageRecord::LaneFenced {
            incarnation: p.incarnation,
            length: p.length,
            seal_nonce: p.seal_nonce,
            heir: None,
        });
        storage.push(StorageRecord::StreamsAdopted { from: p.incarnation, to: None });
    }
    let ended = image.catalog.lanes().filter(|(i, _)| !image.catalog.is_live(*i)).map(|(i, _)| i);
    for from in ended {
        if image.catalog.streams_of(from).next().is_some() {
            storage.push(StorageRecord::StreamsAdopted { from, to: None });
        }
    }
    let mut records: Vec<_> = storage.into_iter().map(MetadataRecord::Storage).collect();
    records.push(MetadataRecord::BrokerRegistered {
        node_id: joiner.node_id,
        endpoints: joiner.endpoints.clone(),
        peer_address: joiner.peer_address.clone(),
        rack: joiner.rack.clone(),
        release: env!("CARGO_PKG_VERSION").to_string(),
    });
    records
}
