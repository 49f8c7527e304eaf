//! Random histories of all records that touch objects: what must hold in every image, however it came about.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::rig::*;
use super::*;
use crate::entropy::Entropy;

/// One step: what kind, and numbers that are made to fit the catalog at hand.
type Step = (u8, u64, u64, u64);

/// A merge that was planned at some image and is proposed at a later one.
struct Planned {
    proposer: u64,
    sources: Vec<ObjectId>,
    objects: Vec<(ObjectId, Vec<ObjectPart>)>,
}

struct World {
    log: Log,
    counters: u64,
    condemned: BTreeSet<ObjectId>,
    planned: Option<Planned>,
    /// What was written anew since the merge was planned.
    rewritten: bool,
    planned_rewrite: Option<(u64, StorageRecord)>,
    /// Refused and accepted, by the id of the record.
    tally: BTreeMap<u16, [u32; 2]>,
}

fn pick<T: Copy>(of: &[T], number: u64) -> Option<T> {
    of.get(number as usize % of.len().max(1)).copied()
}

impl World {
    fn new() -> World {
        let (log, condemned, tally) = (Log::new(), BTreeSet::new(), BTreeMap::new());
        World { log, counters: 0, condemned, planned: None, rewritten: false, planned_rewrite: None, tally }
    }

    fn live(&self) -> Vec<u64> {
        self.log.catalog.lanes().filter(|(_, lane)| lane.is_open()).map(|(lane, _)| lane.seq).collect()
    }

    fn streams(&self) -> Vec<StreamId> {
        self.log.catalog.streams().map(|(stream, _)| stream).collect()
    }

    fn fresh(&mut self, of: u64) -> ObjectId {
        self.counters += 1;
        object(of, self.counters)
    }

    /// A record and who proposes it; None where the catalog has nothing for this step.
    fn record(&mut self, (kind, a, b, c): Step) -> Option<(u64, StorageRecord)> {
        let live = self.live();
        let owner = |world: &World, stream: StreamId| world.log.catalog.stream(stream).unwrap().owner.seq;
        match kind {
            0 => Some((0, StorageRecord::LaneRegistered { nonce: Nonce(a), store: StoreId(0) })),
            1..=2 => {
                Some((pick(&live, a)?, create(self.log.catalog.next_stream().0 + b % 2, pick(&live, a)?)))
            }
            3..=9 => self.any_upload(a, b, c),
            10 => {
                let stream = pick(&self.streams(), a)?;
                let state = self.log.catalog.stream(stream)?;
                // Mostly what was uploaded; the log start may be ahead of the uploads.
                let to = state.start + b % (state.base + 8 - state.start.min(state.base + 7));
                Some((owner(self, stream), trim(stream.0, to)))
            }
            11 => {
                let stream = pick(&self.streams(), a)?;
                let state = self.log.catalog.stream(stream)?;
                let (from, to) = (state.owner.seq, pick(&live, b)?);
                let below = self.log.catalog.lane(state.owner)?.trim.0 + c % 3;
                let record = StorageRecord::StreamSealed {
                    stream,
                    epoch: state.epoch,
                    end: state.end_at_least() + b % 4,
                    below: LaneNumber(below),
                    to: incarnation(to),
                };
                Some((from, record))
            }
            12 => {
                let (of, heir) = (pick(&live, a)?, pick(&live, b)?);
                let trim = self.log.catalog.lane(incarnation(of))?.trim.0;
                Some((heir, fence(of, trim + c % 4, Some(heir))))
            }
            13 => {
                let lanes: Vec<u64> = self.log.catalog.lanes().map(|(lane, _)| lane.seq).collect();
                let to = pick(&live, b)?;
                Some((to, adopt(pick(&lanes, a)?, Some(to))))
            }
            14 => Some((0, delete(pick(&self.streams(), a)?.0))),
            15 => {
                let of = pick(&live, a)?;
                Some((of, release(of, self.counters.saturating_sub(b % 8))))
            }
            16..=17 => {
                let all: Vec<ObjectId> = self.log.catalog.objects().map(|(object, _)| object).collect();
                let dead: Vec<ObjectId> =
                    self.condemned.intersection(&all.iter().copied().collect()).copied().collect();
                let from = if c % 8 == 0 { &all } else { &dead };
                let some: BTreeSet<ObjectId> = [pick(from, a)?, pick(from, b)?].into();
                Some((0, delete_objects(&some.into_iter().collect::<Vec<_>>())))
            }
            18 => {
                let ended: Vec<_> = self
                    .log
                    .catalog
                    .lanes()
                    .filter(|(_, lane)| !lane.is_open() && !lane.is_spent())
                    .collect();
                let (of, from) = pick(&ended, a).map(|(of, lane)| (of.seq, lane.trim.0))?;
                Some((0, lose(of, from + b % 3)))
            }
            19 => {
                let ended: Vec<_> = self.log.catalog.lanes_without_heir().map(|(lane, _)| lane.seq).collect();
                let to = pick(&live, b)?;
                Some((to, heir(pick(&ended, a)?, Some(to))))
            }
            20..=23 => {
                self.planned = self.any_merge(a, b, c);
                self.rewritten = false;
                None
            }
            26 => {
                self.planned_rewrite = self.any_rewrite(a, b, c);
                None
            }
            27 => self.planned_rewrite.take(),
            28 => self.any_rewrite(a, b, c),
            _ => {
                let Planned { proposer, sources, objects } = self.planned.take()?;
                let objects: Vec<_> = objects.iter().map(|(id, parts)| (*id, &parts[..])).collect();
                Some((proposer, merge(&sources, &objects)))
            }
        }
    }

