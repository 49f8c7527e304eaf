//! What of the objects of dead lanes counts, and whether it is whole (p).
//!
//! Objects come lane by lane in the order of registration, in lane order. For each stream its epochs are put one after the
//! other; a block counts only inside what the plan gives to its epoch in that lane (the clip rule, SAFETY F4), and must
//! begin where the one before it ended. Three things excuse a hole: it lies below the log start; an object in between was
//! given up by name; or an object in between cannot be read, and then the stream is blocked by it (SAFETY F19). An
//! unreadable object between two blocks that meet held nothing of that stream.

use std::collections::{HashMap, HashSet};

use super::{Blocked, Recovered, RecoveredStream};
use crate::block_ref::{BlockRef, LaneRef};
use crate::catalog::{RecoveryPlan, StreamClip};
use crate::ids::{LaneNumber, StreamId, lane_key};
use crate::object::{AttachmentEntry, BlockKind, Footer, IndexEntry};
use crate::stream::StreamIndex;

/// Folds objects into streams.
pub(super) struct Fold<'a> {
    by_stream: HashMap<StreamId, usize>,
    streams: Vec<StreamFold<'a>>,
    lanes: Lanes<'a>,
}

/// What is known of the lanes besides their blocks.
struct Lanes<'a> {
    plan: &'a RecoveryPlan,
    refs: Vec<LaneRef>,
    /// Per lane, ascending: objects that cannot be read.
    unreadable: Vec<Vec<(LaneNumber, Blocked)>>,
    /// Nothing was lost and nothing is unreadable: no hole has an excuse.
    sound: bool,
}

struct StreamFold<'a> {
    clip: &'a StreamClip,
    index: StreamIndex,
    /// Offset after the last block, dead ones included.
    reached: u64,
    /// Where that block is: epoch (index into the clip's) and number.
    last: Option<(usize, LaneNumber)>,
    /// Epochs that have begun.
    begun: usize,
    /// Lanes follow each other as the epochs do, so that blocks come in order; else they are kept until the end.
    in_order: bool,
    kept: Vec<(usize, BlockRef)>,
    attachments: Vec<(usize, AttachmentEntry)>,
    blocked: Vec<Blocked>,
}

