//! Requests in, responses out: one plain function per API and direction.
//!
//! Owns: the request header, and the order of things: version known, body walked (`guard.rs`), then decoded.
//! Does not own the table (`api.rs`), nor the Fetch answer on its hot path (`fetch_response.rs`).
//!
//! Bodies are decoded from `Bytes`, so strings and records are slices of the frame: nothing is copied, and
//! what is kept of a request (an id, a name) must be copied, or it holds the whole frame in memory.
//!
//! The functions are written out by a macro, not generic, so that each message's codec is compiled once,
//! here.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::api::{self, Api, ApiKey};
use crate::error::{DecodeError, EncodeError};
use crate::frame::LENGTH_BYTES;
use crate::guard;

/// Bytes reserved for a response before its size is known.
const RESPONSE_BYTES_FIRST: usize = 256;

/// The header of a request (Kafka: `RequestHeader` v1 and v2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API; it has a row in the table.
    pub api_key: i16,
    /// The version asked for, whether there is one or not.
    pub api_version: i16,
    /// To be repeated in the answer.
    pub correlation_id: i32,
    /// The client's name for itself. A slice of the frame: copy what is kept.
    pub client_id: Option<StrBytes>,
}

/// Reads the header off the front of a frame (what follows the 4-byte length) and leaves the body.
///
/// Any version of a known API will do: ApiVersions answers versions it does not know, and the header of all
/// others is the same since flexible versions began.
pub fn decode_request_header(frame: &mut Bytes) -> Result<RequestHeader, DecodeError> {
    let remaining = frame.len();
    let Some(head) = frame.first_chunk::<10>().copied() else {
        return Err(DecodeError::Truncated { what: "request header", needed: 10, remaining });
    };
    let [k0, k1, v0, v1, c0, c1, c2, c3, l0, l1] = head;
    let api_key = i16::from_be_bytes([k0, k1]);
    let api_version = i16::from_be_bytes([v0, v1]);
    let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
    let api = api::find(api_key).ok_or(DecodeError::UnknownApi { key: api_key })?;
    let mut rest = frame.slice(10..);
    // The client id's length is two bytes in every version, so that a broker can read the header of any
    // request.
    let client_id = match i16::from_be_bytes([l0, l1]) {
        -1 => None,
        length => {
            let bytes = usize::try_from(length)
                .map_err(|_| DecodeError::BadLength { what: "client id", length: i64::from(length) })?;
            if bytes > rest.len() {
                return Err(DecodeError::Truncated {
                    what: "client id",
                    needed: bytes,
                    remaining: rest.len(),
                });
            }
            Some(lenient_text(rest.split_to(bytes)))
        }
    };
    if api.request_header_version(api_version) >= 2 {
        skip_tagged_fields(&mut rest)?;
    }
    *frame = rest;
    Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
}

/// What is not UTF-8 is replaced, as Java's strings do: clients name themselves in any encoding.
fn lenient_text(bytes: Bytes) -> StrBytes {
    StrBytes::from_utf8(bytes.clone())
        .unwrap_or_else(|_| StrBytes::from_string(String::from_utf8_lossy(&bytes).into_owned()))
}

/// No tagged field of the header is known to us (nor to Kafka 4.3); they are stepped over without being kept.
fn skip_tagged_fields(rest: &mut Bytes) -> Result<(), DecodeError> {
    let count = take_unsigned_varint(rest)?;
    for _ in 0..count {
        let _tag = take_unsigned_varint(rest)?;
        let size = take_unsigned_varint(rest)? as usize;
        if size > rest.len() {
            return Err(DecodeError::Truncated { what: "header tag", needed: size, remaining: rest.len() });
        }
        *rest = rest.slice(size..);
    }
    Ok(())
}

fn take_unsigned_varint(rest: &mut Bytes) -> Result<u32, DecodeError> {
    let (value, bytes) = guard::unsigned_varint(rest)?;
    *rest = rest.slice(bytes..);
    Ok(value)
}

