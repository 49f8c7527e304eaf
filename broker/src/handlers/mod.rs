//! One file per API. Each is thin: take the request into the newest shape, ask the domain, shape the answer.
//!
//! A handler returns when its request has taken effect in order; the answer may leave later ([`Reply`]). Where it has
//! to wait for something that must not hold up the requests behind it, it returns [`Reply::Parked`].
//!
//! [`Reply`]: crate::server::reply_queue::Reply
//! [`Reply::Parked`]: crate::server::reply_queue::Reply::Parked

pub mod alter_client_quotas;
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod authorized_operations;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod group_reply;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;
pub mod unregister_broker;
pub mod update_features;

use protocol::StrBytes;
use protocol::messages::TopicName;

/// A text as the crate wants it.
pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

/// A topic name as the crate wants it.
pub fn topic_name(s: &str) -> TopicName {
    TopicName(text(s))
}
