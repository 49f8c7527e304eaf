//! The shape of every request in the table: fields in wire order, their types, the versions that have them.
//!
//! Owns: facts, and nothing that acts on them; `guard.rs` walks a body along these rows before the message
//! codec is let loose on it. Facts from Kafka's `clients/src/main/resources/common/message/*.json`. A row
//! that is wrong shows: for every API and version a request written by the codec is walked to its last byte
//! (tests of `guard`).
//!
//! A field is on the wire if the version is within since..=until. Tagged fields (KIP-482) stand behind the
//! others and only in flexible versions; which versions those are, `api.rs` knows.

use std::mem::size_of;

use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

/// A field of a request or of a struct in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// Kafka's name, for errors.
    pub name: &'static str,
    pub kind: Kind,
    /// First and last version that has it.
    pub since: i16,
    pub until: i16,
    /// First version in which it may be null, if any.
    pub nullable_since: Option<i16>,
    /// Its tag, if it is a tagged field.
    pub tag: Option<u32>,
}

/// What stands on the wire. Lengths of strings, bytes and arrays are compact in flexible versions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// One byte, booleans too.
    Int8,
    Int16,
    Int32,
    Int64,
    Float64,
    Uuid,
    String,
    /// Bytes or records.
    Bytes,
    Struct(&'static [Field]),
    /// A byte, 1 or -1, before it says whether it is there.
    OptionalStruct(&'static [Field]),
    /// An array of structs, each taking so many bytes of memory when decoded.
    Structs(&'static [Field], usize),
    /// An array of scalars, likewise.
    Scalars(&'static Kind, usize),
}

const INT8S: Kind = Kind::Scalars(&Kind::Int8, size_of::<i8>());
const INT32S: Kind = Kind::Scalars(&Kind::Int32, size_of::<i32>());
const STRINGS: Kind = Kind::Scalars(&Kind::String, size_of::<StrBytes>());

const fn structs<T>(fields: &'static [Field]) -> Kind {
    Kind::Structs(fields, size_of::<T>())
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, until: i16::MAX, nullable_since: None, tag: None }
}

impl Field {
    const fn since(mut self, version: i16) -> Field {
        self.since = version;
        self
    }

    const fn until(mut self, version: i16) -> Field {
        self.until = version;
        self
    }

    const fn nullable(self) -> Field {
        self.nullable_since(0)
    }

    const fn nullable_since(mut self, version: i16) -> Field {
        self.nullable_since = Some(version);
        self
    }

    const fn tagged(mut self, tag: u32) -> Field {
        self.tag = Some(tag);
        self
    }

    pub(crate) fn is_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }

    pub(crate) fn is_nullable(&self, version: i16) -> bool {
        self.nullable_since.is_some_and(|since| version >= since)
    }
}

/// The fields of an API's request; `None` for an API without a row in the table.
pub(crate) fn request(key: ApiKey) -> Option<&'static [Field]> {
    Some(match key {
        ApiKey::Produce => PRODUCE_REQUEST,
        ApiKey::Fetch => FETCH_REQUEST,
        ApiKey::ListOffsets => LIST_OFFSETS_REQUEST,
        ApiKey::Metadata => METADATA_REQUEST,
        ApiKey::OffsetCommit => OFFSET_COMMIT_REQUEST,
        ApiKey::OffsetFetch => OFFSET_FETCH_REQUEST,
        ApiKey::FindCoordinator => FIND_COORDINATOR_REQUEST,
        ApiKey::JoinGroup => JOIN_GROUP_REQUEST,
        ApiKey::Heartbeat => HEARTBEAT_REQUEST,
        ApiKey::LeaveGroup => LEAVE_GROUP_REQUEST,
        ApiKey::SyncGroup => SYNC_GROUP_REQUEST,
        ApiKey::DescribeGroups => DESCRIBE_GROUPS_REQUEST,
        ApiKey::ListGroups => LIST_GROUPS_REQUEST,
        ApiKey::ApiVersions => API_VERSIONS_REQUEST,
        ApiKey::CreateTopics => CREATE_TOPICS_REQUEST,
        ApiKey::DeleteTopics => DELETE_TOPICS_REQUEST,
        ApiKey::DeleteRecords => DELETE_RECORDS_REQUEST,
        ApiKey::InitProducerId => INIT_PRODUCER_ID_REQUEST,
        ApiKey::OffsetForLeaderEpoch => OFFSET_FOR_LEADER_EPOCH_REQUEST,
        ApiKey::DescribeConfigs => DESCRIBE_CONFIGS_REQUEST,
        ApiKey::AlterConfigs => ALTER_CONFIGS_REQUEST,
        ApiKey::AlterReplicaLogDirs => ALTER_REPLICA_LOG_DIRS_REQUEST,
        ApiKey::DescribeLogDirs => DESCRIBE_LOG_DIRS_REQUEST,
        ApiKey::CreatePartitions => CREATE_PARTITIONS_REQUEST,
        ApiKey::DeleteGroups => DELETE_GROUPS_REQUEST,
        ApiKey::ElectLeaders => ELECT_LEADERS_REQUEST,
        ApiKey::IncrementalAlterConfigs => INCREMENTAL_ALTER_CONFIGS_REQUEST,
        ApiKey::AlterPartitionReassignments => ALTER_PARTITION_REASSIGNMENTS_REQUEST,
        ApiKey::ListPartitionReassignments => LIST_PARTITION_REASSIGNMENTS_REQUEST,
        ApiKey::OffsetDelete => OFFSET_DELETE_REQUEST,
        ApiKey::DescribeClientQuotas => DESCRIBE_CLIENT_QUOTAS_REQUEST,
        ApiKey::AlterClientQuotas => ALTER_CLIENT_QUOTAS_REQUEST,
        ApiKey::DescribeUserScramCredentials => DESCRIBE_USER_SCRAM_CREDENTIALS_REQUEST,
        ApiKey::DescribeQuorum => DESCRIBE_QUORUM_REQUEST,
        ApiKey::UpdateFeatures => UPDATE_FEATURES_REQUEST,
        ApiKey::DescribeCluster => DESCRIBE_CLUSTER_REQUEST,
        ApiKey::DescribeProducers => DESCRIBE_PRODUCERS_REQUEST,
        ApiKey::UnregisterBroker => UNREGISTER_BROKER_REQUEST,
        ApiKey::ListConfigResources => LIST_CONFIG_RESOURCES_REQUEST,
        ApiKey::DescribeTopicPartitions => DESCRIBE_TOPIC_PARTITIONS_REQUEST,
        _ => return None,
    })
}

