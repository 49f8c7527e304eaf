//! A broker's configuration as it was started: what the tables say, overlaid by file, environment and command line.

use std::collections::BTreeSet;
use std::time::Duration;

use super::def::Values;
use super::keys;

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

/// A broker's configuration as it was started.
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

impl BrokerConfig {
    /// Reads settings in order, later ones winning. A key that is in no table is the caller's to warn about.
    pub fn read<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> Result<BrokerConfig, String> {
        let mut values = Values::defaults(keys::all());
        let mut set = BTreeSet::new();
        for (name, value) in settings {
            if let Some(def) = keys::find(name) {
                def.check(value).map_err(|e| e.to_string())?;
                values.set(def, value);
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
