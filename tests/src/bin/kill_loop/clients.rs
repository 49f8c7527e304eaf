//! The two clients that live through the kills, and the one that reads the log at the end.
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

use crate::history::{Produced, Sequence};

/// The topic under attack.
pub const TOPIC: &str = "kill-loop";
/// Bytes of a record's value.
const VALUE: usize = 200;

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
    pub fn start(addr: SocketAddr, partitions: i32, rate: u64) -> Result<Work> {
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
            let (sent, stop) = (sent.clone(), stop_sending.clone());
            std::thread::spawn(move || send(producer, partitions, rate, &sent, &stop))
        };

        let tail = Arc::new(Mutex::new(vec![Sequence::new(); partitions as usize]));
        let stop_tailing = Arc::new(AtomicBool::new(false));
        let consumer = consumer(addr, partitions)?;
        let tailer = {
            let (tail, stop) = (tail.clone(), stop_tailing.clone());
            std::thread::spawn(move || follow(&consumer, &tail, &stop))
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
    pub fn finish_tailing(self, log: &[Sequence], patience: Duration) -> Result<Vec<Sequence>> {
        let ends: Vec<Option<i64>> = log.iter().map(|s| s.last().map(|(offset, _)| *offset)).collect();
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
fn send(
    producer: ThreadedProducer<Reports>,
    partitions: i32,
    rate: u64,
    sent: &AtomicU64,
    stop: &AtomicBool,
) -> Result<()> {
    let begun = Instant::now();
    let mut value = vec![0x55; VALUE];
    let mut i = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let due = begun + Duration::from_nanos(i.saturating_mul(1_000_000_000) / rate.max(1));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (partition, number) = ((i % partitions as u64) as i32, i / partitions as u64);
        value[..8].copy_from_slice(&number.to_be_bytes());
        let record: BaseRecord<'_, (), [u8], usize> =
            BaseRecord::with_opaque_to(TOPIC, number as usize).partition(partition).payload(&value);
        match producer.send(record) {
            Ok(()) => {
                sent.fetch_add(1, Ordering::Relaxed);
                i += 1;
            }
            // The broker is away for long: the same record again, so that numbers stay dense.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(error).context("send"),
        }
    }
    producer.flush(Duration::from_secs(1800)).context("flush")
}

/// Keeps everything a consumer gets until told to stop.
fn follow(consumer: &BaseConsumer, tail: &Mutex<Vec<Sequence>>, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(Duration::from_millis(50)) {
            None => {}
            Some(Ok(message)) => {
                let entry = (message.offset(), number(&message)?);
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

/// Reads every partition from offset 0 to its high watermark with a fresh consumer.
pub fn read_log(addr: SocketAddr, partitions: i32, patience: Duration) -> Result<Vec<Sequence>> {
    let consumer = consumer(addr, partitions)?;
    let mut ends = Vec::new();
    for partition in 0..partitions {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition, patience)?;
        if low != 0 {
            bail!("partition {partition} begins at {low}");
        }
        ends.push(high);
    }
    let mut log = vec![Sequence::new(); partitions as usize];
    let mut moved = Instant::now();
    let done = |log: &[Sequence]| {
        log.iter().zip(&ends).all(|(s, end)| s.last().map_or(0, |(offset, _)| offset + 1) >= *end)
    };
    while !done(&log) {
        if moved.elapsed() > patience {
            bail!("the log cannot be read to its end: {ends:?}");
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.context("read the log")?;
        log[message.partition() as usize].push((message.offset(), number(&message)?));
        moved = Instant::now();
    }
    // The tail's reader may get records behind the watermark it asked for; none is being sent now.
    Ok(log)
}

fn consumer(addr: SocketAddr, partitions: i32) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = common(addr)
        // Never joined with assign, but rdkafka wants a name.
        .set("group.id", "kill-loop")
        .set("enable.auto.commit", "false")
        // An offset out of range is a violation, not a reason to begin elsewhere.
        .set("auto.offset.reset", "error")
        .set("reconnect.backoff.max.ms", "500")
        .set("check.crcs", "true")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(TOPIC, partition, Offset::Offset(0))?;
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

fn common(addr: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", crate::bootstrap(addr));
    config
}

fn number(message: &impl Message) -> Result<u64> {
    let bytes = message.payload().filter(|p| p.len() == VALUE).and_then(|p| p.get(..8));
    let bytes = bytes.with_context(|| format!("offset {} holds a torn record", message.offset()))?;
    Ok(u64::from_be_bytes(bytes.try_into()?))
}

/// Errors of a broker that is away.
fn is_outage(error: &KafkaError) -> bool {
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
