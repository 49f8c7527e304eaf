//! The numbered, create-only journal (DESIGN §3): one log of commits per bucket, generic over the records it carries and the
//! image they add up to.
//!
//! The map, in the order a mutation meets it:
//! - [`Journal`] (here): the handle. `propose` and `elect` send to the one task that owns the journal in this process.
//! - `owner`: that task. Group commit: what arrives while a PUT is in flight goes into the next. `elect`: candidacy.
//! - [`draft`] (pure): judges mutations one by one on the image, packs the legal ones.
//! - [`commit`] (pure): the bytes. `wire`: bounded reading of them.
//! - `reader`: the bucket as a reader sees it: windows of GETs, the *look*, boot.
//! - [`state`] (pure): folds commits into the next [`JournalImage`]. The only way state changes.
//! - [`snapshot`]: the image as chunks and a manifest. `release`: boundaries, then deletes of what snapshots cover.
//!
//! Two rules carry everything. *Order and durability rest on create-if-absent of a numbered key*: whoever is paused,
//! partitioned or wrong about the time loses a number, never a commit. *Absence is not believed*: what was learnt is acted
//! on only after a look, made later, finds no boundary object for the stride of the last number held (SAFETY F1).

pub mod commit;
pub mod draft;
mod elect;
mod owner;
mod reader;
mod release;
pub mod snapshot;
pub mod state;
pub mod wire;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use self::commit::{COMMIT_BYTES_MAX, COMMIT_RECORDS_MAX, JournalRecord, MutationId, Times};
pub use self::state::{JournalImage, SnapshotRef};
pub use self::wire::DecodeError;
use crate::env::Env;
use crate::ids::{Incarnation, Nonce};
use crate::store::Store;

/// What a commit carries: one persisted change, of whoever uses the journal.
pub trait Record: Clone + Debug + Send + Sync + 'static {
    /// Appends the record's bytes.
    fn encode(&self, out: &mut BytesMut);
    /// Reads one record, all of `bytes`. An id of a later release is [`DecodeError::Unknown`], never skipped (SAFETY F11).
    fn decode(bytes: Bytes) -> Result<Self, DecodeError>;
}

/// What the records add up to. Cloned for every commit: maps should share structure, areas be `Arc`s.
pub trait Image: Clone + Debug + Send + Sync + 'static {
    /// What it is made of.
    type Record: Record;
    /// Folds one mutation. Legality rests on the image and `at.level`, on nothing else. A refused image is thrown away, so
    /// it may be left half changed.
    fn apply(&mut self, at: MutationPoint, records: &[Self::Record]) -> Result<(), Illegal>;
    /// Registered, and neither fenced nor gone?
    fn is_live(&self, incarnation: Incarnation) -> bool;
    /// May the feature level become `level`: can every live member do it?
    fn may_raise(&self, _level: u16) -> Result<(), Illegal> {
        Ok(())
    }
    /// Appends the whole image, the same bytes for the same state.
    fn encode(&self, out: &mut BytesMut);
    /// Reads what [`Image::encode`] wrote.
    fn decode(bytes: Bytes) -> Result<Self, DecodeError>;
    /// About how many bytes `encode` will take.
    fn size_hint(&self) -> usize;
}

/// Where a mutation takes effect, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MutationPoint {
    /// Number of its commit.
    pub seq: u64,
    /// Its index in there. A registration's incarnation is (seq, index).
    pub index: u32,
    /// Who proposed it; None for the registration of a process that had no incarnation.
    pub proposer: Option<Incarnation>,
    /// The feature level in force.
    pub level: u16,
}

impl MutationPoint {
    /// The incarnation that a registration at this point makes.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation { seq: self.seq, index: self.index }
    }
}

/// Where a mutation took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Committed {
    /// Number of its commit.
    pub seq: u64,
    /// Its index in there.
    pub index: u32,
}

/// Why the user's image refuses a mutation. `code` is the user's own, so that a refusal can be answered as a typed error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Illegal {
    /// Of the user's choosing; 0 where nobody asks.
    pub code: i16,
    /// For people, with the facts.
    pub message: String,
}

impl Illegal {
    /// A refusal that only people read.
    pub fn new(message: impl Into<String>) -> Illegal {
        Illegal { code: 0, message: message.into() }
    }

    /// A refusal with a code.
    pub fn with_code(code: i16, message: impl Into<String>) -> Illegal {
        Illegal { code, message: message.into() }
    }
}

