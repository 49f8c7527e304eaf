//! Records with keys, each key written again and again: what was written last of each, and whether that is what is read.
//!
//! Which key comes next is random: a part of every batch is superseded and another stays, as in the topics of tables.
//! Versions are numbers from 1 on, so that a value says by itself which one it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::client::{self, Acks, Counting, Payloads, RECORD_BYTES, STALL, Watch};

/// Bytes of a key; the value has the rest of a record's.
const KEY_BYTES: usize = 16;
/// Bytes of the version that a value begins with.
const VERSION_BYTES: usize = 8;
/// The key of the one record behind all others of its partition.
const LAST_KEY: &[u8; KEY_BYTES] = b"behind the last.";

/// What to write.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// An existing topic.
    pub topic: &'a str,
    /// Its partitions.
    pub partitions: i32,
    /// Records of [`RECORD_BYTES`], keys included.
    pub records: u64,
    /// Different keys.
    pub keys: u64,
}

/// What was written last.
#[derive(Clone, Debug)]
pub struct Written {
    /// The newest version of each key; 0: never written.
    newest: Vec<u64>,
    /// Records of each partition: in a new topic, the offset of what follows them.
    pub ends: Vec<i64>,
}

impl Written {
    /// Keys that were written.
    pub fn keys(&self) -> u64 {
        self.newest.iter().filter(|version| **version > 0).count() as u64
    }
}

/// Writes a load until everything is acknowledged. `progress` is told the records acknowledged, at most every second.
///
/// # Errors
/// A record is not delivered, or nothing moves for [`STALL`].
pub fn write(
    bootstrap: &str,
    payloads: &Payloads,
    load: &Load<'_>,
    mut progress: impl FnMut(u64),
) -> Result<Written> {
    let mut written = Written {
        newest: vec![0; usize::try_from(load.keys)?],
        ends: vec![0; usize::try_from(load.partitions)?],
    };
    let mut random = StdRng::seed_from_u64(load.keys);
    let producer = Sender::new(bootstrap, load.topic)?;
    let mut watch = Watch::new(Instant::now());
    let mut value = vec![0; RECORD_BYTES - KEY_BYTES];
    for version in 1..=load.records {
        let key = random.random_range(0..load.keys);
        let partition = key % load.partitions as u64;
        value.copy_from_slice(&payloads.get(version)[..RECORD_BYTES - KEY_BYTES]);
        value[..VERSION_BYTES].copy_from_slice(&version.to_be_bytes());
        producer.send(load.topic, partition as i32, &key_bytes(key), &value, || {
            watch.look(producer.acks.delivered(), &mut progress)
        })?;
        written.newest[key as usize] = version;
        written.ends[partition as usize] += 1;
    }
    producer.wait(load.records, |acknowledged| watch.look(acknowledged, &mut progress))?;
    Ok(written)
}

/// Writes one more record to each partition, of a key of its own. What it is for: Apache Kafka compacts nothing of the
/// segment that is written to, and begins another one when a record comes `segment.ms` after the first; and who reads a
/// partition up to it has read everything.
pub fn write_last(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    let producer = Sender::new(bootstrap, topic)?;
    for partition in 0..partitions {
        producer.send(topic, partition, LAST_KEY, &[], || Ok(()))?;
    }
    producer.wait(partitions as u64, |_| Ok(()))
}

struct Sender {
    producer: ThreadedProducer<Counting>,
    acks: Arc<Acks>,
}

impl Sender {
    fn new(bootstrap: &str, topic: &str) -> Result<Sender> {
        let acks = Arc::new(Acks::default());
        let mut config = ClientConfig::new();
        // Without it a batch that is sent again may come behind a later one, and an older version be the last.
        config.set("bootstrap.servers", bootstrap).set("acks", "all").set("enable.idempotence", "true");
        let producer: ThreadedProducer<Counting> = config.create_with_context(Counting(acks.clone()))?;
        producer.client().fetch_metadata(Some(topic), STALL).context("metadata")?;
        Ok(Sender { producer, acks })
    }

