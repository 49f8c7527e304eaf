//! The shell: looks for the dirtiest partition, reads it twice, writes what stays, and proposes the record that swaps it.
//! (Kafka: `LogCleaner.CleanerThread`.)
//!
//! One partition at a time, in the process that leads it. Units are the ranges of the catalog; the lane's blocks are not
//! touched. A log is written in sections, each with a record of its own, oldest first: a tombstone goes no earlier than what
//! it deletes. What stays of one becomes several objects of that record where it is more than a share of memory.
//! What is clean is stated with the last. Whatever fails in between leaves a log that says the same, only less clean. Merging
//! leaves alone what a round reads (`s3stream::claims`).
//!
//! Transactions are not served yet: no log has markers or aborted data, so none are named to the passes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use s3stream::budget::Class;
use s3stream::catalog::{Catalog, StreamRange, StreamState};
use s3stream::ids::StreamId;
use s3stream::rewrite::Rewriter;
use tokio::time::{Instant, sleep};

use super::ages::Ages;
use super::build_map::{Fed, MapBuilder};
use super::filter::{Filter, FilterRules};
use super::offset_map::OffsetMap;
use super::plan::{self, Cleaning, LogFacts, Unit};
use super::read::STEPS;
use super::round::{Failed, Round};
use super::section::sections;
use super::stats::CleanerStats;
use super::transactions::CleanedTransactions;
use crate::broker::Broker;
use crate::partition::Partition;

/// How long a partition is left alone that could not be cleaned.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// An idle cleaner sleeps so long at least: `log.cleaner.backoff.ms` may be 0.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// A partition whose ranges were merged or trimmed meanwhile is looked at again so soon.
const OUTDATED_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that are read at a time, at least and at most. A store answers a larger GET no faster.
const STEP_BYTES: (u64, u64) = (256 << 10, 4 << 20);
/// Bytes of an object in the making, at least and at most.
const OBJECT_BYTES: (u64, u64) = (1 << 20, 8 << 20);
/// Bytes of the table of keys at most: 1.25 million keys a round. More of them take more rounds, not more memory.
const TABLE_BYTES_MAX: u64 = 32 << 20;
/// A section has so many objects' bytes: a record each, and most of it goes.
const SECTION_OBJECTS: u64 = 16;

/// What a round takes of class merge: 3/8 at most, so that an upload, which takes half, never waits for its end; and 56 MiB
/// at most, however much there is.
#[derive(Debug, PartialEq, Eq)]
struct Shares {
    /// The table of keys.
    table: u64,
    /// An object in the making.
    object: u64,
    /// What is read at a time.
    step: u64,
}

impl Shares {
    /// Bytes of steps. Who finds a change late reads what is before it once more, beside what it reads.
    fn steps(step: u64) -> u64 {
        2 * STEPS * step
    }

    /// Of a class of `capacity`, for a table of at most `table` bytes.
    fn of(capacity: u64, table: u64) -> Shares {
        let step = (capacity / 32).clamp(STEP_BYTES.0, STEP_BYTES.1);
        let object = (capacity / 4).saturating_sub(Shares::steps(step)).clamp(OBJECT_BYTES.0, OBJECT_BYTES.1);
        Shares { table: table.min(capacity / 8).min(TABLE_BYTES_MAX), object, step }
    }

    fn sum(&self) -> u64 {
        self.table + self.object + Shares::steps(self.step)
    }
}

/// A partition that is due, as one image has it.
struct Candidate {
    partition: Arc<Partition>,
    catalog: Catalog,
    state: StreamState,
    now_ms: i64,
}

