//! Every codec: the broker keeps the batch compressed as it was sent, and a consumer gets every byte back.

use super::support::{Record, deliver, read_all, topic};
use super::wire;

#[test]
fn records_come_back_uncompressed() {
    round_trip("none", 0);
}

#[test]
fn records_come_back_from_gzip() {
    round_trip("gzip", 1);
}

#[test]
fn records_come_back_from_snappy() {
    round_trip("snappy", 2);
}

#[test]
fn records_come_back_from_lz4() {
    round_trip("lz4", 3);
}

#[test]
fn records_come_back_from_zstd() {
    round_trip("zstd", 4);
}

/// `bits` are the codec's number in the attributes of a batch (KIP-98, KIP-110).
fn round_trip(codec: &str, bits: u8) {
    let topic = topic(&format!("codec-{codec}"), 2, &[]);
    let records: Vec<Record> = (0..2000)
        .map(|i| Record {
            partition: i % 2,
            key: Some(format!("key {i}").into_bytes()),
            value: Some(format!("value {i} ").repeat(40).into_bytes()),
            timestamp: Some(1_700_000_000_000 + i64::from(i)),
            ..Record::default()
        })
        .collect();
    // A long linger lets batches grow: one record alone is not compressed when that makes it larger.
    deliver(&topic, &[("compression.type", codec), ("linger.ms", "50")], &records);

    for partition in 0..2 {
        let read = read_all(&topic, partition);
        let offsets: Vec<i64> = read.iter().map(|r| r.offset).collect();
        assert_eq!(offsets, (0..1000).collect::<Vec<i64>>());
        let sent = records.iter().filter(|r| r.partition == partition);
        assert!(sent.eq(read.iter().map(|r| &r.record)), "partition {partition} reads as it was sent");

        let kept = wire::codecs(&wire::fetch(&topic, partition, 0));
        assert!(!kept.is_empty() && kept.iter().all(|kept| *kept == bits), "{codec} on the wire: {kept:?}");
    }
}
