//! The keys of a broker, and their values typed. Kafka's names where the meaning is Kafka's; ours for storage and memory.

use std::collections::BTreeSet;
use std::time::Duration;

use super::def::{ConfigDef, Kind, Values};
use super::topic_keys;

const fn key(name: &'static str, kind: Kind, default: &'static str) -> ConfigDef {
    ConfigDef::new(name, kind, Some(default))
}

const fn unset(name: &'static str, kind: Kind) -> ConfigDef {
    ConfigDef::new(name, kind, None)
}

/// By name. Besides these, every synonym in [`topic_keys`] is a key of the broker.
pub static BROKER_KEYS: &[ConfigDef] = &[
    unset("advertised.listeners", Kind::List).doc(
        "The addresses clients are told, as NAME://host:port; the listeners' own where this is not set."),
    key("auto.create.topics.enable", Kind::Boolean, "true").cluster_wide().doc(
        "Create a topic when a client asks for its metadata, if the client allows it, too."),
    unset("broker.rack", Kind::String).doc("The rack or zone of this broker."),
    key("connections.max.idle.ms", Kind::Long, "600000").at_least(1).doc(
        "A connection that asks for nothing for so long is closed."),
    key("default.replication.factor", Kind::Int, "3").at_least(1).cluster_wide().doc(
        "The replication factor of topics that do not say one. Any is accepted and reported: the bucket replicates."),
    key("fetch.max.bytes", Kind::Int, "57671680").at_least(1024).doc("The most bytes of one fetch answer."),
    key("group.initial.rebalance.delay.ms", Kind::Int, "3000").at_least(0).doc(
        "How long an empty group waits for more members before its first rebalance."),
    key("group.max.session.timeout.ms", Kind::Int, "1800000").at_least(1).doc(
        "The longest session timeout a member may ask for."),
    key("group.max.size", Kind::Int, "2147483647").at_least(1).doc("The most members of a group."),
    key("group.min.session.timeout.ms", Kind::Int, "6000").at_least(1).doc(
        "The shortest session timeout a member may ask for."),
    key("listeners", Kind::List, "PLAINTEXT://127.0.0.1:9092").doc(
        "Where clients are served, as PLAINTEXT://host:port, several by commas; port 0 takes a free one."),
    key("max.incremental.fetch.session.cache.slots", Kind::Int, "1000").at_least(0).doc(
        "Fetch sessions that are kept."),
    key("max.request.partition.size.limit", Kind::Int, "2000").at_least(1).doc(
        "The most partitions of one DescribeTopicPartitions answer; the rest follows from its cursor."),
    key("memory.budget.bytes", Kind::Long, "0").at_least(0).doc(
        "The memory this process may use for data; 0 is half of what the machine or its container has."),
    key("message.max.bytes", Kind::Int, "1048588").at_least(0).cluster_wide().doc(
        "The largest record batch, after compression, of topics that do not say otherwise."),
    key("node.id", Kind::Int, "0").at_least(0).doc("This broker's id in the cluster, from 0."),
    key("num.partitions", Kind::Int, "1").at_least(1).cluster_wide().doc(
        "Partitions of topics that do not say how many."),
    key("offset.metadata.max.bytes", Kind::Int, "4096").at_least(0).doc(
        "The longest note beside a committed offset."),
    key("offsets.retention.check.interval.ms", Kind::Long, "600000").at_least(1).doc(
        "How often committed offsets are looked at for expiry."),
    key("offsets.retention.minutes", Kind::Int, "10080").at_least(1).doc(
        "How long offsets of an empty group are kept."),
    key("offsets.topic.num.partitions", Kind::Int, "50").at_least(1).doc(
        "Partitions of __consumer_offsets; decided when it is created."),
    key("offsets.topic.replication.factor", Kind::Short, "3").at_least(1).doc(
        "The replication factor that __consumer_offsets reports."),
    key("peer.listener", Kind::String, "127.0.0.1:0").doc(
        "Where other brokers, and a second process with this node id, reach this one; port 0 takes a free one."),
    key("producer.id.expiration.check.interval.ms", Kind::Int, "600000").at_least(1).doc(
        "How often idle producers are looked for."),
    key("producer.id.expiration.ms", Kind::Int, "86400000").at_least(1).cluster_wide().doc(
        "A producer that is silent for so long is forgotten."),
    key("socket.request.max.bytes", Kind::Int, "104857600").at_least(1).doc("The largest request."),
    key("storage", Kind::String, "./aquifer-data").doc(
        "The bucket, as a URL: a directory or file:///dir, s3://bucket/root, gs://bucket/root, az://container/root, memory://."),
    key("storage.directory.free.min.bytes", Kind::Long, "0").at_least(0).doc(
        "Below this much free space in a directory produces are refused; 0 is the larger of 1 GiB and 2 % of the disk."),
    unset("wal.full.bytes", Kind::Int).doc("An open object of this size is cut at once."),
    unset("wal.linger.ms", Kind::Int).doc("The longest an open object waits for more while earlier ones are under way."),
    unset("wal.puts.per.second.max", Kind::Int).doc(
        "Lane objects per second at the most; small ones wait for their turn. 0 is no cap. On S3 this is the dial \
         between latency and cost."),
    unset("wal.storage", Kind::String).doc(
        "A second, faster store for lanes, as a URL; the same as storage where this is not set."),
];

