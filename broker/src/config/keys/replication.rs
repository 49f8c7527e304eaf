//! The keys of replication between brokers (`ReplicationConfigs`, `QuotaConfig`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Int, Long, String};
use crate::config::unused::{NO_CLASSES, NO_DISK, NO_REPLICATION};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("alter.log.dirs.replication.quota.window.num", Int, "11")
        .at_least(1)
        .unused(NO_DISK)
        .doc("Samples over which moves between directories are measured."),
    key("alter.log.dirs.replication.quota.window.size.seconds", Int, "1")
        .at_least(1)
        .unused(NO_DISK)
        .doc("Length of a sample of moves between directories."),
    key("follower.replication.throttled.rate", Long, "9223372036854775807")
        .at_least(0)
        .cluster_wide()
        .hidden()
        .unused(NO_REPLICATION)
        .doc("Bytes a second that a follower may fetch for throttled replicas."),
    key("leader.replication.throttled.rate", Long, "9223372036854775807")
        .at_least(0)
        .cluster_wide()
        .hidden()
        .unused(NO_REPLICATION)
        .doc("Bytes a second that a leader may send to throttled replicas."),
    unset("num.replica.alter.log.dirs.threads", Int)
        .unused(NO_DISK)
        .doc("Threads that move replicas between directories."),
    key("num.replica.fetchers", Int, "1")
        .at_least(1)
        .cluster_wide()
        .unused(NO_REPLICATION)
        .doc("Threads that fetch from each other broker."),
    key("replica.alter.log.dirs.io.max.bytes.per.second", Long, "9223372036854775807")
        .at_least(0)
        .cluster_wide()
        .hidden()
        .unused(NO_DISK)
        .doc("Bytes a second for moves between directories."),
    key("replica.fetch.backoff.ms", Int, "1000")
        .at_least(0)
        .unused(NO_REPLICATION)
        .doc("The pause after a failed fetch of a follower."),
    key("replica.fetch.max.bytes", Int, "1048576")
        .at_least(0)
        .unused(NO_REPLICATION)
        .doc("Bytes of one partition in a follower's fetch."),
    key("replica.fetch.min.bytes", Int, "1")
        .unused(NO_REPLICATION)
        .doc("Bytes that a follower's fetch waits for."),
    key("replica.fetch.response.max.bytes", Int, "10485760")
        .at_least(0)
        .unused(NO_REPLICATION)
        .doc("Bytes of a whole follower's fetch."),
    key("replica.fetch.wait.max.ms", Int, "500")
        .unused(NO_REPLICATION)
        .doc("How long a follower's fetch waits."),
    key("replica.high.watermark.checkpoint.interval.ms", Long, "5000")
        .unused(NO_REPLICATION)
        .doc("How often high watermarks are written."),
    key("replica.lag.time.max.ms", Long, "30000")
        .unused(NO_REPLICATION)
        .doc("How far behind a replica may be and count as in sync."),
    unset("replica.selector.class", String)
        .unused(NO_CLASSES)
        .doc("The class that sends a reader to a replica."),
    key("replica.socket.receive.buffer.bytes", Int, "65536")
        .unused(NO_REPLICATION)
        .doc("Receive buffer of a follower's socket."),
    key("replica.socket.timeout.ms", Int, "30000")
        .unused(NO_REPLICATION)
        .doc("How long a follower's request may take."),
    key("replication.quota.window.num", Int, "11")
        .at_least(1)
        .unused(NO_REPLICATION)
        .doc("Samples over which replication is measured."),
    key("replication.quota.window.size.seconds", Int, "1")
        .at_least(1)
        .unused(NO_REPLICATION)
        .doc("Length of a sample of replication."),
];
