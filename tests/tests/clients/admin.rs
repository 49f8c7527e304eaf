//! Topics and their configuration through the admin client, and topics that a client's use creates.

use rdkafka::admin::{ConfigEntry, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::support::{
    PATIENCE, Record, admin, admin_options, config, deliver, read_all, topic, unique, until, wait,
};

use super::wire;

/// Partitions of a topic as Metadata says; 0 when there is none. Does not create it.
fn partitions(topic: &str) -> usize {
    let admin = admin();
    let metadata = admin.inner().fetch_metadata(None, PATIENCE).expect("metadata");
    metadata.topics().iter().find(|t| t.name() == topic).map_or(0, |t| t.partitions().len())
}

#[test]
fn a_created_topic_has_its_partitions_and_cannot_be_created_twice() {
    let topic = topic("create", 7, &[]);
    assert_eq!(partitions(&topic), 7);
    let again = NewTopic::new(&topic, 7, TopicReplication::Fixed(1));
    let outcome = wait(admin().create_topics([&again], &admin_options())).unwrap();
    assert_eq!(outcome, [Err((topic, RDKafkaErrorCode::TopicAlreadyExists))]);
}

#[test]
fn what_kafka_refuses_to_create_is_refused_with_its_error() {
    let name = unique("refused");
    let create = |new: NewTopic<'_>| {
        let outcome = wait(admin().create_topics([&new], &admin_options())).unwrap();
        outcome.into_iter().next().unwrap().expect_err("refused").1
    };
    let one = || TopicReplication::Fixed(1);
    assert_eq!(create(NewTopic::new("no spaces", 1, one())), RDKafkaErrorCode::InvalidTopic);
    assert_eq!(create(NewTopic::new(&"x".repeat(250), 1, one())), RDKafkaErrorCode::InvalidTopic);
    assert_eq!(create(NewTopic::new(&name, 0, one())), RDKafkaErrorCode::InvalidPartitions);
    assert_eq!(
        create(NewTopic::new(&name, 1, one()).set("no.such.config", "1")),
        RDKafkaErrorCode::InvalidConfig
    );
    assert_eq!(
        create(NewTopic::new(&name, 1, one()).set("retention.ms", "soon")),
        RDKafkaErrorCode::InvalidConfig
    );
    assert_eq!(partitions(&name), 0);
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_begins_anew() {
    let name = topic("delete", 2, &[]);
    deliver(&name, &[], &[Record::value("old")]);
    let outcome = wait(admin().delete_topics(&[&name], &admin_options())).unwrap();
    assert_eq!(outcome, [Ok(name.clone())]);
    until("the topic to be gone", || (partitions(&name) == 0).then_some(()));
    let again = wait(admin().delete_topics(&[&name], &admin_options())).unwrap();
    assert_eq!(again, [Err((name.clone(), RDKafkaErrorCode::UnknownTopicOrPartition))]);

    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    assert_eq!(wait(admin().create_topics([&new], &admin_options())).unwrap(), [Ok(name.clone())]);
    until("the new topic", || (partitions(&name) == 1).then_some(()));
    assert_eq!(deliver(&name, &[], &[Record::value("new")]), [0]);
    let read = read_all(&name, 0);
    assert_eq!(read.iter().map(|r| r.record.value.as_deref()).collect::<Vec<_>>(), [Some(&b"new"[..])]);
}

#[test]
fn a_topics_configuration_tells_what_was_set_and_what_is_default() {
    let name = topic("configs", 1, &[("max.message.bytes", "12582912"), ("cleanup.policy", "compact")]);
    let described =
        wait(admin().describe_configs(&[ResourceSpecifier::Topic(&name)], &admin_options())).unwrap();
    let resource = described.into_iter().next().unwrap().expect("described");
    let entry =
        |key: &str| -> &ConfigEntry { resource.entries.iter().find(|e| e.name == key).expect("an entry") };
    for (key, value) in [("max.message.bytes", "12582912"), ("cleanup.policy", "compact")] {
        let entry = entry(key);
        assert_eq!((entry.value.as_deref(), &entry.source), (Some(value), &ConfigSource::DynamicTopic));
        assert!(!entry.is_default && !entry.is_read_only && !entry.is_sensitive);
    }
    let retention = entry("retention.ms");
    assert_eq!((retention.value.as_deref(), retention.is_default), (Some("604800000"), true));
    assert_eq!(entry("compression.type").value.as_deref(), Some("producer"));
}

#[test]
fn a_topic_that_is_not_there_has_no_configuration() {
    let name = unique("no-configs");
    // rdkafka drops a resource's own error, so it is read from the wire: UNKNOWN_TOPIC_OR_PARTITION.
    assert_eq!(wire::describe_configs_error(&name), 3);
}

#[test]
fn a_brokers_configuration_is_described_by_its_id() {
    let admin = admin();
    let metadata = admin.inner().fetch_metadata(None, PATIENCE).unwrap();
    let id = metadata.brokers().first().expect("a broker").id();
    let described = wait(admin.describe_configs(&[ResourceSpecifier::Broker(id)], &admin_options())).unwrap();
    let resource = described.into_iter().next().unwrap().expect("described");
    assert_eq!(
        resource.entries.iter().find(|e| e.name == "message.max.bytes").and_then(|e| e.value.clone()),
        Some("1048588".into())
    );
}

#[test]
fn producing_to_a_topic_that_is_not_there_creates_it() {
    let name = unique("auto-create");
    assert_eq!(deliver(&name, &[], &[Record::value("first")]), [0]);
    let read = read_all(&name, 0);
    assert_eq!(read.iter().map(|r| r.record.value.as_deref()).collect::<Vec<_>>(), [Some(&b"first"[..])]);
}

#[test]
fn a_consumer_does_not_create_a_topic() {
    let name = unique("not-created");
    // librdkafka's consumer says allow_auto_topic_creation = false (KIP-361).
    let consumer: BaseConsumer = config(&[]).set("group.id", unique("g")).create().unwrap();
    consumer.subscribe(&[&name]).unwrap();
    let metadata = consumer.fetch_metadata(Some(&name), PATIENCE).expect("metadata");
    let code = metadata.topics()[0].error().map(RDKafkaErrorCode::from);
    assert_eq!(code, Some(RDKafkaErrorCode::UnknownTopicOrPartition));
    assert_eq!(partitions(&name), 0);
}

#[test]
fn metadata_names_the_cluster_its_brokers_and_no_unknown_leader() {
    let name = topic("metadata", 3, &[]);
    let admin = admin();
    let client: &rdkafka::client::Client<DefaultClientContext> = admin.inner();
    assert!(client.fetch_cluster_id(PATIENCE).is_some_and(|id| !id.is_empty()));
    let metadata = client.fetch_metadata(Some(&name), PATIENCE).unwrap();
    let brokers: Vec<i32> = metadata.brokers().iter().map(|b| b.id()).collect();
    for partition in metadata.topics()[0].partitions() {
        assert!(brokers.contains(&partition.leader()));
        assert!(partition.replicas().contains(&partition.leader()));
        assert!(partition.isr().contains(&partition.leader()));
    }
}
