//! DeleteGroups (key 42), v0–v2.
//! Behavior: each group by itself, with all its offsets; answered when that is durable.
//! Errors: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS per group.

use std::sync::Arc;

use protocol::codec::encode_delete_groups;
use protocol::messages::DeleteGroupsRequest;

use super::group_reply::{answered, encoded};
use crate::broker::Broker;
use crate::coordinator::group::{DeletedGroup, GroupResponse, convert};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DeleteGroupsRequest,
) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let asked: Vec<_> = convert::delete_groups::request(&request)
        .into_iter()
        .map(|group_id| {
            let asked = broker.groups.request(broker, &group_id, |shard, now, token| {
                shard.delete_groups(now, token, std::slice::from_ref(&group_id))
            });
            (group_id, asked)
        })
        .collect();
    let broker = broker.clone();
    Ok(Reply::Parked(Box::pin(async move {
        let mut deleted = Vec::with_capacity(asked.len());
        for (group_id, asked) in asked {
            match answered(&broker, asked).await {
                Ok(GroupResponse::DeleteGroups(groups)) => deleted.extend(groups),
                Ok(other) => unreachable!("a deletion of groups was answered with {other:?}"),
                Err(code) => deleted.push(DeletedGroup { group_id, error: Some(code) }),
            }
        }
        encoded(encode_delete_groups(correlation_id, version, &convert::delete_groups::response(deleted)))
    })))
}
