//! The image of the journal: what a reader knows after commit `seq`, and the one function that takes it to the next. Pure.
//!
//! Order of things: a controller *judges* each mutation on its image before proposing ([`Draft`](super::draft::Draft));
//! every process *folds* what became durable. Both run [`JournalImage::apply`], so boot, failover and live traffic cannot
//! differ (DESIGN I5). A durable commit that the fold finds illegal is void as a whole: it uses up its number and changes
//! nothing else (SAFETY F10). A commit that does not continue the chain is not judged at all: it says that the reader may
//! be on a dead branch.
//!
//! Owns the journal's own part of the state: controller, feature level, times, kept results, registrations, named
//! snapshots. Does not own the user's part (`inner`), nor when anything is believed (`look`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use imbl::OrdMap;

use super::commit::{Commit, Entry, JournalRecord, MutationId, Times};
use super::wire::{DecodeError, WireReader, put_incarnation, put_incarnation_or_none};
use super::{Committed, Image, MutationPoint, Record, Refusal};
use crate::ids::{Incarnation, Nonce};

/// Results kept per incarnation: as many as it may have outstanding (DESIGN §3).
pub const RESULTS_KEPT: usize = 64;
/// Registrations remembered: all live ones, and of the dead the newest up to this many in all, so that a request repeated
/// late does not register a process twice (SAFETY F2).
pub const REGISTRATIONS_KEPT: usize = 1024;
/// What a sole member promises in its commits: the next within a minute (SAFETY C1).
pub const SOLE_IDLE_MS: u32 = 60_000;
/// The image encoding below.
const VERSION: u16 = 1;

/// The state after commit `seq`. Immutable once published; `inner` should share structure, since every commit clones it.
#[derive(Clone, Debug)]
pub struct JournalImage<I> {
    /// Number of the last commit folded in; 0 before the first.
    pub seq: u64,
    /// Its CRC; 0 before the first.
    pub chain: u32,
    /// Bytes of all commits up to and with it.
    pub log_bytes: u64,
    /// The feature level in force.
    pub level: u16,
    /// Lease and session.
    pub times: Times,
    /// Who alone may commit; None at the beginning and after a resignation.
    pub controller: Option<Incarnation>,
    /// What the last commit promised: the next within this many ms.
    pub idle_ms: u32,
    /// And its writer's commit p99, in ms.
    pub p99_ms: u32,
    /// Commits that were void.
    pub voids: u64,
    /// The newest two snapshots that a commit named, newest first. Snapshot 0, the empty one, needs no name.
    pub snapshots: Vec<SnapshotRef>,
    /// Results of each live incarnation's last mutations.
    results: OrdMap<Incarnation, Arc<Results>>,
    /// Which incarnation a process nonce got.
    registrations: OrdMap<Nonce, Incarnation>,
    /// The user's state.
    pub inner: I,
}

/// A snapshot that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRef {
    /// The commit whose image it holds.
    pub seq: u64,
    /// `log_bytes` of that image.
    pub log_bytes: u64,
    /// CRC of its manifest.
    pub manifest_crc: u32,
}

/// The last mutations of one incarnation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Results {
    highest: u64,
    /// (counter, where it took effect), oldest first.
    last: VecDeque<(u64, Committed)>,
}

/// What a commit did to an image.
#[derive(Clone, Debug)]
pub enum Folded<I> {
    /// It took effect.
    Next(JournalImage<I>),
    /// It was illegal: only number, chain and the count of void commits moved on.
    Void(JournalImage<I>, Refusal),
}

impl<I> Folded<I> {
    /// The image after it, either way.
    pub fn into_image(self) -> JournalImage<I> {
        match self {
            Folded::Next(image) | Folded::Void(image, _) => image,
        }
    }
}

