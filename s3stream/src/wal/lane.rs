//! A lane as its users see it: push, wait, and how it ends. Cheap to clone.
//!
//! Owns the state that the pushers, the waiters and the lane's one task ([`super::lane_task`]) share, behind one short
//! mutex. Lock order: partition → lane; sinks are called without the lane's lock.
//!
//! Two marks move up the numbers. *Granted*: decided, under the lock, to be durable with everything before it; nothing
//! takes that back. *Published*: the sinks have been told, so whoever waits may answer. Granted ≥ published; they differ
//! while the sinks are being told. The lane ends under the same lock, so that an end and a grant have an order: nothing
//! at or above the granted mark is acknowledged after the end, ever (I1, DESIGN §5).
//!
//! Memory. A push never waits and is never refused by a living lane: its offsets are assigned already. Who may wait asks
//! [`Lane::room`] before it assigns any. What is pushed stays charged as the pusher charged it (ingress) until the cut,
//! and the object is charged to lane + tail from then on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane_task::LaneTask;
use super::open_object::{Append, OpenObject};
use super::seal::Sealed;
use crate::block_ref::LaneRef;
use crate::budget::{Budget, Class};
use crate::cache::cold::{self, ColdReads};
use crate::cache::tail::TailCache;
use crate::env::Env;
use crate::ids::{LaneId, LaneNumber, Nonce};
use crate::store::create::CreateStats;
use crate::store::{Store, StoreTraits};

/// The dials of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneConfig {
    /// An object is closed before an append would take it past this (bytes of payload). A single larger append is an
    /// object of its own. 8 MiB, or an eighth of class lane + tail where that is less.
    pub full_bytes: u64,
    /// The longest that a first append waits while a PUT is in flight and another may be started. 5 ms; without effect
    /// where one PUT is in flight at most.
    pub linger: Duration,
    /// PUTs in flight at most, at least 1. From the store's traits: 2 in a directory.
    pub puts_in_flight: usize,
    /// Cap on PUTs per second: the dial between latency and cost. Delays objects below 256 KiB only. None or 0 is no cap.
    pub puts_per_second_max: Option<u32>,
    /// [`Lane::room`] waits while so many pushed bytes are not durable. Half of class lane + tail.
    pub undurable_bytes_max: u64,
    /// Bytes of chunks kept for the next objects: two full ones.
    pub idle_chunk_bytes: usize,
    /// [`Lane::room`] waits while the lane holds so many durable bytes that were not uploaded (DESIGN §5 "Bounds").
    pub backlog_bytes_max: u64,
    /// Bytes per second that are read beside it in any case, however late its objects are ([`crate::cache::pace`]).
    pub cold_reads_min: u64,
}

impl LaneConfig {
    /// Defaults for a store and a memory budget.
    pub fn for_store(traits: &StoreTraits, budget: &Budget) -> LaneConfig {
        let lane_tail = budget.class(Class::LaneTail).capacity();
        let full_bytes = (8 << 20).min(lane_tail / 8);
        LaneConfig {
            full_bytes,
            linger: Duration::from_millis(5),
            puts_in_flight: traits.puts_in_flight.max(1),
            puts_per_second_max: traits.puts_per_second_max,
            undurable_bytes_max: lane_tail / 2,
            idle_chunk_bytes: 2 * full_bytes as usize,
            backlog_bytes_max: u64::MAX,
            cold_reads_min: cold::RATE_MIN,
        }
    }
}

/// Why a lane takes and confirms nothing any more. What was pushed and is not durable gets a *retriable* error: it may
/// be in the store and become visible under the next owner (I4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneEnded {
    /// Somebody else's object is at one of its numbers: this incarnation is fenced for good.
    #[error("fenced at lane number {at}: {by}")]
    Fenced {
        /// The number.
        at: LaneNumber,
        /// What is there.
        by: FencedBy,
    },
    /// Its owner closes it, or has.
    #[error("the lane was closed by its owner")]
    Closed,
    /// Its owner ends it in the journal, because its store does not answer (SAFETY L4).
    #[error("the lane was abandoned by its owner")]
    Abandoned,
    /// What the store said to be there may not be. The process ends.
    #[error("fsync failed: {0}")]
    FsyncFailed(String),
}

/// What stood at a number of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FencedBy {
    /// A seal, with what its maker wrote into it (opaque here; the broker's name for itself).
    Seal {
        /// The seal's nonce.
        nonce: Nonce,
        /// See [`super::seal::seal`].
        note: Bytes,
    },
    /// No seal of this lane, and not our object either (SAFETY F18).
    Foreign(String),
}

