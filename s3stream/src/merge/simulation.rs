//! Catalogs that uploads and merges grow: the bounds of the plan, over days of traffic without a store.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::catalog::{Catalog, NewObject, ObjectPart, StorageRecord};
use crate::entropy::Entropy;
use crate::ids::{Incarnation, LaneNumber, Nonce, ObjectId, StoreId, StreamEpoch, StreamId};
use crate::journal::MutationPoint;

/// One broker that uploads and merges; objects are their parts and nothing else.
pub(super) struct World {
    pub(super) catalog: Catalog,
    pub(super) dials: MergeDials,
    pub(super) me: Incarnation,
    epoch: StreamEpoch,
    counter: u64,
    lane: u64,
    /// Bytes of uploads, and of what merges wrote.
    pub(super) uploaded: u64,
    pub(super) merged: u64,
    pub(super) merges: BTreeMap<MergeKind, u32>,
}

impl World {
    pub(super) fn new(streams: u64, dials: MergeDials) -> World {
        let me = Incarnation { seq: 1, index: 0 };
        let (uploaded, merged, merges) = (0, 0, BTreeMap::new());
        let (catalog, epoch) = (Catalog::new(), StreamEpoch(0));
        let mut world = World { catalog, dials, me, epoch, counter: 0, lane: 0, uploaded, merged, merges };
        world.apply(StorageRecord::StoreRegistered { store: StoreId(0), url: "memory://".into() });
        world.apply(StorageRecord::LaneRegistered { nonce: Nonce(1), store: StoreId(0) });
        for stream in 0..streams {
            world.apply(StorageRecord::StreamCreated { stream: StreamId(stream), owner: me });
        }
        world
    }

    pub(super) fn apply(&mut self, record: StorageRecord) {
        let at = MutationPoint { seq: 1, index: 0, proposer: Some(self.me), level: 3 };
        let id = record.id();
        self.catalog.apply(at, &record).unwrap_or_else(|illegal| panic!("record {id}: {illegal}"));
    }

    fn new_object(&mut self, parts: &[ObjectPart]) -> NewObject {
        self.counter += 1;
        let id = ObjectId { incarnation: self.me, counter: self.counter };
        NewObject { id, store: StoreId(0), len: parts.iter().map(|part| part.bytes).sum() }
    }

    /// Uploads `records` records of `bytes` in all for each of these streams.
    pub(super) fn upload(&mut self, of: impl Iterator<Item = (StreamId, u64, u64)>) {
        let mut parts = Vec::new();
        for (stream, records, bytes) in of {
            let Some(state) = self.catalog.stream(stream) else { continue };
            let (epoch, start) = (self.epoch, state.base);
            let end = start + records;
            parts.push(ObjectPart { stream, epoch, start, end, bytes, max_timestamp: 0, checkpoint: true });
        }
        let object = self.new_object(&parts);
        self.uploaded += object.len;
        let (incarnation, from) = (self.me, LaneNumber(self.lane));
        self.lane += 1;
        let trim = LaneNumber(self.lane);
        self.apply(StorageRecord::LaneUploaded { incarnation, from, trim, object, parts });
    }

    /// As [`World::upload`], of an object that stays in its lane. Without checkpoints.
    pub(super) fn adopt(&mut self, of: impl Iterator<Item = (StreamId, u64, u64)>) {
        let mut parts = Vec::new();
        for (stream, records, bytes) in of {
            let start = self.catalog.stream(stream).expect("there").base;
            let (epoch, end) = (self.epoch, start + records);
            parts.push(ObjectPart { stream, epoch, start, end, bytes, max_timestamp: 0, checkpoint: false });
        }
        let (incarnation, from) = (self.me, LaneNumber(self.lane));
        let len = parts.iter().map(|part| part.bytes).sum();
        let object = NewObject { id: ObjectId::adopted(self.me, from), store: StoreId(0), len };
        self.uploaded += len;
        self.lane += 1;
        let (trim, objects) = (LaneNumber(self.lane), vec![(object, parts)]);
        self.apply(StorageRecord::LaneAdopted { incarnation, from, trim, objects });
    }

    /// A new incarnation takes over all streams.
    pub(super) fn restart(&mut self) {
        let seq = self.me.seq + 1;
        let new = Incarnation { seq, index: 0 };
        let at = MutationPoint { seq, index: 0, proposer: Some(self.me), level: 3 };
        let lane = StorageRecord::LaneRegistered { nonce: Nonce(seq), store: StoreId(0) };
        self.catalog.apply(at, &lane).expect("a lane of its own");
        let ends: Vec<_> = self.catalog.streams().map(|(stream, state)| (stream, state.base)).collect();
        for (stream, end) in ends {
            let (epoch, below) = (self.epoch, LaneNumber(self.lane));
            self.apply(StorageRecord::StreamSealed { stream, epoch, end, below, to: new });
        }
        (self.me, self.epoch, self.counter, self.lane) = (new, StreamEpoch(self.epoch.0 + 1), 0, 0);
    }

