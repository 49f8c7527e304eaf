//! The keys of groups and their offsets (`GroupCoordinatorConfig`).

use super::key;
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Int, List, Long, Short, String};
use crate::config::unused::{AT_ONCE, BUDGET, DURABLE, INTERNAL_TOPICS, LOADED, NEW_GROUPS, NO_POOLS};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("group.consumer.assignment.interval.ms", Int, "1000")
        .at_least(0)
        .cluster_wide()
        .unused(NEW_GROUPS)
        .doc("The least time between two assignments of a consumer group."),
    key("group.consumer.assignors", List, "uniform,range")
        .unused(NEW_GROUPS)
        .doc("How partitions are given to members of a consumer group, the first being the default."),
    key("group.consumer.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("How often members of a consumer group are to be heard."),
    key("group.consumer.max.assignment.interval.ms", Int, "15000")
        .at_least(0)
        .unused(NEW_GROUPS)
        .doc("The largest consumer.assignment.interval.ms a group may have."),
    key("group.consumer.max.heartbeat.interval.ms", Int, "15000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The largest consumer.heartbeat.interval.ms a group may have."),
    key("group.consumer.max.session.timeout.ms", Int, "60000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The largest consumer.session.timeout.ms a group may have."),
    key("group.consumer.max.size", Int, "2147483647")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The most members of a consumer group."),
    key("group.consumer.migration.policy", String, "bidirectional")
        .one_of_any_case(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"])
        .unused(NEW_GROUPS)
        .doc("Whether classic groups become consumer groups, and back."),
    key("group.consumer.min.assignment.interval.ms", Int, "0")
        .at_least(0)
        .unused(NEW_GROUPS)
        .doc("The smallest consumer.assignment.interval.ms a group may have."),
    key("group.consumer.min.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The smallest consumer.heartbeat.interval.ms a group may have."),
    key("group.consumer.min.session.timeout.ms", Int, "45000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The smallest consumer.session.timeout.ms a group may have."),
    key("group.consumer.session.timeout.ms", Int, "45000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("How long a silent member of a consumer group is believed alive."),
    key("group.coordinator.append.linger.ms", Int, "-1")
        .at_least(-1)
        .unused(AT_ONCE)
        .doc("How long a coordinator gathers records before it writes them."),
    key("group.coordinator.background.threads", Int, "2")
        .at_least(1)
        .unused(NO_POOLS)
        .doc("Threads for a coordinator's background work."),
    key("group.coordinator.cached.buffer.max.bytes", Int, "1048588")
        .at_least(524288)
        .cluster_wide()
        .unused(BUDGET)
        .doc("The largest write buffer that a coordinator keeps."),
    key("group.coordinator.rebalance.protocols", List, "classic,consumer,streams")
        .list_of(&["consumer", "classic", "share", "streams"])
        .unused(NEW_GROUPS)
        .doc("The group protocols that are served; classic always is."),
    key("group.coordinator.threads", Int, "4").at_least(1).unused(NO_POOLS).doc("Threads of coordinators."),
    key("group.initial.rebalance.delay.ms", Int, "3000")
        .at_least(0)
        .doc("How long an empty group waits for more members before its first rebalance."),
    key("group.max.session.timeout.ms", Int, "1800000")
        .at_least(1)
        .doc("The longest session timeout a member may ask for."),
    key("group.max.size", Int, "2147483647").at_least(1).doc("The most members of a group."),
    key("group.min.session.timeout.ms", Int, "6000")
        .at_least(1)
        .doc("The shortest session timeout a member may ask for."),
    key("group.streams.assignment.interval.ms", Int, "1000")
        .at_least(0)
        .cluster_wide()
        .unused(NEW_GROUPS)
        .doc("The least time between two assignments of a streams group."),
    key("group.streams.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("How often members of a streams group are to be heard."),
    key("group.streams.initial.rebalance.delay.ms", Int, "3000")
        .at_least(0)
        .unused(NEW_GROUPS)
        .doc("How long an empty streams group waits for more members."),
    key("group.streams.max.assignment.interval.ms", Int, "15000")
        .at_least(0)
        .unused(NEW_GROUPS)
        .doc("The largest streams.assignment.interval.ms a group may have."),
    key("group.streams.max.heartbeat.interval.ms", Int, "15000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The largest streams.heartbeat.interval.ms a group may have."),
    key("group.streams.max.session.timeout.ms", Int, "60000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The largest streams.session.timeout.ms a group may have."),
    key("group.streams.max.size", Int, "2147483647")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The most members of a streams group."),
    key("group.streams.max.standby.replicas", Int, "2")
        .at_least(0)
        .unused(NEW_GROUPS)
        .doc("The largest streams.num.standby.replicas a group may have."),
    key("group.streams.min.assignment.interval.ms", Int, "0")
        .at_least(0)
        .unused(NEW_GROUPS)
        .doc("The smallest streams.assignment.interval.ms a group may have."),
    key("group.streams.min.heartbeat.interval.ms", Int, "5000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The smallest streams.heartbeat.interval.ms a group may have."),
    key("group.streams.min.session.timeout.ms", Int, "45000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("The smallest streams.session.timeout.ms a group may have."),
    key("group.streams.num.standby.replicas", Int, "0")
        .at_least(0)
        .unused(NEW_GROUPS)
        .doc("Standby replicas of each task of a streams group."),
    key("group.streams.session.timeout.ms", Int, "45000")
        .at_least(1)
        .unused(NEW_GROUPS)
        .doc("How long a silent member of a streams group is believed alive."),
    key("offset.metadata.max.bytes", Int, "4096")
        .at_least(0)
        .doc("The longest note beside a committed offset."),
    key("offsets.commit.timeout.ms", Int, "5000")
        .at_least(1)
        .unused(DURABLE)
        .doc("How long a commit of offsets may take."),
    key("offsets.load.buffer.size", Int, "5242880")
        .at_least(1)
        .unused(LOADED)
        .doc("Bytes read at a time when offsets are loaded."),
    key("offsets.retention.check.interval.ms", Long, "600000")
        .at_least(1)
        .doc("How often committed offsets are looked at for expiry."),
    key("offsets.retention.minutes", Int, "10080")
        .at_least(1)
        .doc("How long offsets of an empty group are kept."),
    key("offsets.topic.compression.codec", Int, "0")
        .unused(INTERNAL_TOPICS)
        .doc("The codec of __consumer_offsets, as a number."),
    key("offsets.topic.num.partitions", Int, "50")
        .at_least(1)
        .doc("Partitions of __consumer_offsets; decided when it is created."),
    key("offsets.topic.replication.factor", Short, "3")
        .at_least(1)
        .doc("The replication factor that __consumer_offsets reports."),
    key("offsets.topic.segment.bytes", Int, "104857600")
        .at_least(1)
        .doc("The segment.bytes that __consumer_offsets is created with."),
];
