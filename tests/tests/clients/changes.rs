//! What an administrator changes of topics that are in use: configuration, more partitions, deleted records. Apache Kafka
//! answers before its brokers have seen a change, so what follows from one is waited for here; that ours is in force when it
//! is answered is `survives`' to show.

use kafka_protocol::messages::alter_configs_request::{
    AlterConfigsResource as ReplacedResource, AlterableConfig as ReplacedConfig,
};
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    AlterConfigsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rdkafka::admin::{AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::support::{
    PATIENCE, Read, Record, admin, admin_options, assigned, deliver, read_all, send, take, topic, unique,
    until, wait,
};
use super::wire::ask;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

const INVALID_REQUEST: i16 = 42;
const INVALID_CONFIG: i16 = 40;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

/// Changes one key; error code and words of the answer.
fn alter(
    resource: i8,
    name: &str,
    key: &str,
    operation: i8,
    value: Option<&str>,
    validate_only: bool,
) -> (i16, String) {
    let config = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    let answer = ask(&request, 1).responses.remove(0);
    (answer.error_code, answer.error_message.map(|m| m.to_string()).unwrap_or_default())
}

fn set(resource: i8, name: &str, key: &str, value: &str) {
    assert_eq!(alter(resource, name, key, SET, Some(value), false), (0, String::new()), "{key}={value}");
}

/// Value, source, and synonyms as (name, value, source) of one key.
type Described = (Option<String>, i8, Vec<(String, Option<String>, i8)>);

fn describe(resource: i8, name: &str, key: &str) -> Option<Described> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(vec![text(key)]));
    let request =
        DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    let mut answer = ask(&request, 4);
    let result = answer.results.remove(0);
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    let config = result.configs.into_iter().next()?;
    let owned = |value: Option<StrBytes>| value.map(|v| v.to_string());
    let synonyms = config.synonyms.into_iter().map(|s| (s.name.to_string(), owned(s.value), s.source));
    Some((owned(config.value), config.config_source, synonyms.collect()))
}

fn broker_id() -> String {
    let metadata = admin().inner().fetch_metadata(None, PATIENCE).unwrap();
    metadata.brokers().first().expect("a broker").id().to_string()
}

#[test]
fn a_topics_limit_counts_for_the_next_batch() {
    let name = topic("limit", 1, &[]);
    let large = [Record::value(vec![b'x'; 20_000])];
    let unbounded = [("message.max.bytes", "100000000"), ("compression.type", "none")];
    assert_eq!(deliver(&name, &unbounded, &large), [0]);
    set(TOPIC, &name, "max.message.bytes", "10000");
    let code = until("the limit", || send(&name, &unbounded, &large).remove(0).err());
    assert_eq!(code.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge));
    assert_eq!(alter(TOPIC, &name, "max.message.bytes", DELETE, None, false).0, 0);
    until("no limit", || send(&name, &unbounded, &large).remove(0).ok());
}

#[test]
fn what_is_validated_only_changes_nothing() {
    let name = topic("validated", 1, &[]);
    assert_eq!(alter(TOPIC, &name, "retention.ms", SET, Some("5"), true).0, 0);
    assert_eq!(describe(TOPIC, &name, "retention.ms").unwrap().0.as_deref(), Some("604800000"));
    let wrong = alter(TOPIC, &name, "retention.ms", SET, Some("soon"), true);
    assert_eq!(
        wrong,
        (
            INVALID_CONFIG,
            "Invalid value soon for configuration retention.ms: Not a number of type LONG".into()
        )
    );
}

#[test]
fn the_old_request_replaces_what_was_set() {
    let name = topic("replaced", 1, &[("retention.ms", "5000"), ("segment.ms", "6000")]);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&name)).set("segment.ms", "7000");
    let outcome = wait(admin().alter_configs([&change], &admin_options())).unwrap();
    assert!(outcome[0].is_ok(), "{outcome:?}");
    assert_eq!(describe(TOPIC, &name, "segment.ms").unwrap().0.as_deref(), Some("7000"));
    assert_eq!(describe(TOPIC, &name, "retention.ms").unwrap().0.as_deref(), Some("604800000"));
    let config = ReplacedConfig::default().with_name(text("nope")).with_value(Some(text("1")));
    let resource = ReplacedResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(&name))
        .with_configs(vec![config]);
    for version in 0..=2 {
        let request = AlterConfigsRequest::default().with_resources(vec![resource.clone()]);
        assert_eq!(ask(&request, version).responses[0].error_code, INVALID_CONFIG);
    }
}

#[test]
fn a_list_is_added_to_and_shown_above_the_brokers() {
    let name = topic("list", 1, &[]);
    assert_eq!(alter(TOPIC, &name, "cleanup.policy", APPEND, Some("compact"), false).0, 0);
    let (value, source, synonyms) = describe(TOPIC, &name, "cleanup.policy").unwrap();
    assert_eq!((value.as_deref(), source), (Some("delete,compact"), 1));
    let both = [("cleanup.policy", "delete,compact", 1), ("log.cleanup.policy", "delete", 5)];
    let synonyms: Vec<(&str, &str, i8)> =
        synonyms.iter().map(|(n, v, s)| (n.as_str(), v.as_deref().unwrap_or_default(), *s)).collect();
    assert_eq!(synonyms, both);
    // Compacted now: a record without a key is refused.
    let refused = until("the policy", || send(&name, &[], &[Record::value("no key")]).remove(0).err());
    assert_eq!(refused.rdkafka_error_code(), Some(RDKafkaErrorCode::InvalidRecord));
}

