//! The one task that owns the journal in a process: it holds the believed image, commits if the image says that this process
//! is controller, and follows if it does not.
//!
//! Order of things for a mutation: it waits in the queue while a PUT is in flight; then the whole queue is judged on the
//! durable image and packed (`draft`); the commit is folded *before* it is written, by the code that will replay it, so that
//! nothing void or unreadable is ever written; one create; one look; the image is published; the answers go out, refusals
//! with the rest, because they rest on the mutations before them (SAFETY F12). A number that is lost means reading on and
//! judging again: who is controller is what the image says (SAFETY F10).
//!
//! A process that was stopped anywhere in here and wakes hours later does nothing unsafe: its create loses the number, or
//! the look finds history and the newest snapshot decides what became of its mutations.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::commit::{Commit, JournalRecord, MutationId};
use super::draft::{Admitted, Draft};
use super::elect::Campaign;
use super::reader::{Look, ReadOn, Reader};
use super::state::{Folded, JournalImage};
use super::{
    Command, Committed, Head, Image, Journal, JournalConfig, Office, ProposeError, Refusal, Shared, Stop,
    count, release,
};
use crate::env::Env;
use crate::ids::{Incarnation, commit_key};
use crate::store::{Create, CreateOptions, PutPayload, Store, create};

/// Commit times remembered for the p99, at most so many and for so long.
const COMMIT_TIMES_KEPT: usize = 128;
const COMMIT_TIMES_RECENT: Duration = Duration::from_secs(300);
/// A commit that took longer counts as this: an outage is not a latency, and must not stretch the lease by hours.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(15);
/// After a snapshot that failed, the next is tried so much later.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(10);
/// Pushed entries kept for a slow pusher.
const ENTRIES_KEPT: usize = 256;

/// A mutation that waits for its number.
pub(super) struct Pending<I: Image> {
    /// None: this process's next, drawn when it is judged.
    pub id: Option<MutationId>,
    pub own: Vec<JournalRecord>,
    pub records: Vec<I::Record>,
    pub reply: oneshot::Sender<Result<Committed, ProposeError>>,
    pub tried: Tried,
}

/// What was done with a mutation here so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tried {
    /// Nothing.
    #[default]
    Never,
    /// It was in a commit that lost its number: it is not in the log by that.
    Lost,
    /// It was in a commit whose Created turned out to be history, or was not heard of: it may be in the log.
    Open,
}

impl<I: Image> Pending<I> {
    pub fn new(
        id: Option<MutationId>,
        own: Vec<JournalRecord>,
        records: Vec<I::Record>,
    ) -> (Pending<I>, oneshot::Receiver<Result<Committed, ProposeError>>) {
        let (reply, answer) = oneshot::channel();
        (Pending { id, own, records, reply, tried: Tried::Never }, answer)
    }

    /// What to say when the image refuses it: that may be no news of what became of it before.
    fn refusal(&self, refusal: Refusal) -> ProposeError {
        match refusal {
            Refusal::NotLive(_) | Refusal::TooOld { .. } if self.tried == Tried::Open => {
                ProposeError::OutcomeUnknown
            }
            refusal => ProposeError::Refused(refusal),
        }
    }
}

/// See the module.
pub(super) struct Owner<I: Image> {
    pub reader: Reader<I>,
    pub image: Arc<JournalImage<I>>,
    commands: mpsc::UnboundedReceiver<Command<I>>,
    /// For tasks of its own; the process's handles hold the strong ones.
    own_commands: mpsc::WeakUnboundedSender<Command<I>>,
    queue: VecDeque<Pending<I>>,
    pub campaign: Option<Campaign<I>>,
    waiting_to_catch_up: Vec<oneshot::Sender<u64>>,
    /// When the promised idle commit is due, or the next poll.
    pub wake: Instant,
    /// End of the first 404 and begin of the last for the number after `image.seq`.
    missing: Option<(Duration, Duration)>,
    looked_at: Duration,
    /// When each ended, and what it took.
    commit_times: VecDeque<(Duration, Duration)>,
    snapshot_running: bool,
    snapshot_not_before: Duration,
}

/// What a commit attempt came to.
pub(super) enum Attempt {
    /// Durable, looked at, published.
    Believed,
    /// Somebody else's commit has the number; the image has read on.
    Lost,
    /// Ours was created, but in history; the newest snapshot was loaded.
    History,
}

