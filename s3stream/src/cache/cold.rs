//! What is read of the store while a lane writes to it: the lane tells what its objects take, and reads wait for their turn,
//! which [`super::pace`] decides. One per process, shared by its lane and its reader.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::pace::{Met, ReadPace, Turn};

/// Bytes per second that reads have in any case, where nobody says otherwise.
pub const RATE_MIN: u64 = 32 << 20;

/// Reads beside a lane.
#[derive(Debug)]
pub struct ColdReads {
    pace: Mutex<ReadPace>,
    began: Instant,
}

/// A read that is under way until this is dropped.
#[derive(Debug)]
pub struct ColdRead<'a> {
    of: &'a ColdReads,
    wanted: u64,
    brought: u64,
    begun: Instant,
}

impl Default for ColdReads {
    fn default() -> ColdReads {
        ColdReads::new(RATE_MIN)
    }
}

impl ColdReads {
    /// Reads that have `rate_min` bytes per second in any case.
    pub fn new(rate_min: u64) -> ColdReads {
        ColdReads { pace: Mutex::new(ReadPace::new(rate_min)), began: Instant::now() }
    }

    /// Waits for the turn of a read of about `bytes`. Cancel-safe: a dropped call holds up nobody.
    pub async fn turn(&self, bytes: u64) -> ColdRead<'_> {
        let mut waits = Waits { of: self, bytes, turn: None };
        while let Some(at) = self.begin(&mut waits.turn, bytes) {
            sleep_until(self.began + at).await;
        }
        // From here on what it brings counts.
        waits.turn = None;
        ColdRead::begun(self, bytes)
    }

    /// Begins it, else says when to ask again. `turn` is when it may, once that is known.
    fn begin(&self, turn: &mut Option<Duration>, bytes: u64) -> Option<Duration> {
        let mut pace = self.pace.lock();
        let now = self.began.elapsed();
        let at = match turn {
            Some(at) => at,
            None => match pace.wanted(bytes, now) {
                Turn::At(at) => turn.insert(at),
                Turn::Ask(at) => return Some(at),
            },
        };
        pace.begin(at, bytes, now)
    }

    /// A read that nobody may hold up.
    pub fn at_once(&self, bytes: u64) -> ColdRead<'_> {
        self.pace.lock().at_once(bytes, self.began.elapsed());
        ColdRead::begun(self, bytes)
    }

    /// Do reads wait, so that nothing should be read ahead?
    pub fn behind(&self) -> bool {
        self.pace.lock().behind(self.began.elapsed())
    }

    /// Bytes that one read brings at most.
    pub fn read_bytes_max(&self) -> u64 {
        self.pace.lock().read_bytes_max()
    }

    /// An object of the lane is put now.
    pub fn put(&self) -> Met {
        self.pace.lock().put(self.began.elapsed())
    }

    /// It is durable, `took` after its first append.
    pub fn durable(&self, met: Met, took: Duration) {
        self.pace.lock().durable(met, took, self.began.elapsed());
    }

    /// Bytes per second that may be read. None: no limit.
    pub fn rate(&self) -> Option<u64> {
        self.pace.lock().rate()
    }
}

/// A read that waits for its turn. Who gives up leaves it to those who come.
struct Waits<'a> {
    of: &'a ColdReads,
    bytes: u64,
    /// When it may begin, where that is known.
    turn: Option<Duration>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.turn {
            self.of.pace.lock().gave_up(at, self.bytes, self.of.began.elapsed());
        }
    }
}

impl<'a> ColdRead<'a> {
    fn begun(of: &'a ColdReads, wanted: u64) -> ColdRead<'a> {
        ColdRead { of, wanted, brought: 0, begun: Instant::now() }
    }

    /// This is what the store answered.
    pub fn got<E>(&mut self, answer: &Result<Option<Bytes>, E>) {
        self.brought(answer.as_ref().ok().and_then(Option::as_ref).map_or(0, |bytes| bytes.len() as u64));
    }

    /// It brought so much.
    pub fn brought(&mut self, bytes: u64) {
        self.brought += bytes;
    }
}

impl Drop for ColdRead<'_> {
    fn drop(&mut self) {
        let (took, now) = (self.begun.elapsed(), self.of.began.elapsed());
        self.of.pace.lock().ended(self.wanted, self.brought, took, now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// However many come and go before their turn.
    #[tokio::test(start_paused = true)]
    async fn who_gives_up_holds_up_nobody() {
        let cold = ColdReads::new(MIB);
        cold.durable(cold.put(), Duration::from_millis(1));
        cold.turn(2 * MIB).await.brought(2 * MIB);
        assert_eq!(cold.rate(), Some(2 * MIB), "so the next turn is in a second");
        let begun = Instant::now();
        for _ in 0..10 {
            let gone = tokio::time::timeout(Duration::from_millis(10), cold.turn(8 * MIB)).await;
            assert!(gone.is_err(), "before its turn");
        }
        drop(cold.turn(MIB).await);
        assert!(begun.elapsed() <= Duration::from_millis(1100), "{:?}", begun.elapsed());
    }

    /// However many wait for their turn, there are moments in which nothing is read.
    #[tokio::test(start_paused = true)]
    async fn many_readers_pause_together() {
        let cold = Arc::new(ColdReads::default());
        for _ in 0..40 {
            cold.durable(cold.put(), Duration::from_millis(1));
            sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..32 {
            let cold = cold.clone();
            tokio::spawn(async move {
                loop {
                    let mut read = cold.turn(MIB).await;
                    sleep(Duration::from_millis(5)).await;
                    read.brought(MIB);
                }
            });
        }
        // From now on the store is slow by itself; reads learn that, and are not held back for it.
        for _ in 0..6000 {
            let met = cold.put();
            sleep(Duration::from_millis(10)).await;
            cold.durable(met, Duration::from_millis(100));
        }
        let rate = cold.rate().unwrap_or(u64::MAX);
        assert!(rate > 500 * MIB, "{} MiB/s", rate / MIB);
    }
}