    /// Merges what is due, until nothing is. Dead blocks are not copied. What was condemned is deleted.
    pub(super) fn merge(&mut self) {
        loop {
            let plans = plan(&self.catalog, &self.dials, &BTreeSet::new());
            if plans.is_empty() {
                return;
            }
            self.check_apart(&plans);
            for plan in plans {
                *self.merges.entry(plan.kind).or_default() += 1;
                self.carry_out(&plan);
            }
        }
    }

    /// No two plans have a source in common.
    fn check_apart(&self, plans: &[MergePlan]) {
        let mut seen = BTreeSet::new();
        assert!(plans.iter().flat_map(|plan| &plan.sources).all(|source| seen.insert(*source)), "{plans:?}");
    }

    pub(super) fn carry_out(&mut self, plan: &MergePlan) {
        assert!(!plan.sources.is_empty() && !plan.outputs.is_empty(), "{plan:?}");
        let mut objects = Vec::new();
        for output in &plan.outputs {
            let mut parts = output.parts();
            for part in &mut parts {
                let start = output.streams.iter().find(|held| held.stream == part.stream).unwrap().start;
                let dead = start.clamp(part.start, part.end) - part.start;
                if dead > 0 && part.start + dead < part.end {
                    part.bytes = part.bytes * (part.end - part.start - dead) / (part.end - part.start);
                    part.start += dead;
                }
            }
            let object = self.new_object(&parts);
            self.merged += object.len;
            objects.push((object, parts));
        }
        self.apply(StorageRecord::ObjectsMerged { sources: plan.sources.clone(), objects });
        let condemned = |object: &ObjectId| self.catalog.object(*object).unwrap().is_condemned();
        assert!(plan.sources.iter().all(condemned), "{plan:?} left references");
        let gone = self.catalog.objects().filter(|(_, state)| state.is_condemned()).map(|(o, _)| o).collect();
        self.apply(StorageRecord::ObjectsDeleted { objects: gone });
    }

    /// Bytes that merges wrote, per byte uploaded.
    pub(super) fn amplification(&self) -> f64 {
        self.merged as f64 / self.uploaded as f64
    }

    pub(super) fn report(&self, name: &str) {
        let ranges: usize = self.catalog.streams().map(|(_, state)| state.ranges.len()).sum();
        println!(
            "{name}: {} MiB uploaded, {:.2} written per byte, {} objects, {:.1} ranges per stream, merges {:?}",
            self.uploaded >> 20,
            self.amplification(),
            self.catalog.object_count(),
            ranges as f64 / self.catalog.stream_count() as f64,
            self.merges,
        );
    }
}

/// F · (1 + log_F(uploads)) small objects beside the full ones.
fn objects_max(world: &World, uploads: u64) -> usize {
    let fan_in = world.dials.fan_in;
    let levels = (uploads as f64).log(fan_in as f64).ceil() as u64 + 1;
    (fan_in * levels + world.uploaded / (world.dials.max_object_bytes / 2)) as usize
}

/// A week of one upload per minute, 1 MB each, of streams of equal traffic. How many they are is nothing to what is asserted
/// (objects, bytes), so that 50 stand for 10,000.
#[test]
fn a_week_of_a_trickle_stays_few_objects_and_few_bytes() {
    let mut world = World::new(50, MergeDials::default());
    let uploads = 7 * 24 * 60;
    let mut most = 0;
    for minute in 0..uploads {
        world.upload((0..50).map(|stream| (StreamId(stream), 1, 20_000)));
        if minute % 8 == 7 {
            world.merge();
            most = most.max(world.catalog.object_count() as u64);
        }
    }
    world.report("a week of 1 MB a minute");
    assert!(world.amplification() <= 2.2, "{}", world.amplification());
    assert!(most as usize <= objects_max(&world, uploads) + 8, "{most} objects");
    assert!(world.catalog.streams().all(|(_, state)| state.ranges.len() <= 3 * 24));
}

/// The same with traffic that is not equal: sizes vary eightfold, streams come and go.
#[test]
fn an_uneven_trickle_stays_few_objects() {
    let mut world = World::new(60, MergeDials::default());
    let dice = Entropy::seeded(7);
    let next = |below: u64| dice.u64() % below;
    let uploads = 3_000;
    let mut most = 0;
    for minute in 0..uploads {
        let size = 2_500 << next(4);
        let some: Vec<_> = (0..60).filter(|_| next(3) > 0).map(|s| (StreamId(s), 1, size)).collect();
        world.upload(some.into_iter());
        if minute % 8 == 7 {
            world.merge();
            most = most.max(world.catalog.object_count() as u64);
        }
    }
    world.report("uneven");
    assert!(world.amplification() <= 2.2, "{}", world.amplification());
    assert!(most as usize <= 2 * objects_max(&world, uploads), "{most} objects");
}

