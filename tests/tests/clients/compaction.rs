//! Log compaction, as a client sees it: the last value of every key at its own offset, over kill -9; and nothing else.
//! Brokers of their own that upload and compact soon.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use protocol::batch_builder::BatchBuilder;
use protocol::record_batch::split_batches;

use super::at_rest::{assert_verifies, root};
use super::support::until;
use super::survives::{Client, name};

const KEYS: i32 = 400;
const VERSIONS: i32 = 50;
const BATCH: i32 = 40;

/// A record: its timestamp, key and value.
type Row = (i64, String, Option<String>);
/// By offset.
type Rows = BTreeMap<i64, Row>;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Uploads soon, compacts whatever is dirty at once, and keeps no tombstone. The records of these tests are of 1970.
fn settings() -> Vec<String> {
    [
        "wal.upload.bytes=65536",
        "wal.upload.interval.ms=300",
        "object.delete.delay.ms=0",
        "log.cleaner.backoff.ms=100",
        "log.cleaner.min.cleanable.ratio=0",
        "log.cleaner.delete.retention.ms=0",
        "log.roll.ms=1",
        "log.retention.ms=-1",
        "log.retention.check.interval.ms=200",
        "offsets.topic.num.partitions=1",
    ]
    .map(String::from)
    .into()
}

fn create(client: &Client, policy: &str) {
    let config =
        CreatableTopicConfig::default().with_name(text("cleanup.policy")).with_value(Some(text(policy)));
    let topic = CreatableTopic::default()
        .with_name(name())
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(vec![config]);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    assert_eq!(client.ask(&request, 4).topics[0].error_code, 0);
}

fn fetch(client: &Client, topic: &TopicName, offset: i64) -> Bytes {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic.clone()).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(1_000)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let answer = client.ask(&request, 11).responses[0].partitions[0].clone();
    assert_eq!(answer.error_code, 0, "at {offset}");
    answer.records.unwrap_or_default()
}

/// All records from `from` to `end`. Every fetch below the end brings a batch that reaches past it.
fn read(client: &Client, topic: &TopicName, from: i64, end: i64) -> Rows {
    let mut found = Rows::new();
    let mut at = from;
    while at < end {
        let before = at;
        for batch in split_batches(fetch(client, topic, at)) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
                if record.offset >= from {
                    let row =
                        (record.timestamp, text(record.key.unwrap_or_default()), record.value.map(text));
                    let earlier = found.insert(record.offset, row);
                    assert_eq!(earlier, None, "offset {} comes twice", record.offset);
                }
            }
            at = batch.header().next_offset();
        }
        assert!(at > before, "a fetch at {before} below the end {end} brought nothing");
    }
    found
}

/// What was written, all of it.
#[derive(Default)]
struct Log {
    rows: Rows,
    sequence: i32,
    last_batch: Option<(Bytes, i64)>,
}

impl Log {
    fn end(&self) -> i64 {
        self.rows.last_key_value().map_or(0, |(offset, _)| offset + 1)
    }

    /// One version of some keys, by an idempotent producer; every tenth is deleted if `deletes`.
    fn send(
        &mut self,
        client: &Client,
        producer: i64,
        version: i32,
        keys: std::ops::Range<i32>,
        deletes: bool,
    ) {
        for first in keys.clone().step_by(BATCH as usize) {
            let mut batch = BatchBuilder::new().producer(producer, 0, self.sequence);
            let mut rows: Vec<Row> = Vec::new();
            for key in first..(first + BATCH).min(keys.end) {
                let value = (!deletes || key % 10 > 0).then(|| format!("{key} {version} {}", "x".repeat(80)));
                // Times go up and down.
                let timestamp = i64::from(1_000 + version * 7 + key * 13 % 100);
                rows.push((timestamp, format!("k{key}"), value));
                let (timestamp, key, value) = rows.last().unwrap();
                batch =
                    batch.append(*timestamp, Some(key.as_bytes()), value.as_ref().map(|v| v.as_bytes()), &[]);
            }
            self.sequence += rows.len() as i32;
            let (bytes, base) = (batch.build(), self.end());
            assert_eq!(client.produce(0, bytes.clone()), (0, base));
            self.rows.extend((base..).zip(rows));
            self.last_batch = Some((bytes, base));
        }
    }