/// Why a commit could not be folded at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Not the next number.
    #[error("commit {found} does not follow commit {held}")]
    NotNext {
        /// Number of the image.
        held: u64,
        /// Number in the commit.
        found: u64,
    },
    /// The commit continues another log than this image (SAFETY F1): look, reload.
    #[error("commit {seq} continues {found:08x}, this image ends in {held:08x}")]
    ChainMismatch {
        /// Its number.
        seq: u64,
        /// Chain of the image.
        held: u32,
        /// What the commit continues.
        found: u32,
    },
    /// A record that this process cannot read.
    #[error("commit {seq}: {error}")]
    Record {
        /// Its number.
        seq: u64,
        /// What is wrong with it.
        error: DecodeError,
    },
}

impl<I: Image> JournalImage<I> {
    /// The image before the first commit.
    pub fn genesis(inner: I, level: u16, times: Times) -> JournalImage<I> {
        JournalImage {
            seq: 0,
            chain: 0,
            log_bytes: 0,
            level,
            times,
            controller: None,
            idle_ms: 0,
            p99_ms: 0,
            voids: 0,
            snapshots: Vec::new(),
            results: OrdMap::new(),
            registrations: OrdMap::new(),
            inner,
        }
    }

    /// Has this mutation been applied already? A counter not above the highest applied returns its kept result, or is
    /// refused for ever (SAFETY F20); so is everything of an incarnation that is not live.
    pub fn known(&self, id: MutationId) -> Result<Option<Committed>, Refusal> {
        match id {
            MutationId::Registration { nonce } => {
                Ok(self.registrations.get(&nonce).map(|i| Committed { seq: i.seq, index: i.index }))
            }
            MutationId::Of { incarnation, counter } => {
                if !self.inner.is_live(incarnation) {
                    return Err(Refusal::NotLive(incarnation));
                }
                let Some(results) = self.results.get(&incarnation) else { return Ok(None) };
                if counter > results.highest {
                    return Ok(None);
                }
                match results.last.iter().find(|(c, _)| *c == counter) {
                    Some((_, committed)) => Ok(Some(*committed)),
                    None => Err(Refusal::TooOld { counter, highest: results.highest }),
                }
            }
        }
    }

    /// Folds one mutation into this image, which is left half changed by a refusal: callers work on a clone. `may_elect`
    /// for the first mutation of a commit.
    pub(super) fn apply(
        &mut self,
        seq: u64,
        index: u32,
        may_elect: bool,
        id: MutationId,
        own: &[JournalRecord],
        records: &[I::Record],
    ) -> Result<(), Refusal> {
        if self.known(id)?.is_some() {
            return Err(Refusal::Applied);
        }
        let here = Incarnation { seq, index };
        let (proposer, acting) = match id {
            MutationId::Of { incarnation, .. } => (Some(incarnation), incarnation),
            MutationId::Registration { .. } => (None, here),
        };
        let at = MutationPoint { seq, index, proposer, level: self.level };
        if proposer.is_none() || !records.is_empty() {
            self.inner.apply(at, records).map_err(Refusal::Illegal)?;
        }
        match id {
            MutationId::Of { incarnation, counter } => {
                let results = Arc::make_mut(self.results.entry(incarnation).or_default());
                results.highest = counter;
                results.last.push_back((counter, Committed { seq, index }));
                if results.last.len() > RESULTS_KEPT {
                    results.last.pop_front();
                }
            }
            MutationId::Registration { nonce } => {
                if !self.inner.is_live(here) {
                    return Err(Refusal::RegistersNobody);
                }
                self.registrations.insert(nonce, here);
                self.prune_registrations();
            }
        }
        for (i, record) in own.iter().enumerate() {
            self.apply_own(record, acting, may_elect && i == 0)?;
        }
        Ok(())
    }

