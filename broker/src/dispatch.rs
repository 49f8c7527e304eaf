//! From a frame to its handler: one arm per API, in key order, each decoding its own request. What is not in the table of
//! APIs, or not in that version, closes the connection, as Kafka does; ApiVersions alone answers any version (KIP-511).

use std::sync::Arc;

use protocol::api::Api;
use protocol::codec::{self, RequestHeader};
use protocol::error::{DecodeError, EncodeError};
use protocol::{ApiKey, StrBytes};

use crate::broker::Broker;
use crate::handlers;
use crate::server::connection::Connection;
use crate::server::frame_reader::RequestFrame;
use crate::server::reply_queue::Reply;

/// Why a connection is closed instead of answered.
#[derive(Debug, thiserror::Error)]
pub enum Close {
    /// The request is malformed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Its answer cannot be encoded: a fault of ours.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// No such API, or not in this version.
    #[error("API {key} version {version} is not served")]
    NotServed {
        /// API key.
        key: i16,
        /// Its version.
        version: i16,
    },
    /// A produce with acks=0 failed: closing is the only answer it can get.
    #[error("a produce without acknowledgement failed")]
    UnacknowledgedProduceFailed,
}

/// What a handler knows of its request beside the body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// API version.
    pub version: i16,
    /// Goes back with the answer.
    pub correlation_id: i32,
    /// `client.id`.
    pub client_id: Option<StrBytes>,
    /// The client's address, without port, as Kafka shows it: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// The listener it came by: its endpoints are the ones to tell.
    pub listener: Arc<str>,
}

impl RequestContext {
    /// `client.id` as text.
    pub fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or_default()
    }
}

