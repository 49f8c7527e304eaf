//! Ends a lane for good, whoever's it is and whatever its owner is doing (DESIGN §5 Seal, SAFETY F5, L3).
//!
//! ```text
//! trim            length
//!  ▼                ▼
//!  o  o  o  o  o  o SEAL o? SEAL SEAL SEAL     o: objects of the owner; above the length: garbage, never acknowledged
//! ```
//! 1. Read upward from the trim point to the first missing number. By reading, not by listing: what is there may be a
//!    seal, or not the owner's.
//! 2. Put seals there and at the next `window` numbers at once: an owner who is faster than one probe and one PUT would
//!    else be there first, every time. All taken: the window doubles.
//! 3. Read upward again. The length is the lowest number with a seal, whoever's, and only when every number from the
//!    trim point up to it was read and holds an object of the owner. A hole below a seal (its maker died between two
//!    PUTs) is sealed first.
//!
//! The owner confirms number n only when it and all below are *its own* objects; it cannot create the number that has the
//! lowest seal. So whatever was acknowledged lies below the length, and nothing else ever will be.
//!
//! A trim point that is older than what was deleted gives a length below the trim: the journal refuses it, and the caller
//! seals again from the new one. Numbers below the trim mean nothing (SAFETY F5).

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};

use super::chunk::ChunkPool;
use super::lane::FencedBy;
use crate::env::Env;
use crate::ids::{LaneId, LaneNumber, Nonce, StreamEpoch, StreamId, lane_key};
use crate::object::format::FOOTER_LEN;
use crate::object::reader::parse_tail_header;
use crate::object::{BlockKind, FormatError, Object, ObjectBuilder, ObjectHeader, ObjectKind, parse_whole};
use crate::store::create::{self, Create, CreateOptions};
use crate::store::{Store, StoreError, Tail};

/// Numbers read at a time.
const READ_AHEAD: u64 = 64;
/// Seals put at a time, at most.
const WINDOW_MAX: usize = 1024;
/// Bytes asked for of each object: a whole seal, of others what tells whose it is.
const TAIL_BYTES: u64 = 1024;

/// A lane that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its objects are the numbers below this; the seal is at this number.
    pub length: LaneNumber,
    /// The seal's nonce: names the proof in the journal.
    pub seal_nonce: Nonce,
    /// What the seal's maker wrote into it (not necessarily this caller).
    pub note: Bytes,
    /// Numbers below the length that hold something which cannot be read. They block what they may have held until the
    /// loss is accepted by name (SAFETY F19); the lane is sealed all the same.
    pub unreadable: Vec<LaneNumber>,
}

impl Sealed {
    pub(super) fn own(length: LaneNumber, seal_nonce: Nonce) -> Sealed {
        Sealed { length, seal_nonce, note: Bytes::new(), unreadable: Vec::new() }
    }
}

/// Why a lane could not be sealed. It may be now, or may become later: seals that were put stay.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The store refuses, or lost what it had confirmed. (Transient faults are waited out.)
    #[error("cannot seal lane {lane}: {error}")]
    Store {
        /// Which.
        lane: LaneId,
        /// What it said.
        error: StoreError,
    },
    /// An object that is neither the owner's nor a seal of this lane. Somebody writes into this prefix.
    #[error("{key} is not an object of its lane: {what}")]
    Foreign {
        /// Where.
        key: String,
        /// What it says it is.
        what: String,
    },
    /// A later release wrote it.
    #[error("{key}: {error}")]
    Newer {
        /// Where.
        key: String,
        /// What is unknown.
        error: FormatError,
    },
}

/// What is at a number for good.
#[derive(Clone, Debug)]
enum Found {
    Owners,
    Seal { nonce: Nonce, note: Bytes },
    Unreadable(FormatError),
}

/// Seals `lane` from its trim point on: see the file header. `window` is the number of PUTs that its owner keeps in
/// flight. `note` is kept in the seals: who does this, for the owner to read. Takes as long as the store does; dropping
/// the call leaves seals that the next one finds.
///
/// # Errors
/// See [`SealError`].
pub async fn seal(
    store: &dyn Store,
    env: &Env,
    lane: LaneId,
    trim: LaneNumber,
    window: usize,
    note: &[u8],
) -> Result<Sealed, SealError> {
    let mut sealer = Sealer { store, env, lane, trim, note, known: BTreeMap::new() };
    let mut window = window.clamp(1, WINDOW_MAX);
    loop {
        let missing = match sealer.read_up().await? {
            ReadUp::Seal(sealed) => return Ok(sealed),
            ReadUp::Missing(missing) => missing,
        };
        if sealer.put_seals(missing, window).await? == 0 {
            window = (window * 2).min(WINDOW_MAX);
        }
    }
}

