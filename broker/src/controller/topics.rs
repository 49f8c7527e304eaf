//! Creating and deleting topics (`ReplicationControlManager.createTopics`, `Topic.validate`). Pure.

use protocol::error::ErrorCode;
use s3stream::catalog::StorageRecord;
use s3stream::ids::{Incarnation, StreamId};
use uuid::Uuid;

use super::Refused;
use super::assignment::check_replicas;
use crate::config::{Values, topic_keys};
use crate::metadata::{ConfigResource, MetadataImage, MetadataRecord, TopicImage};

/// `Topic.MAX_NAME_LENGTH`.
const NAME_LENGTH_MAX: usize = 249;
/// Partitions one request may create (`ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`): a mutation is never split, and
/// holds that many.
pub(super) const PARTITIONS_MAX: i32 = 10_000;
/// Manual assignments take two records a partition.
pub(super) const ASSIGNED_PARTITIONS_MAX: usize = 9_000;
/// `Topic.CLUSTER_METADATA_TOPIC_NAME`.
const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

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

/// How many partitions a request wants in all; too many refuse the whole of it.
pub fn check_total(topics: &[NewTopic], defaults: TopicDefaults) -> Result<(), Refused> {
    let wanted = |topic: &NewTopic| match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => i64::from(defaults.num_partitions),
        (0, n) => i64::from(n.max(0)),
        (assigned, _) => assigned as i64,
    };
    let total: i64 = topics.iter().map(wanted).sum();
    if total > i64::from(PARTITIONS_MAX) { Err(too_many_partitions()) } else { Ok(()) }
}

pub(super) fn too_many_partitions() -> Refused {
    Refused::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.")
}

