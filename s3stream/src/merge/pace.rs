//! When merging gives way to producers (p): what it reads and writes comes out of the same store, the same disk, the same
//! cores. A burst is absorbed, and merged after it; a load that never ends is merged as it goes.

use std::time::Duration;

/// A lane that takes less than this is idle, in bytes per second.
const IDLE_BYTES_PER_SECOND: u64 = 1 << 20;
/// While the lane is busy merging writes one byte per so many of the lane's.
const LANE_BYTES_PER_MERGED: u64 = 2;

/// What merging owes to producers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Bytes that the lane must take before the next merge.
    debt: u64,
    /// Bytes that the lane had taken at the last look.
    seen: u64,
}

impl Pace {
    /// `bytes` is all that the lane has taken so far, `since` the time since the last look.
    pub(super) fn look(&mut self, bytes: u64, since: Duration) {
        let taken = bytes.saturating_sub(self.seen);
        self.seen = bytes;
        let idle = u128::from(taken) * 1000 < u128::from(IDLE_BYTES_PER_SECOND) * since.as_millis();
        self.debt = if idle { 0 } else { self.debt.saturating_sub(taken) };
    }

    /// A merge wrote so many bytes.
    pub(super) fn merged(&mut self, bytes: u64) {
        self.debt += bytes * LANE_BYTES_PER_MERGED;
    }

    /// May another begin, if it is not urgent?
    pub(super) fn allows(&self) -> bool {
        self.debt == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_busy_lane_is_given_way_to_by_the_byte() {
        let mut pace = Pace::default();
        assert!(pace.allows(), "nothing is owed at first");
        pace.look(0, SECOND);
        pace.merged(100 * MIB);
        pace.look(199 * MIB, SECOND);
        assert!(!pace.allows());
        pace.look(201 * MIB, SECOND);
        assert!(pace.allows());
    }

    #[test]
    fn an_idle_lane_is_owed_nothing() {
        let mut pace = Pace::default();
        pace.look(100 * MIB, SECOND);
        pace.merged(1000 * MIB);
        pace.look(101 * MIB, SECOND);
        assert!(!pace.allows(), "a MiB per second is a load");
        pace.look(102 * MIB - 1, SECOND);
        assert!(pace.allows());
    }
}
