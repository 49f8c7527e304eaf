//! Batches against an independent encoder and decoder, and against lies.

use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as CodecCompression, Record as CodecRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType as CodecTimestampType,
};
use proptest::prelude::*;

use super::*;
use crate::batch_builder::{BatchBuilder, emptied};
use crate::control_batch::{
    EndTransaction, EndTransactionMarker, end_transaction_batch, parse_control_batch,
};
use crate::record::Record;

const LIMIT: usize = 1 << 20;
const CODECS: [(Compression, CodecCompression); 5] = [
    (Compression::None, CodecCompression::None),
    (Compression::Gzip, CodecCompression::Gzip),
    (Compression::Snappy, CodecCompression::Snappy),
    (Compression::Lz4, CodecCompression::Lz4),
    (Compression::Zstd, CodecCompression::Zstd),
];

/// A record to be written: timestamp, key, value, headers.
#[derive(Debug, Clone)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn any_plain() -> impl Strategy<Value = Plain> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    // Distinct header keys: the independent codec keeps headers in a map.
    let headers = prop::collection::btree_map("[a-z]{0,5}", bytes(), 0..4);
    (0i64..1 << 45, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Plain {
        timestamp,
        key,
        value,
        headers: headers.into_iter().collect(),
    })
}

fn build(records: &[Plain], compression: Compression) -> Bytes {
    let mut builder =
        BatchBuilder::new().base_offset(1000).leader_epoch(7).producer(5, 3, 40).compression(compression);
    for record in records {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        builder = builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
    builder.build()
}

fn as_codec(index: usize, record: &Plain) -> CodecRecord {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Bytes::from);
    CodecRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 7,
        producer_id: 5,
        producer_epoch: 3,
        timestamp_type: CodecTimestampType::Creation,
        offset: 1000 + index as i64,
        sequence: 40 + index as i32,
        timestamp: record.timestamp,
        key: bytes(&record.key),
        value: bytes(&record.value),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| (StrBytes::from_string(key.clone()), bytes(value)))
            .collect(),
    }
}