#[test]
fn brokers_groups_and_subscriptions_are_configured() {
    let id = broker_id();
    let refused = alter(BROKER, &id, "node.id", SET, Some("5"), false);
    assert_eq!(refused, (INVALID_REQUEST, "Cannot update these configs dynamically: [node.id]".into()));
    // A key that decides nothing for the other tests of this broker.
    set(BROKER, &id, "log.index.interval.bytes", "8192");
    set(BROKER, "", "log.index.interval.bytes", "9216");
    // Kafka answers before its broker has seen the change.
    let expected = [("log.index.interval.bytes", "8192", 2), ("log.index.interval.bytes", "9216", 3)];
    until("the broker's own value", || {
        let (value, _, synonyms) = describe(BROKER, &id, "log.index.interval.bytes")?;
        let told: Vec<(&str, &str, i8)> =
            synonyms.iter().map(|(n, v, s)| (n.as_str(), v.as_deref().unwrap_or_default(), *s)).collect();
        (value.as_deref() == Some("8192") && told.starts_with(&expected)).then_some(())
    });
    assert_eq!(alter(BROKER, &id, "log.index.interval.bytes", DELETE, None, false).0, 0);
    let name = topic("inherits", 1, &[]);
    until("all brokers' value in a topic", || {
        let (value, source, _) = describe(TOPIC, &name, "index.interval.bytes")?;
        (value.as_deref() == Some("9216") && source == 3).then_some(())
    });
    assert_eq!(alter(BROKER, "", "log.index.interval.bytes", DELETE, None, false).0, 0);

    let group = unique("configured");
    set(GROUP, &group, "consumer.session.timeout.ms", "50000");
    until("the group's value", || {
        let (value, source, _) = describe(GROUP, &group, "consumer.session.timeout.ms")?;
        (value.as_deref() == Some("50000") && source == 8).then_some(())
    });
    let subscription = unique("subscription");
    set(CLIENT_METRICS, &subscription, "interval.ms", "500");
    until("the subscription's value", || {
        let (value, source, _) = describe(CLIENT_METRICS, &subscription, "interval.ms")?;
        (value.as_deref() == Some("500") && source == 7).then_some(())
    });

    let listed = |version, types: Vec<i8>| -> Vec<String> {
        let request = ListConfigResourcesRequest::default();
        let request = if version >= 1 { request.with_resource_types(types) } else { request };
        let answer = ask(&request, version);
        assert_eq!(answer.error_code, 0);
        answer.config_resources.iter().map(|r| r.resource_name.to_string()).collect()
    };
    assert!(listed(0, vec![]).contains(&subscription));
    assert!(!listed(0, vec![]).contains(&group));
    let all = listed(1, vec![]);
    assert!([&subscription, &group, &name, &id].iter().all(|name| all.contains(name)), "{all:?}");
    assert!(listed(1, vec![GROUP]).contains(&group));
    let unknown = ask(&ListConfigResourcesRequest::default().with_resource_types(vec![3]), 1);
    assert_eq!(unknown.error_code, 35, "UNSUPPORTED_VERSION");
}

#[test]
fn the_level_of_a_logger_is_changed_and_told() {
    let id = broker_id();
    let level = || describe(BROKER_LOGGER, &id, "root").unwrap().0.unwrap();
    let before = level();
    set(BROKER_LOGGER, &id, "root", "ERROR");
    assert_eq!(level(), "ERROR");
    set(BROKER_LOGGER, &id, "root", &before);
    assert_eq!(level(), before);
    let unknown = alter(BROKER_LOGGER, &id, "nope", SET, Some("INFO"), false);
    assert_eq!(unknown, (INVALID_CONFIG, "Logger nope does not exist!".into()));
}

#[test]
fn new_partitions_are_there_when_it_is_answered() {
    let name = topic("grows", 2, &[]);
    deliver(&name, &[], &[Record::value("before")]);
    let outcome = wait(admin().create_partitions([&NewPartitions::new(&name, 4)], &admin_options())).unwrap();
    assert_eq!(outcome, [Ok(name.clone())]);
    let record = Record { partition: 3, ..Record::value("after") };
    assert_eq!(deliver(&name, &[], &[record]), [0]);
    let values =
        |reads: Vec<Read>| -> Vec<Vec<u8>> { reads.into_iter().filter_map(|r| r.record.value).collect() };
    assert_eq!(values(read_all(&name, 3)), [b"after".to_vec()]);
    assert_eq!(values(read_all(&name, 0)), [b"before".to_vec()]);
    let again = wait(admin().create_partitions([&NewPartitions::new(&name, 3)], &admin_options())).unwrap();
    assert_eq!(again, [Err((name, RDKafkaErrorCode::InvalidPartitions))]);
}

