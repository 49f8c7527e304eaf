//! Records at a rate, here 200 a second: how long an acknowledgement takes, and how long a record takes to reach a waiting consumer.
//!
//! The client's defaults: librdkafka lingers 5 ms, which is in every figure. A record carries the microsecond of its
//! `send` since the start of the run; the delivery callback and the consumer subtract it. The first seconds, two here, are not
//! counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::produce::PARTITIONS;
use super::{Run, plain_puts};
use crate::client::{self, Payloads, STALL};
use crate::report::{Figure, figure};

const TOPIC: &str = "bench-latency";
const RECORDS_PER_SECOND: u64 = 200;
const LEAD_IN: Duration = Duration::from_secs(2);

/// Microseconds from `send` to the delivery callback.
struct AckTimes {
    from: Instant,
    /// Begin of the measured seconds.
    lead_in: Duration,
    /// End of the measured seconds.
    until: Duration,
    micros: Mutex<Histogram<u64>>,
    /// Acknowledged within them.
    in_time: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone)]
struct Timing(Arc<AckTimes>);

impl ClientContext for Timing {}

impl ProducerContext for Timing {
    /// The microsecond of the send.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: usize) {
        let now = self.0.from.elapsed();
        if result.is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if (self.0.lead_in..self.0.until).contains(&now) {
            self.0.in_time.fetch_add(1, Ordering::Relaxed);
        }
        if sent as u128 >= self.0.lead_in.as_micros() {
            let took = (now.as_micros() as u64).saturating_sub(sent as u64);
            self.0.micros.lock().expect("no holder panics").saturating_record(took);
        }
    }
}

/// What is offered.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// `host:port`.
    pub bootstrap: &'a str,
    /// An existing topic; its records from offset 0 on are those of this offer.
    pub topic: &'a str,
    /// Its partitions, used in turn.
    pub partitions: i32,
    /// Records of [`client::RECORD_BYTES`] a second.
    pub per_second: u64,
    /// What goes before the measured seconds.
    pub lead_in: Duration,
    /// Measured seconds.
    pub seconds: u64,
    /// Record values.
    pub payloads: &'a Payloads,
}

/// How an offer was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Microseconds from `send` to the acknowledgement.
    pub acks: Histogram<u64>,
    /// Microseconds from `send` to the waiting consumer.
    pub end_to_end: Histogram<u64>,
    /// Records acknowledged within the measured seconds, per second.
    pub per_second: f64,
    /// Records sent in all.
    pub sent: u64,
}

/// Milliseconds at a quantile.
pub fn ms(micros: &Histogram<u64>, quantile: f64) -> f64 {
    micros.value_at_quantile(quantile) as f64 / 1e3
}

/// Measures acknowledgement and end-to-end latency.
pub fn run(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    client::create_topic(&run.peer.bootstrap, TOPIC, PARTITIONS)?;
    let seconds = run.plan.latency_seconds;
    run.say(&format!("{RECORDS_PER_SECOND} records/s for {seconds} s"));
    let Taken { acks, end_to_end, sent, .. } = offer(&Offer {
        bootstrap: &run.peer.bootstrap,
        topic: TOPIC,
        partitions: PARTITIONS,
        per_second: RECORDS_PER_SECOND,
        lead_in: LEAD_IN,
        seconds,
        payloads: run.payloads,
    })?;
    run.produced_bytes += sent * client::RECORD_BYTES as u64;
    let mut figures = vec![
        figure("latency.ack_p50", "200 records/s, ack p50", "ms", ms(&acks, 0.50)),
        figure("latency.ack_p99", "200 records/s, ack p99", "ms", ms(&acks, 0.99)),
        figure("latency.e2e_p50", "200 records/s, end to end p50", "ms", ms(&end_to_end, 0.50)),
        figure("latency.e2e_p99", "200 records/s, end to end p99", "ms", ms(&end_to_end, 0.99)),
    ];
    if let Some(puts) = plain_puts::run(run, RECORDS_PER_SECOND, seconds)? {
        let above = ms(&acks, 0.99) - ms(&puts, 0.99);
        figures.extend([
            figure("latency.put_p50", "one PUT to the store, p50", "ms", ms(&puts, 0.50)),
            figure("latency.put_p99", "one PUT to the store, p99", "ms", ms(&puts, 0.99)),
            figure("latency.above_put", "200 records/s, ack p99 above that of one PUT", "ms", above),
        ]);
    }
    Ok(figures)
}

