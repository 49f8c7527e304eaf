//! What becomes of a key that changes nothing: an operator who brings a `server.properties` along is told. The rows here are
//! of keys that Kafka 4.3 does not have or keeps to itself; its other keys are in the tables, with the reason in their row.
//! Also the key that says the same under an older name, and those that ask for a protection that is not there, which must not
//! pass as a warning.

use super::keys;
use super::unused::{
    DURABLE, NEW_GROUPS, NO_POOLS, NO_QUORUM, NO_QUOTAS, NO_REPLICATION, NO_SECURITY, NO_TIERS,
};

/// What a key without effect comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It changes nothing, for this reason.
    Ignored(&'static str),
    /// It asks for what this release does not do, and going on without it would be unsafe. Said of some values only.
    Refused(&'static str),
}

/// A key, or with a `*` at its end all that begin so; and why it means nothing.
type Row = (&'static str, &'static str);

/// By name. The first row that fits counts.
pub static MEANINGLESS: &[Row] = &[
    ("broker.id.generation.enable", "give node.id"),
    ("control.plane.listener.name", "there is one plane: listeners"),
    ("controller.*", NO_QUORUM),
    ("group.*", "it is internal to Apache Kafka"),
    ("inter.broker.protocol.version", "what brokers speak is in the journal (feature levels)"),
    ("internal.*", "it is internal to Apache Kafka"),
    ("listener.name.*", NO_SECURITY),
    ("log.initial.task.delay.ms", NO_POOLS),
    (
        "log.message.downconversion.enable",
        "records are never converted: clients of Kafka 0.11 and later are served",
    ),
    ("log.message.format.version", "records are stored in format 2 alone"),
    (
        "log.message.timestamp.difference.max.ms",
        "log.message.timestamp.before.max.ms and after.max.ms say it",
    ),
    ("offsets.commit.required.acks", DURABLE),
    ("password.encoder.*", NO_SECURITY),
    ("quota.consumer.default", NO_QUOTAS),
    ("quota.producer.default", NO_QUOTAS),
    ("quotas.*", NO_QUOTAS),
    ("remote.*", NO_TIERS),
    ("replica.*", NO_REPLICATION),
    ("reserved.broker.max.id", "any id from 0 may be given"),
    ("rlmm.config.*", NO_TIERS),
    ("rsm.config.*", NO_TIERS),
    ("server.max.startup.time.ms", "a start waits for as long as the bucket needs"),
    ("share.*", NEW_GROUPS),
    ("unclean.leader.election.interval.ms", "a leader never lacks an acknowledged record"),
    ("unstable.*", "it is internal to Apache Kafka"),
    ("zookeeper.*", "there is no ZooKeeper"),
];

/// Keys that say what another one says: as Kafka once called it, and the key in the table.
pub static ALIASES: &[(&str, &str)] = &[("broker.id", "node.id")];

/// What becomes of a key that changes nothing; None: it has an effect, or is nobody's key.
pub fn judge(name: &str, value: &str) -> Option<Verdict> {
    if let Some(reason) = asks_for_protection(name, value.trim()) {
        return Some(Verdict::Refused(reason));
    }
    if let Some(def) = keys::find(name) {
        return def.unused.map(Verdict::Ignored);
    }
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    MEANINGLESS.iter().find(|(pattern, _)| fits(pattern)).map(|(_, reason)| Verdict::Ignored(reason))
}

/// Why a value must not be taken: a broker that was told to ask for passwords, certificates or permissions must not serve everybody.
pub fn asks_for_protection(name: &str, value: &str) -> Option<&'static str> {
    match name {
        "authorizer.class.name" if !value.is_empty() => {
            Some("access control is not in this release: everybody who reaches a listener may do everything")
        }
        "sasl.enabled.mechanisms" if !value.is_empty() => {
            Some("SASL is not in this release: everybody who reaches a listener is let in")
        }
        "security.inter.broker.protocol" if !matches!(value, "" | "PLAINTEXT") => {
            Some("only PLAINTEXT is in this release")
        }
        "ssl.client.auth" if !matches!(value, "" | "none") => {
            Some("TLS is not in this release: no client is asked for a certificate")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_are_of_no_key_in_a_table() {
        assert!(MEANINGLESS.is_sorted_by_key(|(name, _)| *name));
        for (pattern, reason) in MEANINGLESS {
            assert!(keys::find(pattern).is_none(), "{pattern} is in the table");
            assert!(!reason.is_empty());
        }
        for (_, key) in ALIASES {
            assert!(keys::find(key).is_some(), "{key} is not there");
        }
    }

    #[test]
    fn every_key_of_kafkas_own_file_is_known() {
        // config/server.properties of Apache Kafka 4.3.1.
        let stock = [
            "process.roles",
            "controller.quorum.bootstrap.servers",
            "inter.broker.listener.name",
            "controller.listener.names",
            "listener.security.protocol.map",
            "num.network.threads",
            "num.io.threads",
            "socket.send.buffer.bytes",
            "socket.receive.buffer.bytes",
            "log.dirs",
            "num.recovery.threads.per.data.dir",
            "share.coordinator.state.topic.replication.factor",
            "transaction.state.log.min.isr",
            "zookeeper.connect",
            "replica.fetch.max.bytes",
            "log.flush.scheduler.interval.ms",
        ];
        for name in stock {
            assert!(matches!(judge(name, "1"), Some(Verdict::Ignored(_))), "{name}");
        }
        assert_eq!(judge("my.own.key", "1"), None);
    }

    #[test]
    fn what_asks_for_protection_is_refused_and_its_absence_is_not() {
        for (name, value) in [
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("sasl.enabled.mechanisms", "PLAIN"),
            ("security.inter.broker.protocol", "SASL_SSL"),
            ("ssl.client.auth", "required"),
        ] {
            assert!(matches!(judge(name, value), Some(Verdict::Refused(_))), "{name}={value}");
        }
        assert!(matches!(judge("ssl.client.auth", "none"), Some(Verdict::Ignored(_))));
        assert!(matches!(judge("sasl.enabled.mechanisms", ""), Some(Verdict::Ignored(_))));
    }
}
