//! The legality of every change of the catalog, and the change (p). Every arm checks all it needs before it changes
//! anything, so that a refused record has changed nothing. Legality depends on the image and the mutation's place and
//! proposer alone (DESIGN §3).

use std::sync::Arc;

use super::{Catalog, EpochSeal, LaneEnd, LaneEntry, LaneState, StorageRecord, StreamState, URL_BYTES_MAX};
use crate::ids::{Incarnation, LaneId, LaneNumber, Nonce, ObjectId, StoreId, StreamEpoch, StreamId};
use crate::journal::MutationPoint;

/// Why a record may not be applied. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The mutation registered an incarnation already.
    #[error("incarnation {0} is registered already: one registration per mutation")]
    RegisteredAlready(Incarnation),
    /// A lane in a store that no record tells of.
    #[error("store {} is not registered", .0.0)]
    UnknownStore(StoreId),
    /// A store does not change its URL.
    #[error("store {} is {known}, not {given}", store.0)]
    OtherStore {
        /// Which.
        store: StoreId,
        /// As registered.
        known: String,
        /// As given now.
        given: String,
    },
    /// Longer than [`URL_BYTES_MAX`].
    #[error("a URL of {0} bytes")]
    LongUrl(usize),
    /// No such incarnation.
    #[error("incarnation {0} is not registered")]
    UnknownIncarnation(Incarnation),
    /// Fenced or left: it cannot be given anything, nor end again.
    #[error("the lane of {0} has ended")]
    LaneHasEnded(Incarnation),
    /// What needs an ended lane was asked of a live one: SAFETY F3.
    #[error("the lane of {0} has not ended")]
    LaneIsOpen(Incarnation),
    /// SAFETY F5: the sealer's trim was old, it must seal again from the new one.
    #[error("the lane of {incarnation} is trimmed to {trim}, a length of {length} is below")]
    LengthBelowTrim {
        /// Whose lane.
        incarnation: Incarnation,
        /// As the image says.
        trim: LaneNumber,
        /// As proposed.
        length: LaneNumber,
    },
    /// A trim goes forward, and not past the lane's length.
    #[error("the lane of {incarnation} may be trimmed from {from} to {to:?} at most, not to {trim}")]
    TrimOutOfRange {
        /// Whose lane.
        incarnation: Incarnation,
        /// The trim it has.
        from: LaneNumber,
        /// Its length, if it has ended.
        to: Option<LaneNumber>,
        /// As proposed.
        trim: LaneNumber,
    },
    /// An object outside what the lane holds, or named before.
    #[error("object {number} of the lane of {incarnation} cannot be given up")]
    NotLosable {
        /// Whose lane.
        incarnation: Incarnation,
        /// Which object.
        number: LaneNumber,
    },
    /// The record may be proposed by one incarnation only.
    #[error("only {by:?} may propose this, not {proposer:?}")]
    NotTheirs {
        /// Who may.
        by: Option<Incarnation>,
        /// Who did.
        proposer: Option<Incarnation>,
    },
    /// Its own heir, or a move to where the stream is.
    #[error("{0} to itself")]
    ToItself(Incarnation),
    /// No such stream (any more).
    #[error("stream {0} does not exist")]
    UnknownStream(StreamId),
    /// Ids are not reused.
    #[error("stream {stream} is below the next id, {next}")]
    StreamIdUsed {
        /// As proposed.
        stream: StreamId,
        /// The lowest legal one.
        next: StreamId,
    },
    /// A seal of another epoch than the current one.
    #[error("stream {stream} is in epoch {}, not {}", current.0, given.0)]
    OtherEpoch {
        /// Which.
        stream: StreamId,
        /// As the image says.
        current: StreamEpoch,
        /// As proposed.
        given: StreamEpoch,
    },
    /// An end below what is known to be there, or a log start that goes back.
    #[error("stream {stream} has reached {reached}, {given} is below")]
    OffsetGoesBack {
        /// Which.
        stream: StreamId,
        /// What the image knows.
        reached: u64,
        /// As proposed.
        given: u64,
    },
    /// An object that is there already, was released unseen, or is another's.
    #[error("object {0} may not be introduced")]
    NotIntroducible(ObjectId),
    /// No such object, or it is condemned.
    #[error("object {0} is not there")]
    UnknownObject(ObjectId),
    /// Something still refers to it.
    #[error("object {0} is referenced")]
    Referenced(ObjectId),
    /// A part that does not go on where the stream's objects end, or is of an epoch that is not the lane's oldest.
    #[error("stream {stream} has objects up to {uploaded}, a part of epoch {} from {start} does not follow", epoch.0)]
    PartOutOfPlace {
        /// Which.
        stream: StreamId,
        /// The end of what was uploaded.
        uploaded: u64,
        /// Of the part.
        epoch: StreamEpoch,
        /// Of the part.
        start: u64,
    },
    /// Parts of one object in any other order than by stream and offset, or without records.
    #[error("the parts of object {0} are not in order")]
    PartsOutOfOrder(ObjectId),
    /// The upload began from another place of the lane than its trim.
    #[error("the lane of {incarnation} is trimmed to {trim}, not to {from}")]
    OtherTrim {
        /// Whose lane.
        incarnation: Incarnation,
        /// As the image says.
        trim: LaneNumber,
        /// As the proposer thought.
        from: LaneNumber,
    },
    /// What takes the place of ranges does not cover what they do.
    #[error("stream {stream} would lose what is in {start}..{end}")]
    CoverageShrinks {
        /// Which.
        stream: StreamId,
        /// Of the ranges to be replaced.
        start: u64,
        /// Of the ranges to be replaced.
        end: u64,
    },
    /// No number is left.
    #[error("no number after {0}")]
    Exhausted(u64),
}

