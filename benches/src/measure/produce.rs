//! Produce: 1 KiB random records to 4 partitions, acks=all, the client's defaults otherwise.
//!
//! The warm-up goes to a topic of its own, so that the replay reads exactly what was measured here.

use anyhow::Result;

use super::{CpuMeter, MIB, Run, mib_per_second, per_gib, records};
use crate::client::{self, Load, RECORD_BYTES};
use crate::report::{Figure, figure};

/// Partitions of the produce and replay topics.
pub const PARTITIONS: i32 = 4;
/// The topic of the warm-up.
pub const WARM_UP: &str = "bench-warm-up";
/// The topic of the measured records.
pub const MEASURED: &str = "bench-produce";

/// Fills the warm-up topic; everything after it runs on a warm broker.
pub fn warm_up(run: &mut Run<'_>) -> Result<()> {
    client::create_topic(&run.peer.bootstrap, WARM_UP, PARTITIONS)?;
    send(run, "warm-up", WARM_UP, run.plan.warm_up_mib)?;
    Ok(())
}

/// Measures throughput, the broker's CPU time per GiB, and memory under load.
pub fn run(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    client::create_topic(&run.peer.bootstrap, MEASURED, PARTITIONS)?;
    let meter = CpuMeter::start(run.peer)?;
    let took = send(run, "produce", MEASURED, run.plan.size_mib)?;
    let cpu = meter.stop(run.peer)?;
    let memory = run.peer.resident()?;
    let bytes = run.plan.size_mib * MIB;
    let mut figures = vec![
        figure("produce.throughput", "produce", "MiB/s", mib_per_second(bytes, took)),
        figure("produce.cpu", "produce, broker CPU", "CPU·s/GiB", per_gib(cpu.broker, bytes)),
        figure("produce.rss", "resident after produce", "MiB", memory.now as f64 / MIB as f64),
        figure("produce.rss_peak", "resident, peak so far", "MiB", memory.peak as f64 / MIB as f64),
    ];
    if let Some(store) = cpu.store {
        figures.push(figure("produce.store_cpu", "produce, store CPU", "CPU·s/GiB", per_gib(store, bytes)));
    }
    Ok(figures)
}

fn send(run: &mut Run<'_>, what: &str, topic: &str, mib: u64) -> Result<std::time::Duration> {
    let load = Load { topic, partitions: PARTITIONS, records: records(mib), per_second: None, settings: &[] };
    let took = client::produce(&run.peer.bootstrap, run.payloads, &load, |acked| {
        run.say(&format!("{what}: {} of {mib} MiB", acked * RECORD_BYTES as u64 / MIB));
    })?;
    run.say(&format!("{what}: {mib} MiB in {took:.1?}"));
    Ok(took)
}