/// A listener or what is advertised of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerAddress {
    /// Its name.
    pub name: String,
    /// Host; empty is any.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
}

impl std::str::FromStr for ListenerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<ListenerAddress, String> {
        let say = || format!("{text} is not NAME://host:port, as in PLAINTEXT://127.0.0.1:9092");
        let (name, rest) = text.split_once("://").ok_or_else(say)?;
        let (host, port) = rest.rsplit_once(':').ok_or_else(say)?;
        let port = port.parse().map_err(|_| say())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if name.is_empty() {
            return Err(say());
        }
        Ok(ListenerAddress { name: name.to_ascii_uppercase(), host: host.to_string(), port })
    }
}

/// A broker's configuration: what the table says, overlaid by file, environment and command line.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// All values, also of the topic keys' synonyms.
    pub values: Values,
    /// Parsed `listeners`.
    pub listeners: Vec<ListenerAddress>,
    /// Parsed `advertised.listeners`.
    pub advertised: Vec<ListenerAddress>,
    /// The keys that file, environment or command line set, by name.
    set: BTreeSet<&'static str>,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::read(std::iter::empty()).expect("the table's defaults are legal")
    }
}

/// The row of a broker key, synonyms of topic keys included.
pub fn find(name: &str) -> Option<ConfigDef> {
    if let Some(def) = BROKER_KEYS.iter().find(|d| d.name == name) {
        return Some(*def);
    }
    let topic = topic_keys::TOPIC_KEYS.iter().find(|d| d.synonym == Some(name))?;
    Some(ConfigDef { name: topic.synonym?, synonym: None, ..*topic }.cluster_wide())
}

impl BrokerConfig {
    /// Reads settings in order, later ones winning. A key that is in no table is the caller's to warn about.
    pub fn read<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> Result<BrokerConfig, String> {
        let mut values = Values::defaults(BROKER_KEYS);
        let mut set = BTreeSet::new();
        for (name, value) in settings {
            if let Some(def) = find(name) {
                def.check(value).map_err(|e| e.to_string())?;
                values.set(&def, value);
                set.insert(def.name);
            }
        }
        let parse = |name: &str| -> Result<Vec<ListenerAddress>, String> {
            values.list(name).into_iter().map(|a| a.parse().map_err(|e| format!("{name}: {e}"))).collect()
        };
        let (listeners, advertised) = (parse("listeners")?, parse("advertised.listeners")?);
        if listeners.is_empty() {
            return Err("listeners: at least one is needed, as in PLAINTEXT://127.0.0.1:9092".into());
        }
        if let Some(l) = listeners.iter().find(|l| l.name != "PLAINTEXT") {
            return Err(format!("listeners: {} is not served by this release; PLAINTEXT is", l.name));
        }
        for a in &advertised {
            if !listeners.iter().any(|l| l.name == a.name) {
                return Err(format!("advertised.listeners: {} is not a listener", a.name));
            }
            if a.host.is_empty() || a.host == "0.0.0.0" || a.host == "::" {
                return Err(format!(
                    "advertised.listeners: {} is no address that a client could use",
                    a.host
                ));
            }
        }
        Ok(BrokerConfig { values, listeners, advertised, set })
    }

    /// Was this key set, or does it have the table's default?
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains(name)
    }

    /// `connections.max.idle.ms`.
    pub fn connections_max_idle(&self) -> Duration {
        Duration::from_millis(self.values.long("connections.max.idle.ms") as u64)
    }

    /// `node.id`.
    pub fn node_id(&self) -> i32 {
        self.values.int("node.id")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_their_defaults_are_legal() {
        assert!(BROKER_KEYS.is_sorted_by_key(|d| d.name));
        for def in BROKER_KEYS {
            if let Some(default) = def.default {
                def.check(default).unwrap();
            }
            assert!(!def.doc.is_empty(), "{} is undocumented", def.name);
        }
    }

    #[test]
    fn listeners_are_read_and_bad_ones_are_explained() {
        let read = |l: &str, a: &str| {
            let settings = [("listeners", l), ("advertised.listeners", a)];
            BrokerConfig::read(settings.into_iter().filter(|(_, v)| !v.is_empty()))
        };
        let c = read("PLAINTEXT://[::1]:9,plaintext://:0", "PLAINTEXT://kafka.example:9092").unwrap();
        assert_eq!((c.listeners[0].host.as_str(), c.listeners[0].port), ("::1", 9));
        assert_eq!(c.advertised[0].host, "kafka.example");
        for (l, a) in [
            ("127.0.0.1:9092", ""),
            ("PLAINTEXT://h:x", ""),
            ("SASL_SSL://h:1", ""),
            ("PLAINTEXT://h:1", "PLAINTEXT://0.0.0.0:1"),
            ("PLAINTEXT://h:1", "OTHER://h:1"),
        ] {
            assert!(read(l, a).is_err(), "{l} {a}");
        }
    }
}