const PARTITION_PRODUCE_DATA: &[Field] =
    &[field("index", Kind::Int32), field("records", Kind::Bytes).nullable()];

const TOPIC_PRODUCE_DATA: &[Field] = &[
    field("name", Kind::String).until(12),
    field("topic_id", Kind::Uuid).since(13),
    field("partition_data", structs::<produce_request::PartitionProduceData>(PARTITION_PRODUCE_DATA)),
];

const PRODUCE_REQUEST: &[Field] = &[
    field("transactional_id", Kind::String).nullable(),
    field("acks", Kind::Int16),
    field("timeout_ms", Kind::Int32),
    field("topic_data", structs::<produce_request::TopicProduceData>(TOPIC_PRODUCE_DATA)),
];

const FETCH_PARTITION: &[Field] = &[
    field("partition", Kind::Int32),
    field("current_leader_epoch", Kind::Int32).since(9),
    field("fetch_offset", Kind::Int64),
    field("last_fetched_epoch", Kind::Int32).since(12),
    field("log_start_offset", Kind::Int64).since(5),
    field("partition_max_bytes", Kind::Int32),
    field("replica_directory_id", Kind::Uuid).since(17).tagged(0),
    field("high_watermark", Kind::Int64).since(18).tagged(1),
];

const FETCH_TOPIC: &[Field] = &[
    field("topic", Kind::String).until(12),
    field("topic_id", Kind::Uuid).since(13),
    field("partitions", structs::<fetch_request::FetchPartition>(FETCH_PARTITION)),
];

const FORGOTTEN_TOPIC: &[Field] = &[
    field("topic", Kind::String).until(12),
    field("topic_id", Kind::Uuid).since(13),
    field("partitions", INT32S),
];

const REPLICA_STATE: &[Field] = &[field("replica_id", Kind::Int32), field("replica_epoch", Kind::Int64)];

