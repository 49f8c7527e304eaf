//! LeaveGroup (key 13), v0-v5.
//! Versions: v1 throttle · v3 many members, instance ids (KIP-345) · v5 reason (KIP-800).

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::super::message::{LeaveGroup, LeaveGroupAnswer, MemberIdentity};
use super::{code, owned, owned_opt, wire, wire_opt};

/// The request: before v3 it names one member.
pub fn request(version: i16, request: &LeaveGroupRequest) -> LeaveGroup {
    let members = if version >= 3 {
        let identity = |m: &kafka_protocol::messages::leave_group_request::MemberIdentity| MemberIdentity {
            member_id: owned(&m.member_id),
            group_instance_id: owned_opt(&m.group_instance_id),
        };
        request.members.iter().map(identity).collect()
    } else {
        vec![MemberIdentity { member_id: owned(&request.member_id), group_instance_id: None }]
    };
    LeaveGroup { group_id: owned(&request.group_id), members }
}

/// The answer: before v3 the member's error is the request's (`LeaveGroupResponse.getError`).
pub fn response(version: i16, answer: LeaveGroupAnswer) -> LeaveGroupResponse {
    if version < 3 {
        let error = answer.error.or_else(|| answer.members.iter().find_map(|(_, error)| *error));
        return LeaveGroupResponse::default().with_error_code(code(error));
    }
    let members = answer.members.into_iter().map(|(identity, error)| {
        MemberResponse::default()
            .with_member_id(wire(identity.member_id))
            .with_group_instance_id(wire_opt(identity.group_instance_id))
            .with_error_code(code(error))
    });
    LeaveGroupResponse::default().with_error_code(code(answer.error)).with_members(members.collect())
}
