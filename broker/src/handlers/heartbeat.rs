//! Heartbeat (key 12), v0–v4.
//! Behavior: renews the session of a member. While the group is loaded it is fine (`GroupCoordinatorService.heartbeat`:
//!   the member would only come back sooner).
//! Versions: v3 static members (KIP-345).
//! Errors: NOT_COORDINATOR, and those of `GroupShard::heartbeat`.

use std::sync::Arc;

use protocol::codec::encode_heartbeat;
use protocol::error::ErrorCode;
use protocol::messages::HeartbeatRequest;

use super::group_reply::park;
use crate::broker::Broker;
use crate::coordinator::group::{GroupResponse, convert};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: HeartbeatRequest) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let heartbeat = convert::heartbeat::request(&request);
    let asked = broker
        .groups
        .request(broker, &heartbeat.group_id, |shard, now, token| shard.heartbeat(now, token, &heartbeat));
    Ok(park(broker, asked, move |answer| {
        let error = match answer {
            Ok(GroupResponse::Heartbeat(error)) => error,
            Ok(other) => unreachable!("a heartbeat was answered with {other:?}"),
            Err(ErrorCode::CoordinatorLoadInProgress) => None,
            Err(code) => Some(code),
        };
        encode_heartbeat(correlation_id, version, &convert::heartbeat::response(error))
    }))
}