fn assert_same(ours: &Record, index: usize, plain: &Plain) {
    assert_eq!(ours.offset, 1000 + index as i64);
    assert_eq!(ours.offset_delta, index as i32);
    assert_eq!(ours.timestamp, plain.timestamp);
    assert_eq!(ours.key.as_deref(), plain.key.as_deref());
    assert_eq!(ours.value.as_deref(), plain.value.as_deref());
    let headers: Vec<_> = ours.headers.iter().map(|header| (header.key, header.value)).collect();
    let expected: Vec<_> = plain
        .headers
        .iter()
        .map(|(key, value)| (Bytes::from(key.clone()), value.clone().map(Bytes::from)))
        .collect();
    assert_eq!(headers, expected);
    assert_eq!(ours.headers.len(), expected.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_independent_decoder_reads_what_we_write(records in prop::collection::vec(any_plain(), 1..20)) {
        for (ours, theirs) in CODECS {
            let mut bytes = build(&records, ours);
            let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
            prop_assert_eq!(set.compression as i16, theirs as i16);
            let expected: Vec<_> = records.iter().enumerate().map(|(i, plain)| as_codec(i, plain)).collect();
            prop_assert_eq!(set.records, expected);
        }
    }

    #[test]
    fn we_read_what_an_independent_encoder_writes(records in prop::collection::vec(any_plain(), 1..20)) {
        for (ours, theirs) in CODECS {
            let options = RecordEncodeOptions { version: 2, compression: theirs };
            let codec: Vec<_> = records.iter().enumerate().map(|(i, plain)| as_codec(i, plain)).collect();
            let mut bytes = bytes::BytesMut::new();
            RecordBatchEncoder::encode(&mut bytes, codec.iter(), &options).unwrap();
            let batch = Batch::parse(bytes.freeze()).unwrap();
            batch.check_crc().unwrap();
            let header = batch.header();
            prop_assert_eq!(header.compression().unwrap(), ours);
            prop_assert_eq!((header.base_offset, header.last_offset()), (1000, 999 + records.len() as i64));
            prop_assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (5, 3, 40));
            prop_assert_eq!(header.max_timestamp, records.iter().map(|r| r.timestamp).max().unwrap());
            let read: Result<Vec<_>, _> = batch.records(LIMIT).unwrap().collect();
            let read = read.unwrap();
            prop_assert_eq!(read.len(), records.len());
            for (index, (record, plain)) in read.iter().zip(&records).enumerate() {
                assert_same(record, index, plain);
            }
        }
    }

    /// Whatever the bytes, reading them ends, and gives no more records than the bytes can hold.
    #[test]
    fn mutated_batches_never_panic(
        records in prop::collection::vec(any_plain(), 1..5),
        codec in 0usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = build(&records, CODECS[codec].0).to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for batch in split_batches(Bytes::from(bytes)).flatten() {
            if let Ok(records) = batch.records(LIMIT) {
                let body_bytes = records.body_bytes();
                prop_assert!(body_bytes <= LIMIT.max(batch.bytes().len()));
                let read = records.filter_map(Result::ok).map(|r| 1 + r.headers.iter().count()).sum::<usize>();
                prop_assert!(read <= body_bytes);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for batch in split_batches(Bytes::from(bytes)) {
            let _ = batch.map(|batch| batch.records(LIMIT).map(Iterator::count));
        }
    }
}

#[test]
fn headers_keep_their_order_and_their_duplicates() {
    let headers: &[(&str, Option<&[u8]>)] =
        &[("b", Some(b"1")), ("a", None), ("b", Some(b"2")), ("b", Some(b"1"))];
    let bytes = BatchBuilder::new().append(1, None, None, headers).build();
    let batch = Batch::parse(bytes).unwrap();
    let record = batch.records(LIMIT).unwrap().next().unwrap().unwrap();
    let read: Vec<_> = record.headers.iter().map(|header| (header.key, header.value)).collect();
    let expected: Vec<_> = headers
        .iter()
        .map(|(key, value)| (Bytes::copy_from_slice(key.as_bytes()), value.map(Bytes::copy_from_slice)))
        .collect();
    assert_eq!(read, expected);
    let again = BatchBuilder::like(batch.header(), Compression::None).append_record(&record).build();
    assert_eq!(again, batch.bytes(), "a batch rewritten with all its records is the same batch");
}

#[test]
fn the_header_is_61_bytes_in_kafkas_order() {
    let header = BatchHeader {
        base_offset: 0x0102030405060708,
        batch_length: 49,
        partition_leader_epoch: 0x11121314,
        magic: 2,
        crc: 0x21222324,
        attributes: 0x78,
        last_offset_delta: 0x31323334,
        base_timestamp: 0x4142434445464748,
        max_timestamp: 0x5152535455565758,
        producer_id: 0x6162636465666768,
        producer_epoch: 0x7172,
        base_sequence: 0x01020304,
        record_count: 5,
    };
    let golden = "0102030405060708\
                  00000031\
                  11121314\
                  02\
                  21222324\
                  0078\
                  31323334\
                  4142434445464748\
                  5152535455565758\
                  6162636465666768\
                  7172\
                  01020304\
                  00000005";
    let bytes = header.to_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden);
    assert_eq!(BatchHeader::parse(&bytes), Ok(header));
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert!(header.is_transactional() && header.is_control());
    assert_eq!(header.delete_horizon(), Some(header.base_timestamp));
}

#[test]
fn crc_is_castagnoli() {
    // RFC 3720, B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8a9136aa);
    assert_eq!(crc32c(b"123456789"), 0xe3069283);
}

#[test]
fn stamping_offsets_leaves_the_crc_true_and_the_body_alone() {
    let batch = Batch::parse(BatchBuilder::new().append(5, Some(b"k"), Some(b"v"), &[]).build()).unwrap();
    let stamped = stamp(batch.header(), 1 << 40, 9);
    assert_eq!(stamped[16..], batch.bytes()[16..HEADER_BYTES], "only offset and leader epoch differ");
    let whole = Bytes::from([&stamped[..], &batch.body()].concat());
    let stored = Batch::parse(whole).unwrap();
    stored.check_crc().unwrap();
    assert_eq!((stored.header().base_offset, stored.header().partition_leader_epoch), (1 << 40, 9));
    let record = stored.records(LIMIT).unwrap().next().unwrap().unwrap();
    assert_eq!((record.offset, record.timestamp), (1 << 40, 5));
}

#[test]
fn stamping_log_append_time_gives_every_record_the_brokers_clock_and_a_new_crc() {
    for (compression, _) in CODECS {
        let builder = BatchBuilder::new().compression(compression);
        let bytes = builder.append(5, None, Some(b"a"), &[]).append(6, None, Some(b"b"), &[]).build();
        let batch = Batch::parse(bytes).unwrap();
        let stamped = stamp_log_append_time(&batch, 100, 2, 777);
        let stored = Batch::parse(Bytes::from([&stamped[..], &batch.body()].concat())).unwrap();
        stored.check_crc().unwrap();
        assert_eq!(stored.header().timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(stored.header().compression(), Ok(compression));
        let times: Vec<_> = stored.records(LIMIT).unwrap().map(|r| r.unwrap().timestamp).collect();
        assert_eq!(times, [777, 777]);
        let corrected = stamp_max_timestamp(&batch, 100, 2, 888);
        let corrected = Batch::parse(Bytes::from([&corrected[..], &batch.body()].concat())).unwrap();
        corrected.check_crc().unwrap();
        assert_eq!(corrected.header().max_timestamp, 888);
        assert_eq!(corrected.header().timestamp_type(), TimestampType::CreateTime);
    }
}

#[test]
fn a_log_range_splits_into_its_batches_and_a_torn_tail_is_an_error() {
    let one = BatchBuilder::new().base_offset(0).append(1, None, Some(b"a"), &[]).build();
    let two = BatchBuilder::new().base_offset(1).append(1, None, Some(b"bb"), &[]).build();
    let range = Bytes::from([&one[..], &two].concat());
    let offsets: Vec<_> =
        split_batches(range.clone()).map(|batch| batch.unwrap().header().base_offset).collect();
    assert_eq!(offsets, [0, 1]);
    for cut in 1..two.len() {
        let mut torn = split_batches(range.slice(..range.len() - cut));
        assert!(torn.next().unwrap().is_ok());
        assert!(matches!(torn.next(), Some(Err(BatchError::Truncated { .. }))), "{cut}");
        assert_eq!(torn.next(), None, "nothing is read after an error");
    }
    assert_eq!(split_batches(Bytes::new()).next(), None);
    let first = split_batches(range.clone()).next().unwrap().unwrap();
    assert_eq!(first.bytes().as_ptr(), range.as_ptr(), "batches are slices");
}

#[test]
fn sequences_wrap_after_the_largest() {
    let header = |base_sequence, records: usize| {
        let mut builder = BatchBuilder::new().producer(1, 0, base_sequence);
        for _ in 0..records {
            builder = builder.append(0, None, None, &[]);
        }
        *Batch::parse(builder.build()).unwrap().header()
    };
    assert_eq!(header(10, 3).last_sequence(), 12);
    assert_eq!(header(i32::MAX - 1, 2).last_sequence(), i32::MAX);
    assert_eq!(header(i32::MAX - 1, 3).last_sequence(), 0);
    assert_eq!(header(i32::MAX, 3).last_sequence(), 1);
    assert_eq!(header(NO_SEQUENCE, 3).last_sequence(), NO_SEQUENCE);
}

/// The batch with its count of records and last offset delta replaced, CRC made true again.
fn with_header(bytes: &Bytes, change: impl Fn(&mut BatchHeader)) -> Bytes {
    let batch = Batch::parse(bytes.clone()).unwrap();
    let mut header = *batch.header();
    change(&mut header);
    Bytes::from([&seal_crc(&header, &batch.body())[..], &batch.body()].concat())
}

#[test]
fn counts_that_lie_are_found_and_never_allocate() {
    let honest =
        BatchBuilder::new().append(0, None, Some(b"a"), &[]).append(0, None, Some(b"b"), &[]).build();
    let read = |count: i32| {
        let bytes = with_header(&honest, |header| header.record_count = count);
        let batch = Batch::parse(bytes).unwrap();
        batch.records(LIMIT).and_then(|records| records.collect::<Result<Vec<_>, _>>()).map(|r| r.len())
    };
    assert_eq!(read(2), Ok(2));
    assert!(matches!(read(1), Err(BatchError::TrailingBytes { count: 1, .. })));
    assert!(matches!(read(i32::MAX), Err(BatchError::Record { index: 2, fault: RecordFault::EndsEarly })));
    assert_eq!(read(-1), Err(BatchError::BadCount { count: -1 }));
}

#[test]
fn record_lengths_and_header_counts_that_lie_are_found() {
    // One record each: length, attributes, timestamp delta, offset delta, key, value, header count.
    for (body, fault) in [
        (&[12, 0, 0, 0, 1, 1, 0][..], None),
        (&[14, 0, 0, 0, 1, 1, 0], Some(RecordFault::EndsEarly)),
        (&[10, 0, 0, 0, 1, 1, 0], Some(RecordFault::EndsEarly)),
        (&[14, 0, 0, 0, 1, 1, 0, 0], Some(RecordFault::UnusedBytes { unused: 1 })),
        (&[1, 0, 0, 0, 1, 1, 0], Some(RecordFault::BadLength { length: -1 })),
        (&[12, 0, 0, 0, 100, 1, 0], Some(RecordFault::EndsEarly)),
        (&[12, 0, 0, 0, 1, 1, 1], Some(RecordFault::BadLength { length: -1 })),
        (&[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f], Some(RecordFault::EndsEarly)),
        (&[12, 0, 0, 0, 1, 1, 0xff], Some(RecordFault::EndsEarly)),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(RecordFault::BadVarint)),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], Some(RecordFault::BadLength { length: -1 })),
    ] {
        let empty = Batch::parse(BatchBuilder::new().build()).unwrap();
        let header = BatchHeader {
            record_count: 1,
            last_offset_delta: 0,
            batch_length: 49 + body.len() as i32,
            base_timestamp: 0,
            ..*empty.header()
        };
        let bytes = Bytes::from([&seal_crc(&header, body)[..], body].concat());
        let first = Batch::parse(bytes).unwrap().records(LIMIT).unwrap().next().unwrap();
        let expected = fault.map(|fault| BatchError::Record { index: 0, fault });
        assert_eq!(first.err(), expected, "{body:?}");
    }
}