    fn apply_own(
        &mut self,
        record: &JournalRecord,
        acting: Incarnation,
        may_elect: bool,
    ) -> Result<(), Refusal> {
        let in_office = self.controller == Some(acting);
        match record {
            JournalRecord::ControllerElected if may_elect => {
                if !self.inner.is_live(acting) {
                    return Err(Refusal::NotLive(acting));
                }
                self.controller = Some(acting);
            }
            JournalRecord::ControllerElected => {
                return Err(Refusal::Own("an election that does not come first"));
            }
            JournalRecord::ControllerResigned if in_office => self.controller = None,
            JournalRecord::ControllerResigned => {
                return Err(Refusal::Own("a resignation by another than the controller"));
            }
            JournalRecord::SnapshotTaken { seq, log_bytes, manifest_crc } => {
                let newest = self.snapshots.first().map_or(0, |s| s.seq);
                if !in_office || *seq > self.seq || *seq <= newest || *log_bytes > self.log_bytes {
                    return Err(Refusal::Own("a snapshot that is not newer, or not the controller's"));
                }
                let named = SnapshotRef { seq: *seq, log_bytes: *log_bytes, manifest_crc: *manifest_crc };
                self.snapshots.insert(0, named);
                self.snapshots.truncate(2);
            }
            JournalRecord::FeatureLevelSet { level } => {
                if *level <= self.level {
                    return Err(Refusal::Own("a feature level that is not higher"));
                }
                self.inner.may_raise(*level).map_err(Refusal::Illegal)?;
                self.level = *level;
            }
            JournalRecord::TimesSet(times) => {
                // What fences may only shrink to what was granted before: two commits (DESIGN §4).
                let fenced_too_early = times.session_fencing_ms < self.times.session_granted_ms;
                if !times.ordered() || fenced_too_early {
                    return Err(Refusal::Own(
                        "times out of order: lease <= granted/4, granted <= fencing, lowered in two steps",
                    ));
                }
                self.times = *times;
            }
        }
        Ok(())
    }

    /// Folds commit `commit`, whose stored bytes are `len` long and end in `chain`.
    pub fn fold(&self, commit: &Commit, chain: u32, len: usize) -> Result<Folded<I>, FoldError> {
        if commit.seq != self.seq + 1 {
            return Err(FoldError::NotNext { held: self.seq, found: commit.seq });
        }
        if commit.prev_chain != self.chain {
            return Err(FoldError::ChainMismatch {
                seq: commit.seq,
                held: self.chain,
                found: commit.prev_chain,
            });
        }
        let mut next = self.clone();
        next.seq = commit.seq;
        next.chain = chain;
        next.log_bytes += len as u64;
        let mut void = next.clone();
        void.voids += 1;
        match next.fold_mutations(self.seq, commit)? {
            Ok(()) => Ok(Folded::Next(next)),
            Err(refusal) => Ok(Folded::Void(void, refusal)),
        }
    }

    /// `Err` when it cannot be read, `Ok(Err)` when it is void.
    fn fold_mutations(&mut self, held: u64, commit: &Commit) -> Result<Result<(), Refusal>, FoldError> {
        if commit.level != self.level {
            return Ok(Err(Refusal::Own("records of another feature level than the image's")));
        }
        if !self.may_write(commit) {
            return Ok(Err(Refusal::NotController { writer: commit.writer, controller: self.controller }));
        }
        // Mutations are judged on the image before this commit as far as its number goes: a draft does the same.
        let seq = std::mem::replace(&mut self.seq, held);
        for (index, mutation) in commit.mutations.iter().enumerate() {
            let mut own = Vec::new();
            let mut records = Vec::with_capacity(mutation.entries.len());
            for entry in &mutation.entries {
                match entry {
                    Entry::Journal(record) => own.push(record.clone()),
                    Entry::User(bytes) => records.push(
                        I::Record::decode(bytes.clone())
                            .map_err(|error| FoldError::Record { seq: commit.seq, error })?,
                    ),
                }
            }
            if let Err(refusal) =
                self.apply(commit.seq, index as u32, index == 0, mutation.id, &own, &records)
            {
                return Ok(Err(refusal));
            }
        }
        self.seq = seq;
        self.idle_ms = commit.idle_ms;
        self.p99_ms = commit.p99_ms;
        self.settle();
        Ok(Ok(()))
    }

