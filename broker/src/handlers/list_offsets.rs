//! ListOffsets (key 2), v1–v10.
//! Behavior: -1 the high watermark, -2 the log start, -3 offset and timestamp of the record with the largest timestamp,
//!   -4 the log start (there is one tier), -5 -1 (nothing is tiered); from 0 on the first record that is not older, exact
//!   to the record, -1 where there is none (`UnifiedLog.fetchOffsetByTimestamp`).
//! Versions: v2 isolation level · v4 leader epoch (KIP-320) · v7 -3 (KIP-734) · v8 -4 (KIP-405) · v9 -5 (KIP-1005) ·
//!   v10 timeout.
//! Errors: INVALID_REQUEST (a partition named twice), UNKNOWN_TOPIC_OR_PARTITION, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, UNSUPPORTED_VERSION (a special timestamp
//!   the version lacks), KAFKA_STORAGE_ERROR (the bucket did not answer: retriable).

use std::collections::HashSet;
use std::sync::Arc;

use protocol::StrBytes;
use protocol::codec::encode_list_offsets;
use protocol::error::{self, ErrorCode};
use protocol::messages::list_offsets_request::ListOffsetsPartition;
use protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::group_reply::encoded;
use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::error::read_error_code;
use crate::partition::Partition;
use crate::partition::timestamp::{self, TimestampedOffset};
use crate::server::reply_queue::Reply;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ListOffsetsRequest,
) -> Result<Reply, Close> {
    let (broker, version, correlation_id) = (broker.clone(), ctx.version, ctx.correlation_id);
    Ok(Reply::Parked(Box::pin(async move {
        let twice = named_twice(&request);
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for p in topic.partitions {
                let found = match twice.contains(&(topic.name.0.clone(), p.partition_index)) {
                    true => Err(ErrorCode::InvalidRequest),
                    false => look_up(&broker, version, &topic.name, &p).await,
                };
                partitions.push(partition_response(version, p.partition_index, found));
            }
            topics
                .push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        let response = ListOffsetsResponse::default().with_topics(topics);
        encoded(encode_list_offsets(correlation_id, version, &response))
    })))
}

/// Partitions that the request names more than once (`ReplicaManager.fetchOffset` refuses all of them).
fn named_twice(request: &ListOffsetsRequest) -> HashSet<(StrBytes, i32)> {
    let mut seen = HashSet::new();
    let all = request
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.0.clone(), p.partition_index)));
    all.filter(|named| !seen.insert(named.clone())).collect()
}

struct Found {
    timestamp: i64,
    offset: i64,
    leader_epoch: i32,
}

async fn look_up(
    broker: &Arc<Broker>,
    version: i16,
    topic: &str,
    asked: &ListOffsetsPartition,
) -> Result<Found, ErrorCode> {
    if asked.timestamp < 0 && !is_known(asked.timestamp, version) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let partition = broker
        .partitions
        .load()
        .topic(topic)
        .and_then(|t| t.partition(asked.partition_index))
        .cloned()
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let epoch = if version >= 4 { asked.current_leader_epoch } else { -1 };
    partition.check_epoch(epoch).map_err(|refused| read_error_code(&refused))?;
    let offsets = partition.offsets();
    let current = partition.leader_epoch.0 as i32;
    let at = |offset: i64, leader_epoch: i32| Ok(Found { timestamp: -1, offset, leader_epoch });
    match asked.timestamp {
        LATEST => at(offsets.high_watermark, current),
        EARLIEST => at(offsets.log_start, epoch_at_start(&partition)),
        EARLIEST_LOCAL => at(offsets.log_start, epoch_at_start(&partition)),
        LATEST_TIERED => at(-1, -1),
        MAX_TIMESTAMP => found(timestamp::max(broker, &partition).await),
        t => found(timestamp::first_from(broker, &partition, t).await),
    }
}

/// Does the version have this special timestamp (`ReplicaManager.isListOffsetsTimestampUnsupported`)?
fn is_known(timestamp: i64, version: i16) -> bool {
    match timestamp {
        LATEST | EARLIEST => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL => version >= 8,
        LATEST_TIERED => version >= 9,
        _ => false,
    }
}

fn epoch_at_start(partition: &Partition) -> i32 {
    partition.epoch_at_log_start().unwrap_or(partition.leader_epoch.0 as i32)
}

fn found(result: Result<Option<TimestampedOffset>, timestamp::LookupError>) -> Result<Found, ErrorCode> {
    match result {
        Ok(Some(f)) => Ok(Found { timestamp: f.timestamp, offset: f.offset, leader_epoch: f.leader_epoch }),
        Ok(None) => Ok(Found { timestamp: -1, offset: -1, leader_epoch: -1 }),
        Err(error) => {
            tracing::warn!(%error, "a timestamp could not be looked up");
            Err(ErrorCode::KafkaStorageError)
        }
    }
}

fn partition_response(
    version: i16,
    index: i32,
    found: Result<Found, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    let (code, f) = match found {
        Ok(f) => (error::NONE, f),
        Err(code) => (code.code(), Found { timestamp: -1, offset: -1, leader_epoch: -1 }),
    };
    let response = response.with_error_code(code).with_timestamp(f.timestamp).with_offset(f.offset);
    if version >= 4 { response.with_leader_epoch(f.leader_epoch) } else { response }
}