const FETCH_REQUEST: &[Field] = &[
    field("replica_id", Kind::Int32).until(14),
    field("max_wait_ms", Kind::Int32),
    field("min_bytes", Kind::Int32),
    field("max_bytes", Kind::Int32),
    field("isolation_level", Kind::Int8),
    field("session_id", Kind::Int32).since(7),
    field("session_epoch", Kind::Int32).since(7),
    field("topics", structs::<fetch_request::FetchTopic>(FETCH_TOPIC)),
    field("forgotten_topics_data", structs::<fetch_request::ForgottenTopic>(FORGOTTEN_TOPIC)).since(7),
    field("rack_id", Kind::String).since(11),
    field("cluster_id", Kind::String).nullable().tagged(0),
    field("replica_state", Kind::Struct(REPLICA_STATE)).since(15).tagged(1),
];

const LIST_OFFSETS_PARTITION: &[Field] = &[
    field("partition_index", Kind::Int32),
    field("current_leader_epoch", Kind::Int32).since(4),
    field("timestamp", Kind::Int64),
];

const LIST_OFFSETS_TOPIC: &[Field] = &[
    field("name", Kind::String),
    field("partitions", structs::<list_offsets_request::ListOffsetsPartition>(LIST_OFFSETS_PARTITION)),
];

const LIST_OFFSETS_REQUEST: &[Field] = &[
    field("replica_id", Kind::Int32),
    field("isolation_level", Kind::Int8).since(2),
    field("topics", structs::<list_offsets_request::ListOffsetsTopic>(LIST_OFFSETS_TOPIC)),
    field("timeout_ms", Kind::Int32).since(10),
];

const METADATA_REQUEST_TOPIC: &[Field] =
    &[field("topic_id", Kind::Uuid).since(10), field("name", Kind::String).nullable_since(10)];

const METADATA_REQUEST: &[Field] = &[
    field("topics", structs::<metadata_request::MetadataRequestTopic>(METADATA_REQUEST_TOPIC))
        .nullable_since(1),
    field("allow_auto_topic_creation", Kind::Int8).since(4),
    field("include_cluster_authorized_operations", Kind::Int8).since(8).until(10),
    field("include_topic_authorized_operations", Kind::Int8).since(8),
];

const OFFSET_COMMIT_REQUEST_PARTITION: &[Field] = &[
    field("partition_index", Kind::Int32),
    field("committed_offset", Kind::Int64),
    field("committed_leader_epoch", Kind::Int32).since(6),
    field("committed_metadata", Kind::String).nullable(),
];

const OFFSET_COMMIT_REQUEST_TOPIC: &[Field] = &[
    field("name", Kind::String),
    field(
        "partitions",
        structs::<offset_commit_request::OffsetCommitRequestPartition>(OFFSET_COMMIT_REQUEST_PARTITION),
    ),
];

const OFFSET_COMMIT_REQUEST: &[Field] = &[
    field("group_id", Kind::String),
    field("generation_id_or_member_epoch", Kind::Int32),
    field("member_id", Kind::String),
    field("group_instance_id", Kind::String).since(7).nullable(),
    field("retention_time_ms", Kind::Int64).until(4),
    field("topics", structs::<offset_commit_request::OffsetCommitRequestTopic>(OFFSET_COMMIT_REQUEST_TOPIC)),
];

const OFFSET_FETCH_REQUEST_TOPIC: &[Field] =
    &[field("name", Kind::String), field("partition_indexes", INT32S)];

const OFFSET_FETCH_REQUEST_TOPICS: &[Field] =
    &[field("name", Kind::String), field("partition_indexes", INT32S)];

const OFFSET_FETCH_REQUEST_GROUP: &[Field] = &[
    field("group_id", Kind::String).since(8),
    field("member_id", Kind::String).since(9).nullable(),
    field("member_epoch", Kind::Int32).since(9),
    field("topics", structs::<offset_fetch_request::OffsetFetchRequestTopics>(OFFSET_FETCH_REQUEST_TOPICS))
        .since(8)
        .nullable(),
];

