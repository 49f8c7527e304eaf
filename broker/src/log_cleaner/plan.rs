//! Which partition is cleaned next, and from where to where.
//!
//! Owns: the arithmetic of Kafka's cleaner over facts of a partition. Does not own the facts: offsets come from the partition
//! and the uploaded end, units from storage's index. (Kafka: `LogCleanerManager`, `LogToClean`; KIP-58, KIP-354.)
//!
//! A *unit* is what storage replaces as a whole (Kafka: a segment): a round ends at a unit's start. What is still in the lane
//! is Kafka's active segment: never cleaned. Uploads are smaller and come more often than segments, and a round costs an
//! object and a commit: so what follows the last round waits, as the active segment would, until it is as large as
//! the smallest segment ([`ROUND_BYTES_MIN`]), or `segment.ms` old.

use crate::config::Values;

/// Dirty bytes that are worth a round: the least that Kafka takes for `segment.bytes`.
pub const ROUND_BYTES_MIN: u64 = 1 << 20;

/// A topic's configuration of log compaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionConfig {
    /// `min.cleanable.dirty.ratio`, from 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: how long a record stays uncompacted, at least.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: and at most.
    pub max_compaction_lag_ms: i64,
    /// `delete.retention.ms`: how long a tombstone stays after it was met first. Pass 2 asks for it.
    pub delete_retention_ms: i64,
    /// `segment.ms`: how long a little that is dirty waits for more.
    pub segment_ms: i64,
}

impl CompactionConfig {
    /// Reads it out of the effective values of a topic; every value was validated when it was set.
    pub fn read(values: &Values) -> CompactionConfig {
        CompactionConfig {
            min_cleanable_dirty_ratio: values.double("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: values.long("min.compaction.lag.ms"),
            max_compaction_lag_ms: values.long("max.compaction.lag.ms"),
            delete_retention_ms: values.long("delete.retention.ms"),
            segment_ms: values.long("segment.ms"),
        }
    }
}

/// A part of the log that storage replaces as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its first offset.
    pub start: i64,
    /// The offset after its last.
    pub end: i64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Timestamp of its first batch, ms; 0 or less: not known. Where storage does not keep it, its largest timestamp, which
    /// is late by what the unit spans.
    pub first_timestamp: i64,
    /// Its largest timestamp, ms.
    pub max_timestamp: i64,
}

/// Facts of a partition.
#[derive(Clone, Copy, Debug)]
pub struct LogFacts<'a> {
    /// First offset that can be read.
    pub log_start: i64,
    /// Offset after the last.
    pub log_end: i64,
    /// Below it every transaction is decided.
    pub last_stable_offset: i64,
    /// Below it everything is in objects that can be replaced.
    pub uploaded_end: i64,
    /// Where the last round ended; None: there was none.
    pub cleaned_until: Option<i64>,
    /// In order of offset, from the log start on: what was uploaded.
    pub units: &'a [Unit],
}

/// What is to be cleaned of a partition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cleaning {
    /// Pass 2 begins here: at the log start.
    pub from_start: i64,
    /// Pass 1 begins here.
    pub dirty_from: i64,
    /// Both end here, or where the map is full (Kafka: `firstUncleanableOffset`). The start of a unit.
    pub until: i64,
    /// Bytes of units that begin below `dirty_from`.
    pub clean_bytes: u64,
    /// Bytes of units between `dirty_from` and `until`; a unit that `dirty_from` lies in counts in both.
    pub dirty_bytes: u64,
    /// Dirty bytes of all bytes.
    pub ratio: f64,
    /// By how much `max.compaction.lag.ms` has passed, ms. It makes a cleaning due whatever the ratio.
    pub delay_ms: i64,
}

impl Cleaning {
    /// Whether it is due for its age alone.
    pub fn must(&self) -> bool {
        self.delay_ms > 0
    }
}

/// What there is to clean now; None if nothing is, or not enough.
pub fn plan(log: &LogFacts<'_>, config: &CompactionConfig, now_ms: i64) -> Option<Cleaning> {
    let cleaning = measure(log, config, now_ms)?;
    let due = cleaning.must() && cleaning.dirty_bytes > 0;
    // More than the ratio, not as much: a ratio of 0 is met by the first dirty byte only.
    let dirty = cleaning.ratio > config.min_cleanable_dirty_ratio;
    (due || dirty && is_worth_a_round(log, config, &cleaning, now_ms)).then_some(cleaning)
}

