//! What a topic's configuration means, typed: read on every produce and fetch, so parsed once per change.

use protocol::compression::Compression;

use super::Values;
use crate::log_cleaner::plan::CompactionConfig;

/// The keys that decide something here. The others are stored and reported.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: i32,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `cleanup.policy` holds `compact`.
    pub compacted: bool,
    /// `cleanup.policy` holds `delete`: records may go before their topic does.
    pub deletes: bool,
    /// `compression.type`: the codec of every stored batch; None keeps the producer's.
    pub compression: Option<Compression>,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `retention.ms`, -1 for ever.
    pub retention_ms: i64,
    /// `retention.bytes`, -1 for any size.
    pub retention_bytes: i64,
    /// When and how it is compacted, if it is.
    pub compaction: CompactionConfig,
}

impl TopicConfig {
    /// Reads it out of the effective values of a topic; every value was validated when it was set.
    pub fn read(values: &Values) -> TopicConfig {
        TopicConfig {
            max_message_bytes: values.int("max.message.bytes"),
            log_append_time: values.string("message.timestamp.type") == "LogAppendTime",
            compacted: values.list("cleanup.policy").contains(&"compact"),
            deletes: values.list("cleanup.policy").contains(&"delete"),
            compression: Compression::from_topic_config(values.string("compression.type")),
            timestamp_before_max_ms: values.long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: values.long("message.timestamp.after.max.ms"),
            retention_ms: values.long("retention.ms"),
            retention_bytes: values.long("retention.bytes"),
            compaction: CompactionConfig::read(values),
        }
    }
}
