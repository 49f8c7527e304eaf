//! What moves a lane's records into the catalog's objects: written into one of `data/`, or adopted where they lie (p).
//!
//! Both are one record with the lane's trim, so that coverage never has a hole; what is legal of a part is the same.

use std::collections::BTreeMap;

use super::objects::check_order;
use super::{Catalog, Illegal, LaneEntry, LaneState, NewObject, ObjectPart, StreamState};
use crate::ids::{Incarnation, LaneNumber, ObjectId, StreamId};
use crate::journal::MutationPoint;

/// The streams that an upload changes, and what refers to objects after it.
#[derive(Default)]
struct Uploaded {
    next: BTreeMap<StreamId, StreamState>,
    references: BTreeMap<ObjectId, u32>,
    unreferenced: Vec<ObjectId>,
}

impl Uploaded {
    fn refer(&mut self, object: ObjectId) {
        *self.references.entry(object).or_default() += 1;
    }

    /// What this record introduces was not counted yet; what was there before is counted in the catalog.
    fn forget(&mut self, object: ObjectId) {
        match self.references.get_mut(&object) {
            Some(references) => *references -= 1,
            None => self.unreferenced.push(object),
        }
    }
}

impl Catalog {
    /// What the lane holds from `from` on lies in an object of `data/`.
    pub(super) fn upload(
        &mut self,
        at: MutationPoint,
        incarnation: Incarnation,
        (from, trim): (LaneNumber, LaneNumber),
        object: &NewObject,
        parts: &[ObjectPart],
    ) -> Result<(), Illegal> {
        self.check_from(at, incarnation, from, trim)?;
        self.check_introducible(at, object)?;
        check_order(object.id, parts, |_| false)?;
        let mut uploaded = Uploaded::default();
        uploaded.references.insert(object.id, 0);
        for part in parts {
            self.upload_part(incarnation, object.id, part, &mut uploaded)?;
        }
        self.finish_upload([object], uploaded);
        self.set_trim(incarnation, trim);
        Ok(())
    }

    /// What the lane holds from `from` on stays where it is, and counts there. The checkpoints at the end of it come in an
    /// object of `data/`.
    pub(super) fn adopt(
        &mut self,
        at: MutationPoint,
        incarnation: Incarnation,
        (from, trim): (LaneNumber, LaneNumber),
        objects: &[(NewObject, Vec<ObjectPart>)],
    ) -> Result<(), Illegal> {
        let lane = self.check_from(at, incarnation, from, trim)?.clone();
        let ascending = objects.windows(2).all(|pair| {
            let [first, second] = [pair[0].0.id.lane_number(), pair[1].0.id.lane_number()];
            first.is_some() && second.is_none_or(|second| first < Some(second))
        });
        let mut uploaded = Uploaded::default();
        for (object, parts) in objects {
            match object.id.lane_number() {
                Some(number) => {
                    let theirs = (object.id.incarnation, object.store) == (incarnation, lane.store);
                    let there = number >= from && lane.lost.binary_search(&number).is_err();
                    // Whoever seals or recovers the lane reads it from the trim on, and takes a number that is missing for
                    // its end: what may be deleted one day is below. So it is never adopted twice either.
                    if !(ascending && theirs && there && number < trim) || self.object(object.id).is_some() {
                        return Err(Illegal::NotIntroducible(object.id));
                    }
                    check_order(object.id, parts, |_| false)?;
                    uploaded.references.insert(object.id, 0);
                    for part in parts {
                        if part.checkpoint {
                            return Err(Illegal::PartsOutOfOrder(object.id));
                        }
                        self.upload_part(incarnation, object.id, part, &mut uploaded)?;
                    }
                }
                None => {
                    self.check_introducible(at, object)?;
                    let is_state = |part: &ObjectPart| part.start == part.end && part.checkpoint;
                    if !parts.iter().all(is_state) {
                        return Err(Illegal::PartsOutOfOrder(object.id));
                    }
                    check_order(object.id, parts, is_state)?;
                    uploaded.references.insert(object.id, 0);
                    for part in parts {
                        self.place_checkpoint(object.id, part, &mut uploaded)?;
                    }
                }
            }
        }
        self.finish_upload(objects.iter().map(|(object, _)| object), uploaded);
        self.set_trim(incarnation, trim);
        Ok(())
    }

    fn check_from(
        &self,
        at: MutationPoint,
        incarnation: Incarnation,
        from: LaneNumber,
        trim: LaneNumber,
    ) -> Result<&LaneState, Illegal> {
        let lane = self.check_trim(at, incarnation, trim)?;
        match lane.trim == from {
            true => Ok(lane),
            false => Err(Illegal::OtherTrim { incarnation, trim: lane.trim, from }),
        }
    }