macro_rules! apis {
    ($($key:ident: $decode:ident -> $request:ident, $encode:ident($response:ident);)*) => {
        $(
            #[doc = concat!("Decodes a ", stringify!($request), " of a version the table has, after the guard.")]
            pub fn $decode(body: Bytes, version: i16) -> Result<$request, DecodeError> {
                decode(ApiKey::$key, body, version)
            }

            #[doc = concat!("The whole frame of a ", stringify!($response), ", its length included.")]
            pub fn $encode(
                correlation_id: i32,
                version: i16,
                response: &$response,
            ) -> Result<Bytes, EncodeError> {
                encode(ApiKey::$key, correlation_id, version, response)
            }
        )*

        /// Decodes a request of any row and writes it again with the codec's client side.
        #[cfg(any(test, feature = "samples"))]
        pub fn decode_and_encode(key: ApiKey, version: i16, body: Bytes) -> Result<Bytes, DecodeError> {
            let mut bytes = BytesMut::new();
            match key {
                $(ApiKey::$key => $decode(body, version)?.encode(&mut bytes, version).unwrap(),)*
                other => panic!("{other:?} has a row in the table and no line here"),
            }
            Ok(bytes.freeze())
        }
    };
}

apis! {
    Produce: decode_produce -> ProduceRequest, encode_produce(ProduceResponse);
    Fetch: decode_fetch -> FetchRequest, encode_fetch(FetchResponse);
    ListOffsets: decode_list_offsets -> ListOffsetsRequest, encode_list_offsets(ListOffsetsResponse);
    Metadata: decode_metadata -> MetadataRequest, encode_metadata(MetadataResponse);
    OffsetCommit: decode_offset_commit -> OffsetCommitRequest, encode_offset_commit(OffsetCommitResponse);
    OffsetFetch: decode_offset_fetch -> OffsetFetchRequest, encode_offset_fetch(OffsetFetchResponse);
    FindCoordinator: decode_find_coordinator -> FindCoordinatorRequest, encode_find_coordinator(FindCoordinatorResponse);
    JoinGroup: decode_join_group -> JoinGroupRequest, encode_join_group(JoinGroupResponse);
    Heartbeat: decode_heartbeat -> HeartbeatRequest, encode_heartbeat(HeartbeatResponse);
    LeaveGroup: decode_leave_group -> LeaveGroupRequest, encode_leave_group(LeaveGroupResponse);
    SyncGroup: decode_sync_group -> SyncGroupRequest, encode_sync_group(SyncGroupResponse);
    DescribeGroups: decode_describe_groups -> DescribeGroupsRequest, encode_describe_groups(DescribeGroupsResponse);
    ListGroups: decode_list_groups -> ListGroupsRequest, encode_list_groups(ListGroupsResponse);
    ApiVersions: decode_api_versions -> ApiVersionsRequest, encode_api_versions(ApiVersionsResponse);
    CreateTopics: decode_create_topics -> CreateTopicsRequest, encode_create_topics(CreateTopicsResponse);
    DeleteTopics: decode_delete_topics -> DeleteTopicsRequest, encode_delete_topics(DeleteTopicsResponse);
    DeleteRecords: decode_delete_records -> DeleteRecordsRequest, encode_delete_records(DeleteRecordsResponse);
    InitProducerId: decode_init_producer_id -> InitProducerIdRequest, encode_init_producer_id(InitProducerIdResponse);
    OffsetForLeaderEpoch: decode_offset_for_leader_epoch -> OffsetForLeaderEpochRequest, encode_offset_for_leader_epoch(OffsetForLeaderEpochResponse);
    DescribeConfigs: decode_describe_configs -> DescribeConfigsRequest, encode_describe_configs(DescribeConfigsResponse);
    AlterConfigs: decode_alter_configs -> AlterConfigsRequest, encode_alter_configs(AlterConfigsResponse);
    AlterReplicaLogDirs: decode_alter_replica_log_dirs -> AlterReplicaLogDirsRequest, encode_alter_replica_log_dirs(AlterReplicaLogDirsResponse);
    DescribeLogDirs: decode_describe_log_dirs -> DescribeLogDirsRequest, encode_describe_log_dirs(DescribeLogDirsResponse);
    CreatePartitions: decode_create_partitions -> CreatePartitionsRequest, encode_create_partitions(CreatePartitionsResponse);
    DeleteGroups: decode_delete_groups -> DeleteGroupsRequest, encode_delete_groups(DeleteGroupsResponse);
    ElectLeaders: decode_elect_leaders -> ElectLeadersRequest, encode_elect_leaders(ElectLeadersResponse);
    IncrementalAlterConfigs: decode_incremental_alter_configs -> IncrementalAlterConfigsRequest, encode_incremental_alter_configs(IncrementalAlterConfigsResponse);
    AlterPartitionReassignments: decode_alter_partition_reassignments -> AlterPartitionReassignmentsRequest, encode_alter_partition_reassignments(AlterPartitionReassignmentsResponse);
    ListPartitionReassignments: decode_list_partition_reassignments -> ListPartitionReassignmentsRequest, encode_list_partition_reassignments(ListPartitionReassignmentsResponse);
    OffsetDelete: decode_offset_delete -> OffsetDeleteRequest, encode_offset_delete(OffsetDeleteResponse);
    DescribeClientQuotas: decode_describe_client_quotas -> DescribeClientQuotasRequest, encode_describe_client_quotas(DescribeClientQuotasResponse);
    AlterClientQuotas: decode_alter_client_quotas -> AlterClientQuotasRequest, encode_alter_client_quotas(AlterClientQuotasResponse);
    DescribeUserScramCredentials: decode_describe_user_scram_credentials -> DescribeUserScramCredentialsRequest, encode_describe_user_scram_credentials(DescribeUserScramCredentialsResponse);
    DescribeQuorum: decode_describe_quorum -> DescribeQuorumRequest, encode_describe_quorum(DescribeQuorumResponse);
    UpdateFeatures: decode_update_features -> UpdateFeaturesRequest, encode_update_features(UpdateFeaturesResponse);
    DescribeCluster: decode_describe_cluster -> DescribeClusterRequest, encode_describe_cluster(DescribeClusterResponse);
    DescribeProducers: decode_describe_producers -> DescribeProducersRequest, encode_describe_producers(DescribeProducersResponse);
    UnregisterBroker: decode_unregister_broker -> UnregisterBrokerRequest, encode_unregister_broker(UnregisterBrokerResponse);
    ListConfigResources: decode_list_config_resources -> ListConfigResourcesRequest, encode_list_config_resources(ListConfigResourcesResponse);
    DescribeTopicPartitions: decode_describe_topic_partitions -> DescribeTopicPartitionsRequest, encode_describe_topic_partitions(DescribeTopicPartitionsResponse);
}

