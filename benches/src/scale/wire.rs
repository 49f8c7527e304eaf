//! The raw requests of the scale measurement, on one connection that is kept.
//!
//! What is measured is the broker's answer to ten thousand partitions at once, not a client library's bookkeeping, so
//! CreateTopics v2, Produce v3, Metadata v1, ListOffsets v1 and ApiVersions v0 are written by hand: none of them is
//! flexible, and Kafka 4 still serves them. Only what is looked at is read; see [`crate::probe`] for the single questions.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const PRODUCE: i16 = 0;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const CREATE_TOPICS: i16 = 19;

const LATEST: i64 = -1;

/// The largest answer that is believed: ten times what 10,000 partitions need.
const LARGEST_ANSWER: usize = 64 << 20;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection to the broker, one request at a time.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Connects.
    pub fn open(addr: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5)).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection(stream))
    }

    /// ApiVersions v0; what every client asks first. Returns how many APIs are served.
    pub fn api_versions(&mut self) -> Result<usize> {
        let answer = self.ask(API_VERSIONS, 0, &[])?;
        let mut answer = Answer(&answer);
        let error = answer.int16()?;
        ensure!(error == 0, "ApiVersions error {error}");
        Ok(answer.int32()? as usize)
    }

    /// Creates one topic with the broker's defaults; fails unless it was created.
    pub fn create_topic(&mut self, topic: &str, partitions: i32) -> Result<()> {
        let mut body = Vec::new();
        body.extend(1i32.to_be_bytes());
        string(&mut body, topic);
        body.extend(partitions.to_be_bytes());
        body.extend(1i16.to_be_bytes()); // replication factor
        body.extend(0i32.to_be_bytes()); // assignments
        body.extend(0i32.to_be_bytes()); // configs
        body.extend((PATIENCE.as_millis() as i32).to_be_bytes());
        body.push(0); // validate only
        let answer = self.ask(CREATE_TOPICS, 2, &body)?;
        let mut answer = Answer(&answer);
        answer.skip(4)?; // throttle time
        ensure!(answer.int32()? == 1, "CreateTopics answers another number of topics");
        answer.string()?;
        let error = answer.int16()?;
        let words = answer.string()?;
        ensure!(error == 0, "create {topic}: error {error} {}", words.unwrap_or_default());
        Ok(())
    }

    /// Produces `batch` to partitions 0..`partitions` of a topic in one request, acks=all; returns the base offsets in
    /// the order of the partitions. Fails at the first partition that answers an error.
    pub fn produce(&mut self, topic: &str, partitions: i32, batch: &[u8]) -> Result<Vec<i64>> {
        let mut body = Vec::new();
        body.extend((-1i16).to_be_bytes()); // transactional id
        body.extend((-1i16).to_be_bytes()); // acks
        body.extend((PATIENCE.as_millis() as i32).to_be_bytes());
        body.extend(1i32.to_be_bytes());
        string(&mut body, topic);
        body.extend(partitions.to_be_bytes());
        for partition in 0..partitions {
            body.extend(partition.to_be_bytes());
            body.extend((batch.len() as i32).to_be_bytes());
            body.extend(batch);
        }
        let answer = self.ask(PRODUCE, 3, &body)?;
        by_partition(&answer, &[topic.to_owned()], partitions, |answer| {
            let error = answer.int16()?;
            let base = answer.int64()?;
            answer.skip(8)?; // append time
            Ok((error, base))
        })
    }

    /// Metadata of all topics: each with the number of its partitions that have a leader and no error.
    pub fn led_partitions(&mut self) -> Result<Vec<(String, usize)>> {
        let answer = self.ask(METADATA, 1, &(-1i32).to_be_bytes())?;
        let mut answer = Answer(&answer);
        for _ in 0..answer.int32()? {
            answer.skip(4)?; // id
            answer.string()?; // host
            answer.skip(4)?; // port
            answer.string()?; // rack
        }
        answer.skip(4)?; // controller
        let mut topics = Vec::new();
        for _ in 0..answer.int32()? {
            answer.skip(2)?; // error: an erroneous topic has no partitions
            let name = answer.string()?.context("a topic without a name")?.to_owned();
            answer.skip(1)?; // internal
            let mut led = 0;
            for _ in 0..answer.int32()? {
                let error = answer.int16()?;
                answer.skip(4)?; // index
                let leader = answer.int32()?;
                led += usize::from(error == 0 && leader >= 0);
                for _ in ["replicas", "in-sync replicas"] {
                    let count = answer.int32()?;
                    answer.skip(4 * usize::try_from(count)?)?;
                }
            }
            topics.push((name, led));
        }
        Ok(topics)
    }

    /// The end offsets of partitions 0..`partitions` of every topic, in one request; those of `topics[0]` first, each
    /// topic's in the order of its partitions. Fails at the first partition that answers an error.
    pub fn end_offsets(&mut self, topics: &[String], partitions: i32) -> Result<Vec<i64>> {
        let mut body = Vec::new();
        body.extend((-1i32).to_be_bytes()); // replica id: a client
        body.extend((topics.len() as i32).to_be_bytes());
        for topic in topics {
            string(&mut body, topic);
            body.extend(partitions.to_be_bytes());
            for partition in 0..partitions {
                body.extend(partition.to_be_bytes());
                body.extend(LATEST.to_be_bytes());
            }
        }
        let answer = self.ask(LIST_OFFSETS, 1, &body)?;
        by_partition(&answer, topics, partitions, |answer| {
            let error = answer.int16()?;
            answer.skip(8)?; // timestamp
            Ok((error, answer.int64()?))
        })
    }

    /// One request with header v1; the answer's body after the correlation id.
    fn ask(&mut self, key: i16, version: i16, body: &[u8]) -> Result<Vec<u8>> {
        let mut frame = vec![0; 4];
        frame.extend(key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(1i32.to_be_bytes()); // correlation id
        string(&mut frame, "scale");
        frame.extend(body);
        let length = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.0.write_all(&frame)?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if !(4..=LARGEST_ANSWER).contains(&length) {
            bail!("an answer of {length} bytes");
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer)?;
        Ok(answer.split_off(4))
    }
}

