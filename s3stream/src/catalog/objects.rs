//! The objects of `data/`: how they come, what refers to them, how they go (p).
//!
//! An object is introduced by the commit that makes streams refer to it, and by no other. It is *condemned* by the commit
//! that takes the last reference, for good: nothing can refer to it again (SAFETY F7). When it has been deleted a record
//! says so, and it leaves the catalog. Ids that were begun and never introduced are orphans: they are deleted below the
//! mark that a record released (SAFETY F6).

use std::collections::BTreeMap;

use super::apply::proposed_by;
use super::{Catalog, Illegal};
use crate::ids::{Incarnation, ObjectId, StoreId, StreamEpoch, StreamId};
use crate::journal::MutationPoint;

/// An object of `data/`, as the journal knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// Where it lies.
    pub store: StoreId,
    /// Bytes of it.
    pub len: u64,
    /// Ranges and checkpoints of streams that are in it.
    pub references: u32,
}

impl ObjectState {
    /// Nothing refers to it, and nothing ever will.
    pub fn is_condemned(&self) -> bool {
        self.references == 0
    }
}

/// Part of a stream in an object of `data/`: dense in offsets, of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRange {
    /// Offset of its first record. The log start may have moved into it.
    pub start: u64,
    /// Offset after its last.
    pub end: u64,
    /// The epoch it was written in.
    pub epoch: StreamEpoch,
    /// Where it is.
    pub object: ObjectId,
    /// Bytes of its blocks.
    pub bytes: u64,
    /// The largest timestamp of its records, in milliseconds; -1 where they have none.
    pub max_timestamp: i64,
}

/// An object that a record introduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// Its id, of the proposer.
    pub id: ObjectId,
    /// Where it lies.
    pub store: StoreId,
    /// Bytes of it.
    pub len: u64,
}

/// What an object that a record introduces holds of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectPart {
    /// Which stream.
    pub stream: StreamId,
    /// The epoch it was written in.
    pub epoch: StreamEpoch,
    /// Offset of its first record.
    pub start: u64,
    /// Offset after its last.
    pub end: u64,
    /// Bytes of its blocks.
    pub bytes: u64,
    /// The largest timestamp of its records; -1 where they have none.
    pub max_timestamp: i64,
    /// The object has the stream's checkpoint: of an upload the one valid at `end`; of a merge the one it moves. Where
    /// nothing but that is left of a stream a merge moves it with an empty part, `start` = `end`.
    pub checkpoint: bool,
}

impl ObjectPart {
    pub(super) fn range(&self, object: ObjectId) -> StreamRange {
        let ObjectPart { start, end, epoch, bytes, max_timestamp, .. } = *self;
        StreamRange { start, end, epoch, object, bytes, max_timestamp }
    }
}

