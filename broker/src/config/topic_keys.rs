//! The keys of a topic: Kafka 4.3's (`TopicConfig`, `LogConfig`), with their broker synonyms.

use std::collections::BTreeMap;

use super::def::{ConfigDef, Kind, Values};
use super::keys;

const fn key(name: &'static str, kind: Kind, default: &'static str) -> ConfigDef {
    ConfigDef::new(name, kind, Some(default))
}

/// By name.
pub static TOPIC_KEYS: &[ConfigDef] = &[
    key("cleanup.policy", Kind::List, "delete")
        .list_of(&["compact", "delete"])
        .synonym("log.cleanup.policy")
        .doc("What happens to old records: delete by time and size, compact by key, or both."),
    key("compression.gzip.level", Kind::Int, "-1")
        .gzip_level()
        .synonym("compression.gzip.level")
        .doc("Stored and reported: where a batch is recompressed, at its codec's default level."),
    key("compression.lz4.level", Kind::Int, "9")
        .between(1, 17)
        .synonym("compression.lz4.level")
        .doc("Stored and reported: where a batch is recompressed, at its codec's default level."),
    key("compression.type", Kind::String, "producer")
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])
        .synonym("compression.type")
        .doc("The codec that batches are stored in; producer keeps each as it was sent."),
    key("compression.zstd.level", Kind::Int, "3")
        .between(-131072, 22)
        .synonym("compression.zstd.level")
        .doc("Stored and reported: where a batch is recompressed, at its codec's default level."),
    key("delete.retention.ms", Kind::Long, "86400000")
        .at_least(0)
        .synonym("log.cleaner.delete.retention.ms")
        .doc("How long a tombstone of a compacted topic is kept."),
    key("file.delete.delay.ms", Kind::Long, "60000")
        .at_least(0)
        .synonym("log.segment.delete.delay.ms")
        .doc("Stored and reported: objects are deleted after object.delete.delay.ms."),
    key("flush.messages", Kind::Long, "9223372036854775807")
        .at_least(1)
        .synonym("log.flush.interval.messages")
        .doc("Stored and reported: everything is durable before it is acknowledged."),
    key("flush.ms", Kind::Long, "9223372036854775807")
        .at_least(0)
        .synonym("log.flush.interval.ms")
        .doc("Stored and reported: everything is durable before it is acknowledged."),
    key("follower.replication.throttled.replicas", Kind::List, "")
        .throttled_replicas()
        .doc("Stored and reported: there is no replication between brokers."),
    key("index.interval.bytes", Kind::Int, "4096")
        .at_least(0)
        .synonym("log.index.interval.bytes")
        .doc("Stored and reported: every block is indexed."),
    ConfigDef::new("internal.segment.bytes", Kind::Int, None)
        .hidden()
        .doc("Stored and reported: there are no segment files. Internal to Apache Kafka's tests."),
    key("leader.replication.throttled.replicas", Kind::List, "")
        .throttled_replicas()
        .doc("Stored and reported: there is no replication between brokers."),
    key("local.retention.bytes", Kind::Long, "-2")
        .at_least(-2)
        .synonym("log.local.retention.bytes")
        .doc("Stored and reported: there is one tier, the bucket."),
    key("local.retention.ms", Kind::Long, "-2")
        .at_least(-2)
        .synonym("log.local.retention.ms")
        .doc("Stored and reported: there is one tier, the bucket."),
    key("max.compaction.lag.ms", Kind::Long, "9223372036854775807")
        .at_least(1)
        .synonym("log.cleaner.max.compaction.lag.ms")
        .doc("The longest a record of a compacted topic stays uncompacted."),
    key("max.message.bytes", Kind::Int, "1048588")
        .at_least(0)
        .synonym("message.max.bytes")
        .doc("The largest record batch, after compression."),
    key("message.timestamp.after.max.ms", Kind::Long, "3600000")
        .at_least(0)
        .synonym("log.message.timestamp.after.max.ms")
        .doc("How far a record's timestamp may lie after the broker's clock (CreateTime only)."),
    key("message.timestamp.before.max.ms", Kind::Long, "9223372036854775807")
        .at_least(0)
        .synonym("log.message.timestamp.before.max.ms")
        .doc("How far a record's timestamp may lie before the broker's clock (CreateTime only)."),
    key("message.timestamp.type", Kind::String, "CreateTime")
        .one_of(&["CreateTime", "LogAppendTime"])
        .synonym("log.message.timestamp.type")
        .doc("Whose time a record bears: its producer's or the broker's."),
    key("min.cleanable.dirty.ratio", Kind::Double, "0.5")
        .ratio()
        .synonym("log.cleaner.min.cleanable.ratio")
        .doc("How much of a compacted log must be new before it is compacted again."),
    key("min.compaction.lag.ms", Kind::Long, "0")
        .at_least(0)
        .synonym("log.cleaner.min.compaction.lag.ms")
        .doc("The shortest a record of a compacted topic stays uncompacted."),
    key("min.insync.replicas", Kind::Int, "1")
        .at_least(1)
        .synonym("min.insync.replicas")
        .doc("Stored and reported: every acknowledged record is in the bucket, whatever this says."),
    key("preallocate", Kind::Boolean, "false")
        .synonym("log.preallocate")
        .doc("Stored and reported: there are no segment files."),
    key("remote.log.copy.disable", Kind::Boolean, "false")
        .doc("Stored and reported: there is one tier, the bucket."),
    key("remote.log.delete.on.disable", Kind::Boolean, "false")
        .doc("Stored and reported: there is one tier, the bucket."),
    key("remote.storage.enable", Kind::Boolean, "false")
        .doc("Stored and reported: there is one tier, the bucket."),
    key("retention.bytes", Kind::Long, "-1")
        .synonym("log.retention.bytes")
        .doc("How many bytes of a partition are kept, -1 for any."),
    key("retention.ms", Kind::Long, "604800000")
        .at_least(-1)
        .synonym("log.retention.ms")
        .doc("How long a record is kept, -1 for ever."),
    key("segment.bytes", Kind::Int, "1073741824")
        .at_least(1048576)
        .synonym("log.segment.bytes")
        .doc("Stored and reported: there are no segment files."),
    key("segment.index.bytes", Kind::Int, "10485760")
        .at_least(4)
        .synonym("log.index.size.max.bytes")
        .doc("Stored and reported: there are no segment files."),
    key("segment.jitter.ms", Kind::Long, "0")
        .at_least(0)
        .synonym("log.roll.jitter.ms")
        .doc("Stored and reported: there are no segment files."),
    key("segment.ms", Kind::Long, "604800000")
        .at_least(1)
        .synonym("log.roll.ms")
        .doc("How long less than 1 MiB of a compacted topic waits for more before it is compacted. There are no segment files."),
    key("unclean.leader.election.enable", Kind::Boolean, "false")
        .synonym("unclean.leader.election.enable")
        .doc("Stored and reported: a leader never lacks an acknowledged record."),
];

