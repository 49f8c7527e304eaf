//! Keys of Kafka's that mean nothing here, each with the reason: an operator who brings a `server.properties` along is
//! told what became of it. Also the keys that say the same as another one in another unit or under an older name, and
//! those that ask for a protection that is not there, which must not pass as a warning.

/// What a key that is in no table comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It changes nothing, for this reason.
    Ignored(&'static str),
    /// It asks for what this release does not do, and going on without it would be unsafe. Said of some values only.
    Refused(&'static str),
}

/// A key, or with a `*` at its end all that begin so; and why it means nothing.
type Row = (&'static str, &'static str);

const NO_DISK: &str = "a broker keeps no data on disks of its own: the log is in the bucket (storage)";
const NO_QUORUM: &str = "there is no controller quorum: the metadata log is in the bucket";
const NO_REPLICATION: &str = "brokers do not replicate to each other: the bucket does";
const NO_POOLS: &str = "there are no thread pools to size: the runtime has a thread per core";
const NO_TRANSACTIONS: &str = "there are no transactions in this release";
const NO_SECURITY: &str = "only PLAINTEXT listeners are served in this release";
const NO_CLEANER: &str = "log compaction is not in this release";
const NO_TIERS: &str = "there is one tier: everything is in the bucket";
const NO_METRICS: &str = "there are no JVM metrics here";
const NO_QUOTAS: &str = "quotas are not in this release";
const NEW_GROUPS: &str = "the consumer, share and streams group protocols are not in this release";

/// By name. The first row that fits counts.
pub static MEANINGLESS: &[Row] = &[
    ("allow.everyone.if.no.acl.found", NO_SECURITY),
    ("alter.config.policy.*", "there are no Java classes to load"),
    ("alter.log.dirs.*", NO_DISK),
    ("background.threads", NO_POOLS),
    ("broker.heartbeat.interval.ms", "this release runs one broker over a bucket"),
    ("broker.id.generation.enable", "give node.id"),
    ("broker.session.timeout.ms", "this release runs one broker over a bucket"),
    ("client.quota.*", NO_QUOTAS),
    ("compression.type.*", "records are kept as their producer compressed them"),
    ("controlled.shutdown.*", "SIGTERM always seals the lane and leaves in order"),
    ("controller.*", NO_QUORUM),
    ("create.topic.policy.*", "there are no Java classes to load"),
    ("delegation.token.*", NO_SECURITY),
    ("delete.topic.enable", "topics can always be deleted"),
    ("early.start.listeners", NO_SECURITY),
    ("fetch.purgatory.*", "waiting fetches are woken by what they wait for; there is no purgatory"),
    ("group.consumer.*", NEW_GROUPS),
    ("group.coordinator.*", NEW_GROUPS),
    ("group.share.*", NEW_GROUPS),
    ("group.streams.*", NEW_GROUPS),
    ("initial.broker.registration.timeout.ms", NO_QUORUM),
    ("inter.broker.*", "this release runs one broker over a bucket"),
    ("internal.*", "it is internal to Apache Kafka"),
    ("kafka.metrics.*", NO_METRICS),
    ("leader.imbalance.*", "partitions are placed by load, not by preferred leader"),
    ("listener.name.*", NO_SECURITY),
    ("listener.security.protocol.map", NO_SECURITY),
    ("log.cleaner.*", NO_CLEANER),
    ("log.dir", NO_DISK),
    ("log.dir.failure.timeout.ms", NO_DISK),
    ("log.dirs", NO_DISK),
    ("log.flush.*", "everything is durable in the bucket before it is acknowledged"),
    ("log.initial.task.delay.ms", NO_POOLS),
    (
        "log.message.downconversion.enable",
        "records are never converted: clients of Kafka 0.11 and later are served",
    ),
    ("log.message.format.version", "records are stored in format 2 alone"),
    ("log.retention.check.interval.ms", "retention is not in this release"),
    ("max.connection.creation.rate", NO_QUOTAS),
    ("max.connections", NO_QUOTAS),
    ("max.connections.*", NO_QUOTAS),
    ("metadata.*", NO_QUORUM),
    ("metric.reporters", NO_METRICS),
    ("metrics.*", NO_METRICS),
    ("num.io.threads", NO_POOLS),
    ("num.network.threads", NO_POOLS),
    ("num.recovery.threads.per.data.dir", NO_DISK),
    ("num.replica.*", NO_REPLICATION),
    ("offsets.commit.*", "a committed offset is in the bucket before it is acknowledged"),
    ("offsets.load.buffer.size", "offsets are loaded in blocks of the log"),
    (
        "offsets.topic.*",
        "the topic of offsets is stored like any other; its partitions are offsets.topic.num.partitions",
    ),
    ("password.encoder.*", NO_SECURITY),
    ("principal.builder.class", NO_SECURITY),
    ("process.roles", "every process is broker and may be controller"),
    ("producer.purgatory.*", "produces wait for the bucket, not in a purgatory"),
    ("queued.max.*", "what waits is bounded by memory.budget.bytes"),
    ("quota.*", NO_QUOTAS),
    ("quotas.*", NO_QUOTAS),
    ("remote.*", NO_TIERS),
    ("replica.*", NO_REPLICATION),
    ("replication.*", NO_REPLICATION),
    ("request.timeout.ms", "this release runs one broker over a bucket"),
    ("reserved.broker.max.id", "any id from 0 may be given"),
    ("sasl.*", NO_SECURITY),
    ("security.*", NO_SECURITY),
    ("server.max.startup.time.ms", "a start waits for as long as the bucket needs"),
    ("share.*", NEW_GROUPS),
    ("socket.connection.setup.*", "this release runs one broker over a bucket"),
    ("socket.listen.backlog.size", "the system's limit is used"),
    ("socket.receive.buffer.bytes", "the system sizes socket buffers"),
    ("socket.send.buffer.bytes", "the system sizes socket buffers"),
    ("ssl.*", NO_SECURITY),
    ("super.users", NO_SECURITY),
    ("telemetry.*", NO_METRICS),
    ("transaction.*", NO_TRANSACTIONS),
    ("transactional.*", NO_TRANSACTIONS),
    ("unstable.*", "it is internal to Apache Kafka"),
    ("zookeeper.*", "there is no ZooKeeper"),
];

/// A key that says what `key` says: in `factor` times its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    /// As Kafka calls it, too.
    pub name: &'static str,
    /// The key in the table.
    pub key: &'static str,
    /// What a value is multiplied by; 1 for another name alone.
    pub factor: i64,
}

