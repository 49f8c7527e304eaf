//! What to merge into what (p).
//!
//! The ladder, and what moves an object up:
//! ```text
//! mixed, small        many streams or little of one, below half of an object's full size. Neighbours are merged when the
//!                     merge is `fan_in` times as large as they are                                             [Small]
//! mixed, full         a stream has so little in each that reading it is a GET per object. Those that begin with the same
//!                     streams are merged when that makes its parts `fan_in` times as large, split by stream [Locality]
//! of one stream       at least `stream_object_bytes` of it. Neighbours are merged to `cold_object_bytes`        [Cold]
//! mostly dead         at most a quarter is kept of it, by retention or deletion. Rewritten                     [Dead]
//! ```
//! A stream with at least `stream_object_bytes` in a merge gets objects of its own; the others go together in order of
//! stream id, split at `max_object_bytes`. Where streams are few, a merge waits until all get their own.
//!
//! **Bounds.** By [`MergeKind::Small`] a byte moves into an object `fan_in` times as large, on average of the bytes of
//! a merge, so it is written log_F(`max_object_bytes` / bytes of an upload) times at most. Of each size class (a factor
//! of two) fewer than 2 F objects stay unmerged, and fewer than F where the objects of a level are equal: O(F ·
//! log(total / upload)) small objects beside total / (½ `max_object_bytes`) full ones; of a few streams, a few times as
//! many. [`MergeKind::Locality`] is the same in bytes per stream, and ends at a sixteenth of `stream_object_bytes` (one
//! block of the cache). [`MergeKind::Cold`] writes a byte once. A week of one upload a minute, and a stream at full
//! speed, write 2 bytes and 1 byte per byte uploaded.
//!
//! Work is divided by owner: the plan names the incarnation that owns the first stream of the sources, so that brokers do
//! not merge the same objects, and objects of different brokers' streams are not mixed.
//!
//! Every plan is legal at the image it was made from ([`crate::catalog::StorageRecord::ObjectsMerged`]), and at a later
//! one as long as none of its sources is condemned. Plans of one call have no source in common.

use std::collections::{BTreeMap, BTreeSet};

use super::output::{MergeOutput, MergeStream, held_of, kept_bytes, split, split_stream};
use crate::catalog::Catalog;
use crate::ids::{Incarnation, ObjectId, StreamId};

/// Cold neighbours of one stream that are merged at least.
const COLD_NEIGHBOURS_MIN: usize = 16;
/// A merge that gives every stream an object of its own when it is so many times as large waits for that, until it has as many
/// times `fan_in` sources.
const WAITS_FOR_OWN: u64 = 4;
/// Mostly dead objects rewritten by one plan.
const DEAD_SOURCES_MAX: usize = 64;

/// Objects whose merge is due above which nobody is given way to any more.
const URGENT_OBJECTS: usize = 1500;

/// When objects are merged and how large they get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeDials {
    /// How many times as large as its sources (on average of their bytes) a merge must be, at least 2. Fewer objects and ranges against fewer rewrites;
    /// with the default two merges carry a week of uploads of one per minute.
    pub fan_in: u64,
    /// So much of a stream in one merge gets objects of its own, in bytes.
    pub stream_object_bytes: u64,
    /// Largest object that a merge writes, in bytes: one PUT. Less where the memory class Merge is small. Exceeded only
    /// where one range of a source is larger.
    pub max_object_bytes: u64,
    /// Size to which the objects of one stream are merged in the end, in bytes.
    pub cold_object_bytes: u64,
    /// What a checkpoint is taken to weigh when an object is looked at for being mostly dead, in bytes: the catalog does not
    /// know. Who merges does, and leaves sources that checkpoints fill out of the next plan (`in_work`).
    pub checkpoint_bytes: u64,
    /// Parts in one record: it must fit a commit (DESIGN §3: 1 MiB).
    pub parts_max: usize,
}