impl From<Illegal> for crate::journal::Illegal {
    fn from(illegal: Illegal) -> Self {
        crate::journal::Illegal::new(illegal.to_string())
    }
}

impl Catalog {
    /// Folds one record in, wholly or not at all.
    ///
    /// # Errors
    /// The rule that forbids it; the catalog is as before.
    pub fn apply(&mut self, at: MutationPoint, record: &StorageRecord) -> Result<(), Illegal> {
        match *record {
            StorageRecord::StoreRegistered { store, ref url } => self.register_store(store, url),
            StorageRecord::LaneRegistered { nonce, store } => self.register_lane(at, nonce, store),
            StorageRecord::LaneFenced { incarnation, length, seal_nonce, heir } => {
                let heir = self.live_heir(at, incarnation, heir)?;
                self.end_lane(incarnation, LaneEnd::Fenced { length, seal_nonce }, Some(heir))
            }
            StorageRecord::LaneLeft { incarnation, length, seal_nonce } => {
                proposed_by(at, Some(incarnation))?;
                self.end_lane(incarnation, LaneEnd::Left { length, seal_nonce }, None)
            }
            StorageRecord::LaneEnded { incarnation, length } => {
                proposed_by(at, Some(incarnation))?;
                self.end_lane(incarnation, LaneEnd::Ended { length }, None)
            }
            StorageRecord::LaneHeirNamed { incarnation, heir } => self.name_heir(at, incarnation, heir),
            StorageRecord::LaneTrimmed { incarnation, trim } => self.trim_lane(at, incarnation, trim),
            StorageRecord::StreamCreated { stream, owner } => self.create_stream(stream, owner),
            StorageRecord::StreamDeleted { stream } => {
                let state = self.streams.remove(&stream).ok_or(Illegal::UnknownStream(stream))?;
                self.unreference(state.ranges.iter().map(|range| range.object).chain(state.checkpoint));
                Ok(())
            }
            StorageRecord::StreamOpened { stream, to } => self.open_stream(at, stream, to),
            StorageRecord::StreamsAdopted { from, to } => self.adopt_streams(at, from, to),
            StorageRecord::StreamSealed { stream, epoch, end, below, to } => {
                self.seal_stream(at, stream, epoch, EpochSeal { end, below }, to)
            }
            StorageRecord::StreamTrimmed { stream, start } => self.trim_stream(at, stream, start),
            StorageRecord::LossAccepted { incarnation, number } => self.accept_loss(incarnation, number),
            StorageRecord::LaneUploaded { incarnation, from, trim, ref object, ref parts } => {
                self.upload(at, incarnation, (from, trim), object, parts)
            }
            StorageRecord::LaneAdopted { incarnation, from, trim, ref objects } => {
                self.adopt(at, incarnation, (from, trim), objects)
            }
            StorageRecord::ObjectsMerged { ref sources, ref objects } => self.merge(at, sources, objects),
            StorageRecord::ObjectsReleased { incarnation, below } => {
                self.release_objects(at, incarnation, below)
            }
            StorageRecord::ObjectsDeleted { ref objects } => self.delete_objects(objects),
            StorageRecord::StreamRewritten { stream, epoch, start, end, cleaned, ref objects } => {
                self.rewrite(at, (stream, epoch), (start, end), cleaned, objects)
            }
        }
    }