/// Judges a new topic, in the order in which Kafka does, and gives its records; its partitions are led by `leader`. `values`
/// are the broker's in force.
pub fn create(
    image: &MetadataImage,
    topic: &NewTopic,
    id: Uuid,
    leader: Incarnation,
    defaults: TopicDefaults,
    values: &Values,
) -> Result<CreatedTopic, Refused> {
    if topic.name == CLUSTER_METADATA_TOPIC {
        return Err(Refused::new(
            ErrorCode::InvalidRequest,
            format!("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited."),
        ));
    }
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
    let configs = check_configs(topic, values)?;
    let assigned = check_assignments(image, topic)?;
    let replication_factor = match (topic.replication_factor, assigned) {
        (_, true) => topic.assignments[0].1.len() as i16,
        (-1, _) => defaults.replication_factor,
        (n, _) if n <= 0 => {
            return Err(Refused::new(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        (n, _) => n,
    };
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
        return Err(too_many_partitions());
    }
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

fn check_assignments(image: &MetadataImage, topic: &NewTopic) -> Result<bool, Refused> {
    if topic.assignments.is_empty() {
        return Ok(false);
    }
    let not_default = [
        (i32::from(topic.replication_factor), "replication factor"),
        (topic.num_partitions, "numPartitions"),
    ];
    if let Some((_, what)) = not_default.into_iter().find(|(given, _)| *given != -1) {
        return Err(Refused::new(
            ErrorCode::InvalidRequest,
            format!("A manual partition assignment was specified, but {what} was not set to -1."),
        ));
    }
    let invalid = |why: String| Err(Refused::new(ErrorCode::InvalidReplicaAssignment, why));
    let mut indexes = std::collections::BTreeSet::new();
    let mut like = None;
    for (index, replicas) in &topic.assignments {
        if !indexes.insert(*index) {
            return invalid(format!("Found multiple manual partition assignments for partition {index}"));
        }
        check_replicas(image, *index, replicas, like)?;
        like = Some(replicas.len());
    }
    if indexes.iter().enumerate().any(|(n, i)| *i != n as i32) {
        return invalid("partitions should be a consecutive 0-based integer sequence".into());
    }
    Ok(true)
}

fn check_configs(topic: &NewTopic, values: &Values) -> Result<Vec<(String, String)>, Refused> {
    let invalid = |why: String| Refused::new(ErrorCode::InvalidConfig, why);
    let nulls: Vec<&str> =
        topic.configs.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect();
    if !nulls.is_empty() {
        return Err(invalid(format!("Null value not supported for topic configs: {}", nulls.join(","))));
    }
    topic.configs.iter().filter_map(|(_, value)| value.as_deref()).try_for_each(super::configs::fits)?;
    // A key that is there twice has its last value, as in Kafka's map.
    let set: std::collections::BTreeMap<String, String> = topic
        .configs
        .iter()
        .map(|(key, value)| (key.clone(), value.as_deref().unwrap_or_default().trim().to_string()))
        .collect();
    topic_keys::check(values, &set).map_err(invalid)?;
    Ok(set.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::rig::{DEFAULTS, Rig};
    use s3stream::journal::Image;

    fn topic(name: &str) -> NewTopic {
        NewTopic { name: name.into(), num_partitions: -1, replication_factor: -1, ..NewTopic::default() }
    }

    fn code(result: Result<CreatedTopic, Refused>) -> ErrorCode {
        result.unwrap_err().code
    }

    fn judge(rig: &Rig, topic: &NewTopic, id: u128) -> Result<CreatedTopic, Refused> {
        create(&rig.image, topic, Uuid::from_u128(id), rig.leader, DEFAULTS, &rig.values)
    }

    #[test]
    fn a_value_that_is_too_long_is_refused_before_it_is_looked_at() {
        let words = (0..9_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let configs = vec![("cleanup.policy".to_string(), Some(words))];
        let refused = judge(&Rig::new(), &NewTopic { configs, ..topic("long") }, 1).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidConfig);
        assert!(refused.message.contains("exceeds the maximum value size"));
    }

    #[test]
    fn a_topic_is_created_with_what_was_asked_or_the_defaults() {
        let mut rig = Rig::new();
        let asked = NewTopic { configs: vec![("retention.ms".into(), Some("5".into()))], ..topic("a") };
        let created = judge(&rig, &asked, 1).unwrap();
        assert_eq!((created.num_partitions, created.replication_factor), (3, 2));
        rig.apply(&created.records);
        let a = rig.image.topic("a").unwrap().clone();
        assert_eq!(a.partitions.len(), 3);
        assert_eq!(rig.image.owner(a.partitions[2].stream).unwrap().0, rig.leader);
        assert_eq!(rig.image.config(ConfigResource::Topic, "a").unwrap()["retention.ms"], "5");

        assert_eq!(code(judge(&rig, &topic("a"), 2)), ErrorCode::TopicAlreadyExists);
        let second = NewTopic { num_partitions: 1, ..topic("b") };
        rig.apply(&judge(&rig, &second, 2).unwrap().records);

        rig.apply(&delete(&a));
        let image = &rig.image;
        assert!(image.topic("a").is_none() && image.topic_by_id(Uuid::from_u128(1)).is_none());
        assert!(image.config(ConfigResource::Topic, "a").is_none());
        assert!(image.topic("b").is_some());
    }

    #[test]
    fn an_image_survives_its_snapshot() {
        let mut rig = Rig::new();
        rig.apply(&judge(&rig, &topic("a"), 1).unwrap().records);
        let mut bytes = bytes::BytesMut::new();
        rig.image.encode(&mut bytes);
        let again = MetadataImage::decode(bytes.clone().freeze()).unwrap();
        assert_eq!(again.topic("a"), rig.image.topic("a"));
        let mut twice = bytes::BytesMut::new();
        again.encode(&mut twice);
        assert_eq!(bytes, twice, "deterministic");
    }

    #[test]
    fn bad_requests_get_kafkas_own_codes() {
        let mut rig = Rig::new();
        rig.create("a.b", 1);
        let t = |f: fn(&mut NewTopic)| {
            let mut t = topic("t");
            f(&mut t);
            code(judge(&rig, &t, 9))
        };
        let config = |key: &str, value: Option<&str>| (key.to_string(), value.map(str::to_string));
        assert_eq!(t(|t| t.name = "a_b".into()), ErrorCode::InvalidTopicException);
        assert_eq!(t(|t| t.name = "a b".into()), ErrorCode::InvalidTopicException);
        assert_eq!(t(|t| t.name = "..".into()), ErrorCode::InvalidTopicException);
        assert_eq!(t(|t| t.name = "x".repeat(250)), ErrorCode::InvalidTopicException);
        assert_eq!(t(|t| t.name = "__cluster_metadata".into()), ErrorCode::InvalidRequest);
        assert_eq!(t(|t| t.num_partitions = 0), ErrorCode::InvalidPartitions);
        assert_eq!(t(|t| t.num_partitions = -2), ErrorCode::InvalidPartitions);
        assert_eq!(t(|t| t.num_partitions = 10_001), ErrorCode::PolicyViolation);
        assert_eq!(t(|t| t.replication_factor = 0), ErrorCode::InvalidReplicationFactor);
        assert_eq!(t(|t| t.configs = vec![("nope".into(), Some("1".into()))]), ErrorCode::InvalidConfig);
        assert_eq!(t(|t| t.configs = vec![("retention.ms".into(), None)]), ErrorCode::InvalidConfig);
        let mut t = topic("t");
        t.configs = vec![config("retention.ms", Some("x"))];
        assert_eq!(code(judge(&rig, &t, 9)), ErrorCode::InvalidConfig);
    }

    #[test]
    fn of_several_faults_the_one_is_told_that_kafka_tells() {
        let mut rig = Rig::new();
        rig.create("there", 1);
        let bad = NewTopic {
            num_partitions: 0,
            replication_factor: 0,
            configs: vec![("nope".into(), Some("1".into()))],
            ..topic("there")
        };
        assert_eq!(code(judge(&rig, &bad, 9)), ErrorCode::TopicAlreadyExists);
        let bad = NewTopic { name: "t".into(), ..bad };
        assert_eq!(code(judge(&rig, &bad, 9)), ErrorCode::InvalidConfig);
        let bad = NewTopic { configs: Vec::new(), ..bad };
        assert_eq!(code(judge(&rig, &bad, 9)), ErrorCode::InvalidReplicationFactor);
        let bad = NewTopic { replication_factor: 1, ..bad };
        assert_eq!(code(judge(&rig, &bad, 9)), ErrorCode::InvalidPartitions);
    }

    #[test]
    fn assigned_replicas_are_judged_and_kept() {
        let rig = Rig::new();
        let assigned = |assignments: &[(i32, &[i32])]| {
            let assignments = assignments.iter().map(|(p, r)| (*p, r.to_vec())).collect();
            judge(&rig, &NewTopic { assignments, ..topic("t") }, 9)
        };
        let created = assigned(&[(1, &[0]), (0, &[0])]).unwrap();
        assert_eq!((created.num_partitions, created.replication_factor), (2, 1));
        for bad in [&[(1, &[0][..])][..], &[(0, &[0, 0])], &[(0, &[])], &[(0, &[9])], &[(0, &[0]), (0, &[0])]]
        {
            assert_eq!(code(assigned(bad)), ErrorCode::InvalidReplicaAssignment, "{bad:?}");
        }
        let both = NewTopic { assignments: vec![(0, vec![0])], num_partitions: 1, ..topic("t") };
        assert_eq!(code(judge(&rig, &both, 9)), ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_request_for_too_many_partitions_is_refused_whole() {
        let of = |partitions: i32| NewTopic { num_partitions: partitions, ..topic("t") };
        assert!(check_total(&[of(5_000), of(4_997), of(-1)], DEFAULTS).is_ok());
        assert_eq!(
            check_total(&[of(5_000), of(4_998), of(-1)], DEFAULTS).unwrap_err().code,
            ErrorCode::PolicyViolation
        );
        assert!(check_total(&[of(-5), of(10_000)], DEFAULTS).is_ok());
    }
}