    fn upload_part(
        &self,
        incarnation: Incarnation,
        object: ObjectId,
        part: &ObjectPart,
        uploaded: &mut Uploaded,
    ) -> Result<(), Illegal> {
        let known = uploaded.next.remove(&part.stream).or_else(|| self.stream(part.stream).cloned());
        // Deleted since: dropped, so that one stale part does not refuse all (SAFETY L6).
        let Some(mut state) = known else { return Ok(()) };
        self.settle(&mut state);
        // Epochs are uploaded in their order: those before this one have left the list, or are of the same lane.
        let before = state.lanes.iter().take_while(|entry| entry.epoch < part.epoch);
        let in_turn = before.clone().all(|entry| entry.incarnation == incarnation);
        let entry = state.lanes.get(before.count());
        let theirs = entry.is_some_and(|entry| (entry.epoch, entry.incarnation) == (part.epoch, incarnation));
        let within = entry.and_then(|entry| entry.sealed).is_none_or(|seal| part.end <= seal.end);
        // A hole is legal only where everything in it is gone: below the log start, or lost by name.
        let lost = self.lanes.get(&incarnation).is_some_and(|lane| !lane.lost.is_empty());
        // Where an epoch begins may lie behind what another lane lost of the one before.
        let lost_before = || self.lanes.values().any(|lane| !lane.lost.is_empty());
        let begins = state.ranges.last().is_none_or(|range| range.epoch < part.epoch);
        let gone = || part.start <= state.start || lost || begins && lost_before();
        let follows = part.start == state.base || part.start > state.base && gone();
        if !(in_turn && theirs && within && follows) {
            return Err(out_of_place(&state, part));
        }
        state.base = part.end;
        // A part below the log start is dead; the state that it leaves is not.
        if part.end > state.start {
            let mut ranges = state.ranges.to_vec();
            ranges.push(part.range(object));
            state.ranges = ranges.into();
            uploaded.refer(object);
        }
        if let Some(checkpoint) = state.checkpoint.take() {
            uploaded.forget(checkpoint);
        }
        if part.checkpoint {
            state.checkpoint = Some(object);
            uploaded.refer(object);
        }
        self.settle(&mut state);
        uploaded.next.insert(part.stream, state);
        Ok(())
    }

    /// A part without records: the checkpoint at the end of what this very record adopted of the stream.
    fn place_checkpoint(
        &self,
        object: ObjectId,
        part: &ObjectPart,
        uploaded: &mut Uploaded,
    ) -> Result<(), Illegal> {
        let Some(deleted) = self.stream(part.stream) else { return Ok(()) };
        let state = uploaded.next.get_mut(&part.stream).ok_or_else(|| out_of_place(deleted, part))?;
        // The end of a sealed epoch may have settled further on; what lies between is nothing.
        if part.start > state.base || state.checkpoint.is_some() {
            return Err(out_of_place(state, part));
        }
        state.checkpoint = Some(object);
        uploaded.refer(object);
        Ok(())
    }

    fn finish_upload<'a>(&mut self, objects: impl IntoIterator<Item = &'a NewObject>, uploaded: Uploaded) {
        let Uploaded { next, references, unreferenced } = uploaded;
        for (stream, state) in next {
            self.streams.insert(stream, state);
        }
        for object in objects {
            self.introduce(object, references.get(&object.id).copied().unwrap_or(0));
        }
        self.unreference(unreferenced);
    }

    /// Takes the epochs off the front of a stream's list that need no upload any more: sealed, and uploaded to the seal or
    /// trimmed past it. Their lane may go on, so that waiting for its end would keep the next owner from uploading.
    fn settle(&self, state: &mut StreamState) {
        let mut settled = 0;
        for LaneEntry { incarnation, sealed, .. } in state.lanes.iter() {
            let Some(seal) = sealed else { break };
            let trim = self.lanes.get(incarnation).map(|lane| lane.trim);
            if seal.end > state.base && trim < Some(seal.below) {
                break;
            }
            state.base = state.base.max(seal.end);
            settled += 1;
        }
        if settled > 0 {
            state.lanes = state.lanes[settled..].into();
        }
    }
}

fn out_of_place(state: &StreamState, part: &ObjectPart) -> Illegal {
    Illegal::PartOutOfPlace {
        stream: part.stream,
        uploaded: state.base,
        epoch: part.epoch,
        start: part.start,
    }
}
