//! How fast a topic is compacted, what that costs, and how much memory it takes.
//!
//! A topic with about ten versions of every key is written; its `min.cleanable.dirty.ratio` lets nothing be compacted yet. Then
//! the broker is started again: its process has no memory from before that it could use instead of new, and everything was
//! uploaded. The clock runs from the change of the configuration until the broker has written that every partition is
//! compacted to the end of what was written. What is left is read and held against what was written.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::keyed::{self, Written};
use super::steps::{Rig, STOP};
use crate::client::{self, RECORD_BYTES};
use crate::measure::{CpuMeter, MIB, mib_per_second, records, rest};
use crate::peers::aquifer;
use crate::process::poll_until;
use crate::report::{Figure, figure};

const TOPIC: &str = "replay-compacted";
/// Records of a key, on average.
const VERSIONS: u64 = 10;
/// How long a broker's cleaner sleeps when it has nothing to do: by default 15 s, which would be most of the time measured.
const CLEANER: &[(&str, &str)] = &[("log.cleaner.backoff.ms", "100")];
/// `segment.ms`: after so long a segment of Kafka's is followed by another, see [`keyed::write_last`].
const SEGMENT_MS: &str = "5000";
/// Longer than that.
const SEGMENT_ENDS: Duration = Duration::from_secs(6);
/// Nothing is dirtier than that, so nothing is compacted.
const NEVER: &str = "1.0";
/// Whatever is dirty is.
const ALWAYS: &str = "0.01";
/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Writes the topic, has it compacted and measures that.
///
/// # Errors
/// The last value of a key is missing or another one, or more than that value is left.
pub fn run(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    if !rig.peer.tells_compacted() {
        return Ok(vec![]);
    }
    let bootstrap = rig.peer.bootstrap.clone();
    client::configure_broker(&bootstrap, CLEANER)?;
    let partitions = rig.plan.clean_partitions;
    client::create_configured_topic(&bootstrap, TOPIC, partitions, &configs(NEVER))?;
    let written = write(rig)?;
    let broker = rig.peer.ours().context("a broker of somebody else is not restarted")?;
    ensure!(broker.stop(STOP)?, "the broker did not stop within {STOP:?}");
    broker.start_again()?;
    until_uploaded(rig, &written)?;
    rest::wait(rig.peer)?;

    let memory = rig.peer.resident()?;
    rig.peer.forget_peak()?;
    let meter = CpuMeter::start(rig.peer)?;
    let begun = Instant::now();
    client::configure_topic(&bootstrap, TOPIC, &configs(ALWAYS))?;
    let took = until_compacted(rig, &written, begun)?;
    let cpu = meter.stop(rig.peer)?;
    let bytes = rig.plan.clean_mib * MIB;
    rig.say(&format!("compacted {} MiB in {took:.1?}", rig.plan.clean_mib));
    let mut figures = vec![figure("clean.throughput", "compacting", "MiB/s", mib_per_second(bytes, took))];
    figures.extend(cpu.figures("clean", "compacting", bytes));
    if let Some((before, after)) = memory.zip(rig.peer.resident()?) {
        let rise = after.peak.saturating_sub(before.now) as f64 / MIB as f64;
        figures.push(figure("clean.memory", "compacting, RSS, peak above before", "MiB", rise));
    }

    let left = keyed::check(&bootstrap, TOPIC, &written, |read| rig.say(&format!("checked {read} records")))?;
    let keys = written.keys();
    ensure!(left == keys, "{left} records are left of {keys} keys");
    figures.push(figure(
        "clean.left",
        "compacting, records left",
        "%",
        left as f64 / records(rig.plan.clean_mib) as f64 * 100.0,
    ));
    Ok(figures)
}

fn configs(dirty_ratio: &'static str) -> [(&'static str, &'static str); 3] {
    [("cleanup.policy", "compact"), ("segment.ms", SEGMENT_MS), ("min.cleanable.dirty.ratio", dirty_ratio)]
}

fn write(rig: &Rig<'_>) -> Result<Written> {
    let (records, partitions) = (records(rig.plan.clean_mib), rig.plan.clean_partitions);
    let load = keyed::Load { topic: TOPIC, partitions, records, keys: (records / VERSIONS).max(1) };
    let bootstrap = &rig.peer.bootstrap;
    let written = keyed::write(bootstrap, rig.payloads, &load, |acked| {
        rig.say(&format!(
            "{TOPIC}: wrote {} of {} MiB",
            acked * RECORD_BYTES as u64 / MIB,
            rig.plan.clean_mib
        ));
    })?;
    std::thread::sleep(SEGMENT_ENDS);
    keyed::write_last(bootstrap, TOPIC, partitions)?;
    Ok(written)
}

/// Until objects hold everything: what is in the lane is not compacted. Apache Kafka's segment that is written to has but
/// the record behind the last.
fn until_uploaded(rig: &Rig<'_>, written: &Written) -> Result<()> {
    let Some(storage) = &rig.peer.storage else { return Ok(()) };
    poll_until("everything in objects", PATIENCE, LOOK, || {
        let at = aquifer::partitions(storage, TOPIC)?;
        Ok(at.iter().zip(&written.ends).all(|(at, end)| at.uploaded > *end).then_some(()))
    })
}

fn until_compacted(rig: &mut Rig<'_>, written: &Written, begun: Instant) -> Result<Duration> {
    poll_until("everything compacted", PATIENCE, LOOK, || {
        rig.peer.check()?;
        let until = rig.peer.compacted(TOPIC, rig.plan.clean_partitions)?;
        Ok(until.iter().zip(&written.ends).all(|(until, end)| until >= end).then(|| begun.elapsed()))
    })
}