impl std::fmt::Display for FencedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FencedBy::Seal { nonce, note } => write!(f, "seal {:016x} ({})", nonce.0, note.escape_ascii()),
            FencedBy::Foreign(what) => write!(f, "foreign object ({what})"),
        }
    }
}

/// Why there is no room and waiting for it makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The lane is over.
    #[error(transparent)]
    Ended(#[from] LaneEnded),
    /// As many bytes as may wait are waiting, and the store refuses them (credentials, disk full). It is asked again all
    /// the time; answer a retriable error.
    #[error("the lane's store refuses: {0}")]
    StoreRefuses(String),
}

/// Counters and gauges of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Objects known to be durable with all before them.
    pub objects: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// PUT attempts, repeats and hedges included.
    pub attempts: u64,
    /// Attempts that told nothing.
    pub unknowns: u64,
    /// Second copies sent of slow PUTs.
    pub hedges: u64,
    /// PUTs in flight now.
    pub in_flight: usize,
    /// Bytes pushed and not yet durable.
    pub undurable_bytes: u64,
    /// Bytes of durable objects, as stored, that the journal's trim has passed.
    pub trimmed_bytes: u64,
    /// How long the oldest PUT in flight is unresolved: goes with the heartbeat (SAFETY L4).
    pub oldest_put: Option<Duration>,
    /// Smoothed time of a PUT.
    pub put_time: Duration,
    /// Bytes of chunks in use by this lane's objects, readers' slices included; shared ones until a few objects later.
    pub chunk_bytes: usize,
}

/// A handle to a lane. Clones are the same lane.
#[derive(Clone, Debug)]
pub struct Lane(pub(super) Arc<Shared>);

/// What handle and task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub id: LaneId,
    pub config: LaneConfig,
    pub state: Mutex<State>,
    /// Wakes the task: there is a first append, a full object, or an order.
    pub wake: Notify,
    /// Published mark: all numbers below are durable and their sinks have been told.
    pub durable_below: AtomicU64,
    pub create_stats: Arc<CreateStats>,
    pub cold_reads: Arc<ColdReads>,
    begun: Instant,
    room: Notify,
    ended: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub open: OpenObject,
    /// Closed by size, oldest first; `open` comes after them.
    pub full: VecDeque<OpenObject>,
    /// Granted mark.
    pub granted: LaneNumber,
    pub ended: Option<LaneEnded>,
    /// The owner wants everything written, then the seal.
    pub closing: bool,
    /// The own seal, once it is there.
    pub sealed: Option<Sealed>,
    /// What the store said when it last refused, until it takes something again.
    pub refusal: Option<String>,
    /// When the oldest PUT in flight was started.
    pub oldest_put: Option<Instant>,
    /// Gauges that the task keeps: in_flight, put_time, chunk_bytes; and its counters.
    pub stats: LaneStats,
    undurable_bytes: u64,
    /// Who waits for the number `published + i`; made when somebody does.
    pub waiting: VecDeque<Arc<Notify>>,
}

impl Lane {
    /// Starts the lane of a newly registered incarnation, at number 0, with its task.
    pub fn start(
        store: Arc<dyn Store>,
        env: &Env,
        lane: LaneId,
        lane_ref: LaneRef,
        config: LaneConfig,
        tail: Arc<TailCache>,
    ) -> Lane {
        let state = State {
            open: OpenObject::new(LaneNumber(0)),
            full: VecDeque::new(),
            granted: LaneNumber(0),
            ended: None,
            closing: false,
            sealed: None,
            refusal: None,
            oldest_put: None,
            stats: LaneStats::default(),
            undurable_bytes: 0,
            waiting: VecDeque::new(),
        };
        let cold_reads = Arc::new(ColdReads::new(config.cold_reads_min));
        let shared = Arc::new(Shared {
            id: lane,
            config,
            state: Mutex::new(state),
            wake: Notify::new(),
            durable_below: AtomicU64::new(0),
            create_stats: Arc::default(),
            cold_reads,
            begun: Instant::now(),
            room: Notify::new(),
            ended: Notify::new(),
        });
        let task = LaneTask::new(shared.clone(), store, env.clone(), lane_ref, tail);
        env.tasks.spawn_vital("lane", task.run());
        Lane(shared)
    }

    /// Whose lane it is.
    pub fn id(&self) -> LaneId {
        self.0.id
    }

    /// What may be read beside it: readers of the same store wait for their turn there.
    pub fn cold_reads(&self) -> Arc<ColdReads> {
        self.0.cold_reads.clone()
    }

