//! A producer and a tail that live through everything, and the reader of the log at the end.
//!
//! A record's value begins with its number, counted per partition from 0. The producer is idempotent and never gives
//! up while the run lasts; the tail is assigned, not a group member, so that its position is librdkafka's own and a
//! rebalance cannot hide a skip. Both run on threads of their own, librdkafka's way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::process::poll_until;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::history::{Log, Produced, Sequence};

/// What producer and tail have to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// The broker.
    pub addr: SocketAddr,
    /// A new topic, which exists.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// Records a second, all partitions together.
    pub rate: u64,
    /// Bytes of a record's value, at least 8.
    pub value_bytes: usize,
    /// May the log have lost its beginning to retention or deletion?
    pub trimmed: bool,
}

/// Delivery reports as they come.
struct Ledger {
    partitions: Vec<Mutex<Produced>>,
    acknowledged: Arc<AtomicU64>,
    reported: AtomicU64,
    fatal: Mutex<Option<String>>,
}

#[derive(Clone)]
struct Reports(Arc<Ledger>);

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        // Lost connections are the point of the exercise; a fatal error ends an idempotent producer for good.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            *self.0.fatal.lock().expect("no holder panics") = Some(format!("{error}: {reason}"));
        }
    }
}

impl ProducerContext for Reports {
    /// The number of the record in its partition.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let message = match result {
            Ok(message) => message,
            Err((_, message)) => message,
        };
        let mut produced = self.0.partitions[message.partition() as usize].lock().expect("no holder panics");
        match result {
            Ok(message) => {
                produced.acknowledged.push((number as u64, message.offset()));
                self.0.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                eprintln!("record {number} of partition {} failed: {error}", message.partition());
                produced.failed += 1;
            }
        }
        self.0.reported.fetch_add(1, Ordering::Relaxed);
    }
}

/// Producer and tail at work.
pub struct Work {
    /// Records acknowledged so far.
    pub acknowledged: Arc<AtomicU64>,
    ledger: Arc<Ledger>,
    sent: Arc<AtomicU64>,
    stop_sending: Arc<AtomicBool>,
    sender: JoinHandle<Result<()>>,
    tail: Arc<Mutex<Vec<Sequence>>>,
    stop_tailing: Arc<AtomicBool>,
    tailer: JoinHandle<Result<()>>,
}

impl Work {
    /// Starts both clients.
    pub fn start(job: &Job) -> Result<Work> {
        let Job { addr, partitions, .. } = *job;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let ledger = Arc::new(Ledger {
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
            acknowledged: acknowledged.clone(),
            reported: AtomicU64::new(0),
            fatal: Mutex::new(None),
        });
        let (sent, stop_sending) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let producer: ThreadedProducer<Reports> = common(addr)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "1800000")
            // The broker is back within the second: do not wait ten for the next try.
            .set("reconnect.backoff.max.ms", "500")
            .create_with_context(Reports(ledger.clone()))?;
        let sender = {
            let (job, sent, stop) = (job.clone(), sent.clone(), stop_sending.clone());
            std::thread::spawn(move || send(producer, &job, &sent, &stop))
        };

        let tail = Arc::new(Mutex::new(vec![Sequence::new(); partitions as usize]));
        let stop_tailing = Arc::new(AtomicBool::new(false));
        // An offset out of range is a violation, not a reason to begin elsewhere.
        let consumer = consumer(job, "error")?;
        let tailer = {
            let (tail, stop) = (tail.clone(), stop_tailing.clone());
            let value_bytes = job.value_bytes;
            std::thread::spawn(move || follow(&consumer, value_bytes, &tail, &stop))
        };
        Ok(Work { acknowledged, ledger, sent, stop_sending, sender, tail, stop_tailing, tailer })
    }

    /// Fails if a client cannot go on.
    pub fn check(&self) -> Result<()> {
        if let Some(error) = &*self.ledger.fatal.lock().expect("no holder panics") {
            bail!("the idempotent producer ended: {error}");
        }
        if self.tailer.is_finished() && !self.stop_tailing.load(Ordering::Relaxed) {
            bail!("the tail ended before its time");
        }
        Ok(())
    }

    /// Records handed to the client so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Records the tail has seen.
    pub fn seen(&self) -> usize {
        self.tail.lock().expect("no holder panics").iter().map(Vec::len).sum()
    }

    /// Tells the producer to send no more; returns what it sent.
    pub fn stop_sending(&self) -> u64 {
        self.stop_sending.store(true, Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits for a report per record.
    pub fn finish_producing(&self, patience: Duration) -> Result<Vec<Produced>> {
        poll_until("a report for every record", patience, Duration::from_millis(50), || {
            self.check()?;
            let reported = self.ledger.reported.load(Ordering::Relaxed);
            Ok((self.sender.is_finished() && reported == self.sent.load(Ordering::Relaxed)).then_some(()))
        })?;
        let copy = |produced: &Mutex<Produced>| produced.lock().expect("no holder panics").clone();
        Ok(self.ledger.partitions.iter().map(copy).collect())
    }

    /// Waits until the tail has come to the end of `log`, and no longer than `patience`: what is missing then is
    /// skipped, for the verdict to say.
    pub fn finish_tailing(self, log: &[Log], patience: Duration) -> Result<Vec<Sequence>> {
        let ends: Vec<Option<i64>> =
            log.iter().map(|log| log.records.last().map(|(offset, _)| *offset)).collect();
        let deadline = Instant::now() + patience;
        loop {
            let at_end = {
                let tail = self.tail.lock().expect("no holder panics");
                tail.iter().zip(&ends).all(|(seen, end)| seen.last().map(|(offset, _)| *offset) >= *end)
            };
            if at_end || Instant::now() >= deadline {
                break;
            }
            self.check()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        self.stop_tailing.store(true, Ordering::Relaxed);
        self.tailer.join().expect("the tail does not panic")?;
        self.sender.join().expect("the sender does not panic")?;
        Ok(std::mem::take(&mut *self.tail.lock().expect("no holder panics")))
    }
}

/// Sends numbered records in turn to all partitions until told to stop, then waits for what is under way.
fn send(producer: ThreadedProducer<Reports>, job: &Job, sent: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    let Job { topic, partitions, rate, value_bytes, .. } = job;
    let (mut begun, partitions) = (Instant::now(), *partitions);
    let mut value = vec![0x55; *value_bytes];
    let mut i = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let after = Duration::from_nanos(i.saturating_mul(1_000_000_000) / (*rate).max(1));
        std::thread::sleep((begun + after).saturating_duration_since(Instant::now()));
        let (partition, number) = ((i % partitions as u64) as i32, i / partitions as u64);
        value[..8].copy_from_slice(&number.to_be_bytes());
        let record: BaseRecord<'_, (), [u8], usize> =
            BaseRecord::with_opaque_to(topic, number as usize).partition(partition).payload(&value);
        match producer.send(record) {
            Ok(()) => {
                sent.fetch_add(1, Ordering::Relaxed);
                i += 1;
            }
            // The broker is away for long: the same record again, so that numbers stay dense. What was not sent meanwhile
            // is not made up for: the rate stays.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                std::thread::sleep(Duration::from_millis(5));
                begun = Instant::now() - after;
            }
            Err((error, _)) => return Err(error).context("send"),
        }
    }
    producer.flush(Duration::from_secs(1800)).context("flush")
}

