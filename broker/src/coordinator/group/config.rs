//! The values of configuration that group decisions need. Where they come from and how they change is not decided
//! here; a shard that is told new values ([`super::GroupShard::reconfigure`]) uses them from its next decision on.

/// Kafka's `group.*` and `offset*` broker configurations (`GroupCoordinatorConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: a JoinGroup below it gets INVALID_SESSION_TIMEOUT.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`: a JoinGroup above it gets INVALID_SESSION_TIMEOUT.
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: members; one more gets GROUP_MAX_SIZE_REACHED (KIP-389).
    pub group_size_max: usize,
    /// How long a JoinGroup of a new member may be parked before the member is given up
    /// (`GroupMetadataManager.classicGroupNewMemberJoinTimeoutMs`; not configurable in Kafka).
    pub new_member_join_timeout_ms: i32,
    /// `offset.metadata.max.bytes`: in UTF-16 units, as Kafka counts; longer gets OFFSET_METADATA_TOO_LARGE.
    pub offset_metadata_size_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// Bytes of one group's metadata record, at most: `max.message.bytes` of `__consumer_offsets` less the overhead
    /// of a batch. A rebalance whose outcome does not fit fails with UNKNOWN_SERVER_ERROR and starts again.
    pub group_metadata_bytes_max: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            group_size_max: i32::MAX as usize,
            new_member_join_timeout_ms: 300_000,
            offset_metadata_size_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            group_metadata_bytes_max: 1_048_588 - 512,
        }
    }
}
