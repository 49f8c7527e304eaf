//! What a broker says of itself, its partitions and its cluster: raw frames, each API in its lowest and highest version.

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest as ProducersOf;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::support::{Record, deliver, topic, unique};
use super::wire::ask;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_REQUEST: i16 = 42;
const LOG_DIR_NOT_FOUND: i16 = 57;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const ELECTION_NOT_NEEDED: i16 = 84;
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;
const INVALID_UPDATE_VERSION: i16 = 95;
const UNKNOWN_TOPIC_ID: i16 = 100;
const BROKER_ID_NOT_REGISTERED: i16 = 102;
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
const UNSUPPORTED_ENDPOINT_TYPE: i16 = 115;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// The one node of the cluster under test.
fn node() -> BrokerId {
    ask(&DescribeClusterRequest::default(), 0).brokers[0].broker_id
}

fn three_records(topic: &str) {
    deliver(topic, &[], &[Record::value("a"), Record::value("b"), Record::value("c")]);
}

#[test]
fn offset_for_leader_epoch_tells_where_an_epoch_ended() {
    let topic = topic("epochs", 1, &[]);
    three_records(&topic);
    for version in [2, 4] {
        let end = |current: i32, asked: i32, topic: &str| {
            let partition = OffsetForLeaderPartition::default()
                .with_current_leader_epoch(current)
                .with_leader_epoch(asked);
            let asked = OffsetForLeaderTopic::default()
                .with_topic(name(topic))
                .with_partitions(vec![partition.with_partition(0)]);
            let answer = ask(&OffsetForLeaderEpochRequest::default().with_topics(vec![asked]), version);
            let found = &answer.topics[0].partitions[0];
            (found.error_code, found.leader_epoch, found.end_offset)
        };
        assert_eq!(end(-1, 0, &topic), (0, 0, 3), "v{version}");
        assert_eq!(end(0, 0, &topic), (0, 0, 3));
        assert_eq!(end(-1, 7, &topic), (0, -1, -1), "above the current epoch");
        assert_eq!(end(-1, -1, &topic), (0, -1, -1));
        assert_eq!(end(7, 0, &topic), (UNKNOWN_LEADER_EPOCH, -1, -1));
        assert_eq!(end(-1, 0, &unique("nowhere")), (UNKNOWN_TOPIC_OR_PARTITION, -1, -1));
    }
}

#[test]
fn describe_topic_partitions_goes_on_from_its_cursor() {
    let prefix = unique("pages");
    let names: Vec<String> = ["a", "b"].iter().map(|n| topic(&format!("{prefix}-{n}"), 3, &[])).collect();
    let missing = format!("{prefix}-c");
    let asked: Vec<_> =
        names.iter().chain([&missing]).map(|n| TopicRequest::default().with_name(name(n))).collect();
    let mut cursor: Option<(String, i32)> = None;
    let mut pages = Vec::new();
    loop {
        let from = cursor.as_ref().map(|(topic, index)| {
            Cursor::default().with_topic_name(name(topic)).with_partition_index(*index)
        });
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(asked.clone())
            .with_response_partition_limit(2)
            .with_cursor(from);
        let answer = ask(&request, 0);
        let page: Vec<_> = answer
            .topics
            .iter()
            .map(|t| {
                let indexes: Vec<i32> = t.partitions.iter().map(|p| p.partition_index).collect();
                (t.name.as_ref().unwrap().to_string(), t.error_code, indexes)
            })
            .collect();
        pages.push(page);
        cursor = answer.next_cursor.map(|c| (c.topic_name.to_string(), c.partition_index));
        if cursor.is_none() {
            break;
        }
    }
    let (a, b) = (names[0].clone(), names[1].clone());
    let expected = vec![
        vec![(a.clone(), 0, vec![0, 1])],
        vec![(a, 0, vec![2]), (b.clone(), 0, vec![0])],
        vec![(b, 0, vec![1, 2])],
        vec![(missing, UNKNOWN_TOPIC_OR_PARTITION, vec![])],
    ];
    assert_eq!(pages, expected);

    let whole = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![asked[0].clone()])
        .with_response_partition_limit(2000);
    let answer = ask(&whole, 0);
    let partition = &answer.topics[0].partitions[0];
    let me = node();
    assert_eq!((partition.leader_id, partition.leader_epoch), (me, 0));
    assert_eq!((partition.replica_nodes.as_slice(), partition.isr_nodes.as_slice()), (&[me][..], &[me][..]));
    assert_ne!(answer.topics[0].topic_id, Uuid::nil());

    let elsewhere = whole.with_cursor(Some(Cursor::default().with_topic_name(name("zzz"))));
    assert_eq!(ask(&elsewhere, 0).topics[0].error_code, INVALID_REQUEST);
}

