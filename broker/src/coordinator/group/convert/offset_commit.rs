//! OffsetCommit (key 8), v2-v9.
//! Versions: v2-v4 retention time (KIP-211 removed it) · v3 throttle · v6 leader epoch (KIP-320) · v7 group instance id
//! (KIP-345) · v9 GROUP_ID_NOT_FOUND, STALE_MEMBER_EPOCH (KIP-848).

use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::super::message::{OffsetCommit, OffsetCommitAnswer, PartitionCommit};
use super::{code, owned, owned_opt, topic_name};

/// The request. The handler takes out topics that do not exist or may not be read, and answers for them.
pub fn request(version: i16, request: &OffsetCommitRequest) -> OffsetCommit {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| PartitionCommit {
            partition: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: if version >= 6 { partition.committed_leader_epoch } else { -1 },
            metadata: owned_opt(&partition.committed_metadata),
        });
        (owned(&topic.name), partitions.collect())
    });
    let explicit_retention = version <= 4 && request.retention_time_ms != -1;
    OffsetCommit {
        group_id: owned(&request.group_id),
        generation_id: request.generation_id_or_member_epoch,
        member_id: owned(&request.member_id),
        group_instance_id: owned_opt(&request.group_instance_id),
        retention_time_ms: explicit_retention.then_some(request.retention_time_ms),
        knows_group_id_not_found: version >= 9,
        topics: topics.collect(),
    }
}

/// The answer.
pub fn response(answer: OffsetCommitAnswer) -> OffsetCommitResponse {
    let topics = answer.topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, error)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition)
                .with_error_code(code(error))
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