/// The row of a key.
pub fn find(name: &str) -> Option<&'static ConfigDef> {
    TOPIC_KEYS.iter().find(|d| d.name == name)
}

/// What a topic gets: the table's defaults, what the broker sets for all topics, then its own.
pub fn effective<'a>(broker: &Values, overrides: impl Iterator<Item = (&'a str, &'a str)>) -> Values {
    let mut values = Values::defaults(TOPIC_KEYS);
    for def in TOPIC_KEYS {
        if let Some(value) = def.synonym.and_then(|synonym| of_broker(broker, synonym)) {
            values.set(def, &value);
        }
    }
    for (name, value) in overrides {
        // A value that is not legal is of another release, or of a broker whose own settings have changed since.
        if let Some(def) = find(name).filter(|def| def.check(value).is_ok()) {
            values.set(def, value);
        }
    }
    values
}

/// What the broker says under this key, or else under a coarser one (`KafkaConfig.logRetentionTimeMillis`: a negative time
/// is for ever in every unit).
fn of_broker(broker: &Values, name: &str) -> Option<String> {
    if let Some(value) = broker.get(name) {
        return Some(value.to_string());
    }
    let coarser = keys::find(name)?.coarser.iter();
    let set = coarser.filter_map(|(name, factor)| Some((broker.get(name)?.parse::<i64>().ok()?, *factor)));
    set.map(|(value, factor)| if value < 0 { -1 } else { value.saturating_mul(factor) })
        .next()
        .map(|n| n.to_string())
}

