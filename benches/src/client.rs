//! The lean librdkafka client every peer gets: random records, topics, a counting producer, a counting consumer.
//!
//! rdkafka's `FutureProducer` costs a future and a channel per record, more than a broker spends on it. Here a
//! record costs one `send` and one delivery callback that adds to a counter; payloads come from a pool made once.
//! Settings are the client's defaults except where a caller names one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::process::poll_until;

/// Bytes of every benchmark record.
pub const RECORD_BYTES: usize = 1024;

/// How often the client tells how many requests it has sent.
const STATISTICS: Duration = Duration::from_secs(1);

/// How long nothing may happen before a run is given up.
pub const STALL: Duration = Duration::from_secs(60);

/// Random record values, made once so that the generator is no part of what is measured.
#[derive(Debug)]
pub struct Payloads(Vec<u8>);

impl Payloads {
    const COUNT: usize = 4096;

    /// 4 MiB of random bytes from `seed`, cut into records. Random: no store or file system may compress them.
    pub fn new(seed: u64) -> Payloads {
        let mut bytes = vec![0; Payloads::COUNT * RECORD_BYTES];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        Payloads(bytes)
    }

    /// The value of record `i`.
    pub fn get(&self, i: u64) -> &[u8] {
        let at = (i as usize % Payloads::COUNT) * RECORD_BYTES;
        &self.0[at..at + RECORD_BYTES]
    }
}

/// Creates a topic with default configuration and waits until every partition has a leader.
pub fn create_topic(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    create_configured_topic(bootstrap, topic, partitions, &[])
}

/// Creates a topic and waits until every partition has a leader; a topic that exists is left as it is.
pub fn create_configured_topic(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Result<()> {
    let admin = admin(bootstrap)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let options = AdminOptions::new().operation_timeout(Some(STALL)).request_timeout(Some(STALL));
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (key, value) in configs {
        new = new.set(key, value);
    }
    for outcome in runtime.block_on(admin.create_topics([&new], &options))? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => bail!("create topic {name}: {code}"),
        }
    }
    poll_until(&format!("leaders of {topic}"), STALL, Duration::from_millis(20), || {
        let metadata = admin.inner().fetch_metadata(Some(topic), STALL)?;
        let found = metadata.topics().iter().find(|t| t.name() == topic);
        let led = found.map_or(0, |t| t.partitions().iter().filter(|p| p.leader() >= 0).count());
        Ok((led == partitions as usize).then_some(()))
    })
}

/// Gives a topic these values, and no others, in the place of all it was given before.
pub fn configure_topic(bootstrap: &str, topic: &str, configs: &[(&str, &str)]) -> Result<()> {
    configure(&admin(bootstrap)?, ResourceSpecifier::Topic(topic), configs)
}

/// The same for the broker that answers.
pub fn configure_broker(bootstrap: &str, configs: &[(&str, &str)]) -> Result<()> {
    let admin = admin(bootstrap)?;
    let metadata = admin.inner().fetch_metadata(None, STALL)?;
    let broker = metadata.brokers().first().context("Metadata without a broker")?.id();
    configure(&admin, ResourceSpecifier::Broker(broker), configs)
}

fn configure(
    admin: &AdminClient<DefaultClientContext>,
    resource: ResourceSpecifier<'_>,
    configs: &[(&str, &str)],
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let options = AdminOptions::new().operation_timeout(Some(STALL)).request_timeout(Some(STALL));
    let given = configs.iter().fold(AlterConfig::new(resource), |all, (key, value)| all.set(key, value));
    for outcome in runtime.block_on(admin.alter_configs([&given], &options))? {
        outcome.map_err(|(resource, code)| anyhow!("configure {resource:?}: {code}"))?;
    }
    Ok(())
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", bootstrap).create()?)
}

/// Counts delivery reports; the callback of every measured producer.
#[derive(Debug, Default)]
pub struct Acks {
    delivered: AtomicU64,
    failed: AtomicU64,
    /// librdkafka's newest statistics, where they were asked for.
    statistics: Mutex<Vec<u8>>,
}

