//! Record batches that lie, and batches that are small only until they are opened.
//!
//! A lie that Kafka finds in the 61-byte header must be refused (`LogValidator`, `DefaultRecordBatch.ensureValid`).
//! What only shows when records are decompressed or iterated may be taken by a broker that trusts the header
//! (PROTOCOL 2.1), so there only survival is asked for. Honest batches before and after must be taken, and the
//! partition must hold exactly them.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ListOffsetsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::{Tally, Target, frames, topic};

/// Produce v7: names, no flexible fields.
const PRODUCE: i16 = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// A v2 record batch, every field free to lie.
#[derive(Clone, Debug)]
struct Batch {
    base_offset: i64,
    /// Added to the true length.
    length_off_by: i32,
    magic: i8,
    crc_off_by: u32,
    attributes: i16,
    last_offset_delta: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: i32,
    records: Vec<u8>,
}

impl Batch {
    /// One honest record.
    fn honest() -> Batch {
        Batch {
            base_offset: 0,
            length_off_by: 0,
            magic: 2,
            crc_off_by: 0,
            attributes: 0,
            last_offset_delta: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 1,
            // length 8 (zigzag 16), attributes, timestamp and offset deltas 0, key "k", value "v", no headers
            records: vec![16, 0, 0, 0, 2, b'k', 2, b'v', 0],
        }
    }

    fn encode(&self) -> Vec<u8> {
        let now = 1_700_000_000_000i64.to_be_bytes();
        let mut checked = Vec::new();
        checked.extend(self.attributes.to_be_bytes());
        checked.extend(self.last_offset_delta.to_be_bytes());
        checked.extend(now);
        checked.extend(now);
        checked.extend(self.producer_id.to_be_bytes());
        checked.extend(self.producer_epoch.to_be_bytes());
        checked.extend(self.base_sequence.to_be_bytes());
        checked.extend(self.count.to_be_bytes());
        checked.extend(&self.records);
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &checked) as u32;

        let mut batch = Vec::new();
        batch.extend(self.base_offset.to_be_bytes());
        let length = (checked.len() + 9) as i32;
        batch.extend(length.wrapping_add(self.length_off_by).to_be_bytes());
        batch.extend((-1i32).to_be_bytes()); // partition leader epoch
        batch.extend(self.magic.to_be_bytes());
        batch.extend(crc.wrapping_add(self.crc_off_by).to_be_bytes());
        batch.extend(checked);
        batch
    }
}

/// Name, whether it must be refused, bytes.
fn lies() -> Vec<(String, bool, Vec<u8>)> {
    let mut all = Vec::new();
    let mut lie = |name: &str, must_refuse: bool, change: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::honest();
        change(&mut batch);
        all.push((name.to_owned(), must_refuse, batch.encode()));
    };
    for count in [0, -1, 2, i32::MAX, i32::MIN] {
        lie(&format!("count {count}"), true, &|b| b.count = count);
    }
    for delta in [1, -1, i32::MAX] {
        lie(&format!("last offset delta {delta}"), true, &|b| b.last_offset_delta = delta);
    }
    lie("count and delta agree on 2^31-1", true, &|b| {
        (b.count, b.last_offset_delta) = (i32::MAX, i32::MAX - 1);
    });
    for off_by in [1, -1, -30, 1 << 20, i32::MAX, i32::MIN] {
        lie(&format!("length off by {off_by}"), true, &|b| b.length_off_by = off_by);
    }
    lie("CRC", true, &|b| b.crc_off_by = 1);
    for magic in [0, 1, 3, -1] {
        lie(&format!("magic {magic}"), true, &|b| b.magic = magic);
    }
    for codec in [5, 6, 7] {
        lie(&format!("codec {codec}"), true, &|b| b.attributes = codec);
    }
    for codec in 1..=4 {
        lie(&format!("codec {codec}, records as they are"), false, &|b| b.attributes = codec);
    }
    lie("control bit", true, &|b| b.attributes = 1 << 5);
    lie("control and transactional bits", true, &|b| b.attributes = 3 << 4);
    lie("producer without a sequence", true, &|b| (b.producer_id, b.producer_epoch) = (77, 0));
    lie("a record longer than its batch", false, &|b| b.records[0] = 0x7e);
    lie("a record of 2^31 bytes", false, &|b| b.records = vec![0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]);
    lie("a record with 2^31 headers", false, &|b| {
        b.records = vec![24, 0, 0, 0, 2, b'k', 2, b'v', 0xfe, 0xff, 0xff, 0xff, 0x0f];
    });
    lie("no records at all", false, &|b| b.records = vec![]);
    all.push(("an empty batch".into(), true, vec![]));
    all.push(("half a header".into(), true, Batch::honest().encode()[..30].to_vec()));
    let two = [Batch::honest().encode(), Batch::honest().encode()].concat();
    all.push(("two batches at once".into(), true, two));
    all
}