const OFFSET_FETCH_REQUEST: &[Field] = &[
    field("group_id", Kind::String).until(7),
    field("topics", structs::<offset_fetch_request::OffsetFetchRequestTopic>(OFFSET_FETCH_REQUEST_TOPIC))
        .until(7)
        .nullable_since(2),
    field("groups", structs::<offset_fetch_request::OffsetFetchRequestGroup>(OFFSET_FETCH_REQUEST_GROUP))
        .since(8),
    field("require_stable", Kind::Int8).since(7),
];

const FIND_COORDINATOR_REQUEST: &[Field] = &[
    field("key", Kind::String).until(3),
    field("key_type", Kind::Int8).since(1),
    field("coordinator_keys", STRINGS).since(4),
];

const JOIN_GROUP_REQUEST_PROTOCOL: &[Field] = &[field("name", Kind::String), field("metadata", Kind::Bytes)];

const JOIN_GROUP_REQUEST: &[Field] = &[
    field("group_id", Kind::String),
    field("session_timeout_ms", Kind::Int32),
    field("rebalance_timeout_ms", Kind::Int32).since(1),
    field("member_id", Kind::String),
    field("group_instance_id", Kind::String).since(5).nullable(),
    field("protocol_type", Kind::String),
    field("protocols", structs::<join_group_request::JoinGroupRequestProtocol>(JOIN_GROUP_REQUEST_PROTOCOL)),
    field("reason", Kind::String).since(8).nullable(),
];

const HEARTBEAT_REQUEST: &[Field] = &[
    field("group_id", Kind::String),
    field("generation_id", Kind::Int32),
    field("member_id", Kind::String),
    field("group_instance_id", Kind::String).since(3).nullable(),
];

const MEMBER_IDENTITY: &[Field] = &[
    field("member_id", Kind::String),
    field("group_instance_id", Kind::String).nullable(),
    field("reason", Kind::String).since(5).nullable(),
];

const LEAVE_GROUP_REQUEST: &[Field] = &[
    field("group_id", Kind::String),
    field("member_id", Kind::String).until(2),
    field("members", structs::<leave_group_request::MemberIdentity>(MEMBER_IDENTITY)).since(3),
];

const SYNC_GROUP_REQUEST_ASSIGNMENT: &[Field] =
    &[field("member_id", Kind::String), field("assignment", Kind::Bytes)];

const SYNC_GROUP_REQUEST: &[Field] = &[
    field("group_id", Kind::String),
    field("generation_id", Kind::Int32),
    field("member_id", Kind::String),
    field("group_instance_id", Kind::String).since(3).nullable(),
    field("protocol_type", Kind::String).since(5).nullable(),
    field("protocol_name", Kind::String).since(5).nullable(),
    field(
        "assignments",
        structs::<sync_group_request::SyncGroupRequestAssignment>(SYNC_GROUP_REQUEST_ASSIGNMENT),
    ),
];

const DESCRIBE_GROUPS_REQUEST: &[Field] =
    &[field("groups", STRINGS), field("include_authorized_operations", Kind::Int8).since(3)];

const LIST_GROUPS_REQUEST: &[Field] =
    &[field("states_filter", STRINGS).since(4), field("types_filter", STRINGS).since(5)];

const API_VERSIONS_REQUEST: &[Field] = &[
    field("client_software_name", Kind::String).since(3),
    field("client_software_version", Kind::String).since(3),
];

const CREATABLE_REPLICA_ASSIGNMENT: &[Field] =
    &[field("partition_index", Kind::Int32), field("broker_ids", INT32S)];

const CREATABLE_TOPIC_CONFIG: &[Field] =
    &[field("name", Kind::String), field("value", Kind::String).nullable()];

const CREATABLE_TOPIC: &[Field] = &[
    field("name", Kind::String),
    field("num_partitions", Kind::Int32),
    field("replication_factor", Kind::Int16),
    field(
        "assignments",
        structs::<create_topics_request::CreatableReplicaAssignment>(CREATABLE_REPLICA_ASSIGNMENT),
    ),
    field("configs", structs::<create_topics_request::CreatableTopicConfig>(CREATABLE_TOPIC_CONFIG)),
];

const CREATE_TOPICS_REQUEST: &[Field] = &[
    field("topics", structs::<create_topics_request::CreatableTopic>(CREATABLE_TOPIC)),
    field("timeout_ms", Kind::Int32),
    field("validate_only", Kind::Int8),
];