#[test]
fn describe_log_dirs_tells_the_bytes_of_partitions() {
    let topic = topic("sizes", 2, &[]);
    deliver(&topic, &[], &[Record::value(vec![7; 100_000])]);
    for version in [1, 4] {
        let asked = DescribableLogDirTopic::default().with_topic(name(&topic)).with_partitions(vec![0, 1, 9]);
        let answer = ask(&DescribeLogDirsRequest::default().with_topics(Some(vec![asked])), version);
        assert_eq!((answer.error_code, answer.results.len()), (0, 1), "v{version}");
        let dir = &answer.results[0];
        assert_eq!(dir.error_code, 0);
        let mut partitions: Vec<_> = dir.topics[0].partitions.iter().collect();
        partitions.sort_by_key(|p| p.partition_index);
        assert_eq!(partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>(), [0, 1]);
        assert!(partitions[0].partition_size >= 100_000 && partitions[1].partition_size < 100_000);
        assert!(partitions.iter().all(|p| p.offset_lag == 0 && !p.is_future_key));
        if version >= 4 {
            assert!(dir.total_bytes > dir.usable_bytes && dir.usable_bytes > 0);
        }
        let all = ask(&DescribeLogDirsRequest::default().with_topics(None), version);
        assert!(all.results[0].topics.iter().any(|t| *t.name.0 == *topic));
    }
}

#[test]
fn a_replica_is_where_it_is_and_there_is_no_other_directory() {
    let topic = topic("moved", 1, &[]);
    let described = ask(&DescribeLogDirsRequest::default().with_topics(None), 4);
    let ours = described.results[0].log_dir.clone();
    for version in [1, 2] {
        let dir = |path: StrBytes, partitions: Vec<i32>| {
            let asked =
                AlterReplicaLogDirTopic::default().with_name(name(&topic)).with_partitions(partitions);
            let missing = AlterReplicaLogDirTopic::default().with_name(name("none")).with_partitions(vec![0]);
            AlterReplicaLogDir::default().with_path(path).with_topics(vec![asked, missing])
        };
        let move_to = |dirs| ask(&AlterReplicaLogDirsRequest::default().with_dirs(dirs), version);
        let codes = |answer: AlterReplicaLogDirsResponse| {
            let mut codes: Vec<(String, i32, i16)> = Vec::new();
            for t in answer.results {
                codes.extend(
                    t.partitions.iter().map(|p| (t.topic_name.to_string(), p.partition_index, p.error_code)),
                );
            }
            codes
        };
        let said = |a, b, c| vec![(topic.clone(), 0, a), (topic.clone(), 9, b), ("none".to_owned(), 0, c)];
        let sorted = |mut codes: Vec<(String, i32, i16)>| {
            codes.sort();
            codes
        };
        let found = sorted(codes(move_to(vec![dir(ours.clone(), vec![0, 9])])));
        assert_eq!(
            found,
            sorted(said(0, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_OR_PARTITION)),
            "v{version}"
        );
        let other = StrBytes::from_static_str("/elsewhere");
        let found = sorted(codes(move_to(vec![dir(other, vec![0, 9])])));
        assert_eq!(
            found,
            sorted(said(LOG_DIR_NOT_FOUND, LOG_DIR_NOT_FOUND, LOG_DIR_NOT_FOUND)),
            "v{version}"
        );
    }
}

