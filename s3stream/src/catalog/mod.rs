//! Which stores, lanes and streams exist, and who may write them: the part of the journal's image that is storage's (p).
//!
//! ```text
//! stores   id -> url                                    written by a registration, never changed
//! lanes    incarnation -> id, store, trim, end, heir    open by registration; ended once, for ever: fenced, left, ended
//! streams  id -> owner, epoch, start, lanes, ranges     lanes: the (epoch, incarnation) whose lane may still hold records;
//!                                                       ranges: the objects that hold the records below them
//! objects  id -> store, length, references              referenced by ranges and checkpoints; none left: condemned
//! ```
//!
//! Owns the legality of every change ([`Catalog::apply`]), above all *the* rule (DESIGN §6, SAFETY F3): a stream gets a
//! new owner only if it has none yet, or its owner's own incarnation sealed it, or its owner's lane has ended. Does not
//! own the numbering of commits ([`crate::journal`]), nor what is in the objects ([`crate::object`]): how far a fenced
//! epoch reached is derived by whoever reads the lane ([`crate::wal::recovery`]), by the plan that [`Catalog::recovery`]
//! makes.
//!
//! A catalog is an immutable image: cloning it shares its maps, applying to the clone copies only the path to what
//! changed (PRACTICE U4). Equal catalogs have equal bytes (SAFETY F11).

#[cfg(test)]
mod adoption_tests;
mod apply;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod object_tests;
mod objects;
mod plan;
mod record;
#[cfg(test)]
mod rig;
mod snapshot;
#[cfg(test)]
mod tests;
mod upload;

use std::sync::Arc;

use imbl::OrdMap;

pub use apply::Illegal;
pub use objects::{NewObject, ObjectPart, ObjectState, StreamRange};
pub use plan::{EpochClip, LaneSpan, RecoveryPlan, StreamClip};
pub use record::{StorageRecord, URL_BYTES_MAX};

use crate::ids::{Incarnation, LaneId, LaneNumber, Nonce, ObjectId, StoreId, StreamEpoch, StreamId};

/// The image. Clone it, apply to the clone, publish the clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    next_stream: StreamId,
    stores: OrdMap<StoreId, Arc<str>>,
    lanes: OrdMap<Incarnation, LaneState>,
    streams: OrdMap<StreamId, StreamState>,
    objects: OrdMap<ObjectId, ObjectState>,
}

/// A lane, as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// Its name in the bucket.
    pub id: LaneId,
    /// Where it lies.
    pub store: StoreId,
    /// First number that may still hold something that counts.
    pub trim: LaneNumber,
    /// Whether it goes on.
    pub end: LaneEnd,
    /// Who uploads and trims it once it has ended; None until one is named.
    pub heir: Option<Incarnation>,
    /// Its objects that were given up by name, ascending.
    pub lost: Arc<[LaneNumber]>,
    /// Objects of `data/` that this incarnation wrote with a lower counter are introduced already or never will be: those
    /// that nothing refers to may be deleted (SAFETY F6).
    pub released: u64,
}

/// Whether and how a lane ended. What has ended stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneEnd {
    /// Its owner may append.
    Open,
    /// Sealed by somebody else.
    Fenced {
        /// Objects below it count.
        length: LaneNumber,
        /// Nonce of the seal object at `length`.
        seal_nonce: Nonce,
    },
    /// Sealed by its owner, who left.
    Left {
        /// Objects below it count.
        length: LaneNumber,
        /// Nonce of the seal object at `length`.
        seal_nonce: Nonce,
    },
    /// Ended by its owner in the journal alone; there is no seal object.
    Ended {
        /// Objects below it count.
        length: LaneNumber,
    },
}

impl LaneEnd {
    /// The sealed length; None while the lane is open.
    pub fn length(&self) -> Option<LaneNumber> {
        match self {
            LaneEnd::Open => None,
            LaneEnd::Fenced { length, .. } | LaneEnd::Left { length, .. } | LaneEnd::Ended { length } => {
                Some(*length)
            }
        }
    }

    /// The seal that a reader finds at [`LaneEnd::length`], where there is one.
    pub fn seal_nonce(&self) -> Option<Nonce> {
        match self {
            LaneEnd::Open | LaneEnd::Ended { .. } => None,
            LaneEnd::Fenced { seal_nonce, .. } | LaneEnd::Left { seal_nonce, .. } => Some(*seal_nonce),
        }
    }
}

impl LaneState {
    /// May its owner append?
    pub fn is_open(&self) -> bool {
        self.end == LaneEnd::Open
    }

    /// Ended, and nothing in it counts any more.
    pub fn is_spent(&self) -> bool {
        self.end.length() == Some(self.trim)
    }
}