#[test]
fn nothing_is_read_after_a_malformed_record() {
    let honest = BatchBuilder::new().append(0, None, None, &[]).append(0, None, None, &[]).build();
    // The first record's length says one byte more than it has; the second would still read well.
    let mut bytes = honest.to_vec();
    bytes[HEADER_BYTES] += 2;
    let mut records = Batch::parse(Bytes::from(bytes)).unwrap().records(LIMIT).unwrap();
    assert!(records.next().unwrap().is_err());
    assert_eq!(records.next(), None);
}

#[test]
fn records_written_with_holes_keep_their_offsets() {
    let builder = BatchBuilder::new().base_offset(10).append_at(1, 0, None, None, &[]);
    let bytes = builder.append_at(5, 0, None, None, &[]).append(0, None, None, &[]).build();
    let batch = Batch::parse(bytes).unwrap();
    assert_eq!((batch.header().last_offset(), batch.header().record_count), (16, 3));
    let offsets: Vec<_> = batch.records(LIMIT).unwrap().map(|record| record.unwrap().offset).collect();
    assert_eq!(offsets, [11, 15, 16]);
}

#[test]
fn two_gibibytes_of_zeros_are_refused_at_the_limit() {
    // 128 members or frames of 16 MiB each: two gibibytes from a few megabytes at most.
    let zeros = vec![0u8; 16 << 20];
    for (codec, _) in &CODECS[1..] {
        let member = crate::compression::compress(*codec, &zeros);
        let body = member.repeat(128);
        let empty = Batch::parse(BatchBuilder::new().compression(*codec).build()).unwrap();
        let header = BatchHeader { record_count: 1, batch_length: 49 + body.len() as i32, ..*empty.header() };
        let bytes = Bytes::from([&seal_crc(&header, &body)[..], &body].concat());
        let refused = Batch::parse(bytes).unwrap().records(LIMIT).unwrap_err();
        assert_eq!(
            refused,
            BatchError::Compression(CompressionError::TooLarge { codec: *codec, limit: LIMIT })
        );
    }
}

