//! AlterPartitionReassignments, judged (`ReplicationControlManager.alterPartitionReassignments`). Pure.
//!
//! The bucket replicates: a reassignment copies nothing. The list is stored as it was asked for, reported verbatim from then on
//! (PRACTICE R3), and complete at once, so that none is ever in progress.

use protocol::error::ErrorCode;

use super::{Refused, check_level};
use crate::metadata::{MetadataImage, MetadataRecord, Places};

/// What somebody wants of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Reassignment<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its index.
    pub index: i32,
    /// Its replicas; None cancels a reassignment in progress.
    pub replicas: Option<&'a [i32]>,
    /// May their number change (KIP-860)?
    pub allow_replication_factor_change: bool,
}

/// The record that makes it so; None: it is so already.
pub fn reassign(
    image: &MetadataImage,
    level: u16,
    wanted: Reassignment<'_>,
) -> Result<Option<MetadataRecord>, Refused> {
    let unknown = |why| Refused::new(ErrorCode::UnknownTopicOrPartition, why);
    let topic = image
        .topic(wanted.topic)
        .ok_or_else(|| unknown(format!("Unable to find a topic named {}.", wanted.topic)))?;
    let partition = usize::try_from(wanted.index)
        .ok()
        .and_then(|index| topic.partitions.get(index))
        .ok_or_else(|| unknown(format!("Unable to find partition {}:{}.", wanted.topic, wanted.index)))?;
    let Some(replicas) = wanted.replicas else {
        return Err(Refused::new(
            ErrorCode::NoReassignmentInProgress,
            "No partition reassignment is in progress.",
        ));
    };
    check_replicas(image, replicas)?;
    let current = Places::new(image).of(partition).replicas;
    if !wanted.allow_replication_factor_change && current.len() != replicas.len() {
        return Err(Refused::new(
            ErrorCode::InvalidReplicationFactor,
            format!("The replication factor is changed from {} to {}", current.len(), replicas.len()),
        ));
    }
    if partition.replicas.as_deref() == Some(replicas) {
        return Ok(None);
    }
    let record = MetadataRecord::PartitionReplicasSet {
        topic_id: topic.id,
        index: wanted.index,
        replicas: Some(replicas.to_vec()),
    };
    check_level(&record, level)?;
    Ok(Some(record))
}

