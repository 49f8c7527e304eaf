//! Where our errors become Kafka's codes: exhaustive matches, one place.

use protocol::error::ErrorCode;
use s3stream::journal::ProposeError;
use s3stream::wal::NoRoom;

use crate::partition::ReadRefused;
use crate::partition::append::AppendError;
use crate::partition::producer_state::SequenceError;
use crate::partition::trim::TrimRefused;

/// What a producer is told.
pub fn append_error_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Batch(e) => e.error_code(),
        AppendError::Records(code, _) => *code,
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
        // INVALID_PRODUCER_EPOCH and not PRODUCER_FENCED: abortable since 2.7 (KAFKA-9911).
        AppendError::Sequence(SequenceError::StaleEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
        AppendError::Deleted => ErrorCode::UnknownTopicOrPartition,
        // The records may be in the bucket or not: retriable, and safe for idempotent producers (I4).
        AppendError::LaneEnded(_) => ErrorCode::NotLeaderOrFollower,
        AppendError::Blocked => ErrorCode::KafkaStorageError,
        AppendError::NoSpace => ErrorCode::KafkaStorageError,
        AppendError::TimedOut => ErrorCode::RequestTimedOut,
    }
}

/// What a producer is told when the lane has no room for it.
pub fn no_room_code(error: &NoRoom) -> ErrorCode {
    match error {
        NoRoom::Ended(_) => ErrorCode::NotLeaderOrFollower,
        NoRoom::StoreRefuses(_) => ErrorCode::KafkaStorageError,
    }
}

/// What a consumer is told.
pub fn read_error_code(error: &ReadRefused) -> ErrorCode {
    match error {
        ReadRefused::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        // Retriable: never OFFSET_OUT_OF_RANGE, which would make consumers reset.
        ReadRefused::Blocked => ErrorCode::KafkaStorageError,
        ReadRefused::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        ReadRefused::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
    }
}

/// What who deletes records is told.
pub fn trim_error_code(error: &TrimRefused) -> ErrorCode {
    match error {
        TrimRefused::Policy => ErrorCode::PolicyViolation,
        TrimRefused::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        TrimRefused::Blocked => ErrorCode::KafkaStorageError,
        TrimRefused::Deleted => ErrorCode::UnknownTopicOrPartition,
    }
}

/// What the sender of a change of metadata is told, beside what the handler has checked itself.
pub fn propose_error_code(error: &ProposeError) -> ErrorCode {
    match error {
        // Judged on an image that changed since the handler looked.
        ProposeError::Refused(_) => ErrorCode::UnknownServerError,
        _ => ErrorCode::RequestTimedOut,
    }
}
