//! Kafka's order of checks as a table, and what topics ask of records.

use bytes::BytesMut;

use super::*;
use crate::batch_builder::BatchBuilder;
use crate::record_batch::{BatchHeader, HEADER_BYTES, seal_crc};

const RULES: ProduceRules = ProduceRules { api_version: 9, message_bytes_max: 10_000, allow_control: false };
const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_700_000_000_000;
const TOPIC: RecordRules = RecordRules {
    compacted: false,
    timestamp_type: TimestampType::CreateTime,
    now_ms: NOW,
    timestamp_before_max_ms: i64::MAX,
    timestamp_after_max_ms: HOUR,
    decompressed_bytes_max: 1 << 20,
};

fn honest() -> Bytes {
    BatchBuilder::new()
        .append(NOW, Some(b"k"), Some(b"v"), &[])
        .append(NOW + 1, None, Some(b"w"), &[])
        .build()
}

/// The honest batch with a header that says something else, CRC true.
fn saying(change: impl Fn(&mut BatchHeader)) -> Bytes {
    let bytes = honest();
    let mut header = BatchHeader::parse(&bytes).unwrap();
    change(&mut header);
    let body = &bytes[HEADER_BYTES..];
    Bytes::from([&seal_crc(&header, body)[..], body].concat())
}

#[test]
fn what_a_client_may_not_send_and_the_code_it_gets() {
    let mut corrupt = BytesMut::from(&honest()[..]);
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    let twice = Bytes::from([honest(), honest()].concat());
    for (what, records, code) in [
        ("null", None, ErrorCode::InvalidRecord),
        ("empty", Some(Bytes::new()), ErrorCode::InvalidRecord),
        ("cut short", Some(honest().slice(..70)), ErrorCode::InvalidRecord),
        ("cut in the header", Some(honest().slice(..20)), ErrorCode::InvalidRecord),
        ("two batches", Some(twice), ErrorCode::InvalidRecord),
        ("a flipped bit", Some(corrupt.freeze()), ErrorCode::CorruptMessage),
        ("magic 1", Some(saying(|h| h.magic = 1)), ErrorCode::InvalidRecord),
        ("magic 3", Some(saying(|h| h.magic = 3)), ErrorCode::CorruptMessage),
        ("magic -1", Some(saying(|h| h.magic = -1)), ErrorCode::CorruptMessage),
        ("codec 7", Some(saying(|h| h.attributes = 7)), ErrorCode::CorruptMessage),
        ("base offset", Some(saying(|h| h.base_offset = 1)), ErrorCode::InvalidRecord),
        ("count 0", Some(saying(|h| h.record_count = 0)), ErrorCode::InvalidRecord),
        ("count too large", Some(saying(|h| h.record_count = 3)), ErrorCode::InvalidRecord),
        ("count of 2^31", Some(saying(|h| h.record_count = i32::MAX)), ErrorCode::InvalidRecord),
        ("delta -1", Some(saying(|h| h.last_offset_delta = -1)), ErrorCode::InvalidRecord),
        ("delta overflows", Some(saying(|h| h.last_offset_delta = i32::MAX)), ErrorCode::InvalidRecord),
        ("control bit", Some(saying(|h| h.attributes = 1 << 5)), ErrorCode::InvalidRecord),
        ("no sequence", Some(saying(|h| h.producer_id = 5)), ErrorCode::InvalidRecord),
        ("transaction of nobody", Some(saying(|h| h.attributes = 1 << 4)), ErrorCode::InvalidRecord),
        ("log append time", Some(saying(|h| h.attributes = 1 << 3)), ErrorCode::InvalidTimestamp),
    ] {
        let refused = validate_for_produce(records, &RULES).map(|batch| *batch.header()).unwrap_err();
        assert_eq!(refused.error_code(), code, "{what}: {refused}");
    }
    assert!(validate_for_produce(Some(honest()), &RULES).is_ok());
}

#[test]
fn size_is_judged_before_the_crc_and_the_crc_before_the_count() {
    let large_and_corrupt = {
        let mut bytes = BytesMut::from(&saying(|h| h.record_count = 0)[..]);
        bytes[70] ^= 1;
        bytes.freeze()
    };
    let tight = ProduceRules { message_bytes_max: 80, ..RULES };
    let size = large_and_corrupt.len();
    assert_eq!(
        validate_for_produce(
            Some(large_and_corrupt.clone()),
            &ProduceRules { message_bytes_max: size - 1, ..RULES }
        ),
        Err(BatchError::TooLarge { bytes: size, bytes_max: size - 1 })
    );
    assert!(matches!(
        validate_for_produce(Some(large_and_corrupt), &ProduceRules { message_bytes_max: size, ..tight }),
        Err(BatchError::BadCrc { .. })
    ));
}

#[test]
fn zstd_needs_produce_v7() {
    let zstd = BatchBuilder::new().compression(Compression::Zstd).append(NOW, None, None, &[]).build();
    for (api_version, good) in [(3, false), (6, false), (7, true), (13, true)] {
        let answer = validate_for_produce(Some(zstd.clone()), &ProduceRules { api_version, ..RULES });
        let expected = (!good).then_some(ErrorCode::UnsupportedCompressionType);
        assert_eq!(answer.err().map(|error| error.error_code()), expected, "v{api_version}");
    }
}

