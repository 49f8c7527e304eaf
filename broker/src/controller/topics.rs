//! Creating and deleting topics (`ReplicationControlManager.createTopics`, `Topic.validate`). Pure.

use protocol::error::ErrorCode;
use s3stream::catalog::StorageRecord;
use s3stream::ids::{Incarnation, StreamId};
use uuid::Uuid;

use super::Refused;
use crate::config::topic_keys;
use crate::metadata::{ConfigResource, MetadataImage, MetadataRecord, TopicImage};

/// `Topic.MAX_NAME_LENGTH`.
const NAME_LENGTH_MAX: usize = 249;
/// Partitions one request may create of a topic (`ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`): a mutation is
/// never split, and holds that many.
const PARTITIONS_MAX: i32 = 10_000;
/// Manual assignments take two records a partition.
const ASSIGNED_PARTITIONS_MAX: usize = 9_000;

/// A topic that somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for `num.partitions`.
    pub num_partitions: i32,
    /// Replication factor; -1 for `default.replication.factor`.
    pub replication_factor: i16,
    /// Replicas by partition, if the user chooses them.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Configuration; None as value is the default.
    pub configs: Vec<(String, Option<String>)>,
}

/// What stands in for -1.
#[derive(Clone, Copy, Debug)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
}

/// A topic about to exist.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedTopic {
    /// Its id.
    pub id: Uuid,
    /// Its partitions.
    pub num_partitions: i32,
    /// Its replication factor.
    pub replication_factor: i16,
    /// What makes it so.
    pub records: Vec<MetadataRecord>,
}

