//! From three answers to two: proposes one key with one body until it is known whose object is there (I4, SAFETY F18, L9).
//!
//! Owns the loop and nothing else: a store call is one attempt, and only here are attempts repeated. The order of things:
//! 1. `put_new`. *Created* is believed.
//! 2. *Exists* (409, 412) is a rumour: the object is read and its whole body compared, not a nonce, since a machine cloned
//!    with its memory has the same nonce in another body. Equal: it is ours. Different: it is not. Absent: we know nothing.
//! 3. *Unknown*: wait a little, read first (the answer may have been lost after the object was made, and the body may be
//!    8 MiB on a thin link), then propose again with a longer deadline.
//!
//! The key and the body never change within one call, so whatever lands late is the same object. There is no failure but
//! those that asking again cannot cure; and those, too, leave open whether an earlier attempt landed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::{PutNew, PutPayload, Store, StoreError};
use crate::env::Env;

/// Whose object is at the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Create {
    /// Ours: created, or found with exactly our body.
    Mine,
    /// Somebody else's; here it is.
    Foreign(Bytes),
}

/// How to go about it.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Send the same key and body a second time, once per attempt, when the first has not answered for this long
    /// (PRACTICE P9). None, or a store that takes hedges badly: never.
    pub hedge_after: Option<Duration>,
    /// Go on when the store refuses or is full, as if it had not answered: for a broker that is up (I10), where
    /// credentials may come back. Else such an answer is returned at once: for a start.
    pub patient: bool,
    /// Where to count.
    pub stats: Option<Arc<CreateStats>>,
}

/// What creating cost: counters that only grow.
#[derive(Debug, Default)]
pub struct CreateStats {
    /// `put_new` calls, hedges included.
    pub attempts: AtomicU64,
    /// Attempts that told nothing.
    pub unknowns: AtomicU64,
    /// Attempts that met something.
    pub exists: AtomicU64,
    /// Second copies sent.
    pub hedges: AtomicU64,
    /// Whole bodies read back to compare.
    pub reads: AtomicU64,
}

/// Deadline of a first attempt: this, and the time for the body at [`SLOW_BYTES_PER_SECOND`].
pub const ATTEMPT_BASE: Duration = Duration::from_secs(3);
/// The thinnest link that a first attempt is to succeed on.
pub const SLOW_BYTES_PER_SECOND: u64 = 1_000_000;
/// How often the two parts of a deadline double: the body's, so that it gets through a link 64 times thinner; the rest less,
/// so that a small object is soon tried again when a silent store wakes up.
const BODY_DOUBLINGS: u32 = 6;
const BASE_DOUBLINGS: u32 = 3;
/// Pause after the first attempt that told nothing; doubles, jittered.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The deadline of attempt `attempt` (0, 1, …) to store `bytes`.
pub fn attempt_timeout(bytes: u64, attempt: u32) -> Duration {
    let body = Duration::from_secs_f64(bytes as f64 / SLOW_BYTES_PER_SECOND as f64);
    ATTEMPT_BASE * (1 << attempt.min(BASE_DOUBLINGS)) + body * (1 << attempt.min(BODY_DOUBLINGS))
}

/// How long to wait before attempt `attempt` (1, 2, …), not jittered.
pub(crate) fn backoff(attempt: u32) -> Duration {
    BACKOFF_BASE.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(BACKOFF_MAX)
}

/// Sleeps the backoff of `attempt`, between half of it and all.
pub(crate) async fn back_off(env: &Env, attempt: u32) {
    let most = backoff(attempt);
    sleep(most / 2 + env.entropy.jitter(most / 2)).await;
}

