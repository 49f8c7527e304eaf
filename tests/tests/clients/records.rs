//! What one record may hold: headers, absent and empty keys and values, its own timestamp, 10 MiB.

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rdkafka::Offset;
use rdkafka::error::RDKafkaErrorCode;

use super::support::{Record, assigned, deliver, read_all, send, take, topic};

#[test]
fn headers_keep_their_order_and_duplicate_keys() {
    let topic = topic("headers", 1, &[]);
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let record = Record {
        headers: vec![
            header("trace", Some(b"1")),
            header("other", Some(b"\x00\xff")),
            header("trace", Some(b"2")),
            header("absent", None),
            header("empty", Some(b"")),
            header("trace", Some(b"1")),
        ],
        timestamp: Some(1_700_000_000_123),
        ..Record::value("with headers")
    };
    let plain = Record { timestamp: Some(1_700_000_000_124), ..Record::value("without") };
    deliver(&topic, &[], &[record.clone(), plain.clone()]);
    let read: Vec<Record> = read_all(&topic, 0).into_iter().map(|r| r.record).collect();
    assert_eq!(read, [record, plain]);
}

#[test]
fn absent_and_empty_keys_and_values_stay_apart() {
    let topic = topic("nulls", 1, &[]);
    let fields = [None, Some(vec![]), Some(b"x".to_vec())];
    let mut records = Vec::new();
    for key in &fields {
        for value in &fields {
            records.push(Record {
                key: key.clone(),
                value: value.clone(),
                timestamp: Some(1_700_000_000_000),
                ..Record::default()
            });
        }
    }
    deliver(&topic, &[], &records);
    let read: Vec<Record> = read_all(&topic, 0).into_iter().map(|r| r.record).collect();
    assert_eq!(read, records);
}

#[test]
fn a_tombstone_in_a_compacted_topic_is_a_key_without_a_value() {
    let topic = topic("tombstone", 1, &[("cleanup.policy", "compact")]);
    let keyed = |value: Option<&str>| Record {
        key: Some(b"k".to_vec()),
        value: value.map(|v| v.as_bytes().to_vec()),
        ..Record::default()
    };
    deliver(&topic, &[], &[keyed(Some("v")), keyed(None)]);
    let read = read_all(&topic, 0);
    let last = &read.last().expect("the newest record is never compacted").record;
    assert_eq!((last.key.as_deref(), &last.value), (Some(&b"k"[..]), &None));
}

#[test]
fn a_compacted_topic_refuses_a_record_without_a_key() {
    let topic = topic("keyless", 1, &[("cleanup.policy", "compact")]);
    let outcome = send(&topic, &[], &[Record::value("no key")]);
    let code = outcome[0].as_ref().unwrap_err().rdkafka_error_code();
    // INVALID_RECORD since Produce v8 (KIP-467).
    assert_eq!(code, Some(RDKafkaErrorCode::InvalidRecord));
    assert_eq!(read_all(&topic, 0), []);
}

#[test]
fn ten_mebibyte_records_pass_when_the_limit_is_raised() {
    let topic = topic("large", 1, &[("max.message.bytes", "12582912")]);
    let records: Vec<Record> = (0..3)
        .map(|seed| {
            let mut value = vec![0; 10 << 20];
            StdRng::seed_from_u64(seed).fill_bytes(&mut value);
            Record { timestamp: Some(1_700_000_000_000), ..Record::value(value) }
        })
        .collect();
    deliver(&topic, &[("message.max.bytes", "12582912")], &records);
    // The consumer's own limits stay small: Kafka returns a first batch whole whatever its size (KIP-74).
    let read = take(&assigned(&topic, 0, Offset::Beginning, &[]), 3);
    for (read, sent) in read.iter().zip(&records) {
        assert!(read.record == *sent, "record {} differs", read.offset);
    }
}

#[test]
fn a_record_above_the_topics_limit_is_refused() {
    let topic = topic("too-large", 1, &[("max.message.bytes", "65536")]);
    let records = [Record::value("small"), Record::value(vec![7; 100_000]), Record::value("small again")];
    // One batch per record, so that the small ones are not refused with the large one.
    let outcome = send(&topic, &[("batch.num.messages", "1"), ("linger.ms", "0")], &records);
    assert_eq!(outcome[0], Ok(0));
    let code = outcome[1].as_ref().unwrap_err().rdkafka_error_code();
    assert_eq!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge));
    assert_eq!(outcome[2], Ok(1));
}