/// Judges a new topic and gives its records; its partitions are led by `leader`, on streams from `first_stream`.
pub fn create(
    image: &MetadataImage,
    topic: &NewTopic,
    id: Uuid,
    leader: Incarnation,
    defaults: TopicDefaults,
) -> Result<CreatedTopic, Refused> {
    check_name(&topic.name)?;
    if image.topic(&topic.name).is_some() {
        return Err(Refused::new(
            ErrorCode::TopicAlreadyExists,
            format!("Topic '{}' already exists.", topic.name),
        ));
    }
    if let Some(other) = collision(image, &topic.name) {
        return Err(Refused::new(
            ErrorCode::InvalidTopicException,
            format!("Topic '{}' collides with existing topic: {other}", topic.name),
        ));
    }
    let assigned = check_assignments(topic)?;
    let num_partitions = match (topic.num_partitions, assigned) {
        (_, true) => topic.assignments.len() as i32,
        (-1, _) => defaults.num_partitions,
        (n, _) if n <= 0 => {
            return Err(Refused::new(
                ErrorCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
        (n, _) => n,
    };
    if num_partitions > PARTITIONS_MAX || (assigned && topic.assignments.len() > ASSIGNED_PARTITIONS_MAX) {
        return Err(Refused::new(
            ErrorCode::PolicyViolation,
            format!("Excessively large number of partitions per request: {num_partitions}"),
        ));
    }
    let replication_factor = match (topic.replication_factor, assigned) {
        (_, true) => topic.assignments[0].1.len() as i16,
        (-1, _) => defaults.replication_factor,
        (n, _) if n <= 0 => {
            return Err(Refused::new(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0.",
            ));
        }
        (n, _) => n,
    };
    let configs = check_configs(topic)?;
    let first_stream = image.catalog.next_stream();
    let mut records = Vec::with_capacity(num_partitions as usize + 2 + configs.len());
    records.push(MetadataRecord::TopicCreated { topic_id: id, name: topic.name.clone(), replication_factor });
    let streams = (0..num_partitions as u64).map(|n| StreamId(first_stream.0 + n));
    records.extend(
        streams
            .clone()
            .map(|stream| MetadataRecord::Storage(StorageRecord::StreamCreated { stream, owner: leader })),
    );
    if assigned {
        let mut assignments = topic.assignments.clone();
        assignments.sort();
        records.extend(streams.zip(assignments).map(|(stream, (index, replicas))| {
            MetadataRecord::PartitionCreated { topic_id: id, index, stream, replicas: Some(replicas) }
        }));
    } else {
        records.push(MetadataRecord::PartitionsCreated {
            topic_id: id,
            first_index: 0,
            first_stream,
            count: num_partitions as u32,
        });
    }
    records.extend(configs.into_iter().map(|(key, value)| MetadataRecord::ConfigSet {
        resource: ConfigResource::Topic,
        name: topic.name.clone(),
        key,
        value: Some(value),
    }));
    Ok(CreatedTopic { id, num_partitions, replication_factor, records })
}

/// The records that delete a topic, its streams with it.
pub fn delete(topic: &TopicImage) -> Vec<MetadataRecord> {
    let mut records = vec![MetadataRecord::TopicDeleted { topic_id: topic.id }];
    let streams = topic.partitions.iter().map(|p| p.stream);
    records.extend(streams.map(|stream| MetadataRecord::Storage(StorageRecord::StreamDeleted { stream })));
    records
}

/// `Topic.validate`.
pub fn check_name(name: &str) -> Result<(), Refused> {
    let reason = if name.is_empty() {
        "the empty string is not allowed".to_string()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > NAME_LENGTH_MAX {
        format!("the length of '{name}' is longer than the max allowed length {NAME_LENGTH_MAX}")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(Refused::new(ErrorCode::InvalidTopicException, format!("Topic name is invalid: {reason}")))
}

/// A topic whose name is the same once '.' and '_' are (`Topic.hasCollision`): metrics would mix the two.
fn collision<'a>(image: &'a MetadataImage, name: &str) -> Option<&'a str> {
    if !name.contains(['.', '_']) {
        return None;
    }
    let plain = name.replace('.', "_");
    image.topics().map(|t| &*t.name).find(|other| other.replace('.', "_") == plain)
}

fn check_assignments(topic: &NewTopic) -> Result<bool, Refused> {
    if topic.assignments.is_empty() {
        return Ok(false);
    }
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        return Err(Refused::new(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions or replicationFactor was not set to -1.",
        ));
    }
    let invalid = |why: String| Err(Refused::new(ErrorCode::InvalidReplicaAssignment, why));
    let mut indexes: Vec<i32> = topic.assignments.iter().map(|(i, _)| *i).collect();
    indexes.sort_unstable();
    if indexes.iter().enumerate().any(|(n, i)| *i != n as i32) {
        return invalid("partitions should be a consecutive 0-based integer sequence".into());
    }
    let size = topic.assignments[0].1.len();
    for (index, replicas) in &topic.assignments {
        let mut unique = replicas.clone();
        unique.sort_unstable();
        unique.dedup();
        if replicas.is_empty() || replicas.len() != size || unique.len() != size {
            return invalid(format!("Inconsistent or empty replica list for partition {index}"));
        }
    }
    Ok(true)
}

fn check_configs(topic: &NewTopic) -> Result<Vec<(String, String)>, Refused> {
    let mut set = Vec::new();
    for (key, value) in &topic.configs {
        let Some(def) = topic_keys::find(key) else {
            return Err(Refused::new(ErrorCode::InvalidConfig, format!("Unknown topic config name: {key}")));
        };
        let Some(value) = value else {
            return Err(Refused::new(
                ErrorCode::InvalidConfig,
                format!("Null value not supported for topic configs: {key}"),
            ));
        };
        def.check(value).map_err(|e| Refused::new(ErrorCode::InvalidConfig, e.to_string()))?;
        set.push((key.clone(), value.trim().to_string()));
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3stream::ids::{Nonce, StoreId};
    use s3stream::journal::{Image, MutationPoint};

    const DEFAULTS: TopicDefaults = TopicDefaults { num_partitions: 3, replication_factor: 2 };

    fn point(seq: u64) -> MutationPoint {
        MutationPoint { seq, index: 0, proposer: None, level: 1 }
    }

    fn registered() -> (MetadataImage, Incarnation) {
        let mut image = MetadataImage::default();
        let store = StorageRecord::StoreRegistered { store: StoreId(0), url: "memory://".into() };
        let lane = StorageRecord::LaneRegistered { nonce: Nonce(1), store: StoreId(0) };
        image.apply(point(1), &[MetadataRecord::Storage(store), MetadataRecord::Storage(lane)]).unwrap();
        (image, point(1).incarnation())
    }

    fn topic(name: &str) -> NewTopic {
        NewTopic { name: name.into(), num_partitions: -1, replication_factor: -1, ..NewTopic::default() }
    }

    fn code(result: Result<CreatedTopic, Refused>) -> ErrorCode {
        result.unwrap_err().code
    }

    #[test]
    fn a_topic_is_created_with_what_was_asked_or_the_defaults() {
        let (mut image, leader) = registered();
        let asked = NewTopic { configs: vec![("retention.ms".into(), Some("5".into()))], ..topic("a") };
        let created = create(&image, &asked, Uuid::from_u128(1), leader, DEFAULTS).unwrap();
        assert_eq!((created.num_partitions, created.replication_factor), (3, 2));
        image.apply(MutationPoint { proposer: Some(leader), ..point(2) }, &created.records).unwrap();
        let a = image.topic("a").unwrap();
        assert_eq!(a.partitions.len(), 3);
        assert_eq!(image.owner(a.partitions[2].stream).unwrap().0, leader);
        assert_eq!(image.config(ConfigResource::Topic, "a").unwrap()["retention.ms"], "5");

        let again = create(&image, &topic("a"), Uuid::from_u128(2), leader, DEFAULTS);
        assert_eq!(code(again), ErrorCode::TopicAlreadyExists);
        let second = NewTopic { num_partitions: 1, ..topic("b") };
        let second = create(&image, &second, Uuid::from_u128(2), leader, DEFAULTS).unwrap();
        image.apply(MutationPoint { proposer: Some(leader), ..point(3) }, &second.records).unwrap();

        let deleted = delete(image.topic("a").unwrap());
        image.apply(MutationPoint { proposer: Some(leader), ..point(4) }, &deleted).unwrap();
        assert!(image.topic("a").is_none() && image.topic_by_id(Uuid::from_u128(1)).is_none());
        assert!(image.config(ConfigResource::Topic, "a").is_none());
        assert!(image.topic("b").is_some());
    }

    #[test]
    fn an_image_survives_its_snapshot() {
        let (mut image, leader) = registered();
        let created = create(&image, &topic("a"), Uuid::from_u128(1), leader, DEFAULTS).unwrap();
        image.apply(MutationPoint { proposer: Some(leader), ..point(2) }, &created.records).unwrap();
        let mut bytes = bytes::BytesMut::new();
        image.encode(&mut bytes);
        let again = MetadataImage::decode(bytes.clone().freeze()).unwrap();
        assert_eq!(again.topic("a"), image.topic("a"));
        let mut twice = bytes::BytesMut::new();
        again.encode(&mut twice);
        assert_eq!(bytes, twice, "deterministic");
    }

    #[test]
    fn bad_requests_get_kafkas_own_codes() {
        let (mut image, leader) = registered();
        let created = create(&image, &topic("a.b"), Uuid::from_u128(1), leader, DEFAULTS).unwrap();
        image.apply(MutationPoint { proposer: Some(leader), ..point(2) }, &created.records).unwrap();
        let t = |f: fn(&mut NewTopic)| {
            let mut t = topic("t");
            f(&mut t);
            code(create(&image, &t, Uuid::from_u128(9), leader, DEFAULTS))
        };
        assert_eq!(t(|t| t.name = "a_b".into()), ErrorCode::InvalidTopicException);
        assert_eq!(t(|t| t.name = "a b".into()), ErrorCode::InvalidTopicException);
        assert_eq!(t(|t| t.name = "..".into()), ErrorCode::InvalidTopicException);
        assert_eq!(t(|t| t.name = "x".repeat(250)), ErrorCode::InvalidTopicException);
        assert_eq!(t(|t| t.num_partitions = 0), ErrorCode::InvalidPartitions);
        assert_eq!(t(|t| t.num_partitions = 10_001), ErrorCode::PolicyViolation);
        assert_eq!(t(|t| t.replication_factor = 0), ErrorCode::InvalidReplicationFactor);
        assert_eq!(t(|t| t.configs = vec![("nope".into(), Some("1".into()))]), ErrorCode::InvalidConfig);
        assert_eq!(t(|t| t.configs = vec![("retention.ms".into(), None)]), ErrorCode::InvalidConfig);
        assert_eq!(
            t(|t| t.configs = vec![("retention.ms".into(), Some("x".into()))]),
            ErrorCode::InvalidConfig
        );
        assert_eq!(t(|t| t.assignments = vec![(1, vec![0])]), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(t(|t| t.assignments = vec![(0, vec![0, 0])]), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(
            t(|t| {
                t.assignments = vec![(0, vec![0])];
                t.num_partitions = 1;
            }),
            ErrorCode::InvalidRequest
        );
    }
}
