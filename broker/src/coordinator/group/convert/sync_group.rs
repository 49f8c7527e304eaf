//! SyncGroup (key 14), v0-v5.
//! Versions: v1 throttle · v3 group instance id (KIP-345) · v5 protocol type and name (KIP-559).

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::super::message::{SyncGroup, SyncGroupAnswer};
use super::{code, owned, owned_bytes, owned_opt, wire_opt};

/// The request.
pub fn request(request: &SyncGroupRequest) -> SyncGroup {
    let assignments = request.assignments.iter().map(|a| (owned(&a.member_id), owned_bytes(&a.assignment)));
    SyncGroup {
        group_id: owned(&request.group_id),
        generation_id: request.generation_id,
        member_id: owned(&request.member_id),
        group_instance_id: owned_opt(&request.group_instance_id),
        protocol_type: owned_opt(&request.protocol_type),
        protocol_name: owned_opt(&request.protocol_name),
        assignments: assignments.collect(),
    }
}

/// Whether a v5 request names the protocol type and name that v5 demands (`SyncGroupRequest
/// .areMandatoryProtocolTypeAndNamePresent`; else INCONSISTENT_GROUP_PROTOCOL).
pub fn has_mandatory_protocol(version: i16, request: &SyncGroupRequest) -> bool {
    version < 5 || (request.protocol_type.is_some() && request.protocol_name.is_some())
}

/// The answer.
pub fn response(version: i16, answer: SyncGroupAnswer) -> SyncGroupResponse {
    let mut response =
        SyncGroupResponse::default().with_error_code(code(answer.error)).with_assignment(answer.assignment);
    if version >= 5 {
        response.protocol_type = wire_opt(answer.protocol_type);
        response.protocol_name = wire_opt(answer.protocol_name);
    }
    response
}
