//! More partitions for a topic (`ReplicationControlManager.createPartitions`). Pure.

use protocol::error::ErrorCode;
use s3stream::catalog::StorageRecord;
use s3stream::ids::{Incarnation, StreamId};

use super::Refused;
use super::assignment::check_replicas;
use super::topics::{ASSIGNED_PARTITIONS_MAX, PARTITIONS_MAX, too_many_partitions};
use crate::metadata::{MetadataImage, MetadataRecord};

/// A topic that somebody wants larger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MorePartitions {
    /// Its name.
    pub topic: String,
    /// How many partitions it shall have, the present ones included.
    pub count: i32,
    /// Replicas of the new ones, if the user chooses them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Judges the request and gives its records; the new partitions are led by `leader`.
pub fn add(
    image: &MetadataImage,
    request: &MorePartitions,
    leader: Incarnation,
) -> Result<Vec<MetadataRecord>, Refused> {
    let topic = image.topic(&request.topic).ok_or_else(|| {
        Refused::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
    })?;
    let present = topic.partitions.len() as i32;
    let refuse = |code, why: String| Err(Refused::new(code, why));
    if request.count == present {
        return refuse(ErrorCode::InvalidPartitions, format!("Topic already has {present} partition(s)."));
    }
    if request.count < present {
        let why = format!(
            "The topic {} currently has {present} partition(s); {} would not be an increase.",
            topic.name, request.count
        );
        return refuse(ErrorCode::InvalidPartitions, why);
    }
    let additional = request.count - present;
    if let Some(assignments) = request.assignments.as_ref().filter(|a| a.len() != additional as usize) {
        let why = format!(
            "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
            assignments.len()
        );
        return refuse(ErrorCode::InvalidReplicaAssignment, why);
    }
    if additional > PARTITIONS_MAX
        || request.assignments.as_ref().is_some_and(|a| a.len() > ASSIGNED_PARTITIONS_MAX)
    {
        return Err(too_many_partitions());
    }
    let first = image.catalog.next_stream();
    let streams = (0..additional as u64).map(|n| StreamId(first.0 + n));
    let created = |stream| MetadataRecord::Storage(StorageRecord::StreamCreated { stream, owner: leader });
    let mut records: Vec<MetadataRecord> = streams.clone().map(created).collect();
    match &request.assignments {
        None => records.push(MetadataRecord::PartitionsCreated {
            topic_id: topic.id,
            first_index: present,
            first_stream: first,
            count: additional as u32,
        }),
        Some(assignments) => {
            // As many replicas as the topic has: assigned ones if it has any, else what it reports.
            let assigned = topic.partitions.front().and_then(|p| p.replicas.as_ref()).map(|r| r.len());
            let like = assigned.unwrap_or(topic.replication_factor.max(1) as usize);
            for (n, (stream, replicas)) in streams.zip(assignments).enumerate() {
                let index = present + n as i32;
                // A topic that asked for more replicas than there are brokers cannot be matched by an assignment.
                let like = Some(like).filter(|like| *like <= image.live_brokers().count());
                check_replicas(image, index, replicas, like)?;
                records.push(MetadataRecord::PartitionCreated {
                    topic_id: topic.id,
                    index,
                    stream,
                    replicas: Some(replicas.clone()),
                });
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::rig::{Rig, refused};

    fn more(topic: &str, count: i32, assignments: Option<&[&[i32]]>) -> MorePartitions {
        let assignments = assignments.map(|a| a.iter().map(|r| r.to_vec()).collect());
        MorePartitions { topic: topic.into(), count, assignments }
    }

    #[test]
    fn new_partitions_follow_the_present_ones() {
        let mut rig = Rig::new();
        rig.create("t", 2);
        rig.create("u", 1);
        rig.apply(&add(&rig.image, &more("t", 4, None), rig.leader).unwrap());
        rig.apply(&add(&rig.image, &more("t", 5, Some(&[&[0]])), rig.leader).unwrap());
        let topic = rig.image.topic("t").unwrap().clone();
        let streams: Vec<u64> = topic.partitions.iter().map(|p| p.stream.0).collect();
        assert_eq!(streams, [0, 1, 3, 4, 5], "on streams that nobody had");
        assert!(topic.partitions.iter().all(|p| rig.image.owner(p.stream).unwrap().0 == rig.leader));
        assert_eq!(topic.partitions[4].replicas.as_deref(), Some(&[0][..]));
    }

    #[test]
    fn bad_requests_get_kafkas_own_codes_and_words() {
        let mut rig = Rig::new();
        rig.create("t", 2);
        let unknown = "This server does not host this topic-partition.";
        let table: &[(MorePartitions, ErrorCode, &str)] = &[
            (more("t", 2, None), ErrorCode::InvalidPartitions, "Topic already has 2 partition(s)."),
            (
                more("t", -1, None),
                ErrorCode::InvalidPartitions,
                "The topic t currently has 2 partition(s); -1 would not be an increase.",
            ),
            (more("nosuch", 5, None), ErrorCode::UnknownTopicOrPartition, unknown),
            (more("", 5, None), ErrorCode::UnknownTopicOrPartition, unknown),
            (
                more("t", 4, Some(&[&[0]])),
                ErrorCode::InvalidReplicaAssignment,
                "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
            ),
            (
                more("t", 3, Some(&[&[99]])),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes broker 99, but no such broker is registered.",
            ),
            (
                more("t", 3, Some(&[&[0, 0]])),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes the broker 0 more than once.",
            ),
            (
                more("t", 3, Some(&[&[]])),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes an empty replica list.",
            ),
            (
                more("t", 20_001, None),
                ErrorCode::PolicyViolation,
                "Excessively large number of partitions per request.",
            ),
        ];
        for (request, code, why) in table {
            assert_eq!(
                refused(add(&rig.image, request, rig.leader)),
                (*code, why.to_string()),
                "{request:?}"
            );
        }
    }
}