    fn send(
        &self,
        topic: &str,
        partition: i32,
        key: &[u8; KEY_BYTES],
        value: &[u8],
        mut while_full: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let mut record = BaseRecord::to(topic).partition(partition).key(&key[..]).payload(value);
        while let Err((error, back)) = self.producer.send(record) {
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                return Err(error).context("send");
            };
            record = back;
            while_full()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Until so many records are acknowledged.
    fn wait(&self, records: u64, mut look: impl FnMut(u64) -> Result<()>) -> Result<()> {
        while self.acks.delivered() < records {
            self.acks.check()?;
            look(self.acks.delivered())?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Reads the topic up to the records behind the last and holds it against what was written. Returns how many records are
/// left, without those.
///
/// # Errors
/// A key's last value is missing or is another, or a record is there that was never written.
pub fn check(bootstrap: &str, topic: &str, written: &Written, mut progress: impl FnMut(u64)) -> Result<u64> {
    let partitions = written.ends.len();
    let consumer: BaseConsumer = client::consumer(bootstrap, topic, i32::try_from(partitions)?)?;
    let mut found = Found::new(written.newest.len());
    let mut watch = Watch::new(Instant::now());
    let mut ended = 0;
    while ended < partitions {
        if let Some(message) = consumer.poll(Duration::from_millis(100)).transpose().context("consume")? {
            match message.key() {
                Some(key) if key == LAST_KEY => ended += 1,
                key => found.see(key, message.payload())?,
            }
        }
        watch.look(found.records, &mut progress)?;
    }
    found.judge(written)?;
    Ok(found.records)
}

/// What a reader has come upon.
struct Found {
    newest: Vec<u64>,
    records: u64,
}

impl Found {
    fn new(keys: usize) -> Found {
        Found { newest: vec![0; keys], records: 0 }
    }

    fn see(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        let key = key.and_then(parse_key).context("a record with a key that was not written")?;
        let newest = self.newest.get_mut(key).context("a record with a key that was not written")?;
        let value = value
            .filter(|value| value.len() == RECORD_BYTES - KEY_BYTES)
            .context("a value of another length")?;
        let version = u64::from_be_bytes(value[..VERSION_BYTES].try_into()?);
        ensure!(version > *newest, "key {key}: version {version} comes after {newest}");
        *newest = version;
        self.records += 1;
        Ok(())
    }

    fn judge(&self, written: &Written) -> Result<()> {
        let pairs = written.newest.iter().zip(&self.newest).enumerate();
        let wrong: Vec<_> = pairs.filter(|(_, (written, found))| written != found).collect();
        if let Some((key, (written, found))) = wrong.first() {
            let many = wrong.len();
            bail!(
                "{many} keys have not the value that was written last; of key {key} that is {written}, and {found} is there"
            );
        }
        Ok(())
    }
}

fn key_bytes(key: u64) -> [u8; KEY_BYTES] {
    let mut bytes = [b'0'; KEY_BYTES];
    let mut rest = key;
    for byte in bytes.iter_mut().rev() {
        *byte += (rest % 10) as u8;
        rest /= 10;
    }
    bytes
}

fn parse_key(bytes: &[u8]) -> Option<usize> {
    (bytes.len() == KEY_BYTES).then(|| std::str::from_utf8(bytes).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(version: u64) -> Vec<u8> {
        let mut value = vec![7; RECORD_BYTES - KEY_BYTES];
        value[..VERSION_BYTES].copy_from_slice(&version.to_be_bytes());
        value
    }

    fn read(records: &[(u64, u64)]) -> Result<Found> {
        let mut found = Found::new(3);
        for (key, version) in records {
            found.see(Some(&key_bytes(*key)), Some(&value(*version)))?;
        }
        Ok(found)
    }

    #[test]
    fn the_last_value_of_every_key_must_be_there() {
        let written = Written { newest: vec![4, 0, 9], ends: vec![] };
        assert_eq!(written.keys(), 2);
        assert!(read(&[(0, 4), (2, 9)]).unwrap().judge(&written).is_ok());
        let uncompacted = read(&[(0, 1), (2, 2), (0, 4), (2, 9)]).unwrap();
        assert!(uncompacted.judge(&written).is_ok(), "older ones before it say nothing");
        assert_eq!(uncompacted.records, 4);
        for wrong in [&[(0, 4)][..], &[(0, 4), (2, 8)], &[(0, 4), (2, 9), (1, 3)]] {
            assert!(read(wrong).unwrap().judge(&written).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_was_never_written_or_comes_again_is_noticed() {
        assert!(read(&[(0, 4), (0, 1)]).is_err());
        assert!(read(&[(3, 1)]).is_err());
        let mut found = Found::new(1);
        assert!(found.see(None, Some(&value(1))).is_err());
        assert!(found.see(Some(b"0"), Some(&value(1))).is_err());
        assert!(found.see(Some(&key_bytes(0)), None).is_err());
        assert!(found.see(Some(&key_bytes(0)), Some(&value(1)[1..])).is_err());
    }

    #[test]
    fn keys_are_digits() {
        assert_eq!(&key_bytes(1_234), b"0000000000001234");
        assert_eq!(parse_key(&key_bytes(1_234)), Some(1_234));
        assert_eq!((parse_key(LAST_KEY), parse_key(b"1")), (None, None));
    }
}