const DELETE_TOPIC_STATE: &[Field] =
    &[field("name", Kind::String).since(6).nullable(), field("topic_id", Kind::Uuid).since(6)];

const DELETE_TOPICS_REQUEST: &[Field] = &[
    field("topics", structs::<delete_topics_request::DeleteTopicState>(DELETE_TOPIC_STATE)).since(6),
    field("topic_names", STRINGS).until(5),
    field("timeout_ms", Kind::Int32),
];

const DELETE_RECORDS_PARTITION: &[Field] =
    &[field("partition_index", Kind::Int32), field("offset", Kind::Int64)];

const DELETE_RECORDS_TOPIC: &[Field] = &[
    field("name", Kind::String),
    field("partitions", structs::<delete_records_request::DeleteRecordsPartition>(DELETE_RECORDS_PARTITION)),
];

const DELETE_RECORDS_REQUEST: &[Field] = &[
    field("topics", structs::<delete_records_request::DeleteRecordsTopic>(DELETE_RECORDS_TOPIC)),
    field("timeout_ms", Kind::Int32),
];

const INIT_PRODUCER_ID_REQUEST: &[Field] = &[
    field("transactional_id", Kind::String).nullable(),
    field("transaction_timeout_ms", Kind::Int32),
    field("producer_id", Kind::Int64).since(3),
    field("producer_epoch", Kind::Int16).since(3),
];

const OFFSET_FOR_LEADER_PARTITION: &[Field] = &[
    field("partition", Kind::Int32),
    field("current_leader_epoch", Kind::Int32),
    field("leader_epoch", Kind::Int32),
];

const OFFSET_FOR_LEADER_TOPIC: &[Field] = &[
    field("topic", Kind::String),
    field(
        "partitions",
        structs::<offset_for_leader_epoch_request::OffsetForLeaderPartition>(OFFSET_FOR_LEADER_PARTITION),
    ),
];

const OFFSET_FOR_LEADER_EPOCH_REQUEST: &[Field] = &[
    field("replica_id", Kind::Int32).since(3),
    field(
        "topics",
        structs::<offset_for_leader_epoch_request::OffsetForLeaderTopic>(OFFSET_FOR_LEADER_TOPIC),
    ),
];

const DESCRIBE_CONFIGS_RESOURCE: &[Field] = &[
    field("resource_type", Kind::Int8),
    field("resource_name", Kind::String),
    field("configuration_keys", STRINGS).nullable(),
];

const DESCRIBE_CONFIGS_REQUEST: &[Field] = &[
    field(
        "resources",
        structs::<describe_configs_request::DescribeConfigsResource>(DESCRIBE_CONFIGS_RESOURCE),
    ),
    field("include_synonyms", Kind::Int8),
    field("include_documentation", Kind::Int8).since(3),
];

const ALTERABLE_CONFIG: &[Field] = &[field("name", Kind::String), field("value", Kind::String).nullable()];

const ALTER_CONFIGS_RESOURCE: &[Field] = &[
    field("resource_type", Kind::Int8),
    field("resource_name", Kind::String),
    field("configs", structs::<alter_configs_request::AlterableConfig>(ALTERABLE_CONFIG)),
];

const ALTER_CONFIGS_REQUEST: &[Field] = &[
    field("resources", structs::<alter_configs_request::AlterConfigsResource>(ALTER_CONFIGS_RESOURCE)),
    field("validate_only", Kind::Int8),
];

const ALTER_REPLICA_LOG_DIR_TOPIC: &[Field] = &[field("name", Kind::String), field("partitions", INT32S)];

const ALTER_REPLICA_LOG_DIR: &[Field] = &[
    field("path", Kind::String),
    field(
        "topics",
        structs::<alter_replica_log_dirs_request::AlterReplicaLogDirTopic>(ALTER_REPLICA_LOG_DIR_TOPIC),
    ),
];

const ALTER_REPLICA_LOG_DIRS_REQUEST: &[Field] =
    &[field("dirs", structs::<alter_replica_log_dirs_request::AlterReplicaLogDir>(ALTER_REPLICA_LOG_DIR))];

const DESCRIBABLE_LOG_DIR_TOPIC: &[Field] = &[field("topic", Kind::String), field("partitions", INT32S)];

