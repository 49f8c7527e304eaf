//! JoinGroup (key 11), v0-v9.
//! Versions: v1 rebalance timeout (KIP-62; before: the session timeout) · v2 throttle · v4 MEMBER_ID_REQUIRED (KIP-394)
//! · v5 group instance id (KIP-345) · v7 protocol type (KIP-559), null protocol name · v8 reason (KIP-800) ·
//! v9 skip assignment (KIP-814).

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::super::message::{JoinGroup, JoinGroupAnswer, MemberProtocol};
use super::{code, owned, owned_bytes, owned_opt, wire, wire_opt};

/// The request; `client_id` is the header's (absent: empty), `client_host` the peer's address as Kafka prints it
/// (`/127.0.0.1`).
pub fn request(version: i16, client_id: &str, client_host: &str, request: &JoinGroupRequest) -> JoinGroup {
    let protocol = |p: &kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol| {
        MemberProtocol { name: owned(&p.name), metadata: owned_bytes(&p.metadata) }
    };
    JoinGroup {
        group_id: owned(&request.group_id),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version >= 1 {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        },
        member_id: owned(&request.member_id),
        group_instance_id: owned_opt(&request.group_instance_id),
        protocol_type: owned(&request.protocol_type),
        protocols: request.protocols.iter().map(protocol).collect(),
        client_id: client_id.to_string(),
        client_host: client_host.to_string(),
        requires_known_member_id: version >= 4,
        supports_skip_assignment: version >= 9,
    }
}

/// The answer. Without a protocol its name is null since v7 and empty before (`JoinGroupResponse`).
pub fn response(version: i16, answer: JoinGroupAnswer) -> JoinGroupResponse {
    let protocol_name = match answer.protocol_name {
        Some(name) if version < 7 || !name.is_empty() => Some(wire(name)),
        _ if version < 7 => Some(Default::default()),
        _ => None,
    };
    let members = answer.members.into_iter().map(|member| {
        let mut wired = JoinGroupResponseMember::default()
            .with_member_id(wire(member.member_id))
            .with_metadata(member.metadata);
        if version >= 5 {
            wired.group_instance_id = wire_opt(member.group_instance_id);
        }
        wired
    });
    let mut response = JoinGroupResponse::default()
        .with_error_code(code(answer.error))
        .with_generation_id(answer.generation_id)
        .with_protocol_name(protocol_name)
        .with_leader(wire(answer.leader))
        .with_member_id(wire(answer.member_id))
        .with_members(members.collect());
    if version >= 7 {
        response.protocol_type = wire_opt(answer.protocol_type);
    }
    if version >= 9 {
        response.skip_assignment = answer.skip_assignment;
    }
    response
}