impl Acks {
    /// Records delivered so far.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Records given up so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Fails if any record was not delivered.
    pub fn check(&self) -> Result<()> {
        match self.failed() {
            0 => Ok(()),
            failed => bail!("{failed} records were not delivered"),
        }
    }
}

/// The producer context around shared [`Acks`].
#[derive(Clone, Debug, Default)]
pub struct Counting(pub Arc<Acks>);

impl ClientContext for Counting {
    fn stats_raw(&self, statistics: &[u8]) {
        let mut kept = self.0.statistics.lock().expect("no holder panics");
        kept.clear();
        kept.extend_from_slice(statistics);
    }
}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.0.delivered } else { &self.0.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What to produce.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// An existing topic.
    pub topic: &'a str,
    /// Its partitions, used in turn.
    pub partitions: i32,
    /// Records of [`RECORD_BYTES`] to send.
    pub records: u64,
    /// Records per second; `None` sends as fast as the client's queue takes them.
    pub per_second: Option<u64>,
    /// Client settings besides `acks=all` and the defaults.
    pub settings: &'a [(&'a str, &'a str)],
}

/// A load that was produced.
pub struct Produced {
    /// From the first send to the last acknowledgement.
    pub took: Duration,
    records: u64,
    acks: Arc<Acks>,
    // Its own thread goes on to take the statistics.
    _producer: ThreadedProducer<Counting>,
}

impl Produced {
    /// How many Produce requests it took, as the client counts them. Waits for its next statistics: not to be called
    /// while anything is measured.
    pub fn requests(&self) -> Result<u64> {
        poll_until("the client's statistics", 5 * STATISTICS, Duration::from_millis(20), || {
            let statistics = self.acks.statistics.lock().expect("no holder panics");
            Ok(serde_json::from_slice(&statistics).ok().and_then(|all| requests(&all, self.records)))
        })
    }
}

/// The Produce requests in statistics that were taken when all `records` had been sent.
fn requests(statistics: &serde_json::Value, records: u64) -> Option<u64> {
    let sent = statistics["txmsgs"].as_u64()?;
    let brokers = statistics["brokers"].as_object()?;
    (sent >= records).then(|| brokers.values().filter_map(|b| b["req"]["Produce"].as_u64()).sum())
}

/// Produces a load until everything is acknowledged.
///
/// `progress` is told the records acknowledged, at most every second. Fails when a record is not delivered or
/// nothing moves for [`STALL`].
pub fn produce(
    bootstrap: &str,
    payloads: &Payloads,
    load: &Load<'_>,
    mut progress: impl FnMut(u64),
) -> Result<Produced> {
    let acks = Arc::new(Acks::default());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("acks", "all");
    config.set("statistics.interval.ms", STATISTICS.as_millis().to_string());
    for (key, value) in load.settings {
        config.set(*key, *value);
    }
    let producer: ThreadedProducer<Counting> = config.create_with_context(Counting(acks.clone()))?;
    // The connection and the topic's leaders belong to the client's start, not to the produce.
    producer.client().fetch_metadata(Some(load.topic), STALL).context("metadata")?;

    let started = Instant::now();
    let mut watch = Watch::new(started);
    for i in 0..load.records {
        if let Some(rate) = load.per_second {
            let due = started + Duration::from_nanos(i * 1_000_000_000 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let partition = (i % load.partitions as u64) as i32;
        let mut record: BaseRecord<'_, (), [u8]> =
            BaseRecord::to(load.topic).partition(partition).payload(payloads.get(i));
        while let Err((error, back)) = producer.send(record) {
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                return Err(error).context("send");
            };
            record = back;
            watch.look(acks.delivered(), &mut progress)?;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    while acks.delivered() < load.records {
        acks.check()?;
        watch.look(acks.delivered(), &mut progress)?;
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(Produced { took: started.elapsed(), records: load.records, acks, _producer: producer })
}

/// A consumer assigned to every partition of a topic, from offset 0 on. No group: nothing is committed.
pub fn consumer(bootstrap: &str, topic: &str, partitions: i32) -> Result<BaseConsumer> {
    let consumer = unassigned(bootstrap)?;
    assign(&consumer, topic, partitions)?;
    Ok(consumer)
}

fn unassigned(bootstrap: &str) -> Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        // rdkafka polls the consumer's queue only when a group is named; with assign it is never joined.
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .create()?)
}

fn assign(consumer: &BaseConsumer, topic: &str, partitions: i32) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    Ok(consumer.assign(&assignment)?)
}

/// What a replay took, from the assignment of its partitions on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replayed {
    /// Records read.
    pub records: u64,
    /// Until the first record.
    pub first: Duration,
    /// Until the last.
    pub took: Duration,
}