/// Reads one offset for each partition of each topic, wherever in the answer it stands; `read` gives error and offset of
/// one, after its index.
fn by_partition(
    answer: &[u8],
    topics: &[String],
    partitions: i32,
    read: impl Fn(&mut Answer<'_>) -> Result<(i16, i64)>,
) -> Result<Vec<i64>> {
    let per_topic = usize::try_from(partitions)?;
    let mut offsets = vec![None; topics.len() * per_topic];
    let mut answer = Answer(answer);
    for _ in 0..answer.int32()? {
        let name = answer.string()?.context("a topic without a name")?;
        let at = topics.iter().position(|t| t == name).with_context(|| format!("{name} was not asked"))?;
        for _ in 0..answer.int32()? {
            let partition = answer.int32()?;
            let (error, offset) = read(&mut answer)?;
            ensure!(error == 0, "{name}-{partition}: error {error}");
            ensure!((0..partitions).contains(&partition), "{name}-{partition} was not asked");
            offsets[at * per_topic + partition as usize] = Some(offset);
        }
    }
    let found: Option<Vec<i64>> = offsets.into_iter().collect();
    found.context("partitions are missing from the answer")
}

/// A batch of one record of 40 bytes, in the format of Kafka's `DefaultRecordBatch` (magic 2), without a producer id.
pub fn one_record_batch() -> Vec<u8> {
    const VALUE: [u8; 40] = [b'v'; 40];
    let zigzag = |value: i8| (value << 1 ^ value >> 7) as u8;
    // attributes, timestamp and offset as differences, no key, the value, no headers: each below 64, so one byte
    let mut record = vec![0, 0, 0, zigzag(-1), zigzag(VALUE.len() as i8)];
    record.extend(VALUE);
    record.push(0);
    let mut summed = Vec::new();
    summed.extend(0i16.to_be_bytes()); // attributes
    summed.extend(0i32.to_be_bytes()); // offset of the last record
    summed.extend(0i64.to_be_bytes()); // base timestamp
    summed.extend(0i64.to_be_bytes()); // max timestamp
    summed.extend((-1i64).to_be_bytes()); // producer id
    summed.extend((-1i16).to_be_bytes()); // its epoch
    summed.extend((-1i32).to_be_bytes()); // base sequence
    summed.extend(1i32.to_be_bytes());
    summed.push(zigzag(record.len() as i8));
    summed.extend(record);
    let mut batch = Vec::new();
    batch.extend(0i64.to_be_bytes()); // base offset: the broker's to say
    batch.extend((4 + 1 + 4 + summed.len() as i32).to_be_bytes());
    batch.extend((-1i32).to_be_bytes()); // leader epoch
    batch.push(2);
    batch.extend(crc32c(&summed).to_be_bytes());
    batch.extend(summed);
    batch
}

/// CRC-32C, bit by bit: once for a hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    const CASTAGNOLI: u32 = 0x82f6_3b78;
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (CASTAGNOLI * (crc & 1)))
    })
}

fn string(bytes: &mut Vec<u8>, value: &str) {
    bytes.extend((value.len() as i16).to_be_bytes());
    bytes.extend(value.as_bytes());
}

/// What is left of an answer.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("an answer ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Result<()> {
        self.take(count).map(drop)
    }

    fn int16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn int32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn int64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn string(&mut self) -> Result<Option<&'a str>> {
        match self.int16()? {
            -1 => Ok(None),
            length => Ok(Some(std::str::from_utf8(self.take(usize::try_from(length)?)?)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(partitions: &[(i32, i16, i64)]) -> Vec<u8> {
        let mut bytes = 1i32.to_be_bytes().to_vec();
        string(&mut bytes, "t");
        bytes.extend((partitions.len() as i32).to_be_bytes());
        for (partition, error, end) in partitions {
            bytes.extend(partition.to_be_bytes());
            bytes.extend(error.to_be_bytes());
            bytes.extend((-1i64).to_be_bytes());
            bytes.extend(end.to_be_bytes());
        }
        bytes
    }

    fn ends(answer: &[u8], topics: &[String], partitions: i32) -> Result<Vec<i64>> {
        by_partition(answer, topics, partitions, |answer| {
            let error = answer.int16()?;
            answer.skip(8)?;
            Ok((error, answer.int64()?))
        })
    }

    #[test]
    fn the_batch_is_one_that_a_broker_takes() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283); // the check value of CRC-32C
        let batch = protocol::record_batch::Batch::parse(one_record_batch().into()).unwrap();
        batch.check_crc().unwrap();
        let records: Vec<_> = batch.records(1024).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(records.len(), 1);
    }

    #[test]
    fn end_offsets_come_in_the_order_of_partitions_and_none_may_be_missing() {
        let topics = ["t".to_owned()];
        assert_eq!(ends(&answer(&[(1, 0, 7), (0, 0, 5)]), &topics, 2).unwrap(), [5, 7]);
        assert!(ends(&answer(&[(1, 0, 7)]), &topics, 2).is_err());
        assert!(ends(&answer(&[(0, 6, -1), (1, 0, 7)]), &topics, 2).is_err());
        assert!(ends(&answer(&[(0, 0, 5), (2, 0, 7)]), &topics, 2).is_err());
        assert!(ends(&answer(&[(0, 0, 5), (1, 0, 7)])[..20], &topics, 2).is_err());
    }
}