/// A stream, as the journal knows it. Where its records are is in the lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The incarnation that may append; its lane may have ended since, then nobody may.
    pub owner: Incarnation,
    /// The owner's epoch (a partition's leader epoch). Grows by one with every owner.
    pub epoch: StreamEpoch,
    /// The log start: offset of the first record that is kept.
    pub start: u64,
    /// Where the oldest entry of `lanes` begins, as far as the journal was told: the end of what was uploaded, and of epochs
    /// that left the list.
    pub base: u64,
    /// The epochs whose lanes may still hold records, ascending (SAFETY F9).
    pub lanes: Arc<[LaneEntry]>,
    /// What objects of `data/` hold of it, ascending: all that is kept below `base`.
    pub ranges: Arc<[StreamRange]>,
    /// The object with the checkpoint that is valid at the end of what was uploaded; None: there the state is empty.
    pub checkpoint: Option<ObjectId>,
    /// What is below was rewritten as far as it has to be until something follows it (log compaction); 0: never.
    pub cleaned: u64,
}

/// One epoch of a stream in one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneEntry {
    /// Which epoch.
    pub epoch: StreamEpoch,
    /// Whose lane.
    pub incarnation: Incarnation,
    /// Where it was sealed; None for the epoch that goes on, and for one whose lane ended: then what the lane holds
    /// below its length is the epoch.
    pub sealed: Option<EpochSeal>,
}

/// The end of an epoch, stated by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSeal {
    /// Offset after its last record.
    pub end: u64,
    /// Its records lie in lane objects below this number.
    pub below: LaneNumber,
}

impl StreamState {
    /// The epochs of what objects hold, ascending, with the first offset of each.
    pub fn epochs_of_ranges(&self) -> Vec<(StreamEpoch, u64)> {
        let mut epochs: Vec<(StreamEpoch, u64)> = Vec::new();
        for range in self.ranges.iter() {
            if epochs.last().is_none_or(|(last, _)| *last < range.epoch) {
                epochs.push((range.epoch, range.start));
            }
        }
        epochs
    }

    /// No record of a later epoch can be below this offset, by what the journal knows alone.
    pub fn end_at_least(&self) -> u64 {
        let sealed = self.lanes.iter().filter_map(|entry| entry.sealed).map(|seal| seal.end).max();
        self.start.max(self.base).max(sealed.unwrap_or(0))
    }
}

impl Catalog {
    /// An empty catalog: the image before the first commit.
    pub fn new() -> Catalog {
        Catalog::default()
    }

    /// Registered, and its lane has not ended: may own streams and propose.
    pub fn is_live(&self, incarnation: Incarnation) -> bool {
        self.lanes.get(&incarnation).is_some_and(LaneState::is_open)
    }

    /// The lane of an incarnation.
    pub fn lane(&self, incarnation: Incarnation) -> Option<&LaneState> {
        self.lanes.get(&incarnation)
    }

    /// The incarnation that a process with this nonce has, if it is registered: registration is idempotent by it
    /// (SAFETY F2).
    pub fn registered_as(&self, nonce: Nonce) -> Option<Incarnation> {
        self.lanes.iter().find(|(_, lane)| lane.id.nonce == nonce).map(|(incarnation, _)| *incarnation)
    }

    /// All lanes, by incarnation: in the order of registration.
    pub fn lanes(&self) -> impl Iterator<Item = (Incarnation, &LaneState)> {
        self.lanes.iter().map(|(incarnation, lane)| (*incarnation, lane))
    }

    /// A stream.
    pub fn stream(&self, stream: StreamId) -> Option<&StreamState> {
        self.streams.get(&stream)
    }

    /// All streams, by id.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, &StreamState)> {
        self.streams.iter().map(|(stream, state)| (*stream, state))
    }

    /// How many streams there are.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// The streams of one owner, by id. Walks all.
    pub fn streams_of(&self, owner: Incarnation) -> impl Iterator<Item = (StreamId, &StreamState)> {
        self.streams().filter(move |(_, state)| state.owner == owner)
    }

    /// The streams that nobody may append to because their owner's lane has ended: the rest of an unfinished placement
    /// (SAFETY L12). Walks all.
    pub fn streams_without_owner(&self) -> impl Iterator<Item = (StreamId, &StreamState)> {
        self.streams().filter(|(_, state)| !self.is_live(state.owner))
    }

    /// The ended lanes that still hold something and whose heir is not there (DESIGN §4).
    pub fn lanes_without_heir(&self) -> impl Iterator<Item = (Incarnation, &LaneState)> {
        self.lanes().filter(|(_, lane)| {
            !lane.is_open() && !lane.is_spent() && !lane.heir.is_some_and(|heir| self.is_live(heir))
        })
    }

    /// An object of `data/`.
    pub fn object(&self, object: ObjectId) -> Option<&ObjectState> {
        self.objects.get(&object)
    }

    /// All objects of `data/`, condemned ones included, by id.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectId, &ObjectState)> {
        self.objects.iter().map(|(object, state)| (*object, state))
    }

    /// How many there are.
    pub fn object_count(&self) -> usize {
        self.objects.len()
    }

    /// The lowest id that no stream ever had.
    pub fn next_stream(&self) -> StreamId {
        self.next_stream
    }

    /// The URL of a store.
    pub fn store_url(&self, store: StoreId) -> Option<&str> {
        self.stores.get(&store).map(|url| &**url)
    }

    /// All stores, by id.
    pub fn stores(&self) -> impl Iterator<Item = (StoreId, &str)> {
        self.stores.iter().map(|(store, url)| (*store, &**url))
    }
}