/// Keeps everything a consumer gets until told to stop.
fn follow(
    consumer: &BaseConsumer,
    value_bytes: usize,
    tail: &Mutex<Vec<Sequence>>,
    stop: &AtomicBool,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(Duration::from_millis(50)) {
            None => {}
            Some(Ok(message)) => {
                let entry = (message.offset(), number(&message, value_bytes)?);
                tail.lock().expect("no holder panics")[message.partition() as usize].push(entry);
            }
            Some(Err(error)) if is_outage(&error) => {}
            Some(Err(error)) => {
                eprintln!("the tail: {error}");
                return Err(error).context("the tail");
            }
        }
    }
    Ok(())
}

/// Reads every partition from its log start to its high watermark with a fresh consumer. What retention takes meanwhile is
/// left out: the log that is returned begins where the partition's log begins when everything was read.
pub fn read_log(job: &Job, patience: Duration) -> Result<Vec<Log>> {
    // Where retention overtakes it, it goes on at the new log start; a hole that is not retention's is told by the verdict.
    let consumer = consumer(job, "earliest")?;
    let watermarks = || -> Result<Vec<(i64, i64)>> {
        (0..job.partitions).map(|p| Ok(consumer.fetch_watermarks(&job.topic, p, patience)?)).collect()
    };
    let (mut starts, ends): (Vec<i64>, Vec<i64>) = watermarks()?.into_iter().unzip();
    if let Some(start) = starts.iter().find(|start| !job.trimmed && **start != 0) {
        bail!("a partition of {} begins at {start}", job.topic);
    }
    let mut read = vec![Sequence::new(); job.partitions as usize];
    let mut moved = Instant::now();
    // All that was to be read of a partition may have gone meanwhile.
    let whole = |((records, start), end): ((&Sequence, &i64), &i64)| {
        start >= end || records.last().map_or(0, |(offset, _)| offset + 1) >= *end
    };
    while !read.iter().zip(&starts).zip(&ends).all(whole) {
        if moved.elapsed() > patience {
            bail!("{} cannot be read to its ends {ends:?}", job.topic);
        }
        match consumer.poll(Duration::from_millis(200)).transpose().context("read the log")? {
            Some(message) => {
                let entry = (message.offset(), number(&message, job.value_bytes)?);
                read[message.partition() as usize].push(entry);
                moved = Instant::now();
            }
            None => starts = watermarks()?.into_iter().map(|(low, _)| low).collect(),
        }
    }
    // The tail's reader may get records behind the watermark it asked for; none is being sent now.
    let kept = |(mut records, (start, _)): (Sequence, (i64, i64))| {
        records.retain(|(offset, _)| *offset >= start);
        Log { start, records }
    };
    Ok(read.into_iter().zip(watermarks()?).map(kept).collect())
}

/// A consumer of all partitions, from offset 0 on; `reset` is `auto.offset.reset`.
pub fn consumer(job: &Job, reset: &str) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = common(job.addr)
        // Never joined with assign, but rdkafka wants a name.
        .set("group.id", "load")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", reset)
        .set("reconnect.backoff.max.ms", "500")
        .set("check.crcs", "true")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..job.partitions {
        assignment.add_partition_offset(&job.topic, partition, Offset::Offset(0))?;
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

fn common(addr: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addr.to_string());
    config
}

/// The number in a record's value. Errors name a record that is not as it was sent.
pub fn number(message: &impl Message, value_bytes: usize) -> Result<u64> {
    let bytes = message.payload().filter(|p| p.len() == value_bytes).and_then(|p| p.get(..8));
    let bytes = bytes.with_context(|| format!("offset {} holds a torn record", message.offset()))?;
    Ok(u64::from_be_bytes(bytes.try_into()?))
}

/// Errors of a broker that is away.
pub fn is_outage(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
        )
    )
}