impl Catalog {
    pub(super) fn merge(
        &mut self,
        at: MutationPoint,
        sources: &[ObjectId],
        objects: &[(NewObject, Vec<ObjectPart>)],
    ) -> Result<(), Illegal> {
        let proposer = at.proposer.ok_or(Illegal::NotTheirs { by: None, proposer: None })?;
        self.live(proposer)?;
        for source in sources {
            let state = self.object(*source).ok_or(Illegal::UnknownObject(*source))?;
            if state.is_condemned() {
                return Err(Illegal::UnknownObject(*source));
            }
        }
        let mut by_stream: BTreeMap<StreamId, Vec<(ObjectId, ObjectPart)>> = BTreeMap::new();
        let mut introduced = Vec::new();
        for (object, parts) in objects {
            self.check_introducible(at, object)?;
            check_order(object.id, parts, |part| part.start == part.end && part.checkpoint)?;
            if introduced.contains(&object.id) {
                return Err(Illegal::NotIntroducible(object.id));
            }
            introduced.push(object.id);
            for part in parts {
                by_stream.entry(part.stream).or_default().push((object.id, *part));
            }
        }
        let is_source = |object: &ObjectId| sources.contains(object);
        let mut references: BTreeMap<ObjectId, u32> = BTreeMap::new();
        let mut changed = Vec::new();
        let mut unreferenced = Vec::new();
        let touched: Vec<StreamId> = self
            .streams()
            .filter(|(_, state)| {
                state.ranges.iter().any(|range| is_source(&range.object))
                    || state.checkpoint.as_ref().is_some_and(is_source)
            })
            .map(|(stream, _)| stream)
            .collect();
        // What was deleted or trimmed since the plan was made is dropped from it, as for uploads.
        for stream in touched {
            let mut state = self.streams[&stream].clone();
            let mut parts = by_stream.remove(&stream).unwrap_or_default();
            parts.sort_by_key(|(_, part)| part.start);
            // A part below the log start is dead; the state that comes with it is not.
            let checkpoint = parts.iter().rev().find(|(_, part)| part.checkpoint).map(|(object, _)| *object);
            let mut ranges: Vec<StreamRange> = Vec::with_capacity(state.ranges.len());
            let mut parts =
                parts.into_iter().filter(|(_, part)| part.end > state.start.max(part.start)).peekable();
            let mut old = state.ranges.iter().peekable();
            while let Some(range) = old.next() {
                if !is_source(&range.object) {
                    ranges.push(*range);
                    continue;
                }
                // A run of ranges of one epoch in sources is replaced by parts that cover as much of what is
                // kept.
                let (start, mut end, epoch) = (range.start, range.end, range.epoch);
                unreferenced.push(range.object);
                let goes_on = |next: &StreamRange, end| next.start == end && next.epoch == epoch;
                while let Some(more) = old.next_if(|next| is_source(&next.object) && goes_on(next, end)) {
                    unreferenced.push(more.object);
                    end = more.end;
                }
                let shrinks = Illegal::CoverageShrinks { stream, start, end };
                let mut covered = None;
                while let Some((object, part)) = parts.next_if(|(_, part)| part.start < end) {
                    let follows = match covered {
                        // Below the log start there may be less or more: what is dead need not be copied.
                        None => part.start == start || part.start.max(start) <= state.start,
                        Some(covered) => part.start == covered,
                    };
                    if !follows || part.end > end || part.epoch != epoch {
                        return Err(shrinks);
                    }
                    covered = Some(part.end);
                    *references.entry(object).or_default() += 1;
                    ranges.push(part.range(object));
                }
                if covered != Some(end) {
                    return Err(shrinks);
                }
            }
            if parts.next().is_some() {
                let (start, end) = (state.start, state.base);
                return Err(Illegal::CoverageShrinks { stream, start, end });
            }
            if let Some(source) = state.checkpoint.filter(is_source) {
                let moved = checkpoint.ok_or(Illegal::Referenced(source))?;
                *references.entry(moved).or_default() += 1;
                unreferenced.push(source);
                state.checkpoint = Some(moved);
            }
            state.ranges = ranges.into();
            changed.push((stream, state));
        }
        for (stream, state) in changed {
            self.streams.insert(stream, state);
        }
        for (object, _) in objects {
            self.introduce(object, references.get(&object.id).copied().unwrap_or(0));
        }
        self.unreference(unreferenced);
        Ok(())
    }

    /// Ranges take the place of others of the same stream, offset for offset, epoch for epoch. A merge meanwhile does no harm
    /// where it kept to the same bounds: it moves bytes and changes none.
    pub(super) fn rewrite(
        &mut self,
        at: MutationPoint,
        (stream, epoch): (StreamId, StreamEpoch),
        (start, end): (u64, u64),
        cleaned: u64,
        objects: &[(NewObject, Vec<ObjectPart>)],
    ) -> Result<(), Illegal> {
        let mut state = self.streams.get(&stream).cloned().ok_or(Illegal::UnknownStream(stream))?;
        proposed_by(at, Some(state.owner))?;
        self.live(state.owner)?;
        if state.epoch != epoch {
            return Err(Illegal::OtherEpoch { stream, current: state.epoch, given: epoch });
        }
        let mut parts: Vec<(ObjectId, ObjectPart)> = Vec::new();
        for (at_object, (object, its_parts)) in objects.iter().enumerate() {
            self.check_introducible(at, object)?;
            if objects[..at_object].iter().any(|(earlier, _)| earlier.id == object.id) {
                return Err(Illegal::NotIntroducible(object.id));
            }
            check_order(object.id, its_parts, |_| false)?;
            let follows = parts.last().is_none_or(|(_, last)| {
                its_parts.first().is_none_or(|first| last.end <= first.start && last.epoch <= first.epoch)
            });
            if !follows || its_parts.iter().any(|part| part.stream != stream || part.checkpoint) {
                return Err(Illegal::PartsOutOfOrder(object.id));
            }
            parts.extend(its_parts.iter().map(|part| (object.id, *part)));
        }
        if cleaned < state.cleaned || cleaned > state.base {
            return Err(Illegal::OffsetGoesBack { stream, reached: state.cleaned, given: cleaned });
        }
        if objects.is_empty() && start == end {
            state.cleaned = cleaned;
            self.streams.insert(stream, state);
            return Ok(());
        }
        let shrinks = Illegal::CoverageShrinks { stream, start, end };
        let from = state.ranges.partition_point(|range| range.end <= start);
        let until = state.ranges.partition_point(|range| range.start < end).max(from);
        let old = &state.ranges[from..until];
        if old.iter().any(|range| range.start < start || range.end > end) {
            return Err(shrinks);
        }
        // Below the log start all is dead: the ranges went, and so do the parts.
        parts.retain(|(_, part)| part.end > state.start);
        let kept = || parts.iter().map(|(_, part)| part);
        let had = runs(state.start, old.iter().map(|range| (range.start, range.end, range.epoch)));
        let has = runs(state.start, kept().map(|part| (part.start, part.end, part.epoch)));
        // A first part that begins lower than the range it replaces would reach into what lies before.
        let reaches_below = kept().next().is_some_and(|part| part.start < start);
        if had.is_empty() || had != has || reaches_below {
            return Err(shrinks);
        }
        let unreferenced: Vec<ObjectId> = old.iter().map(|range| range.object).collect();
        let ranges = state.ranges[..from].iter().copied();
        let ranges = ranges.chain(parts.iter().map(|(object, part)| part.range(*object)));
        state.ranges = ranges.chain(state.ranges[until..].iter().copied()).collect();
        state.cleaned = cleaned;
        self.streams.insert(stream, state);
        for (object, _) in objects {
            let references = parts.iter().filter(|(id, _)| *id == object.id).count();
            self.introduce(object, references as u32);
        }
        self.unreference(unreferenced);
        Ok(())
    }