/// Many streams at full speed (scaled down sixteenfold): uploads as large as objects get. Merges bring each stream's records together.
#[test]
fn many_streams_at_speed_are_brought_together() {
    let dials = MergeDials { fan_in: 8, max_object_bytes: 16 << 20, ..MergeDials::default() };
    let mut world = World::new(500, dials);
    for _ in 0..160 {
        world.upload((0..500).map(|stream| (StreamId(stream), 1, 32 << 10)));
        world.merge();
    }
    world.report("many at speed");
    assert!(world.amplification() <= 2.2, "{}", world.amplification());
    let ranges: usize = world.catalog.streams().map(|(_, state)| state.ranges.len()).sum();
    assert!(ranges <= 500 * 20, "{ranges} ranges of 80,000 uploaded");
    assert!(world.merges[&MergeKind::Locality] > 0);
}

/// One stream, 1 TiB in uploads of 64 MiB: each byte is merged once, into objects of 1 GiB.
#[test]
fn one_stream_at_full_speed_is_written_twice() {
    let mut world = World::new(1, MergeDials::default());
    let mut most = 0;
    for upload in 0..(1u64 << 40) / (64 << 20) {
        world.upload([(StreamId(0), 100, 64 << 20)].into_iter());
        if upload % 8 == 7 {
            world.merge();
        }
        most = most.max(world.catalog.object_count());
    }
    world.report("1 TiB of one stream");
    assert!(world.amplification() <= 1.01, "{}", world.amplification());
    assert!(most <= 1024 + 24, "{most} objects");
}

/// A few streams at full speed: large objects of their lane are adopted, what lies between is uploaded. A merge takes both, so that
/// a stream does not lie in two objects by turns, and its objects become cold ones.
#[test]
fn what_was_adopted_and_what_was_uploaded_between_lie_together() {
    let mut world = World::new(8, MergeDials { cold_object_bytes: 256 << 20, ..MergeDials::default() });
    for round in 0..1_600 {
        let of_all = |bytes| (0..8).map(move |stream| (StreamId(stream), 1, bytes));
        // What is uploaded together varies.
        match round % 5 {
            0 | 3 => world.upload(of_all(300 << 10)),
            _ => world.adopt(of_all(1 << 20)),
        }
        if round % 8 == 7 {
            world.merge();
        }
    }
    world.report("adopted and uploaded");
    assert!(world.amplification() <= 2.2, "{}", world.amplification());
    assert!(world.merges[&MergeKind::Cold] > 0);
    for (stream, state) in world.catalog.streams() {
        let objects: BTreeSet<ObjectId> = state.ranges.iter().map(|range| range.object).collect();
        let turns = 1 + state
            .ranges
            .iter()
            .zip(state.ranges.iter().skip(1))
            .filter(|(a, b)| a.object != b.object)
            .count();
        assert!(
            turns <= objects.len() + objects.len() / 8,
            "{stream}: {turns} turns of {} objects",
            objects.len()
        );
    }
}

/// A stream of its own beside a trickle of others gets objects of its own.
#[test]
fn a_large_stream_leaves_the_small_ones() {
    let mut world = World::new(50, MergeDials::default());
    for _ in 0..1_000 {
        let large = [(StreamId(7), 100, 4 << 20)].into_iter();
        world.upload(large.chain((8..50).map(|stream| (StreamId(stream), 1, 1_000))));
        world.merge();
    }
    world.report("one large among small");
    assert!(world.amplification() <= 2.2, "{}", world.amplification());
    let of_seven: BTreeSet<ObjectId> =
        world.catalog.stream(StreamId(7)).unwrap().ranges.iter().map(|range| range.object).collect();
    let others = |object: &ObjectId| {
        world
            .catalog
            .streams()
            .filter(|(s, _)| *s != StreamId(7))
            .any(|(_, state)| state.ranges.iter().any(|r| r.object == *object))
    };
    let shared = of_seven.iter().filter(|object| others(object)).count();
    assert!(shared < 24, "{shared} objects are shared");
    assert!(world.merges[&MergeKind::Cold] > 0);
}