#[test]
fn formats_before_v2_and_impossible_lengths_are_named() {
    let good = BatchBuilder::new().append(0, None, None, &[]).build().to_vec();
    let parse = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        Batch::parse(Bytes::from(bad))
    };
    assert_eq!(parse(16, &[1]), Err(BatchError::BadMagic { magic: 1 }));
    assert_eq!(parse(16, &[0]), Err(BatchError::BadMagic { magic: 0 }));
    assert_eq!(parse(8, &48i32.to_be_bytes()), Err(BatchError::BadLength { length: 48 }));
    assert_eq!(parse(8, &(-1i32).to_be_bytes()), Err(BatchError::BadLength { length: -1 }));
    assert!(matches!(parse(8, &i32::MAX.to_be_bytes()), Err(BatchError::Truncated { .. })));
    assert!(matches!(parse(8, &49i32.to_be_bytes()), Err(BatchError::MoreThanOneBatch { .. })));
    // A message of format v1 can be shorter than our header; it is old, not torn.
    assert_eq!(
        Batch::parse(Bytes::from(good[..16].iter().copied().chain([1]).collect::<Vec<_>>())),
        Err(BatchError::BadMagic { magic: 1 })
    );
}

#[test]
fn log_compaction_keeps_what_it_must_of_a_batch() {
    let original = BatchBuilder::new()
        .base_offset(50)
        .leader_epoch(4)
        .producer(9, 1, 100)
        .transactional(true)
        .append(10, Some(b"a"), Some(b"1"), &[])
        .append(30, Some(b"b"), Some(b"2"), &[])
        .append(20, Some(b"c"), Some(b"3"), &[]);
    let original = Batch::parse(original.build()).unwrap();
    let middle = original.records(LIMIT).unwrap().nth(1).unwrap().unwrap();
    let kept = BatchBuilder::like(original.header(), Compression::Lz4).append_record(&middle).build();
    let kept = Batch::parse(kept).unwrap();
    kept.check_crc().unwrap();
    let (before, after) = (original.header(), kept.header());
    assert_eq!((after.base_offset, after.last_offset(), after.last_sequence()), (50, 52, 102));
    assert_eq!(after.partition_leader_epoch, before.partition_leader_epoch);
    assert!(after.is_transactional());
    assert_eq!((after.record_count, after.max_timestamp), (1, 30));
    let record = kept.records(LIMIT).unwrap().next().unwrap().unwrap();
    assert_eq!((record.offset, record.timestamp, record.value.as_deref()), (51, 30, Some(&b"2"[..])));
    let compressed =
        BatchBuilder::like(before, Compression::Lz4).delete_horizon(9_000).append_record(&middle);
    let compressed = Batch::parse(compressed.build()).unwrap();
    let emptied = Batch::parse(emptied(compressed.header())).unwrap();
    emptied.check_crc().unwrap();
    assert_eq!(emptied.records(LIMIT).unwrap().count(), 0);
    let expected = BatchHeader {
        batch_length: 49,
        crc: emptied.header().crc,
        base_timestamp: NO_TIMESTAMP,
        max_timestamp: 30,
        record_count: 0,
        ..*before
    };
    assert_eq!(*emptied.header(), expected, "neither codec nor horizon is left");
}

