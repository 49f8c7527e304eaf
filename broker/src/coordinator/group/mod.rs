//! Classic consumer groups and committed offsets, as a pure state machine.
//!
//! Owns: what JoinGroup, SyncGroup, Heartbeat, LeaveGroup, OffsetCommit, OffsetFetch, DescribeGroups, ListGroups,
//! DeleteGroups and OffsetDelete mean for one partition of `__consumer_offsets` ([`GroupShard`]), the bytes of that
//! topic's records ([`GroupRecord`]), and the bending of every served API version into one shape and back
//! ([`convert`]). Does not own: the log, durability, timers, authorization, topic existence, which broker coordinates
//! what. No tokio, no clock, no randomness, no store: time, member ids and tokens are arguments.
//!
//! The authority is Apache Kafka's `group-coordinator` module: `GroupMetadataManager.classicGroup*`, `ClassicGroup`,
//! `ClassicGroupMember`, `OffsetMetadataManager`, `GroupCoordinatorService`; KIP-62, 345, 389, 394, 429, 559, 814.
//!
//! | file | subject |
//! |-|-|
//! | `config.rs` | the values of configuration that decisions need |
//! | `message.rs` | requests, answers, effects: one shape for all versions |
//! | `record.rs` | the formats of `__consumer_offsets`, bounded decoding |
//! | `shard.rs` | all groups of a partition; replay; who is asked what |
//! | `classic.rs` | one group: members, states, votes, validation; its replay |
//! | `rebalance.rs` | one group: join, sync, heartbeat, leave, timeouts |
//! | `offsets.rs` | committed offsets and those pending in transactions: the store, its replay |
//! | `commit.rs` | OffsetCommit, OffsetFetch, OffsetDelete, expiry: the decisions |
//! | `subscription.rs` | the topics inside a consumer's opaque metadata |
//! | `convert/` | kafka-protocol structs to and from `message.rs`, per API |

pub mod config;
pub mod convert;
pub mod message;
pub mod record;

mod classic;
mod commit;
mod offsets;
mod rebalance;
mod shard;
pub mod subscription;

#[cfg(test)]
mod tests;

pub use config::GroupConfig;
pub use message::*;
pub use record::{GroupMetadata, GroupRecord, MemberMetadata, OffsetAndMetadata, OffsetKey, RecordError};
pub use shard::GroupShard;

/// The partition of `__consumer_offsets` that holds `group_id`, of `partitions` (> 0).
///
/// `Utils.abs(groupId.hashCode()) % n` (`GroupCoordinatorService.partitionFor`): Java hashes UTF-16 units, and
/// `Utils.abs` maps `Integer.MIN_VALUE` to 0. Tools compute the same, so it can never change.
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    assert!(partitions > 0, "__consumer_offsets must have partitions, not {partitions}");
    let hash =
        group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions
}

/// The member id that a coordinator gives to a new member: the instance id of a static member or else the client id,
/// a dash, and a `suffix` that no other member has (Kafka: a random UUID; `ClassicGroup.generateMemberId`, KIP-345).
pub fn new_member_id(client_id: &str, group_instance_id: Option<&str>, suffix: &str) -> String {
    format!("{}-{suffix}", group_instance_id.unwrap_or(client_id))
}