/// The same in uploads that are full at once: what little the others have does not stay scattered over them.
#[test]
fn a_large_stream_does_not_scatter_the_small_ones() {
    let dials = MergeDials { fan_in: 8, ..MergeDials::default() };
    let mut world = World::new(20, dials);
    for _ in 0..100 {
        let large = [(StreamId(7), 100, 200 << 20)].into_iter();
        world.upload(large.chain((8..20).map(|stream| (StreamId(stream), 1, 1_000))));
        world.merge();
    }
    world.report("one large among small, full uploads");
    assert!(world.amplification() <= 2.2, "{}", world.amplification());
    assert!(world.merges[&MergeKind::Locality] > 0);
    let ranges = world.catalog.stream(StreamId(8)).unwrap().ranges.len();
    assert!(ranges <= 3 * 8, "{ranges} ranges of 100");
}

/// What retention and deletion leave of large objects is rewritten, once.
#[test]
fn mostly_dead_objects_are_rewritten() {
    let mut world = World::new(10, MergeDials::default());
    world.upload((0..10).map(|stream| (StreamId(stream), 100, 15 << 20)));
    world.merge();
    assert_eq!(world.merged, 0);
    for stream in 0..7 {
        world.apply(StorageRecord::StreamDeleted { stream: StreamId(stream) });
    }
    world.merge();
    assert_eq!(world.merged, 0, "three tenths are kept");
    world.apply(StorageRecord::StreamTrimmed { stream: StreamId(7), start: 100 });
    world.apply(StorageRecord::StreamTrimmed { stream: StreamId(8), start: 60 });
    world.merge();
    world.report("dead");
    assert_eq!(world.merges[&MergeKind::Dead], 1);
    assert_eq!(world.merged, (15 << 20) * 14 / 10);
    assert_eq!(world.catalog.stream(StreamId(8)).unwrap().ranges[0].start, 60);
    assert!(world.catalog.stream(StreamId(7)).unwrap().checkpoint.is_some());
}

/// Plans of one call for one stream: what lies by turns where the first of them ends is in that alone.
#[test]
fn no_two_cold_merges_of_one_call_have_a_source_in_common() {
    let dials = MergeDials {
        fan_in: 100,
        stream_object_bytes: 400,
        max_object_bytes: 1_000,
        cold_object_bytes: 8_000,
        checkpoint_bytes: 10,
        parts_max: 20_000,
    };
    let mut world = World::new(1, dials);
    // Of 15 to 18 every other is merged: two objects by turns.
    for number in 1..=40 {
        world.upload([(StreamId(0), 1, if (15..=18).contains(&number) { 250 } else { 500 })].into_iter());
    }
    for pair in [[15, 17], [16, 18]] {
        let sources: BTreeSet<ObjectId> =
            pair.map(|counter| ObjectId { incarnation: world.me, counter }).into();
        let state = world.catalog.stream(StreamId(0)).unwrap();
        let streams = vec![output::held_of(StreamId(0), state, &sources).unwrap()];
        let (sources, outputs) = (sources.into_iter().collect(), vec![MergeOutput { streams }]);
        world.carry_out(&MergePlan { kind: MergeKind::Small, owner: world.me, sources, outputs });
    }
    let plans = plan(&world.catalog, &world.dials, &BTreeSet::new());
    assert_eq!(plans.len(), 2);
    world.check_apart(&plans);
}

/// Uploads and adoptions in any order, of few and many streams, equal and not, with brokers that come and go: merging always
/// ends, and no byte is written often.
#[test]
fn whatever_is_uploaded_and_adopted_merging_ends() {
    for seed in 0..24_u64 {
        let dice = Entropy::seeded(seed);
        let next = |below: u64| dice.u64() % below;
        let streams = [1, 2, 3, 5, 8, 12, 16, 17, 33][next(9) as usize];
        let max_object_bytes = [256 << 20, 64 << 20, 32 << 20, 20 << 20][next(4) as usize];
        let cold_object_bytes = max_object_bytes.max(128 << 20);
        let dials = MergeDials { cold_object_bytes, max_object_bytes, ..MergeDials::default() };
        let (adopted, restarts, uneven) = ([10, 50, 90, 100][next(4) as usize], next(2), next(2) == 1);
        let lane_bytes = [512 << 10, 4 << 20, 8 << 20][next(3) as usize];
        let merge_every = [1, 7, 40][next(3) as usize];
        let mut world = World::new(streams, dials);
        for round in 0..600 {
            let share = |s: u64| 1 + lane_bytes / streams / if uneven && s > 0 { 20 } else { 1 };
            let of: Vec<_> = (0..streams).map(|s| (StreamId(s), 1, share(s) / 2 + next(share(s)))).collect();
            if next(100) < adopted {
                world.adopt(of.into_iter());
            } else {
                world.upload(of.into_iter());
            }
            if restarts == 1 && next(100) == 0 {
                world.restart();
            }
            if round % merge_every == 0 {
                world.merge();
            }
        }
        world.merge();
        world.report(&format!("seed {seed}, {streams} streams, {adopted} in 100 adopted"));
        assert!(world.amplification() <= 4.0, "seed {seed}: {}", world.amplification());
    }
}