    fn register_store(&mut self, store: StoreId, url: &str) -> Result<(), Illegal> {
        if url.len() > URL_BYTES_MAX {
            return Err(Illegal::LongUrl(url.len()));
        }
        match self.stores.get(&store) {
            Some(known) if **known != *url => {
                Err(Illegal::OtherStore { store, known: known.to_string(), given: url.to_owned() })
            }
            Some(_) => Ok(()),
            None => {
                self.stores.insert(store, url.into());
                Ok(())
            }
        }
    }

    fn register_lane(&mut self, at: MutationPoint, nonce: Nonce, store: StoreId) -> Result<(), Illegal> {
        let incarnation = at.incarnation();
        if self.lanes.contains_key(&incarnation) {
            return Err(Illegal::RegisteredAlready(incarnation));
        }
        if !self.stores.contains_key(&store) {
            return Err(Illegal::UnknownStore(store));
        }
        let id = LaneId { incarnation, nonce };
        let lane = LaneState {
            id,
            store,
            trim: LaneNumber(0),
            end: LaneEnd::Open,
            heir: None,
            lost: Arc::from([]),
            released: 0,
        };
        self.lanes.insert(incarnation, lane);
        Ok(())
    }

    fn end_lane(
        &mut self,
        incarnation: Incarnation,
        end: LaneEnd,
        heir: Option<Incarnation>,
    ) -> Result<(), Illegal> {
        let lane = self.lanes.get(&incarnation).ok_or(Illegal::UnknownIncarnation(incarnation))?;
        if !lane.is_open() {
            return Err(Illegal::LaneHasEnded(incarnation));
        }
        let length = end.length().expect("what ends a lane has a length");
        if length < lane.trim {
            return Err(Illegal::LengthBelowTrim { incarnation, trim: lane.trim, length });
        }
        let lane = LaneState { end, heir, ..lane.clone() };
        self.lanes.insert(incarnation, lane);
        Ok(())
    }

    fn name_heir(
        &mut self,
        at: MutationPoint,
        incarnation: Incarnation,
        heir: Option<Incarnation>,
    ) -> Result<(), Illegal> {
        let lane = self.ended_lane(incarnation)?;
        let heir = self.live_heir(at, incarnation, heir)?;
        let lane = LaneState { heir: Some(heir), ..lane.clone() };
        self.lanes.insert(incarnation, lane);
        Ok(())
    }

    fn trim_lane(
        &mut self,
        at: MutationPoint,
        incarnation: Incarnation,
        trim: LaneNumber,
    ) -> Result<(), Illegal> {
        self.check_trim(at, incarnation, trim)?;
        self.set_trim(incarnation, trim);
        Ok(())
    }

    /// May this mutation trim the lane so far?
    pub(super) fn check_trim(
        &self,
        at: MutationPoint,
        incarnation: Incarnation,
        trim: LaneNumber,
    ) -> Result<&LaneState, Illegal> {
        let lane = self.lanes.get(&incarnation).ok_or(Illegal::UnknownIncarnation(incarnation))?;
        proposed_by(at, if lane.is_open() { Some(incarnation) } else { lane.heir })?;
        let length = lane.end.length();
        if trim < lane.trim || length.is_some_and(|length| trim > length) {
            return Err(Illegal::TrimOutOfRange { incarnation, from: lane.trim, to: length, trim });
        }
        Ok(lane)
    }

