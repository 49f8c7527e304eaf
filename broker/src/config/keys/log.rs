//! The keys of logs that are not the default of a topic's own: those are derived from its table (`ServerLogConfigs`,
//! `CleanerConfig`, `TransactionLogConfig`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Boolean, Double, Int, List, Long};
use crate::config::unused::{DURABLE, NO_DISK, NO_PURGATORY, ONE_CLEANER};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("cordoned.log.dirs", List, "").per_broker().unused(NO_DISK).doc("Log directories that get no new partition."),
    key("log.cleaner.backoff.ms", Long, "15000").at_least(0).cluster_wide().doc("How long an idle cleaner sleeps."),
    key("log.cleaner.dedupe.buffer.size", Long, "134217728").cluster_wide().doc("Memory of all cleaners for keys, 32 MiB at most. More keys than fit take more rounds."),
    key("log.cleaner.enable", Boolean, "true").doc("Whether compacted topics are compacted."),
    key("log.cleaner.io.buffer.load.factor", Double, "0.9").cluster_wide().doc("How full a cleaner's table of keys may be."),
    key("log.cleaner.io.buffer.size", Int, "524288").at_least(0).cluster_wide().unused(ONE_CLEANER).doc("Memory of all cleaners for reading and writing."),
    key("log.cleaner.io.max.bytes.per.second", Double, "1.7976931348623157E308").cluster_wide().unused(ONE_CLEANER).doc("How fast cleaners may read and write together."),
    key("log.cleaner.threads", Int, "1").at_least(0).cluster_wide().unused(ONE_CLEANER).doc("Threads that compact."),
    key("log.dir", List, "/tmp/kafka-logs").unused(NO_DISK).doc("The log directory, where log.dirs is not set."),
    key("log.dir.failure.timeout.ms", Long, "30000").at_least(1).unused(NO_DISK).doc("How long a failed directory may stay untold before the broker stops."),
    unset("log.dirs", List).unused(NO_DISK).doc("The log directories."),
    unset("log.flush.interval.ms", Long).cluster_wide().coarser(&[("log.flush.scheduler.interval.ms", 1)]).unused(DURABLE).doc("How long a record may lie in memory before it is flushed."),
    key("log.flush.offset.checkpoint.interval.ms", Int, "60000").at_least(0).unused(DURABLE).doc("How often the recovery point is written."),
    key("log.flush.scheduler.interval.ms", Long, "9223372036854775807").unused(DURABLE).doc("How often the flusher looks for something to flush."),
    key("log.flush.start.offset.checkpoint.interval.ms", Int, "60000").at_least(0).unused(DURABLE).doc("How often log starts are written."),
    key("log.retention.check.interval.ms", Long, "300000").at_least(1).doc("How often logs are looked at for what may go."),
    key("log.retention.hours", Int, "168").doc("As log.retention.ms, in hours; a finer unit that is set wins."),
    unset("log.retention.minutes", Int).doc("As log.retention.ms, in minutes; where not set, log.retention.hours counts."),
    unset("log.retention.ms", Long).cluster_wide().coarser(&[("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)]).doc("How long a record is kept, -1 for ever; where not set, log.retention.minutes counts, then log.retention.hours."),
    key("log.roll.hours", Int, "168").at_least(1).doc("As log.roll.ms, in hours."),
    key("log.roll.jitter.hours", Int, "0").at_least(0).unused(NO_DISK).doc("As log.roll.jitter.ms, in hours."),
    unset("log.roll.jitter.ms", Long).cluster_wide().coarser(&[("log.roll.jitter.hours", 3_600_000)]).unused(NO_DISK).doc("How much earlier by chance a segment file is closed."),
    unset("log.roll.ms", Long).cluster_wide().coarser(&[("log.roll.hours", 3_600_000)]).doc("How long a little of a compacted topic waits for more before it is compacted. There are no segment files."),
    key("num.recovery.threads.per.data.dir", Int, "2").at_least(1).cluster_wide().unused(NO_DISK).doc("Threads per directory that recover logs at start."),
    key("producer.id.expiration.check.interval.ms", Int, "600000").at_least(1).doc("How often idle producers are looked for."),
    key("producer.id.expiration.ms", Int, "86400000").at_least(1).cluster_wide().doc("A producer that is silent for so long is forgotten."),
    key("producer.purgatory.purge.interval.requests", Int, "1000").unused(NO_PURGATORY).doc("Produces between two clearings of those that wait."),
];