    /// The last row of each key, of those from `from` on.
    fn last_rows(&self, from: i64) -> Rows {
        let rows = self.rows.range(from..);
        let last: BTreeMap<&str, (i64, &Row)> =
            rows.map(|(offset, row)| (row.1.as_str(), (*offset, row))).collect();
        last.into_values().map(|(offset, row)| (offset, row.clone())).collect()
    }

    /// What is there was written so; the last of every key is there, of a deleted one at most the tombstone.
    fn check(&self, found: &Rows, from: i64) {
        for (offset, row) in found {
            assert_eq!(self.rows.get(offset), Some(row), "offset {offset}");
        }
        let last = self.last_rows(from);
        for (offset, row) in last.iter().filter(|(_, row)| row.2.is_some()) {
            assert_eq!(found.get(offset), Some(row), "offset {offset}");
        }
        // Nothing older comes back where the tombstone went.
        for row in found.values().filter(|row| row.2.is_some()) {
            let of_key = last.iter().find(|(_, last)| last.1 == row.1).expect("a key of the log");
            assert!(of_key.1.2.is_some() || found.contains_key(of_key.0), "{} is back", row.1);
        }
    }
}

fn is_value(row: &Row) -> bool {
    row.2.is_some()
}

#[test]
fn the_last_value_of_every_key_stays_and_nothing_else() {
    let mut broker = tests::server::own("compaction", &settings());
    let client = Client(broker.addr().to_string());
    create(&client, "compact");
    let producer = client.producer_id();
    let mut log = Log::default();
    for version in 0..VERSIONS {
        log.send(&client, producer, version, 0..KEYS, version == VERSIONS - 1);
        if version == VERSIONS / 2 {
            broker.kill().unwrap();
            broker.start_again().unwrap();
            log.check(&read(&client, &name(), 0, log.end()), 0);
        }
    }
    let (again, base) = log.last_batch.clone().unwrap();
    broker.kill().unwrap();
    broker.start_again().unwrap();
    let end = i64::from(KEYS * VERSIONS);
    assert_eq!(client.watermarks(0), (0, end));
    assert_eq!(client.produce(0, again.clone()), (0, base), "a repeat is known");
    let left = until("one record of each key to be left", || {
        let rows = read(&client, &name(), 0, end);
        log.check(&rows, 0);
        (rows.len() <= KEYS as usize).then_some(rows)
    });
    // From any offset on, what is at or after it; a fetch in a hole goes on behind it.
    for from in (0..end).step_by(997) {
        let expected: Vec<_> = left.range(from..).collect();
        assert_eq!(read(&client, &name(), from, end).iter().collect::<Vec<_>>(), expected, "from {from}");
    }
    broker.kill().unwrap();
    assert_verifies(&root("compaction"));
    broker.start_again().unwrap();
    assert_eq!(client.watermarks(0), (0, end));
    assert_eq!(client.produce(0, again), (0, base), "a repeat is known");
    log.check(&read(&client, &name(), 0, end), 0);
    // A tombstone goes in a round after the one that met it: something must be dirty.
    until("the tombstones to be gone", || {
        log.send(&client, producer, VERSIONS, 0..1, false);
        let rows = read(&client, &name(), 0, log.end());
        log.check(&rows, 0);
        rows.values().all(is_value).then_some(())
    });
    // By time: the first, and the last. The times of batches that were emptied, and of records that went, count no more.
    let stable = until("it to be compacted to the end", || {
        let rows = read(&client, &name(), 0, log.end());
        (rows == log.last_rows(0).into_iter().filter(|(_, row)| is_value(row)).collect()).then_some(rows)
    });
    for time in (990..1_500).step_by(3) {
        let first = stable.iter().find(|(_, row)| row.0 >= time).map(|(offset, row)| (row.0, *offset));
        assert_eq!(client.by_time(time), first.unwrap_or((-1, -1)), "from {time}");
    }
    let latest =
        stable.iter().map(|(offset, row)| (row.0, *offset)).reduce(|a, b| if b.0 > a.0 { b } else { a });
    assert_eq!(Some(client.by_time(-3)), latest, "the maximum");
    broker.kill().unwrap();
    assert_verifies(&root("compaction"));
}

