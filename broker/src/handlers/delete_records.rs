//! DeleteRecords (key 21), v0–v2.
//! Behavior: the log start moves to the offset (-1: the high watermark), for all partitions of the request in one mutation;
//!   answered with the low watermark when that is in the image: it survives every death. Nothing is deleted from the bucket by
//!   it, nor forgotten of producers.
//! Errors: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION (internal topics), POLICY_VIOLATION (cleanup.policy=compact
//!   alone), OFFSET_OUT_OF_RANGE, KAFKA_STORAGE_ERROR (closed), REQUEST_TIMED_OUT (it may still happen).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::codec::encode_delete_records;
use protocol::error::{self, ErrorCode};
use protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use tokio::sync::oneshot;

use super::group_reply::encoded;
use super::topic_name;
use crate::broker::Broker;
use crate::coordinator::is_internal;
use crate::dispatch::{Close, RequestContext};
use crate::error::trim_error_code;
use crate::partition::Partition;
use crate::server::reply_queue::Reply;
use crate::trims::{Trim, trim};

/// Kafka's "no low watermark".
const UNKNOWN: i64 = -1;
/// How long the commit is waited for, however short the request's timeout.
const OWN_PART: Duration = Duration::from_secs(5);

type Results = BTreeMap<String, BTreeMap<i32, Result<i64, ErrorCode>>>;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DeleteRecordsRequest,
) -> Result<Reply, Close> {
    let mut results = Results::new();
    let mut trims = Vec::new();
    for topic in &request.topics {
        let of_topic = results.entry(topic.name.0.to_string()).or_default();
        for p in &topic.partitions {
            match judge(broker, &topic.name, p.partition_index, p.offset) {
                Ok(wanted) => {
                    of_topic.insert(p.partition_index, Ok(UNKNOWN));
                    trims.push(wanted);
                }
                Err(code) => {
                    of_topic.insert(p.partition_index, Err(code));
                }
            }
        }
    }
    let (done, outcome) = oneshot::channel();
    // A task of its own: it ends whether or not somebody waits for it.
    let task = broker.clone();
    let partitions: Vec<Arc<Partition>> = trims.iter().map(|trim| trim.partition.clone()).collect();
    broker.env.tasks.spawn("trim", async move {
        let _ = done.send(trim(&task, trims).await);
    });
    let patience = patience(request.timeout_ms);
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    Ok(Reply::Parked(Box::pin(async move {
        let outcome = match tokio::time::timeout(patience, outcome).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(ErrorCode::RequestTimedOut),
        };
        for partition in partitions {
            let result = outcome.map(|()| partition.offsets().log_start);
            results.entry(partition.topic.to_string()).or_default().insert(partition.index, result);
        }
        encoded(encode_delete_records(correlation_id, version, &respond(results)))
    })))
}

/// In Kafka the timeout is for other replicas, after the leader has moved its log start (`ReplicaManager.deleteRecords`):
/// clients send 0, and are answered with success. Here the commit is the leader's part.
fn patience(timeout_ms: i32) -> Duration {
    Duration::from_millis(timeout_ms.max(0) as u64).max(OWN_PART)
}

fn judge(broker: &Broker, topic: &str, index: i32, offset: i64) -> Result<Trim, ErrorCode> {
    let table = broker.partitions.load();
    let partition = table.topic(topic).and_then(|t| t.partition(index)).cloned();
    let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let start = partition.log_start_after(offset).map_err(|refused| trim_error_code(&refused))?;
    Ok(Trim { partition, start })
}

fn respond(results: Results) -> DeleteRecordsResponse {
    let topics = results.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, result)| {
            DeleteRecordsPartitionResult::default()
                .with_partition_index(index)
                .with_low_watermark(result.unwrap_or(UNKNOWN))
                .with_error_code(result.err().map_or(error::NONE, |code| code.code()))
        });
        DeleteRecordsTopicResult::default()
            .with_name(topic_name(&topic))
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_waited_for_whatever_the_timeout() {
        for (timeout_ms, waits) in [(-1, 5_000), (0, 5_000), (1_000, 5_000), (30_000, 30_000)] {
            assert_eq!(patience(timeout_ms), Duration::from_millis(waits), "{timeout_ms}");
        }
    }
}
