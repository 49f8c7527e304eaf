//! Reads lanes that others wrote, so that somebody can go on where they ended.
//!
//! Owns the reading: footers, [`WINDOW`] at a time, and the attachments beside them; never the data (a WAL object is
//! readable data: consumers get it through [`crate::cache::reader`]). [`fold`] (p) decides what of it counts: the clip
//! rule, epoch order, contiguity. Does not own which lanes to read ([`crate::catalog::RecoveryPlan`]), nor ending them
//! ([`super::seal`]). [`verify`] is the offline tool's: it reads everything and believes nothing.
//!
//! In this order, and why: first the seals that the journal names are read, since they are the proof that nothing comes
//! after what is about to be read (SAFETY F3). Then every object from the trim to the length, in order. An object that
//! cannot be read twice does not end recovery: it blocks the streams that its neighbours do not prove whole, by name,
//! until the loss is accepted (SAFETY F19). What a lane holds of streams that are not in the plan is passed over.
//!
//! Memory: [`WINDOW`] tails, charged to the class merge, and 40 bytes per block found.

pub mod checkpoints;
mod fold;
#[cfg(test)]
mod tests;
pub mod verify;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::block_ref::{LaneRef, LaneTable};
use crate::budget::{Budget, Class};
use crate::cache::Stores;
use crate::catalog::{LaneSpan, RecoveryPlan};
use crate::env::Env;
use crate::ids::{LaneId, LaneNumber, Nonce, StoreId, StreamId, lane_key};
use crate::object::{
    AttachmentEntry, BlockKind, Footer, FormatError, IndexEntry, ObjectKind, TailParse, attachments,
    parse_tail, verify_block,
};
use crate::store::{Store, StoreError, Tail, retry};
use crate::stream::StreamIndex;
use fold::Fold;

/// Objects read at a time.
pub const WINDOW: usize = 64;

/// Bytes read of the end of each object: usually index and attachments (DESIGN §6).
pub const TAIL_BYTES: u64 = 64 << 10;

/// How long one object is asked for while the store does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What lanes hold of the streams that were asked for.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The streams that are whole.
    pub streams: BTreeMap<StreamId, RecoveredStream>,
    /// The streams that must not be opened, each with all that speaks against it.
    pub blocked: BTreeMap<StreamId, Vec<Blocked>>,
}

/// One stream, as its ended epochs left it.
#[derive(Debug)]
pub struct RecoveredStream {
    /// Its blocks. Its end is where the next epoch begins: max(log start, uploaded end, end in the sealed lanes).
    pub index: StreamIndex,
    /// All attachments that the lanes hold of it above what was uploaded, in the order of offsets; those below the log start
    /// too, since state is replayed from dead records as well (SAFETY F15). What is below is in the checkpoint.
    pub attachments: Vec<AttachmentEntry>,
}

/// Why a stream must not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// An object may have held records of it, and cannot be read.
    #[error("{key} cannot be read: {why}")]
    Unreadable {
        /// Whose lane.
        lane: LaneId,
        /// The object's number: what a `LossAccepted` names.
        number: LaneNumber,
        /// The object.
        key: String,
        /// What is wrong with it.
        why: String,
        /// It is not there at all. If the lane's trim has passed it, the plan was old: catch up and plan again.
        missing: bool,
    },
    /// Its blocks contradict each other or the journal, though all can be read.
    #[error("{key}: {what}")]
    Contradiction {
        /// The object at which it shows.
        key: String,
        /// What does not fit, with the offsets.
        what: String,
    },
}

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store did not answer for a minute, or refuses.
    #[error("{key}: {error}")]
    Store {
        /// The object.
        key: String,
        /// Its last answer.
        error: StoreError,
    },
    /// This process was not given that store.
    #[error("lane {lane} lies in store {}, which this process does not have", store.0)]
    UnknownStore {
        /// Which lane.
        lane: LaneId,
        /// Where it lies.
        store: StoreId,
    },
    /// The proof that a lane has ended is not where the journal says (SAFETY F3).
    #[error("{key} is not the seal {:016x} that the journal names: {found}", expected.0)]
    NotTheSeal {
        /// Where it should be.
        key: String,
        /// Its nonce.
        expected: Nonce,
        /// What is there.
        found: String,
    },
    /// A later release wrote it.
    #[error("{key}: {error}")]
    Newer {
        /// The object.
        key: String,
        /// What is unknown.
        error: FormatError,
    },
    /// From [`Recovered::whole`]: some streams are blocked.
    #[error("{}", blocked_message(.0))]
    Blocked(BTreeMap<StreamId, Vec<Blocked>>),
}

impl Recovered {
    /// All streams, or none if one is blocked.
    ///
    /// # Errors
    /// [`RecoverError::Blocked`].
    pub fn whole(self) -> Result<BTreeMap<StreamId, RecoveredStream>, RecoverError> {
        if self.blocked.is_empty() { Ok(self.streams) } else { Err(RecoverError::Blocked(self.blocked)) }
    }

