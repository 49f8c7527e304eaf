//! Looks at every log that deletes, each `log.retention.check.interval.ms`, and moves log starts.
//!
//! It goes by the wall clock, as Kafka does, and by nothing else does it delete: so a clock that jumps against the
//! monotonic one postpones the round and is warned about (SAFETY §5).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::policy::{Policy, Unit, log_start};
use crate::broker::Broker;
use crate::partition::Partition;
use crate::trims::{Trim, trim};

/// The first look comes soon after the start (`LogManager.initialTaskDelayMs`).
const FIRST_AFTER: Duration = Duration::from_secs(30);
/// A clock that went so much more or less than the monotonic one between two rounds is not believed this time.
const JUMP_MAX: Duration = Duration::from_secs(3600);
/// Log starts moved by one mutation.
const TRIMS_AT_ONCE: usize = 5_000;

/// Runs for as long as the process lives.
pub async fn run(broker: Arc<Broker>) {
    let mut last = (broker.env.clock.wall_ms(), Instant::now());
    let mut pause = FIRST_AFTER.min(interval(&broker));
    loop {
        tokio::time::sleep(pause).await;
        pause = interval(&broker);
        let now = (broker.env.clock.wall_ms(), Instant::now());
        let jump = (now.0 - last.0) - (now.1 - last.1).as_millis() as i64;
        last = now;
        if jump.unsigned_abs() > JUMP_MAX.as_millis() as u64 {
            tracing::warn!(jump_ms = jump, "the clock jumped: retention waits for the next round");
            continue;
        }
        round(&broker, now.0).await;
    }
}

fn interval(broker: &Broker) -> Duration {
    Duration::from_millis(broker.config.values.long("log.retention.check.interval.ms") as u64)
}

/// One look at all partitions that delete.
async fn round(broker: &Arc<Broker>, now_ms: i64) {
    let partitions: Vec<Arc<Partition>> = {
        let table = broker.partitions.load();
        let deleting = table.topics().filter(|topic| topic.config.load().deletes);
        deleting.flat_map(|topic| topic.partitions.iter().cloned()).collect()
    };
    let mut trims = Vec::new();
    for partition in partitions {
        let config = partition.config.load();
        let policy = Policy { retention_ms: config.retention_ms, retention_bytes: config.retention_bytes };
        let start = partition.offsets().log_start as u64;
        let target = log_start(start, &units(broker, &partition), policy, now_ms);
        // As who deletes records is told: not above the high watermark, not where the partition is closed.
        if target > start
            && let Ok(target) = partition.log_start_after(target as i64)
        {
            tracing::info!(topic = %partition.topic, partition = partition.index, from = start, to = target, "retention");
            trims.push(Trim { partition, start: target });
        }
    }
    while !trims.is_empty() {
        let some = trims.split_off(trims.len().saturating_sub(TRIMS_AT_ONCE));
        if let Err(error) = trim(broker, some).await {
            tracing::warn!(?error, "retention could not move log starts; the next round tries again");
            return;
        }
    }
}

/// All that is durable and kept of a partition: ranges of objects, then blocks of the lane.
pub fn units(broker: &Broker, partition: &Partition) -> Vec<Unit> {
    let image = broker.journal.image();
    let Some(state) = image.inner.catalog.stream(partition.stream) else { return Vec::new() };
    let ranges = state.ranges.iter();
    let mut units: Vec<Unit> = ranges
        .map(|range| Unit { end: range.end, bytes: range.bytes, max_timestamp: range.max_timestamp })
        .collect();
    let uploaded = units.last().map_or(0, |last| last.end).max(state.base);
    units.extend(partition.units_from(uploaded));
    units
}