impl Default for MergeDials {
    fn default() -> MergeDials {
        MergeDials {
            fan_in: 24,
            stream_object_bytes: 16 << 20,
            max_object_bytes: 256 << 20,
            cold_object_bytes: 1 << 30,
            checkpoint_bytes: 64 << 10,
            parts_max: 20_000,
        }
    }
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MergeKind {
    /// Many small objects.
    Small,
    /// Streams are scattered over many full ones.
    Locality,
    /// Many objects of one stream.
    Cold,
    /// Little of them is kept.
    Dead,
}

/// One merge: what it reads, what it writes, in the order in which to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergePlan {
    /// Why.
    pub kind: MergeKind,
    /// Who should do it: the owner of the first stream, which may have gone; then anybody.
    pub owner: Incarnation,
    /// Objects that are condemned by it, ascending.
    pub sources: Vec<ObjectId>,
    /// What takes their place.
    pub outputs: Vec<MergeOutput>,
}

/// All merges that are due at this image, the cheapest first. Objects in `in_work` are left alone: sources of merges under
/// way, and those that turned out not to be worth it. Walks all ranges.
pub fn plan(catalog: &Catalog, dials: &MergeDials, in_work: &BTreeSet<ObjectId>) -> Vec<MergePlan> {
    let planner = Planner { catalog, dials };
    let mut mixed: BTreeMap<Incarnation, Vec<Held>> = BTreeMap::new();
    let mut of_one: BTreeMap<StreamId, BTreeMap<ObjectId, Held>> = BTreeMap::new();
    let mut dead: BTreeMap<Incarnation, Vec<Held>> = BTreeMap::new();
    for held in planner.inventory(in_work) {
        let owner = planner.owner(&held);
        if held.is_mostly_dead(dials) {
            dead.entry(owner).or_default().push(held);
        } else if held.streams.len() == 1 && held.kept >= dials.stream_object_bytes {
            of_one.entry(held.streams[0]).or_default().insert(held.object, held);
        } else {
            mixed.entry(owner).or_default().push(held);
        }
    }
    let mut plans = Vec::new();
    for objects in mixed.into_values() {
        let (small, full): (Vec<Held>, Vec<Held>) =
            objects.into_iter().partition(|held| held.kept < dials.max_object_bytes / 2);
        plans.extend(planner.small(small));
        plans.extend(planner.locality(full));
    }
    plans.extend(dead.into_values().flat_map(|objects| planner.dead(objects)));
    plans.extend(of_one.into_iter().flat_map(|(stream, objects)| planner.cold(stream, objects)));
    plans.sort_by_key(|plan| plan.kind);
    plans
}

/// The merge that `me` carries out next: of its own streams, or of those whose owner has gone. Of what is left alone `failed`
/// is in any case; `claimed` is, and all is where it `gives_way`, unless so much is due that nobody is given way to any more.
pub(super) fn next_of(
    me: Incarnation,
    catalog: &Catalog,
    dials: &MergeDials,
    failed: &BTreeSet<ObjectId>,
    claimed: &BTreeSet<ObjectId>,
    gives_way: bool,
) -> Option<MergePlan> {
    let plan_of_me = |in_work: &BTreeSet<ObjectId>| {
        let mut plans = plan(catalog, dials, in_work);
        plans.retain(|plan| plan.owner == me || !catalog.is_live(plan.owner));
        plans
    };
    let is_urgent =
        |plans: &[MergePlan]| plans.iter().map(|plan| plan.sources.len()).sum::<usize>() > URGENT_OBJECTS;
    let touches_no_claim = |plan: &MergePlan| plan.sources.iter().all(|source| !claimed.contains(source));
    // Of many some wait for more of their stream, and others are another's: the plans say. Where there are few nobody asks.
    let asked = (to_be_merged(catalog, dials) > URGENT_OBJECTS).then(|| plan_of_me(failed));
    let plans = match asked {
        Some(plans) if is_urgent(&plans) => plans,
        _ if gives_way => return None,
        Some(plans) if plans.first().is_none_or(touches_no_claim) => plans,
        _ => plan_of_me(&(failed | claimed)),
    };
    plans.into_iter().next()
}