impl<'a> Fold<'a> {
    /// Nothing read yet. `refs` are the plan's lanes.
    pub fn new(plan: &'a RecoveryPlan, refs: Vec<LaneRef>) -> Fold<'a> {
        assert_eq!(plan.lanes.len(), refs.len(), "a reference for every lane");
        let by_stream = plan.streams.iter().enumerate().map(|(at, clip)| (clip.stream, at)).collect();
        let streams = plan.streams.iter().map(StreamFold::new).collect();
        let sound = plan.lanes.iter().all(|span| span.lost.is_empty());
        let unreadable = plan.lanes.iter().map(|_| Vec::new()).collect();
        Fold { by_stream, streams, lanes: Lanes { plan, refs, unreadable, sound } }
    }

    /// The streams that the plan asks for.
    pub fn wanted(&self) -> HashSet<StreamId> {
        self.by_stream.keys().copied().collect()
    }

    /// The next object of a lane.
    pub fn object(&mut self, lane: usize, number: LaneNumber, footer: &Footer) {
        for entry in footer.entries.iter().filter(|entry| entry.kind == BlockKind::Data) {
            let Some((stream, epoch)) = self.place(lane, number, entry) else { continue };
            let block = BlockRef::new(self.lanes.refs[lane], number, entry, footer.object_len);
            self.streams[stream].offer(epoch, block, &self.lanes);
        }
    }

    /// The attachments of one stream in an object. Those below the log start count: state is replayed from dead records
    /// too (SAFETY F15). Those below the end of what was uploaded do not: its checkpoint has them, and the lane keeps them
    /// where a process ended between two objects of one upload, which trims with the last.
    pub fn attachments(
        &mut self,
        lane: usize,
        number: LaneNumber,
        entry: &IndexEntry,
        attachments: Vec<AttachmentEntry>,
    ) {
        let Some((stream, epoch)) = self.place(lane, number, entry) else { return };
        let stream = &mut self.streams[stream];
        let end = stream.clip.epochs[epoch].end.unwrap_or(u64::MAX);
        let base = stream.clip.base;
        let counts = |attachment: &AttachmentEntry| base <= attachment.offset && attachment.offset < end;
        stream
            .attachments
            .extend(attachments.into_iter().filter(counts).map(|attachment| (epoch, attachment)));
    }

    /// An object's index is whole, the attachments of one stream in it are not.
    pub fn unreadable_attachments(
        &mut self,
        lane: usize,
        number: LaneNumber,
        entry: &IndexEntry,
        why: String,
    ) {
        let Some((stream, epoch)) = self.place(lane, number, entry) else { return };
        let stream = &mut self.streams[stream];
        let void = stream.clip.epochs[epoch].end.is_some_and(|end| entry.base >= end);
        if !void && entry.end > stream.clip.base {
            stream.blocked.push(self.lanes.blocked(lane, number, format!("its attachments: {why}"), false));
        }
    }

    /// An object of a lane that cannot be read.
    pub fn unreadable(&mut self, lane: usize, number: LaneNumber, why: String, missing: bool) {
        let blocked = self.lanes.blocked(lane, number, why, missing);
        self.lanes.unreadable[lane].push((number, blocked));
        self.lanes.sound = false;
    }

    /// All objects were seen.
    pub fn finish(self) -> Recovered {
        let mut recovered = Recovered::default();
        for mut stream in self.streams {
            stream.finish(&self.lanes);
            let id = stream.clip.stream;
            if !stream.blocked.is_empty() {
                recovered.blocked.insert(id, stream.blocked);
                continue;
            }
            let attachments = stream.attachments.into_iter().map(|(_, attachment)| attachment).collect();
            recovered.streams.insert(id, RecoveredStream { index: stream.index, attachments });
        }
        recovered
    }

    /// Stream and epoch that a block counts for, if it counts for any: the clip rule, but for offsets.
    fn place(&self, lane: usize, number: LaneNumber, entry: &IndexEntry) -> Option<(usize, usize)> {
        let stream = *self.by_stream.get(&entry.stream)?;
        let epochs = &self.streams[stream].clip.epochs;
        let epoch = epochs.binary_search_by_key(&entry.epoch, |clip| clip.epoch).ok()?;
        let clip = &epochs[epoch];
        (clip.lane == lane && number < clip.below).then_some((stream, epoch))
    }
}

impl Lanes<'_> {
    fn key(&self, lane: usize, number: LaneNumber) -> String {
        lane_key(self.plan.lanes[lane].id, number)
    }

    fn blocked(&self, lane: usize, number: LaneNumber, why: String, missing: bool) -> Blocked {
        let id = self.plan.lanes[lane].id;
        Blocked::Unreadable { lane: id, number, key: self.key(lane, number), why, missing }
    }

    /// What is not there between two places of a stream: was anything given up by name, and what cannot be read?
    fn between(
        &self,
        clip: &StreamClip,
        after: Option<(usize, LaneNumber)>,
        before: (usize, LaneNumber),
    ) -> (bool, Vec<Blocked>) {
        let mut given_up = false;
        let mut unreadable = Vec::new();
        if self.sound {
            return (given_up, unreadable);
        }
        for epoch in after.map_or(0, |(epoch, _)| epoch)..=before.0 {
            let span = &self.plan.lanes[clip.epochs[epoch].lane];
            // What was lost below the trim counts too: the stream may have been uploaded up to there.
            let from = after.filter(|(first, _)| *first == epoch);
            let from = from.map_or(LaneNumber(0), |(_, number)| number.next());
            let to = if epoch == before.0 { before.1 } else { clip.epochs[epoch].below };
            let within = |number: LaneNumber| from <= number && number < to;
            given_up |= span.lost.iter().any(|number| within(*number));
            let lane = &self.unreadable[clip.epochs[epoch].lane];
            unreadable.extend(
                lane.iter().filter(|(number, _)| within(*number)).map(|(_, blocked)| blocked.clone()),
            );
        }
        (given_up, unreadable)
    }
}