    /// After [`Catalog::check_trim`]. What was lost stays named: it excuses the hole behind what was uploaded of a stream,
    /// however many uploads later the stream goes on.
    pub(super) fn set_trim(&mut self, incarnation: Incarnation, trim: LaneNumber) {
        let lane = LaneState { trim, ..self.lanes[&incarnation].clone() };
        let spent = lane.is_spent();
        self.lanes.insert(incarnation, lane);
        if spent {
            self.forget_lane(incarnation);
        }
    }

    /// A spent lane holds no record of any stream. Its entry leaves a list from the front only: one in the middle still
    /// says where the next epoch begins.
    fn forget_lane(&mut self, incarnation: Incarnation) {
        let holds = |state: &StreamState| state.lanes.iter().any(|entry| entry.incarnation == incarnation);
        let touched: Vec<StreamId> =
            self.streams().filter(|(_, state)| holds(state)).map(|(id, _)| id).collect();
        for stream in touched {
            let mut state = self.streams[&stream].clone();
            let spent = |entry: &&LaneEntry| self.lanes[&entry.incarnation].is_spent();
            let gone = state.lanes.iter().take_while(spent).count();
            let sealed =
                state.lanes[..gone].iter().filter_map(|entry| entry.sealed).map(|seal| seal.end).max();
            state.base = state.base.max(sealed.unwrap_or(0));
            state.lanes = state.lanes[gone..].into();
            self.streams.insert(stream, state);
        }
    }

    fn create_stream(&mut self, stream: StreamId, owner: Incarnation) -> Result<(), Illegal> {
        if stream < self.next_stream {
            return Err(Illegal::StreamIdUsed { stream, next: self.next_stream });
        }
        let next = stream.0.checked_add(1).ok_or(Illegal::Exhausted(stream.0))?;
        self.live(owner)?;
        let epoch = StreamEpoch(0);
        let lanes = Arc::from([LaneEntry { epoch, incarnation: owner, sealed: None }]);
        let ranges = Arc::from([]);
        let state =
            StreamState { owner, epoch, start: 0, base: 0, lanes, ranges, checkpoint: None, cleaned: 0 };
        self.streams.insert(stream, state);
        self.next_stream = StreamId(next);
        Ok(())
    }

    fn open_stream(
        &mut self,
        at: MutationPoint,
        stream: StreamId,
        to: Option<Incarnation>,
    ) -> Result<(), Illegal> {
        let state = self.streams.get(&stream).ok_or(Illegal::UnknownStream(stream))?;
        let lane = self.ended_lane(state.owner)?;
        let to = self.live(to.unwrap_or(at.incarnation()))?;
        let next = opened(state, to, lane.is_spent()).ok_or(Illegal::Exhausted(state.epoch.0.into()))?;
        self.streams.insert(stream, next);
        Ok(())
    }

    fn adopt_streams(
        &mut self,
        at: MutationPoint,
        from: Incarnation,
        to: Option<Incarnation>,
    ) -> Result<(), Illegal> {
        let spent = self.ended_lane(from)?.is_spent();
        let to = self.live(to.unwrap_or(at.incarnation()))?;
        let mut adopted = Vec::new();
        for (stream, state) in self.streams_of(from) {
            let next = opened(state, to, spent).ok_or(Illegal::Exhausted(state.epoch.0.into()))?;
            adopted.push((stream, next));
        }
        for (stream, next) in adopted {
            self.streams.insert(stream, next);
        }
        Ok(())
    }

    fn seal_stream(
        &mut self,
        at: MutationPoint,
        stream: StreamId,
        epoch: StreamEpoch,
        seal: EpochSeal,
        to: Incarnation,
    ) -> Result<(), Illegal> {
        let state = self.streams.get(&stream).ok_or(Illegal::UnknownStream(stream))?;
        proposed_by(at, Some(state.owner))?;
        self.live(state.owner)?;
        if epoch != state.epoch {
            return Err(Illegal::OtherEpoch { stream, current: state.epoch, given: epoch });
        }
        if to == state.owner {
            return Err(Illegal::ToItself(to));
        }
        let to = self.live(to)?;
        let reached = state.end_at_least();
        if seal.end < reached {
            return Err(Illegal::OffsetGoesBack { stream, reached, given: seal.end });
        }
        let mut next = opened(state, to, false).ok_or(Illegal::Exhausted(epoch.0.into()))?;
        let sealing = |entry: &LaneEntry| {
            let sealed = if entry.epoch == epoch { Some(seal) } else { entry.sealed };
            LaneEntry { sealed, ..*entry }
        };
        next.lanes = next.lanes.iter().map(sealing).collect();
        self.streams.insert(stream, next);
        Ok(())
    }