/// Why a mutation or a whole commit is not legal on an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The user's image says so.
    #[error(transparent)]
    Illegal(Illegal),
    /// The proposer is not registered, or fenced, or gone.
    #[error("incarnation {0} is not live")]
    NotLive(Incarnation),
    /// Its result is not kept any more: whatever became of it, it is refused for ever.
    #[error("mutation {counter} is too old: {highest} was applied")]
    TooOld {
        /// Of the mutation.
        counter: u64,
        /// Applied of that incarnation.
        highest: u64,
    },
    /// It was applied before; only a broken writer puts it into a commit again.
    #[error("the mutation was applied before")]
    Applied,
    /// A registration whose records register nobody.
    #[error("a registration that registers nobody")]
    RegistersNobody,
    /// The commit is not its writer's to write.
    #[error("written by {writer:?}, the controller is {controller:?}")]
    NotController {
        /// Who wrote it.
        writer: Option<Incarnation>,
        /// Who might have.
        controller: Option<Incarnation>,
    },
    /// One of the journal's own records.
    #[error("{0}")]
    Own(&'static str),
}

/// What ends the journal in this process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The log holds what this release cannot read.
    #[error("{0}")]
    Upgrade(String),
    /// The log is damaged where it must not be.
    #[error("the journal is damaged: {0}")]
    Repair(String),
    /// The store refuses (at open), or an fsync failed.
    #[error("{0}")]
    Store(String),
    /// Another process acts under this one's incarnation: a machine was cloned with its memory (SAFETY F18).
    #[error(
        "another process acts as incarnation {0}: this machine, or that one, is a clone; ending this one"
    )]
    Cloned(Incarnation),
    /// The handle is gone, or the process is ending.
    #[error("the journal is closed")]
    Closed,
}

/// Why a mutation has no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It is illegal on a durable image, and is not in the log.
    #[error(transparent)]
    Refused(Refusal),
    /// This process is not controller, the named one is; it was not tried.
    #[error("not the controller; {0:?} is")]
    NotController(Option<Incarnation>),
    /// This process was controller, and lost the number to another's election. It is not in the log by this proposal.
    #[error("not the controller any more; {0:?} is")]
    Deposed(Option<Incarnation>),
    /// No commit can hold it (1 MiB, 20,000 records).
    #[error("the mutation is larger than a commit may be")]
    TooLarge,
    /// The incarnation ended while the outcome was open: it may or may not be in the log.
    #[error("the outcome is unknown, and the proposer has ended")]
    OutcomeUnknown,
    /// The journal stopped in this process; the mutation may or may not be in the log.
    #[error(transparent)]
    Stopped(Stop),
}

/// Why a candidate is not controller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElectError {
    /// Somebody else is, newly.
    #[error("{0} was elected")]
    LostTo(Incarnation),
    /// Its registration is illegal.
    #[error(transparent)]
    Refused(Refusal),
    /// This process stands again, by a later call.
    #[error("withdrawn for a later candidacy of this process")]
    Withdrawn,
    /// The journal stopped in this process.
    #[error(transparent)]
    Stopped(Stop),
}

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The highest feature level this process can do. A journal above it is refused with the remedy.
    pub level_max: u16,
    /// The level a new journal starts at.
    pub genesis_level: u16,
    /// Lease and session of a new journal.
    pub genesis_times: Times,
    /// How often a process that is not controller asks for the next number, when nobody pushes.
    pub poll_interval: Duration,
    /// Commits per boundary object. Part of the bucket's layout, the same for all its readers: changed by tests alone.
    #[doc(hidden)]
    pub stride: u64,
    /// Commits after which a snapshot is due.
    #[doc(hidden)]
    pub snapshot_commits: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig {
            level_max: 1,
            genesis_level: 1,
            genesis_times: Times::default(),
            poll_interval: Duration::from_millis(500),
            stride: 4096,
            snapshot_commits: 256,
        }
    }
}

/// The controller's standing, for whoever answers heartbeats (DESIGN §4). Times are [`Clock::monotonic`](crate::clock::Clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Office {
    /// Who holds it: this process.
    pub incarnation: Incarnation,
    /// When its election was believed. A new controller counts silence from here.
    pub elected_at: Duration,
    /// When its newest proof *began*: a commit of its own that was believed, or a read up to a missing number that found no
    /// other controller.
    pub proof_began: Duration,
}

/// What this process has seen of the head of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Last number held.
    pub seq: u64,
    /// For how long the next number was surely missing, by 404s alone.
    pub still: Duration,
    /// How long that must be before an election.
    pub effective_lease: Duration,
}

