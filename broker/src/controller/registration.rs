//! Joining: what a process says of itself in its first mutation, and what it takes over from incarnations that have ended.
//! Pure.

use protocol::error::ErrorCode;
use s3stream::catalog::StorageRecord;
use s3stream::ids::{Incarnation, LaneNumber, Nonce, StoreId};

use super::{Refused, check_level};
use crate::metadata::{Endpoint, LEVEL_MAX, LEVEL_MIN, MetadataImage, MetadataRecord};

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

/// The registering mutation, of the journal's feature `level`: stores, the lane, the fence of every predecessor with its streams taken over, the broker.
/// Streams of incarnations that ended before are taken over, too: nobody else would.
pub fn register(
    image: &MetadataImage,
    level: u16,
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
    let levels = MetadataRecord::BrokerLevels { min: LEVEL_MIN, max: LEVEL_MAX };
    if levels.level() <= level {
        records.push(levels);
    }
    records
}

/// The level that a broker raises an older journal to when it starts, if it should: only where no other is registered, be it
/// fenced, that might be of an earlier release and want to come back.
pub fn level_to_raise_to(image: &MetadataImage, level: u16) -> Option<u16> {
    (level < LEVEL_MAX && image.brokers().count() == 1).then_some(LEVEL_MAX)
}

/// Forgets a registration (`ReplicationControlManager.unregisterBroker`). One that is live is refused, other than in Kafka: its
/// lane is open, and it would serve on.
pub fn unregister(image: &MetadataImage, level: u16, node_id: i32) -> Result<MetadataRecord, Refused> {
    let Some((incarnation, _)) = image.brokers().find(|(_, b)| b.node_id == node_id) else {
        return Err(Refused::new(
            ErrorCode::BrokerIdNotRegistered,
            format!("Broker ID {node_id} is not currently registered"),
        ));
    };
    if image.catalog.is_live(incarnation) {
        return Err(Refused::new(
            ErrorCode::InvalidRequest,
            format!("Broker {node_id} is alive; stop it before it is unregistered."),
        ));
    }
    let record = MetadataRecord::BrokerUnregistered { incarnation };
    check_level(&record, level)?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3stream::journal::{Image, MutationPoint};

    fn joiner(node_id: i32) -> Joiner {
        Joiner {
            nonce: Nonce(node_id as u64 + 1),
            node_id,
            endpoints: Vec::new(),
            peer_address: String::new(),
            rack: None,
            stores: vec![(StoreId(0), "memory://".into())],
        }
    }

    fn point(seq: u64, level: u16) -> MutationPoint {
        MutationPoint { seq, index: 0, proposer: None, level }
    }

    fn join(image: &mut MetadataImage, at: MutationPoint, node_id: i32) {
        let predecessors: Vec<SealedPredecessor> = image
            .live_brokers()
            .map(|(incarnation, _)| SealedPredecessor {
                incarnation,
                length: LaneNumber(0),
                seal_nonce: Nonce(9),
            })
            .collect();
        let records = register(image, at.level, &joiner(node_id), &predecessors);
        image.apply(at, &records).unwrap();
    }

    #[test]
    fn levels_are_stated_where_the_journal_can_hold_them() {
        let mut image = MetadataImage::default();
        join(&mut image, point(1, 1), 0);
        assert_eq!(image.levels_of(point(1, 1).incarnation()), None);
        join(&mut image, point(2, 2), 0);
        assert_eq!(image.levels_of(point(1, 1).incarnation()), None, "an older one of the same node is gone");
        assert_eq!(image.levels_of(point(2, 2).incarnation()), Some((LEVEL_MIN, LEVEL_MAX)));
        assert!(image.apply(point(3, 1), &[MetadataRecord::BrokerLevels { min: 1, max: 2 }]).is_err());
    }

    #[test]
    fn a_journal_is_raised_at_start_only_by_a_broker_that_is_alone() {
        let mut image = MetadataImage::default();
        assert_eq!(level_to_raise_to(&image, 1), None);
        join(&mut image, point(1, 1), 0);
        assert_eq!(level_to_raise_to(&image, 1), Some(LEVEL_MAX));
        assert_eq!(level_to_raise_to(&image, LEVEL_MAX), None);
        join(&mut image, point(2, 1), 1);
        assert_eq!(level_to_raise_to(&image, 1), None, "node 0 is fenced, and might come back");
        assert!(image.may_raise(LEVEL_MAX).is_ok(), "but an operator may");
    }

    #[test]
    fn of_several_live_brokers_each_must_know_a_level() {
        let mut image = MetadataImage::default();
        let records = |node| register(&MetadataImage::default(), 2, &joiner(node), &[]);
        image.apply(point(1, 2), &records(0)).unwrap();
        image.apply(point(2, 2), &records(1)).unwrap();
        assert!(image.may_raise(LEVEL_MAX).is_ok());
        let refused = image.may_raise(LEVEL_MAX + 1).unwrap_err();
        assert!(refused.message.contains("broker 0"), "{refused}");
    }

    #[test]
    fn only_an_ended_registration_is_forgotten() {
        let mut image = MetadataImage::default();
        join(&mut image, point(1, 2), 0);
        join(&mut image, point(2, 2), 1);
        let code = |image: &MetadataImage, node| unregister(image, 2, node).unwrap_err().code;
        assert_eq!(code(&image, 1), ErrorCode::InvalidRequest);
        assert_eq!(code(&image, 2), ErrorCode::BrokerIdNotRegistered);
        assert_eq!(unregister(&image, 1, 0).unwrap_err().code, ErrorCode::UnsupportedVersion);
        let record = unregister(&image, 2, 0).unwrap();
        image.apply(point(3, 2), std::slice::from_ref(&record)).unwrap();
        assert_eq!(code(&image, 0), ErrorCode::BrokerIdNotRegistered);
        assert!(image.apply(point(4, 2), &[record]).is_err());
    }
}