const DESCRIBE_LOG_DIRS_REQUEST: &[Field] = &[field(
    "topics",
    structs::<describe_log_dirs_request::DescribableLogDirTopic>(DESCRIBABLE_LOG_DIR_TOPIC),
)
.nullable()];

const CREATE_PARTITIONS_ASSIGNMENT: &[Field] = &[field("broker_ids", INT32S)];

const CREATE_PARTITIONS_TOPIC: &[Field] = &[
    field("name", Kind::String),
    field("count", Kind::Int32),
    field(
        "assignments",
        structs::<create_partitions_request::CreatePartitionsAssignment>(CREATE_PARTITIONS_ASSIGNMENT),
    )
    .nullable(),
];

const CREATE_PARTITIONS_REQUEST: &[Field] = &[
    field("topics", structs::<create_partitions_request::CreatePartitionsTopic>(CREATE_PARTITIONS_TOPIC)),
    field("timeout_ms", Kind::Int32),
    field("validate_only", Kind::Int8),
];

const DELETE_GROUPS_REQUEST: &[Field] = &[field("groups_names", STRINGS)];

const ELECTION_TOPIC_PARTITIONS: &[Field] = &[field("topic", Kind::String), field("partitions", INT32S)];

const ELECT_LEADERS_REQUEST: &[Field] = &[
    field("election_type", Kind::Int8).since(1),
    field("topic_partitions", structs::<elect_leaders_request::TopicPartitions>(ELECTION_TOPIC_PARTITIONS))
        .nullable(),
    field("timeout_ms", Kind::Int32),
];

const INCREMENTAL_ALTERABLE_CONFIG: &[Field] = &[
    field("name", Kind::String),
    field("config_operation", Kind::Int8),
    field("value", Kind::String).nullable(),
];

const INCREMENTAL_ALTER_CONFIGS_RESOURCE: &[Field] = &[
    field("resource_type", Kind::Int8),
    field("resource_name", Kind::String),
    field(
        "configs",
        structs::<incremental_alter_configs_request::AlterableConfig>(INCREMENTAL_ALTERABLE_CONFIG),
    ),
];

const INCREMENTAL_ALTER_CONFIGS_REQUEST: &[Field] = &[
    field(
        "resources",
        structs::<incremental_alter_configs_request::AlterConfigsResource>(
            INCREMENTAL_ALTER_CONFIGS_RESOURCE,
        ),
    ),
    field("validate_only", Kind::Int8),
];

const REASSIGNABLE_PARTITION: &[Field] =
    &[field("partition_index", Kind::Int32), field("replicas", INT32S).nullable()];

const REASSIGNABLE_TOPIC: &[Field] = &[
    field("name", Kind::String),
    field(
        "partitions",
        structs::<alter_partition_reassignments_request::ReassignablePartition>(REASSIGNABLE_PARTITION),
    ),
];

const ALTER_PARTITION_REASSIGNMENTS_REQUEST: &[Field] = &[
    field("timeout_ms", Kind::Int32),
    field("allow_replication_factor_change", Kind::Int8).since(1),
    field("topics", structs::<alter_partition_reassignments_request::ReassignableTopic>(REASSIGNABLE_TOPIC)),
];

const LIST_PARTITION_REASSIGNMENTS_TOPICS: &[Field] =
    &[field("name", Kind::String), field("partition_indexes", INT32S)];

const LIST_PARTITION_REASSIGNMENTS_REQUEST: &[Field] = &[
    field("timeout_ms", Kind::Int32),
    field(
        "topics",
        structs::<list_partition_reassignments_request::ListPartitionReassignmentsTopics>(
            LIST_PARTITION_REASSIGNMENTS_TOPICS,
        ),
    )
    .nullable(),
];

const OFFSET_DELETE_PARTITION: &[Field] = &[field("partition_index", Kind::Int32)];

const OFFSET_DELETE_TOPIC: &[Field] = &[
    field("name", Kind::String),
    field(
        "partitions",
        structs::<offset_delete_request::OffsetDeleteRequestPartition>(OFFSET_DELETE_PARTITION),
    ),
];

