//! The log when it has left the lane: read again from objects, over kill -9, with what was known of producers; and how it
//! goes. Brokers of their own, on a directory that is looked into.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::record_batch::split_batches;

use super::support::until;
use super::survives::{Client, batch};

/// Uploads soon, deletes at once.
fn settings() -> Vec<String> {
    [
        "wal.upload.bytes=65536",
        "wal.upload.interval.ms=300",
        "object.delete.delay.ms=0",
        "log.retention.check.interval.ms=200",
        // The records of these tests are of 1970.
        "log.retention.ms=-1",
    ]
    .map(String::from)
    .into()
}

pub(super) fn root(name: &str) -> PathBuf {
    std::env::temp_dir().join("aquifer-test").join(std::process::id().to_string()).join(name).join("log")
}

/// Files below a directory of the bucket.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Waits until the lanes hold nothing but seals: all is in `data/`, and the trimmed objects are deleted.
fn until_at_rest(root: &Path, seals: usize) {
    let at_rest =
        || (files(&root.join("wal")).len() <= seals && !files(&root.join("data")).is_empty()).then_some(());
    until("everything to be uploaded and the lane to be deleted", at_rest);
}

/// Values by offset of a partition, from `offset` on to the end.
fn read(client: &Client, partition: i32, offset: i64) -> BTreeMap<i64, String> {
    let (_, end) = client.watermarks(partition);
    let mut found = BTreeMap::new();
    let mut at = offset;
    while at < end {
        let (code, _, records) = client.fetch_records(partition, at);
        assert_eq!(code, 0, "at {at}");
        let before = at;
        for batch in split_batches(records) {
            let batch = batch.unwrap();
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                if record.offset >= offset {
                    found.insert(record.offset, value);
                }
            }
            at = batch.header().next_offset();
        }
        assert!(at > before, "a fetch at {before} below the end {end} brought nothing");
    }
    found
}

/// Everything that is left must be as the journal says. The broker has ended.
pub(super) fn assert_verifies(root: &Path) {
    let program = benches::peers::aquifer::binary().unwrap();
    let storage = format!("file://{}", root.display());
    let verify = Command::new(program).args(["storage", "verify", "--storage", &storage]).output().unwrap();
    let (said, progress) = (String::from_utf8_lossy(&verify.stdout), String::from_utf8_lossy(&verify.stderr));
    assert!(verify.status.success(), "{said}{progress}");
    assert!(said.ends_with(": nothing is wrong\n"), "{said}{progress}");
}

#[test]
fn records_are_read_from_objects_when_the_lane_is_gone() {
    let mut broker = tests::server::own("at-rest", &settings());
    let root = root("at-rest");
    let client = Client(broker.addr().to_string());
    client.create(3);
    let producer = client.producer_id();
    let mut expected: Vec<BTreeMap<i64, String>> = vec![BTreeMap::new(); 3];
    let mut sent = 0;
    let mut send = |client: &Client, expected: &mut Vec<BTreeMap<i64, String>>, batches: i32| {
        for _ in 0..batches {
            for partition in [0, 2] {
                let base = i64::from(sent);
                assert_eq!(client.produce(partition, batch(producer, sent, 5)), (0, base));
                let values = (0..5).map(|n| (base + n, (base + n).to_string()));
                expected[partition as usize].extend(values);
            }
            sent += 5;
        }
        sent
    };
    send(&client, &mut expected, 20);
    until_at_rest(&root, 0);
    for life in 1..4 {
        for partition in 0..3 {
            let all = &expected[partition as usize];
            assert_eq!(&read(&client, partition, 0), all, "partition {partition}, life {life}");
        }
        let from_the_middle: BTreeMap<i64, String> =
            expected[2].iter().filter(|(offset, _)| **offset >= 42).map(|(o, v)| (*o, v.clone())).collect();
        assert_eq!(read(&client, 2, 42), from_the_middle);
        assert_eq!(client.offset(0, 1_000), 0, "by time");
        assert_eq!(client.offset(0, 1_001), -1, "by time");
        broker.kill().unwrap();
        broker.start_again().unwrap();
        let sent = send(&client, &mut expected, 0);
        // Its producer is known out of the checkpoint: a repeat is answered with its place, a gap is refused.
        assert_eq!(client.produce(0, batch(producer, sent - 5, 5)), (0, i64::from(sent - 5)), "life {life}");
        assert_eq!(client.produce(0, batch(producer, sent + 5, 5)).0, 45, "OUT_OF_ORDER_SEQUENCE_NUMBER");
        send(&client, &mut expected, 7);
        if life % 2 == 1 {
            // A seal for each life that ended.
            until_at_rest(&root, life);
        }
    }
    broker.kill().unwrap();
    assert_verifies(&root);
}

#[test]
fn what_is_deleted_leaves_the_bucket() {
    let mut broker = tests::server::own("at-rest-deleted", &settings());
    let root = root("at-rest-deleted");
    let client = Client(broker.addr().to_string());
    client.create(2);
    let old = || -> Bytes { BatchBuilder::new().append(1_000, None, Some(&[b'x'; 1_000]), &[]).build() };
    for _ in 0..10 {
        assert_eq!(client.produce(0, old()).0, 0);
        assert_eq!(client.produce(1, old()).0, 0);
    }
    until_at_rest(&root, 0);
    // By offset: all of one partition, half of the other.
    assert_eq!(client.delete(&[(0, -1), (1, 5)]), [(0, 10, 0), (1, 5, 0)]);
    assert_eq!((client.watermarks(0), client.watermarks(1)), ((10, 10), (5, 10)));
    assert_eq!(read(&client, 1, 5).len(), 5);
    // By time: the rest, and what comes later stays until its time has come.
    client.set(2, "t", "retention.ms", "3600000");
    until("retention", || (client.watermarks(1) == (10, 10)).then_some(()));
    until("the objects to go", || files(&root.join("data")).is_empty().then_some(()));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let young = BatchBuilder::new().append(now, None, Some(b"young"), &[]).build();
    assert_eq!(client.produce(1, young), (0, 10));
    until_at_rest(&root, 0);
    broker.kill().unwrap();
    broker.start_again().unwrap();
    assert_eq!((client.watermarks(0), client.watermarks(1)), ((10, 10), (10, 11)));
    assert_eq!(read(&client, 1, 10), BTreeMap::from([(10, "young".to_string())]));
    broker.kill().unwrap();
    assert_verifies(&root);
}
