//! What a producer may send: the header's checks, then the records'.
//!
//! Owns: Kafka's order of checks on one partition's records of a Produce request. Does not own sequences and
//! epochs of producers (the partition's admission), nor what the answer looks like.
//!
//! First [`validate_for_produce`], from the header and the CRC alone (`ProduceRequest.validateRecords`,
//! `UnifiedLog.analyzeAndValidateRecords`, `LogValidator.validateBatch`, in this order). Then, for topics
//! that need it, [`validate_records`] reads every record (`LogValidator.validateRecord`). A batch whose inner
//! offsets are not 0..n-1 is not refused but told, to be rewritten.

use bytes::Bytes;
use thiserror::Error;

use crate::compression::Compression;
use crate::error::ErrorCode;
use crate::record_batch::{Batch, BatchError, NO_TIMESTAMP, TimestampType};

/// First Produce version that may carry zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;
/// Record errors kept for an answer; a batch with more is wrong in the same way throughout.
const RECORD_ERRORS_MAX: usize = 100;

/// What the header of a batch is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceRules {
    /// Version of the Produce request.
    pub api_version: i16,
    /// The topic's `max.message.bytes`.
    pub message_bytes_max: usize,
    /// Control batches are welcome: the sender is a broker, not a client.
    pub allow_control: bool,
}

/// Takes one partition's records of a Produce request: exactly one batch, whole, with the right CRC.
pub fn validate_for_produce(records: Option<Bytes>, rules: &ProduceRules) -> Result<Batch, BatchError> {
    let batch = Batch::parse(records.unwrap_or_default())?;
    let header = *batch.header();
    let compression = header.compression()?;
    if compression == Compression::Zstd && rules.api_version < ZSTD_SINCE {
        return Err(BatchError::ZstdTooOld { version: rules.api_version });
    }
    if header.base_offset != 0 {
        return Err(BatchError::BaseOffsetFromClient { base_offset: header.base_offset });
    }
    if header.size() > rules.message_bytes_max {
        return Err(BatchError::TooLarge { bytes: header.size(), bytes_max: rules.message_bytes_max });
    }
    batch.check_crc()?;
    if header.record_count <= 0 {
        return Err(BatchError::BadCount { count: header.record_count });
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count) {
        return Err(BatchError::CountMismatch {
            last_offset_delta: header.last_offset_delta,
            count: header.record_count,
        });
    }
    if header.is_control() && !rules.allow_control {
        return Err(BatchError::ControlFromClient);
    }
    if header.has_producer_id() && header.base_sequence < 0 && !header.is_control() {
        return Err(BatchError::SequenceMissing {
            producer_id: header.producer_id,
            base_sequence: header.base_sequence,
        });
    }
    // Kafka leaves this to its clients; an open transaction of nobody would hold back the last stable offset
    // for ever.
    if header.is_transactional() && !header.has_producer_id() {
        return Err(BatchError::TransactionalWithoutProducer);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::LogAppendTimeFromClient);
    }
    Ok(batch)
}

/// What the records of a batch are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRules {
    /// `cleanup.policy` has `compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type` of the topic; CreateTime bounds hold for CreateTime only.
    pub timestamp_type: TimestampType,
    /// The broker's clock, ms since 1970.
    pub now_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// Most bytes the records may take decompressed.
    pub decompressed_bytes_max: usize,
}

/// What was learnt from reading every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFacts {
    /// Largest timestamp of the records, ms, or -1. Differs from the header's if the producer's header lies:
    /// then stamp with `stamp_max_timestamp`.
    pub max_timestamp: i64,
    /// Which record has it: the first of equals, relative to the base offset.
    pub offset_delta_of_max_timestamp: i32,
    /// Inner offsets are 0..n-1. Some clients leave them all at 0; the log must not, or several records would
    /// have one offset (`LogValidator.validateMessagesAndAssignOffsetsCompressed`; Kafka itself keeps those of
    /// batches that are not compressed).
    pub offsets_count_up: bool,
    /// Bytes of the records, decompressed.
    pub decompressed_bytes: usize,
}

/// One refused record (Produce v8: `RecordErrors`, KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Its place in the batch, from 0.
    pub batch_index: i32,
    /// For people.
    pub message: String,
}

/// Why the records of a batch are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidRecords {
    /// The records cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Some records break the topic's rules; the first hundred are listed.
    #[error("{} records refused, the first: {}", .errors.len(), .errors[0].message)]
    Records {
        /// INVALID_TIMESTAMP if any record's timestamp is why, else INVALID_RECORD.
        error: ErrorCode,
        /// Which, and why. Not empty.
        errors: Vec<RecordError>,
    },
}

impl InvalidRecords {
    /// The partition's error code.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            InvalidRecords::Batch(error) => error.error_code(),
            InvalidRecords::Records { error, .. } => *error,
        }
    }

    /// The records to name in the answer.
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            InvalidRecords::Batch(_) => &[],
            InvalidRecords::Records { errors, .. } => errors,
        }
    }
}

/// Reads every record of a batch that [`validate_for_produce`] took: compacted topics have keys, timestamps lie
/// within the topic's bounds.
pub fn validate_records(batch: &Batch, rules: &RecordRules) -> Result<RecordFacts, InvalidRecords> {
    let mut records = batch.records(rules.decompressed_bytes_max)?;
    let mut facts = RecordFacts {
        max_timestamp: NO_TIMESTAMP,
        offset_delta_of_max_timestamp: 0,
        offsets_count_up: true,
        decompressed_bytes: records.body_bytes(),
    };
    let mut errors = Vec::new();
    let mut invalid_timestamp = false;
    for (index, record) in (0i32..).zip(std::iter::from_fn(|| records.next_outline())) {
        let record = record?;
        let mut refuse = |message: String| {
            if errors.len() < RECORD_ERRORS_MAX {
                errors.push(RecordError { batch_index: index, message });
            }
        };
        facts.offsets_count_up &= record.offset_delta == index;
        if rules.compacted && record.key.is_none() {
            refuse("Compacted topic cannot accept message without key".to_string());
        } else if !timestamp_is_within(record.timestamp, rules) {
            invalid_timestamp = true;
            refuse(format!(
                "Timestamp {} of message with offset {} is out of range. The timestamp should be within [{}, {}]",
                record.timestamp,
                record.offset,
                rules.now_ms.saturating_sub(rules.timestamp_before_max_ms),
                rules.now_ms.saturating_add(rules.timestamp_after_max_ms)
            ));
        }
        if record.timestamp > facts.max_timestamp {
            facts.max_timestamp = record.timestamp;
            facts.offset_delta_of_max_timestamp = index;
        }
    }
    if !errors.is_empty() {
        let error = if invalid_timestamp { ErrorCode::InvalidTimestamp } else { ErrorCode::InvalidRecord };
        return Err(InvalidRecords::Records { error, errors });
    }
    Ok(facts)
}

/// Kafka's `LogValidator.recordHasInvalidTimestamp`, turned round. A record without a timestamp is welcome.
fn timestamp_is_within(timestamp: i64, rules: &RecordRules) -> bool {
    if rules.timestamp_type == TimestampType::LogAppendTime || timestamp == NO_TIMESTAMP {
        return true;
    }
    let age = i128::from(rules.now_ms) - i128::from(timestamp);
    age <= i128::from(rules.timestamp_before_max_ms) && -age <= i128::from(rules.timestamp_after_max_ms)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