/// Every lie, each between two honest batches.
pub fn lying(target: &Target) -> Result<Tally> {
    let (strict, lenient) = (topic(target, "refused", &[])?, topic(target, "survived", &[])?);
    let mut tally = Tally::default();
    let mut honest = 0;
    for (name, must_refuse, bytes) in lies() {
        let topic = if must_refuse { &strict } else { &lenient };
        let before = produce(target, &strict, Batch::honest().encode())?;
        ensure!(before == Some(0), "an honest batch before «{name}»: {before:?}");
        honest += 1;
        tally.sent += 1;
        match produce(target, topic, bytes)? {
            None => tally.closed += 1,
            Some(0) if must_refuse => tally.complaints.push(format!("taken: {name}")),
            Some(_) => tally.answered += 1,
        }
    }
    let end = end_offset(target, &strict)?;
    if end != honest {
        tally.complaints.push(format!("{honest} honest records, end offset {end}"));
    }
    Ok(tally)
}

/// The error code of a produce; `None` when the connection was closed.
fn produce(target: &Target, topic: &str, batch: Vec<u8>) -> Result<Option<i16>> {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(Bytes::from(batch)));
    let data = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
    let Ok(answer) = frames::ask(target.addr, &request, PRODUCE, PATIENCE) else { return Ok(None) };
    let partition = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    Ok(Some(partition.context("an answer without a partition")?.error_code))
}

fn end_offset(target: &Target, topic: &str) -> Result<i64> {
    list_offset(target, topic, -1, Duration::from_secs(5))
}

fn list_offset(target: &Target, topic: &str, timestamp: i64, patience: Duration) -> Result<i64> {
    let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let answer = frames::ask(target.addr, &request, 5, patience)?;
    let topic = answer.topics.first().context("an answer without a topic")?;
    Ok(topic.partitions.first().context("an answer without a partition")?.offset)
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Bytes a bomb opens to.
const BOMB: u64 = 2 << 30;
/// Bombs of each kind thrown at once.
const BOMBS: usize = 4;

/// Batches of 2 GiB that are small on the wire: gzip (2 MiB, so the topic's limit is raised) and zstd. Thrown at a
/// plain topic, at a compacted one (whose keys must be looked at), and then looked up by time.
pub fn bombs(target: &Target) -> Result<Tally> {
    let raised = ("max.message.bytes", "8388608");
    let topics = [
        topic(target, "bomb", &[raised])?,
        topic(target, "bomb-compacted", &[raised, ("cleanup.policy", "compact")])?,
    ];
    let mut tally = Tally::default();
    let kinds: [(i16, Vec<u8>); 2] = [(1, gzip_bomb()?), (4, zstd_bomb()?)];
    for (codec, records) in kinds {
        let batch = Batch { attributes: codec, records, ..Batch::honest() }.encode();
        for topic in &topics {
            let taken: Vec<Result<Option<i16>>> = std::thread::scope(|scope| {
                let throw = || produce(target, topic, batch.clone());
                let throwers: Vec<_> = (0..BOMBS).map(|_| scope.spawn(throw)).collect();
                throwers.into_iter().map(|thrower| thrower.join().expect("no panic")).collect()
            });
            for outcome in taken {
                tally.sent += 1;
                if outcome?.is_some() { tally.answered += 1 } else { tally.closed += 1 }
            }
        }
    }
    // Where a bomb was taken, a lookup by time or of the largest timestamp may open it.
    for topic in &topics {
        for timestamp in [1, 1_700_000_000_000, -3] {
            tally.sent += 1;
            match list_offset(target, topic, timestamp, PATIENCE) {
                Ok(_) => tally.answered += 1,
                Err(_) => tally.closed += 1,
            }
        }
    }
    Ok(tally)
}

/// The start of one record with a key and a value that fills the bomb, so that a reader who iterates goes all the way.
fn record_head() -> Vec<u8> {
    let mut head = Vec::new();
    let after_length = BOMB as i64 - 16;
    zigzag(&mut head, after_length);
    head.extend([0, 0, 0, 2, b'k']);
    zigzag(&mut head, after_length - 16);
    head
}

fn zigzag(out: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn gzip_bomb() -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    fill(&mut encoder)?;
    Ok(encoder.finish()?)
}

fn zstd_bomb() -> Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1)?;
    fill(&mut encoder)?;
    Ok(encoder.finish()?)
}

fn fill(out: &mut impl Write) -> Result<()> {
    out.write_all(&record_head())?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..BOMB >> 20 {
        out.write_all(&zeros)?;
    }
    Ok(())
}