#[test]
fn elections_are_not_needed_where_the_leader_lives() {
    let topic = topic("elections", 1, &[]);
    for (version, kind) in [(0, 0), (1, 1), (2, 0), (2, 1)] {
        let asked = TopicPartitions::default().with_topic(name(&topic)).with_partitions(vec![0, 9]);
        let request = ElectLeadersRequest::default().with_election_type(kind).with_timeout_ms(10_000);
        let answer = ask(&request.clone().with_topic_partitions(Some(vec![asked])), version);
        assert_eq!(answer.error_code, 0);
        let codes: Vec<_> = answer.replica_election_results[0]
            .partition_result
            .iter()
            .map(|p| (p.partition_id, p.error_code))
            .collect();
        let expected = [(0, ELECTION_NOT_NEEDED), (9, UNKNOWN_TOPIC_OR_PARTITION)];
        assert_eq!(codes, expected, "v{version}, type {kind}");
        let all = ask(&request.with_topic_partitions(None), version);
        let of_ours = all.replica_election_results.iter().filter(|t| *t.topic.0 == *topic);
        assert!(of_ours.flat_map(|t| &t.partition_result).next().is_none(), "only those that need one");
    }
    let unknown = ElectLeadersRequest::default().with_election_type(9).with_topic_partitions(None);
    assert_eq!(ask(&unknown, 2).error_code, INVALID_REQUEST);
}