    /// Takes an append; it will be in the object of the returned number, behind everything pushed before. Never waits.
    /// Callers hold their partition's lock, so that the order of the lane is the order of the offsets.
    ///
    /// # Errors
    /// The lane is over; nothing was taken.
    pub fn push(&self, append: Append) -> Result<LaneNumber, LaneEnded> {
        let stored_len = append.stored_len();
        let mut state = self.0.state.lock();
        if let Some(ended) = &state.ended {
            return Err(ended.clone());
        }
        if state.closing {
            return Err(LaneEnded::Closed);
        }
        let full = state.open.is_full_for(stored_len, self.0.config.full_bytes);
        if full {
            let closed = state.open.take();
            state.full.push_back(closed);
        }
        let first = state.open.is_empty();
        let number = state.open.number;
        state.open.push(append, || self.0.now());
        state.undurable_bytes += stored_len as u64;
        drop(state);
        if first {
            self.0.wake.notify_one();
        }
        Ok(number)
    }

    /// Waits until `bytes` more may be pushed: until less than the bound is pushed and not durable. Nothing is reserved:
    /// those who got room at the same moment pass the bound together, by no more than what they hold in ingress (which
    /// they must, while they wait; the order of classes allows it, I8). A push larger than the bound goes when nothing
    /// else is on its way. Cancel-safe; bound it by the request's time-out.
    ///
    /// # Errors
    /// Waiting is pointless: see [`NoRoom`].
    pub async fn room(&self, bytes: u64) -> Result<(), NoRoom> {
        loop {
            let freed = {
                let state = self.0.state.lock();
                if let Some(ended) = &state.ended {
                    return Err(NoRoom::Ended(ended.clone()));
                }
                let after = state.undurable_bytes.saturating_add(bytes);
                let backlog = state.stats.bytes.saturating_sub(state.stats.trimmed_bytes);
                if backlog >= self.0.config.backlog_bytes_max {
                    // Its upload is behind: whoever waits too long is told to come again.
                } else if state.undurable_bytes == 0 || after <= self.0.config.undurable_bytes_max {
                    return Ok(());
                }
                if let Some(refusal) = &state.refusal {
                    return Err(NoRoom::StoreRefuses(refusal.clone()));
                }
                self.0.room.notified()
            };
            freed.await;
        }
    }

    /// All numbers below are durable, with everything before them, and their sinks have been told.
    pub fn durable_below(&self) -> LaneNumber {
        LaneNumber(self.0.durable_below.load(Ordering::Acquire))
    }

    /// What became of an object: None while that is open.
    pub fn outcome(&self, number: LaneNumber) -> Option<Result<(), LaneEnded>> {
        if number < self.durable_below() {
            return Some(Ok(()));
        }
        self.0.state.lock().outcome(number)
    }

    /// Waits until the object `number` (one that [`Lane::push`] returned) is durable with everything before it.
    /// Cancel-safe.
    ///
    /// # Errors
    /// The lane ended before.
    pub async fn wait_durable(&self, number: LaneNumber) -> Result<(), LaneEnded> {
        while number >= self.durable_below() {
            let told = {
                let mut state = self.0.state.lock();
                // Again, under the lock: it may have been published since the look above.
                match state.wait(number, self.durable_below()) {
                    Wait::Over(outcome) => return outcome,
                    Wait::For(bell) => bell.notified_owned(),
                }
            };
            told.await;
        }
        Ok(())
    }

    /// The journal's trim has passed so many bytes more, as stored: there is room for as many.
    pub fn trimmed(&self, bytes: u64) {
        let mut state = self.0.state.lock();
        state.stats.trimmed_bytes = state.stats.trimmed_bytes.saturating_add(bytes);
        drop(state);
        self.0.room.notify_waiters();
    }

    /// Why it takes nothing more, if so.
    pub fn ended(&self) -> Option<LaneEnded> {
        self.0.state.lock().ended.clone()
    }

    /// Waits for its end. Cancel-safe.
    pub async fn wait_ended(&self) -> LaneEnded {
        loop {
            let told = {
                let state = self.0.state.lock();
                if let Some(ended) = &state.ended {
                    return ended.clone();
                }
                self.0.ended.notified()
            };
            told.await;
        }
    }

    /// A clean leave (SAFETY L15): takes nothing more, waits until all that was pushed is durable, and seals its own
    /// lane. Goes on if the call is dropped; may be repeated.
    ///
    /// # Errors
    /// The lane ended otherwise, before or meanwhile.
    pub async fn close(&self) -> Result<Sealed, LaneEnded> {
        self.0.state.lock().closing = true;
        self.0.wake.notify_one();
        let ended = self.wait_ended().await;
        self.0.state.lock().sealed.clone().ok_or(ended)
    }