pub(super) async fn open<I: Image>(
    store: Arc<dyn Store>,
    env: Env,
    config: JournalConfig,
    genesis: I,
) -> Result<Journal<I>, Stop> {
    let placeholder = JournalImage::genesis(genesis.clone(), config.genesis_level, config.genesis_times);
    let shared = Arc::new(Shared {
        nonce: env.entropy.nonce(),
        image: watch::Sender::new(Arc::new(placeholder)),
        entries: broadcast::Sender::new(ENTRIES_KEPT),
        office: Mutex::new(None),
        head: Mutex::new(Head::default()),
        stop: watch::Sender::new(None),
        counters: Default::default(),
        creates: Default::default(),
        counter: Default::default(),
    });
    let reader = Reader { store, env: env.clone(), config, shared: shared.clone() };
    let began = env.clock.monotonic();
    let image = Arc::new(reader.load(Some(&genesis)).await?);
    shared.image.send_replace(image.clone());
    let (sender, commands) = mpsc::unbounded_channel();
    let owner = Owner {
        reader,
        image,
        commands,
        own_commands: sender.downgrade(),
        queue: VecDeque::new(),
        campaign: None,
        waiting_to_catch_up: Vec::new(),
        wake: Instant::now(),
        missing: None,
        looked_at: began,
        commit_times: VecDeque::new(),
        snapshot_running: false,
        snapshot_not_before: Duration::ZERO,
    };
    env.tasks.spawn_vital("journal", owner.run());
    Ok(Journal { shared, commands: sender })
}

impl<I: Image> Owner<I> {
    async fn run(mut self) {
        let stop = loop {
            if let Err(stop) = self.turn().await {
                break stop;
            }
        };
        if !matches!(stop, Stop::Closed) {
            tracing::error!(%stop, "the journal has stopped in this process");
        }
        // In a running process, of the store's faults only a failed fsync gets here (DESIGN I10).
        if let Stop::Store(_) | Stop::Cloned(_) = &stop {
            self.reader.env.tasks.fatal(stop.to_string());
        }
        self.end(stop);
    }

    /// One turn: what arrived, then whatever is due.
    async fn turn(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        let due = self.wake.min(self.campaign.as_ref().map_or(self.wake, |c| c.wake));
        if self.queue.is_empty() && due > now {
            tokio::select! {
                biased;
                command = self.commands.recv() => self.take(command.ok_or(Stop::Closed)?),
                () = sleep_until(due) => {}
            }
        }
        while let Ok(command) = self.commands.try_recv() {
            self.take(command);
        }
        match self.me().filter(|me| self.image.controller == Some(*me)) {
            Some(me) => self.govern(me).await?,
            None => self.follow().await?,
        }
        self.campaign_turn().await
    }

    fn take(&mut self, command: Command<I>) {
        match command {
            Command::Submit(pending) => self.queue.push_back(pending),
            Command::Elect(campaign) => self.stand(campaign),
            Command::Offer(entry) => self.fold_offered(&entry),
            Command::CatchUp(reply) => self.waiting_to_catch_up.push(reply),
            Command::SnapshotEnded { named } => {
                self.snapshot_running = false;
                self.snapshot_not_before = if named { Duration::ZERO } else { self.now() + SNAPSHOT_RETRY };
            }
        }
    }

    /// This process's incarnation, as long as it lives.
    pub fn me(&self) -> Option<Incarnation> {
        self.image.incarnation_of(self.reader.shared.nonce).filter(|i| self.image.inner.is_live(*i))
    }

    pub fn now(&self) -> Duration {
        self.reader.env.clock.monotonic()
    }

    // ---- the controller ----

    async fn govern(&mut self, me: Incarnation) -> Result<(), Stop> {
        if !self.queue.is_empty() || self.wake <= Instant::now() {
            self.commit_batch(me).await?;
        }
        // A believed commit has answered them: nothing was committed before it that the image does not hold.
        if !self.waiting_to_catch_up.is_empty() {
            self.read_on().await?;
        }
        Ok(())
    }

