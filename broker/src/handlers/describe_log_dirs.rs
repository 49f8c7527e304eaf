//! DescribeLogDirs (key 35), v1–v4.
//! Behavior: one log directory, the bucket, under its URL without secrets; the partitions led here with the bytes of their
//!   blocks. Nothing lags and nothing moves between directories.
//! Versions: v3 top-level error · v4 room (KIP-827): of a directory; -1 for an object store.
//! Errors: KAFKA_STORAGE_ERROR of the log directory (the store did not say how much room there is).

use std::collections::HashSet;
use std::sync::Arc;

use protocol::codec::encode_describe_log_dirs;
use protocol::error::{self, ErrorCode};
use protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::group_reply::encoded;
use super::{text, topic_name};
use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::partition::Partition;
use crate::partition::table::Topic;
use crate::retention::task::units;
use crate::server::reply_queue::Reply;

/// Room that is not known (`DescribeLogDirsResponse.UNKNOWN_VOLUME_BYTES`).
const UNKNOWN: i64 = -1;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeLogDirsRequest,
) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let topics = topics(broker, request);
    let broker = broker.clone();
    Ok(Reply::Parked(Box::pin(async move {
        let result = DescribeLogDirsResult::default().with_log_dir(text(&broker.store.traits().name));
        let result = match broker.store.space().await {
            Err(error) => {
                tracing::warn!(%error, "free space is unknown");
                result.with_error_code(ErrorCode::KafkaStorageError.code())
            }
            Ok(space) => {
                let result = result.with_error_code(error::NONE).with_topics(topics);
                let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                match space {
                    Some(space) if version >= 4 => {
                        result.with_total_bytes(bytes(space.total)).with_usable_bytes(bytes(space.free))
                    }
                    _ => result.with_total_bytes(UNKNOWN).with_usable_bytes(UNKNOWN),
                }
            }
        };
        let response = DescribeLogDirsResponse::default().with_results(vec![result]);
        encoded(encode_describe_log_dirs(correlation_id, version, &response))
    })))
}

fn topics(broker: &Broker, request: DescribeLogDirsRequest) -> Vec<DescribeLogDirsTopic> {
    let table = broker.partitions.load();
    let mut described: Vec<DescribeLogDirsTopic> = match request.topics {
        None => table.topics().map(|t| describe(broker, t, |_| true)).collect(),
        Some(asked) => asked
            .into_iter()
            .filter_map(|asked| {
                let wanted: HashSet<i32> = asked.partitions.into_iter().collect();
                Some(describe(broker, table.topic(&asked.topic)?, |index| wanted.contains(&index)))
            })
            .collect(),
    };
    described.retain(|t| !t.partitions.is_empty());
    described.sort_by(|a, b| a.name.cmp(&b.name));
    described.dedup_by(|a, b| a.name == b.name);
    described
}

/// Bytes of what is durable and kept, wherever it lies.
fn size_bytes(broker: &Broker, partition: &Partition) -> u64 {
    units(broker, partition).iter().map(|unit| unit.bytes).sum()
}

fn describe(broker: &Broker, topic: &Topic, wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let partitions = topic.partitions.iter().filter(|p| wanted(p.index)).map(|p| {
        DescribeLogDirsPartition::default()
            .with_partition_index(p.index)
            .with_partition_size(size_bytes(broker, p) as i64)
            .with_offset_lag(0)
            .with_is_future_key(false)
    });
    DescribeLogDirsTopic::default().with_name(topic_name(&topic.name)).with_partitions(partitions.collect())
}
