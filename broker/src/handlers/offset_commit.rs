//! OffsetCommit (key 8), v2–v9.
//! Behavior: answered when the commit is durable; one equal to what is committed writes nothing.
//! Versions: v6 leader epoch · v7 static members (KIP-345) · v9 member epoch (KIP-848).
//! Errors: UNKNOWN_TOPIC_OR_PARTITION per partition; NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS, and those of
//!   `GroupShard::offset_commit` on every partition.

use std::sync::Arc;

use protocol::codec::encode_offset_commit;
use protocol::error::ErrorCode;
use protocol::messages::OffsetCommitRequest;

use super::group_reply::{Shape, in_request_order, park};
use crate::broker::Broker;
use crate::coordinator::group::{GroupResponse, OffsetCommitAnswer, PartitionCommit, convert};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: OffsetCommitRequest,
) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let mut commit = convert::offset_commit::request(version, &request);
    let asked_for = shape_of(&commit.topics);
    commit.topics = known(broker, std::mem::take(&mut commit.topics));
    let asked = broker
        .groups
        .request(broker, &commit.group_id, |shard, now, token| shard.offset_commit(now, token, &commit));
    Ok(park(broker, asked, move |answer| {
        let answer = match answer {
            Ok(GroupResponse::OffsetCommit(answer)) => answer,
            Ok(other) => unreachable!("a commit was answered with {other:?}"),
            Err(code) => refuse_all(&asked_for, code),
        };
        let answer = OffsetCommitAnswer { topics: in_request_order(asked_for, answer.topics) };
        encode_offset_commit(correlation_id, version, &convert::offset_commit::response(answer))
    }))
}

fn shape_of(topics: &[(String, Vec<PartitionCommit>)]) -> Shape {
    topics.iter().map(|(t, ps)| (t.clone(), ps.iter().map(|p| p.partition).collect())).collect()
}

/// What there is: a coordinator takes no offsets of partitions that do not exist (`KafkaApis.handleOffsetCommitRequest`).
fn known(
    broker: &Broker,
    topics: Vec<(String, Vec<PartitionCommit>)>,
) -> Vec<(String, Vec<PartitionCommit>)> {
    let table = broker.partitions.load();
    let mut kept = Vec::with_capacity(topics.len());
    for (name, mut partitions) in topics {
        let Some(topic) = table.topic(&name) else { continue };
        partitions.retain(|p| topic.partition(p.partition).is_some());
        if !partitions.is_empty() {
            kept.push((name, partitions));
        }
    }
    kept
}

fn refuse_all(shape: &Shape, code: ErrorCode) -> OffsetCommitAnswer {
    let refuse = |ps: &Vec<i32>| ps.iter().map(|p| (*p, Some(code))).collect();
    OffsetCommitAnswer { topics: shape.iter().map(|(t, ps)| (t.clone(), refuse(ps))).collect() }
}
