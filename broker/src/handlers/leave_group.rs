//! LeaveGroup (key 13), v0–v5.
//! Versions: v3 several members, static ones by instance id (KIP-345) · v5 reason (KIP-800).
//! Errors: NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS, and those of `GroupShard::leave_group`.

use std::sync::Arc;

use protocol::codec::encode_leave_group;
use protocol::messages::LeaveGroupRequest;

use super::group_reply::park;
use crate::broker::Broker;
use crate::coordinator::group::{GroupResponse, LeaveGroupAnswer, convert};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: LeaveGroupRequest,
) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let leave = convert::leave_group::request(version, &request);
    let asked = broker
        .groups
        .request(broker, &leave.group_id, |shard, now, token| shard.leave_group(now, token, &leave));
    Ok(park(broker, asked, move |answer| {
        let answer = match answer {
            Ok(GroupResponse::LeaveGroup(answer)) => answer,
            Ok(other) => unreachable!("a leave was answered with {other:?}"),
            Err(code) => LeaveGroupAnswer { error: Some(code), members: Vec::new() },
        };
        encode_leave_group(correlation_id, version, &convert::leave_group::response(version, answer))
    }))
}
