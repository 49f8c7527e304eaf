//! SyncGroup (key 14), v0–v5.
//! Behavior: parked until the leader has sent the assignment.
//! Versions: v3 static members (KIP-345) · v5 protocol type and name (KIP-559).
//! Errors: NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS, INCONSISTENT_GROUP_PROTOCOL, those of `GroupShard::sync_group`.

use std::sync::Arc;

use protocol::codec::encode_sync_group;
use protocol::error::ErrorCode;
use protocol::messages::SyncGroupRequest;

use super::group_reply::park;
use crate::broker::Broker;
use crate::coordinator::group::{GroupResponse, SyncGroupAnswer, convert};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: SyncGroupRequest) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let asked = if convert::sync_group::has_mandatory_protocol(version, &request) {
        let sync = convert::sync_group::request(&request);
        broker.groups.request(broker, &sync.group_id, |shard, now, token| shard.sync_group(now, token, &sync))
    } else {
        Err(ErrorCode::InconsistentGroupProtocol)
    };
    Ok(park(broker, asked, move |answer| {
        let answer = match answer {
            Ok(GroupResponse::SyncGroup(answer)) => answer,
            Ok(other) => unreachable!("a sync was answered with {other:?}"),
            Err(code) => SyncGroupAnswer::refused(code),
        };
        encode_sync_group(correlation_id, version, &convert::sync_group::response(version, answer))
    }))
}