const fn alias(name: &'static str, key: &'static str, factor: i64) -> Alias {
    Alias { name, key, factor }
}

/// By key, and of one key the weaker first: of retention in hours, minutes and ms, Kafka takes the finest that is set
/// (`KafkaConfig.logRetentionTimeMillis`).
pub static ALIASES: &[Alias] = &[
    alias("log.roll.jitter.hours", "log.roll.jitter.ms", 3_600_000),
    alias("log.roll.hours", "log.roll.ms", 3_600_000),
    alias("log.retention.hours", "log.retention.ms", 3_600_000),
    alias("log.retention.minutes", "log.retention.ms", 60_000),
    alias("broker.id", "node.id", 1),
];

impl Alias {
    /// The value of [`Alias::key`] that says the same; None where `value` is no number. Kafka's -1 stays: for ever.
    pub fn value(&self, value: &str) -> Option<String> {
        let number: i64 = value.trim().parse().ok()?;
        let scaled = if number < 0 { number } else { number.checked_mul(self.factor)? };
        Some(scaled.to_string())
    }
}

/// What becomes of a key that is in no table; None: it is nobody's key.
pub fn judge(name: &str, value: &str) -> Option<Verdict> {
    if let Some(reason) = asks_for_protection(name, value.trim()) {
        return Some(Verdict::Refused(reason));
    }
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    MEANINGLESS.iter().find(|(pattern, _)| fits(pattern)).map(|(_, reason)| Verdict::Ignored(reason))
}

/// A broker that was told to ask for passwords, certificates or permissions must not serve everybody.
fn asks_for_protection(name: &str, value: &str) -> Option<&'static str> {
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
    use crate::config::describe::broker_keys;

    #[test]
    fn rows_are_sorted_and_hide_no_key_that_means_something() {
        assert!(MEANINGLESS.is_sorted_by_key(|(name, _)| *name));
        let keys = broker_keys();
        for (pattern, reason) in MEANINGLESS {
            assert!(!keys.iter().any(|d| d.name == *pattern), "{pattern} is in the table");
            assert!(!reason.is_empty());
        }
        for alias in ALIASES {
            assert!(
                keys.iter().any(|d| d.name == alias.key),
                "{} stands for a key that is not there",
                alias.name
            );
            assert!(!keys.iter().any(|d| d.name == alias.name));
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
            "log.retention.check.interval.ms",
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

    #[test]
    fn coarser_units_are_scaled_and_minus_one_stays() {
        let hours = ALIASES.iter().find(|a| a.name == "log.retention.hours").unwrap();
        assert_eq!(hours.value("168").as_deref(), Some("604800000"));
        assert_eq!(hours.value("-1").as_deref(), Some("-1"));
        assert_eq!(hours.value("a week"), None);
        assert_eq!(hours.value(&i64::MAX.to_string()), None);
    }
}
