//! How far a log start may move (p).
//!
//! Kafka deletes whole segment files, oldest first, and stops at the first that has to stay; here the units are the ranges
//! of objects, then the blocks of the lane, which are smaller. So a record goes no earlier than `retention.ms` after the
//! youngest of its unit, and at most a unit less than `retention.bytes` stays.

/// What goes or stays as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Offset after its last record.
    pub end: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// The largest timestamp of its records, in milliseconds; -1 where they have none: then it does not go by time.
    pub max_timestamp: i64,
}

/// What a topic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `retention.ms`; -1 is for ever.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 is any size.
    pub retention_bytes: i64,
}

/// The log start after retention of `units`, which are all that is durable and kept, oldest first; `start` where nothing
/// goes.
pub fn log_start(start: u64, units: &[Unit], policy: Policy, now_ms: i64) -> u64 {
    let expired = |unit: &&Unit| {
        policy.retention_ms >= 0
            && unit.max_timestamp >= 0
            && now_ms.saturating_sub(unit.max_timestamp) > policy.retention_ms
    };
    let by_time = units.iter().take_while(expired).count();
    let mut gone = by_time;
    if policy.retention_bytes >= 0 {
        let kept: u64 = units[by_time..].iter().map(|unit| unit.bytes).sum();
        let mut excess = kept.saturating_sub(policy.retention_bytes as u64);
        for unit in &units[by_time..] {
            if excess < unit.bytes {
                break;
            }
            excess -= unit.bytes;
            gone += 1;
        }
    }
    gone.checked_sub(1).map_or(start, |last| units[last].end.max(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_only_whole_ones() {
        // Ends at 10, 20, 30, 40; each of 100 bytes; the third is older than the second.
        let unit = |end: u64, max_timestamp: i64| Unit { end, bytes: 100, max_timestamp };
        let units = [unit(10, 1_000), unit(20, 3_000), unit(30, 2_000), unit(40, 9_000)];
        let start = |retention_ms: i64, retention_bytes: i64, now_ms: i64| {
            log_start(5, &units, Policy { retention_ms, retention_bytes }, now_ms)
        };
        for (retention_ms, retention_bytes, now_ms, expected, what) in [
            (-1, -1, i64::MAX, 5, "for ever"),
            (1_000, -1, 2_000, 5, "not before the time has passed"),
            (1_000, -1, 2_001, 10, "the first is a millisecond too old"),
            (1_000, -1, 3_500, 10, "the second stays, and so does the older one behind it"),
            (1_000, -1, 4_001, 30, "both are too old now"),
            (0, -1, 9_001, 40, "all may go"),
            (-1, 400, 0, 5, "as much as is allowed"),
            (-1, 399, 0, 5, "less than one unit too much"),
            (-1, 300, 0, 10, "one too much"),
            (-1, 0, 0, 40, "none is allowed"),
            (1_000, 150, 2_001, 20, "after what went by time"),
        ] {
            assert_eq!(start(retention_ms, retention_bytes, now_ms), expected, "{what}");
        }
        assert_eq!(log_start(35, &units, Policy { retention_ms: 0, retention_bytes: -1 }, 3_500), 35);
        let timeless = [unit(10, -1)];
        assert_eq!(log_start(0, &timeless, Policy { retention_ms: 0, retention_bytes: -1 }, i64::MAX), 0);
    }
}
