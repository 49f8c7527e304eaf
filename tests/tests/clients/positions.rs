//! Where a consumer may begin: an offset, a time, either end, or outside of what there is.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::support::{PATIENCE, Record, assigned, deliver, take, topic, until};

const BASE: i64 = 1_700_000_000_000;

/// 100 records, 10 ms apart, in batches of 10.
fn timed_topic(name: &str, codec: &str) -> String {
    let topic = topic(name, 1, &[]);
    let records: Vec<Record> = (0..100)
        .map(|i| Record { timestamp: Some(BASE + i * 10), ..Record::value(format!("{i}")) })
        .collect();
    let settings = [("compression.type", codec), ("batch.num.messages", "10"), ("linger.ms", "100")];
    let offsets = deliver(&topic, &settings, &records);
    assert_eq!(offsets, (0..100).collect::<Vec<i64>>());
    topic
}

fn offset_for_time(consumer: &BaseConsumer, topic: &str, time: i64) -> Offset {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(topic, 0, Offset::Offset(time)).unwrap();
    let found = consumer.offsets_for_times(asked, PATIENCE).expect("offsets for times");
    found.find_partition(topic, 0).unwrap().offset()
}

/// ListOffsets by time: the first record whose timestamp is not before the one asked for, inside batches too.
fn seeks_by_time(codec: &str) {
    let topic = timed_topic(&format!("time-{codec}"), codec);
    let consumer = assigned(&topic, 0, Offset::Beginning, &[]);
    for (time, expected) in [
        (0, Offset::Offset(0)),
        (BASE, Offset::Offset(0)),
        (BASE + 1, Offset::Offset(1)),
        (BASE + 90, Offset::Offset(9)),
        (BASE + 91, Offset::Offset(10)),
        (BASE + 345, Offset::Offset(35)),
        (BASE + 990, Offset::Offset(99)),
        (BASE + 991, Offset::End),
    ] {
        assert_eq!(offset_for_time(&consumer, &topic, time), expected, "time BASE + {}", time - BASE);
    }
    let from = offset_for_time(&consumer, &topic, BASE + 500);
    let first = &take(&assigned(&topic, 0, from, &[]), 1)[0];
    assert_eq!((first.offset, first.record.timestamp), (50, Some(BASE + 500)));
}

#[test]
fn a_seek_by_time_is_exact() {
    seeks_by_time("none");
}

#[test]
fn a_seek_by_time_is_exact_inside_compressed_batches() {
    seeks_by_time("zstd");
}

#[test]
fn a_consumer_begins_at_the_offset_it_names() {
    let topic = timed_topic("from-offset", "none");
    for offset in [0, 1, 37, 99] {
        let first = &take(&assigned(&topic, 0, Offset::Offset(offset), &[]), 1)[0];
        assert_eq!(
            (first.offset, first.record.value.as_deref()),
            (offset, Some(offset.to_string().as_bytes()))
        );
    }
    let tail = take(&assigned(&topic, 0, Offset::OffsetTail(5), &[]), 5);
    assert_eq!(tail.iter().map(|r| r.offset).collect::<Vec<_>>(), [95, 96, 97, 98, 99]);
}

#[test]
fn a_consumer_at_the_end_gets_what_comes_next() {
    let topic = timed_topic("from-end", "none");
    let consumer = assigned(&topic, 0, Offset::End, &[("enable.partition.eof", "true")]);
    // The end of the partition is announced once the consumer stands there.
    until("the end", || match consumer.poll(Duration::from_millis(100)) {
        Some(Err(KafkaError::PartitionEOF(0))) => Some(()),
        Some(other) => panic!("before the end: {:?}", other.map(|m| super::support::to_read(&m))),
        None => None,
    });
    deliver(&topic, &[], &[Record::value("next")]);
    let next = until("the next record", || match consumer.poll(Duration::from_millis(100)) {
        Some(Err(KafkaError::PartitionEOF(0))) | None => None,
        Some(message) => Some(super::support::to_read(&message.expect("consume"))),
    });
    assert_eq!((next.offset, next.record.value), (100, Some(b"next".to_vec())));
}

#[test]
fn a_consumer_seeks_back_and_forth() {
    let topic = timed_topic("seek", "lz4");
    let consumer = assigned(&topic, 0, Offset::Beginning, &[]);
    assert_eq!(take(&consumer, 1)[0].offset, 0);
    for offset in [80, 3, 42] {
        consumer.seek(&topic, 0, Offset::Offset(offset), PATIENCE).expect("seek");
        assert_eq!(take(&consumer, 2).iter().map(|r| r.offset).collect::<Vec<_>>(), [offset, offset + 1]);
    }
}

#[test]
fn an_offset_out_of_range_follows_the_clients_policy() {
    let topic = timed_topic("out-of-range", "none");
    let earliest = assigned(&topic, 0, Offset::Offset(1000), &[("auto.offset.reset", "earliest")]);
    assert_eq!(take(&earliest, 1)[0].offset, 0);

    let none = assigned(&topic, 0, Offset::Offset(1000), &[("auto.offset.reset", "error")]);
    let error = until("an error", || match none.poll(Duration::from_millis(100))? {
        Ok(message) => panic!("a record: {:?}", super::support::to_read(&message)),
        Err(error) => Some(error),
    });
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AutoOffsetReset));
}

#[test]
fn watermarks_are_the_first_and_the_next_offset() {
    let topic = timed_topic("watermarks", "none");
    let consumer = assigned(&topic, 0, Offset::Beginning, &[]);
    assert_eq!(consumer.fetch_watermarks(&topic, 0, PATIENCE).unwrap(), (0, 100));
}
