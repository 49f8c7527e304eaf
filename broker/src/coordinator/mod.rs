//! Coordinators: the leaders of `__consumer_offsets` partitions, one shard each, in Kafka's record formats.
//!
//! [`group`] (p) decides; [`runtime`] appends what it decided, releases answers when that is durable, and keeps its timers
//! ([`timer`], p); [`load`] rebuilds a shard from its log.

pub mod group;
pub mod load;
pub mod runtime;
pub mod timer;

/// `Topic.GROUP_METADATA_TOPIC_NAME`.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// `Topic.TRANSACTION_STATE_TOPIC_NAME`.
pub const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";
/// `Topic.SHARE_GROUP_STATE_TOPIC_NAME`.
const SHARE_GROUP_STATE_TOPIC: &str = "__share_group_state";

/// Is a topic Kafka's own (`Topic.isInternal`)?
pub fn is_internal(topic: &str) -> bool {
    matches!(topic, OFFSETS_TOPIC | TRANSACTION_STATE_TOPIC | SHARE_GROUP_STATE_TOPIC)
}