/// Objects that merging makes fewer, now or later: neither condemned nor full.
fn to_be_merged(catalog: &Catalog, dials: &MergeDials) -> usize {
    let full = dials.max_object_bytes / 2;
    catalog.objects().filter(|(_, state)| !state.is_condemned() && state.len < full).count()
}

/// An object, as the streams see it.
struct Held {
    object: ObjectId,
    /// Of what was adopted: the newest object of `data/` that it follows in a stream. Its own number says nothing of them.
    follows: Option<ObjectId>,
    len: u64,
    /// Bytes of its ranges at or above the log starts.
    kept: u64,
    /// Of that: ranges of less than an object of a stream's own, and how many they are.
    scattered: u64,
    pieces: u64,
    checkpoints: u64,
    /// The streams that have something in it, ascending.
    streams: Vec<StreamId>,
    /// Not to be touched; what lies on both sides of it is not neighbours.
    busy: bool,
}

impl Held {
    /// Small ones are merged soon enough.
    fn is_mostly_dead(&self, dials: &MergeDials) -> bool {
        let kept = self.kept.saturating_add(self.checkpoints.saturating_mul(dials.checkpoint_bytes));
        self.len >= dials.stream_object_bytes && kept <= self.len / 4
    }

    /// Orders objects as they were written, those of lanes among those of `data/`.
    fn written(&self) -> (Option<ObjectId>, Option<ObjectId>) {
        match self.object.lane_number() {
            Some(_) => (self.follows, Some(self.object)),
            None => (Some(self.object), None),
        }
    }

    /// Bytes of a stream in it, on average of those that have little.
    fn grain(&self) -> u64 {
        self.scattered / self.pieces.max(1)
    }
}

/// What can be made of a run.
enum Run {
    /// A merge of its first so many.
    Merge(usize),
    /// Nothing from its first on: the record would be too large.
    TooManyStreams,
    /// Nothing yet.
    TooLight,
}

struct Planner<'a> {
    catalog: &'a Catalog,
    dials: &'a MergeDials,
}

