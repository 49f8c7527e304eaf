//! OffsetFetch (key 9), v1-v9.
//! Versions: v2 null topics = all, top-level error · v3 throttle · v5 leader epoch (KIP-320) · v7 require_stable
//! (KIP-447) · v8 many groups (KIP-709) · v9 member epoch (KIP-848; a classic group does not look at it).

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use super::super::message::{OffsetFetch, OffsetFetchAnswer};
use super::{code, group_id, owned, topic_name, wire};

/// The requests, one per group: before v8 there is one.
pub fn requests(version: i16, request: &OffsetFetchRequest) -> Vec<OffsetFetch> {
    let require_stable = version >= 7 && request.require_stable;
    if version < 8 {
        let topics = request.topics.as_ref().map(|topics| {
            topics.iter().map(|topic| (owned(&topic.name), topic.partition_indexes.clone())).collect()
        });
        return vec![OffsetFetch { group_id: owned(&request.group_id), topics, require_stable }];
    }
    let of_group =
        |group: &kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup| OffsetFetch {
            group_id: owned(&group.group_id),
            topics: group.topics.as_ref().map(|topics| {
                topics.iter().map(|topic| (owned(&topic.name), topic.partition_indexes.clone())).collect()
            }),
            require_stable,
        };
    request.groups.iter().map(of_group).collect()
}

/// The answer of all groups, in the order of the requests; before v8 of the one. A v1 client cannot read a top-level
/// error and finds it in every partition (`OffsetFetchResponse`).
pub fn response(version: i16, answers: Vec<OffsetFetchAnswer>) -> OffsetFetchResponse {
    if version >= 8 {
        return OffsetFetchResponse::default().with_groups(answers.into_iter().map(group).collect());
    }
    let Some(answer) = answers.into_iter().next() else { return OffsetFetchResponse::default() };
    let top_level = answer.error;
    let topics = answer.topics.into_iter().map(|(topic, offsets)| {
        let partitions = offsets.into_iter().map(|fetched| {
            let error = fetched.error.or(top_level.filter(|_| version < 2));
            let mut partition = OffsetFetchResponsePartition::default()
                .with_partition_index(fetched.partition)
                .with_committed_offset(fetched.offset)
                .with_metadata(Some(wire(fetched.metadata)))
                .with_error_code(code(error));
            if version >= 5 {
                partition.committed_leader_epoch = fetched.leader_epoch;
            }
            partition
        });
        OffsetFetchResponseTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect())
    });
    let mut response = OffsetFetchResponse::default().with_topics(topics.collect());
    if version >= 2 {
        response.error_code = code(top_level);
    }
    response
}

fn group(answer: OffsetFetchAnswer) -> OffsetFetchResponseGroup {
    let topics = answer.topics.into_iter().map(|(topic, offsets)| {
        let partitions = offsets.into_iter().map(|fetched| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(fetched.partition)
                .with_committed_offset(fetched.offset)
                .with_committed_leader_epoch(fetched.leader_epoch)
                .with_metadata(Some(wire(fetched.metadata)))
                .with_error_code(code(fetched.error))
        });
        OffsetFetchResponseTopics::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default()
        .with_group_id(group_id(answer.group_id))
        .with_topics(topics.collect())
        .with_error_code(code(answer.error))
}
