//! What `DescribeConfigs` says of a topic and of a broker: per key its value, where that comes from, and every value
//! that lies below it.
//!
//! Order of sources, highest first (Kafka's `ConfigHelper`): the topic's own, the broker's dynamic, the dynamic default
//! of all brokers, the file with environment and command line, the table. A synonym list holds one entry per source that
//! says something; its first entry is the one in force.

use std::collections::BTreeMap;

use super::broker::{self, BROKER_KEYS, BrokerConfig};
use super::def::{ConfigDef, Kind, Scope};
use super::topic_keys::TOPIC_KEYS;

/// Where a value comes from; the numbers are Kafka's `DescribeConfigsResponse.ConfigSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set for this topic.
    Topic = 1,
    /// Set for this broker while it runs.
    DynamicBroker = 2,
    /// Set for all brokers while they run.
    DynamicDefaultBroker = 3,
    /// The file, the environment or the command line of this broker.
    StaticBroker = 4,
    /// The table.
    Default = 5,
}

/// One value that a key, or a key that it falls back to, has somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key: a broker's `message.max.bytes` below a topic's `max.message.bytes`.
    pub name: &'static str,
    /// Its value there; None where it is sensitive.
    pub value: Option<String>,
    /// Where.
    pub source: ConfigSource,
}

/// One key as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// The key.
    pub name: &'static str,
    /// The value in force; None where it is null or sensitive.
    pub value: Option<String>,
    /// It changes at a restart only. Never of a topic's key.
    pub read_only: bool,
    /// Where the value in force comes from.
    pub source: ConfigSource,
    /// It is a secret.
    pub sensitive: bool,
    /// All values, the one in force first; empty where nothing, not even the table, has one.
    pub synonyms: Vec<ConfigSynonym>,
    /// Its type; as a number Kafka's `ConfigEntry.ConfigType`.
    pub kind: Kind,
    /// What it does.
    pub documentation: &'static str,
}

/// The layers below a topic: a broker's configuration, and what was set while it ran.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Table, file, environment and command line.
    pub broker: &'a BrokerConfig,
    /// Set for this broker alone.
    pub dynamic_broker: &'a BTreeMap<String, String>,
    /// Set for all brokers.
    pub dynamic_default: &'a BTreeMap<String, String>,
}

static NOTHING: BTreeMap<String, String> = BTreeMap::new();