struct Sealer<'a> {
    store: &'a dyn Store,
    env: &'a Env,
    lane: LaneId,
    trim: LaneNumber,
    note: &'a [u8],
    /// What was read or put. An object never changes, so this stays true.
    known: BTreeMap<u64, Found>,
}

enum ReadUp {
    Seal(Sealed),
    Missing(u64),
}

impl Sealer<'_> {
    /// Reads from the trim point to the lowest seal or the first missing number, whichever comes first.
    async fn read_up(&mut self) -> Result<ReadUp, SealError> {
        let mut unreadable = Vec::new();
        let mut number = self.trim.0;
        // A number that was absent once in this pass is missing: who reads it again chases a fast owner for ever (L3).
        let mut read_below = number;
        loop {
            if number >= read_below && !self.known.contains_key(&number) {
                self.read_ahead(number).await?;
                read_below = number + READ_AHEAD;
            }
            match self.known.get(&number) {
                None => return Ok(ReadUp::Missing(number)),
                Some(Found::Owners) => {}
                Some(Found::Unreadable(error)) => {
                    tracing::error!(key = lane_key(self.lane, LaneNumber(number)), %error, "unreadable lane object");
                    unreadable.push(LaneNumber(number));
                }
                Some(Found::Seal { nonce, note }) => {
                    let (length, seal_nonce, note) = (LaneNumber(number), *nonce, note.clone());
                    return Ok(ReadUp::Seal(Sealed { length, seal_nonce, note, unreadable }));
                }
            }
            number += 1;
        }
    }

    /// Learns what is at the next numbers from `first` on, as far as they hold anything.
    async fn read_ahead(&mut self, first: u64) -> Result<(), SealError> {
        let unknown = (first..first + READ_AHEAD).filter(|number| !self.known.contains_key(number));
        let mut reads: FuturesUnordered<_> = unknown.map(|number| self.read(LaneNumber(number))).collect();
        let mut found = Vec::new();
        while let Some((number, tail)) = reads.next().await {
            if let Some(tail) = tail? {
                found.push((number, tail));
            }
        }
        drop(reads);
        for (number, tail) in found {
            let what = self.judge(number, classify_tail(self.lane, number, &tail))?;
            self.known.insert(number.0, what);
        }
        Ok(())
    }

    /// One read, repeated until the store answers.
    async fn read(&self, number: LaneNumber) -> (LaneNumber, Result<Option<Tail>, SealError>) {
        let key = lane_key(self.lane, number);
        let mut attempt = 0;
        loop {
            match self.store.get_tail(&key, TAIL_BYTES).await {
                Ok(tail) => return (number, Ok(tail)),
                Err(StoreError::Transient(error)) => {
                    attempt += 1;
                    tracing::warn!(key, attempt, error, "sealing waits for the store");
                    create::back_off(self.env, attempt).await;
                }
                Err(error) => return (number, Err(SealError::Store { lane: self.lane, error })),
            }
        }
    }

    /// Puts seals at `missing` and at `window` numbers after it, below the next seal that is known; says how many of
    /// them got there.
    async fn put_seals(&mut self, missing: u64, window: usize) -> Result<usize, SealError> {
        let next_seal = self.known.range(missing..).find(|(_, found)| matches!(found, Found::Seal { .. }));
        let end = (missing + window as u64 + 1).min(next_seal.map_or(u64::MAX, |(number, _)| *number));
        let unknown: Vec<u64> = (missing..end).filter(|number| !self.known.contains_key(number)).collect();
        let mut puts: FuturesUnordered<_> =
            unknown.into_iter().map(|n| self.put_seal(LaneNumber(n))).collect();
        let mut results = Vec::new();
        while let Some(result) = puts.next().await {
            results.push(result?);
        }
        drop(puts);
        let mut placed = 0;
        for (number, nonce, created) in results {
            let what = match created {
                Create::Mine => {
                    placed += 1;
                    Found::Seal { nonce, note: Bytes::copy_from_slice(self.note) }
                }
                Create::Foreign(bytes) => {
                    let tail = Tail { object_len: bytes.len() as u64, bytes };
                    self.judge(number, classify_tail(self.lane, number, &tail))?
                }
            };
            self.known.insert(number.0, what);
        }
        Ok(placed)
    }

    async fn put_seal(&self, number: LaneNumber) -> Result<(LaneNumber, Nonce, Create), SealError> {
        let nonce = self.env.entropy.nonce();
        let body = seal_object(self.lane, number, nonce, self.note).put_payload();
        let key = lane_key(self.lane, number);
        create::create(self.store, self.env, &key, body, CreateOptions::default())
            .await
            .map(|created| (number, nonce, created))
            .map_err(|error| SealError::Store { lane: self.lane, error })
    }

    fn judge(&self, number: LaneNumber, found: Result<Found, Stranger>) -> Result<Found, SealError> {
        found.map_err(|stranger| {
            let key = lane_key(self.lane, number);
            match stranger {
                Stranger::Newer(error) => SealError::Newer { key, error },
                Stranger::Other(header) => SealError::Foreign { key, what: describe(&header) },
            }
        })
    }
}

