//! Judging a batch before it is appended, in Kafka's order (PROTOCOL 2.1; `LogValidator`, `UnifiedLog.append`). Pure.

use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::compression::Compression;
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
    let batch = match config.compression {
        Some(codec) if codec != batch.header().compression()? => {
            recompressed(&batch, codec, rules.decompressed_bytes_max, config.max_message_bytes as usize)?
        }
        _ => batch,
    };
    Ok(Validated { batch, max_timestamp: facts.max_timestamp })
}

/// The batch in the codec of its topic. Its size is judged once more: `UnifiedLog.append` does, too.
fn recompressed(
    batch: &Batch,
    codec: Compression,
    decompressed_bytes_max: usize,
    bytes_max: usize,
) -> Result<Batch, BatchError> {
    let mut builder = BatchBuilder::like(batch.header(), codec);
    for record in batch.records(decompressed_bytes_max)? {
        builder = builder.append_record(&record?);
    }
    let rebuilt = Batch::parse(builder.build())?;
    match rebuilt.header().size() {
        bytes if bytes > bytes_max => Err(BatchError::TooLarge { bytes, bytes_max }),
        _ => Ok(rebuilt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::topic_keys;
    use crate::config::{BrokerConfig, Values};

    fn topic(settings: &[(&str, &str)]) -> TopicConfig {
        let broker: Values = BrokerConfig::read([].into_iter()).unwrap().values;
        TopicConfig::read(&topic_keys::effective(&broker, settings.iter().copied()))
    }

    fn batch(codec: Compression) -> Bytes {
        let builder = BatchBuilder::new().compression(codec).producer(7, 1, 3);
        let twice = [("h", Some(&b"1"[..])), ("h", None)];
        (0..50i64).fold(builder, |b, i| b.append(100 - i, Some(b"key"), Some(&[b'v'; 100]), &twice)).build()
    }

    #[test]
    fn a_topics_codec_is_what_its_batches_are_stored_in() {
        let producer = topic(&[]);
        for (sent, wanted) in
            [(Compression::None, "zstd"), (Compression::Gzip, "uncompressed"), (Compression::Lz4, "snappy")]
        {
            let original = Batch::parse(batch(sent)).unwrap();
            let kept = validate(Some(batch(sent)), 9, &producer, 0, 1 << 20).unwrap();
            assert_eq!(kept.batch.bytes(), original.bytes(), "producer keeps what was sent");

            let stored =
                validate(Some(batch(sent)), 9, &topic(&[("compression.type", wanted)]), 0, 1 << 20).unwrap();
            let codec = Compression::from_topic_config(wanted).unwrap();
            assert_eq!(stored.batch.header().compression(), Ok(codec));
            stored.batch.check_crc().unwrap();
            let header = |b: &Batch| {
                let h = b.header();
                (
                    h.record_count,
                    h.last_offset_delta,
                    h.max_timestamp,
                    h.producer_id,
                    h.producer_epoch,
                    h.base_sequence,
                )
            };
            assert_eq!(header(&stored.batch), header(&original));
            let records = |b: &Batch| -> Vec<_> {
                let all = b.records(1 << 20).unwrap().map(Result::unwrap);
                all.map(|r| (r.offset, r.timestamp, r.key, r.value, r.headers.iter().count())).collect()
            };
            assert_eq!(records(&stored.batch), records(&original), "{sent:?} as {wanted}");
        }
    }

    #[test]
    fn a_batch_that_its_topics_codec_makes_too_large_is_refused() {
        let config = topic(&[("compression.type", "uncompressed"), ("max.message.bytes", "2000")]);
        let refused = validate(Some(batch(Compression::Zstd)), 9, &config, 0, 1 << 20).unwrap_err();
        assert!(matches!(refused, AppendError::Batch(BatchError::TooLarge { .. })), "{refused}");
    }
}
