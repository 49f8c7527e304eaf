//! The keys of a broker by area: Kafka 4.3's, each with its type, default and rule there (`AbstractKafkaConfig.CONFIG_DEF`),
//! and ours for storage and memory. Besides these, every key that gives a topic its default is a key of the broker, derived
//! from the topic's row ([`super::topic_keys`]).

mod cluster;
mod groups;
mod limits;
mod log;
mod network;
mod remote;
mod replication;
mod sasl;
mod security;
mod share;
mod storage;
mod tls;
mod topics;
mod transactions;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::def::{ConfigDef, Kind};
use super::topic_keys::TOPIC_KEYS;

const fn key(name: &'static str, kind: Kind, default: &'static str) -> ConfigDef {
    ConfigDef::new(name, kind, Some(default))
}

const fn unset(name: &'static str, kind: Kind) -> ConfigDef {
    ConfigDef::new(name, kind, None)
}

/// An area and its rows, as the documentation has them.
pub static AREAS: &[(&str, &[ConfigDef])] = &[
    ("Storage and memory", storage::KEYS),
    ("The broker and its cluster", cluster::KEYS),
    ("Listeners, connections, requests", network::KEYS),
    ("Topics", topics::KEYS),
    ("Logs", log::KEYS),
    ("Groups and offsets", groups::KEYS),
    ("Share groups", share::KEYS),
    ("Transactions", transactions::KEYS),
    ("Quotas and metrics", limits::KEYS),
    ("Access", security::KEYS),
    ("SASL", sasl::KEYS),
    ("TLS", tls::KEYS),
    ("Replication", replication::KEYS),
    ("Tiered storage", remote::KEYS),
];

static BY_NAME: LazyLock<BTreeMap<&'static str, ConfigDef>> = LazyLock::new(|| {
    let mut keys = BTreeMap::new();
    for topic in TOPIC_KEYS {
        if let Some(name) = topic.synonym {
            keys.insert(name, ConfigDef { name, synonym: None, ..*topic }.cluster_wide());
        }
    }
    for def in AREAS.iter().flat_map(|(_, rows)| *rows) {
        keys.insert(def.name, *def);
    }
    keys
});

/// Every key of a broker, by name.
pub fn all() -> impl Iterator<Item = &'static ConfigDef> {
    BY_NAME.values()
}

/// The row of a key of a broker.
pub fn find(name: &str) -> Option<&'static ConfigDef> {
    BY_NAME.get(name)
}

/// The key that `listener.name.NAME.KEY` sets for one listener, and the listener's name in lower case
/// (`DynamicBrokerConfig.ListenerConfigRegex`).
pub fn of_listener(name: &str) -> Option<(&str, &str)> {
    let (listener, key) = name.strip_prefix("listener.name.")?.split_once('.')?;
    (!key.is_empty()).then_some((listener, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_said_once_and_their_defaults_are_legal() {
        let rows: Vec<&ConfigDef> = AREAS.iter().flat_map(|(_, rows)| *rows).collect();
        for (area, rows) in AREAS {
            assert!(rows.is_sorted_by_key(|d| d.name), "{area}");
        }
        for def in all() {
            if let Some(default) = def.default {
                def.check(default).unwrap();
            }
            assert!(!def.doc.is_empty(), "{} is undocumented", def.name);
            assert!(rows.iter().filter(|d| d.name == def.name).count() <= 1, "{} is there twice", def.name);
            for (coarser, factor) in def.coarser {
                assert!(find(coarser).is_some() && *factor >= 1, "{coarser}");
            }
        }
    }

    #[test]
    fn a_listeners_key_is_taken_apart() {
        assert_eq!(
            of_listener("listener.name.plaintext.max.connections"),
            Some(("plaintext", "max.connections"))
        );
        assert_eq!(of_listener("listener.name.plaintext"), None);
        assert_eq!(of_listener("listener.names.x.y"), None);
    }
}