/// Timestamps and offsets whose deltas take from one byte to the most.
fn spread() -> Batch {
    let big = vec![b'v'; 300];
    let headers: &[(&str, Option<&[u8]>)] = &[("h", Some(b"1")), ("h", None), ("", Some(b""))];
    let builder = BatchBuilder::new()
        .append_at(0, 1_000, Some(b"a"), Some(&big), headers)
        .append_at(63, 0, None, Some(b""), &[])
        .append_at(64, 1_000 + 63, Some(b""), None, headers)
        .append_at(70_000, 1_700_000_000_000, Some(&big), Some(&big), &[]);
    Batch::parse(builder.build()).unwrap()
}

#[test]
fn a_view_is_the_record_without_copies() {
    let batch = spread();
    let mut views = batch.records(LIMIT).unwrap();
    for record in batch.records(LIMIT).unwrap() {
        let record = record.unwrap();
        let view = views.next_view().unwrap().unwrap();
        assert_eq!(
            (view.offset, view.offset_delta, view.timestamp, view.key, view.value),
            (
                record.offset,
                record.offset_delta,
                record.timestamp,
                record.key.as_deref(),
                record.value.as_deref()
            )
        );
    }
    assert!(views.next_view().is_none());
}

#[test]
fn a_batch_rebuilt_from_views_is_the_one_rebuilt_from_records() {
    let batch = spread();
    for horizon in [None, Some(0), Some(1_000), Some(1_800_000_000_000)] {
        let start = || {
            let builder = BatchBuilder::like(batch.header(), Compression::None);
            horizon.into_iter().fold(builder, |builder, ms| builder.delete_horizon(ms))
        };
        let (mut by_view, mut by_record) = (start(), start());
        let mut views = batch.records(LIMIT).unwrap();
        while let Some(view) = views.next_view() {
            by_view = by_view.append_view(&view.unwrap());
        }
        for record in batch.records(LIMIT).unwrap() {
            by_record = by_record.append_record(&record.unwrap());
        }
        assert_eq!(by_view.build(), by_record.build(), "{horizon:?}");
    }
}

