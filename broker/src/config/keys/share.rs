//! The keys of share groups (`ShareGroupConfig`, `ShareCoordinatorConfig`).

use super::key;
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Int, List, Short};
use crate::config::unused::NEW_GROUPS;

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("group.share.assignment.interval.ms", Int, "1000")
        .at_least(0)
        .cluster_wide()
        .unused(NEW_GROUPS)
        .doc("The least time between two assignments of a share group."),
    key("group.share.assignors", List, "simple")
        .unused(NEW_GROUPS)
        .doc("How partitions are given to members of a share group."),
    key("group.share.delivery.count.limit", Int, "5")
        .between(2, 10)
        .unused(NEW_GROUPS)
        .doc("How often a record is delivered before it is given up."),
    key("group.share.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("How often members of a share group are to be heard."),
    key("group.share.max.assignment.interval.ms", Int, "15000")
        .at_least(0)
        .unused(NEW_GROUPS)
        .doc("The largest share.assignment.interval.ms a group may have."),
    key("group.share.max.delivery.count.limit", Int, "10")
        .between(5, 25)
        .unused(NEW_GROUPS)
        .doc("The largest share.delivery.count.limit a group may have."),
    key("group.share.max.heartbeat.interval.ms", Int, "15000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The largest share.heartbeat.interval.ms a group may have."),
    key("group.share.max.partition.max.record.locks", Int, "4000")
        .between(2000, 10000)
        .unused(NEW_GROUPS)
        .doc("The largest share.partition.max.record.locks a group may have."),
    key("group.share.max.record.lock.duration.ms", Int, "60000")
        .between(30000, 3600000)
        .unused(NEW_GROUPS)
        .doc("The largest share.record.lock.duration.ms a group may have."),
    key("group.share.max.session.timeout.ms", Int, "60000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The largest share.session.timeout.ms a group may have."),
    key("group.share.max.share.sessions", Int, "2000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The most share sessions of a broker."),
    key("group.share.max.size", Int, "200")
        .between(1, 1000)
        .unused(NEW_GROUPS)
        .doc("The most members of a share group."),
    key("group.share.min.assignment.interval.ms", Int, "0")
        .at_least(0)
        .unused(NEW_GROUPS)
        .doc("The smallest share.assignment.interval.ms a group may have."),
    key("group.share.min.delivery.count.limit", Int, "2")
        .between(2, 5)
        .unused(NEW_GROUPS)
        .doc("The smallest share.delivery.count.limit a group may have."),
    key("group.share.min.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The smallest share.heartbeat.interval.ms a group may have."),
    key("group.share.min.partition.max.record.locks", Int, "100")
        .between(100, 2000)
        .unused(NEW_GROUPS)
        .doc("The smallest share.partition.max.record.locks a group may have."),
    key("group.share.min.record.lock.duration.ms", Int, "15000")
        .between(1000, 30000)
        .unused(NEW_GROUPS)
        .doc("The smallest share.record.lock.duration.ms a group may have."),
    key("group.share.min.session.timeout.ms", Int, "45000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The smallest share.session.timeout.ms a group may have."),
    key("group.share.partition.max.record.locks", Int, "2000")
        .between(100, 10000)
        .unused(NEW_GROUPS)
        .doc("Records of a partition that a share group may have locked."),
    key("group.share.record.lock.duration.ms", Int, "30000")
        .between(1000, 3600000)
        .unused(NEW_GROUPS)
        .doc("How long a record stays locked for who acquired it."),
    key("group.share.session.timeout.ms", Int, "45000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("How long a silent member of a share group is believed alive."),
    key("share.coordinator.append.linger.ms", Int, "-1")
        .at_least(-1)
        .unused(NEW_GROUPS)
        .doc("How long the coordinator of share state gathers records."),
    key("share.coordinator.cached.buffer.max.bytes", Int, "1048588")
        .at_least(524288)
        .cluster_wide()
        .unused(NEW_GROUPS)
        .doc("The largest write buffer that it keeps."),
    key("share.coordinator.load.buffer.size", Int, "5242880")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("Bytes read at a time when share state is loaded."),
    key("share.coordinator.snapshot.update.records.per.snapshot", Int, "500")
        .between(0, 500)
        .unused(NEW_GROUPS)
        .doc("Updates of share state between two snapshots."),
    key("share.coordinator.state.topic.compression.codec", Int, "0")
        .unused(NEW_GROUPS)
        .doc("The codec of __share_group_state, as a number."),
    key("share.coordinator.state.topic.min.isr", Short, "2")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("min.insync.replicas of __share_group_state."),
    key("share.coordinator.state.topic.num.partitions", Int, "50")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("Partitions of __share_group_state."),
    key("share.coordinator.state.topic.replication.factor", Short, "3")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The replication factor of __share_group_state."),
    key("share.coordinator.state.topic.segment.bytes", Int, "104857600")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("segment.bytes of __share_group_state."),
    key("share.coordinator.threads", Int, "1")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("Threads of the coordinator of share state."),
    key("share.coordinator.write.timeout.ms", Int, "5000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("How long a write of share state may take."),
    key("share.fetch.purgatory.purge.interval.requests", Int, "1000")
        .unused(NEW_GROUPS)
        .doc("Share fetches between two clearings of those that wait."),
];
