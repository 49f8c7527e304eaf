//! Warm replay: a consumer reads from offset 0 what was just produced and memory (or the page cache) still holds.
//!
//! One unmeasured pass over the warm-up topic goes before, so that the fetch path is warm as well.

use anyhow::Result;

use super::{CpuMeter, MIB, Run, mib_per_second, produce, records};
use crate::client::{self, RECORD_BYTES};
use crate::report::{Figure, figure};

/// Measures throughput and the broker's CPU time per GiB.
pub fn run(run: &mut Run<'_>, produced: bool) -> Result<Vec<Figure>> {
    read(run, "replay warm-up", produce::WARM_UP, run.plan.warm_up_mib)?;
    let (topic, mib) = match produced {
        true => (produce::MEASURED, run.plan.size_mib),
        false => (produce::WARM_UP, run.plan.warm_up_mib),
    };
    let meter = CpuMeter::start(run.peer)?;
    let took = read(run, "replay", topic, mib)?;
    let cpu = meter.stop(run.peer)?;
    let bytes = mib * MIB;
    let mut figures = vec![figure("replay.throughput", "warm replay", "MiB/s", mib_per_second(bytes, took))];
    figures.extend(cpu.figures("replay", "warm replay", bytes));
    Ok(figures)
}

fn read(run: &mut Run<'_>, what: &str, topic: &str, mib: u64) -> Result<std::time::Duration> {
    let took = client::replay(&run.peer.bootstrap, topic, produce::PARTITIONS, records(mib), |read| {
        run.say(&format!("{what}: {} of {mib} MiB", read * RECORD_BYTES as u64 / MIB));
        true
    })?
    .took;
    run.say(&format!("{what}: {mib} MiB in {took:.1?}"));
    Ok(took)
}