#[test]
fn brokers_may_write_markers_and_idempotent_batches_pass() {
    let control =
        BatchBuilder::new().control(true).producer(5, 0, -1).append(NOW, Some(b"0000"), None, &[]).build();
    let internal = ProduceRules { allow_control: true, ..RULES };
    assert!(validate_for_produce(Some(control), &internal).is_ok());
    let idempotent = BatchBuilder::new().producer(5, 0, 0).append(NOW, None, None, &[]).build();
    assert!(validate_for_produce(Some(idempotent), &RULES).is_ok());
}

fn judge(bytes: Bytes, rules: &RecordRules) -> Result<RecordFacts, InvalidRecords> {
    validate_records(&validate_for_produce(Some(bytes), &RULES).unwrap(), rules)
}

#[test]
fn the_maximum_timestamp_and_its_first_record_are_found_whatever_the_header_says() {
    let times = [NOW, NOW + 5, NOW + 5, NOW - 1];
    let mut builder = BatchBuilder::new().compression(Compression::Lz4);
    for time in times {
        builder = builder.append(time, None, None, &[]);
    }
    let facts = judge(builder.build(), &TOPIC).unwrap();
    assert_eq!((facts.max_timestamp, facts.offset_delta_of_max_timestamp), (NOW + 5, 1));
    let lying = saying(|header| header.max_timestamp = NOW + 1_000_000);
    assert_eq!(judge(lying, &TOPIC).unwrap().max_timestamp, NOW + 1);
}

#[test]
fn a_compacted_topic_names_every_record_without_a_key() {
    let refused = judge(honest(), &RecordRules { compacted: true, ..TOPIC }).unwrap_err();
    assert_eq!(refused.error_code(), ErrorCode::InvalidRecord);
    let indexes: Vec<_> = refused.record_errors().iter().map(|error| error.batch_index).collect();
    assert_eq!(indexes, [1]);
}

#[test]
fn timestamps_must_lie_within_the_topics_bounds() {
    let bounded = RecordRules { timestamp_before_max_ms: HOUR, ..TOPIC };
    let append_time = RecordRules { timestamp_type: TimestampType::LogAppendTime, ..bounded };
    for (timestamp, rules, good) in [
        (NOW + HOUR, bounded, true),
        (NOW + HOUR + 1, bounded, false),
        (NOW - HOUR, bounded, true),
        (NOW - HOUR - 1, bounded, false),
        (0, TOPIC, true),
        (NO_TIMESTAMP, bounded, true),
        (NOW + HOUR + 1, append_time, true),
        (i64::MAX, bounded, false),
        (i64::MIN, bounded, false),
    ] {
        let bytes = BatchBuilder::new().append(timestamp, None, None, &[]).build();
        let code = judge(bytes, &rules).err().map(|refused| refused.error_code());
        assert_eq!(code, (!good).then_some(ErrorCode::InvalidTimestamp), "{timestamp}");
    }
}

#[test]
fn inner_offsets_that_do_not_count_up_from_zero_are_told() {
    let builder = BatchBuilder::new().append_at(0, NOW, None, None, &[]).append_at(2, NOW, None, None, &[]);
    let bytes = builder.build();
    let mut header = BatchHeader::parse(&bytes).unwrap();
    header.last_offset_delta = 1;
    let holed =
        Bytes::from([&seal_crc(&header, &bytes[HEADER_BYTES..])[..], &bytes[HEADER_BYTES..]].concat());
    assert!(!judge(holed, &TOPIC).unwrap().offsets_count_up);
    assert!(judge(honest(), &TOPIC).unwrap().offsets_count_up);
}

#[test]
fn a_body_that_does_not_decompress_or_passes_the_limit_is_refused() {
    let large = vec![b'x'; 100_000];
    let builder = BatchBuilder::new().compression(Compression::Gzip).append(NOW, None, Some(&large), &[]);
    let bytes = builder.build();
    let tight = RecordRules { decompressed_bytes_max: 50_000, ..TOPIC };
    assert_eq!(judge(bytes.clone(), &tight).unwrap_err().error_code(), ErrorCode::MessageTooLarge);
    let facts = judge(bytes, &TOPIC).unwrap();
    assert!(facts.decompressed_bytes > 100_000);
    let not_gzip = saying(|header| header.attributes = 1);
    assert_eq!(judge(not_gzip, &TOPIC).unwrap_err().error_code(), ErrorCode::InvalidRecord);
}

#[test]
fn record_errors_are_listed_up_to_a_bound() {
    let mut builder = BatchBuilder::new();
    for _ in 0..500 {
        builder = builder.append(NOW, None, None, &[]);
    }
    let refused = judge(builder.build(), &RecordRules { compacted: true, ..TOPIC }).unwrap_err();
    assert_eq!(refused.record_errors().len(), RECORD_ERRORS_MAX);
}
