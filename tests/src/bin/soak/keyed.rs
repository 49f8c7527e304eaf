//! The compacted topic: a few keys, written again and again. Whatever log compaction removes, the newest value of every key
//! must be there at the end, and the values of a key must stand in the order in which they were written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::tests::load::clients::{Job, consumer};
use anyhow::{Context, Result, bail, ensure};
use benches::client::create_configured_topic;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::LATE_SECONDS;

/// Its name.
pub const TOPIC: &str = "soak-compacted";
const PARTITIONS: i32 = 2;
/// Keys written in turn; key `k` goes to partition `k` modulo their number.
const KEYS: u64 = 500;
const PER_SECOND: u64 = 500;
/// Soon dirty, soon old: as soon as there is compaction, there is something to compact.
const CONFIGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("segment.ms", "5000"),
    ("max.compaction.lag.ms", "10000"),
];

/// Records that may be left at the end: the newest of every key, and what was written since a round began that began as late
/// as `max.compaction.lag.ms` lets it, took as long again, and came after a kill.
pub fn left_most() -> u64 {
    KEYS + PER_SECOND * (2 * 10 + LATE_SECONDS)
}

/// What was acknowledged.
#[derive(Default)]
struct Ledger {
    /// Newest value by key.
    newest: Mutex<BTreeMap<u64, u64>>,
    acknowledged: AtomicU64,
    reported: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone)]
struct Reports(Arc<Ledger>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// The value, which is the number of the record.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, value: usize) {
        let value = value as u64;
        if result.is_ok() {
            let mut newest = self.0.newest.lock().expect("no holder panics");
            let known = newest.entry(value % KEYS).or_default();
            *known = (*known).max(value);
            self.0.acknowledged.fetch_add(1, Ordering::Relaxed);
        } else {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.0.reported.fetch_add(1, Ordering::Relaxed);
    }
}

/// The producer.
pub struct Keyed {
    job: Job,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Keyed {
    /// Creates the topic and begins to write.
    pub fn start(addr: SocketAddr) -> Result<Keyed> {
        create_configured_topic(&addr.to_string(), TOPIC, PARTITIONS, CONFIGS)?;
        let ledger = Arc::new(Ledger::default());
        let producer: ThreadedProducer<Reports> = ClientConfig::new()
            .set("bootstrap.servers", addr.to_string())
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "1800000")
            .set("reconnect.backoff.max.ms", "500")
            .create_with_context(Reports(ledger.clone()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = std::thread::spawn(move || write(&producer, &ended));
        let job = Job {
            addr,
            topic: TOPIC.into(),
            partitions: PARTITIONS,
            rate: PER_SECOND,
            value_bytes: 8,
            trimmed: true,
        };
        Ok(Keyed { job, ledger, stop, thread })
    }

    /// Fails if the producer cannot go on.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.thread.is_finished(), "the producer of {TOPIC} ended before its time");
        Ok(())
    }

    /// Ends the writing and reads everything; returns what was acknowledged, what is in the log, and what is wrong with it.
    pub fn finish(self, patience: Duration) -> Result<(u64, u64, Vec<String>)> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.thread.join().expect("the producer does not panic")?;
        benches::process::poll_until("a report for every keyed record", patience, POLL, || {
            Ok((self.ledger.reported.load(Ordering::Relaxed) == sent).then_some(()))
        })?;
        let log = read(&self.job, patience)?;
        let kept = log.values().map(Vec::len).sum::<usize>() as u64;
        let newest = self.ledger.newest.lock().expect("no holder panics");
        let mut found = complaints(&newest, &log);
        match self.ledger.failed.load(Ordering::Relaxed) {
            0 => {}
            failed => found.push(format!("{failed} failed")),
        }
        Ok((self.ledger.acknowledged.load(Ordering::Relaxed), kept, found))
    }
}

const POLL: Duration = Duration::from_millis(50);

fn write(producer: &ThreadedProducer<Reports>, stop: &AtomicBool) -> Result<u64> {
    let begun = Instant::now();
    let mut value = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let due = begun + Duration::from_nanos(value * 1_000_000_000 / PER_SECOND);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let key = value % KEYS;
        let (key_bytes, bytes) = (key.to_be_bytes(), value.to_be_bytes());
        let record = BaseRecord::with_opaque_to(TOPIC, value as usize)
            .partition((key % PARTITIONS as u64) as i32)
            .key(&key_bytes[..])
            .payload(&bytes[..]);
        match producer.send(record) {
            Ok(()) => value += 1,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => std::thread::sleep(POLL),
            Err((error, _)) => return Err(error).context("send"),
        }
    }
    producer.flush(Duration::from_secs(1800)).context("flush")?;
    Ok(value)
}

/// All values of every key, in the order of the log.
fn read(job: &Job, patience: Duration) -> Result<BTreeMap<u64, Vec<u64>>> {
    let reader = consumer(job, "earliest")?;
    let mut values: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut left = Vec::new();
    for partition in 0..job.partitions {
        let (low, high) = reader.fetch_watermarks(&job.topic, partition, patience)?;
        left.push((low < high).then_some(high));
    }
    let mut moved = Instant::now();
    while left.iter().any(Option::is_some) {
        if moved.elapsed() > patience {
            bail!("{TOPIC} cannot be read to its end: {left:?}");
        }
        let Some(message) = reader.poll(POLL) else { continue };
        let message = message.context("read the compacted log")?;
        moved = Instant::now();
        let number = |bytes: Option<&[u8]>| Some(u64::from_be_bytes(bytes?.try_into().ok()?));
        let key = number(message.key()).context("a record without its key")?;
        let value = number(message.payload()).context("a record without its value")?;
        values.entry(key).or_default().push(value);
        // The newest record of a log stays, so that its end is always reached.
        let left = &mut left[message.partition() as usize];
        if left.is_some_and(|high| message.offset() + 1 >= high) {
            *left = None;
        }
    }
    Ok(values)
}

fn complaints(newest: &BTreeMap<u64, u64>, log: &BTreeMap<u64, Vec<u64>>) -> Vec<String> {
    let none = Vec::new();
    let of = |key: &u64| log.get(key).unwrap_or(&none);
    let old = newest.iter().filter(|(key, value)| of(key).last().is_none_or(|last| last < value)).count();
    let disordered = log.values().filter(|values| !values.is_sorted_by(|a, b| a < b)).count();
    let foreign = log.iter().filter(|(key, values)| values.iter().any(|value| value % KEYS != **key)).count();
    [
        (old, "keys without their newest value"),
        (disordered, "keys out of order"),
        (foreign, "keys with values of others"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_must_be_there_and_last() {
        let newest = BTreeMap::from([(1, 501), (2, 2)]);
        let judge = |one: &[u64], two: &[u64]| {
            complaints(&newest, &BTreeMap::from([(1, one.to_vec()), (2, two.to_vec())]))
        };
        assert_eq!(judge(&[501], &[2]), [""; 0]);
        // Written, and not acknowledged.
        assert_eq!(judge(&[1, 501, 1001], &[2]), [""; 0]);
        assert_eq!(judge(&[1], &[]), ["2 keys without their newest value"]);
        assert_eq!(judge(&[1, 1, 501], &[2]), ["1 keys out of order"]);
        assert_eq!(judge(&[501, 502], &[2]), ["1 keys with values of others"]);
    }
}