/// Would Kafka have closed a segment after the last round?
fn is_worth_a_round(log: &LogFacts<'_>, config: &CompactionConfig, cleaning: &Cleaning, now_ms: i64) -> bool {
    let first = log.units.iter().find(|unit| unit.end > cleaning.dirty_from);
    let is_old = first.is_some_and(|unit| now_ms.saturating_sub(unit.max_timestamp) >= config.segment_ms);
    is_old || cleaning.dirty_bytes >= ROUND_BYTES_MIN
}

/// As [`plan`], due or not: for metrics (`max-dirty-percent`, `max-compaction-delay-secs`). None of a log without bytes.
pub fn measure(log: &LogFacts<'_>, config: &CompactionConfig, now_ms: i64) -> Option<Cleaning> {
    let dirty_from = first_dirty_offset(log);
    let until = first_uncleanable_offset(log, config, dirty_from, now_ms);
    let clean_bytes = sum(log.units, |unit| unit.start < dirty_from);
    let lowest = dirty_from.min(until);
    let dirty_bytes = sum(log.units, |unit| unit.end > lowest && unit.start < until);
    let total_bytes = clean_bytes + dirty_bytes;
    (total_bytes > 0).then(|| Cleaning {
        from_start: log.log_start,
        dirty_from,
        until: until.max(dirty_from),
        clean_bytes,
        dirty_bytes,
        ratio: dirty_bytes as f64 / total_bytes as f64,
        delay_ms: compaction_delay(log, config, dirty_from, now_ms),
    })
}

/// The candidates in the order in which they are cleaned: the dirtiest first; of equals, as they came. Age makes a partition
/// a candidate, not an earlier one (`grabFilthiestCompactedLog`).
pub fn order<T>(mut candidates: Vec<(T, Cleaning)>) -> Vec<(T, Cleaning)> {
    candidates.sort_by(|(_, a), (_, b)| b.ratio.total_cmp(&a.ratio));
    candidates
}

/// Where the last round ended, or the log start if that says nothing of this log (`cleanableOffsets`): the log start passed
/// it, or it lies behind the end. The latter cannot come with the same log, whose end never moves back.
fn first_dirty_offset(log: &LogFacts<'_>) -> i64 {
    match log.cleaned_until {
        Some(cleaned) if (log.log_start..=log.log_end).contains(&cleaned) => cleaned,
        _ => log.log_start,
    }
}

/// The start of the first unit that cannot be cleaned (`cleanableOffsets`, then `calculateCleanableBytes`).
fn first_uncleanable_offset(
    log: &LogFacts<'_>,
    config: &CompactionConfig,
    dirty_from: i64,
    now_ms: i64,
) -> i64 {
    let Some(newest) = log.units.last() else { return log.log_start };
    let min_lag_ms = config.min_compaction_lag_ms.max(0);
    let young =
        |unit: &&Unit| unit.end > dirty_from && unit.max_timestamp > now_ms.saturating_sub(min_lag_ms);
    let too_young = log.units.iter().find(young).filter(|_| min_lag_ms > 0);
    let bounds = [log.last_stable_offset, log.uploaded_end];
    let bound = bounds.into_iter().chain(too_young.map(|unit| unit.start)).fold(i64::MAX, i64::min);
    // Down to the start of the unit that it lies in: a part of a unit is not replaced.
    let bound = bound.max(dirty_from);
    log.units.iter().find(|unit| unit.end > bound).map_or(newest.end, |unit| unit.start)
}

/// `maxCompactionDelay`.
fn compaction_delay(log: &LogFacts<'_>, config: &CompactionConfig, dirty_from: i64, now_ms: i64) -> i64 {
    let dirty = log.units.iter().filter(|unit| unit.end > dirty_from);
    let earliest = dirty.map(|unit| unit.first_timestamp).filter(|timestamp| *timestamp > 0).min();
    let clean_until = now_ms.saturating_sub(config.max_compaction_lag_ms.max(0));
    earliest.map_or(0, |earliest| clean_until.saturating_sub(earliest).max(0))
}

fn sum(units: &[Unit], counts: impl Fn(&Unit) -> bool) -> u64 {
    units.iter().filter(|unit| counts(unit)).map(|unit| unit.bytes).sum()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
