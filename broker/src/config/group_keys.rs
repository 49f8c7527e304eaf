//! The keys of a group (`GroupConfig`, KIP-848, KIP-932, KIP-1071), with the broker keys that give their defaults and bounds.

use std::collections::BTreeMap;

use super::def::{ConfigDef, Kind, Values};
use super::unused::NEW_GROUPS;

const fn key(name: &'static str, kind: Kind, default: &'static str) -> ConfigDef {
    ConfigDef::new(name, kind, Some(default)).unused(NEW_GROUPS)
}

/// By name.
pub static GROUP_KEYS: &[ConfigDef] = &[
    key("consumer.assignment.interval.ms", Kind::Int, "1000")
        .at_least(0)
        .synonym("group.consumer.assignment.interval.ms")
        .doc("The least time between two assignments."),
    key("consumer.heartbeat.interval.ms", Kind::Int, "5000")
        .at_least(1)
        .synonym("group.consumer.heartbeat.interval.ms")
        .doc("How often members are to be heard."),
    key("consumer.session.timeout.ms", Kind::Int, "45000")
        .at_least(1)
        .synonym("group.consumer.session.timeout.ms")
        .doc("How long a silent member is believed alive."),
    key("share.assignment.interval.ms", Kind::Int, "1000")
        .at_least(0)
        .synonym("group.share.assignment.interval.ms")
        .doc("The least time between two assignments."),
    key("share.auto.offset.reset", Kind::String, "latest")
        .offset_reset()
        .doc("Where the group begins in a partition that it has not read yet."),
    key("share.delivery.count.limit", Kind::Int, "5")
        .at_least(2)
        .synonym("group.share.delivery.count.limit")
        .doc("How often a record is delivered before it is given up."),
    key("share.heartbeat.interval.ms", Kind::Int, "5000")
        .at_least(1)
        .synonym("group.share.heartbeat.interval.ms")
        .doc("How often members are to be heard."),
    key("share.isolation.level", Kind::String, "read_uncommitted")
        .one_of(&["read_committed", "read_uncommitted"])
        .doc("Whether records of open and aborted transactions are delivered."),
    key("share.partition.max.record.locks", Kind::Int, "2000")
        .at_least(100)
        .synonym("group.share.partition.max.record.locks")
        .doc("Records of a partition that may be locked at a time."),
    key("share.record.lock.duration.ms", Kind::Int, "30000")
        .at_least(1000)
        .synonym("group.share.record.lock.duration.ms")
        .doc("How long a record stays locked for who acquired it."),
    key("share.renew.acknowledge.enable", Kind::Boolean, "true").doc("Whether a lock may be renewed."),
    key("share.session.timeout.ms", Kind::Int, "45000")
        .at_least(1)
        .synonym("group.share.session.timeout.ms")
        .doc("How long a silent member is believed alive."),
    key("streams.assignment.interval.ms", Kind::Int, "1000")
        .at_least(0)
        .synonym("group.streams.assignment.interval.ms")
        .doc("The least time between two assignments."),
    key("streams.heartbeat.interval.ms", Kind::Int, "5000")
        .at_least(1)
        .synonym("group.streams.heartbeat.interval.ms")
        .doc("How often members are to be heard."),
    key("streams.initial.rebalance.delay.ms", Kind::Int, "3000")
        .at_least(0)
        .synonym("group.streams.initial.rebalance.delay.ms")
        .doc("How long an empty group waits for more members before its first assignment."),
    key("streams.num.standby.replicas", Kind::Int, "0")
        .at_least(0)
        .synonym("group.streams.num.standby.replicas")
        .doc("Standby replicas of each task."),
    key("streams.session.timeout.ms", Kind::Int, "45000")
        .at_least(1)
        .synonym("group.streams.session.timeout.ms")
        .doc("How long a silent member is believed alive."),
];

/// The row of a key.
pub fn find(name: &str) -> Option<&'static ConfigDef> {
    GROUP_KEYS.iter().find(|d| d.name == name)
}

/// Judges a group's own values, all of them, against the broker's bounds (`GroupConfigManager.validate`).
///
/// # Errors
/// The first thing that is wrong, in Kafka's words.
pub fn check(broker: &Values, own: &BTreeMap<String, String>) -> Result<(), String> {
    if let Some(unknown) = own.keys().find(|name| find(name).is_none()) {
        return Err(format!("Unknown group config name: {unknown}"));
    }
    for (name, value) in own {
        find(name).expect("unknown ones were told").check(value).map_err(|e| e.to_string())?;
    }
    let value = |def: &ConfigDef| -> Option<i32> {
        let inherited = || def.synonym.and_then(|s| broker.get(s)).or(def.default);
        own.get(def.name).map(|v| v.trim()).or_else(inherited)?.parse().ok()
    };
    for def in GROUP_KEYS {
        let Some(n) = value(def) else { continue };
        let limit = |end| {
            let name = bound(def, end)?;
            Some((broker.get(&name)?.parse::<i32>().ok()?, name))
        };
        if let Some((_, min)) = limit("min").filter(|(min, _)| n < *min) {
            return Err(format!("{} must be greater than or equal to {min}", def.name));
        }
        if let Some((_, max)) = limit("max").filter(|(max, _)| n > *max) {
            return Err(format!("{} must be less than or equal to {max}", def.name));
        }
    }
    for protocol in ["consumer", "share", "streams"] {
        let session = format!("{protocol}.session.timeout.ms");
        let heartbeat = format!("{protocol}.heartbeat.interval.ms");
        let (s, h) = (find(&session).and_then(value), find(&heartbeat).and_then(value));
        if s <= h {
            return Err(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

/// The broker key that bounds a key: `group.consumer.min.session.timeout.ms` for `consumer.session.timeout.ms`.
fn bound(def: &ConfigDef, end: &str) -> Option<String> {
    let (protocol, rest) = def.name.split_once('.')?;
    let rest = rest.strip_prefix("num.").unwrap_or(rest);
    Some(format!("group.{protocol}.{end}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn rows_are_sorted_and_agree_with_the_brokers_keys() {
        assert!(GROUP_KEYS.is_sorted_by_key(|d| d.name));
        for def in GROUP_KEYS {
            def.check(def.default.unwrap()).unwrap();
            if let Some(synonym) = def.synonym {
                assert_eq!(keys::find(synonym).unwrap().default, def.default, "{synonym}");
            }
        }
        assert_eq!(check(&Values::defaults(keys::all()), &BTreeMap::new()), Ok(()));
    }

    #[test]
    fn a_groups_values_are_judged_against_the_brokers_bounds() {
        let broker = Values::defaults(keys::all());
        let say = |own: &[(&str, &str)]| {
            let own = own.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            check(&broker, &own).err().unwrap_or_default()
        };
        for (key, value, expected) in [
            ("consumer.session.timeout.ms", "50000", ""),
            (
                "consumer.session.timeout.ms",
                "5",
                "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
            ),
            (
                "consumer.heartbeat.interval.ms",
                "60000",
                "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
            ),
            (
                "share.record.lock.duration.ms",
                "5000",
                "share.record.lock.duration.ms must be greater than or equal to group.share.min.record.lock.duration.ms",
            ),
            (
                "streams.num.standby.replicas",
                "5",
                "streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas",
            ),
            ("nope", "1", "Unknown group config name: nope"),
        ] {
            assert_eq!(say(&[(key, value)]), expected, "{key}={value}");
        }
    }
}