/// Creates `key` with `body`, or learns who did. Tries for as long as it takes; dropping the call leaves it open whether
/// the object is, or will be, there.
///
/// # Errors
/// `Refused` and `NoSpace` (unless `options.patient`) and `FsyncFailed` (always). An error does *not* say that nothing was
/// stored: an earlier attempt may have landed, or may still.
pub async fn create(
    store: &dyn Store,
    env: &Env,
    key: &str,
    body: PutPayload,
    options: CreateOptions,
) -> Result<Create, StoreError> {
    let count = |counter: fn(&CreateStats) -> &AtomicU64| {
        if let Some(stats) = &options.stats {
            counter(stats).fetch_add(1, Ordering::Relaxed);
        }
    };
    let bytes = body.content_length() as u64;
    let mut attempt = 0;
    loop {
        let timeout = attempt_timeout(bytes, attempt);
        let attempts_before = attempt;
        match propose(store, key, &body, timeout, &options, &count).await {
            PutNew::Created => return Ok(Create::Mine),
            PutNew::Exists => count(|s| &s.exists),
            PutNew::Unknown(error) => {
                count(|s| &s.unknowns);
                attempt += 1;
                rest(env, key, attempt, error, options.patient).await?;
            }
        }
        // Whatever it was that told us, the object itself decides.
        loop {
            count(|s| &s.reads);
            match store.get(key).await {
                Ok(Some(found)) if same_body(&body, &found) => return Ok(Create::Mine),
                Ok(Some(found)) => return Ok(Create::Foreign(found)),
                Ok(None) => break,
                Err(error) => {
                    attempt += 1;
                    rest(env, key, attempt, error, options.patient).await?;
                }
            }
        }
        if attempt == attempts_before {
            // Exists, yet absent (a 409 of S3): not an error, but not to be asked again in a spin.
            attempt += 1;
            back_off(env, attempt).await;
        }
    }
}

/// Waits before the next step, unless there is none.
async fn rest(
    env: &Env,
    key: &str,
    attempt: u32,
    error: StoreError,
    patient: bool,
) -> Result<(), StoreError> {
    let curable = match &error {
        StoreError::Transient(_) => true,
        StoreError::Refused(_) | StoreError::NoSpace(_) => patient,
        StoreError::FsyncFailed(_) => false,
    };
    if !curable {
        return Err(error);
    }
    if attempt > 2 {
        tracing::warn!(key, attempt, %error, "create is not resolved yet");
    } else {
        tracing::debug!(key, attempt, %error, "create is not resolved yet");
    }
    back_off(env, attempt).await;
    Ok(())
}

/// One attempt, with its hedge. The first answer that tells something wins; what the other does later is the same object.
async fn propose(
    store: &dyn Store,
    key: &str,
    body: &PutPayload,
    timeout: Duration,
    options: &CreateOptions,
    count: &(dyn Fn(fn(&CreateStats) -> &AtomicU64) + Send + Sync),
) -> PutNew {
    count(|s| &s.attempts);
    let mut first = store.put_new(key, body.clone(), timeout);
    let Some(hedge_after) = options.hedge_after.filter(|after| *after < timeout && store.traits().hedge)
    else {
        return first.await;
    };
    tokio::select! {
        biased;
        answer = &mut first => return answer,
        () = sleep(hedge_after) => {}
    }
    count(|s| &s.attempts);
    count(|s| &s.hedges);
    let mut second = store.put_new(key, body.clone(), timeout);
    tokio::select! {
        biased;
        answer = &mut first => match answer {
            PutNew::Unknown(_) => second.await,
            told => told,
        },
        answer = &mut second => match answer {
            PutNew::Unknown(_) => first.await,
            told => told,
        },
    }
}

