//! The keys of tiered storage (`RemoteLogManagerConfig`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Boolean, Int, Long, String};
use crate::config::unused::NO_TIERS;

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("follower.fetch.last.tiered.offset.enable", Boolean, "false")
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("Whether a new follower begins behind what is tiered."),
    key("remote.fetch.max.wait.ms", Int, "500")
        .at_least(1)
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("How long a fetch waits for the remote tier."),
    key("remote.list.offsets.request.timeout.ms", Long, "30000")
        .at_least(1)
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("How long a look-up of offsets waits for the remote tier."),
    key("remote.log.index.file.cache.total.size.bytes", Long, "1073741824")
        .at_least(1)
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("Disk for cached indexes of the remote tier."),
    key("remote.log.manager.copier.thread.pool.size", Int, "10")
        .at_least(1)
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("Threads that copy to the remote tier."),
    key("remote.log.manager.copy.max.bytes.per.second", Long, "9223372036854775807")
        .at_least(1)
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("How fast may be copied to the remote tier."),
    key("remote.log.manager.copy.quota.window.num", Int, "11")
        .at_least(1)
        .unused(NO_TIERS)
        .doc("Samples over which copying is measured."),
    key("remote.log.manager.copy.quota.window.size.seconds", Int, "1")
        .at_least(1)
        .unused(NO_TIERS)
        .doc("Length of a sample of copying."),
    key("remote.log.manager.expiration.thread.pool.size", Int, "10")
        .at_least(1)
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("Threads that delete from the remote tier."),
    key("remote.log.manager.fetch.max.bytes.per.second", Long, "9223372036854775807")
        .at_least(1)
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("How fast may be read from the remote tier."),
    key("remote.log.manager.fetch.quota.window.num", Int, "11")
        .at_least(1)
        .unused(NO_TIERS)
        .doc("Samples over which reading is measured."),
    key("remote.log.manager.fetch.quota.window.size.seconds", Int, "1")
        .at_least(1)
        .unused(NO_TIERS)
        .doc("Length of a sample of reading."),
    key("remote.log.manager.follower.thread.pool.size", Int, "2")
        .at_least(1)
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("Threads of followers for the remote tier."),
    key("remote.log.manager.task.interval.ms", Long, "30000")
        .at_least(1)
        .unused(NO_TIERS)
        .doc("How often tiering is looked at."),
    key("remote.log.manager.thread.pool.size", Int, "2")
        .at_least(1)
        .unused(NO_TIERS)
        .doc("Threads that schedule tiering."),
    key("remote.log.metadata.custom.metadata.max.bytes", Int, "128")
        .at_least(0)
        .unused(NO_TIERS)
        .doc("The most a plugin may note per segment."),
    key(
        "remote.log.metadata.manager.class.name",
        String,
        "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager",
    )
    .not_empty()
    .unused(NO_TIERS)
    .doc("The class that keeps the metadata of the remote tier."),
    unset("remote.log.metadata.manager.class.path", String)
        .unused(NO_TIERS)
        .doc("Where that class is found."),
    key("remote.log.metadata.manager.impl.prefix", String, "rlmm.config.")
        .not_empty()
        .unused(NO_TIERS)
        .doc("What its own keys begin with."),
    unset("remote.log.metadata.manager.listener.name", String)
        .not_empty()
        .unused(NO_TIERS)
        .doc("The listener that it uses."),
    key("remote.log.reader.max.pending.tasks", Int, "100")
        .at_least(1)
        .unused(NO_TIERS)
        .doc("Reads of the remote tier that may wait."),
    key("remote.log.reader.threads", Int, "10")
        .at_least(1)
        .cluster_wide()
        .unused(NO_TIERS)
        .doc("Threads that read the remote tier."),
    unset("remote.log.storage.manager.class.name", String)
        .not_empty()
        .unused(NO_TIERS)
        .doc("The class that stores the remote tier."),
    unset("remote.log.storage.manager.class.path", String).unused(NO_TIERS).doc("Where that class is found."),
    key("remote.log.storage.manager.impl.prefix", String, "rsm.config.")
        .not_empty()
        .unused(NO_TIERS)
        .doc("What its own keys begin with."),
    key("remote.log.storage.system.enable", Boolean, "false")
        .unused(NO_TIERS)
        .doc("Whether there is a remote tier."),
];
