//! Heartbeat (key 12), v0-v4.
//! Versions: v1 throttle · v3 group instance id (KIP-345).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::super::message::Heartbeat;
use super::{code, owned, owned_opt};

/// The request.
pub fn request(request: &HeartbeatRequest) -> Heartbeat {
    Heartbeat {
        group_id: owned(&request.group_id),
        generation_id: request.generation_id,
        member_id: owned(&request.member_id),
        group_instance_id: owned_opt(&request.group_instance_id),
    }
}

/// The answer. While the coordinator loads, the handler answers without an error (`GroupCoordinatorService.heartbeat`).
pub fn response(error: Option<ResponseError>) -> HeartbeatResponse {
    HeartbeatResponse::default().with_error_code(code(error))
}