    /// May the writer of `commit` write it: the controller may write anything, anybody an election of itself.
    fn may_write(&self, commit: &Commit) -> bool {
        if let Some(elector) = commit.elector() {
            return match elector {
                MutationId::Of { incarnation, .. } => commit.writer == Some(incarnation),
                MutationId::Registration { .. } => commit.writer.is_none(),
            };
        }
        commit.writer.is_some() && commit.writer == self.controller
    }

    /// After a commit: a controller that is not live any more is none, and the results of the dead are forgotten.
    fn settle(&mut self) {
        if self.controller.is_some_and(|c| !self.inner.is_live(c)) {
            self.controller = None;
        }
        let dead: Vec<Incarnation> =
            self.results.keys().filter(|i| !self.inner.is_live(**i)).copied().collect();
        for incarnation in dead {
            self.results.remove(&incarnation);
        }
    }

    fn prune_registrations(&mut self) {
        let Some(excess) = self.registrations.len().checked_sub(REGISTRATIONS_KEPT + 1) else { return };
        let mut dead: Vec<(Incarnation, Nonce)> = self
            .registrations
            .iter()
            .filter(|(_, incarnation)| !self.inner.is_live(**incarnation))
            .map(|(nonce, incarnation)| (*incarnation, *nonce))
            .collect();
        dead.sort();
        for (_, nonce) in dead.into_iter().take(excess + 1) {
            self.registrations.remove(&nonce);
        }
    }

    /// The incarnation that the process with this nonce was given.
    pub fn incarnation_of(&self, nonce: Nonce) -> Option<Incarnation> {
        self.registrations.get(&nonce).copied()
    }

    /// Registered incarnations that are neither fenced nor gone.
    pub fn live_members(&self) -> usize {
        self.registrations.values().filter(|i| self.inner.is_live(**i)).count()
    }

    /// The highest counter applied of an incarnation; 0 if none.
    pub fn highest_counter(&self, incarnation: Incarnation) -> u64 {
        self.results.get(&incarnation).map_or(0, |r| r.highest)
    }

    /// How long the head must stand still before this image's controller may be elected over: the configured lease, or 4 ×
    /// the published commit p99 where that is more (SAFETY L8), and as much longer as the last commit said it would be idle.
    pub fn effective_lease(&self) -> Duration {
        let lease = lease_ms(&self.times, self.p99_ms);
        Duration::from_millis(lease.max(u64::from(self.idle_ms) + lease - lease / 3))
    }

    /// What a controller with this commit p99 promises in its next commit: an interval in ms.
    pub fn idle_promise_ms(&self, p99_ms: u32) -> u32 {
        match self.live_members() {
            0 | 1 => SOLE_IDLE_MS,
            _ => (lease_ms(&self.times, p99_ms) / 3).clamp(10, u64::from(u32::MAX)) as u32,
        }
    }

    /// Is a snapshot due: `commits_max` commits or 4 MiB since the newest, but not before that log is a sixteenth of the image?
    pub fn snapshot_due(&self, image_bytes: u64, commits_max: u64) -> bool {
        let (seq, log_bytes) = self.snapshots.first().map_or((0, 0), |s| (s.seq, s.log_bytes));
        let (commits, bytes) = (self.seq - seq, self.log_bytes - log_bytes);
        (commits >= commits_max || bytes >= 4 << 20) && bytes > image_bytes / 16
    }

