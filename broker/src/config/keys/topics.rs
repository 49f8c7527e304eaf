//! The keys that decide about topics as a whole (`ServerConfigs`, `ServerLogConfigs`, `ReplicationConfigs`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Boolean, Class, Int};
use crate::config::unused::{NO_CLASSES, NO_PURGATORY};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    unset("alter.config.policy.class.name", Class).unused(NO_CLASSES).doc("The class that may refuse a change of configuration."),
    key("auto.create.topics.enable", Boolean, "true").doc("Create a topic when a client asks for its metadata, if the client allows it, too."),
    unset("create.topic.policy.class.name", Class).unused(NO_CLASSES).doc("The class that may refuse a new topic."),
    key("default.replication.factor", Int, "3").at_least(1).doc("The replication factor of topics that do not say one. Any is accepted and reported: the bucket replicates."),
    key("delete.records.purgatory.purge.interval.requests", Int, "1").unused(NO_PURGATORY).doc("Deletions between two clearings of those that wait."),
    key("delete.topic.enable", Boolean, "true").doc("Topics may be deleted."),
    key("max.request.partition.size.limit", Int, "2000").at_least(1).doc("The most partitions of one DescribeTopicPartitions answer; the rest follows from its cursor."),
    key("num.partitions", Int, "1").at_least(1).doc("Partitions of topics that do not say how many."),
];
