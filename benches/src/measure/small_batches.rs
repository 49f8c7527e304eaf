//! 1,000 partitions of one-record batches: what a batch costs when nothing can be gathered by the client.
//!
//! librdkafka is told `linger.ms=0` (send at once) and `batch.num.messages=1` (never two records in a batch); it
//! sends one batch per Produce request, so every record is a request of its own, up to its default number in flight.

use anyhow::Result;

use super::{CpuMeter, Run, mib_per_second, per_gib};
use crate::client::{self, Load, RECORD_BYTES};
use crate::report::{Figure, figure};

/// The topic, shared with the PUT count.
pub const TOPIC: &str = "bench-1000-partitions";
/// Its partitions.
pub const PARTITIONS: i32 = 1000;
/// Records each partition gets before anything is measured. Kafka writes its first index entry after 4 KiB of log;
/// what that costs (two page faults on a mapped file per partition) belongs to the topic's beginning.
const WARM_UP_RECORDS: u64 = 20;
/// Client settings that make every batch hold one record.
pub const ONE_RECORD: &[(&str, &str)] = &[("linger.ms", "0"), ("batch.num.messages", "1")];

/// Measures throughput and the broker's CPU time per GiB and per batch.
pub fn run(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    client::create_topic(&run.peer.bootstrap, TOPIC, PARTITIONS)?;
    send(run, "one-record batches, warm-up", WARM_UP_RECORDS * PARTITIONS as u64)?;
    let meter = CpuMeter::start(run.peer)?;
    let took = send(run, "one-record batches", run.plan.small_batches)?;
    let cpu = meter.stop(run.peer)?;
    let batches = run.plan.small_batches;
    let bytes = batches * RECORD_BYTES as u64;
    let mut figures = vec![
        figure(
            "small.throughput",
            "one-record batches, 1,000 partitions",
            "MiB/s",
            mib_per_second(bytes, took),
        ),
        figure("small.cpu", "one-record batches, broker CPU", "CPU·s/GiB", per_gib(cpu.broker, bytes)),
        figure(
            "small.cpu_batch",
            "one-record batches, broker CPU",
            "µs/batch",
            cpu.broker.as_secs_f64() * 1e6 / batches as f64,
        ),
    ];
    if let Some(store) = cpu.store {
        figures.push(figure(
            "small.store_cpu",
            "one-record batches, store CPU",
            "CPU·s/GiB",
            per_gib(store, bytes),
        ));
    }
    Ok(figures)
}

fn send(run: &mut Run<'_>, what: &str, batches: u64) -> Result<std::time::Duration> {
    let load = Load {
        topic: TOPIC,
        partitions: PARTITIONS,
        records: batches,
        per_second: None,
        settings: ONE_RECORD,
    };
    let took = client::produce(&run.peer.bootstrap, run.payloads, &load, |acked| {
        run.say(&format!("{what}: {acked} of {batches}"));
    })?;
    run.say(&format!("{what}: {batches} in {took:.1?}"));
    Ok(took)
}
