//! Tables of changes: what Apache Kafka 4.3 answers to the same requests, word for word.

use super::*;
use crate::controller::rig::Rig;

const T: i8 = ConfigResource::Topic as i8;
const B: i8 = ConfigResource::Broker as i8;
const G: i8 = ConfigResource::Group as i8;
const M: i8 = ConfigResource::ClientMetrics as i8;
const OK: Result<(), (ErrorCode, &str)> = Ok(());

/// Name of the resource, change, answer.
type Row = (&'static str, KeyChange, Result<(), (ErrorCode, &'static str)>);

fn change(name: &str, operation: Operation, value: Option<&str>) -> KeyChange {
    KeyChange { name: name.into(), operation: operation as i8, value: value.map(str::to_string) }
}

fn set(name: &str, value: &str) -> KeyChange {
    change(name, Operation::Set, Some(value))
}

fn of(resource: i8, name: &str, keys: Vec<KeyChange>) -> Alteration {
    Alteration { resource, name: name.into(), keys }
}

impl Rig {
    fn judge(&self) -> Judge<'_> {
        Judge { image: &self.image, node_id: 0, values: &self.values }
    }

    /// Carries out one incremental change.
    fn alter(&mut self, resource: i8, name: &str, keys: Vec<KeyChange>) -> Result<(), (ErrorCode, String)> {
        let result = self.judge().incremental(&[of(resource, name, keys)]).pop().unwrap();
        self.carry_out(result)
    }

    fn replace(&mut self, resource: i8, name: &str, keys: Vec<KeyChange>) -> Result<(), (ErrorCode, String)> {
        let result = self.judge().legacy(&[of(resource, name, keys)]).pop().unwrap();
        self.carry_out(result)
    }

    fn carry_out(&mut self, result: Result<Altered, Refused>) -> Result<(), (ErrorCode, String)> {
        match result.map_err(|refused| (refused.code, refused.message))? {
            Altered::Stored(records) => self.apply(&records),
            Altered::Loggers(_) => {}
        }
        Ok(())
    }

    fn stored(&self, resource: ConfigResource, name: &str) -> Vec<(String, String)> {
        self.judge().stored(resource, name).into_iter().collect()
    }
}

fn expected(expected: Result<(), (ErrorCode, &str)>) -> Result<(), (ErrorCode, String)> {
    expected.map_err(|(code, why)| (code, why.to_string()))
}

