//! When a GET is slow, and may be sent a second time (p).

use std::time::Duration;

/// No GET is slow before this.
pub const FLOOR: Duration = Duration::from_millis(50);
/// Recent GETs of a size that are looked at.
const RECENT: usize = 128;
/// With fewer, nothing is known of that size.
const RECENT_MIN: usize = 32;
/// Slow is what is above this part of them.
const SLOW_PER_CENT: usize = 98;
/// One hedge for so many GETs.
const GETS_PER_HEDGE: u32 = 20;
/// Hedges that may be saved up.
const SAVED_MAX: u32 = 4;
/// GETs up to these sizes are alike; above the last as well.
const SIZES: [u64; 3] = [128 << 10, 1 << 20, 4 << 20];

/// When to hedge at one store. Times are arguments.
#[derive(Debug, Default)]
pub struct HedgePolicy {
    sizes: [Recent; SIZES.len() + 1],
    /// GETs begun that no hedge was taken for.
    saved: u32,
}

/// Times of GETs, in microseconds, oldest overwritten.
#[derive(Debug, Default)]
struct Recent {
    micros: Vec<u32>,
    next: usize,
    /// What is slow, as of the last few answers.
    slow: Option<Duration>,
}

impl HedgePolicy {
    /// Nothing is known yet, nothing is hedged.
    pub fn new() -> HedgePolicy {
        HedgePolicy::default()
    }

    /// A GET of about `bytes` begins. After how long is it slow? None: not known.
    pub fn begin(&mut self, bytes: u64) -> Option<Duration> {
        self.saved = (self.saved + 1).min(GETS_PER_HEDGE * SAVED_MAX);
        self.sizes[size_of(bytes)].slow
    }

    /// May a slow GET be hedged now? If so, that is counted.
    pub fn hedge(&mut self) -> bool {
        let left = self.saved.checked_sub(GETS_PER_HEDGE);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }

    /// A GET of about `bytes` was answered so long after it began, its hedge or itself.
    pub fn answered(&mut self, bytes: u64, took: Duration) {
        self.sizes[size_of(bytes)].add(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }
}

impl Recent {
    fn add(&mut self, micros: u32) {
        match self.micros.get_mut(self.next) {
            Some(oldest) => *oldest = micros,
            None => self.micros.push(micros),
        }
        self.next = (self.next + 1) % RECENT;
        // Looked at anew every now and then: it is a bound, not a measurement.
        if self.micros.len() >= RECENT_MIN && self.next.is_multiple_of(8) {
            let mut sorted = self.micros.clone();
            let at = sorted.len() * SLOW_PER_CENT / 100;
            let (_, slow, _) = sorted.select_nth_unstable(at);
            self.slow = Some(Duration::from_micros(u64::from(*slow)).max(FLOOR));
        }
    }
}

fn size_of(bytes: u64) -> usize {
    SIZES.iter().position(|most| bytes <= *most).unwrap_or(SIZES.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn known(policy: &mut HedgePolicy, bytes: u64, times: impl IntoIterator<Item = u64>) {
        times.into_iter().for_each(|took| policy.answered(bytes, ms(took)));
    }

    #[test]
    fn slow_is_above_nearly_all_recent_gets_of_the_size() {
        let mut policy = HedgePolicy::new();
        known(&mut policy, MIB, (0..24).map(|_| 100));
        assert_eq!(policy.begin(MIB), None, "too few to know");
        known(&mut policy, MIB, 0..128);
        assert_eq!(policy.begin(MIB), Some(ms(125)));
        assert_eq!(policy.begin(MIB + 1), None, "nothing is known of larger ones");
        known(&mut policy, 64 << 10, (0..128).map(|_| 3));
        assert_eq!(policy.begin(1), Some(FLOOR));
        // What was slow once is forgotten.
        known(&mut policy, MIB, (0..128).map(|_| 60));
        assert_eq!(policy.begin(MIB), Some(ms(60)));
        known(&mut policy, MIB, [9_000, 9_000, 9_000, 60, 60, 60, 60, 60]);
        assert_eq!(policy.begin(MIB), Some(ms(9_000)), "three of 128 are more than two in a hundred");
    }

    #[test]
    fn one_get_in_twenty_is_hedged_however_slow_all_are() {
        let mut policy = HedgePolicy::new();
        let mut hedged = 0;
        for _ in 0..1000 {
            policy.begin(MIB);
            hedged += u32::from(policy.hedge());
        }
        assert_eq!(hedged, 50);
        for _ in 0..1000 {
            policy.begin(MIB);
        }
        let at_once = (0..1000).filter(|_| policy.hedge()).count();
        assert_eq!(at_once, SAVED_MAX as usize, "a calm hour saves up no storm");
    }
}
