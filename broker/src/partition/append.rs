//! Judging a batch before it is appended, in Kafka's order (PROTOCOL 2.1; `LogValidator`, `UnifiedLog.append`). Pure.

use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::compression::Compression;
use protocol::error::ErrorCode;
use protocol::record::Record;
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
    #[error("{}", rejected(*.0, .1))]
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

/// In Kafka's words (`LogValidator.processRecordErrors`).
fn rejected(code: ErrorCode, errors: &[RecordError]) -> String {
    if code == ErrorCode::InvalidTimestamp {
        return "One or more records have been rejected due to invalid timestamp".into();
    }
    let shown = errors.iter().take(3);
    let shown = shown.map(|e| format!("RecordError(batchIndex={}, message='{}')", e.batch_index, e.message));
    format!(
        "One or more records have been rejected due to {} record errors in total, and only showing the first three errors at \
         most: [{}]",
        errors.len(),
        shown.collect::<Vec<_>>().join(", ")
    )
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
    let own = batch.header().compression()?;
    let codec = config.compression.unwrap_or(own);
    let batch = match codec == own && facts.offsets_count_up {
        true => batch,
        false => rebuilt(&batch, codec, rules.decompressed_bytes_max, config.max_message_bytes as usize)?,
    };
    Ok(Validated { batch, max_timestamp: facts.max_timestamp })
}

/// The batch in the codec of its topic, each record at the next offset. Its size is judged once more: `UnifiedLog.append`
/// does, too.
fn rebuilt(
    batch: &Batch,
    codec: Compression,
    decompressed_bytes_max: usize,
    bytes_max: usize,
) -> Result<Batch, BatchError> {
    let mut builder = BatchBuilder::like(batch.header(), codec);
    for (offset_delta, record) in (0..).zip(batch.records(decompressed_bytes_max)?) {
        builder = builder.append_record(&Record { offset_delta, ..record? });
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
    use protocol::record_batch::{BatchHeader, HEADER_BYTES, LENGTH_OVERHEAD, crc32c};

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

    /// What a client sends that leaves all inner offsets at 0.
    fn without_inner_offsets(values: &[&[u8]]) -> Bytes {
        let one = |value: &&[u8]| Batch::parse(BatchBuilder::new().append(5, None, Some(value), &[]).build());
        let ones: Vec<Batch> = values.iter().map(|value| one(value).unwrap()).collect();
        let body: Vec<u8> = ones.iter().flat_map(|batch| batch.body()).collect();
        let count = values.len() as i32;
        let header = BatchHeader {
            batch_length: (HEADER_BYTES - LENGTH_OVERHEAD + body.len()) as i32,
            last_offset_delta: count - 1,
            record_count: count,
            ..*ones[0].header()
        };
        let crc = crc32c(&[&header.to_bytes()[21..], &body].concat());
        [&BatchHeader { crc, ..header }.to_bytes()[..], &body].concat().into()
    }

    #[test]
    fn records_that_all_say_offset_zero_get_one_each() {
        let sent = without_inner_offsets(&[b"a", b"b"]);
        let kept = validate(Some(sent), 9, &topic(&[]), 5, 1 << 20).unwrap().batch;
        kept.check_crc().unwrap();
        let records: Vec<_> = kept.records(1 << 20).unwrap().map(Result::unwrap).collect();
        let told: Vec<_> = records.iter().map(|r| (r.offset, r.value.as_deref().unwrap())).collect();
        assert_eq!(told, [(0, &b"a"[..]), (1, &b"b"[..])]);
    }

    #[test]
    fn refused_records_are_told_in_kafkas_words() {
        let say = |settings: &[(&str, &str)], batch: BatchBuilder| {
            let refused = validate(Some(batch.build()), 9, &topic(settings), 1_000, 1 << 20).unwrap_err();
            refused.to_string()
        };
        let keyless = |n: i64| (0..n).fold(BatchBuilder::new(), |b, i| b.append(i, None, None, &[]));
        let first = "RecordError(batchIndex=0, message='Compacted topic cannot accept message without key')";
        let told = say(&[("cleanup.policy", "compact")], keyless(4));
        assert!(
            told.starts_with("One or more records have been rejected due to 4 record errors in total"),
            "{told}"
        );
        assert!(
            told.contains(first) && told.contains("batchIndex=2") && !told.contains("batchIndex=3"),
            "{told}"
        );
        let told = say(
            &[("message.timestamp.after.max.ms", "0")],
            BatchBuilder::new().append(1_001, None, None, &[]),
        );
        assert_eq!(told, "One or more records have been rejected due to invalid timestamp");
    }

    #[test]
    fn a_batch_that_its_topics_codec_makes_too_large_is_refused() {
        let config = topic(&[("compression.type", "uncompressed"), ("max.message.bytes", "2000")]);
        let refused = validate(Some(batch(Compression::Zstd)), 9, &config, 0, 1 << 20).unwrap_err();
        assert!(matches!(refused, AppendError::Batch(BatchError::TooLarge { .. })), "{refused}");
    }
}
