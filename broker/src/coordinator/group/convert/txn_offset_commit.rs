//! TxnOffsetCommit (key 28), v0-v5.
//! Versions: v2 leader epoch (KIP-320) · v3 generation, member and instance ids (KIP-447) · v5 implicit add to the
//! transaction (KIP-890).

use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::super::message::{OffsetCommitAnswer, PartitionCommit, ProducerIdAndEpoch, TxnOffsetCommit};
use super::{code, owned, owned_opt, topic_name};

/// The request.
pub fn request(version: i16, request: &TxnOffsetCommitRequest) -> TxnOffsetCommit {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| PartitionCommit {
            partition: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: if version >= 2 { partition.committed_leader_epoch } else { -1 },
            metadata: owned_opt(&partition.committed_metadata),
        });
        (owned(&topic.name), partitions.collect())
    });
    TxnOffsetCommit {
        group_id: owned(&request.group_id),
        producer: ProducerIdAndEpoch {
            producer_id: request.producer_id.0,
            producer_epoch: request.producer_epoch,
        },
        generation_id: if version >= 3 { request.generation_id } else { -1 },
        member_id: owned(&request.member_id),
        group_instance_id: owned_opt(&request.group_instance_id),
        topics: topics.collect(),
    }
}

/// The answer.
pub fn response(answer: OffsetCommitAnswer) -> TxnOffsetCommitResponse {
    let topics = answer.topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, error)| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition)
                .with_error_code(code(error))
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}