    /// Judges the queue, and writes what is legal of it in one commit; with nothing to write and a promise due, an empty one.
    async fn commit_batch(&mut self, me: Incarnation) -> Result<(), Stop> {
        let base = self.image.clone();
        let mut draft = Draft::new(&base, Some(me));
        let mut judged: Judged<I> = Vec::new();
        while let Some(pending) = self.queue.pop_front() {
            let drawn = || MutationId::Of { incarnation: me, counter: self.next_counter(me) };
            let id = pending.id.unwrap_or_else(drawn);
            if let Some(refusal) = self.beyond_this_release(&pending.own) {
                judged.push((pending, id, Admitted::Refused(refusal)));
                continue;
            }
            match draft.admit(id, &pending.own, &pending.records) {
                Admitted::Full => {
                    self.queue.push_front(pending);
                    break;
                }
                admitted => judged.push((pending, id, admitted)),
            }
        }
        if draft.is_empty() && self.wake > Instant::now() {
            // All of it rests on the image at hand, which is durable.
            answer(judged);
            return Ok(());
        }
        let commit = draft.seal(&base, self.reader.env.entropy.nonce(), self.p99_ms());
        let began = self.now();
        match self.attempt(&commit).await {
            Ok(Attempt::Believed) => {
                self.note_commit_time(self.now().saturating_sub(began));
                answer(judged);
                self.consider_snapshot();
            }
            Ok(Attempt::Lost) => self.judge_again(judged, Tried::Lost),
            Ok(Attempt::History) => self.judge_again(judged, Tried::Open),
            Err(stop) => {
                self.judge_again(judged, Tried::Open);
                return Err(stop);
            }
        }
        Ok(())
    }

    /// A controller does not raise the cluster above itself, whatever the members say.
    fn beyond_this_release(&self, own: &[JournalRecord]) -> Option<Refusal> {
        let known = self.reader.config.level_max;
        let beyond =
            |r: &JournalRecord| matches!(r, JournalRecord::FeatureLevelSet { level } if *level > known);
        own.iter()
            .any(beyond)
            .then_some(Refusal::Own("a feature level that the controller's release does not know"))
    }

