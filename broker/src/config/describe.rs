//! What `DescribeConfigs` says of a topic, a broker, a group, a subscription: per key its value, where that comes from, and
//! every value that lies below it.
//!
//! Order of sources, highest first (Kafka's `ConfigHelper`): the resource's own, the broker's dynamic, the dynamic default
//! of all brokers, the file with environment and command line, the table. A synonym list holds one entry per source that
//! says something; its first entry is the one in force. What lies under coarser keys alone (`log.retention.hours`) is not
//! in the list, as in Kafka.

use std::borrow::Cow;

use super::broker::BrokerConfig;
use super::def::{ConfigDef, Kind, Scope, Values};
use super::group_keys::GROUP_KEYS;
use super::keys;
use super::live::Layer;
use super::metrics_keys::METRICS_KEYS;
use super::topic_keys::{self, TOPIC_KEYS};

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
    /// Set for this logger.
    Logger = 6,
    /// Set for this subscription to client metrics.
    ClientMetrics = 7,
    /// Set for this group.
    Group = 8,
}

/// One value that a key, or a key that it falls back to, has somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key: a broker's `message.max.bytes` below a topic's `max.message.bytes`.
    pub name: Cow<'static, str>,
    /// Its value there; None where it is sensitive.
    pub value: Option<String>,
    /// Where.
    pub source: ConfigSource,
}

/// One key as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// The key.
    pub name: Cow<'static, str>,
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
    pub documentation: String,
}

/// The layers below a resource: a broker's configuration, and what was set while it ran.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Table, file, environment and command line.
    pub broker: &'a BrokerConfig,
    /// Set for this broker alone.
    pub dynamic_broker: &'a Layer,
    /// Set for all brokers.
    pub dynamic_default: &'a Layer,
}