    /// Of a random lane, by who may: a part of every stream whose turn it is, now and then one that is wrong.
    fn any_upload(&mut self, a: u64, b: u64, c: u64) -> Option<(u64, StorageRecord)> {
        let unspent: Vec<_> = self.log.catalog.lanes().filter(|(_, lane)| !lane.is_spent()).collect();
        let (of, lane) = pick(&unspent, a)?;
        let proposer = if lane.is_open() { of } else { lane.heir? };
        let from = lane.trim.0;
        let trim = (from + b % 3).min(lane.end.length().map_or(u64::MAX, |length| length.0));
        let mut parts = Vec::new();
        for (stream, state) in self.log.catalog.streams() {
            let mut mix = (c ^ stream.0.wrapping_mul(0x9e37_79b9)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 20;
            let mut digit = |of: u64| {
                mix /= 7;
                mix % of
            };
            let base = |entry: &LaneEntry| {
                let before = state.lanes.iter().take_while(|other| other.epoch < entry.epoch);
                before.filter_map(|other| other.sealed).map(|seal| seal.end).fold(state.base, u64::max)
            };
            let Some(entry) = state.lanes.iter().find(|entry| entry.incarnation == of) else { continue };
            if digit(3) == 0 {
                continue;
            }
            let skip = if digit(9) == 0 { 1 } else { 0 };
            let start = base(entry) + skip;
            let start = if digit(3) == 0 { start.max(state.start) } else { start };
            let end = (start + 1 + digit(6)).min(entry.sealed.map_or(u64::MAX, |seal| seal.end));
            let epoch = entry.epoch.0 + u32::from(digit(40) == 0);
            if start < end {
                parts.push(ObjectPart { checkpoint: digit(3) > 0, ..part(stream.0, epoch, start, end) });
            }
        }
        let id = self.fresh(proposer.seq);
        Some((
            proposer.seq,
            match a / 5 % 3 {
                0 => any_adoption(of.seq, (from, trim), id, &parts, c),
                _ => upload(of.seq, (from, trim), id, &parts),
            },
        ))
    }

    /// Two neighbours in the order of ids, or all; split between two objects, runs cut in two now and then.
    fn any_merge(&mut self, a: u64, b: u64, c: u64) -> Option<Planned> {
        let living: Vec<ObjectId> = self
            .log
            .catalog
            .objects()
            .filter(|(_, state)| !state.is_condemned())
            .map(|(object, _)| object)
            .collect();
        let from = a as usize % living.len().max(1);
        let sources = living.get(from..(from + 2 + b as usize % 3).min(living.len()))?.to_vec();
        let proposer = pick(&self.live(), a)?;
        let mut outputs: [Vec<ObjectPart>; 2] = Default::default();
        for (stream, state) in self.log.catalog.streams() {
            let mut parts: Vec<ObjectPart> = Vec::new();
            for range in state.ranges.iter().filter(|range| sources.contains(&range.object)) {
                match parts.last_mut() {
                    Some(last) if (last.end, last.epoch) == (range.start, range.epoch) => {
                        last.end = range.end
                    }
                    _ => parts.push(bare(stream.0, range.epoch.0, range.start, range.end)),
                }
            }
            let cut = parts
                .last()
                .copied()
                .filter(|last| last.end - last.start > 1 && (c % 3 + stream.0).is_multiple_of(3));
            if let Some(whole) = cut {
                let middle = whole.start + 1;
                parts.pop();
                parts.extend([ObjectPart { end: middle, ..whole }, ObjectPart { start: middle, ..whole }]);
            }
            // What is dead need not be copied.
            if let Some(first) =
                parts.first_mut().filter(|first| c.is_multiple_of(2) && first.end > state.start)
            {
                first.start = first.start.max(state.start);
            }
            if state.checkpoint.is_some_and(|checkpoint| sources.contains(&checkpoint)) {
                match parts.last_mut() {
                    Some(last) => last.checkpoint = true,
                    None => parts.push(part(stream.0, state.epoch.0, state.base, state.base)),
                }
            }
            let half = parts.len() / 2;
            let (left, right) = if (c / 3 + stream.0).is_multiple_of(2) { (0, 1) } else { (1, 0) };
            outputs[left].extend(&parts[..half]);
            outputs[right].extend(&parts[half..]);
        }
        let objects = outputs.into_iter().map(|parts| (self.fresh(proposer), parts)).collect();
        Some(Planned { proposer, sources, objects })
    }

    /// Some neighbours among the ranges of a stream, joined or not, in one object or two; now and then one that is wrong.
    fn any_rewrite(&mut self, a: u64, b: u64, c: u64) -> Option<(u64, StorageRecord)> {
        let stream = pick(&self.streams(), a)?;
        let state = self.log.catalog.stream(stream)?.clone();
        let from = b as usize % state.ranges.len().max(1);
        let ranges = state.ranges.get(from..(from + 1 + c as usize % 3).min(state.ranges.len()))?;
        let (start, end) = (ranges.first()?.start, ranges.last()?.end);
        let mut parts: Vec<ObjectPart> = Vec::new();
        for range in ranges {
            match parts.last_mut() {
                Some(last)
                    if (last.end, last.epoch) == (range.start, range.epoch) && !c.is_multiple_of(5) =>
                {
                    last.end = range.end
                }
                _ => parts.push(bare(stream.0, range.epoch.0, range.start, range.end)),
            }
        }
        match c / 7 % 12 {
            0 => drop(parts.pop()),
            1 => parts.last_mut()?.end -= 1,
            2 => parts.first_mut()?.epoch.0 += 1,
            _ => {}
        }
        let cleaned = if b.is_multiple_of(2) { state.cleaned } else { end.max(state.cleaned) };
        let second = parts.split_off(if a.is_multiple_of(3) { parts.len() / 2 } else { parts.len() });
        let mut objects = vec![(new_object(self.fresh(state.owner.seq)), parts)];
        if !second.is_empty() {
            objects.push((new_object(self.fresh(state.owner.seq)), second));
        }
        let epoch = if b.is_multiple_of(11) { StreamEpoch(state.epoch.0 + 1) } else { state.epoch };
        let record = StorageRecord::StreamRewritten { stream, epoch, start, end, cleaned, objects };
        Some((state.owner.seq, record))
    }

    fn step(&mut self, step: Step) {
        let Some((proposer, record)) = self.record(step) else { return };
        let before = self.log.catalog.clone();
        let result = self.log.apply(proposer, record.clone());
        self.tally.entry(record.id()).or_default()[usize::from(result.is_ok())] += 1;
        if let (StorageRecord::ObjectsMerged { sources, objects }, Err(illegal)) = (&record, &result) {
            // Uploads, trims, moves and deletions since it was planned do not spoil it. What does: a source that is
            // condemned or gone, a mark above the ids, a proposer that has ended.
            let spoilt = self.rewritten
                || !before.is_live(incarnation(proposer))
                || sources
                    .iter()
                    .any(|source| before.object(*source).is_none_or(|state| state.is_condemned()))
                || objects.iter().any(|(object, _)| {
                    object.id.counter < before.lane(object.id.incarnation).map_or(0, |lane| lane.released)
                });
            assert!(spoilt, "{record:?} was refused: {illegal}");
        }
        self.rewritten |= matches!(record, StorageRecord::StreamRewritten { .. }) && result.is_ok();
        self.check(&before, &record);
    }

    fn check(&mut self, before: &Catalog, record: &StorageRecord) {
        let after = &self.log.catalog;
        check_objects(after);
        for (stream, state) in after.streams() {
            let Some(was) = before.stream(stream) else { continue };
            let forward = state.base >= was.base && state.start >= was.start && state.cleaned >= was.cleaned;
            assert!(forward, "{record:?}: {was:?} {state:?}");
            check_coverage(before, was, state, record);
        }
        let referenced: BTreeSet<ObjectId> = after
            .streams()
            .flat_map(|(_, state)| state.ranges.iter().map(|range| range.object).chain(state.checkpoint))
            .collect();
        assert!(self.condemned.is_disjoint(&referenced), "{record:?} refers to what was condemned");
        for (object, _) in before.objects() {
            let deleted =
                matches!(record, StorageRecord::ObjectsDeleted { objects } if objects.contains(&object));
            assert!(deleted || after.object(object).is_some(), "{record:?}: {object} vanished");
        }
        for (lane, state) in before.lanes() {
            assert!(after.lane(lane).is_some_and(|now| now.released >= state.released));
        }
        self.condemned.extend(after.objects().filter(|(_, s)| s.is_condemned()).map(|(object, _)| object));
    }
}

/// The same of an upload, where it lies: in one object of the lane or two, which may be none of its turn.
fn any_adoption(
    of: u64,
    (from, trim): (u64, u64),
    id: ObjectId,
    parts: &[ObjectPart],
    c: u64,
) -> StorageRecord {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for part in parts.iter().map(|part| ObjectPart { checkpoint: false, ..*part }) {
        let middle = if c.is_multiple_of(2) { part.end } else { part.start + (part.end - part.start) / 2 };
        let halves = [ObjectPart { end: middle, ..part }, ObjectPart { start: middle, ..part }];
        for (object, half) in [&mut first, &mut second].into_iter().zip(halves) {
            object.extend((half.start < half.end).then_some(half));
        }
    }
    let mut objects = vec![(from + c / 2 % 2, &first[..])];
    if !second.is_empty() {
        objects.push((from + 1 + c / 4 % 2, &second[..]));
    }
    let states: Vec<ObjectPart> = parts
        .iter()
        .filter(|part| part.checkpoint)
        .map(|part| ObjectPart { start: part.end, bytes: 0, max_timestamp: -1, ..*part })
        .collect();
    adopt_objects(of, (from, trim), &objects, (!states.is_empty()).then_some((id, &states)))
}

/// What is kept below `base` is covered, but for what was lost by name, or sealed and trimmed past.
fn check_coverage(before: &Catalog, was: &StreamState, now: &StreamState, record: &StorageRecord) {
    let covered = |state: &StreamState| -> BTreeSet<u64> {
        state.ranges.iter().flat_map(|range| range.start..range.end).filter(|o| *o >= now.start).collect()
    };
    let (had, has) = (covered(was), covered(now));
    assert!(had.is_subset(&has), "{record:?} lost records: {was:?} {now:?}");
    let added: Vec<u64> = has.difference(&had).copied().collect();
    assert!(added.iter().all(|offset| *offset >= was.base), "{record:?} made up records: {was:?} {now:?}");
    let lossy = before.lanes().any(|(_, lane)| !lane.lost.is_empty());
    let missing = (was.base.max(now.start)..now.base).filter(|offset| !has.contains(offset));
    for offset in missing {
        let sealed = was.lanes.iter().filter_map(|entry| entry.sealed).any(|seal| offset < seal.end);
        assert!(lossy || sealed, "{record:?} left a hole at {offset}: {was:?} {now:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_what_it_must(
        steps in prop::collection::vec((0u8..29, any::<u64>(), any::<u64>(), any::<u64>()), 1..120),
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
    }
}

/// The generator reaches what it is for: every kind of record is accepted, and refused where it can be.
#[test]
fn random_histories_are_not_idle() {
    let dice = Entropy::seeded(1);
    let next = || dice.u64();
    let mut tally: BTreeMap<u16, [u32; 2]> = BTreeMap::new();
    for _ in 0..60 {
        let mut world = World::new();
        (0..120).for_each(|_| world.step(((next() % 29) as u8, next(), next(), next())));
        for (id, counts) in world.tally {
            let sum = tally.entry(id).or_default();
            *sum = [sum[0] + counts[0], sum[1] + counts[1]];
        }
    }
    println!("refused and accepted, by record: {tally:?}");
    for id in [15, 16, 18, 19] {
        assert!(tally[&id][0] >= 10 && tally[&id][1] >= 50, "record {id}: {tally:?}");
    }
    assert!([3, 6, 8, 9, 11, 12, 13, 14, 17].iter().all(|id| tally[id][1] >= 3), "{tally:?}");
}
