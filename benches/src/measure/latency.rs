//! 200 records a second: how long an acknowledgement takes, and how long a record takes to reach a waiting consumer.
//!
//! The client's defaults: librdkafka lingers 5 ms, which is in every figure. A record carries the microsecond of its
//! `send` since the start of the run; the delivery callback and the consumer subtract it. The first two seconds are
//! not counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::Run;
use super::produce::PARTITIONS;
use crate::client::{self, STALL};
use crate::report::{Figure, figure};

const TOPIC: &str = "bench-latency";
const RECORDS_PER_SECOND: u64 = 200;
const LEAD_IN: Duration = Duration::from_secs(2);

/// Microseconds from `send` to the delivery callback.
struct AckTimes {
    from: Instant,
    micros: Mutex<Histogram<u64>>,
    acked: AtomicU64,
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
        self.0.acked.fetch_add(1, Ordering::Relaxed);
        if result.is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        } else if sent as u128 >= LEAD_IN.as_micros() {
            let took = (now.as_micros() as u64).saturating_sub(sent as u64);
            self.0.micros.lock().expect("no holder panics").saturating_record(took);
        }
    }
}

/// Measures acknowledgement and end-to-end latency.
pub fn run(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    client::create_topic(&run.peer.bootstrap, TOPIC, PARTITIONS)?;
    let seconds = run.plan.latency_seconds;
    run.say(&format!("{RECORDS_PER_SECOND} records/s for {seconds} s"));
    let records = RECORDS_PER_SECOND * (seconds + LEAD_IN.as_secs());

    let from = Instant::now();
    let acks = Arc::new(AckTimes {
        from,
        micros: Mutex::new(histogram()),
        acked: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    });
    let consumer = client::consumer(&run.peer.bootstrap, TOPIC, PARTITIONS)?;
    let stop = AtomicBool::new(false);
    let end_to_end = std::thread::scope(|scope| {
        let reader = scope.spawn(|| receive(&consumer, from, records, &stop));
        let sent = send(run, &acks, records);
        // A consumer that has not got everything by then never will; an error in sending ends it too.
        if sent.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let received = reader.join().expect("the reader does not panic");
        sent.and(received)
    })?;
    run.produced_bytes += records * client::RECORD_BYTES as u64;
    let micros = acks.micros.lock().expect("no holder panics");
    let ms = |histogram: &Histogram<u64>, q: f64| histogram.value_at_quantile(q) as f64 / 1e3;
    Ok(vec![
        figure("latency.ack_p50", "200 records/s, ack p50", "ms", ms(&micros, 0.50)),
        figure("latency.ack_p99", "200 records/s, ack p99", "ms", ms(&micros, 0.99)),
        figure("latency.e2e_p50", "200 records/s, end to end p50", "ms", ms(&end_to_end, 0.50)),
        figure("latency.e2e_p99", "200 records/s, end to end p99", "ms", ms(&end_to_end, 0.99)),
    ])
}

fn send(run: &Run<'_>, acks: &Arc<AckTimes>, records: u64) -> Result<()> {
    let producer: ThreadedProducer<Timing> = ClientConfig::new()
        .set("bootstrap.servers", &run.peer.bootstrap)
        .set("acks", "all")
        .create_with_context(Timing(acks.clone()))?;
    producer.client().fetch_metadata(Some(TOPIC), STALL).context("metadata")?;
    let begun = Instant::now();
    let mut value = vec![0; client::RECORD_BYTES];
    for i in 0..records {
        let due = begun + Duration::from_micros(i * 1_000_000 / RECORDS_PER_SECOND);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        value.copy_from_slice(run.payloads.get(i));
        let sent = acks.from.elapsed().as_micros() as usize;
        value[..8].copy_from_slice(&(sent as u64).to_be_bytes());
        let record: BaseRecord<'_, (), [u8], usize> =
            BaseRecord::with_opaque_to(TOPIC, sent).partition((i % PARTITIONS as u64) as i32).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
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
        if u128::from(sent) >= LEAD_IN.as_micros() {
            micros.saturating_record((from.elapsed().as_micros() as u64).saturating_sub(sent));
        }
    }
    Ok(micros)
}

fn histogram() -> Histogram<u64> {
    // Up to two minutes in microseconds, three digits.
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("constant bounds are valid")
}