fn decode<T: Decodable>(key: ApiKey, mut body: Bytes, version: i16) -> Result<T, DecodeError> {
    guard::decoded_size(key, version, &body)?;
    T::decode(&mut body, version).map_err(|error| DecodeError::Malformed { reason: error.to_string() })
}

fn encode<T: Encodable>(
    key: ApiKey,
    correlation_id: i32,
    version: i16,
    response: &T,
) -> Result<Bytes, EncodeError> {
    let Some(api) = api::find(key as i16) else {
        return Err(EncodeError::Refused { api: "", version, reason: "no row in the table".to_string() });
    };
    let mut frame = BytesMut::with_capacity(RESPONSE_BYTES_FIRST);
    put_response_header(&mut frame, api, correlation_id, version);
    response.encode(&mut frame, version).map_err(|error| EncodeError::Refused {
        api: api.name,
        version,
        reason: error.to_string(),
    })?;
    let bytes = frame.len() - LENGTH_BYTES;
    let length = i32::try_from(bytes).map_err(|_| EncodeError::TooLong { bytes })?;
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// The length, to be filled in, and the response header.
pub(crate) fn put_response_header(frame: &mut BytesMut, api: &Api, correlation_id: i32, version: i16) {
    frame.put_i32(0);
    frame.put_i32(correlation_id);
    if api.response_header_version(version) >= 1 {
        frame.put_u8(0);
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
