//! OffsetDelete (key 47), v0 (KIP-496).

use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::super::message::{OffsetDelete, OffsetDeleteAnswer};
use super::{code, owned, topic_name};

/// The request. The handler takes out topics that do not exist or may not be read, and answers for them.
pub fn request(request: &OffsetDeleteRequest) -> OffsetDelete {
    let topics = request.topics.iter().map(|topic| {
        (owned(&topic.name), topic.partitions.iter().map(|partition| partition.partition_index).collect())
    });
    OffsetDelete { group_id: owned(&request.group_id), topics: topics.collect() }
}

/// The answer.
pub fn response(answer: OffsetDeleteAnswer) -> OffsetDeleteResponse {
    let topics = answer.topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, error)| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition)
                .with_error_code(code(error))
        });
        OffsetDeleteResponseTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_error_code(code(answer.error)).with_topics(topics.collect())
}
