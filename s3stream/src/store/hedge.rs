//! GETs that are sent a second time because the first is slow (DESIGN §7 "Cold reads").
//!
//! [`policy`] decides when (p): a GET is slow when it has taken longer than 98 of a hundred recent ones of its size, and
//! [`policy::FLOOR`] at least. One GET in twenty is hedged at most, and each once: a store that is slow as a whole is not asked
//! twice as much. This sends: the first answer wins, the other GET is dropped.

pub mod policy;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use self::policy::HedgePolicy;
use super::StoreError;

/// What hedging did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HedgeCounts {
    /// GETs sent a second time.
    pub sent: u64,
    /// Of them, those whose second was answered first.
    pub won: u64,
}

impl std::ops::Add for HedgeCounts {
    type Output = HedgeCounts;

    fn add(self, other: HedgeCounts) -> HedgeCounts {
        HedgeCounts { sent: self.sent + other.sent, won: self.won + other.won }
    }
}

/// Hedges the GETs of one store, and counts.
#[derive(Debug, Default)]
pub struct Hedges {
    policy: Mutex<HedgePolicy>,
    sent: AtomicU64,
    won: AtomicU64,
}

impl Hedges {
    /// Nothing is known yet.
    pub fn new() -> Hedges {
        Hedges::default()
    }

    /// What it did so far.
    pub fn counts(&self) -> HedgeCounts {
        HedgeCounts { sent: self.sent.load(Ordering::Relaxed), won: self.won.load(Ordering::Relaxed) }
    }

    /// The answer of `call`, which is sent twice where it is slow and `room` gives something (held while both are under
    /// way). `bytes` is about what it brings. Errors tell nothing while the other may still answer.
    ///
    /// # Errors
    /// Of the call that failed last.
    pub async fn get<T, F, P>(
        &self,
        bytes: u64,
        room: impl FnOnce() -> Option<P>,
        call: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let begun = Instant::now();
        let slow = self.policy.lock().begin(bytes);
        let got = self.first(slow, room, call).await;
        if got.is_ok() {
            self.policy.lock().answered(bytes, begun.elapsed());
        }
        got
    }

    async fn first<T, F, P>(
        &self,
        slow: Option<Duration>,
        room: impl FnOnce() -> Option<P>,
        call: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut first = pin!(call());
        let Some(slow) = slow else { return first.await };
        tokio::select! {
            biased;
            got = &mut first => return got,
            () = sleep(slow) => {}
        }
        let Some(_room) = room().filter(|_| self.policy.lock().hedge()) else { return first.await };
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut second = pin!(call());
        let (got, by_second) = tokio::select! {
            biased;
            got = &mut first => match got {
                Err(_) => (second.await, true),
                got => (got, false),
            },
            got = &mut second => match got {
                Err(_) => (first.await, false),
                got => (got, true),
            },
        };
        if by_second && got.is_ok() {
            self.won.fetch_add(1, Ordering::Relaxed);
        }
        got
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::budget::ByteSemaphore;

    const MIB: u64 = 1 << 20;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Hedges that know GETs of 20 ms.
    async fn warm() -> Hedges {
        let hedges = Hedges::new();
        for _ in 0..128 {
            let quick = || async {
                sleep(ms(20)).await;
                Ok(())
            };
            hedges.get(MIB, || Some(()), quick).await.expect("quick");
        }
        assert_eq!(hedges.counts(), HedgeCounts::default());
        hedges
    }

    /// The n-th call takes `script[n]` milliseconds and ends so; gives who answered and when.
    async fn play(
        hedges: &Hedges,
        room: bool,
        script: &[(u64, bool)],
    ) -> (Result<usize, StoreError>, Duration) {
        let calls = AtomicU32::new(0);
        let begun = Instant::now();
        let call = || async {
            let n = calls.fetch_add(1, Ordering::Relaxed) as usize;
            let (took, well) = script[n];
            sleep(ms(took)).await;
            if well { Ok(n) } else { Err(StoreError::Transient("503".into())) }
        };
        let got = hedges.get(MIB, || room.then_some(()), call).await;
        (got, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_wins_and_a_failure_is_none() {
        let hedges = warm().await;
        let table = [
            ("quick", true, &[(49, true)][..], Some(0), 49),
            ("slow", true, &[(1000, true), (20, true)], Some(1), 70),
            ("slow, but before its hedge", true, &[(60, true), (20, true)], Some(0), 60),
            ("no room", false, &[(1000, true)], Some(0), 1000),
            ("the first fails late", true, &[(60, false), (100, true)], Some(1), 150),
            ("the hedge fails", true, &[(200, true), (20, false)], Some(0), 200),
            ("both fail", true, &[(60, false), (100, false)], None, 150),
            ("it fails at once: that is for whoever retries", true, &[(10, false)], None, 10),
        ];
        for (what, room, script, wins, after) in table {
            for _ in 0..20 {
                hedges.policy.lock().begin(MIB);
            }
            let (got, took) = play(&hedges, room, script).await;
            assert_eq!((got.ok(), took), (wins, ms(after)), "{what}");
        }
        assert_eq!(hedges.counts(), HedgeCounts { sent: 5, won: 2 });
    }

    /// By every GET anew, and by none that is not sent a second time after all.
    #[tokio::test(start_paused = true)]
    async fn room_is_held_while_both_are_under_way_and_no_longer() {
        let hedges = warm().await;
        let room = ByteSemaphore::new("room", 1);
        // When the answer comes: how often it was asked, and how much room is held.
        let play = async || {
            let calls = AtomicU32::new(0);
            let call = || async {
                let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
                sleep(ms(if first { 1000 } else { 100 })).await;
                Ok((calls.load(Ordering::Relaxed), room.usage().used))
            };
            hedges.get(MIB, || room.try_acquire(1), call).await.expect("answered")
        };
        for _ in 0..3 {
            assert_eq!(play().await, (2, 1));
            assert_eq!(room.usage().used, 0);
        }
        while hedges.policy.lock().hedge() {}
        assert_eq!(play().await, (1, 0), "there were enough hedges");
        assert_eq!(room.usage().used, 0);
    }
}