/// Counters that only grow, but for `commit_p99_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Commits of this process that were believed.
    pub commits: u64,
    /// Numbers that were lost to somebody else.
    pub numbers_lost: u64,
    /// Void commits met.
    pub voids: u64,
    /// Looks made.
    pub looks: u64,
    /// Looks that found history: the newest snapshot was loaded again.
    pub histories: u64,
    /// Elections won.
    pub elections: u64,
    /// Snapshots written, read back and named.
    pub snapshots: u64,
    /// Strides released.
    pub strides_released: u64,
    /// `put_new` calls for commits.
    pub put_attempts: u64,
    /// And those that told nothing.
    pub put_unknowns: u64,
    /// 99th percentile of the last commits, in ms.
    pub commit_p99_ms: u64,
}

#[derive(Debug, Default)]
struct Counters {
    commits: AtomicU64,
    numbers_lost: AtomicU64,
    voids: AtomicU64,
    looks: AtomicU64,
    histories: AtomicU64,
    elections: AtomicU64,
    snapshots: AtomicU64,
    strides_released: AtomicU64,
    commit_p99_ms: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What the handle and the owner share.
#[derive(Debug)]
struct Shared<I> {
    nonce: Nonce,
    image: watch::Sender<Arc<JournalImage<I>>>,
    entries: broadcast::Sender<(u64, Bytes)>,
    office: Mutex<Option<Office>>,
    head: Mutex<Head>,
    stop: watch::Sender<Option<Stop>>,
    counters: Counters,
    creates: Arc<crate::store::CreateStats>,
    counter: AtomicU64,
}

/// A question to the owner.
enum Command<I: Image> {
    Submit(owner::Pending<I>),
    Elect(elect::Campaign<I>),
    Offer(Bytes),
    CatchUp(oneshot::Sender<u64>),
    SnapshotEnded { named: bool },
}

/// The journal, as this process holds it. Cheap to clone; the owner's task ends with the last clone.
#[derive(Debug)]
pub struct Journal<I: Image> {
    shared: Arc<Shared<I>>,
    commands: mpsc::UnboundedSender<Command<I>>,
}

impl<I: Image> Clone for Journal<I> {
    fn clone(&self) -> Self {
        Journal { shared: self.shared.clone(), commands: self.commands.clone() }
    }
}

impl<I: Image> Journal<I> {
    /// Opens the journal of the bucket, creating it with `genesis` where there is none: newest named snapshot, tail, look.
    /// Waits for as long as the store does not answer.
    ///
    /// # Errors
    /// [`Stop::Upgrade`], [`Stop::Repair`], and [`Stop::Store`] where the store refuses.
    pub async fn open(
        store: Arc<dyn Store>,
        env: Env,
        config: JournalConfig,
        genesis: I,
    ) -> Result<Journal<I>, Stop> {
        owner::open(store, env, config, genesis).await
    }

    /// The image as of now: looked-at, immutable.
    pub fn image(&self) -> Arc<JournalImage<I>> {
        self.shared.image.borrow().clone()
    }

    /// Every image that is published (a slow reader sees the newest).
    pub fn subscribe(&self) -> watch::Receiver<Arc<JournalImage<I>>> {
        self.shared.image.subscribe()
    }

    /// Waits until this process's image has reached commit `seq` (read-your-writes), reading on at once if it has not.
    pub async fn wait_for(&self, seq: u64) -> Result<Arc<JournalImage<I>>, Stop> {
        let mut images = self.subscribe();
        if images.borrow().seq < seq {
            let (unheard, _) = oneshot::channel();
            let _ = self.commands.send(Command::CatchUp(unheard));
        }
        let mut stop = self.shared.stop.subscribe();
        tokio::select! {
            biased;
            image = images.wait_for(|i| i.seq >= seq) => image.map(|i| i.clone()).map_err(|_| Stop::Closed),
            stop = stop.wait_for(|s| s.is_some()) => Err(stop.ok().and_then(|s| s.clone()).unwrap_or(Stop::Closed)),
        }
    }

    /// This process's nonce, by which its registration is known.
    pub fn nonce(&self) -> Nonce {
        self.shared.nonce
    }

    /// What this process was registered as, by its own election or by a controller; ended ones too.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.image().incarnation_of(self.shared.nonce)
    }

    /// Id for a mutation that is sent to another controller. Ids must be proposed in the order in which they were drawn.
    pub fn next_id(&self) -> Option<MutationId> {
        let incarnation = self.incarnation()?;
        Some(MutationId::Of { incarnation, counter: self.shared.counter.fetch_add(1, Ordering::Relaxed) + 1 })
    }

