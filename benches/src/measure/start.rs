//! Start of an empty broker: time to the first answered Metadata, and what it holds when nobody uses it.

use std::time::Duration;

use anyhow::Result;

use super::{CpuMeter, MIB, Run};
use crate::report::{Figure, figure};

/// How long the broker is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);

/// Reads the time the peer took to start, and its idle memory and CPU.
pub fn run(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    let Some(started) = run.peer.started_in else { return Ok(vec![]) };
    run.say(&format!("started in {started:.1?}; idle for {SETTLE:?}"));
    let meter = CpuMeter::start(run.peer)?;
    std::thread::sleep(SETTLE);
    let (Some(busy), Some(idle)) = (meter.stop(run.peer)?.broker, run.peer.resident()?) else {
        return Ok(vec![]);
    };
    Ok(vec![
        figure("start.empty", "start, empty, to first Metadata", "ms", started.as_secs_f64() * 1e3),
        figure("memory.idle", "resident when idle", "MiB", idle.now as f64 / MIB as f64),
        figure("start.cpu_idle", "CPU when idle", "%", busy.as_secs_f64() / SETTLE.as_secs_f64() * 100.0),
    ])
}