/// Reads `records` records from the start of a topic. The connection and the topic's leaders belong to the client's start
/// and are there before the clock runs.
///
/// `progress` is told the records read, at most every second, and says whether to go on. Fails when an offset is left out
/// or comes twice, a record has another length, or nothing moves for [`STALL`].
pub fn replay(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    records: u64,
    mut progress: impl FnMut(u64) -> bool,
) -> Result<Replayed> {
    /// Between two looks at the clock.
    const LOOK: u64 = 16_384;
    let consumer = unassigned(bootstrap)?;
    consumer.client().fetch_metadata(Some(topic), STALL).context("metadata")?;
    let mut next = vec![0i64; usize::try_from(partitions)?];
    let started = Instant::now();
    assign(&consumer, topic, partitions)?;
    let mut watch = Watch::new(started);
    let mut go_on = true;
    let mut replayed = Replayed::default();
    while replayed.records < records && go_on {
        let message = consumer.poll(Duration::from_millis(100)).transpose().context("consume")?;
        if let Some(message) = &message {
            if message.payload_len() != RECORD_BYTES {
                bail!("a record of {} bytes", message.payload_len());
            }
            let (partition, offset) = (message.partition(), message.offset());
            let next = next.get_mut(partition as usize).context("a partition that was not asked for")?;
            if offset != *next {
                bail!("partition {partition}: offset {offset} where {next} was to come");
            }
            *next += 1;
            replayed.records += 1;
            if replayed.records == 1 {
                replayed.first = started.elapsed();
            }
        }
        if message.is_none() || replayed.records.is_multiple_of(LOOK) {
            watch.look(replayed.records, &mut |read| go_on = progress(read))?;
        }
    }
    replayed.took = started.elapsed();
    Ok(replayed)
}

/// Tells progress once a second and gives up after [`STALL`] without any.
pub(crate) struct Watch {
    told: Instant,
    moved: Instant,
    last: u64,
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Watch {
        Watch { told: now, moved: now, last: 0 }
    }

    pub(crate) fn look(&mut self, count: u64, progress: &mut impl FnMut(u64)) -> Result<()> {
        let now = Instant::now();
        if count != self.last {
            (self.last, self.moved) = (count, now);
        } else if now - self.moved > STALL {
            bail!("nothing moved for {STALL:?} after {count} records");
        }
        if now - self.told >= Duration::from_secs(1) {
            self.told = now;
            progress(count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_once_everything_was_sent() {
        let statistics = serde_json::json!({
            "txmsgs": 30,
            "brokers": {
                "127.0.0.1:9092/bootstrap": {"req": {"Metadata": 2, "Produce": 0}},
                "127.0.0.1:9092/0": {"req": {"Produce": 4}},
                "127.0.0.1:9093/1": {"req": {"Produce": 3}},
            },
        });
        assert_eq!(requests(&statistics, 30), Some(7));
        assert_eq!(requests(&statistics, 31), None);
        assert_eq!(requests(&serde_json::Value::Null, 0), None);
    }
}