/// Judges a topic's own values, all of them, above what the broker sets (`LogConfig.validate`).
///
/// # Errors
/// The first thing that is wrong, in Kafka's words.
pub fn check(broker: &Values, own: &BTreeMap<String, String>) -> Result<(), String> {
    if let Some(unknown) = own.keys().find(|name| find(name).is_none()) {
        return Err(format!("Unknown topic config name: {unknown}"));
    }
    for (name, value) in own {
        find(name).expect("unknown ones were told").check(value).map_err(|e| e.to_string())?;
    }
    let values = effective(broker, own.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    let (min, max) = (values.long("min.compaction.lag.ms"), values.long("max.compaction.lag.ms"));
    if min > max {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ));
    }
    if values.boolean("remote.storage.enable") {
        return Err("Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log \
                    storage."
            .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_their_defaults_are_legal() {
        assert!(TOPIC_KEYS.is_sorted_by_key(|d| d.name));
        for def in TOPIC_KEYS {
            if let Some(default) = def.default {
                def.check(default).unwrap();
            }
        }
    }

    #[test]
    fn a_topics_own_value_wins_over_the_brokers_and_that_over_the_default() {
        let mut broker = Values::default();
        broker.set(&ConfigDef::new("message.max.bytes", Kind::Int, None), "5");
        broker.set(&ConfigDef::new("log.retention.bytes", Kind::Long, None), "6");
        let own = [("retention.bytes", "7")];
        let values = effective(&broker, own.into_iter());
        assert_eq!(values.int("max.message.bytes"), 5);
        assert_eq!(values.long("retention.bytes"), 7);
        assert_eq!(values.long("retention.ms"), 604_800_000);
    }

    #[test]
    fn the_finest_unit_that_the_broker_sets_counts() {
        let retention = |set: &[(&str, &str)]| {
            let mut broker = Values::defaults(keys::all());
            set.iter().for_each(|(name, value)| broker.set(keys::find(name).unwrap(), value));
            effective(&broker, std::iter::empty()).long("retention.ms")
        };
        assert_eq!(retention(&[]), 604_800_000);
        assert_eq!(retention(&[("log.retention.hours", "2")]), 7_200_000);
        assert_eq!(retention(&[("log.retention.hours", "2"), ("log.retention.minutes", "3")]), 180_000);
        assert_eq!(retention(&[("log.retention.minutes", "3"), ("log.retention.ms", "4")]), 4);
        assert_eq!(retention(&[("log.retention.minutes", "-1")]), -1);
    }

    #[test]
    fn a_topics_values_are_judged_together() {
        let broker = Values::defaults(keys::all());
        let say = |own: &[(&str, &str)]| {
            let own = own.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            check(&broker, &own).err().unwrap_or_default()
        };
        assert_eq!(say(&[("retention.ms", "5"), ("cleanup.policy", "compact,delete")]), "");
        assert_eq!(say(&[("nope", "x"), ("retention.ms", "x")]), "Unknown topic config name: nope");
        assert_eq!(
            say(&[("retention.ms", "x")]),
            "Invalid value x for configuration retention.ms: Not a number of type LONG"
        );
        assert_eq!(
            say(&[("max.compaction.lag.ms", "5"), ("min.compaction.lag.ms", "6")]),
            "conflict topic config setting min.compaction.lag.ms (6) > max.compaction.lag.ms (5)"
        );
        assert!(
            say(&[("remote.storage.enable", "true")]).starts_with("Tiered Storage functionality is disabled")
        );
    }
}