    /// An object was not there at all: the plan may be older than the lane's trim.
    pub fn any_missing(&self) -> bool {
        let missing = |blocked: &Blocked| matches!(blocked, Blocked::Unreadable { missing: true, .. });
        self.blocked.values().flatten().any(missing)
    }
}

/// Each object with the streams it blocks: what an operator has to decide about.
fn blocked_message(blocked: &BTreeMap<StreamId, Vec<Blocked>>) -> String {
    let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (stream, reasons) in blocked {
        for reason in reasons {
            by_reason.entry(reason.to_string()).or_default().push(stream.to_string());
        }
    }
    let lines =
        by_reason.iter().map(|(reason, streams)| format!("{reason}; blocks streams {}", streams.join(", ")));
    lines.collect::<Vec<String>>().join(" · ")
}

/// Reads what `plan` says. Dropping the call has no effect on the lanes.
///
/// # Errors
/// See [`RecoverError`]; whether a stream may be opened is in [`Recovered`].
pub async fn recover(
    env: &Env,
    stores: &Stores,
    lanes: &LaneTable,
    budget: &Budget,
    plan: &RecoveryPlan,
) -> Result<Recovered, RecoverError> {
    let _room = budget.class(Class::Merge).acquire(WINDOW as u64 * TAIL_BYTES).await;
    let mut sources = Vec::with_capacity(plan.lanes.len());
    for span in &plan.lanes {
        let store = stores.get(span.store);
        let store = store.ok_or(RecoverError::UnknownStore { lane: span.id, store: span.store })?;
        sources.push(Source { env: env.clone(), store: Arc::clone(store), span });
    }
    // Boxed here and below: a stream of closures is `Send` only where its lifetimes are known, and callers spawn this.
    let seals = sources.iter().map(Source::check_seal);
    stream::iter(seals).buffered(WINDOW).boxed().try_collect::<()>().await?;

    let refs: Vec<LaneRef> = plan.lanes.iter().map(|span| lanes.intern(span.store, span.id)).collect();
    let mut fold = Fold::new(plan, refs);
    let wanted = fold.wanted();
    let objects =
        sources.iter().enumerate().flat_map(|(at, source)| source.numbers().map(move |n| (at, source, n)));
    let reads = objects.map(|(at, source, number)| {
        let wanted = &wanted;
        async move { source.read(number, wanted).await.map(|read| (at, number, read)) }
    });
    let mut reads = stream::iter(reads).buffered(WINDOW).boxed();
    while let Some((at, number, read)) = reads.try_next().await? {
        match read {
            Read::Object(object) => {
                fold.object(at, number, &object.footer);
                for (entry, outcome) in object.attachments {
                    match outcome {
                        Ok(attachments) => fold.attachments(at, number, &entry, attachments),
                        Err(why) => fold.unreadable_attachments(at, number, &entry, why),
                    }
                }
            }
            Read::Unreadable { why, missing } => fold.unreadable(at, number, why, missing),
        }
    }
    Ok(fold.finish())
}

/// One lane to read.
struct Source<'a> {
    env: Env,
    store: Arc<dyn Store>,
    span: &'a LaneSpan,
}

/// What is at a number.
enum Read {
    Object(ReadObject),
    Unreadable { why: String, missing: bool },
}

struct ReadObject {
    footer: Footer,
    /// Of the streams that are wanted; or why a block of them cannot be read.
    attachments: Vec<(IndexEntry, Result<Vec<AttachmentEntry>, String>)>,
}