/// Is `found`, whole, the concatenation of `body`?
fn same_body(body: &PutPayload, found: &Bytes) -> bool {
    if body.content_length() != found.len() {
        return false;
    }
    let mut rest = &found[..];
    body.iter().all(|part| {
        let (head, tail) = rest.split_at(part.len());
        rest = tail;
        head == &part[..]
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::ops::Range;

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::store::{Listed, Space, StoreTraits, Tail};

    /// What a scripted attempt does, and what it says.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Whatever the store does.
        Honest,
        /// Stores, then says nothing.
        LostAnswer,
        /// Says nothing, stores nothing.
        LostRequest,
        /// 409 without an object.
        Conflict,
        /// Nothing for a long while, then honest.
        Slow,
        /// Nothing for a long while, then a lost answer.
        Stuck,
    }

    /// Plays its steps, then is honest.
    #[derive(Debug)]
    struct Scripted {
        inner: MemoryStore,
        steps: Mutex<VecDeque<Step>>,
        failing_reads: AtomicU64,
    }

    impl Scripted {
        fn new(steps: impl IntoIterator<Item = Step>) -> Scripted {
            Scripted {
                inner: MemoryStore::new(),
                steps: Mutex::new(steps.into_iter().collect()),
                failing_reads: AtomicU64::new(0),
            }
        }
    }

    #[async_trait]
    impl Store for Scripted {
        async fn put_new(&self, key: &str, body: PutPayload, timeout: Duration) -> PutNew {
            let step = self.steps.lock().pop_front().unwrap_or(Step::Honest);
            let lost = || PutNew::Unknown(StoreError::Transient("lost".into()));
            match step {
                Step::Honest => self.inner.put_new(key, body, timeout).await,
                Step::LostAnswer => {
                    self.inner.put_new(key, body, timeout).await;
                    lost()
                }
                Step::LostRequest => lost(),
                Step::Conflict => PutNew::Exists,
                Step::Slow => {
                    sleep(Duration::from_secs(2)).await;
                    self.inner.put_new(key, body, timeout).await
                }
                Step::Stuck => {
                    sleep(timeout).await;
                    lost()
                }
            }
        }
        async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
            let failing = self.failing_reads.load(Ordering::Relaxed);
            if failing > 0 {
                self.failing_reads.store(failing - 1, Ordering::Relaxed);
                return Err(StoreError::Transient("read".into()));
            }
            self.inner.get(key).await
        }
        async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
            self.inner.get_range(key, range).await
        }
        async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError> {
            self.inner.get_tail(key, len).await
        }
        async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
            self.inner.head(key).await
        }
        async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
            self.inner.list(prefix).await
        }
        async fn delete(&self, key: &str) -> Result<(), StoreError> {
            self.inner.delete(key).await
        }
        async fn space(&self) -> Result<Option<Space>, StoreError> {
            self.inner.space().await
        }
        fn traits(&self) -> &StoreTraits {
            self.inner.traits()
        }
    }

    fn body(text: &str) -> PutPayload {
        // In parts, as a lane sends it.
        text.as_bytes().chunks(3).map(Bytes::copy_from_slice).collect()
    }

    async fn run(store: &Scripted, text: &str, options: CreateOptions) -> Create {
        create(store, &Env::seeded(1), "k", body(text), options).await.expect("resolves")
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_resolved_by_reading() {
        let store = Scripted::new([Step::LostAnswer]);
        let stats = Arc::new(CreateStats::default());
        let options = CreateOptions { stats: Some(stats.clone()), ..CreateOptions::default() };
        assert_eq!(run(&store, "mine", options).await, Create::Mine);
        assert_eq!(stats.attempts.load(Ordering::Relaxed), 1, "read first, do not send the body again");
        assert_eq!(stats.unknowns.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_without_an_object_is_not_believed() {
        let store = Scripted::new([Step::Conflict, Step::Conflict, Step::LostRequest]);
        assert_eq!(run(&store, "mine", CreateOptions::default()).await, Create::Mine);
        assert_eq!(store.inner.get("k").await.expect("get"), Some(Bytes::from("mine")));

        // A store that says so for long is not asked in a spin.
        let store = Scripted::new(std::iter::once(Step::LostRequest).chain([Step::Conflict; 20]));
        let begun = tokio::time::Instant::now();
        assert_eq!(run(&store, "mine", CreateOptions::default()).await, Create::Mine);
        assert!(begun.elapsed() > Duration::from_secs(30), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_object_is_handed_back_even_if_it_starts_alike() {
        let store = Scripted::new([Step::LostRequest]);
        for other in ["mine and more", "min", "mind"] {
            store.inner.delete("k").await.expect("delete");
            store.inner.put_new("k", other.into(), ATTEMPT_BASE).await;
            let got = run(&store, "mine", CreateOptions::default()).await;
            assert_eq!(got, Create::Foreign(Bytes::copy_from_slice(other.as_bytes())));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_fail_are_asked_again() {
        let store = Scripted::new([Step::LostAnswer]);
        store.failing_reads.store(5, Ordering::Relaxed);
        assert_eq!(run(&store, "mine", CreateOptions::default()).await, Create::Mine);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hedge_overtakes_a_slow_first_and_is_sent_once() {
        for (steps, seconds) in [(vec![Step::Slow], 0.5), (vec![Step::Slow, Step::Stuck], 2.0)] {
            let store = Scripted::new(steps);
            let stats = Arc::new(CreateStats::default());
            let options = CreateOptions {
                hedge_after: Some(Duration::from_millis(500)),
                stats: Some(stats.clone()),
                ..CreateOptions::default()
            };
            let begun = tokio::time::Instant::now();
            assert_eq!(run(&store, "mine", options).await, Create::Mine);
            let took = begun.elapsed().as_secs_f64();
            assert!((took - seconds).abs() < 0.01, "took {took}");
            assert_eq!(stats.hedges.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn deadlines_grow_with_the_body_and_double_with_each_attempt() {
        assert_eq!(attempt_timeout(0, 0), Duration::from_secs(3));
        assert_eq!(attempt_timeout(8_000_000, 0), Duration::from_secs(11));
        assert_eq!(attempt_timeout(8_000_000, 2), Duration::from_secs(44));
        assert_eq!(attempt_timeout(0, 40), Duration::from_secs(24));
        assert_eq!(attempt_timeout(8_000_000, 40), Duration::from_secs(24 + 64 * 8));
        assert!((1..40).all(|n| backoff(n) <= BACKOFF_MAX && backoff(n) <= backoff(n + 1)));
    }

    proptest! {
        /// Several writers with bodies of their own race for one key over a store that lies by omission: exactly one is told
        /// Mine, its body is what is there, and everybody else is shown just that body.
        #[test]
        fn exactly_one_is_told_mine(
            scripts in proptest::collection::vec(proptest::collection::vec(0u8..6, 0..6), 1..5),
            hedged in any::<bool>(),
        ) {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let steps = scripts.iter().flatten().map(|step| match step {
                    0 => Step::Honest,
                    1 => Step::LostAnswer,
                    2 => Step::LostRequest,
                    3 => Step::Conflict,
                    4 => Step::Slow,
                    _ => Step::Stuck,
                });
                let store = Scripted::new(steps);
                let options = CreateOptions {
                    hedge_after: hedged.then_some(Duration::from_millis(300)),
                    ..CreateOptions::default()
                };
                let env = Env::seeded(3);
                let writers = (0..scripts.len()).map(|n| {
                    let (store, env, options) = (&store, &env, options.clone());
                    async move { create(store, env, "k", body(&format!("writer {n}")), options).await }
                });
                let told = futures::future::join_all(writers).await;
                let there = store.inner.get("k").await.unwrap().expect("somebody won");
                let mut mine = 0;
                for (n, told) in told.into_iter().enumerate() {
                    match told.expect("resolves") {
                        Create::Mine => {
                            mine += 1;
                            assert_eq!(there, format!("writer {n}"));
                        }
                        Create::Foreign(other) => {
                            assert_eq!(other, there);
                            assert_ne!(there, format!("writer {n}"));
                        }
                    }
                }
                assert_eq!(mine, 1);
            });
        }
    }
}