/// Readable, and not of this place.
enum Stranger {
    Newer(FormatError),
    Other(ObjectHeader),
}

/// What the end of the object at `number` of `lane` says that it is.
fn classify_tail(lane: LaneId, number: LaneNumber, tail: &Tail) -> Result<Found, Stranger> {
    let header = match parse_tail_header(tail) {
        Ok(header) => header,
        Err(error @ (FormatError::UnknownVersion(_) | FormatError::UnknownObjectKind(_))) => {
            return Err(Stranger::Newer(error));
        }
        Err(error) => return Ok(Found::Unreadable(error)),
    };
    if (header.owner, header.number) != (lane, number.0) {
        return Err(Stranger::Other(header));
    }
    match header.object_kind {
        ObjectKind::Wal => Ok(Found::Owners),
        ObjectKind::Seal => Ok(Found::Seal { nonce: header.nonce, note: note_of(tail).unwrap_or_default() }),
        ObjectKind::Merged | ObjectKind::Stream => Err(Stranger::Other(header)),
    }
}

/// The note in a seal. One that cannot be read is none: the seal itself counts.
fn note_of(tail: &Tail) -> Option<Bytes> {
    if tail.bytes.len() as u64 != tail.object_len || tail.bytes.len() < FOOTER_LEN {
        return None;
    }
    let whole = parse_whole(tail.bytes.clone()).ok()?;
    let note = whole.footer.entries.iter().find(|e| e.kind == BlockKind::Note)?;
    whole.block(note).ok()
}

/// A seal of `lane` at `number`.
pub(super) fn seal_object(lane: LaneId, number: LaneNumber, nonce: Nonce, note: &[u8]) -> Object {
    let header = ObjectHeader::new(ObjectKind::Seal, lane, number.0, nonce);
    let mut builder = ObjectBuilder::new(header, ChunkPool::new(0), note.len(), 1);
    if !note.is_empty() {
        builder.opaque(BlockKind::Note, StreamId(0), StreamEpoch(0), 0, note);
    }
    builder.finish()
}

/// What the owner found at a number where it wanted to put its own object.
pub fn read_fence(lane: LaneId, number: LaneNumber, bytes: Bytes) -> FencedBy {
    let tail = Tail { object_len: bytes.len() as u64, bytes };
    match classify_tail(lane, number, &tail) {
        Ok(Found::Seal { nonce, note }) => FencedBy::Seal { nonce, note },
        Ok(Found::Owners) => FencedBy::Foreign("an object of this lane with other contents".into()),
        Ok(Found::Unreadable(error)) | Err(Stranger::Newer(error)) => FencedBy::Foreign(error.to_string()),
        Err(Stranger::Other(header)) => FencedBy::Foreign(describe(&header)),
    }
}

fn describe(header: &ObjectHeader) -> String {
    format!("{:?} object {} of {}", header.object_kind, header.number, header.owner)
}