    /// Ends the lane at once without its store, and returns its length: all below was (or is this moment being)
    /// acknowledged, nothing at or above it ever will be. For `LaneEnded{length}` in the journal (SAFETY L4).
    ///
    /// # Errors
    /// The lane ended before.
    pub fn abandon(&self) -> Result<LaneNumber, LaneEnded> {
        self.0.end(LaneEnded::Abandoned)
    }

    /// Counters and gauges as of now.
    pub fn stats(&self) -> LaneStats {
        let state = self.0.state.lock();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LaneStats {
            attempts: count(&self.0.create_stats.attempts),
            unknowns: count(&self.0.create_stats.unknowns),
            hedges: count(&self.0.create_stats.hedges),
            undurable_bytes: state.undurable_bytes,
            oldest_put: state.oldest_put.map(|at| at.elapsed()),
            ..state.stats
        }
    }
}

/// How to wait for a number.
#[derive(Debug)]
pub enum Wait {
    /// Not at all.
    Over(Result<(), LaneEnded>),
    /// Until this rings.
    For(Arc<Notify>),
}

impl State {
    /// What became of a number that is not published.
    fn outcome(&self, number: LaneNumber) -> Option<Result<(), LaneEnded>> {
        if number < self.granted {
            // Its sinks are being told: it will be published, whatever ends the lane now.
            return None;
        }
        self.ended.clone().map(Err)
    }

    /// What became of a number, or its bell. All below `published`, as of this lock, is durable.
    pub fn wait(&mut self, number: LaneNumber, published: LaneNumber) -> Wait {
        let Some(at) = number.0.checked_sub(published.0) else { return Wait::Over(Ok(())) };
        if let Some(outcome) = self.outcome(number) {
            return Wait::Over(outcome);
        }
        assert!(number <= self.open.number, "lane number {number} was never given out");
        while self.waiting.len() <= at as usize {
            self.waiting.push_back(Arc::default());
        }
        Wait::For(self.waiting[at as usize].clone())
    }
}

impl Shared {
    /// Time since the lane began.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The moment of a time since the lane began; its beginning for None.
    pub fn at(&self, time: Option<Duration>) -> Instant {
        self.begun + time.unwrap_or_default()
    }

    /// Decides that `number` is durable, if the lane still lives. From here on it will be published.
    ///
    /// # Panics
    /// If something before it is not (I1).
    pub fn grant(&self, number: LaneNumber) -> bool {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return false;
        }
        assert_eq!(number, state.granted, "a lane object became durable out of turn");
        state.granted = number.next();
        true
    }

    /// The sinks of `number` have been told: wakes whoever waits for it. `pushed` bytes have left the lane, which are
    /// `stored` bytes in the store.
    pub fn publish(&self, number: LaneNumber, pushed: u64, stored: u64) {
        let waiter = {
            let mut state = self.state.lock();
            let published = self.durable_below.load(Ordering::Relaxed);
            assert!(
                number.0 == published && number < state.granted,
                "{number} published, {published} was next"
            );
            self.durable_below.store(number.0 + 1, Ordering::Release);
            state.undurable_bytes -= pushed;
            state.stats.objects += 1;
            state.stats.bytes += stored;
            state.waiting.pop_front()
        };
        if let Some(waiter) = waiter {
            waiter.notify_waiters();
        }
        self.room.notify_waiters();
    }

    /// Ends the lane: everything that is not granted is refused from now on. Returns its length.
    pub fn end(&self, why: LaneEnded) -> Result<LaneNumber, LaneEnded> {
        let mut dropped = Vec::new();
        let (length, waiting) = {
            let mut state = self.state.lock();
            if let Some(ended) = &state.ended {
                return Err(ended.clone());
            }
            state.ended = Some(why);
            dropped.extend(state.full.drain(..));
            dropped.push(state.open.take());
            let published = self.durable_below.load(Ordering::Relaxed);
            let granted = (state.granted.0 - published) as usize;
            let keep = granted.min(state.waiting.len());
            (state.granted, state.waiting.split_off(keep))
        };
        // Frames, charges and sinks: not under the lock.
        drop(dropped);
        waiting.iter().for_each(|waiter| waiter.notify_waiters());
        self.room.notify_waiters();
        self.ended.notify_waiters();
        self.wake.notify_one();
        Ok(length)
    }

    /// The store refused (Some), or took something again.
    pub fn set_refusal(&self, refusal: Option<String>) {
        let refuses = refusal.is_some();
        self.state.lock().refusal = refusal;
        if refuses {
            self.room.notify_waiters();
        }
    }
}
