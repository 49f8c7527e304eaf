//! Groups as administrators see them: listed, described, deleted, their offsets too.

use std::time::Duration;

use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, DescribeGroupsResponse, GroupId, ListGroupsRequest,
    ListGroupsResponse, OffsetDeleteRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::support::{PATIENCE, admin, admin_options, config, topic, unique, until, wait};
use super::wire::ask;

const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;
/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS (`AclEntry.supportedOperations`).
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// A member that has its partitions.
fn stable_member(group: &str, topic: &str) -> BaseConsumer {
    let consumer: BaseConsumer =
        config(&[("enable.auto.commit", "false")]).set("group.id", group).create().expect("valid settings");
    consumer.subscribe(&[topic]).expect("subscribe");
    until("an assignment", || {
        let _ = consumer.poll(Duration::from_millis(20));
        (consumer.assignment().expect("assignment").count() > 0).then_some(())
    });
    consumer
}

/// A group without members that committed an offset of partition 0.
fn empty_group(name: &str, topic: &str) -> String {
    let group = unique(name);
    let consumer: BaseConsumer =
        config(&[("enable.auto.commit", "false")]).set("group.id", &group).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(5)).unwrap();
    consumer.commit(&offsets, CommitMode::Sync).expect("commit");
    group
}

fn committed(group: &str, topic: &str) -> Offset {
    let consumer: BaseConsumer = config(&[]).set("group.id", group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let found = consumer.committed_offsets(asked, PATIENCE).expect("committed offsets");
    found.find_partition(topic, 0).unwrap().offset()
}

fn name(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn describe(version: i16, groups: &[&str]) -> DescribeGroupsResponse {
    let request = DescribeGroupsRequest::default()
        .with_groups(groups.iter().map(|g| GroupId(name(g))).collect())
        .with_include_authorized_operations(version >= 3);
    ask(&request, version)
}

fn list(version: i16, states: &[&str], types: &[&str]) -> ListGroupsResponse {
    let request = ListGroupsRequest::default()
        .with_states_filter(states.iter().map(|s| name(s)).collect())
        .with_types_filter(types.iter().map(|t| name(t)).collect());
    ask(&request, version)
}

fn lists(answer: &ListGroupsResponse, group: &str) -> bool {
    assert_eq!(answer.error_code, 0);
    answer.groups.iter().any(|g| g.group_id.as_str() == group)
}

#[test]
fn a_client_lists_and_describes_groups() {
    let topic = topic("listed", 2, &[]);
    let group = unique("listed");
    let member = stable_member(&group, &topic);
    let list = admin().inner().fetch_group_list(Some(&group), PATIENCE).expect("group list");
    let found = list.groups().iter().find(|g| g.name() == group).expect("the group");
    assert_eq!((found.state(), found.protocol_type(), found.members().len()), ("Stable", "consumer", 1));
    assert!(found.members()[0].assignment().is_some_and(|a| !a.is_empty()));
    drop(member);
}

#[test]
fn describe_groups_in_every_version_that_differs() {
    let topic = topic("described", 1, &[]);
    let group = unique("described");
    let member = stable_member(&group, &topic);
    let missing = unique("missing");
    for version in [0, 3, 6] {
        let answer = describe(version, &[&group, &missing]);
        // Kafka answers in an order of its own.
        let of = |name: &str| answer.groups.iter().find(|g| g.group_id.as_str() == name).expect("a group");
        let (found, absent) = (of(&group), of(&missing));
        assert_eq!((found.error_code, found.group_state.as_str()), (0, "Stable"), "v{version}");
        assert_eq!(found.protocol_type.as_str(), "consumer");
        assert_eq!(found.members.len(), 1);
        assert!(found.members[0].client_host.starts_with('/'), "{}", found.members[0].client_host.as_str());
        assert!(!found.members[0].member_assignment.is_empty());
        let expected = if version >= 3 { GROUP_OPERATIONS } else { i32::MIN };
        assert_eq!(found.authorized_operations, expected);
        assert_eq!(absent.group_state.as_str(), "Dead");
        // Since KIP-1043 it is said.
        assert_eq!(absent.error_code, if version >= 6 { GROUP_ID_NOT_FOUND } else { 0 });
        assert_eq!(absent.error_message.is_some(), version >= 6);
        // Whatever has no error comes with what may be done to it.
        let expected = if (3..6).contains(&version) { GROUP_OPERATIONS } else { i32::MIN };
        assert_eq!(absent.authorized_operations, expected, "v{version}");
    }
    drop(member);
}

#[test]
fn list_groups_filters_by_state_and_type() {
    let topic = topic("filtered", 1, &[]);
    let (stable, empty) = (unique("stable"), empty_group("empty", &topic));
    let member = stable_member(&stable, &topic);
    let all = list(0, &[], &[]);
    assert!(lists(&all, &stable) && lists(&all, &empty));
    let all = list(5, &[], &[]);
    let found = all.groups.iter().find(|g| g.group_id.as_str() == stable).unwrap();
    assert_eq!((found.group_state.as_str(), found.group_type.as_str()), ("Stable", "classic"));
    let only_empty = list(4, &["empty"], &[]);
    assert!(lists(&only_empty, &empty) && !lists(&only_empty, &stable));
    let both = list(5, &["Stable", "Empty"], &["Classic"]);
    assert!(lists(&both, &empty) && lists(&both, &stable));
    assert!(!lists(&list(5, &[], &["consumer"]), &stable));
    drop(member);
}

#[test]
fn an_empty_group_is_deleted_with_its_offsets_and_one_with_members_is_not() {
    let topic = topic("deleted", 1, &[]);
    let (stable, empty) = (unique("stable"), empty_group("empty", &topic));
    assert_eq!(committed(&empty, &topic), Offset::Offset(5));
    let outcome = wait(admin().delete_groups(&[&empty], &admin_options())).unwrap();
    assert_eq!(outcome, [Ok(empty.clone())]);
    assert_eq!(committed(&empty, &topic), Offset::Invalid);

    let member = stable_member(&stable, &topic);
    let outcome = wait(admin().delete_groups(&[&stable], &admin_options())).unwrap();
    assert_eq!(outcome, [Err((stable.clone(), RDKafkaErrorCode::NonEmptyGroup))]);
    for version in [0, 2] {
        // Twice in the request, once in the answer.
        let names = [&stable, &empty, &empty].map(|g| GroupId(name(g)));
        let answer = ask(&DeleteGroupsRequest::default().with_groups_names(names.to_vec()), version);
        let mut results: Vec<_> =
            answer.results.iter().map(|r| (r.group_id.to_string(), r.error_code)).collect();
        results.sort();
        let mut expected = [(stable.clone(), NON_EMPTY_GROUP), (empty.clone(), GROUP_ID_NOT_FOUND)];
        expected.sort();
        assert_eq!(results, expected, "v{version}");
    }
    drop(member);
}

#[test]
fn offset_delete_removes_offsets_that_nobody_uses() {
    let topic = topic("offset-delete", 2, &[]);
    let delete = |group: &str| {
        let partitions = [0, 9].map(|p| OffsetDeleteRequestPartition::default().with_partition_index(p));
        let topics =
            [(&topic, partitions.to_vec()), (&"no-such-topic".to_string(), partitions[..1].to_vec())];
        let topics = topics.map(|(t, partitions)| {
            OffsetDeleteRequestTopic::default().with_name(TopicName(name(t))).with_partitions(partitions)
        });
        let request =
            OffsetDeleteRequest::default().with_group_id(GroupId(name(group))).with_topics(topics.to_vec());
        let answer = ask(&request, 0);
        // Kafka answers in an order of its own.
        let mut found: Vec<_> = answer
            .topics
            .iter()
            .flat_map(|t| t.partitions.iter().map(|p| (*t.name.0 != *topic, p.partition_index, p.error_code)))
            .collect();
        found.sort();
        (answer.error_code, found.into_iter().map(|(_, _, code)| code).collect())
    };
    let unknown = UNKNOWN_TOPIC_OR_PARTITION;
    let empty = empty_group("offset-delete", &topic);
    assert_eq!(delete(&empty), (0, vec![0, unknown, unknown]));
    assert_eq!(committed(&empty, &topic), Offset::Invalid);
    assert_eq!(delete(&unique("nobody")), (GROUP_ID_NOT_FOUND, Vec::<i16>::new()));

    let stable = unique("subscribed");
    let member = stable_member(&stable, &topic);
    assert_eq!(delete(&stable), (0, vec![GROUP_SUBSCRIBED_TO_TOPIC, unknown, unknown]));
    drop(member);
}