/// Cleans for as long as the process lives.
pub async fn run(broker: Arc<Broker>, objects: Rewriter) {
    if !broker.config.values.boolean("log.cleaner.enable") {
        return;
    }
    let mut left_alone: HashMap<StreamId, Instant> = HashMap::new();
    let mut ages = Ages::default();
    loop {
        left_alone.retain(|_, since| since.elapsed() < LEFT_ALONE);
        let Some((candidate, cleaning)) = filthiest(&broker, &objects, &left_alone, &mut ages).await else {
            let backoff = broker.live.load().values.long("log.cleaner.backoff.ms").max(0) as u64;
            sleep(Duration::from_millis(backoff).max(BACKOFF_MIN)).await;
            continue;
        };
        let Partition { topic, index, stream, .. } = &*candidate.partition;
        match clean(&broker, &objects, &candidate, &cleaning).await {
            Ok(stats) => {
                let (read, written) = (stats.messages_read, stats.messages_written);
                tracing::debug!(%topic, partition = index, read, written, "compacted");
            }
            Err(error) if error.is_of_storage() && is_outdated(&objects, &candidate, &cleaning) => {
                tracing::debug!(%topic, partition = index, %error, "merged or trimmed while it was compacted");
                sleep(OUTDATED_PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(%topic, partition = index, %error, "could not be compacted; it is left alone for a while");
                left_alone.insert(*stream, Instant::now());
            }
        }
    }
}

/// The partition to clean next, of those that are led here.
async fn filthiest(
    broker: &Broker,
    objects: &Rewriter,
    left_alone: &HashMap<StreamId, Instant>,
    ages: &mut Ages,
) -> Option<(Candidate, Cleaning)> {
    let catalog = broker.journal.image().inner.catalog.clone();
    let now_ms = broker.env.clock.wall_ms();
    let table = broker.partitions.load_full();
    ages.retain(|stream| catalog.stream(stream).is_some());
    let mut due = Vec::new();
    for topic in table.topics() {
        let config = topic.config.load_full();
        if !config.compacted {
            continue;
        }
        for partition in &topic.partitions {
            let state = catalog.stream(partition.stream).filter(|state| state.owner == broker.incarnation);
            let Some(state) = state else { continue };
            if left_alone.contains_key(&partition.stream) || partition.check_epoch(-1).is_err() {
                continue;
            }
            let units: Vec<Unit> = state.ranges.iter().map(unit).collect();
            let offsets = partition.offsets();
            let facts = LogFacts {
                log_start: offsets.log_start,
                log_end: offsets.log_end,
                last_stable_offset: offsets.high_watermark,
                uploaded_end: state.base as i64,
                cleaned_until: (state.cleaned > 0).then_some(state.cleaned as i64),
                units: &units,
            };
            let mut planned = plan::plan(&facts, &config.compaction, now_ms);
            if planned.is_none() && config.compaction.max_compaction_lag_ms < i64::MAX {
                // How old it is decides. The first that is dirty is the oldest, as far as times go up.
                let dirty_from =
                    plan::measure(&facts, &config.compaction, now_ms).map_or(i64::MAX, |m| m.dirty_from);
                let first = units.iter().position(|unit| unit.end > dirty_from);
                if let Some((range, first)) = first.map(|first| (&state.ranges[first], first)) {
                    let (stream, from) = (partition.stream, dirty_from as u64);
                    let mut known = units.clone();
                    known[first].first_timestamp =
                        ages.first_timestamp(objects, &catalog, stream, range, from).await;
                    planned = plan::plan(&LogFacts { units: &known, ..facts }, &config.compaction, now_ms);
                }
            }
            due.extend(planned.map(|cleaning| (partition.clone(), cleaning)));
        }
    }
    // Topics come in no order.
    due.sort_by(|(a, _), (b, _)| (&a.topic, a.index).cmp(&(&b.topic, b.index)));
    let (partition, cleaning) = plan::order(due).into_iter().next()?;
    let state = catalog.stream(partition.stream)?.clone();
    Some((Candidate { partition, catalog, state, now_ms }, cleaning))
}

fn unit(range: &StreamRange) -> Unit {
    let (first_timestamp, max_timestamp) = (range.max_timestamp, range.max_timestamp);
    Unit {
        start: range.start as i64,
        end: range.end as i64,
        bytes: range.bytes,
        first_timestamp,
        max_timestamp,
    }
}

/// One round of one partition.
async fn clean(
    broker: &Broker,
    objects: &Rewriter,
    candidate: &Candidate,
    cleaning: &Cleaning,
) -> Result<CleanerStats, Failed> {
    let live = broker.live.load_full();
    let class = broker.budget.class(Class::Merge);
    let dedupe_buffer = live.values.long("log.cleaner.dedupe.buffer.size").max(0) as u64;
    let load_factor = live.values.double("log.cleaner.io.buffer.load.factor");
    // There are no more keys than offsets. Keys stand anywhere in the table: a larger one would take all its pages.
    let offsets = cleaning.until.saturating_sub(cleaning.dirty_from).max(0) as u64;
    let table = OffsetMap::bytes_for(offsets, load_factor).min(dedupe_buffer);
    let shares = Shares::of(class.capacity(), table);
    let planned = candidate.ranges_below(cleaning.until);
    // Before the wait for memory, which is for a merge: what that replaces it shall not begin with meanwhile.
    let _claim = objects.claims.claim(planned.iter().map(|range| range.object));
    let _room = class.acquire(shares.sum()).await;
    if is_outdated(objects, candidate, cleaning) {
        return Err(Failed::Outdated);
    }
    let mut map = OffsetMap::new(shares.table as usize, load_factor, broker.env.entropy.u64())?;
    let limit = broker.decompressed_bytes_max();
    let Candidate { partition, catalog, state, now_ms } = candidate;
    let (object_bytes, step_bytes) = (shares.object, shares.step);
    let round = Round { objects, stream: partition.stream, catalog, state, object_bytes, step_bytes };

    let from = planned.partition_point(|range| range.end as i64 <= cleaning.dirty_from);
    let mut builder =
        MapBuilder::new(&mut map, cleaning.dirty_from, cleaning.until, CleanedTransactions::default(), limit);
    let mut batches = round.batches(&planned[from..]).from(cleaning.dirty_from as u64);
    while let Some(batch) = batches.next().await? {
        if builder.feed(&batch)? == Fed::Enough {
            break;
        }
    }
    drop(batches);
    let (until, mut stats) = builder.finish();
    if until <= cleaning.dirty_from {
        return Err(Failed::NoProgress(cleaning.dirty_from));
    }

    let rules = FilterRules {
        until,
        upper_bound: cleaning.until,
        now_ms: *now_ms,
        delete_retention_ms: partition.config.load().compaction.delete_retention_ms,
        decompressed_bytes_max: limit,
    };
    let producers = partition.last_records();
    let mut filter = Filter::new(&map, rules, &producers, CleanedTransactions::default());
    let sections = sections(candidate.ranges_below(until), SECTION_OBJECTS * shares.object);
    for (at, ranges) in sections.iter().enumerate() {
        let cleaned = (at + 1 == sections.len()).then_some(until as u64);
        if round.rewrite(ranges, cleaned, &mut filter).await? {
            partition.rewritten(ranges.last().map_or(0, |range| range.end));
        }
    }
    stats.add(filter.stats());
    Ok(stats)
}

/// Has the image other ranges by now, or another owner?
fn is_outdated(objects: &Rewriter, candidate: &Candidate, cleaning: &Cleaning) -> bool {
    let (_, catalog) = objects.journal.catalog();
    let Some(now) = catalog.stream(candidate.partition.stream) else { return true };
    let was = &candidate.state;
    let same_owner = (now.owner, now.epoch) == (was.owner, was.epoch);
    !(same_owner && now.ranges.starts_with(candidate.ranges_below(cleaning.until)))
}

impl Candidate {
    /// Ranges that begin below an offset.
    fn ranges_below(&self, end: i64) -> &[StreamRange] {
        let ranges = &self.state.ranges;
        &ranges[..ranges.partition_point(|range| (range.start as i64) < end)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_takes_no_more_than_it_needs_nor_more_than_its_part() {
        const MIB: u64 = 1 << 20;
        let plenty = Shares::of(1 << 40, u64::MAX);
        assert_eq!(plenty, Shares { table: 32 * MIB, object: 8 * MIB, step: 4 * MIB });
        assert_eq!(plenty.sum(), 56 * MIB);
        assert_eq!(Shares::of(1 << 40, 1000).table, 1000);
        for capacity in [8 * MIB, 25 * MIB, 100 * MIB, 600 * MIB] {
            let shares = Shares::of(capacity, u64::MAX);
            assert!(shares.sum() <= capacity * 3 / 8, "{capacity}: {shares:?}");
        }
        // The smallest budget there is: less than this does not clean.
        assert_eq!(Shares::of(MIB, u64::MAX).sum(), MIB / 8 + MIB + MIB);
    }
}