impl<'a> StreamFold<'a> {
    fn new(clip: &'a StreamClip) -> StreamFold<'a> {
        StreamFold {
            clip,
            index: StreamIndex::above_history(clip.start, clip.base, clip.history.iter().copied()),
            reached: clip.base,
            last: None,
            begun: 0,
            in_order: clip.epochs.windows(2).all(|pair| pair[0].lane <= pair[1].lane),
            kept: Vec::new(),
            attachments: Vec::new(),
            blocked: Vec::new(),
        }
    }

    fn offer(&mut self, epoch: usize, block: BlockRef, lanes: &Lanes<'_>) {
        if self.in_order {
            self.take(epoch, block, lanes);
        } else {
            self.kept.push((epoch, block));
        }
    }

    fn take(&mut self, epoch: usize, mut block: BlockRef, lanes: &Lanes<'_>) {
        if let Some(end) = self.clip.epochs[epoch].end {
            if block.base >= end {
                return; // landed after its owner gave the stream away: void (SAFETY F4)
            }
            block.end = block.end.min(end);
        }
        if block.end <= self.clip.base {
            return;
        }
        self.begin_through(epoch, lanes);
        let (here, lane) = ((epoch, block.number), self.clip.epochs[epoch].lane);
        if block.base < self.reached {
            let what = format!("a block begins at {}, the one before ended at {}", block.base, self.reached);
            self.contradiction(lanes.key(lane, block.number), what);
        } else if block.base > self.reached && block.base > self.clip.start {
            self.hole(block.base, here, lanes);
        }
        self.reached = self.reached.max(block.end);
        self.last = Some(here);
        if self.blocked.is_empty() && block.end > self.index.start() {
            self.index.push(block);
        }
    }

    /// Nothing was found from `reached` up to `to`, where the stream goes on at `here`.
    fn hole(&mut self, to: u64, here: (usize, LaneNumber), lanes: &Lanes<'_>) {
        let (given_up, unreadable) = lanes.between(self.clip, self.last, here);
        if !unreadable.is_empty() {
            self.blocked.extend(unreadable);
        } else if given_up {
            self.index.skip_loss(to);
        } else {
            let lane = self.clip.epochs[here.0].lane;
            let what =
                format!("stream {} goes on at {to}, it had ended at {}", self.clip.stream, self.reached);
            self.contradiction(lanes.key(lane, here.1), what);
        }
    }

    fn contradiction(&mut self, key: String, what: String) {
        self.blocked.push(Blocked::Contradiction { key, what });
    }

    /// Begins all epochs up to this one; each earlier one has ended, where it was sealed if it was.
    fn begin_through(&mut self, epoch: usize, lanes: &Lanes<'_>) {
        while self.begun <= epoch {
            self.end_epoch(lanes);
            let clip = &self.clip.epochs[self.begun];
            if self.blocked.is_empty() {
                self.index.begin_epoch(clip.epoch, lanes.refs[clip.lane]);
            }
            self.begun += 1;
        }
    }

    /// The epoch that began last has no more blocks: it must reach its sealed end.
    fn end_epoch(&mut self, lanes: &Lanes<'_>) {
        let Some(epoch) = self.begun.checked_sub(1) else { return };
        let Some(end) = self.clip.epochs[epoch].end else { return };
        let below = self.clip.epochs[epoch].below;
        if end > self.reached && end > self.clip.start {
            self.hole(end, (epoch, below), lanes);
        }
        self.reached = self.reached.max(end);
        // Whatever cannot be read behind the last block is accounted for: it held nothing, or the hole was told.
        self.last = Some((epoch, LaneNumber(below.0.saturating_sub(1))));
    }

    fn finish(&mut self, lanes: &Lanes<'_>) {
        let mut kept = std::mem::take(&mut self.kept);
        kept.sort_by_key(|(epoch, _)| *epoch);
        for (epoch, block) in kept {
            self.take(epoch, block, lanes);
        }
        let Some(last) = self.clip.epochs.len().checked_sub(1) else { return };
        self.begin_through(last, lanes);
        self.end_epoch(lanes);
        // Behind the last block nothing proves that an unreadable object held nothing, unless the epoch was sealed where
        // that block ends.
        let sealed_here = self.clip.epochs[last].end.is_some_and(|end| self.reached >= end);
        if !sealed_here {
            let below = self.clip.epochs[last].below;
            self.blocked.extend(lanes.between(self.clip, self.last, (last, below)).1);
        }
        self.attachments.sort_by_key(|(epoch, _)| *epoch);
    }
}
