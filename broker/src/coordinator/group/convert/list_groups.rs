//! ListGroups (key 16), v0-v5.
//! Versions: v1 throttle · v4 states (KIP-518) · v5 types (KIP-848).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_groups_response::ListedGroup as WireGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::super::message::{ListGroups, ListedGroup};
use super::{code, group_id, owned, wire};

/// The request.
pub fn request(request: &ListGroupsRequest) -> ListGroups {
    ListGroups {
        states: request.states_filter.iter().map(owned).collect(),
        types: request.types_filter.iter().map(owned).collect(),
    }
}

/// The answer of all partitions that this broker coordinates.
pub fn response(version: i16, error: Option<ResponseError>, groups: Vec<ListedGroup>) -> ListGroupsResponse {
    let groups = groups.into_iter().map(|listed| {
        let mut group = WireGroup::default()
            .with_group_id(group_id(listed.group_id))
            .with_protocol_type(wire(listed.protocol_type));
        if version >= 4 {
            group.group_state = wire(listed.state.name().to_string());
        }
        if version >= 5 {
            // `Group.GroupType.CLASSIC.toString()`.
            group.group_type = wire("classic".to_string());
        }
        group
    });
    ListGroupsResponse::default().with_error_code(code(error)).with_groups(groups.collect())
}