const OFFSET_DELETE_REQUEST: &[Field] = &[
    field("group_id", Kind::String),
    field("topics", structs::<offset_delete_request::OffsetDeleteRequestTopic>(OFFSET_DELETE_TOPIC)),
];

const QUOTA_COMPONENT_DATA: &[Field] = &[
    field("entity_type", Kind::String),
    field("match_type", Kind::Int8),
    field("match", Kind::String).nullable(),
];

const DESCRIBE_CLIENT_QUOTAS_REQUEST: &[Field] = &[
    field("components", structs::<describe_client_quotas_request::ComponentData>(QUOTA_COMPONENT_DATA)),
    field("strict", Kind::Int8),
];

const QUOTA_ENTITY_DATA: &[Field] =
    &[field("entity_type", Kind::String), field("entity_name", Kind::String).nullable()];

const QUOTA_OP_DATA: &[Field] =
    &[field("key", Kind::String), field("value", Kind::Float64), field("remove", Kind::Int8)];

const QUOTA_ENTRY_DATA: &[Field] = &[
    field("entity", structs::<alter_client_quotas_request::EntityData>(QUOTA_ENTITY_DATA)),
    field("ops", structs::<alter_client_quotas_request::OpData>(QUOTA_OP_DATA)),
];

const ALTER_CLIENT_QUOTAS_REQUEST: &[Field] = &[
    field("entries", structs::<alter_client_quotas_request::EntryData>(QUOTA_ENTRY_DATA)),
    field("validate_only", Kind::Int8),
];

const QUORUM_PARTITION_DATA: &[Field] = &[field("partition_index", Kind::Int32)];

const QUORUM_TOPIC_DATA: &[Field] = &[
    field("topic_name", Kind::String),
    field("partitions", structs::<describe_quorum_request::PartitionData>(QUORUM_PARTITION_DATA)),
];

const DESCRIBE_QUORUM_REQUEST: &[Field] =
    &[field("topics", structs::<describe_quorum_request::TopicData>(QUORUM_TOPIC_DATA))];

const FEATURE_UPDATE_KEY: &[Field] = &[
    field("feature", Kind::String),
    field("max_version_level", Kind::Int16),
    field("allow_downgrade", Kind::Int8).until(0),
    field("upgrade_type", Kind::Int8).since(1),
];

const UPDATE_FEATURES_REQUEST: &[Field] = &[
    field("timeout_ms", Kind::Int32),
    field("feature_updates", structs::<update_features_request::FeatureUpdateKey>(FEATURE_UPDATE_KEY)),
    field("validate_only", Kind::Int8).since(1),
];

const DESCRIBE_CLUSTER_REQUEST: &[Field] = &[
    field("include_cluster_authorized_operations", Kind::Int8),
    field("endpoint_type", Kind::Int8).since(1),
    field("include_fenced_brokers", Kind::Int8).since(2),
];

const PRODUCERS_TOPIC: &[Field] = &[field("name", Kind::String), field("partition_indexes", INT32S)];

const DESCRIBE_PRODUCERS_REQUEST: &[Field] =
    &[field("topics", structs::<describe_producers_request::TopicRequest>(PRODUCERS_TOPIC))];

const UNREGISTER_BROKER_REQUEST: &[Field] = &[field("broker_id", Kind::Int32)];

const SCRAM_USER_NAME: &[Field] = &[field("name", Kind::String)];
const DESCRIBE_USER_SCRAM_CREDENTIALS_REQUEST: &[Field] =
    &[field("users", structs::<describe_user_scram_credentials_request::UserName>(SCRAM_USER_NAME))
        .nullable()];

const LIST_CONFIG_RESOURCES_REQUEST: &[Field] = &[field("resource_types", INT8S).since(1)];

const DESCRIBED_TOPIC: &[Field] = &[field("name", Kind::String)];

const DESCRIBED_CURSOR: &[Field] =
    &[field("topic_name", Kind::String), field("partition_index", Kind::Int32)];

const DESCRIBE_TOPIC_PARTITIONS_REQUEST: &[Field] = &[
    field("topics", structs::<describe_topic_partitions_request::TopicRequest>(DESCRIBED_TOPIC)),
    field("response_partition_limit", Kind::Int32),
    field("cursor", Kind::OptionalStruct(DESCRIBED_CURSOR)),
];