    /// The whole image, the same bytes for the same state.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1024 + self.inner.size_hint());
        out.put_u16(VERSION);
        out.put_u64(self.seq);
        out.put_u32(self.chain);
        out.put_u64(self.log_bytes);
        out.put_u16(self.level);
        out.put_u32(self.times.lease_ms);
        out.put_u32(self.times.session_granted_ms);
        out.put_u32(self.times.session_fencing_ms);
        put_incarnation_or_none(&mut out, self.controller);
        out.put_u32(self.idle_ms);
        out.put_u32(self.p99_ms);
        out.put_u64(self.voids);
        out.put_u32(self.snapshots.len() as u32);
        for s in &self.snapshots {
            out.put_u64(s.seq);
            out.put_u64(s.log_bytes);
            out.put_u32(s.manifest_crc);
        }
        out.put_u32(self.results.len() as u32);
        for (incarnation, results) in &self.results {
            put_incarnation(&mut out, *incarnation);
            out.put_u64(results.highest);
            out.put_u32(results.last.len() as u32);
            for (counter, committed) in &results.last {
                out.put_u64(*counter);
                out.put_u64(committed.seq);
                out.put_u32(committed.index);
            }
        }
        out.put_u32(self.registrations.len() as u32);
        for (nonce, incarnation) in &self.registrations {
            out.put_u64(nonce.0);
            put_incarnation(&mut out, *incarnation);
        }
        // The user's part goes last, so that it needs no length.
        self.inner.encode(&mut out);
        out.freeze()
    }

    /// The image in `bytes`.
    pub fn decode(bytes: Bytes) -> Result<JournalImage<I>, DecodeError> {
        let mut r = WireReader::new(bytes);
        let version = r.u16("image version")?;
        if version == 0 {
            return Err(DecodeError::malformed("image format 0 never was"));
        }
        if version > VERSION {
            return Err(DecodeError::unknown(format!("image format {version}, known up to {VERSION}")));
        }
        let (seq, chain, log_bytes, level) =
            (r.u64("seq")?, r.u32("chain")?, r.u64("log bytes")?, r.u16("level")?);
        let times = Times {
            lease_ms: r.u32("lease")?,
            session_granted_ms: r.u32("session granted")?,
            session_fencing_ms: r.u32("session fencing")?,
        };
        let controller = r.incarnation_or_none("controller")?;
        let (idle_ms, p99_ms, voids) = (r.u32("idle")?, r.u32("p99")?, r.u64("voids")?);
        let mut snapshots = Vec::new();
        for _ in 0..r.count(20, "snapshots")? {
            let (seq, log_bytes) = (r.u64("snapshot")?, r.u64("log bytes")?);
            snapshots.push(SnapshotRef { seq, log_bytes, manifest_crc: r.u32("manifest crc")? });
        }
        let mut results = OrdMap::new();
        for _ in 0..r.count(24, "results")? {
            let (incarnation, highest) = (r.incarnation("results of")?, r.u64("highest")?);
            let mut last = VecDeque::new();
            for _ in 0..r.count(20, "results")? {
                let counter = r.u64("counter")?;
                last.push_back((counter, Committed { seq: r.u64("seq")?, index: r.u32("index")? }));
            }
            results.insert(incarnation, Arc::new(Results { highest, last }));
        }
        let mut registrations = OrdMap::new();
        for _ in 0..r.count(20, "registrations")? {
            registrations.insert(r.nonce("nonce")?, r.incarnation("registered")?);
        }
        let inner = I::decode(r.rest())?;
        Ok(JournalImage {
            seq,
            chain,
            log_bytes,
            level,
            times,
            controller,
            idle_ms,
            p99_ms,
            voids,
            snapshots,
            results,
            registrations,
            inner,
        })
    }
}

impl Commit {
    /// Whose election this commit is, if it is one.
    fn elector(&self) -> Option<MutationId> {
        let first = self.mutations.first()?;
        let elects = matches!(first.entries.first(), Some(Entry::Journal(JournalRecord::ControllerElected)));
        elects.then_some(first.id)
    }
}

fn lease_ms(times: &Times, p99_ms: u32) -> u64 {
    u64::from(times.lease_ms).max(4 * u64::from(p99_ms))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
