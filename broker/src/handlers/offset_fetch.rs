//! OffsetFetch (key 9), v1–v9.
//! Behavior: committed offsets of one or many groups; absent is -1. Leaves when what it was read from is durable.
//! Versions: v2 null topics = all · v5 leader epoch · v7 require_stable (KIP-447) · v8 many groups (KIP-709) ·
//!   v9 member epoch (KIP-848).
//! Errors: NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS per group, and those of `GroupShard::offset_fetch`.

use std::sync::Arc;

use protocol::codec::encode_offset_fetch;
use protocol::error::ErrorCode;
use protocol::messages::OffsetFetchRequest;
use s3stream::ids::LaneNumber;

use super::group_reply::{encoded, wait};
use crate::broker::Broker;
use crate::coordinator::group::{FetchedOffset, OffsetFetch, OffsetFetchAnswer, convert};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// What a shard says of one group, and what that rests on.
type ReadAnswer = Result<(OffsetFetchAnswer, Option<LaneNumber>), ErrorCode>;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: OffsetFetchRequest,
) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let groups = convert::offset_fetch::requests(version, &request);
    let answers: Vec<(OffsetFetch, ReadAnswer)> = groups
        .into_iter()
        .map(|group| {
            let read = broker.groups.read(broker, &group.group_id, |shard| shard.offset_fetch(&group));
            (group, read)
        })
        .collect();
    let broker = broker.clone();
    Ok(Reply::Parked(Box::pin(async move {
        let mut ready = Vec::with_capacity(answers.len());
        for (group, read) in answers {
            let answer = match read {
                Ok((answer, at)) => wait(&broker, at).await.map(|()| answer),
                Err(code) => Err(code),
            };
            ready.push(answer.unwrap_or_else(|code| refused(version, group, code)));
        }
        encoded(encode_offset_fetch(
            correlation_id,
            version,
            &convert::offset_fetch::response(version, ready),
        ))
    })))
}

/// v0 and v1 have no error of the group: it stands on every partition (`OffsetFetchResponse`).
fn refused(version: i16, group: OffsetFetch, code: ErrorCode) -> OffsetFetchAnswer {
    let absent = |partition: i32| FetchedOffset {
        partition,
        offset: -1,
        leader_epoch: -1,
        metadata: String::new(),
        error: Some(code),
    };
    let topics = if version < 2 { group.topics.unwrap_or_default() } else { Vec::new() };
    let topics = topics.into_iter().map(|(t, ps)| (t, ps.into_iter().map(absent).collect()));
    OffsetFetchAnswer { group_id: group.group_id, error: Some(code), topics: topics.collect() }
}