    /// Proposes a mutation of this process; resolves when it is durable, looked at and in this process's image, or known
    /// not to be in the log. Dropping the call leaves it open.
    pub async fn propose(&self, records: Vec<I::Record>) -> Result<Committed, ProposeError> {
        self.send(None, Vec::new(), records).await
    }

    /// Proposes a mutation under its id: somebody else's, or a repeat. A repeat gets the first result.
    pub async fn submit(&self, id: MutationId, records: Vec<I::Record>) -> Result<Committed, ProposeError> {
        self.send(Some(id), Vec::new(), records).await
    }

    /// Raises the feature level.
    pub async fn raise_level(&self, level: u16) -> Result<Committed, ProposeError> {
        self.send(None, vec![JournalRecord::FeatureLevelSet { level }], Vec::new()).await
    }

    /// Changes lease and session.
    pub async fn set_times(&self, times: Times) -> Result<Committed, ProposeError> {
        self.send(None, vec![JournalRecord::TimesSet(times)], Vec::new()).await
    }

    /// Steps down; not being controller is fine.
    pub async fn resign(&self) -> Result<(), ProposeError> {
        match self.send(None, vec![JournalRecord::ControllerResigned], Vec::new()).await {
            Ok(_) | Err(ProposeError::NotController(_) | ProposeError::Deposed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        id: Option<MutationId>,
        own: Vec<JournalRecord>,
        records: Vec<I::Record>,
    ) -> Result<Committed, ProposeError> {
        let (pending, answer) = owner::Pending::new(id, own, records);
        let _ = self.commands.send(Command::Submit(pending));
        answer.await.unwrap_or_else(|_| Err(ProposeError::Stopped(self.stopped().unwrap_or(Stop::Closed))))
    }

    /// Stands for controller once the head has stood still for the effective lease (at once where there is no controller),
    /// and returns when it is, or another was elected. `registration` is used if this process is not registered: it is
    /// carried, with the fence of what it replaces, in the same commit. Dropping the call withdraws.
    pub async fn elect(&self, registration: Vec<I::Record>) -> Result<Incarnation, ElectError> {
        self.stand(registration, false).await
    }

    /// The same without waiting, for a proven hint: the controller's address refuses the connection, or it has this
    /// process's own broker id, or its lock is free. Never unsafe: the create decides (SAFETY L7).
    pub async fn elect_now(&self, registration: Vec<I::Record>) -> Result<Incarnation, ElectError> {
        self.stand(registration, true).await
    }

    async fn stand(&self, registration: Vec<I::Record>, now: bool) -> Result<Incarnation, ElectError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Elect(elect::Campaign::new(registration, now, reply)));
        answer.await.unwrap_or_else(|_| Err(ElectError::Stopped(self.stopped().unwrap_or(Stop::Closed))))
    }

    /// Reads on to the head, and looks: whatever was committed before the call is in the image after it. Returns its number.
    /// Of a controller that is a proof of office (`Office::proof_began`).
    pub async fn catch_up(&self) -> Result<u64, Stop> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::CatchUp(reply));
        answer.await.map_err(|_| self.stopped().unwrap_or(Stop::Closed))
    }

    /// The stored bytes of a commit, pushed by who wrote it, after its own look: that look counts for this entry alone. What
    /// does not continue the image is ignored; the bucket is read instead.
    pub fn offer(&self, entry: Bytes) {
        let _ = self.commands.send(Command::Offer(entry));
    }

    /// Commits of this process, once durable and looked at, to push to others.
    pub fn subscribe_entries(&self) -> broadcast::Receiver<(u64, Bytes)> {
        self.shared.entries.subscribe()
    }

    /// Is this process controller by its image, and how fresh is the proof?
    pub fn office(&self) -> Option<Office> {
        *self.shared.office.lock()
    }

    /// The head of the log, as seen from here.
    pub fn head(&self) -> Head {
        *self.shared.head.lock()
    }

    /// Why the journal has stopped in this process, if it has.
    pub fn stopped(&self) -> Option<Stop> {
        self.shared.stop.borrow().clone()
    }

    /// Counters.
    pub fn stats(&self) -> JournalStats {
        let c = &self.shared.counters;
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        JournalStats {
            commits: get(&c.commits),
            numbers_lost: get(&c.numbers_lost),
            voids: get(&c.voids),
            looks: get(&c.looks),
            histories: get(&c.histories),
            elections: get(&c.elections),
            snapshots: get(&c.snapshots),
            strides_released: get(&c.strides_released),
            put_attempts: get(&self.shared.creates.attempts),
            put_unknowns: get(&self.shared.creates.unknowns),
            commit_p99_ms: get(&c.commit_p99_ms),
        }
    }
}
