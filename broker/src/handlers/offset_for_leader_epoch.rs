//! OffsetForLeaderEpoch (key 23), v2–v4 (KIP-101, KIP-279, KIP-320).
//! Behavior: where the records of a leader epoch end: the largest epoch up to the one asked for, and where the next began; for
//!   the current one the high watermark. An epoch below all known ones gets itself and the start of the first; one above
//!   the current (-1, -1) (`LeaderEpochFileCache.endOffsetFor`).
//! Errors: UNKNOWN_TOPIC_OR_PARTITION, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, KAFKA_STORAGE_ERROR (a closed partition).

use std::sync::Arc;

use protocol::codec::encode_offset_for_leader_epoch;
use protocol::error::{self, ErrorCode};
use protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::error::read_error_code;
use crate::partition::table::Topic;
use crate::server::reply_queue::Reply;

/// "None".
const UNDEFINED: i32 = -1;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> Result<Reply, Close> {
    let table = broker.partitions.load();
    let topics = request.topics.into_iter().map(|topic| {
        let found = table.topic(&topic.topic);
        let partitions = topic.partitions.iter().map(|asked| {
            let (code, (epoch, end)) = match end_offset(found.map(|t| &**t), asked) {
                Ok(end) => (error::NONE, end),
                Err(code) => (code.code(), (UNDEFINED, i64::from(UNDEFINED))),
            };
            EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_error_code(code)
                .with_leader_epoch(epoch)
                .with_end_offset(end)
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    let response = OffsetForLeaderEpochResponse::default().with_topics(topics.collect());
    Ok(Reply::ready(encode_offset_for_leader_epoch(ctx.correlation_id, ctx.version, &response)?))
}

fn end_offset(topic: Option<&Topic>, asked: &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode> {
    let partition =
        topic.and_then(|t| t.partition(asked.partition)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    partition.check_epoch(asked.current_leader_epoch).map_err(|refused| read_error_code(&refused))?;
    Ok(partition.end_offset_for_epoch(asked.leader_epoch).unwrap_or((UNDEFINED, i64::from(UNDEFINED))))
}
