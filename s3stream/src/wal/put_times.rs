//! How long PUTs take: what the gather and the hedge are derived from. Pure.

use std::time::Duration;

use super::cut::SMALL_OBJECT_BYTES;

/// The last PUTs of small and of large objects, apart: 8 MiB on a thin link say nothing of 10 KiB.
#[derive(Clone, Debug, Default)]
pub struct PutTimes {
    smoothed: Option<Duration>,
    classes: [Window; 2],
}

#[derive(Clone, Debug, Default)]
struct Window {
    last: Vec<Duration>,
    next: usize,
}

/// PUTs that are remembered per class.
const WINDOW: usize = 128;
/// With fewer samples a p99 is a guess, and nothing is hedged.
const SAMPLES_MIN: usize = 32;
/// Nobody hedges sooner: a p99 of a fast store is below the noise of this machine.
const HEDGE_AFTER_MIN: Duration = Duration::from_millis(20);

impl PutTimes {
    /// A PUT of `bytes` was answered clearly at the first attempt, after `took`. (What was Unknown in between measures
    /// our time-outs, not the store.)
    pub fn record(&mut self, bytes: u64, took: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => took,
            Some(smoothed) => (smoothed * 7 + took) / 8,
        });
        let window = &mut self.classes[usize::from(bytes >= SMALL_OBJECT_BYTES)];
        if window.last.len() < WINDOW {
            window.last.push(took);
        } else {
            window.last[window.next] = took;
            window.next = (window.next + 1) % WINDOW;
        }
    }

    /// Smoothed over about eight PUTs; zero before the first.
    pub fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or_default()
    }

    /// After what time a PUT of `bytes` is slower than 99 of 100: when to send it a second time (PRACTICE P9).
    pub fn hedge_after(&self, bytes: u64) -> Option<Duration> {
        let window = &self.classes[usize::from(bytes >= SMALL_OBJECT_BYTES)];
        if window.last.len() < SAMPLES_MIN {
            return None;
        }
        let mut sorted = window.last.clone();
        sorted.sort_unstable();
        let p99 = sorted[(sorted.len() * 99).div_ceil(100) - 1];
        Some(p99.max(HEDGE_AFTER_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn small_and_large_are_apart_and_few_samples_say_nothing() {
        let mut times = PutTimes::default();
        assert_eq!((times.smoothed(), times.hedge_after(1)), (Duration::ZERO, None));
        for i in 1..=100 {
            times.record(1_000, MS * i);
        }
        times.record(8 << 20, MS * 5_000);
        assert_eq!(times.hedge_after(1_000), Some(MS * 99));
        assert_eq!(times.hedge_after(8 << 20), None);
    }

    #[test]
    fn old_times_are_forgotten() {
        let mut times = PutTimes::default();
        times.record(1, MS * 10_000);
        for _ in 0..WINDOW {
            times.record(1, MS * 40);
        }
        assert_eq!(times.hedge_after(1), Some(MS * 40));
        assert!(times.smoothed() < MS * 41);
    }
}