/// `ReplicationControlManager.validateManualPartitionAssignment`.
pub fn check_replicas(image: &MetadataImage, replicas: &[i32]) -> Result<(), Refused> {
    let invalid = |why| Err(Refused::new(ErrorCode::InvalidReplicaAssignment, why));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".to_string());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for id in &sorted {
        if !image.brokers().any(|(_, b)| b.node_id == *id) {
            return invalid(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        }
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => invalid(format!(
            "The manual partition assignment includes the broker {} more than once.",
            pair[0]
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Values, keys};
    use crate::controller::elections::{ElectionType, elect};
    use crate::controller::registration::{Joiner, SealedPredecessor, register};
    use crate::controller::topics::{NewTopic, TopicDefaults, create};
    use s3stream::ids::{Incarnation, LaneNumber, Nonce, StoreId};
    use s3stream::journal::{Image, MutationPoint};
    use uuid::Uuid;

    fn point(seq: u64, proposer: Option<Incarnation>) -> MutationPoint {
        MutationPoint { seq, index: 0, proposer, level: 2 }
    }

    /// Node 1 lives and leads `t-0` and `t-1`; node 0 is fenced.
    fn image() -> MetadataImage {
        let mut image = MetadataImage::default();
        for (seq, node_id) in [(1, 0), (2, 1)] {
            let joiner = Joiner {
                nonce: Nonce(seq),
                node_id,
                endpoints: Vec::new(),
                peer_address: String::new(),
                rack: None,
                stores: vec![(StoreId(0), "memory://".into())],
            };
            let sealed =
                |incarnation| SealedPredecessor { incarnation, length: LaneNumber(0), seal_nonce: Nonce(9) };
            let before: Vec<_> = image.live_brokers().map(|(incarnation, _)| sealed(incarnation)).collect();
            image.apply(point(seq, None), &register(&image, 2, &joiner, &before)).unwrap();
        }
        let leader = point(2, None).incarnation();
        let defaults = TopicDefaults { num_partitions: 2, replication_factor: 3 };
        let topic =
            NewTopic { name: "t".into(), num_partitions: -1, replication_factor: -1, ..NewTopic::default() };
        let values = Values::defaults(keys::all());
        let created = create(&image, &topic, Uuid::from_u128(1), leader, defaults, &values).unwrap();
        image.apply(point(3, Some(leader)), &created.records).unwrap();
        image
    }

    fn wanted<'a>(index: i32, replicas: Option<&'a [i32]>) -> Reassignment<'a> {
        Reassignment { topic: "t", index, replicas, allow_replication_factor_change: true }
    }

    #[test]
    fn a_legal_list_is_reported_verbatim_and_survives_a_snapshot() {
        let mut image = image();
        let leader = point(2, None).incarnation();
        let record = reassign(&image, 2, wanted(1, Some(&[0, 1]))).unwrap().unwrap();
        image.apply(point(4, Some(leader)), &[record]).unwrap();
        let mut bytes = bytes::BytesMut::new();
        image.encode(&mut bytes);
        let image = MetadataImage::decode(bytes.freeze()).unwrap();
        let place = Places::new(&image).of(&image.topic("t").unwrap().partitions[1]);
        assert_eq!((place.leader, place.replicas), (Some(1), vec![0, 1]));
        assert_eq!((place.isr, place.offline), (vec![1], vec![0]));
        assert_eq!(reassign(&image, 2, wanted(1, Some(&[0, 1]))).unwrap(), None, "asked for again");
    }

    #[test]
    fn what_kafka_refuses_is_refused_with_its_error() {
        let image = image();
        let code = |wanted| reassign(&image, 2, wanted).unwrap_err().code;
        assert_eq!(code(wanted(2, Some(&[1]))), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(code(wanted(-1, Some(&[1]))), ErrorCode::UnknownTopicOrPartition);
        let elsewhere = Reassignment { topic: "nope", ..wanted(0, Some(&[1])) };
        assert_eq!(code(elsewhere), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(code(wanted(0, None)), ErrorCode::NoReassignmentInProgress);
        assert_eq!(code(wanted(0, Some(&[]))), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(code(wanted(0, Some(&[1, 1]))), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(code(wanted(0, Some(&[1, 7]))), ErrorCode::InvalidReplicaAssignment);
        let fixed = Reassignment { allow_replication_factor_change: false, ..wanted(0, Some(&[0, 1])) };
        assert_eq!(code(fixed), ErrorCode::InvalidReplicationFactor);
        let at_level_1 = reassign(&image, 1, wanted(0, Some(&[1])));
        assert_eq!(at_level_1.unwrap_err().code, ErrorCode::UnsupportedVersion);
    }

    #[test]
    fn elections_find_nothing_to_do_where_the_leader_is_the_preferred_one() {
        let mut image = image();
        let leader = point(2, None).incarnation();
        let record = reassign(&image, 2, wanted(1, Some(&[0, 1]))).unwrap().unwrap();
        image.apply(point(4, Some(leader)), &[record]).unwrap();
        let code = |kind, topic, index| elect(&image, &Places::new(&image), kind, topic, index).code;
        let (preferred, unclean) = (ElectionType::Preferred, ElectionType::Unclean);
        assert_eq!(code(preferred, "t", 0), ErrorCode::ElectionNotNeeded);
        assert_eq!(code(unclean, "t", 0), ErrorCode::ElectionNotNeeded);
        // The list begins with a broker that is gone; somebody leads all the same.
        assert_eq!(code(preferred, "t", 1), ErrorCode::PreferredLeaderNotAvailable);
        assert_eq!(code(unclean, "t", 1), ErrorCode::ElectionNotNeeded);
        assert_eq!(code(preferred, "t", 2), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(code(preferred, "u", 0), ErrorCode::UnknownTopicOrPartition);
        assert!(ElectionType::from_code(2).is_err());
    }
}
