//! DescribeGroups (key 15), v0–v6.
//! Behavior: each group by itself, read from its shard; leaves when what it was read from is durable.
//! Versions: v3 authorized operations (KIP-430) · v4 static members (KIP-345) · v6 error message, GROUP_ID_NOT_FOUND
//!   (KIP-1043): before, a group that does not exist is one in state Dead.
//! Errors: GROUP_ID_NOT_FOUND, NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS per group.

use std::sync::Arc;

use protocol::codec::encode_describe_groups;
use protocol::error::ErrorCode;
use protocol::messages::DescribeGroupsRequest;
use s3stream::ids::LaneNumber;

use super::authorized_operations;
use super::group_reply::{encoded, wait};
use crate::broker::Broker;
use crate::coordinator::group::{DescribedGroup, convert};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// What a shard says of one group, and what that rests on.
type ReadAnswer = Result<(DescribedGroup, Option<LaneNumber>), ErrorCode>;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeGroupsRequest,
) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let operations = request.include_authorized_operations.then_some(authorized_operations::GROUP);
    let answers: Vec<(String, ReadAnswer)> = convert::describe_groups::request(&request)
        .into_iter()
        .map(|group_id| {
            let read = broker.groups.read(broker, &group_id, |shard| shard.describe_group(&group_id));
            (group_id, read)
        })
        .collect();
    let broker = broker.clone();
    Ok(Reply::Parked(Box::pin(async move {
        let mut groups = Vec::with_capacity(answers.len());
        for (group_id, read) in answers {
            let answer = match read {
                Ok((described, at)) => wait(&broker, at).await.map(|()| described),
                Err(code) => Err(code),
            };
            groups.push(match answer {
                Ok(described) => convert::describe_groups::group(version, described, operations),
                Err(code) => convert::describe_groups::refused_group(&group_id, code),
            });
        }
        encoded(encode_describe_groups(correlation_id, version, &convert::describe_groups::response(groups)))
    })))
}
