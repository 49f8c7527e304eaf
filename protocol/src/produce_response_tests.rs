//! The hand-written Produce answer is the message codec's, byte for byte, in every version.

use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch as CodecLeader, NodeEndpoint as CodecEndpoint,
    PartitionProduceResponse, ProduceResponse as CodecResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::codec;

const VERSIONS: std::ops::RangeInclusive<i16> = 3..=13;

/// The same answer as the codec's struct, with no field set that the version lacks: the codec would refuse.
fn as_codec(version: i16, response: &ProduceResponse) -> CodecResponse {
    let topics = response.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| as_codec_partition(version, partition));
        let codec_topic =
            TopicProduceResponse::default().with_partition_responses(partitions.collect::<Vec<_>>());
        if version >= 13 {
            codec_topic.with_topic_id(topic.topic_id)
        } else {
            codec_topic.with_name(TopicName(topic.name.clone()))
        }
    });
    let answer = CodecResponse::default()
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_responses(topics.collect());
    if version < 10 {
        return answer;
    }
    let endpoints = response.node_endpoints.iter().map(|endpoint| {
        CodecEndpoint::default()
            .with_node_id(BrokerId(endpoint.node_id))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.clone().map(StrBytes::from_string))
    });
    answer.with_node_endpoints(endpoints.collect())
}

fn as_codec_partition(version: i16, partition: &ProducedPartition) -> PartitionProduceResponse {
    let mut codec = PartitionProduceResponse::default()
        .with_index(partition.index)
        .with_error_code(partition.error_code)
        .with_base_offset(partition.base_offset)
        .with_log_append_time_ms(partition.log_append_time_ms);
    if version >= 5 {
        codec = codec.with_log_start_offset(partition.log_start_offset);
    }
    if version >= 8
        && let Some(failure) = &partition.failure
    {
        let records = failure.records.iter().map(|(index, message)| {
            BatchIndexAndErrorMessage::default()
                .with_batch_index(*index)
                .with_batch_index_error_message(Some(StrBytes::from_string(message.clone())))
        });
        codec = codec
            .with_record_errors(records.collect())
            .with_error_message(failure.message.clone().map(StrBytes::from_string));
    }
    if version >= 10
        && let Some(leader) = partition.current_leader
    {
        let codec_leader = CodecLeader::default().with_leader_id(BrokerId(leader.leader_id));
        codec = codec.with_current_leader(codec_leader.with_leader_epoch(leader.leader_epoch));
    }
    codec
}

/// The answer with this error where it was provisional.
fn revoked(response: &ProduceResponse, error_code: i16) -> ProduceResponse {
    let mut revoked = response.clone();
    for partition in revoked.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if partition.provisional {
            let (failure, current_leader) = (partition.failure.take(), partition.current_leader);
            let error = ProducedPartition::error(partition.index, error_code);
            *partition = ProducedPartition { failure, current_leader, provisional: true, ..error };
        }
    }
    revoked
}

prop_compose! {
    fn any_partition()(
        numbers in (any::<i32>(), prop_oneof![Just(0), any::<i16>()], any::<i64>(), any::<i64>(), any::<i64>()),
        failure in option::of((option::of(0usize..200), vec((any::<i32>(), 0usize..200), 0..4))),
        leader in option::of((0i32..100, 0i32..100)),
        provisional in any::<bool>(),
    ) -> ProducedPartition {
        let (index, error_code, base_offset, log_append_time_ms, log_start_offset) = numbers;
        ProducedPartition {
            index, error_code, base_offset, log_append_time_ms, log_start_offset,
            failure: failure.map(|(message, records)| Box::new(Failure {
                message: message.map(|length| "m".repeat(length)),
                records: records.into_iter().map(|(index, length)| (index, "r".repeat(length))).collect(),
            })),
            current_leader: leader.map(|(leader_id, leader_epoch)| LeaderIdAndEpoch { leader_id, leader_epoch }),
            provisional,
        }
    }
}

prop_compose! {
    fn any_response()(
        throttle_time_ms in any::<i32>(),
        topics in vec((0usize..200, any::<[u8; 16]>(), vec(any_partition(), 0..4)), 0..4),
        endpoints in vec((any::<i32>(), 0usize..200, option::of(0usize..20)), 0..3),
    ) -> ProduceResponse {
        ProduceResponse {
            topics: topics.into_iter().map(|(name, id, partitions)| ProducedTopic {
                name: StrBytes::from_string("t".repeat(name)),
                topic_id: Uuid::from_bytes(id),
                partitions,
            }).collect(),
            throttle_time_ms,
            node_endpoints: endpoints.into_iter().map(|(node_id, host, rack)| NodeEndpoint {
                node_id, host: "h".repeat(host), port: 9092, rack: rack.map(|length| "r".repeat(length)),
            }).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_are_those_of_the_message_codec(response in any_response()) {
        let mut memory = BytesMut::from(&b"of one that was too long"[..]);
        for version in VERSIONS {
            let ours = encode(&mut memory, 42, version, &response).unwrap();
            let codec = codec::encode_produce(42, version, &as_codec(version, &response)).unwrap();
            prop_assert!(ours.clone().confirm() == codec, "v{version}: {response:?}");

            let codec = codec::encode_produce(42, version, &as_codec(version, &revoked(&response, 6))).unwrap();
            prop_assert!(ours.revoke(6) == codec, "v{version}, revoked: {response:?}");
        }
    }
}

#[test]
fn versions_outside_the_table_are_refused() {
    for version in [-1, 2, 14] {
        assert!(matches!(
            encode(&mut BytesMut::new(), 1, version, &ProduceResponse::default()),
            Err(EncodeError::Refused { .. })
        ));
    }
}

#[test]
fn memory_does_not_grow_with_the_largest_answer() {
    let mut memory = BytesMut::new();
    let answer = |partitions: i32| {
        let partitions = (0..partitions).map(|index| ProducedPartition::error(index, 3)).collect();
        ProduceResponse {
            topics: vec![ProducedTopic { partitions, ..Default::default() }],
            ..Default::default()
        }
    };
    for partitions in [1, 100_000, 1, 1] {
        let answer = encode(&mut memory, 1, 9, &answer(partitions)).unwrap();
        assert!(answer.size() > 30 * partitions as usize);
        drop(answer);
        assert!(memory.capacity() <= MEMORY_BYTES);
        let next = encode(&mut memory, 1, 9, &ProduceResponse::default()).unwrap();
        drop(next);
        assert!(memory.capacity() <= 2 * MEMORY_BYTES, "{}", memory.capacity());
    }
}