#[test]
fn a_reassignment_is_complete_at_once_or_refused() {
    let topic = topic("reassigned", 1, &[]);
    let me = node();
    for version in [0, 1] {
        let answer = |topic: &str, index: i32, replicas: Option<Vec<BrokerId>>| {
            let partition =
                ReassignablePartition::default().with_partition_index(index).with_replicas(replicas);
            let asked = ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
            let request = AlterPartitionReassignmentsRequest::default()
                .with_timeout_ms(10_000)
                .with_topics(vec![asked]);
            let answer = ask(&request, version);
            assert_eq!(answer.error_code, 0);
            answer.responses[0].partitions[0].error_code
        };
        assert_eq!(answer(&topic, 0, Some(vec![me])), 0, "v{version}");
        assert_eq!(answer(&topic, 9, Some(vec![me])), UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(answer(&unique("nowhere"), 0, Some(vec![me])), UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(answer(&topic, 0, Some(vec![])), INVALID_REPLICA_ASSIGNMENT);
        assert_eq!(answer(&topic, 0, Some(vec![me, me])), INVALID_REPLICA_ASSIGNMENT);
        assert_eq!(answer(&topic, 0, Some(vec![BrokerId(4711)])), INVALID_REPLICA_ASSIGNMENT);
        assert_eq!(answer(&topic, 0, None), NO_REASSIGNMENT_IN_PROGRESS);
    }
    let ongoing = ask(&ListPartitionReassignmentsRequest::default().with_topics(None), 0);
    assert_eq!((ongoing.error_code, ongoing.topics.len()), (0, 0));
}

#[test]
fn describe_producers_shows_an_idempotent_producer() {
    let topic = topic("producers", 1, &[]);
    deliver(&topic, &[("enable.idempotence", "true")], &[Record::value("a"), Record::value("b")]);
    let asked = ProducersOf::default().with_name(name(&topic)).with_partition_indexes(vec![0, 9]);
    let answer = ask(&DescribeProducersRequest::default().with_topics(vec![asked]), 0);
    let partitions = &answer.topics[0].partitions;
    assert_eq!(partitions[0].error_code, 0);
    let producer = &partitions[0].active_producers[0];
    assert!(producer.producer_id.0 >= 0 && producer.last_timestamp > 0);
    assert_eq!((producer.producer_epoch, producer.last_sequence), (0, 1));
    assert_eq!((producer.coordinator_epoch, producer.current_txn_start_offset), (-1, -1));
    assert_eq!(partitions[1].error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn the_quorum_is_the_controller_and_its_offsets_grow() {
    let ask_quorum = |version: i16, topic: &str| {
        let asked = TopicData::default()
            .with_topic_name(name(topic))
            .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
        ask(&DescribeQuorumRequest::default().with_topics(vec![asked]), version)
    };
    let me = node();
    let mut last = 0;
    for version in [0, 2] {
        let answer = ask_quorum(version, "__cluster_metadata");
        assert_eq!(answer.error_code, 0, "v{version}");
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id), (0, me));
        assert!(partition.leader_epoch >= 1 && partition.high_watermark > last);
        assert_eq!(partition.current_voters.iter().map(|v| v.replica_id).collect::<Vec<_>>(), [me]);
        assert!(partition.current_voters[0].log_end_offset >= partition.high_watermark);
        if version >= 2 {
            assert_eq!(answer.nodes[0].node_id, me);
            assert!(!answer.nodes[0].listeners.is_empty());
        }
        last = partition.high_watermark;
        topic("quorum", 1, &[]);
    }
    let other = ask_quorum(2, "elsewhere");
    assert_eq!(other.topics[0].partitions[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn features_are_said_and_what_is_unknown_cannot_be_switched_on() {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("raw"))
        .with_client_software_version(text("1"));
    for version in [3, 4] {
        let said = ask(&request, version);
        assert!(said.finalized_features_epoch >= 0, "v{version}");
        let supported = said.supported_features.iter().find(|f| &*f.name == "metadata.version").unwrap();
        let finalized = said.finalized_features.iter().find(|f| &*f.name == "metadata.version").unwrap();
        let range = supported.min_version..=supported.max_version;
        assert!(range.contains(&finalized.max_version_level));
    }
    for version in [0, 2] {
        let update = |feature: &str, level: i16| {
            let update =
                FeatureUpdateKey::default().with_feature(text(feature)).with_max_version_level(level);
            let request = UpdateFeaturesRequest::default()
                .with_timeout_ms(10_000)
                .with_feature_updates(vec![update])
                .with_validate_only(version >= 1);
            ask(&request, version).error_code
        };
        assert_eq!(update("no.such.feature", 1), INVALID_UPDATE_VERSION, "v{version}");
        assert_eq!(update("no.such.feature", 0), INVALID_UPDATE_VERSION);
        assert_eq!(update("metadata.version", 1), INVALID_UPDATE_VERSION);
        assert_eq!(update("metadata.version", 30_000), INVALID_UPDATE_VERSION);
    }
}

#[test]
fn describe_cluster_knows_endpoint_types_and_authorized_operations() {
    for version in [0, 2] {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let answer = ask(&request, version);
        assert_eq!((answer.error_code, answer.brokers.len()), (0, 1), "v{version}");
        // CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE
        assert_eq!(answer.cluster_authorized_operations, 0b1_1111_1010_0000);
    }
    let of_type = |kind: i8| ask(&DescribeClusterRequest::default().with_endpoint_type(kind), 1).error_code;
    assert_eq!(
        (of_type(1), of_type(2), of_type(9)),
        (0, MISMATCHED_ENDPOINT_TYPE, UNSUPPORTED_ENDPOINT_TYPE)
    );
    let unknown = UnregisterBrokerRequest::default().with_broker_id(BrokerId(4711));
    assert_eq!(ask(&unknown, 0).error_code, BROKER_ID_NOT_REGISTERED);
}

#[test]
fn metadata_answers_by_id_and_tells_operations_where_they_are_asked_for() {
    let topic = topic("metadata", 1, &[]);
    let by = |id: Uuid, topic: Option<&str>| {
        let asked = MetadataRequestTopic::default().with_topic_id(id).with_name(topic.map(name));
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false)
    };
    let nil = Uuid::nil();
    let found = ask(&by(nil, Some(&topic)).with_include_topic_authorized_operations(true), 13);
    assert_eq!((found.error_code, found.topics[0].error_code), (0, 0));
    assert_eq!(found.topics[0].topic_authorized_operations, 0b1101_1111_1000);
    let id = found.topics[0].topic_id;
    let again = ask(&by(id, None), 12);
    assert_eq!(again.topics[0].name.as_ref().map(|n| n.to_string()), Some(topic.clone()));
    assert_eq!(again.topics[0].topic_authorized_operations, i32::MIN);
    let other = ask(&by(Uuid::from_u128(1), None), 13);
    assert_eq!((other.topics[0].error_code, other.topics[0].name.clone()), (UNKNOWN_TOPIC_ID, None));
    let too_early = ask(&by(id, None), 11);
    assert_eq!(too_early.topics[0].error_code, INVALID_REQUEST);
    let cluster = by(nil, Some(&topic)).with_include_cluster_authorized_operations(true);
    assert_ne!(ask(&cluster, 10).cluster_authorized_operations, i32::MIN);
    let twice = MetadataRequest::default().with_topics(Some(vec![
        MetadataRequestTopic::default()
            .with_name(Some(name(&topic)));
        2
    ]));
    assert_eq!(ask(&twice, 9).topics.len(), 1);
}