impl Source<'_> {
    /// The numbers that have to be there.
    fn numbers(&self) -> impl Iterator<Item = LaneNumber> + '_ {
        let given_up = |number: &LaneNumber| self.span.lost.binary_search(number).is_ok();
        (self.span.from.0..self.span.below.0).map(LaneNumber).filter(move |number| !given_up(number))
    }

    /// Reads the seal that the journal names.
    async fn check_seal(&self) -> Result<(), RecoverError> {
        let Some(expected) = self.span.seal_nonce else { return Ok(()) };
        let key = lane_key(self.span.id, self.span.below);
        let mut found = String::new();
        for _ in 0..2 {
            found = match self.tail(&key, TAIL_BYTES).await? {
                None => "nothing".into(),
                Some(tail) => match parse_tail(&tail) {
                    Ok(TailParse::Index(footer)) => {
                        let header = footer.header;
                        let place = (header.object_kind, header.owner, header.number);
                        if place == (ObjectKind::Seal, self.span.id, self.span.below.0)
                            && header.nonce == expected
                        {
                            return Ok(());
                        }
                        format!("{header:?}")
                    }
                    Ok(TailParse::NeedMore(_)) => "an object with a long index".into(),
                    Err(error) => error.to_string(),
                },
            };
        }
        Err(RecoverError::NotTheSeal { key, expected, found })
    }

    /// Reads an object's index and wanted attachments; what is wrong is read once more before it is believed.
    async fn read(&self, number: LaneNumber, wanted: &HashSet<StreamId>) -> Result<Read, RecoverError> {
        let first = self.read_once(number, wanted).await?;
        match first {
            Read::Object(ref object) if object.attachments.iter().all(|(_, outcome)| outcome.is_ok()) => {
                Ok(first)
            }
            _ => self.read_once(number, wanted).await,
        }
    }

    async fn read_once(&self, number: LaneNumber, wanted: &HashSet<StreamId>) -> Result<Read, RecoverError> {
        let key = lane_key(self.span.id, number);
        let unreadable = |why: String| Ok(Read::Unreadable { why, missing: false });
        let missing = || Ok(Read::Unreadable { why: "it is missing".into(), missing: true });
        let Some(mut tail) = self.tail(&key, TAIL_BYTES).await? else { return missing() };
        let mut parsed = parse_tail(&tail);
        if let Ok(TailParse::NeedMore(more)) = parsed {
            // The index is long; its attachments are likely to be as well.
            let Some(longer) = self.tail(&key, more.saturating_add(TAIL_BYTES)).await? else {
                return missing();
            };
            tail = longer;
            parsed = parse_tail(&tail);
        }
        let footer = match parsed {
            Ok(TailParse::Index(footer)) => footer,
            Ok(TailParse::NeedMore(_)) => return unreadable("it changed while it was read".into()),
            Err(error) if is_newer(&error) => return Err(RecoverError::Newer { key, error }),
            Err(error) => return unreadable(error.to_string()),
        };
        let header = footer.header;
        if (header.object_kind, header.owner, header.number) != (ObjectKind::Wal, self.span.id, number.0) {
            return unreadable(format!("it is not the owner's object {number}, but {header:?}"));
        }
        let attachments = self.attachments(&key, &tail, &footer, wanted).await?;
        Ok(Read::Object(ReadObject { footer, attachments }))
    }

    async fn attachments(
        &self,
        key: &str,
        tail: &Tail,
        footer: &Footer,
        wanted: &HashSet<StreamId>,
    ) -> Result<Vec<(IndexEntry, Result<Vec<AttachmentEntry>, String>)>, RecoverError> {
        let entries =
            footer.entries.iter().filter(|e| e.kind == BlockKind::Attachment && wanted.contains(&e.stream));
        let entries: Vec<IndexEntry> = entries.copied().collect();
        let in_tail = |entry: &IndexEntry| footer.block_in_tail(tail, entry);
        let before_tail: Vec<&IndexEntry> = entries.iter().filter(|entry| in_tail(entry).is_none()).collect();
        // They lie side by side, by stream: one GET brings what the tail does not have.
        let mut before: Option<(u64, Bytes)> = None;
        if let (Some(first), Some(last)) = (before_tail.first(), before_tail.last()) {
            let range = first.position..last.position + u64::from(last.length);
            let get = || self.store.get_range(key, range.clone());
            let bytes =
                retry(&self.env, Some(PATIENCE), get).await.map_err(|error| store_error(key, error))?;
            before = bytes.map(|bytes| (range.start, bytes));
        }
        let mut read = Vec::with_capacity(entries.len());
        for entry in &entries {
            let block = in_tail(entry).unwrap_or_else(|| block_of(entry, before.as_ref()));
            let outcome = block.and_then(|block| attachments(entry, &block)).map(unpinned);
            read.push((*entry, outcome.map_err(|error| error.to_string())));
        }
        Ok(read)
    }

    async fn tail(&self, key: &str, bytes: u64) -> Result<Option<Tail>, RecoverError> {
        let get = || self.store.get_tail(key, bytes);
        retry(&self.env, Some(PATIENCE), get).await.map_err(|error| store_error(key, error))
    }
}

fn store_error(key: &str, error: StoreError) -> RecoverError {
    RecoverError::Store { key: key.to_owned(), error }
}

fn block_of(entry: &IndexEntry, part: Option<&(u64, Bytes)>) -> Result<Bytes, FormatError> {
    let missing = FormatError::Inconsistent("the object went while it was read");
    let (start, bytes) = part.ok_or(missing.clone())?;
    let at = entry.position.checked_sub(*start).ok_or(missing.clone())? as usize;
    let end = at + entry.length as usize;
    let block = if end <= bytes.len() { bytes.slice(at..end) } else { return Err(missing) };
    verify_block(entry, &block)?;
    Ok(block)
}

/// Not damage: the bytes are whole, this release is old.
fn is_newer(error: &FormatError) -> bool {
    matches!(
        error,
        FormatError::UnknownVersion(_) | FormatError::UnknownObjectKind(_) | FormatError::UnknownBlockKind(_)
    )
}

/// Attachments are a few bytes each: copied, so that they do not hold the tail they came in.
fn unpinned(attachments: Vec<AttachmentEntry>) -> Vec<AttachmentEntry> {
    let copy =
        |entry: AttachmentEntry| AttachmentEntry { bytes: Bytes::copy_from_slice(&entry.bytes), ..entry };
    attachments.into_iter().map(copy).collect()
}