impl Planner<'_> {
    /// All objects that are referenced, by id.
    fn inventory(&self, in_work: &BTreeSet<ObjectId>) -> Vec<Held> {
        let living = self.catalog.objects().filter(|(_, state)| !state.is_condemned());
        let held = |object: ObjectId, len| Held {
            object,
            follows: None,
            len,
            kept: 0,
            scattered: 0,
            pieces: 0,
            checkpoints: 0,
            streams: Vec::new(),
            busy: in_work.contains(&object),
        };
        let mut all: BTreeMap<ObjectId, Held> =
            living.map(|(object, state)| (object, held(object, state.len))).collect();
        for (stream, state) in self.catalog.streams() {
            let mut before = None;
            let ranges = state.ranges.iter().map(|range| (range.object, Some(range)));
            for (object, range) in ranges.chain(state.checkpoint.map(|object| (object, None))) {
                let Some(held) = all.get_mut(&object) else { continue };
                match range {
                    Some(range) => {
                        match object.lane_number() {
                            Some(_) => held.follows = held.follows.max(before),
                            None => before = Some(object),
                        }
                        let kept = kept_bytes(range, state.start);
                        held.kept += kept;
                        if kept < self.dials.stream_object_bytes {
                            held.scattered += kept;
                            held.pieces += 1;
                        }
                    }
                    None => held.checkpoints += 1,
                }
                if held.streams.last() != Some(&stream) {
                    held.streams.push(stream);
                }
            }
        }
        all.into_values().collect()
    }

    fn owner(&self, held: &Held) -> Incarnation {
        let first = held.streams.first().and_then(|stream| self.catalog.stream(*stream));
        first.map_or(held.object.incarnation, |state| state.owner)
    }

    /// Neighbours in the order in which they were written. Where one upload is several objects of many streams each, those
    /// of the same streams are neighbours.
    fn small(&self, mut objects: Vec<Held>) -> Vec<MergePlan> {
        let streams: BTreeSet<StreamId> =
            objects.iter().flat_map(|held| held.streams.iter().copied()).collect();
        let rank: BTreeMap<StreamId, usize> =
            streams.into_iter().enumerate().map(|(rank, stream)| (stream, rank)).collect();
        let slice = |held: &Held| held.streams.first().map_or(0, |s| rank[s] / self.dials.parts_max.max(1));
        objects.sort_by_key(|held| (slice(held), held.written()));
        self.runs(MergeKind::Small, &objects, |held| (held.kept, held.kept), |total, _| total)
    }

    /// Those that begin with the same streams hold the same ones, more or less.
    fn locality(&self, mut objects: Vec<Held>) -> Vec<MergePlan> {
        let enough = self.dials.stream_object_bytes / 16;
        objects.retain(|held| held.pieces > 0 && held.grain() < enough);
        objects.sort_by_key(|held| (held.streams.first().copied(), held.written()));
        let weight = |held: &Held| (held.grain(), held.scattered);
        self.runs(MergeKind::Locality, &objects, weight, |total, streams| total / streams.max(1))
    }

    /// Merges of neighbours: the oldest of a run are taken until together they weigh `fan_in` times their mean. Light
    /// runs first; what is between heavier ones goes with them. `weight` is of one object, and what it adds to a sum;
    /// `merged` is the weight of a merge, by that sum and how many streams are in it.
    fn runs(
        &self,
        kind: MergeKind,
        objects: &[Held],
        weight: impl Fn(&Held) -> (u64, u64),
        merged: impl Fn(u64, u64) -> u64,
    ) -> Vec<MergePlan> {
        let at_least_one = |(weight, adds): (u64, u64)| (weight.max(1), adds.max(1));
        let weights: Vec<(u64, u64)> = objects.iter().map(|held| at_least_one(weight(held))).collect();
        let classes: BTreeSet<u32> = weights.iter().map(|(weight, _)| weight.ilog2()).collect();
        let mut taken: Vec<bool> = objects.iter().map(|held| held.busy).collect();
        let mut plans = Vec::new();
        for class in classes {
            let mut at = 0;
            while at < objects.len() {
                let fits = |at: &usize| !taken[*at] && weights[*at].0.ilog2() <= class;
                let run = (at..objects.len()).take_while(fits).count();
                match self.first_of(kind, &objects[at..at + run], &weights[at..at + run], &merged) {
                    Run::Merge(count) => {
                        let sources = objects[at..at + count].iter().map(|held| held.object).collect();
                        plans.extend(self.merge_of(kind, sources));
                        taken[at..at + count].fill(true);
                        at += count;
                    }
                    Run::TooManyStreams => at += 1,
                    Run::TooLight => at += run + 1,
                }
            }
        }
        plans
    }

    fn first_of(
        &self,
        kind: MergeKind,
        run: &[Held],
        weights: &[(u64, u64)],
        merged: impl Fn(u64, u64) -> u64,
    ) -> Run {
        let fan_in = self.dials.fan_in.max(2);
        if (run.len() as u64) < fan_in {
            return Run::TooLight;
        }
        let mut streams: BTreeSet<StreamId> = BTreeSet::new();
        let (mut total, mut weighed) = (0u64, 0u128);
        // The merge is so many times as heavy as what a byte of it lies in now, on average of the bytes.
        let grows = |total: u64, weighed: u128, streams: usize, times: u64| {
            u128::from(merged(total, streams as u64)) * u128::from(total) >= weighed * u128::from(times)
        };
        for (at, (held, (weight, adds))) in run.iter().zip(weights).enumerate() {
            let before = grows(total, weighed, streams.len(), 2);
            streams.extend(&held.streams);
            if streams.len() > self.dials.parts_max {
                // What fits one record is merged all the same if that halves it at least.
                return if at >= 2 && before { Run::Merge(at) } else { Run::TooManyStreams };
            }
            total = total.saturating_add(*adds);
            weighed += u128::from(*weight) * u128::from(*adds);
            let count = at as u64 + 1;
            // What a merge leaves together is merged once more.
            let all_own = self.dials.stream_object_bytes.saturating_mul(streams.len() as u64);
            let waits = kind == MergeKind::Small
                && all_own <= self.dials.max_object_bytes
                && (all_own / WAITS_FOR_OWN..all_own).contains(&total)
                && count < WAITS_FOR_OWN * fan_in;
            if count >= fan_in && !waits && grows(total, weighed, streams.len(), fan_in) {
                return Run::Merge(at + 1);
            }
        }
        Run::TooLight
    }

    fn dead(&self, objects: Vec<Held>) -> Vec<MergePlan> {
        let mut plans = Vec::new();
        let mut sources = Vec::new();
        let mut kept = 0;
        for held in objects.into_iter().filter(|held| !held.busy) {
            if sources.len() == DEAD_SOURCES_MAX || kept + held.kept > self.dials.max_object_bytes {
                plans.extend(self.merge_of(MergeKind::Dead, std::mem::take(&mut sources)));
                kept = 0;
            }
            sources.push(held.object);
            kept += held.kept;
        }
        plans.extend(self.merge_of(MergeKind::Dead, sources));
        plans
    }

    /// Neighbours of one stream, of less than half the size they are merged to.
    fn cold(&self, stream: StreamId, objects: BTreeMap<ObjectId, Held>) -> Vec<MergePlan> {
        let Some(state) = self.catalog.stream(stream) else { return Vec::new() };
        let cold = self.dials.cold_object_bytes;
        let mut plans = Vec::new();
        let mut run: Vec<ObjectId> = Vec::new();
        let mut planned: BTreeSet<ObjectId> = BTreeSet::new();
        let mut total = 0;
        for range in state.ranges.iter() {
            if run.last() == Some(&range.object) {
                continue;
            }
            match objects.get(&range.object) {
                // By turns with another.
                Some(held) if run.contains(&held.object) || planned.contains(&held.object) => {}
                Some(held) if !held.busy && held.kept < cold / 2 => {
                    run.push(held.object);
                    total += held.kept;
                }
                _ => {
                    run.clear();
                    total = 0;
                }
            }
            if run.len() >= COLD_NEIGHBOURS_MIN && total >= cold {
                planned.extend(&run);
                plans.extend(self.merge_of(MergeKind::Cold, std::mem::take(&mut run)));
                total = 0;
            }
        }
        plans
    }

    /// The plan for these sources; for the first of them where all are too many for one record. None: not worth it.
    fn merge_of(&self, kind: MergeKind, mut sources: Vec<ObjectId>) -> Option<MergePlan> {
        loop {
            let wanted: BTreeSet<ObjectId> = sources.iter().copied().collect();
            let outputs = self.outputs(kind, &wanted);
            let held = || outputs.iter().flat_map(|output| &output.streams);
            let first = held().map(|held| held.stream).min()?;
            let parts = held().map(|held| held.parts().len()).sum::<usize>();
            let ranges = held().map(|held| held.ranges.len()).sum::<usize>();
            // Streams with gaps between the sources are not brought together: it would never end.
            if kind == MergeKind::Locality && (ranges as u64) < parts as u64 * self.dials.fan_in / 2 {
                return None;
            }
            if parts <= self.dials.parts_max || (kind, sources.len()) == (MergeKind::Dead, 1) {
                let owner = self.catalog.stream(first)?.owner;
                return Some(MergePlan { kind, owner, sources: wanted.into_iter().collect(), outputs });
            }
            sources.truncate(sources.len() / 2);
            if sources.len() < 2 && kind != MergeKind::Dead {
                return None;
            }
        }
    }

    fn outputs(&self, kind: MergeKind, sources: &BTreeSet<ObjectId>) -> Vec<MergeOutput> {
        let dials = self.dials;
        let mut together = Vec::new();
        let mut own = Vec::new();
        for (stream, state) in self.catalog.streams() {
            let Some(held) = held_of(stream, state, sources) else { continue };
            if kind == MergeKind::Cold {
                own.extend(split_stream(held, dials.cold_object_bytes));
            } else if held.bytes() >= dials.stream_object_bytes {
                own.extend(split_stream(held, dials.max_object_bytes));
            } else {
                together.push(held);
            }
        }
        let mixed = split(together, dials.max_object_bytes, MergeStream::bytes);
        mixed.into_iter().map(|streams| MergeOutput { streams }).chain(own).collect()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