#[test]
fn partitions_that_cannot_be_added_are_refused_each_by_itself() {
    let (name, other) = (topic("partitions", 1, &[]), topic("other", 1, &[]));
    let of = |name: &str, count, assignments: Option<Vec<Vec<i32>>>| {
        let replicas = |ids: Vec<i32>| {
            CreatePartitionsAssignment::default().with_broker_ids(ids.into_iter().map(BrokerId).collect())
        };
        CreatePartitionsTopic::default()
            .with_name(TopicName(text(name)))
            .with_count(count)
            .with_assignments(assignments.map(|all| all.into_iter().map(replicas).collect()))
    };
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![
            of(&name, 2, Some(vec![vec![9_999]])),
            of(&other, 3, None),
            of("nosuch", 2, None),
            of("twice", 2, None),
            of("twice", 3, None),
        ])
        .with_timeout_ms(30_000)
        .with_validate_only(true);
    let mut codes: Vec<(String, i16)> =
        ask(&request, 3).results.iter().map(|r| (r.name.0.to_string(), r.error_code)).collect();
    codes.sort();
    let mut expected =
        vec![(name.clone(), 39), (other.clone(), 0), ("nosuch".into(), 3), ("twice".into(), 42)];
    expected.sort();
    assert_eq!(
        codes, expected,
        "INVALID_REPLICA_ASSIGNMENT, none, UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST"
    );
    let metadata = admin().inner().fetch_metadata(Some(&other), PATIENCE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 1, "validated only");
}

#[test]
fn a_topic_is_not_placed_on_a_broker_that_is_not_registered() {
    let name = unique("placed");
    for version in [2, 7] {
        let create = |replicas: Vec<i32>| {
            let assigned = CreatableReplicaAssignment::default()
                .with_partition_index(0)
                .with_broker_ids(replicas.into_iter().map(BrokerId).collect());
            let topic = CreatableTopic::default()
                .with_name(TopicName(text(&name)))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_assignments(vec![assigned]);
            let request = CreateTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(30_000)
                .with_validate_only(true);
            let answer = ask(&request, version).topics.remove(0);
            (answer.error_code, answer.error_message.map(|m| m.to_string()).unwrap_or_default())
        };
        let known = admin().inner().fetch_metadata(None, PATIENCE).unwrap().brokers()[0].id();
        assert_eq!(create(vec![known]), (0, String::new()), "v{version}");
        for replicas in [vec![9_999], vec![known, 9_999]] {
            let (code, said) = create(replicas);
            assert_eq!(code, INVALID_REPLICA_ASSIGNMENT, "v{version}: {said}");
            assert!(said.contains("broker 9999, but no such broker is registered"), "{said}");
        }
    }
}

#[test]
fn deleted_records_are_gone_and_the_others_stay() {
    let name = topic("trimmed", 2, &[]);
    let records: Vec<Record> = (0..10).map(|n| Record::value(format!("{n}"))).collect();
    deliver(&name, &[], &records);
    let delete = |partition: i32, offset: Offset| -> Result<i64, RDKafkaErrorCode> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&name, partition, offset).unwrap();
        let deleted = wait(admin().delete_records(&list, &admin_options())).expect("delete records");
        let element = &deleted.elements()[0];
        element.error().map_err(|e| e.rdkafka_error_code().expect("a code"))?;
        Ok(element.offset().to_raw().expect("a low watermark"))
    };
    assert_eq!(delete(0, Offset::Offset(6)), Ok(6));
    assert_eq!(delete(0, Offset::Offset(2)), Ok(6), "a log start never goes back");
    assert_eq!(delete(0, Offset::Offset(11)), Err(RDKafkaErrorCode::OffsetOutOfRange));
    assert_eq!(delete(1, Offset::End), Ok(0));
    let left = read_all(&name, 0);
    assert_eq!(left.iter().map(|r| r.offset).collect::<Vec<_>>(), [6, 7, 8, 9]);
    let consumer = assigned(&name, 0, Offset::Offset(0), &[("auto.offset.reset", "earliest")]);
    assert_eq!(take(&consumer, 1)[0].offset, 6, "below the log start is out of range");
    assert_eq!(delete(0, Offset::End), Ok(10));
    assert_eq!(consumer.fetch_watermarks(&name, 0, PATIENCE).unwrap(), (10, 10));
    assert_eq!(deliver(&name, &[], &[Record::value("next")]), [10]);
}

#[test]
fn records_of_a_compacted_topic_are_not_deleted() {
    let name = topic("kept", 1, &[("cleanup.policy", "compact")]);
    deliver(&name, &[], &[Record { key: Some(b"k".to_vec()), ..Record::value("v") }]);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&name, 0, Offset::End).unwrap();
    let deleted = wait(admin().delete_records(&list, &admin_options())).expect("delete records");
    let error = deleted.elements()[0].error().unwrap_err();
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PolicyViolation));
}