/// `compact,delete`: a log start inside of what is compacted, then retention.
#[test]
fn what_is_compacted_is_deleted_as_well() {
    let mut broker = tests::server::own("compaction-delete", &settings());
    let client = Client(broker.addr().to_string());
    create(&client, "compact,delete");
    let producer = client.producer_id();
    let mut log = Log::default();
    for version in 0..4 {
        log.send(&client, producer, version, 0..KEYS, false);
    }
    let until_compacted = |client: &Client, log: &Log, from: i64| {
        until("one record of each key to be left", || {
            let rows = read(client, &name(), from, log.end());
            log.check(&rows, from);
            (rows == log.last_rows(from)).then_some(())
        });
    };
    until_compacted(&client, &log, 0);
    // Into the middle of a batch of the last version.
    let start = log.end() - i64::from(KEYS / 2) - 7;
    assert_eq!(client.delete(&[(0, start)]), [(0, start, 0)]);
    until_compacted(&client, &log, start);
    for version in 4..8 {
        log.send(&client, producer, version, KEYS / 4..KEYS, false);
    }
    until_compacted(&client, &log, start);
    broker.kill().unwrap();
    assert_verifies(&root("compaction-delete"));
    broker.start_again().unwrap();
    assert_eq!(client.watermarks(0), (start, log.end()));
    until_compacted(&client, &log, start);
    client.set(2, &name(), "retention.ms", "1");
    until("all of it to be deleted", || (client.watermarks(0).0 == log.end()).then_some(()));
    // Its producer is known still.
    log.send(&client, producer, 8, 0..1, false);
    broker.kill().unwrap();
    assert_verifies(&root("compaction-delete"));
}

fn commit(client: &Client, group: &str, offset: i64) {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default().with_name(name()).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    until("an offset to be committed", || {
        (client.ask(&request, 7).topics[0].partitions[0].error_code == 0).then_some(())
    });
}

fn committed(client: &Client, group: &str) -> i64 {
    let topic = OffsetFetchRequestTopic::default().with_name(name()).with_partition_indexes(vec![0]);
    let request =
        OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![topic]));
    until("the coordinator to have loaded", || {
        let answer = client.ask(&request, 5);
        (answer.error_code == 0).then(|| answer.topics[0].partitions[0].committed_offset)
    })
}

#[test]
fn committed_offsets_outlive_the_compaction_of_their_topic() {
    let mut broker = tests::server::own("compaction-offsets", &settings());
    let client = Client(broker.addr().to_string());
    client.create(1);
    let find = FindCoordinatorRequest::default().with_key(text("g0"));
    until("a coordinator", || (client.ask(&find, 2).error_code == 0).then_some(()));
    let topic = TopicName(text("__consumer_offsets"));
    let groups: Vec<String> = (0..5).map(|n| format!("g{n}")).collect();
    let mut commits = 0;
    for offset in 1..=100 {
        for group in &groups {
            commit(&client, group, offset);
            commits += 1;
        }
    }
    broker.kill().unwrap();
    broker.start_again().unwrap();
    until("the last commit of each to be left", || {
        (read(&client, &topic, 0, commits).len() <= groups.len()).then_some(())
    });
    for _ in 0..2 {
        for group in &groups {
            assert_eq!(committed(&client, group), 100, "{group}");
        }
        broker.kill().unwrap();
        broker.start_again().unwrap();
    }
    broker.kill().unwrap();
    assert_verifies(&root("compaction-offsets"));
}
