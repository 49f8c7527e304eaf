//! JoinGroup (key 11), v0–v9.
//! Behavior: parked until the join phase of the group ends.
//! Versions: v1 rebalance timeout · v4 MEMBER_ID_REQUIRED (KIP-394) · v5 static members (KIP-345) · v7 protocol type
//!   (KIP-559) · v8 reason (KIP-800) · v9 skip_assignment (KIP-814).
//! Errors: NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS, and those of `GroupShard::join_group`.

use std::sync::Arc;

use protocol::codec::encode_join_group;
use protocol::messages::JoinGroupRequest;

use super::group_reply::park;
use crate::broker::Broker;
use crate::coordinator::group::{GroupResponse, JoinGroupAnswer, convert, new_member_id};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: JoinGroupRequest) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let join = convert::join_group::request(version, ctx.client_id(), &ctx.client_host, &request);
    let member_id = join.member_id.clone();
    let suffix = broker.random_uuid().hyphenated().to_string();
    let fresh = new_member_id(ctx.client_id(), join.group_instance_id.as_deref(), &suffix);
    let asked = broker
        .groups
        .request(broker, &join.group_id, |shard, now, token| shard.join_group(now, token, &fresh, &join));
    Ok(park(broker, asked, move |answer| {
        let answer = match answer {
            Ok(GroupResponse::JoinGroup(answer)) => answer,
            Ok(other) => unreachable!("a join was answered with {other:?}"),
            Err(code) => JoinGroupAnswer::refused(&member_id, code),
        };
        encode_join_group(correlation_id, version, &convert::join_group::response(version, answer))
    }))
}