/// A topic of a broker that has no dynamic configuration. `overrides` are the topic's own values.
pub fn describe_topic(broker: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Vec<DescribedConfig> {
    Layers::fixed(broker).topic(overrides)
}

/// A broker without dynamic configuration: its keys and every broker key that a topic falls back to, by name.
pub fn describe_broker(broker: &BrokerConfig) -> Vec<DescribedConfig> {
    Layers::fixed(broker).broker()
}

/// Every key of a broker, by name.
pub fn broker_keys() -> Vec<ConfigDef> {
    let of_topics = TOPIC_KEYS.iter().filter_map(|d| broker::find(d.synonym?));
    let mut keys: Vec<ConfigDef> = BROKER_KEYS.iter().copied().chain(of_topics).collect();
    keys.sort_by_key(|d| d.name);
    keys.dedup_by_key(|d| d.name);
    keys
}

impl<'a> Layers<'a> {
    /// Nothing was set while the broker ran.
    pub fn fixed(broker: &'a BrokerConfig) -> Layers<'a> {
        Layers { broker, dynamic_broker: &NOTHING, dynamic_default: &NOTHING }
    }

    /// Every key of a topic, by name.
    pub fn topic(&self, overrides: &BTreeMap<String, String>) -> Vec<DescribedConfig> {
        let describe = |def: &ConfigDef| {
            let own = overrides.get(def.name).map(|value| synonym(def, value, ConfigSource::Topic));
            let inherited = match def.synonym.and_then(broker::find) {
                // The table's topic default is the one that counts: it is what a topic gets (`topic_keys::effective`).
                Some(broker_def) => self.of_broker(&ConfigDef { default: def.default, ..broker_def }),
                None => vec![],
            };
            let synonyms: Vec<ConfigSynonym> = own.into_iter().chain(inherited).collect();
            described(def, synonyms, false)
        };
        TOPIC_KEYS.iter().map(describe).collect()
    }

    /// Every key of the broker, by name.
    pub fn broker(&self) -> Vec<DescribedConfig> {
        let describe = |def: ConfigDef| described(&def, self.of_broker(&def), def.scope == Scope::ReadOnly);
        broker_keys().into_iter().map(describe).collect()
    }

    fn of_broker(&self, def: &ConfigDef) -> Vec<ConfigSynonym> {
        let fixed = self.broker.is_set(def.name).then(|| self.broker.values.get(def.name)).flatten();
        let by_source = [
            (self.dynamic_broker.get(def.name).map(String::as_str), ConfigSource::DynamicBroker),
            (self.dynamic_default.get(def.name).map(String::as_str), ConfigSource::DynamicDefaultBroker),
            (fixed, ConfigSource::StaticBroker),
            (def.default, ConfigSource::Default),
        ];
        by_source.into_iter().filter_map(|(value, source)| Some(synonym(def, value?, source))).collect()
    }
}

fn synonym(def: &ConfigDef, value: &str, source: ConfigSource) -> ConfigSynonym {
    let value = (!is_sensitive(def)).then(|| value.trim().to_string());
    ConfigSynonym { name: def.name, value, source }
}

fn described(def: &ConfigDef, synonyms: Vec<ConfigSynonym>, read_only: bool) -> DescribedConfig {
    let sensitive = is_sensitive(def);
    let (value, source) = match synonyms.first() {
        Some(first) => (first.value.clone(), first.source),
        // As Kafka: a key without a synonym and without an own value shows its default, and no synonym.
        None => (def.default.filter(|_| !sensitive).map(str::to_string), ConfigSource::Default),
    };
    DescribedConfig {
        name: def.name,
        value,
        read_only,
        source,
        sensitive,
        synonyms,
        kind: def.kind,
        documentation: def.doc,
    }
}

fn is_sensitive(def: &ConfigDef) -> bool {
    def.kind == Kind::Password
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::topic_keys;

    fn config(settings: &[(&str, &str)]) -> BrokerConfig {
        BrokerConfig::read(settings.iter().copied()).unwrap()
    }

    fn one(all: &[DescribedConfig], name: &str) -> DescribedConfig {
        all.iter().find(|d| d.name == name).unwrap().clone()
    }

    fn sources(d: &DescribedConfig) -> Vec<(&'static str, &str, i8)> {
        d.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap(), s.source as i8)).collect()
    }

    #[test]
    fn a_topic_shows_its_own_value_above_the_brokers_above_the_default() {
        let broker = config(&[("message.max.bytes", "5000")]);
        let own = BTreeMap::from([("max.message.bytes".to_string(), "7000".to_string())]);
        let d = one(&describe_topic(&broker, &own), "max.message.bytes");
        assert_eq!((d.value.as_deref(), d.source, d.read_only), (Some("7000"), ConfigSource::Topic, false));
        let expected = [
            ("max.message.bytes", "7000", 1),
            ("message.max.bytes", "5000", 4),
            ("message.max.bytes", "1048588", 5),
        ];
        assert_eq!(sources(&d), expected);
    }

    #[test]
    fn what_a_topic_inherits_is_named_by_where_it_was_set() {
        let broker = config(&[("log.retention.bytes", "9")]);
        let all = describe_topic(&broker, &BTreeMap::new());
        let set = one(&all, "retention.bytes");
        assert_eq!((set.value.as_deref(), set.source), (Some("9"), ConfigSource::StaticBroker));
        let plain = one(&all, "retention.ms");
        assert_eq!((plain.value.as_deref(), plain.source), (Some("604800000"), ConfigSource::Default));
        assert_eq!(sources(&plain), [("log.retention.ms", "604800000", 5)]);
        let without_synonym = one(&all, "remote.storage.enable");
        assert_eq!((without_synonym.value.as_deref(), without_synonym.synonyms.len()), (Some("false"), 0));
    }

    #[test]
    fn every_key_is_described_once_and_agrees_with_what_is_in_force() {
        let broker = config(&[("log.cleanup.policy", "compact"), ("num.partitions", "6")]);
        let own = BTreeMap::from([("segment.ms".to_string(), "5".to_string())]);
        let topic = describe_topic(&broker, &own);
        let effective =
            topic_keys::effective(&broker.values, own.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        for d in &topic {
            assert_eq!(d.value.as_deref(), effective.get(d.name), "{}", d.name);
        }
        let all = describe_broker(&broker);
        assert!(all.windows(2).all(|w| w[0].name < w[1].name));
        assert_eq!(one(&all, "log.cleanup.policy").value.as_deref(), Some("compact"));
        assert_eq!(one(&all, "num.partitions").source, ConfigSource::StaticBroker);
        assert!(one(&all, "node.id").read_only && !one(&all, "num.partitions").read_only);
        let null = one(&all, "wal.storage");
        assert_eq!((null.value, null.source, null.synonyms.len()), (None, ConfigSource::Default, 0));
    }

    #[test]
    fn what_was_set_while_running_wins_over_the_file() {
        let broker = config(&[("num.partitions", "6")]);
        let this = BTreeMap::from([("num.partitions".to_string(), "8".to_string())]);
        let all = BTreeMap::from([("num.partitions".to_string(), "7".to_string())]);
        let layers = Layers { broker: &broker, dynamic_broker: &this, dynamic_default: &all };
        let d = one(&layers.broker(), "num.partitions");
        let name = "num.partitions";
        assert_eq!(sources(&d), [(name, "8", 2), (name, "7", 3), (name, "6", 4), (name, "1", 5)]);
        assert_eq!((d.value.as_deref(), d.source as i8), (Some("8"), 2));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let def = ConfigDef::new("secret", Kind::Password, Some("hunter2"));
        let d = described(&def, vec![synonym(&def, "hunter3", ConfigSource::StaticBroker)], true);
        assert!(d.sensitive && d.value.is_none() && d.synonyms[0].value.is_none());
        assert_eq!(described(&def, vec![], true).value, None);
    }
}
