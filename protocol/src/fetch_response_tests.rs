//! The hand-written Fetch answer is the message codec's, byte for byte, in every version.

use kafka_protocol::messages::fetch_response::{
    AbortedTransaction as CodecAborted, EpochEndOffset as CodecEpochEnd, FetchableTopicResponse,
    LeaderIdAndEpoch as CodecLeader, NodeEndpoint as CodecEndpoint, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchResponse as CodecResponse, ProducerId, TopicName};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::codec;

const VERSIONS: std::ops::RangeInclusive<i16> = 4..=18;

/// The same answer as the codec's struct, with no field set that the version lacks: the codec would refuse.
fn as_codec(version: i16, response: &FetchResponse) -> CodecResponse {
    let topics = response.topics.iter().map(|topic| {
        let partitions =
            topic.partitions.iter().map(|partition| as_codec_partition(version, partition)).collect();
        let codec_topic = FetchableTopicResponse::default().with_partitions(partitions);
        if version >= 13 {
            codec_topic.with_topic_id(topic.topic_id)
        } else {
            codec_topic.with_topic(TopicName(topic.name.clone()))
        }
    });
    let mut answer = CodecResponse::default()
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_responses(topics.collect());
    if version >= 7 {
        answer = answer.with_error_code(response.error_code).with_session_id(response.session_id);
    }
    if version >= 16 {
        let endpoints = response.node_endpoints.iter().map(|endpoint| {
            CodecEndpoint::default()
                .with_node_id(BrokerId(endpoint.node_id))
                .with_host(StrBytes::from_string(endpoint.host.clone()))
                .with_port(endpoint.port)
                .with_rack(endpoint.rack.clone().map(StrBytes::from_string))
        });
        answer = answer.with_node_endpoints(endpoints.collect());
    }
    answer
}

fn as_codec_partition(version: i16, partition: &FetchedPartition) -> PartitionData {
    let aborted = partition.aborted_transactions.as_ref().map(|list| {
        let codec = |aborted: &AbortedTransaction| {
            CodecAborted::default()
                .with_producer_id(ProducerId(aborted.producer_id))
                .with_first_offset(aborted.first_offset)
        };
        list.iter().map(codec).collect()
    });
    let mut data = PartitionData::default()
        .with_partition_index(partition.index)
        .with_error_code(partition.error_code)
        .with_high_watermark(partition.high_watermark)
        .with_last_stable_offset(partition.last_stable_offset)
        .with_aborted_transactions(aborted)
        .with_records(Some(Bytes::from(partition.records.concat())));
    if version >= 5 {
        data = data.with_log_start_offset(partition.log_start_offset);
    }
    if version >= 11 {
        data = data.with_preferred_read_replica(BrokerId(partition.preferred_read_replica));
    }
    if version >= 12 {
        if let Some(diverging) = partition.diverging_epoch {
            let codec = CodecEpochEnd::default();
            data = data.with_diverging_epoch(
                codec.with_epoch(diverging.epoch).with_end_offset(diverging.end_offset),
            );
        }
        if let Some(leader) = partition.current_leader {
            let codec = CodecLeader::default().with_leader_id(BrokerId(leader.leader_id));
            data = data.with_current_leader(codec.with_leader_epoch(leader.leader_epoch));
        }
    }
    data
}

prop_compose! {
    fn any_partition()(
        numbers in any::<(i32, i16, i64, i64, i64, i32)>(),
        aborted in option::of(vec(any::<(i64, i64)>(), 0..4)),
        diverging in option::of((0i32..100, 0i64..100)),
        leader in option::of((0i32..100, 0i32..100)),
        sizes in vec(prop_oneof![0usize..200, BY_REFERENCE_BYTES_MIN - 1..BY_REFERENCE_BYTES_MIN + 2, Just(100_000)], 0..4),
    ) -> FetchedPartition {
        let (index, error_code, high_watermark, last_stable_offset, log_start_offset, preferred_read_replica) = numbers;
        let aborted_transactions = aborted.map(|list| {
            list.into_iter().map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset }).collect()
        });
        FetchedPartition {
            index, error_code, high_watermark, last_stable_offset, log_start_offset, aborted_transactions, preferred_read_replica,
            diverging_epoch: diverging.map(|(epoch, end_offset)| EpochEndOffset { epoch, end_offset }),
            current_leader: leader.map(|(leader_id, leader_epoch)| LeaderIdAndEpoch { leader_id, leader_epoch }),
            records: sizes.iter().enumerate().map(|(i, size)| Bytes::from(vec![i as u8 + 1; *size])).collect(),
        }
    }
}

prop_compose! {
    fn any_response()(
        numbers in any::<(i32, i16, i32)>(),
        topics in vec((0usize..200, any::<[u8; 16]>(), vec(any_partition(), 0..4)), 0..4),
        endpoints in vec((any::<i32>(), 0usize..200, option::of(0usize..20)), 0..3),
    ) -> FetchResponse {
        FetchResponse {
            throttle_time_ms: numbers.0,
            error_code: numbers.1,
            session_id: numbers.2,
            topics: topics.into_iter().map(|(name, id, partitions)| FetchedTopic {
                name: StrBytes::from_string("t".repeat(name)),
                topic_id: Uuid::from_bytes(id),
                partitions,
            }).collect(),
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
        for version in VERSIONS {
            let ours = encode(42, version, &response).unwrap();
            let codec = codec::encode_fetch(42, version, &as_codec(version, &response)).unwrap();
            prop_assert!(ours.concat() == codec, "v{version}: {response:?}");
        }
    }
}

#[test]
fn large_slices_go_by_reference_and_small_ones_are_copied() {
    let large = Bytes::from(vec![1; BY_REFERENCE_BYTES_MIN]);
    let small = Bytes::from(vec![2; BY_REFERENCE_BYTES_MIN - 1]);
    let records = vec![small.clone(), large.clone(), large.clone(), small];
    let partition = FetchedPartition { records, ..FetchedPartition::error(0, 0) };
    let topic = FetchedTopic { partitions: vec![partition], ..FetchedTopic::default() };
    let segments = encode(1, 12, &FetchResponse { topics: vec![topic], ..FetchResponse::default() }).unwrap();
    let by_reference: Vec<_> = segments.iter().map(|segment| segment.as_ptr() == large.as_ptr()).collect();
    assert_eq!(by_reference, [false, true, true, false]);
}

#[test]
fn a_response_without_large_slices_is_one_segment() {
    for version in VERSIONS {
        let segments = encode(1, version, &FetchResponse::default()).unwrap();
        assert_eq!(segments.len(), 1);
        let length = i32::from_be_bytes(segments[0][..4].try_into().unwrap());
        assert_eq!(length as usize, segments[0].len() - 4);
    }
}

#[test]
fn versions_outside_the_table_are_refused() {
    for version in [-1, 3, 19] {
        assert!(matches!(encode(1, version, &FetchResponse::default()), Err(EncodeError::Refused { .. })));
    }
}
