//! DescribeGroups (key 15), v0-v6.
//! Versions: v1 throttle · v3 authorized operations (KIP-430) · v4 group instance id (KIP-345) · v6 error message, and
//! GROUP_ID_NOT_FOUND instead of state Dead without an error (KIP-1043).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup as WireGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use protocol::error::NONE;

use super::super::message::DescribedGroup;
use super::{code, group_id, owned, wire, wire_opt};

/// The groups that are asked for.
pub fn request(request: &DescribeGroupsRequest) -> Vec<String> {
    request.groups.iter().map(|group| owned(group)).collect()
}

/// One group of the answer. `authorized_operations`: what the caller may do (a bit set), if v3+ asked for it; told of
/// every group that comes without an error, so before v6 of one that does not exist (`KafkaApis
/// .handleDescribeGroupsRequest`).
pub fn group(version: i16, described: DescribedGroup, authorized_operations: Option<i32>) -> WireGroup {
    let members = described.members.into_iter().map(|member| {
        let mut wired = DescribedGroupMember::default()
            .with_member_id(wire(member.member_id))
            .with_client_id(wire(member.client_id))
            .with_client_host(wire(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment);
        if version >= 4 {
            wired.group_instance_id = wire_opt(member.group_instance_id);
        }
        wired
    });
    let mut group = WireGroup::default()
        .with_group_id(group_id(described.group_id))
        .with_group_state(wire(described.state.name().to_string()))
        .with_protocol_type(wire(described.protocol_type))
        .with_protocol_data(wire(described.protocol_data))
        .with_members(members.collect());
    let unseen = version < 6 && described.error == Some(ResponseError::GroupIdNotFound);
    group.error_code = code(described.error.filter(|_| !unseen));
    if version >= 6 {
        group.error_message = wire_opt(described.error_message);
    }
    if version >= 3
        && group.error_code == NONE
        && let Some(operations) = authorized_operations
    {
        group.authorized_operations = operations;
    }
    group
}

/// A group that could not be asked: not authorized, not coordinated here. It has no state.
pub fn refused_group(name: &str, error: ResponseError) -> WireGroup {
    WireGroup::default().with_group_id(group_id(name.to_string())).with_error_code(error.code())
}

/// The answer.
pub fn response(groups: Vec<WireGroup>) -> DescribeGroupsResponse {
    DescribeGroupsResponse::default().with_groups(groups)
}