/// Lets a request take effect, in the order it came on this connection.
pub async fn dispatch(
    broker: &Arc<Broker>,
    connection: &mut Connection,
    frame: RequestFrame,
) -> Result<Reply, Close> {
    let mut body = frame.bytes;
    let header = codec::decode_request_header(&mut body)?;
    let (key, version) = (header.api_key, header.api_version);
    if key == ApiKey::ApiVersions as i16 {
        return handlers::api_versions::handle(broker, connection, &header, body);
    }
    let api = served(key, version)?;
    let ctx = context(connection, header);
    let v = version;
    match api.key {
        ApiKey::Produce => {
            let request = codec::decode_produce(body, v)?;
            handlers::produce::handle(broker, &ctx, &mut connection.answers, request, frame.charge).await
        }
        ApiKey::Fetch => {
            handlers::fetch::handle(broker, &ctx, connection.fetch.clone(), codec::decode_fetch(body, v)?)
        }
        ApiKey::ListOffsets => {
            handlers::list_offsets::handle(broker, &ctx, codec::decode_list_offsets(body, v)?)
        }
        ApiKey::Metadata => handlers::metadata::handle(broker, &ctx, codec::decode_metadata(body, v)?).await,
        ApiKey::OffsetCommit => {
            handlers::offset_commit::handle(broker, &ctx, codec::decode_offset_commit(body, v)?).await
        }
        ApiKey::OffsetFetch => {
            handlers::offset_fetch::handle(broker, &ctx, codec::decode_offset_fetch(body, v)?).await
        }
        ApiKey::FindCoordinator => {
            handlers::find_coordinator::handle(broker, &ctx, codec::decode_find_coordinator(body, v)?).await
        }
        ApiKey::JoinGroup => handlers::join_group::handle(broker, &ctx, codec::decode_join_group(body, v)?),
        ApiKey::Heartbeat => handlers::heartbeat::handle(broker, &ctx, codec::decode_heartbeat(body, v)?),
        ApiKey::LeaveGroup => {
            handlers::leave_group::handle(broker, &ctx, codec::decode_leave_group(body, v)?)
        }
        ApiKey::SyncGroup => handlers::sync_group::handle(broker, &ctx, codec::decode_sync_group(body, v)?),
        ApiKey::DescribeGroups => {
            handlers::describe_groups::handle(broker, &ctx, codec::decode_describe_groups(body, v)?)
        }
        ApiKey::ListGroups => {
            handlers::list_groups::handle(broker, &ctx, codec::decode_list_groups(body, v)?)
        }
        ApiKey::CreateTopics => {
            handlers::create_topics::handle(broker, &ctx, codec::decode_create_topics(body, v)?).await
        }
        ApiKey::DeleteTopics => {
            handlers::delete_topics::handle(broker, &ctx, codec::decode_delete_topics(body, v)?).await
        }
        ApiKey::DeleteRecords => {
            handlers::delete_records::handle(broker, &ctx, codec::decode_delete_records(body, v)?)
        }
        ApiKey::InitProducerId => {
            handlers::init_producer_id::handle(broker, &ctx, codec::decode_init_producer_id(body, v)?).await
        }
        ApiKey::OffsetForLeaderEpoch => handlers::offset_for_leader_epoch::handle(
            broker,
            &ctx,
            codec::decode_offset_for_leader_epoch(body, v)?,
        ),
        ApiKey::DescribeConfigs => {
            handlers::describe_configs::handle(broker, &ctx, codec::decode_describe_configs(body, v)?)
        }
        ApiKey::AlterConfigs => {
            handlers::alter_configs::handle(broker, &ctx, codec::decode_alter_configs(body, v)?).await
        }
        ApiKey::AlterReplicaLogDirs => handlers::alter_replica_log_dirs::handle(
            broker,
            &ctx,
            codec::decode_alter_replica_log_dirs(body, v)?,
        ),
        ApiKey::DescribeLogDirs => {
            handlers::describe_log_dirs::handle(broker, &ctx, codec::decode_describe_log_dirs(body, v)?)
        }
        ApiKey::CreatePartitions => {
            handlers::create_partitions::handle(broker, &ctx, codec::decode_create_partitions(body, v)?).await
        }
        ApiKey::DeleteGroups => {
            handlers::delete_groups::handle(broker, &ctx, codec::decode_delete_groups(body, v)?)
        }
        ApiKey::ElectLeaders => {
            handlers::elect_leaders::handle(broker, &ctx, codec::decode_elect_leaders(body, v)?)
        }
        ApiKey::IncrementalAlterConfigs => {
            handlers::incremental_alter_configs::handle(
                broker,
                &ctx,
                codec::decode_incremental_alter_configs(body, v)?,
            )
            .await
        }
        ApiKey::AlterPartitionReassignments => {
            handlers::alter_partition_reassignments::handle(
                broker,
                &ctx,
                codec::decode_alter_partition_reassignments(body, v)?,
            )
            .await
        }
        ApiKey::ListPartitionReassignments => handlers::list_partition_reassignments::handle(
            broker,
            &ctx,
            codec::decode_list_partition_reassignments(body, v)?,
        ),
        ApiKey::OffsetDelete => {
            handlers::offset_delete::handle(broker, &ctx, codec::decode_offset_delete(body, v)?)
        }
        ApiKey::DescribeClientQuotas => handlers::describe_client_quotas::handle(
            broker,
            &ctx,
            codec::decode_describe_client_quotas(body, v)?,
        ),
        ApiKey::AlterClientQuotas => {
            handlers::alter_client_quotas::handle(broker, &ctx, codec::decode_alter_client_quotas(body, v)?)
                .await
        }
        ApiKey::DescribeUserScramCredentials => handlers::describe_user_scram_credentials::handle(
            broker,
            &ctx,
            codec::decode_describe_user_scram_credentials(body, v)?,
        ),
        ApiKey::DescribeQuorum => {
            handlers::describe_quorum::handle(broker, &ctx, codec::decode_describe_quorum(body, v)?)
        }
        ApiKey::UpdateFeatures => {
            handlers::update_features::handle(broker, &ctx, codec::decode_update_features(body, v)?).await
        }
        ApiKey::DescribeCluster => {
            handlers::describe_cluster::handle(broker, &ctx, codec::decode_describe_cluster(body, v)?)
        }
        ApiKey::DescribeProducers => {
            handlers::describe_producers::handle(broker, &ctx, codec::decode_describe_producers(body, v)?)
        }
        ApiKey::UnregisterBroker => {
            handlers::unregister_broker::handle(broker, &ctx, codec::decode_unregister_broker(body, v)?).await
        }
        ApiKey::ListConfigResources => handlers::list_config_resources::handle(
            broker,
            &ctx,
            codec::decode_list_config_resources(body, v)?,
        ),
        ApiKey::DescribeTopicPartitions => handlers::describe_topic_partitions::handle(
            broker,
            &ctx,
            codec::decode_describe_topic_partitions(body, v)?,
        ),
        _ => Err(Close::NotServed { key, version }),
    }
}

fn served(key: i16, version: i16) -> Result<&'static Api, Close> {
    protocol::api::find(key)
        .filter(|api| api.served && api.supports(version))
        .ok_or(Close::NotServed { key, version })
}

fn context(connection: &Connection, header: RequestHeader) -> RequestContext {
    RequestContext {
        version: header.api_version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
        client_host: connection.client_host.clone(),
        listener: connection.listener.clone(),
    }
}
