//! A process's clocks in the simulation: tokio's paused time, seen through whatever is wrong with them.
//!
//! Sleeping is not affected (tokio's timers are the world's); a process that is stopped is [`crate::tasks::Tasks::pause`]d.
//! What can be wrong: the wall clock is off or is stepped, both clocks run too fast or slow, the monotonic clock stands
//! still (a machine suspended whose kernel does not count it).

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::Clock;

/// The wall time at which every simulation starts: 2025-01-01 00:00:00 UTC, in milliseconds since 1970.
pub const START_WALL_MS: i64 = 1_735_689_600_000;

/// A clock that can be set. Must be made within a runtime with tokio's time paused.
#[derive(Debug)]
pub struct SimClock(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When the two below were right, in the world's time.
    at: Instant,
    monotonic: Duration,
    wall_ms: f64,
    rate: f64,
    frozen: bool,
}

impl Default for SimClock {
    fn default() -> Self {
        SimClock::new()
    }
}

impl SimClock {
    /// A right clock: [`START_WALL_MS`] now, monotonic zero.
    pub fn new() -> SimClock {
        SimClock::starting_at(START_WALL_MS)
    }

    /// Wall time `wall_ms` now. For processes started later in a run: pass the world's.
    pub fn starting_at(wall_ms: i64) -> SimClock {
        let at = Instant::now();
        let state =
            State { at, monotonic: Duration::ZERO, wall_ms: wall_ms as f64, rate: 1.0, frozen: false };
        SimClock(Mutex::new(state))
    }

    /// Steps the wall clock by `ms`, as an operator or NTP may.
    pub fn step_wall(&self, ms: i64) {
        self.now(|state| state.wall_ms += ms as f64);
    }

    /// Runs both clocks at `rate` (1.0 is right; at least 0) from now on.
    pub fn set_rate(&self, rate: f64) {
        self.now(|state| state.rate = rate.max(0.0));
    }

    /// Stops the monotonic clock, while the wall clock goes on.
    pub fn freeze(&self) {
        self.now(|state| state.frozen = true);
    }

    /// Lets it run again, from where it stood.
    pub fn thaw(&self) {
        self.now(|state| state.frozen = false);
    }

    fn now<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock();
        let now = Instant::now();
        let passed = (now - state.at).mul_f64(state.rate);
        state.at = now;
        state.wall_ms += passed.as_secs_f64() * 1000.0;
        if !state.frozen {
            state.monotonic += passed;
        }
        change(&mut state)
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> i64 {
        self.now(|state| state.wall_ms.round() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.now(|state| state.monotonic)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_follows_the_worlds_time_through_its_faults() {
        let clock = SimClock::new();
        let second = Duration::from_secs(1);
        let read = || (clock.wall_ms() - START_WALL_MS, clock.monotonic().as_millis());
        advance(second).await;
        assert_eq!(read(), (1000, 1000));
        clock.step_wall(-5000);
        assert_eq!(read(), (-4000, 1000), "steps do not touch the monotonic clock");
        clock.set_rate(2.0);
        advance(second).await;
        assert_eq!(read(), (-2000, 3000));
        clock.set_rate(1.0);
        clock.freeze();
        advance(second).await;
        assert_eq!(read(), (-1000, 3000));
        clock.thaw();
        advance(second).await;
        assert_eq!(read(), (0, 4000));
    }
}