    pub(super) fn release_objects(
        &mut self,
        at: MutationPoint,
        incarnation: Incarnation,
        below: u64,
    ) -> Result<(), Illegal> {
        let lane = self.lanes.get(&incarnation).ok_or(Illegal::UnknownIncarnation(incarnation))?;
        if lane.is_open() {
            proposed_by(at, Some(incarnation))?;
        }
        let mut lane = lane.clone();
        lane.released = lane.released.max(below);
        self.lanes.insert(incarnation, lane);
        Ok(())
    }

    pub(super) fn delete_objects(&mut self, objects: &[ObjectId]) -> Result<(), Illegal> {
        for object in objects {
            let state = self.object(*object).ok_or(Illegal::UnknownObject(*object))?;
            if !state.is_condemned() {
                return Err(Illegal::Referenced(*object));
            }
        }
        for object in objects {
            self.objects.remove(object);
        }
        Ok(())
    }

    /// Each takes one reference; what has none left is condemned.
    pub(super) fn unreference(&mut self, objects: impl IntoIterator<Item = ObjectId>) {
        for object in objects {
            let state =
                self.objects.get_mut(&object).expect("what refers to an object keeps it in the catalog");
            state.references = state.references.checked_sub(1).expect("a reference is taken once");
        }
    }

    pub(super) fn introduce(&mut self, object: &NewObject, references: u32) {
        self.objects.insert(object.id, ObjectState { store: object.store, len: object.len, references });
    }

    pub(super) fn check_introducible(&self, at: MutationPoint, object: &NewObject) -> Result<(), Illegal> {
        if !self.stores.contains_key(&object.store) {
            return Err(Illegal::UnknownStore(object.store));
        }
        let lane = at.proposer.and_then(|proposer| self.lanes.get(&proposer));
        let theirs = at.proposer == Some(object.id.incarnation);
        let released = lane.is_none_or(|lane| object.id.counter < lane.released);
        match theirs && !released && !self.objects.contains_key(&object.id) {
            true => Ok(()),
            false => Err(Illegal::NotIntroducible(object.id)),
        }
    }
}

/// Offsets by epoch, whatever pieces they come in: neighbours are joined, and what is below `from` does not count.
fn runs(from: u64, pieces: impl Iterator<Item = (u64, u64, StreamEpoch)>) -> Vec<(u64, u64, StreamEpoch)> {
    let mut runs: Vec<(u64, u64, StreamEpoch)> = Vec::new();
    for (start, end, epoch) in pieces {
        let start = start.max(from);
        match runs.last_mut() {
            Some(last) if (last.1, last.2) == (start, epoch) => last.1 = end,
            _ => runs.push((start, end, epoch)),
        }
    }
    runs
}

/// By stream, epoch and offset; `bare` parts alone may be without records.
pub(super) fn check_order(
    object: ObjectId,
    parts: &[ObjectPart],
    bare: impl Fn(&ObjectPart) -> bool,
) -> Result<(), Illegal> {
    let whole = parts.iter().all(|part| part.start < part.end || bare(part));
    let follows = |pair: &[ObjectPart]| {
        (pair[0].stream, pair[0].epoch) <= (pair[1].stream, pair[1].epoch)
            && (pair[0].stream != pair[1].stream || pair[0].end <= pair[1].start)
    };
    match whole && parts.windows(2).all(follows) {
        true => Ok(()),
        false => Err(Illegal::PartsOutOfOrder(object)),
    }
}