#[test]
fn a_delete_horizon_takes_the_place_of_the_base_timestamp_and_timestamps_stay() {
    let bytes = BatchBuilder::new().delete_horizon(5_000).append(70, Some(b"k"), None, &[]).build();
    let batch = Batch::parse(bytes).unwrap();
    assert_eq!(batch.header().delete_horizon(), Some(5_000));
    assert_eq!(batch.records(LIMIT).unwrap().next().unwrap().unwrap().timestamp, 70);
}

#[test]
fn end_transaction_markers_are_read_back_and_by_the_independent_decoder() {
    for kind in [EndTransaction::Abort, EndTransaction::Commit] {
        let marker = EndTransactionMarker { kind, coordinator_epoch: 12 };
        let bytes = end_transaction_batch(77, 5, 1234, marker);
        let batch = Batch::parse(bytes.clone()).unwrap();
        assert_eq!(parse_control_batch(&batch), Ok(Some(marker)));
        let header = batch.header();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, 5, -1));
        assert_eq!((header.record_count, header.last_offset_delta), (1, 0));
        let set = RecordBatchDecoder::decode(&mut bytes.clone()).unwrap();
        let record = &set.records[0];
        let kind = if kind == EndTransaction::Abort { 0 } else { 1 };
        assert!(record.control && record.transactional);
        assert_eq!(record.key.as_deref(), Some(&[0, 0, 0, kind][..]));
        assert_eq!(record.value.as_deref(), Some(&[0, 0, 0, 0, 0, 12][..]));
    }
}

#[test]
fn control_records_of_other_types_are_skipped_and_torn_ones_are_errors() {
    let control = |key: &[u8], value: &[u8]| {
        let builder = BatchBuilder::new().control(true).append(0, Some(key), Some(value), &[]);
        parse_control_batch(&Batch::parse(builder.build()).unwrap())
    };
    assert_eq!(control(&[0, 0, 0, 2], &[]), Ok(None), "leader change");
    assert!(control(&[0, 0, 0], &[0; 6]).is_err());
    assert!(control(&[0, 0, 0, 1], &[0; 5]).is_err());
    let empty = Batch::parse(BatchBuilder::new().control(true).build()).unwrap();
    assert_eq!(parse_control_batch(&empty), Ok(None));
}