impl Layers<'_> {
    /// Every key of a topic, by name. `values` are the broker's in force.
    pub fn topic(&self, values: &Values, own: &Layer) -> Vec<DescribedConfig> {
        let in_force = topic_keys::effective(values, own.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let described =
            TOPIC_KEYS.iter().filter(|def| !def.hidden || own.contains_key(def.name)).map(|def| {
                let first = own.get(def.name).map(|value| synonym(def.name, def, value, ConfigSource::Topic));
                let inherited = def.synonym.and_then(keys::find).map(|below| self.of_broker(below));
                let synonyms = first.into_iter().chain(inherited.unwrap_or_default()).collect();
                described(def, in_force.get(def.name), synonyms, false)
            });
        described.collect()
    }

    /// Every key of this broker, by name, those that are in no table included.
    pub fn broker(&self) -> Vec<DescribedConfig> {
        let set = |name: &str| {
            self.dynamic_broker.contains_key(name)
                || self.dynamic_default.contains_key(name)
                || self.broker.is_set(name)
        };
        let mut all: Vec<DescribedConfig> = keys::all()
            .filter(|def| !def.hidden || set(def.name))
            .map(|def| described(def, def.default, self.of_broker(def), def.scope == Scope::ReadOnly))
            .collect();
        let mut others: Vec<&String> =
            self.dynamic_broker.keys().chain(self.dynamic_default.keys()).collect();
        others.retain(|name| keys::find(name).is_none());
        others.sort();
        others.dedup();
        all.extend(others.into_iter().map(|name| self.of_no_table(name, false)));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// What is set for all brokers, by name.
    pub fn broker_default(&self) -> Vec<DescribedConfig> {
        let describe = |(name, value): (&String, &String)| match keys::find(name) {
            Some(def) => {
                let only = synonym(def.name, def, value, ConfigSource::DynamicDefaultBroker);
                described(def, None, vec![only], def.scope == Scope::ReadOnly)
            }
            None => self.of_no_table(name, true),
        };
        self.dynamic_default.iter().map(describe).collect()
    }

    /// Every key of a group, by name.
    pub fn group(&self, own: &Layer) -> Vec<DescribedConfig> {
        let describe = |def: &ConfigDef| {
            let first = own.get(def.name).map(|value| synonym(def.name, def, value, ConfigSource::Group));
            let inherited = match def.synonym.and_then(keys::find) {
                Some(below) => self.of_broker(below),
                None => def
                    .default
                    .map(|v| synonym(def.name, def, v, ConfigSource::Default))
                    .into_iter()
                    .collect(),
            };
            described(def, def.default, first.into_iter().chain(inherited).collect(), false)
        };
        GROUP_KEYS.iter().map(describe).collect()
    }

    /// What is said of a broker's key, by source; what stands before the key itself is of coarser ones and is not told.
    fn of_broker(&self, def: &ConfigDef) -> Vec<ConfigSynonym> {
        let family: Vec<&ConfigDef> =
            std::iter::once(def).chain(def.coarser.iter().filter_map(|(name, _)| keys::find(name))).collect();
        let mut synonyms = Vec::new();
        for source in [
            ConfigSource::DynamicBroker,
            ConfigSource::DynamicDefaultBroker,
            ConfigSource::StaticBroker,
            ConfigSource::Default,
        ] {
            for def in &family {
                let value = match source {
                    ConfigSource::DynamicBroker => self.dynamic_broker.get(def.name).map(String::as_str),
                    ConfigSource::DynamicDefaultBroker => {
                        self.dynamic_default.get(def.name).map(String::as_str)
                    }
                    ConfigSource::StaticBroker if self.broker.is_set(def.name) => {
                        self.broker.values.get(def.name)
                    }
                    ConfigSource::StaticBroker => None,
                    _ => def.default,
                };
                synonyms.extend(value.map(|value| synonym(def.name, def, value, source)));
            }
        }
        synonyms.into_iter().skip_while(|s| s.name != def.name).collect()
    }

    /// A key of one listener, or of a plugin: the latter's type is not known, so it may be a secret.
    fn of_no_table(&self, name: &str, default_only: bool) -> DescribedConfig {
        let base = keys::of_listener(name).and_then(|(_, key)| keys::find(key));
        let unknown = ConfigDef::new("", Kind::Unknown, None);
        let def = base.unwrap_or(&unknown);
        let layers = [
            (self.dynamic_broker.get(name).filter(|_| !default_only), ConfigSource::DynamicBroker),
            (self.dynamic_default.get(name), ConfigSource::DynamicDefaultBroker),
        ];
        let own = layers.into_iter().filter_map(|(value, source)| Some(synonym(name, def, value?, source)));
        let below = base.filter(|_| !default_only).map(|base| self.of_broker(base)).unwrap_or_default();
        let described = described(def, None, own.chain(below).collect(), true);
        DescribedConfig { name: Cow::Owned(name.to_string()), ..described }
    }
}

/// Every key of a subscription to client metrics, by name.
pub fn describe_metrics(own: &Layer) -> Vec<DescribedConfig> {
    let describe = |def: &ConfigDef| {
        let first = own.get(def.name).map(|value| synonym(def.name, def, value, ConfigSource::ClientMetrics));
        described(def, def.default, first.into_iter().collect(), false)
    };
    METRICS_KEYS.iter().map(describe).collect()
}

fn synonym(name: &str, def: &ConfigDef, value: &str, source: ConfigSource) -> ConfigSynonym {
    let name = if name == def.name { Cow::Borrowed(def.name) } else { Cow::Owned(name.to_string()) };
    ConfigSynonym { name, value: (!def.is_sensitive()).then(|| def.shown(value)), source }
}

/// `otherwise` is the value where no synonym has one.
fn described(
    def: &ConfigDef,
    otherwise: Option<&str>,
    synonyms: Vec<ConfigSynonym>,
    read_only: bool,
) -> DescribedConfig {
    let sensitive = def.is_sensitive();
    let (value, source) = match synonyms.first() {
        Some(first) => (first.value.clone(), first.source),
        None => (otherwise.filter(|_| !sensitive).map(str::to_string), ConfigSource::Default),
    };
    DescribedConfig {
        name: Cow::Borrowed(def.name),
        value,
        read_only,
        source,
        sensitive,
        synonyms,
        kind: def.kind,
        documentation: def.documentation(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::live::Live;

    fn config(settings: &[(&str, &str)]) -> BrokerConfig {
        BrokerConfig::read(settings.iter().copied()).unwrap()
    }

    fn layer(values: &[(&str, &str)]) -> Layer {
        values.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn one(all: &[DescribedConfig], name: &str) -> DescribedConfig {
        all.iter().find(|d| d.name == name).unwrap_or_else(|| panic!("{name} is not described")).clone()
    }

    fn sources(d: &DescribedConfig) -> Vec<(&str, &str, i8)> {
        d.synonyms.iter().map(|s| (&*s.name, s.value.as_deref().unwrap(), s.source as i8)).collect()
    }

    fn topic(broker: &BrokerConfig, own: &[(&str, &str)]) -> Vec<DescribedConfig> {
        let none = Layer::new();
        let layers = Layers { broker, dynamic_broker: &none, dynamic_default: &none };
        layers.topic(&Live::new(broker, &none, &none).values, &layer(own))
    }

    #[test]
    fn a_topic_shows_its_own_value_above_the_brokers_above_the_default() {
        let broker = config(&[("message.max.bytes", "5000")]);
        let d = one(&topic(&broker, &[("max.message.bytes", " 7000 ")]), "max.message.bytes");
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
        let broker = config(&[("log.retention.bytes", "9"), ("log.retention.hours", "1")]);
        let all = topic(&broker, &[]);
        let set = one(&all, "retention.bytes");
        assert_eq!((set.value.as_deref(), set.source), (Some("9"), ConfigSource::StaticBroker));
        // As Kafka: a coarser key gives the value and is not named.
        let hours = one(&all, "retention.ms");
        assert_eq!((hours.value.as_deref(), hours.source), (Some("3600000"), ConfigSource::Default));
        assert!(sources(&hours).is_empty());
        let without_synonym = one(&all, "remote.storage.enable");
        assert_eq!((without_synonym.value.as_deref(), without_synonym.synonyms.len()), (Some("false"), 0));
        assert!(!all.iter().any(|d| d.name == "internal.segment.bytes"));
    }

    #[test]
    fn every_key_is_described_once_and_agrees_with_what_is_in_force() {
        let broker = config(&[("log.cleanup.policy", "compact"), ("num.partitions", "6")]);
        let own = [("segment.ms", "5")];
        let effective = topic_keys::effective(&broker.values, own.into_iter());
        for d in &topic(&broker, &own) {
            assert_eq!(d.value.as_deref(), effective.get(&d.name), "{}", d.name);
        }
        let none = Layer::new();
        let all = Layers { broker: &broker, dynamic_broker: &none, dynamic_default: &none }.broker();
        assert!(all.windows(2).all(|w| w[0].name < w[1].name));
        assert_eq!(one(&all, "log.cleanup.policy").value.as_deref(), Some("compact"));
        assert_eq!(one(&all, "num.partitions").source, ConfigSource::StaticBroker);
        assert!(one(&all, "node.id").read_only && !one(&all, "message.max.bytes").read_only);
        let null = one(&all, "wal.storage");
        assert_eq!((null.value, null.source, null.synonyms.len()), (None, ConfigSource::Default, 0));
    }

    #[test]
    fn what_was_set_while_running_wins_over_the_file() {
        let name = "log.retention.ms";
        let broker = config(&[(name, "6")]);
        let (this, all) = (layer(&[(name, "8")]), layer(&[(name, "7")]));
        let layers = Layers { broker: &broker, dynamic_broker: &this, dynamic_default: &all };
        let d = one(&layers.broker(), name);
        assert_eq!(
            sources(&d),
            [(name, "8", 2), (name, "7", 3), (name, "6", 4), ("log.retention.hours", "168", 5)]
        );
        assert_eq!((d.value.as_deref(), d.source as i8), (Some("8"), 2));
        let only = layers.broker_default();
        assert_eq!(only.len(), 1);
        assert_eq!(sources(&only[0]), [(name, "7", 3)]);
    }

    #[test]
    fn keys_of_listeners_have_their_type_and_keys_of_plugins_are_secrets() {
        let broker = config(&[]);
        let this = layer(&[("listener.name.plaintext.max.connections", "50"), ("my.plugin", "hunter2")]);
        let none = Layer::new();
        let all = Layers { broker: &broker, dynamic_broker: &this, dynamic_default: &none }.broker();
        let listener = one(&all, "listener.name.plaintext.max.connections");
        assert_eq!((listener.kind, listener.read_only), (Kind::Int, true));
        assert_eq!(
            sources(&listener),
            [("listener.name.plaintext.max.connections", "50", 2), ("max.connections", "2147483647", 5)]
        );
        let plugin = one(&all, "my.plugin");
        assert!(plugin.sensitive && plugin.value.is_none() && plugin.synonyms[0].value.is_none());
        assert_eq!(plugin.kind, Kind::Unknown);
    }

    #[test]
    fn groups_fall_back_to_the_broker_and_subscriptions_to_nothing() {
        let broker = config(&[("group.consumer.session.timeout.ms", "46000")]);
        let none = Layer::new();
        let layers = Layers { broker: &broker, dynamic_broker: &none, dynamic_default: &none };
        let group = layers.group(&layer(&[("consumer.heartbeat.interval.ms", "6000")]));
        assert_eq!(
            sources(&one(&group, "consumer.heartbeat.interval.ms")),
            [
                ("consumer.heartbeat.interval.ms", "6000", 8),
                ("group.consumer.heartbeat.interval.ms", "5000", 5)
            ]
        );
        let session = one(&group, "consumer.session.timeout.ms");
        assert_eq!((session.value.as_deref(), session.source), (Some("46000"), ConfigSource::StaticBroker));
        assert_eq!(
            sources(&one(&group, "share.auto.offset.reset")),
            [("share.auto.offset.reset", "latest", 5)]
        );
        let metrics = describe_metrics(&layer(&[("interval.ms", "500")]));
        assert_eq!(sources(&one(&metrics, "interval.ms")), [("interval.ms", "500", 7)]);
        assert_eq!((one(&metrics, "match").value.as_deref(), metrics.len()), (Some(""), 3));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let this = layer(&[("listener.name.x.ssl.keystore.password", "hunter2")]);
        let broker = config(&[("delegation.token.secret.key", "hunter3")]);
        let none = Layer::new();
        let all = Layers { broker: &broker, dynamic_broker: &this, dynamic_default: &none }.broker();
        assert!(!format!("{all:?}").contains("hunter"));
        assert!(one(&all, "delegation.token.secret.key").sensitive);
    }
}
