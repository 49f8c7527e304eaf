//! ListGroups (key 16), v0–v5.
//! Behavior: the groups of all shards of this broker; leaves when what they were read from is durable. While one shard
//!   loads there is no list, rather than one with groups missing (`GroupCoordinatorService.listGroups`).
//! Versions: v4 states (KIP-518) · v5 types (KIP-848).
//! Errors: COORDINATOR_LOAD_IN_PROGRESS.

use std::sync::Arc;

use protocol::codec::encode_list_groups;
use protocol::error::ErrorCode;
use protocol::messages::ListGroupsRequest;

use super::group_reply::{encoded, wait};
use crate::broker::Broker;
use crate::coordinator::group::{ListedGroup, convert};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ListGroupsRequest,
) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let asked = convert::list_groups::request(&request);
    let read = broker.groups.read_all(broker, |shard| shard.list_groups(&asked));
    let broker = broker.clone();
    Ok(Reply::Parked(Box::pin(async move {
        let (error, groups) = match read {
            Err(code) => (Some(code), Vec::new()),
            Ok(parts) => {
                // One lane: the last number covers all.
                let at = parts.iter().filter_map(|(_, at)| *at).max();
                let groups: Vec<ListedGroup> = parts.into_iter().flat_map(|(groups, _)| groups).collect();
                match wait(&broker, at).await {
                    Ok(()) => (None, groups),
                    // The lane ended, and every shard with it: nothing is coordinated here.
                    Err(ErrorCode::NotCoordinator) => (None, Vec::new()),
                    Err(code) => (Some(code), Vec::new()),
                }
            }
        };
        encoded(encode_list_groups(
            correlation_id,
            version,
            &convert::list_groups::response(version, error, groups),
        ))
    })))
}
