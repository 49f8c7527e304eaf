//! The only place that reads clocks. Order and durability never rest on them (DESIGN I2); the freshness of reads, timers
//! and retention do. The simulation has its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Wall and monotonic time, as arguments for everything that decides.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// Milliseconds since 1970, as Kafka stamps records. May jump.
    fn wall_ms(&self) -> i64;
    /// Time since some fixed moment. Never goes back; counts suspend where the system can tell.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn wall_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
    }
}
