//! Judging a batch before it is appended, in Kafka's order (PROTOCOL 2.1; `LogValidator`, `UnifiedLog.append`). Pure.

use bytes::Bytes;
use protocol::error::ErrorCode;
use protocol::record_batch::{Batch, BatchError, TimestampType};
use protocol::validate::{
    InvalidRecords, ProduceRules, RecordError, RecordRules, validate_for_produce, validate_records,
};
use s3stream::wal::LaneEnded;

use super::producer_state::SequenceError;
use crate::config::topic::TopicConfig;

/// Why a batch was not appended. Mapped to Kafka's codes in `error.rs`.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch is malformed, lies, or is too large.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Records in it are refused.
    #[error("{} records are refused", .1.len())]
    Records(ErrorCode, Vec<RecordError>),
    /// Out of order, or from a fenced producer.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// Acknowledged records of the partition cannot be read: it stays closed.
    #[error("the partition is closed: acknowledged records cannot be read")]
    Blocked,
    /// The topic was deleted meanwhile.
    #[error("the topic was deleted")]
    Deleted,
    /// The directory is below its free-space floor: produces are refused, deletes go on (PRACTICE E3).
    #[error("the storage is full")]
    NoSpace,
    /// The lane had no room within the request's time.
    #[error("no room in the lane within the request's time")]
    TimedOut,
    /// This incarnation may not append any more.
    #[error(transparent)]
    LaneEnded(LaneEnded),
}

/// What validation found.
#[derive(Debug)]
pub struct Validated {
    /// The batch, whole and honest as far as its header goes.
    pub batch: Batch,
    /// Its largest timestamp.
    pub max_timestamp: i64,
}

/// The most that a batch may grow when decompressed, per byte sent: above what real records reach.
const DECOMPRESSION_RATIO_MAX: usize = 1_000;

/// Judges the records of one partition of a produce request. A compressed batch may take `decompressed_bytes_max` while it
/// is judged.
pub fn validate(
    records: Option<Bytes>,
    api_version: i16,
    config: &TopicConfig,
    now_ms: i64,
    decompressed_bytes_max: usize,
) -> Result<Validated, AppendError> {
    let rules = ProduceRules {
        api_version,
        message_bytes_max: config.max_message_bytes as usize,
        allow_control: false,
    };
    let batch = validate_for_produce(records, &rules)?;
    let size = batch.bytes().len();
    let rules = RecordRules {
        compacted: config.compacted,
        timestamp_type: if config.log_append_time {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        },
        now_ms,
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        decompressed_bytes_max: (size * DECOMPRESSION_RATIO_MAX).min(decompressed_bytes_max),
    };
    let facts = validate_records(&batch, &rules).map_err(|invalid| match invalid {
        InvalidRecords::Batch(e) => AppendError::Batch(e),
        InvalidRecords::Records { error, errors } => AppendError::Records(error, errors),
    })?;
    Ok(Validated { batch, max_timestamp: facts.max_timestamp })
}
