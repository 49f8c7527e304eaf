//! AlterReplicaLogDirs (key 34), v1–v2.
//! Behavior: there is one log directory, the one that DescribeLogDirs names: what is here is in it already, and nothing
//!   moves (`ReplicaManager.alterReplicaLogDirs`). Of a partition named for several directories the last counts.
//! Versions: v2 flexible.
//! Errors per partition, in this order: INVALID_TOPIC_EXCEPTION (a name too long for a directory), LOG_DIR_NOT_FOUND (another
//!   directory), KAFKA_STORAGE_ERROR (closed), REPLICA_NOT_AVAILABLE (led elsewhere), UNKNOWN_TOPIC_OR_PARTITION.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::codec::encode_alter_replica_log_dirs;
use protocol::error::{self, ErrorCode};
use protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};

use super::topic_name;
use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// The longest name of a directory.
const DIRECTORY_NAME_MAX: usize = 255;
/// What `UnifiedLog.logFutureDirName` puts behind topic and partition: a dot, a random id, `-future`.
const FUTURE_SUFFIX_BYTES: usize = 1 + 32 + "-future".len();

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> Result<Reply, Close> {
    let ours = &broker.store.traits().name;
    let mut results: BTreeMap<String, BTreeMap<i32, i16>> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            for index in &topic.partitions {
                let code =
                    match judge(ours, &dir.path, &topic.name, *index, || here(broker, &topic.name, *index)) {
                        Ok(()) => error::NONE,
                        Err(code) => code.code(),
                    };
                results.entry(topic.name.to_string()).or_default().insert(*index, code);
            }
        }
    }
    let results = results.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, code)| {
            AlterReplicaLogDirPartitionResult::default().with_partition_index(index).with_error_code(code)
        });
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(topic_name(&topic))
            .with_partitions(partitions.collect())
    });
    let response = AlterReplicaLogDirsResponse::default().with_results(results.collect());
    Ok(Reply::ready(encode_alter_replica_log_dirs(ctx.correlation_id, ctx.version, &response)?))
}

fn judge(
    ours: &str,
    wanted: &str,
    topic: &str,
    index: i32,
    here: impl FnOnce() -> Result<(), ErrorCode>,
) -> Result<(), ErrorCode> {
    if format!("{topic}-{index}").len() + FUTURE_SUFFIX_BYTES > DIRECTORY_NAME_MAX {
        return Err(ErrorCode::InvalidTopicException);
    }
    if wanted != ours {
        return Err(ErrorCode::LogDirNotFound);
    }
    here()
}

/// Is the partition one of ours, and open?
fn here(broker: &Broker, topic: &str, index: i32) -> Result<(), ErrorCode> {
    let table = broker.partitions.load();
    if let Some(partition) = table.topic(topic).and_then(|t| t.partition(index)) {
        return partition.check_epoch(-1).map_err(|_| ErrorCode::KafkaStorageError);
    }
    let journal = broker.journal.image();
    let known = journal.inner.topic(topic).map_or(0, |t| t.partitions.len());
    if usize::try_from(index).is_ok_and(|index| index < known) {
        Err(ErrorCode::ReplicaNotAvailable)
    } else {
        Err(ErrorCode::UnknownTopicOrPartition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_faults_the_one_is_told_that_kafka_tells() {
        let unknown = || Err(ErrorCode::UnknownTopicOrPartition);
        let long = "x".repeat(213);
        let longest = "x".repeat(213 - 1);
        for (wanted, topic, here, expected) in [
            ("/ours", "t", Ok(()), Ok(())),
            ("/ours", "t", unknown(), unknown()),
            ("/other", "t", Ok(()), Err(ErrorCode::LogDirNotFound)),
            ("/other", "t", unknown(), Err(ErrorCode::LogDirNotFound)),
            ("/other", &long, unknown(), Err(ErrorCode::InvalidTopicException)),
            ("/ours", &longest, Ok(()), Ok(())),
        ] {
            assert_eq!(judge("/ours", wanted, topic, 10, || here), expected, "{wanted} {topic}");
        }
    }
}
