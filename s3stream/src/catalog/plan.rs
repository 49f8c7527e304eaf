//! What whoever opens streams has to read first: which lanes, how far, and what of them counts (p).
//!
//! The clip rule (SAFETY F4): records of a stream in a lane count only inside what the image gives to (stream, epoch,
//! incarnation). Two failures in a row leave two lanes in a stream's list; all are read, in epoch order (SAFETY F9).

use std::collections::BTreeMap;

use super::{Catalog, LaneState, StreamState};
use crate::ids::{Incarnation, LaneId, LaneNumber, Nonce, StoreId, StreamEpoch, StreamId};

/// What to read and what of it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The lanes, each once, in the order of their registration.
    pub lanes: Vec<LaneSpan>,
    /// The streams, as they were asked for.
    pub streams: Vec<StreamClip>,
}

/// The objects of one lane that have to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneSpan {
    /// Which lane.
    pub id: LaneId,
    /// Where it lies.
    pub store: StoreId,
    /// First number.
    pub from: LaneNumber,
    /// Number after the last.
    pub below: LaneNumber,
    /// The nonce of the seal that must be found at `below` before anything is opened (SAFETY F3); None for a lane that
    /// goes on, or was ended without a seal.
    pub seal_nonce: Option<Nonce>,
    /// Objects that were given up by name: not read, not missed.
    pub lost: Vec<LaneNumber>,
}

/// What counts of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamClip {
    /// Which.
    pub stream: StreamId,
    /// The log start: what ends at or below it is gone.
    pub start: u64,
    /// Offset at which the first of `epochs` begins, or below the log start.
    pub base: u64,
    /// What may hold records, ascending by epoch.
    pub epochs: Vec<EpochClip>,
    /// The epochs of what objects of `data/` hold, ascending, with the first offset of each.
    pub history: Vec<(StreamEpoch, u64)>,
}

/// What counts of one epoch. It begins where the one before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochClip {
    /// Which.
    pub epoch: StreamEpoch,
    /// Index into [`RecoveryPlan::lanes`].
    pub lane: usize,
    /// Nothing at or above this number counts.
    pub below: LaneNumber,
    /// Nothing at or above this offset counts; None: whatever is below `below` counts.
    pub end: Option<u64>,
}

impl Catalog {
    /// The plan for these streams; ids that do not exist are left out. An epoch that goes on (its lane is open and the
    /// stream is not sealed) is not in it: its owner has it in memory, or has just got it and begins with nothing.
    pub fn recovery(&self, streams: impl IntoIterator<Item = StreamId>) -> RecoveryPlan {
        let mut spans: BTreeMap<Incarnation, LaneSpan> = BTreeMap::new();
        let mut clips = Vec::new();
        for stream in streams {
            let Some(state) = self.stream(stream) else { continue };
            let epochs = self.epoch_clips(state, &mut spans);
            clips.push((stream, state, epochs));
        }
        let index: BTreeMap<Incarnation, usize> =
            spans.keys().enumerate().map(|(at, lane)| (*lane, at)).collect();
        let clip =
            |(stream, state, epochs): (StreamId, &StreamState, Vec<(Incarnation, EpochClip)>)| StreamClip {
                stream,
                start: state.start,
                base: state.base,
                epochs: epochs
                    .into_iter()
                    .map(|(lane, clip)| EpochClip { lane: index[&lane], ..clip })
                    .collect(),
                history: state.epochs_of_ranges(),
            };
        let streams = clips.into_iter().map(clip).collect();
        RecoveryPlan { streams, lanes: spans.into_values().collect() }
    }

    fn epoch_clips(
        &self,
        state: &StreamState,
        spans: &mut BTreeMap<Incarnation, LaneSpan>,
    ) -> Vec<(Incarnation, EpochClip)> {
        let mut clips = Vec::with_capacity(state.lanes.len());
        for entry in state.lanes.iter() {
            let lane = self.lane(entry.incarnation).expect("a stream's list names registered incarnations");
            let below = match (lane.end.length(), entry.sealed) {
                (Some(length), Some(seal)) => length.min(seal.below),
                (Some(length), None) => length,
                (None, Some(seal)) => seal.below,
                (None, None) => continue,
            };
            let end = entry.sealed.map(|seal| seal.end);
            clips.push((entry.incarnation, EpochClip { epoch: entry.epoch, lane: usize::MAX, below, end }));
            let span = spans.entry(entry.incarnation).or_insert_with(|| span_of(lane));
            span.below = span.below.max(below);
        }
        clips
    }
}

/// All of an ended lane; of an open one nothing yet.
fn span_of(lane: &LaneState) -> LaneSpan {
    LaneSpan {
        id: lane.id,
        store: lane.store,
        from: lane.trim,
        below: lane.end.length().unwrap_or(lane.trim),
        seal_nonce: lane.end.seal_nonce(),
        lost: lane.lost.to_vec(),
    }
}