#[test]
fn changes_of_topics_are_answered_as_kafka_answers_them() {
    let mut rig = Rig::new();
    rig.create("t", 2);
    use ErrorCode::*;
    use Operation::*;
    let table: Vec<Row> = vec![
        (
            "t",
            set("retention.ms", "soon"),
            Err((
                InvalidConfig,
                "Invalid value soon for configuration retention.ms: Not a number of type LONG",
            )),
        ),
        (
            "t",
            set("retention.ms", "-5"),
            Err((
                InvalidConfig,
                "Invalid value -5 for configuration retention.ms: Value must be at least -1",
            )),
        ),
        ("t", set("nope", "1"), Err((InvalidConfig, "Unknown topic config name: nope"))),
        ("t", change("nope", Delete, None), OK),
        (
            "t",
            change("retention.ms", Set, None),
            Err((InvalidRequest, "Null value not supported for : retention.ms")),
        ),
        (
            "t",
            change("retention.ms", Append, Some("5")),
            Err((InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST.")),
        ),
        (
            "t",
            change("nope", Subtract, Some("5")),
            Err((InvalidConfig, "Can't SUBTRACT to key nope because its type is not LIST.")),
        ),
        (
            "t",
            set("segment.bytes", "5"),
            Err((
                InvalidConfig,
                "Invalid value 5 for configuration segment.bytes: Value must be at least 1048576",
            )),
        ),
        ("t", set("retention.bytes", "-2"), OK),
        ("t", set("internal.segment.bytes", "5"), OK),
        ("t", set("preallocate", " TRUE "), OK),
        (
            "nosuch",
            set("retention.ms", "5"),
            Err((UnknownTopicOrPartition, "The topic 'nosuch' does not exist.")),
        ),
        (
            "nosuch",
            set("retention.ms", "x"),
            Err((InvalidConfig, "Invalid value x for configuration retention.ms: Not a number of type LONG")),
        ),
        ("", set("retention.ms", "5"), Err((InvalidRequest, "Default topic resources are not allowed."))),
        (
            "a b",
            set("retention.ms", "5"),
            Err((
                InvalidTopicException,
                "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' \
                 and '-'",
            )),
        ),
    ];
    for (topic, key, answer) in table {
        let what = format!("{topic} {key:?}");
        assert_eq!(rig.alter(T, topic, vec![key]), expected(answer), "{what}");
    }
}

#[test]
fn lists_are_added_to_and_taken_from_beginning_with_the_default() {
    let mut rig = Rig::new();
    rig.create("t", 1);
    let key = "cleanup.policy";
    let steps = [
        (Operation::Append, "compact", "delete,compact"),
        (Operation::Append, "compact", "delete,compact"),
        (Operation::Subtract, "delete", "compact"),
        (Operation::Subtract, "compact", ""),
        (Operation::Set, " delete , compact ", "delete , compact"),
        (Operation::Append, "compact,delete", "delete,compact"),
    ];
    for (operation, value, after) in steps {
        assert_eq!(rig.alter(T, "t", vec![change(key, operation, Some(value))]), Ok(()));
        assert_eq!(rig.stored(ConfigResource::Topic, "t"), [(key.to_string(), after.to_string())]);
    }
    assert_eq!(rig.alter(T, "t", vec![change(key, Operation::Delete, None)]), Ok(()));
    assert!(rig.stored(ConfigResource::Topic, "t").is_empty());
    assert_eq!(
        rig.alter(B, "0", vec![change("log.cleanup.policy", Operation::Append, Some("compact"))]),
        Ok(())
    );
    let expected = [("log.cleanup.policy".to_string(), "delete,compact".to_string())];
    assert_eq!(rig.stored(ConfigResource::Broker, "0"), expected);
}

#[test]
fn a_value_that_grew_too_long_is_refused() {
    let mut rig = Rig::new();
    rig.create("t", 1);
    let replicas = |n: usize| (0..n).map(|p| format!("{p}:1")).collect::<Vec<_>>().join(",");
    let key = "leader.replication.throttled.replicas";
    assert_eq!(rig.alter(T, "t", vec![set(key, &replicas(4_000))]), Ok(()));
    let grown = rig.alter(T, "t", vec![change(key, Operation::Append, Some(&replicas(6_000)))]);
    let why =
        "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes.";
    assert_eq!(grown, expected(Err((ErrorCode::InvalidConfig, why))));
}

#[test]
fn changes_of_brokers_are_answered_as_kafka_answers_them() {
    let mut rig = Rig::new();
    use ErrorCode::*;
    use Operation::*;
    let table: Vec<Row> = vec![
        (
            "0",
            set("node.id", "5"),
            Err((InvalidRequest, "Cannot update these configs dynamically: [node.id]")),
        ),
        (
            "0",
            set("log.retention.hours", "5"),
            Err((InvalidRequest, "Cannot update these configs dynamically: [log.retention.hours]")),
        ),
        (
            "",
            set("num.partitions", "5"),
            Err((InvalidRequest, "Cannot update these configs dynamically: [num.partitions]")),
        ),
        (
            "0",
            set("group.max.size", "5"),
            Err((InvalidRequest, "Cannot update these configs dynamically: [group.max.size]")),
        ),
        ("0", change("node.id", Delete, None), OK),
        ("0", set("log.retention.ms", "5000"), OK),
        ("0", set("nope", "5"), OK),
        ("0", change("nope", Append, Some("5")), Err((InvalidConfig, "Unknown config name: nope"))),
        (
            "0",
            set("message.max.bytes", "x"),
            Err((
                InvalidRequest,
                "Invalid value x for configuration message.max.bytes: Not a number of type INT",
            )),
        ),
        (
            "0",
            set("message.max.bytes", "-1"),
            Err((
                InvalidRequest,
                "Invalid value -1 for configuration message.max.bytes: Value must be at least 0",
            )),
        ),
        (
            "0",
            change("message.max.bytes", Append, Some("5")),
            Err((InvalidConfig, "Config value append is not allowed for config key: message.max.bytes")),
        ),
        (
            "0",
            set("log.cleanup.policy", "foo"),
            Err((
                InvalidRequest,
                "Invalid value foo for configuration log.cleanup.policy: String must be one of: compact, delete",
            )),
        ),
        (
            "0",
            set("ssl.keystore.location", "x"),
            Err((
                InvalidRequest,
                "These security configs can be dynamically updated only per-listener using the listener prefix: \
                 [ssl.keystore.location]",
            )),
        ),
        (
            "",
            set("sasl.jaas.config", "x"),
            Err((
                InvalidRequest,
                "Cannot update these configs at default cluster level, broker id must be specified: [sasl.jaas.config]",
            )),
        ),
        ("", set("max.connections", "5000"), OK),
        ("0", set("max.connections", "6000"), OK),
        ("", set("listener.name.plaintext.max.connections", "50"), OK),
        (
            "",
            set("listener.name.plaintext.ssl.keystore.type", "PEM"),
            Err((
                InvalidRequest,
                "Cannot update these configs at default cluster level, broker id must be specified: \
                 [listener.name.plaintext.ssl.keystore.type]",
            )),
        ),
        ("0", set("listener.name.plaintext.ssl.keystore.type", "PEM"), OK),
        ("", set("log.retention.ms", "-1"), OK),
        (
            "",
            set("log.retention.ms", "0"),
            Err((
                InvalidRequest,
                "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
            )),
        ),
        (
            "0",
            set("log.roll.ms", "0"),
            Err((InvalidRequest, "requirement failed: log.roll.ms must be greater than or equal to 1")),
        ),
        (
            "0",
            set("log.cleaner.dedupe.buffer.size", "1048576"),
            Err((
                InvalidRequest,
                "requirement failed: log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
            )),
        ),
        ("", set("log.cleaner.dedupe.buffer.size", "1048577"), OK),
        (
            "0",
            set("max.connections.per.ip", "0"),
            Err((
                InvalidRequest,
                "requirement failed: max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides \
                 property is set.",
            )),
        ),
        (
            "0",
            set("max.connections", "0"),
            Err((
                InvalidRequest,
                "Invalid value org.apache.kafka.common.config.ConfigException: Invalid max.connections 0 for configuration \
                 Invalid dynamic configuration",
            )),
        ),
        (
            "0",
            set("max.connections", "-1"),
            Err((
                InvalidRequest,
                "Invalid value -1 for configuration max.connections: Value must be at least 0",
            )),
        ),
        (
            "99",
            set("message.max.bytes", "5"),
            Err((InvalidRequest, "Unexpected broker id, expected 0, but received 99")),
        ),
        (
            "x",
            set("message.max.bytes", "5"),
            Err((InvalidRequest, "Node id must be an integer, but it is: x")),
        ),
    ];
    for (name, key, answer) in table {
        let what = format!("{name} {key:?}");
        assert_eq!(rig.alter(B, name, vec![key]), expected(answer), "{what}");
    }
    let stored = rig.stored(ConfigResource::Broker, "");
    let names: Vec<&str> = stored.iter().map(|(k, _)| k.as_str()).collect();
    let kept = [
        "listener.name.plaintext.max.connections",
        "log.cleaner.dedupe.buffer.size",
        "log.retention.ms",
        "max.connections",
    ];
    assert_eq!(names, kept);
    assert_eq!(
        rig.alter(B, "0", vec![set("max.connections.per.ip.overrides", "x")]).unwrap_err().0,
        InvalidRequest
    );
    let protection = rig.alter(B, "0", vec![set("sasl.enabled.mechanisms", "PLAIN")]).unwrap_err();
    assert!(protection.1.contains("SASL is not in this release"), "{}", protection.1);
}

#[test]
fn groups_and_subscriptions_need_a_name_and_have_no_lists_to_add_to() {
    let mut rig = Rig::new();
    use ErrorCode::*;
    let mut say = |resource, name: &str, key| rig.alter(resource, name, vec![key]);
    assert_eq!(say(G, "g", set("consumer.session.timeout.ms", "50000")), Ok(()));
    assert_eq!(
        say(G, "", set("consumer.session.timeout.ms", "50000")),
        Err((InvalidRequest, "Default group resources are not allowed.".into()))
    );
    assert_eq!(
        say(G, "g", set("consumer.session.timeout.ms", "5")),
        Err((
            InvalidConfig,
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms".into()
        ))
    );
    assert_eq!(say(M, "m", set("metrics", "a,b")), Ok(()));
    assert_eq!(
        say(M, "m", change("metrics", Operation::Append, Some("c"))),
        Err((InvalidConfig, "Can't APPEND to key metrics because its type is not LIST.".into()))
    );
    assert_eq!(
        say(M, "", set("metrics", "a")),
        Err((InvalidRequest, "Subscription name can't be empty".into()))
    );
    assert_eq!(say(3, "x", set("metrics", "a")), Err((InvalidRequest, "Unknown resource type 3".into())));
    let listed = list_resources(&rig.image, &[M, G, B, BROKER_LOGGER]).unwrap();
    let names: Vec<(i8, Vec<String>)> = listed.into_iter().collect();
    let one = |name: &str| vec![name.to_string()];
    assert_eq!(names, [(B, one("0")), (BROKER_LOGGER, one("0")), (M, one("m")), (G, one("g"))]);
    assert_eq!(list_resources(&rig.image, &[3]).unwrap_err().code, UnsupportedVersion);
}

#[test]
fn a_resource_changes_whole_or_not_at_all_and_others_by_themselves() {
    let mut rig = Rig::new();
    rig.create("t", 1);
    rig.create("u", 1);
    let half = of(T, "t", vec![set("retention.ms", "5"), set("segment.ms", "x")]);
    let good = of(T, "u", vec![set("retention.ms", "5")]);
    let results = rig.judge().incremental(&[half, good]);
    assert!(results[0].is_err());
    assert!(matches!(&results[1], Ok(Altered::Stored(records)) if records.len() == 1));
}

#[test]
fn what_is_there_twice_is_refused() {
    let mut rig = Rig::new();
    rig.create("t", 1);
    let twice = of(T, "t", vec![set("retention.ms", "5"), set("retention.ms", "6")]);
    let result = rig.judge().incremental(std::slice::from_ref(&twice)).pop().unwrap();
    assert_eq!(result.unwrap_err().message, "Error due to duplicate config keys");
    let same = [of(T, "t", vec![]), of(T, "t", vec![set("retention.ms", "5")])];
    for results in [rig.judge().incremental(&same), rig.judge().legacy(&same)] {
        for result in results {
            let refused = result.unwrap_err();
            assert_eq!(
                (refused.code, refused.message.as_str()),
                (ErrorCode::InvalidRequest, "Each resource must appear at most once.")
            );
        }
    }
    let unknown = KeyChange { operation: 9, ..set("retention.ms", "5") };
    let result = rig.alter(T, "t", vec![unknown]);
    assert_eq!(result, Err((ErrorCode::InvalidRequest, "Unknown operations type 9".into())));
}

#[test]
fn the_old_request_replaces_all_that_was_set() {
    let mut rig = Rig::new();
    rig.create("t", 1);
    assert_eq!(rig.alter(T, "t", vec![set("retention.ms", "5"), set("segment.ms", "6")]), Ok(()));
    assert_eq!(rig.replace(T, "t", vec![set("segment.ms", "7"), set("flush.ms", "8")]), Ok(()));
    let stored = rig.stored(ConfigResource::Topic, "t");
    let stored: Vec<(&str, &str)> = stored.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(stored, [("flush.ms", "8"), ("segment.ms", "7")]);
    assert!(rig.replace(T, "t", vec![set("segment.ms", "x")]).is_err());
    assert_eq!(rig.replace(T, "t", vec![]), Ok(()));
    assert!(rig.stored(ConfigResource::Topic, "t").is_empty());
    let loggers = rig.replace(BROKER_LOGGER, "0", vec![]);
    assert_eq!(loggers, Err((ErrorCode::InvalidRequest, "Unknown resource type 8".into())));
}