/// Offers records at a rate to a topic that a consumer waits at, until all have been acknowledged and received.
pub fn offer(offer: &Offer<'_>) -> Result<Taken> {
    let records = offer.per_second * (offer.seconds + offer.lead_in.as_secs());
    let from = Instant::now();
    let acks = Arc::new(AckTimes {
        from,
        lead_in: offer.lead_in,
        until: offer.lead_in + Duration::from_secs(offer.seconds),
        micros: Mutex::new(histogram()),
        in_time: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    });
    let consumer = client::consumer(offer.bootstrap, offer.topic, offer.partitions)?;
    let stop = AtomicBool::new(false);
    let end_to_end = std::thread::scope(|scope| {
        let reader = scope.spawn(|| receive(&consumer, from, offer.lead_in, records, &stop));
        let sent = send(offer, &acks, records);
        // A consumer that has not got everything by then never will; an error in sending ends it too.
        if sent.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let received = reader.join().expect("the reader does not panic");
        sent.and(received)
    })?;
    let per_second = acks.in_time.load(Ordering::Relaxed) as f64 / offer.seconds as f64;
    let acks = acks.micros.lock().expect("no holder panics").clone();
    Ok(Taken { acks, end_to_end, per_second, sent: records })
}

fn send(offer: &Offer<'_>, acks: &Arc<AckTimes>, records: u64) -> Result<()> {
    let producer: ThreadedProducer<Timing> = ClientConfig::new()
        .set("bootstrap.servers", offer.bootstrap)
        .set("acks", "all")
        .create_with_context(Timing(acks.clone()))?;
    producer.client().fetch_metadata(Some(offer.topic), STALL).context("metadata")?;
    let begun = Instant::now();
    let mut value = vec![0; client::RECORD_BYTES];
    for i in 0..records {
        let due = begun + Duration::from_nanos(i * 1_000_000_000 / offer.per_second);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        value.copy_from_slice(offer.payloads.get(i));
        let sent = acks.from.elapsed().as_micros() as usize;
        value[..8].copy_from_slice(&(sent as u64).to_be_bytes());
        let partition = (i % offer.partitions as u64) as i32;
        let mut record: BaseRecord<'_, (), [u8], usize> =
            BaseRecord::with_opaque_to(offer.topic, sent).partition(partition).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            // A broker that does not keep up is part of what is measured.
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                return Err(error).context("send");
            };
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    producer.flush(STALL)?;
    match acks.failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        failed => bail!("{failed} of {records} records were not delivered"),
    }
}

fn receive(
    consumer: &BaseConsumer,
    from: Instant,
    lead_in: Duration,
    records: u64,
    stop: &AtomicBool,
) -> Result<Histogram<u64>> {
    let mut micros = histogram();
    let mut last = Instant::now();
    let mut read = 0;
    while read < records && !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            if last.elapsed() > STALL {
                bail!("the consumer got {read} of {records} records");
            }
            continue;
        };
        let message = message.context("consume")?;
        last = Instant::now();
        read += 1;
        let sent = message.payload().and_then(|p| p.get(..8)).context("a record without a time")?;
        let sent = u64::from_be_bytes(sent.try_into()?);
        if u128::from(sent) >= lead_in.as_micros() {
            micros.saturating_record((from.elapsed().as_micros() as u64).saturating_sub(sent));
        }
    }
    Ok(micros)
}

pub(super) fn histogram() -> Histogram<u64> {
    // Up to two minutes in microseconds, three digits.
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("constant bounds are valid")
}
