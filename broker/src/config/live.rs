//! What of the broker's configuration is in force now: as it was started, overlaid by what was set since for all brokers and
//! for this one (KIP-226). Made anew when the image's configuration changes, and read by whoever acts on it.

use std::collections::BTreeMap;

use super::broker::BrokerConfig;
use super::def::{Scope, Values, split};
use super::keys;

/// A layer of dynamic configuration: what was set under one name.
pub type Layer = BTreeMap<String, String>;

/// The values in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// By key.
    pub values: Values,
    /// What is set for single listeners: (listener in lower case, key) and value.
    of_listeners: BTreeMap<(String, String), String>,
    /// Parsed `max.connections.per.ip.overrides`.
    per_ip: BTreeMap<String, i32>,
}

impl Live {
    /// What `fixed` comes to under both layers. A value that cannot be changed while a broker runs, or is not legal, is
    /// passed over, as Kafka does: it may come from another release.
    pub fn new(fixed: &BrokerConfig, all_brokers: &Layer, this_broker: &Layer) -> Live {
        let mut live = Live { values: fixed.values.clone(), ..Live::default() };
        for (name, value) in all_brokers.iter().chain(this_broker) {
            if let Some((listener, key)) = keys::of_listener(name) {
                if keys::find(key).is_some_and(|def| def.check(value).is_ok()) {
                    let of = (listener.to_ascii_lowercase(), key.to_string());
                    live.of_listeners.insert(of, value.trim().to_string());
                }
                continue;
            }
            let dynamic = keys::find(name).filter(|def| def.scope != Scope::ReadOnly);
            if let Some(def) = dynamic.filter(|def| def.check(value).is_ok()) {
                live.values.set(def, value);
            }
        }
        let overrides = live.values.string("max.connections.per.ip.overrides");
        live.per_ip = per_ip_overrides(overrides).unwrap_or_default();
        live
    }

    /// `max.connections`, of all listeners together.
    pub fn connections_max(&self) -> i32 {
        self.values.int("max.connections")
    }

    /// `listener.name.NAME.max.connections`; None where it is not set.
    pub fn connections_max_of(&self, listener: &str) -> Option<i32> {
        self.of_listener(listener, "max.connections")
    }

    /// `max.connections.per.ip`, or what overrides it for this address.
    pub fn connections_max_per_ip(&self, address: &str) -> i32 {
        self.per_ip.get(address).copied().unwrap_or_else(|| self.values.int("max.connections.per.ip"))
    }

    /// `max.connection.creation.rate`, of all listeners together.
    pub fn creation_rate_max(&self) -> i32 {
        self.values.int("max.connection.creation.rate")
    }

    /// `listener.name.NAME.max.connection.creation.rate`; None where it is not set.
    pub fn creation_rate_max_of(&self, listener: &str) -> Option<i32> {
        self.of_listener(listener, "max.connection.creation.rate")
    }

    fn of_listener(&self, listener: &str, key: &str) -> Option<i32> {
        self.of_listeners.get(&(listener.to_ascii_lowercase(), key.to_string()))?.parse().ok()
    }
}

/// The addresses and numbers of `max.connections.per.ip.overrides`; None where it is not a list of ADDRESS:NUMBER.
pub fn per_ip_overrides(value: &str) -> Option<BTreeMap<String, i32>> {
    split(value)
        .into_iter()
        .map(|entry| {
            let (address, number) = entry.rsplit_once(':')?;
            let address = address.trim().trim_start_matches('[').trim_end_matches(']');
            let number = number.trim().parse().ok().filter(|n| *n >= 0)?;
            (!address.is_empty()).then(|| (address.to_string(), number))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(values: &[(&str, &str)]) -> Layer {
        values.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn what_is_set_for_this_broker_wins_over_all_brokers_and_that_over_the_file() {
        let fixed =
            BrokerConfig::read([("message.max.bytes", "1"), ("num.partitions", "3")].into_iter()).unwrap();
        let live = |all: &[(&str, &str)], this: &[(&str, &str)]| Live::new(&fixed, &layer(all), &layer(this));
        let bytes = |live: Live| live.values.int("message.max.bytes");
        assert_eq!(bytes(live(&[], &[])), 1);
        assert_eq!(bytes(live(&[("message.max.bytes", "2")], &[])), 2);
        assert_eq!(bytes(live(&[("message.max.bytes", "2")], &[("message.max.bytes", "3")])), 3);
        let passed_over = live(&[("num.partitions", "9"), ("message.max.bytes", "x")], &[("nope", "1")]);
        assert_eq!((passed_over.values.int("num.partitions"), bytes(passed_over)), (3, 1));
    }

    #[test]
    fn limits_of_connections_are_found_by_listener_and_address() {
        let fixed = BrokerConfig::default();
        let all =
            layer(&[("max.connections", "100"), ("max.connections.per.ip.overrides", "10.0.0.1:3,[::1]:4")]);
        let this = layer(&[("listener.name.plaintext.max.connections", "7")]);
        let live = Live::new(&fixed, &all, &this);
        assert_eq!(live.connections_max(), 100);
        assert_eq!((live.connections_max_of("PLAINTEXT"), live.connections_max_of("OTHER")), (Some(7), None));
        assert_eq!(live.connections_max_per_ip("10.0.0.1"), 3);
        assert_eq!(live.connections_max_per_ip("::1"), 4);
        assert_eq!(live.connections_max_per_ip("10.0.0.2"), i32::MAX);
        assert_eq!(per_ip_overrides("x"), None);
        assert_eq!(per_ip_overrides("10.0.0.1:-1"), None);
    }
}