    pub fn next_counter(&self, me: Incarnation) -> u64 {
        let counter = &self.reader.shared.counter;
        let highest = self.image.highest_counter(me);
        counter.fetch_max(highest, Ordering::Relaxed);
        counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Puts what was judged back, before what came later: the next image judges. A number that was lost took nothing with it,
    /// so that ids drawn for it are drawn anew; where the outcome is open, the id stays, for it may be known by then.
    fn judge_again(&mut self, judged: Judged<I>, tried: Tried) {
        for (mut pending, id, admitted) in judged.into_iter().rev() {
            if pending.tried != Tried::Open {
                pending.tried = tried;
            }
            if tried == Tried::Open && matches!(admitted, Admitted::Packed(_)) {
                pending.id = Some(id);
            }
            self.queue.push_front(pending);
        }
    }

    /// Writes `commit` as the next number, until it is known who has that number; looks; publishes.
    pub async fn attempt(&mut self, commit: &Commit) -> Result<Attempt, Stop> {
        let (bytes, _) = commit.encode();
        let next = match self.reader.fold(&self.image, &bytes)? {
            Ok(next) if next.voids == self.image.voids => next,
            // Written, it would stop or mislead every reader: a bug here must end here.
            Ok(_) => {
                return Err(Stop::Repair(format!("commit {} would be void; it was not written", commit.seq)));
            }
            Err(why) => {
                return Err(Stop::Repair(format!("a commit that cannot be read was not written: {why}")));
            }
        };
        let key = commit_key(commit.seq);
        let began = self.now();
        let options = CreateOptions {
            patient: true,
            stats: Some(self.reader.shared.creates.clone()),
            ..CreateOptions::default()
        };
        let created = create(
            &*self.reader.store,
            &self.reader.env,
            &key,
            PutPayload::from_bytes(bytes.clone()),
            options,
        )
        .await
        .map_err(|e| Stop::Store(e.to_string()))?;
        if let Create::Foreign(theirs) = created {
            // A body of ours is fixed at its number: another one under our name is a clone's.
            if let (Ok((other, _)), Some(me)) = (Commit::decode(theirs), commit.writer)
                && other.writer == Some(me)
            {
                return Err(Stop::Cloned(me));
            }
            count(&self.reader.shared.counters.numbers_lost);
            self.read_on().await?;
            return Ok(Attempt::Lost);
        }
        if self.reader.look(commit.seq).await? == Look::History {
            // Its stride was released: every entry in it may be deleted by anybody, this one first.
            let _ = self.reader.store.delete(&key).await;
            self.reload().await?;
            return Ok(Attempt::History);
        }
        self.looked_at = self.now();
        count(&self.reader.shared.counters.commits);
        self.publish(next);
        self.prove(began);
        self.caught_up();
        let _ = self.reader.shared.entries.send((commit.seq, bytes));
        Ok(Attempt::Believed)
    }

    /// 99th percentile of this process's recent commits, in ms; of few, the longest.
    pub fn p99_ms(&self) -> u32 {
        let since = self.now().saturating_sub(COMMIT_TIMES_RECENT);
        let recent = self.commit_times.iter().filter(|(at, _)| *at >= since);
        let mut times: Vec<Duration> = recent.map(|(_, took)| *took).collect();
        times.sort_unstable();
        let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
        times.get(at).map_or(0, |t| t.as_millis() as u32)
    }

    /// Remembers what a commit took. A new controller begins with what its predecessor published: the store is the same, and
    /// a lease that shrank with each election would make a slow store flap (SAFETY L8).
    pub fn note_commit_time(&mut self, took: Duration) {
        self.commit_times.push_back((self.now(), took.min(COMMIT_TIME_MAX)));
        if self.commit_times.len() > COMMIT_TIMES_KEPT {
            self.commit_times.pop_front();
        }
        let p99 = u64::from(self.p99_ms());
        self.reader.shared.counters.commit_p99_ms.store(p99, Ordering::Relaxed);
    }

    fn consider_snapshot(&mut self) {
        let due =
            self.image.snapshot_due(self.image.inner.size_hint() as u64, self.reader.config.snapshot_commits);
        if !due || self.snapshot_running || self.now() < self.snapshot_not_before {
            return;
        }
        let Some(commands) = self.own_commands.upgrade() else { return };
        self.snapshot_running = true;
        let task = release::housekeeping(self.reader.clone(), self.image.clone(), commands.downgrade());
        self.reader.env.tasks.spawn("journal snapshot", task);
    }

    // ---- everybody else ----

    async fn follow(&mut self) -> Result<(), Stop> {
        self.turn_away();
        if !self.waiting_to_catch_up.is_empty() {
            self.read_on().await?;
        } else if self.wake <= Instant::now() {
            self.poll().await?;
        }
        Ok(())
    }

    /// Answers the queue of a process that is not controller.
    fn turn_away(&mut self) {
        let controller = self.image.controller;
        for pending in std::mem::take(&mut self.queue) {
            let known = pending.id.map(|id| self.image.known(id));
            let answer = match (known, pending.tried) {
                (Some(Ok(Some(committed))), _) => Ok(committed),
                (_, Tried::Never) => Err(ProposeError::NotController(controller)),
                (Some(Err(refusal)), Tried::Open) => Err(pending.refusal(refusal)),
                // Not in the log by the newest image, and the commit it was in will never be.
                (_, Tried::Lost | Tried::Open) => Err(ProposeError::Deposed(controller)),
            };
            let _ = pending.reply.send(answer);
        }
    }

    /// Asks for the next number. A 404 is believed for as long as half the lease without a look: it is only counted, and a
    /// process that woke up in history must notice some time.
    async fn poll(&mut self) -> Result<(), Stop> {
        let read = self.reader.read_on((*self.image).clone(), 1).await?;
        let look_due = self.now().saturating_sub(self.looked_at) > self.image.effective_lease() / 2;
        match read {
            ReadOn::Head { image, began, ended } if image.seq == self.image.seq && !look_due => {
                self.seen_missing(began, ended);
            }
            read => self.believe(read).await?,
        }
        self.schedule();
        Ok(())
    }

    /// Reads on to the head and looks: what was committed before the call is in the image after it.
    pub async fn read_on(&mut self) -> Result<(), Stop> {
        let read = self.reader.read_on((*self.image).clone(), 2).await?;
        self.believe(read).await
    }

    /// Looks, then takes over what was read; or loads the newest snapshot, where it is history or does not fit.
    async fn believe(&mut self, read: ReadOn<I>) -> Result<(), Stop> {
        let (image, began, ended) = match read {
            ReadOn::Head { image, began, ended } => (image, began, ended),
            ReadOn::Stray(why) => {
                // A dead branch, or one reader's bit flip: either way the bucket is asked again from its snapshots; damage
                // that stays stops the journal there, with the repair (SAFETY F10).
                tracing::error!(
                    held = self.image.seq,
                    why,
                    "what was read does not continue the journal; loading it again"
                );
                return self.reload().await;
            }
        };
        if self.reader.look(image.seq).await? == Look::History {
            tracing::warn!(
                held = image.seq,
                "this process was away so long that its place is history; loading the newest snapshot"
            );
            return self.reload().await;
        }
        self.looked_at = self.now();
        if image.seq != self.image.seq {
            self.publish(image);
        }
        self.seen_missing(began, ended);
        self.prove(began);
        self.caught_up();
        Ok(())
    }

    /// The number after the image's was missing at some moment before `ended` and at some moment after `began`; it was missing
    /// in between, because numbers only come. Errors count as nothing (DESIGN §3).
    fn seen_missing(&mut self, began: Duration, ended: Duration) {
        let (first, _) = self.missing.unwrap_or((ended, began));
        self.missing = Some((first, began));
        self.show_head();
    }

    pub fn still(&self) -> Duration {
        self.missing.map_or(Duration::ZERO, |(first, last)| last.saturating_sub(first))
    }

    fn show_head(&self) {
        let head =
            Head { seq: self.image.seq, still: self.still(), effective_lease: self.image.effective_lease() };
        *self.reader.shared.head.lock() = head;
    }

    /// Loads the newest snapshot and its tail.
    pub async fn reload(&mut self) -> Result<(), Stop> {
        let image = self.reader.load(None).await?;
        self.looked_at = self.now();
        self.publish(image);
        self.caught_up();
        Ok(())
    }

    /// Everybody who asked before this was read has it in the image.
    fn caught_up(&mut self) {
        for reply in self.waiting_to_catch_up.drain(..) {
            let _ = reply.send(self.image.seq);
        }
    }

    /// Takes a pushed entry over if it is the next, and legal. Of anything else the bucket has the last word: a push can
    /// neither stop nor mislead this process (SAFETY F21).
    fn fold_offered(&mut self, entry: &Bytes) {
        let (commit, chain) = match Commit::decode(entry.clone()) {
            Ok(decoded) => decoded,
            Err(error) => {
                tracing::warn!(%error, "a pushed entry cannot be read");
                return;
            }
        };
        if commit.seq <= self.image.seq {
            return;
        }
        match self.image.fold(&commit, chain, entry.len()) {
            Ok(Folded::Next(next)) if next.level <= self.reader.config.level_max => self.publish(next),
            _ => self.wake = Instant::now(),
        }
    }

    // ---- both ----

    /// Makes `image` the one this process goes by. It was looked at.
    fn publish(&mut self, image: JournalImage<I>) {
        self.image = Arc::new(image);
        self.missing = None;
        self.reader.shared.image.send_replace(self.image.clone());
        let mut office = self.reader.shared.office.lock();
        match self.me().filter(|me| self.image.controller == Some(*me)) {
            None => *office = None,
            Some(me) if office.is_some_and(|o| o.incarnation == me) => {}
            Some(me) => {
                let now = self.now();
                *office = Some(Office { incarnation: me, elected_at: now, proof_began: now });
            }
        }
        drop(office);
        self.show_head();
        self.schedule();
    }

    /// Something that began at `began` has shown that nobody else is controller.
    fn prove(&mut self, began: Duration) {
        if let Some(office) = self.reader.shared.office.lock().as_mut() {
            office.proof_began = office.proof_began.max(began);
        }
    }

    /// When to wake without being asked: the idle commit that the last one promised, or the next poll.
    fn schedule(&mut self) {
        let in_office = self.me().is_some() && self.image.controller == self.me();
        let pause = match in_office {
            // A tenth early: the create takes its time too.
            true => Duration::from_millis(u64::from(self.image.idle_ms)) * 9 / 10,
            false => self.poll_pause(self.campaign.is_some()),
        };
        self.wake = Instant::now() + pause;
    }

    /// Between two polls: a candidate asks more often, so that it measures the lease well.
    pub fn poll_pause(&self, candidate: bool) -> Duration {
        let usual = self.reader.config.poll_interval;
        match candidate {
            true => (self.image.effective_lease() / 8)
                .clamp(Duration::from_millis(10), usual.max(Duration::from_millis(10))),
            false => usual,
        }
    }

    fn end(mut self, stop: Stop) {
        self.reader.shared.stop.send_replace(Some(stop.clone()));
        *self.reader.shared.office.lock() = None;
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Submit(pending) = command {
                self.queue.push_back(pending);
            }
        }
        for pending in self.queue.drain(..) {
            let _ = pending.reply.send(Err(ProposeError::Stopped(stop.clone())));
        }
    }
}

/// Mutations as a draft judged them, under which ids.
type Judged<I> = Vec<(Pending<I>, MutationId, Admitted)>;

fn answer<I: Image>(judged: Judged<I>) {
    for (pending, _, admitted) in judged {
        let answer = match admitted {
            Admitted::Packed(committed) | Admitted::Repeat(committed) => Ok(committed),
            Admitted::Refused(refusal) => Err(pending.refusal(refusal)),
            Admitted::TooLarge => Err(ProposeError::TooLarge),
            Admitted::Full => unreachable!("a full draft sends the mutation back to the queue"),
        };
        let _ = pending.reply.send(answer);
    }
}