    fn trim_stream(&mut self, at: MutationPoint, stream: StreamId, start: u64) -> Result<(), Illegal> {
        let state = self.streams.get(&stream).ok_or(Illegal::UnknownStream(stream))?;
        proposed_by(at, Some(state.owner))?;
        self.live(state.owner)?;
        if start < state.start {
            return Err(Illegal::OffsetGoesBack { stream, reached: state.start, given: start });
        }
        let gone = state.ranges.partition_point(|range| range.end <= start);
        let dropped: Vec<ObjectId> = state.ranges[..gone].iter().map(|range| range.object).collect();
        let mut next = StreamState { start, ..state.clone() };
        if gone > 0 {
            next.ranges = next.ranges[gone..].into();
        }
        self.streams.insert(stream, next);
        self.unreference(dropped);
        Ok(())
    }

    fn accept_loss(&mut self, incarnation: Incarnation, number: LaneNumber) -> Result<(), Illegal> {
        let lane = self.ended_lane(incarnation)?;
        let held = number >= lane.trim && lane.end.length().is_some_and(|length| number < length);
        let Err(place) = lane.lost.binary_search(&number) else {
            return Err(Illegal::NotLosable { incarnation, number });
        };
        if !held {
            return Err(Illegal::NotLosable { incarnation, number });
        }
        let mut lost = lane.lost.to_vec();
        lost.insert(place, number);
        let lane = LaneState { lost: lost.into(), ..lane.clone() };
        self.lanes.insert(incarnation, lane);
        Ok(())
    }

    pub(super) fn live(&self, incarnation: Incarnation) -> Result<Incarnation, Illegal> {
        let lane = self.lanes.get(&incarnation).ok_or(Illegal::UnknownIncarnation(incarnation))?;
        if lane.is_open() { Ok(incarnation) } else { Err(Illegal::LaneHasEnded(incarnation)) }
    }

    fn ended_lane(&self, incarnation: Incarnation) -> Result<&LaneState, Illegal> {
        let lane = self.lanes.get(&incarnation).ok_or(Illegal::UnknownIncarnation(incarnation))?;
        if lane.is_open() { Err(Illegal::LaneIsOpen(incarnation)) } else { Ok(lane) }
    }

    fn live_heir(
        &self,
        at: MutationPoint,
        of: Incarnation,
        heir: Option<Incarnation>,
    ) -> Result<Incarnation, Illegal> {
        let heir = self.live(heir.unwrap_or(at.incarnation()))?;
        if heir == of { Err(Illegal::ToItself(of)) } else { Ok(heir) }
    }
}

pub(super) fn proposed_by(at: MutationPoint, by: Option<Incarnation>) -> Result<(), Illegal> {
    if by.is_some() && by == at.proposer {
        Ok(())
    } else {
        Err(Illegal::NotTheirs { by, proposer: at.proposer })
    }
}

/// The stream in its next epoch, with `to` as its owner. The epoch that ends leaves the list if its lane is `spent`: it
/// holds nothing, and says nothing of where the next one begins. None if no epoch is left.
fn opened(state: &StreamState, to: Incarnation, spent: bool) -> Option<StreamState> {
    let epoch = StreamEpoch(state.epoch.0.checked_add(1)?);
    let kept = state.lanes.iter().copied().filter(|entry| !spent || entry.epoch != state.epoch);
    let lanes = kept.chain([LaneEntry { epoch, incarnation: to, sealed: None }]).collect();
    Some(StreamState { owner: to, epoch, lanes, ..state.clone() })
}
