//! What the cluster keeps over a restart: quotas, replica lists, its feature level; and what a client with an old leader epoch
//! is told afterwards. A broker of its own, always of this build.

use std::time::Duration;

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::quotas;
use super::wire::ask_at;

const FENCED_LEADER_EPOCH: i16 = 74;
const INVALID_REQUEST: i16 = 42;
const INVALID_UPDATE_VERSION: i16 = 95;
const ME: BrokerId = BrokerId(0);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn create(at: &str, topic: &str) {
    let topic =
        CreatableTopic::default().with_name(name(topic)).with_num_partitions(1).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    assert_eq!(ask_at(at, &request, 5).topics[0].error_code, 0);
}

fn metadata(at: &str, topic: &str) -> metadata_response::MetadataResponseTopic {
    let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
    ask_at(at, &MetadataRequest::default().with_topics(Some(vec![asked])), 12).topics.remove(0)
}

/// A new cluster begins at the highest level.
const NEWEST: i16 = broker::metadata::LEVEL_MAX as i16;

/// The finalized level of `aquifer.version`, and the epoch of the features.
fn level(at: &str) -> (i16, i64) {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("raw"))
        .with_client_software_version(text("1"));
    let said = ask_at(at, &request, 4);
    let finalized = said.finalized_features.iter().find(|f| &*f.name == "aquifer.version").unwrap();
    (finalized.max_version_level, said.finalized_features_epoch)
}

#[test]
fn quotas_replica_lists_and_levels_survive_a_restart_and_old_epochs_are_told_who_leads() {
    let mut broker = tests::server::own("restart", &[]);
    let at = broker.addr().to_string();
    create(&at, "t");
    let entity = [("user", Some("u"))];
    assert_eq!(quotas::alter(&at, 1, &entity, ("producer_byte_rate", Some(5.0)), false), 0);
    let partition = ReassignablePartition::default().with_partition_index(0).with_replicas(Some(vec![ME]));
    let reassigned = ReassignableTopic::default().with_name(name("t")).with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![reassigned]);
    assert_eq!(ask_at(&at, &request, 1).responses[0].partitions[0].error_code, 0);
    let (before, epoch) = level(&at);
    assert_eq!((before, metadata(&at, "t").partitions[0].leader_epoch), (NEWEST, 0));

    broker.kill().unwrap();
    broker.start_again().unwrap();
    assert_eq!(quotas::describe(&at, 0, "user", "u"), Ok(vec![("producer_byte_rate".to_string(), 5.0)]));
    let partition = metadata(&at, "t").partitions.remove(0);
    assert_eq!((partition.replica_nodes, partition.isr_nodes), (vec![ME], vec![ME]));
    assert_eq!((partition.leader_id, partition.leader_epoch), (ME, 1));
    let (after, later) = level(&at);
    assert_eq!(after, NEWEST);
    assert!(later > epoch, "the epoch of features never goes back");

    an_old_epoch_is_told_the_new_leader(&at, metadata(&at, "t").topic_id);

    // The live broker is not to be unregistered, nor the level lowered.
    let me = UnregisterBrokerRequest::default().with_broker_id(ME);
    assert_eq!(ask_at(&at, &me, 0).error_code, INVALID_REQUEST);
    let update = |level: i16, upgrade_type: i8| {
        let update = FeatureUpdateKey::default()
            .with_feature(text("aquifer.version"))
            .with_max_version_level(level)
            .with_upgrade_type(upgrade_type);
        ask_at(&at, &UpdateFeaturesRequest::default().with_feature_updates(vec![update]), 2).error_code
    };
    assert_eq!(
        (update(NEWEST, 1), update(1, 2), update(NEWEST + 1, 1)),
        (0, INVALID_UPDATE_VERSION, INVALID_UPDATE_VERSION)
    );

    assert!(broker.stop(Duration::from_secs(30)).unwrap());
    broker.start_again().unwrap();
    assert_eq!(metadata(&at, "t").partitions[0].leader_epoch, 2, "a clean stop is a new epoch, too");
    assert_eq!(quotas::describe(&at, 1, "user", "u").unwrap().len(), 1);
}

fn an_old_epoch_is_told_the_new_leader(at: &str, topic_id: uuid::Uuid) {
    let end = |current: i32, asked: i32| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(current)
            .with_leader_epoch(asked);
        let asked = OffsetForLeaderTopic::default().with_topic(name("t")).with_partitions(vec![partition]);
        let answer = ask_at(at, &OffsetForLeaderEpochRequest::default().with_topics(vec![asked]), 4);
        let found = &answer.topics[0].partitions[0];
        (found.error_code, found.leader_epoch, found.end_offset)
    };
    assert_eq!(end(0, 0), (FENCED_LEADER_EPOCH, -1, -1));
    assert_eq!(end(1, 1), (0, 1, 0));

    for version in [15, 16, 18] {
        let partition = FetchPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(0)
            .with_partition_max_bytes(1 << 20);
        let asked = FetchTopic::default().with_topic_id(topic_id).with_partitions(vec![partition]);
        let request = FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![asked]);
        let answer = ask_at(at, &request, version);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(partition.error_code, FENCED_LEADER_EPOCH, "v{version}");
        if version < 16 {
            assert!(answer.node_endpoints.is_empty());
            continue;
        }
        assert_eq!((partition.current_leader.leader_id, partition.current_leader.leader_epoch), (ME, 1));
        let node = &answer.node_endpoints[0];
        assert_eq!(format!("{}:{}", node.host.as_str(), node.port), at, "v{version}");
    }
}
