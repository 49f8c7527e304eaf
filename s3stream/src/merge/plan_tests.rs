//! Plans of random catalogs are legal; tables for what they look like.

use proptest::prelude::*;

use super::*;
use crate::catalog::StorageRecord;
use crate::ids::LaneNumber;
use crate::merge::simulation::World;

/// Small numbers, so that every rung of the ladder is reached by small catalogs.
fn small() -> MergeDials {
    MergeDials {
        fan_in: 3,
        stream_object_bytes: 400,
        max_object_bytes: 1_000,
        cold_object_bytes: 4_000,
        checkpoint_bytes: 10,
        parts_max: 20,
    }
}

fn three_uploads() -> World {
    let mut world = World::new(3, small());
    for _ in 0..3 {
        world.upload([(StreamId(0), 5, 20), (StreamId(1), 5, 10), (StreamId(2), 5, 150)].into_iter());
    }
    world
}

#[test]
fn neighbours_are_merged_and_a_stream_with_much_gets_its_own() {
    let world = three_uploads();
    let plans = plan(&world.catalog, &world.dials, &BTreeSet::new());
    assert_eq!(plans.len(), 1);
    assert_eq!((plans[0].kind, plans[0].owner.seq, plans[0].sources.len()), (MergeKind::Small, 1, 3));
    let parts: Vec<Vec<_>> = plans[0]
        .outputs
        .iter()
        .map(|output| {
            output.parts().iter().map(|p| (p.stream.0, p.start, p.end, p.bytes, p.checkpoint)).collect()
        })
        .collect();
    assert_eq!(parts, [vec![(0, 0, 15, 60, true), (1, 0, 15, 30, true)], vec![(2, 0, 15, 450, true)]]);
    assert_eq!(plans[0].outputs[0].bytes(), 90);
}

#[test]
fn what_is_in_work_is_left_alone_and_separates_its_neighbours() {
    let mut world = three_uploads();
    let sources = plan(&world.catalog, &world.dials, &BTreeSet::new())[0].sources.clone();
    let busy: BTreeSet<ObjectId> = [sources[1]].into();
    assert_eq!(plan(&world.catalog, &world.dials, &busy), []);
    for _ in 0..2 {
        world.upload([(StreamId(0), 5, 180)].into_iter());
    }
    let plans = plan(&world.catalog, &world.dials, &busy);
    assert_eq!(plans.len(), 1);
    assert!(!plans[0].sources.contains(&sources[1]) && !plans[0].sources.contains(&sources[0]));
}

#[test]
fn a_checkpoint_without_records_moves_along() {
    let mut world = three_uploads();
    world.apply(StorageRecord::StreamTrimmed { stream: StreamId(1), start: 15 });
    let plans = plan(&world.catalog, &world.dials, &BTreeSet::new());
    let parts = plans[0].outputs[0].parts();
    assert_eq!(
        (parts[1].stream, parts[1].start, parts[1].end, parts[1].checkpoint),
        (StreamId(1), 15, 15, true)
    );
    world.carry_out(&plans[0]);
    assert_eq!(world.catalog.stream(StreamId(1)).unwrap().checkpoint.map(|object| object.counter), Some(4));
}

#[test]
fn a_record_has_no_more_parts_than_it_may() {
    let mut world = World::new(40, MergeDials { fan_in: 4, ..small() });
    for round in 0..12 {
        world.upload((0..20).map(|stream| (StreamId(stream + round % 2 * 20), 1, 1)));
    }
    let plans = plan(&world.catalog, &world.dials, &BTreeSet::new());
    assert!(!plans.is_empty());
    for plan in plans {
        assert!(plan.outputs.iter().map(|output| output.parts().len()).sum::<usize>() <= 20, "{plan:?}");
        world.carry_out(&plan);
    }
}

#[test]
fn what_is_condemned_or_full_is_not_to_be_merged() {
    let mut world = World::new(3, small());
    for bytes in [1, 400, 499, 500, 1_000] {
        world.upload([(StreamId(0), 1, bytes)].into_iter());
    }
    assert_eq!(to_be_merged(&world.catalog, &world.dials), 3, "half of the largest is full");
    for stream in [1, 2] {
        world.upload([(StreamId(stream), 1, 10)].into_iter());
    }
    assert_eq!(to_be_merged(&world.catalog, &world.dials), 5);
    world.apply(StorageRecord::StreamDeleted { stream: StreamId(1) });
    assert_eq!(world.catalog.object_count(), 7);
    assert_eq!(to_be_merged(&world.catalog, &world.dials), 4, "one is condemned and still there");
}

/// Streams 0 to 199 have objects of their own that wait to be cold, so many of them that somebody asks whether merging is
/// urgent; of streams 200 to 205 there are so many small ones.
fn many_that_wait(small_objects: usize) -> World {
    let mut world = World::new(250, small());
    for stream in 0..200 {
        (0..8).for_each(|_| world.upload([(StreamId(stream), 1, 450)].into_iter()));
    }
    assert!(to_be_merged(&world.catalog, &world.dials) > URGENT_OBJECTS);
    assert_eq!(plan(&world.catalog, &world.dials, &BTreeSet::new()), []);
    (0..small_objects).for_each(|_| world.upload((200..206).map(|stream| (StreamId(stream), 1, 5))));
    world
}

/// What the owner of `world`'s streams merges next.
fn next(
    world: &World,
    failed: &BTreeSet<ObjectId>,
    claimed: &BTreeSet<ObjectId>,
    gives_way: bool,
) -> Option<MergePlan> {
    next_of(world.me, &world.catalog, &world.dials, failed, claimed, gives_way)
}

#[test]
fn merging_is_urgent_where_much_is_due_and_not_where_much_waits() {
    let none = BTreeSet::new();
    assert_eq!(next(&many_that_wait(0), &none, &none, true), None);
    assert_eq!(next(&many_that_wait(URGENT_OBJECTS), &none, &none, true), None, "as many as that are borne");
    let mut world = many_that_wait(URGENT_OBJECTS + 4);
    assert!(next(&world, &none, &none, true).is_some());
    world.me = Incarnation { seq: 9, index: 0 };
    assert_eq!(next(&world, &none, &none, true), None, "these are somebody else's");
}

#[test]
fn what_is_claimed_is_left_alone_unless_merging_is_urgent_and_what_failed_in_any_case() {
    let none = BTreeSet::new();
    // Few, of which nobody asks; many, of which little is due; many that are due.
    for (world, urgent) in
        [(three_uploads(), false), (many_that_wait(9), false), (many_that_wait(URGENT_OBJECTS + 4), true)]
    {
        let due = plan(&world.catalog, &world.dials, &none).into_iter().next();
        assert_eq!(next(&world, &none, &none, false), due);
        let claimed: BTreeSet<ObjectId> = due.iter().flat_map(|due| due.sources.clone()).collect();
        let others = plan(&world.catalog, &world.dials, &claimed).into_iter().next();
        assert_ne!(others, due);
        assert_eq!(next(&world, &claimed, &none, false), others);
        assert_eq!(next(&world, &none, &claimed, false), if urgent { due.clone() } else { others });
        let elsewhere = world.catalog.objects().map(|(object, _)| object).filter(|id| !claimed.contains(id));
        assert_eq!(next(&world, &none, &elsewhere.collect(), false), due, "claims elsewhere change nothing");
    }
}

#[test]
fn a_cold_merge_is_charged_for_all_it_holds() {
    let dials = MergeDials {
        stream_object_bytes: 1 << 20,
        max_object_bytes: 4 << 20,
        cold_object_bytes: 16 << 20,
        ..MergeDials::default()
    };
    let mut world = World::new(1, dials);
    (0..16).for_each(|_| world.upload([(StreamId(0), 1, 1 << 20)].into_iter()));
    let plans = plan(&world.catalog, &world.dials, &BTreeSet::new());
    let charges: Vec<_> = plans
        .iter()
        .flat_map(|plan| &plan.outputs)
        .map(|output| (output.bytes(), output.charge(&world.dials)))
        .collect();
    assert_eq!(charges, [(16 << 20, 16 << 20)]);
    assert_eq!(plans[0].kind, MergeKind::Cold);
    assert_eq!(
        MergeOutput::default().charge(&world.dials),
        1 << 20,
        "an object has an index, whatever is in it"
    );
}

/// Numbers of lanes begin anew with every incarnation.
#[test]
fn what_two_incarnations_adopted_lies_in_the_order_in_which_they_came() {
    let mut world = World::new(3, small());
    let mut lanes = Vec::new();
    for _ in 0..2 {
        (0..3).for_each(|_| world.adopt((0..3).map(|stream| (StreamId(stream), 1, 30))));
        lanes.push(world.me);
        world.restart();
    }
    let plans = plan(&world.catalog, &world.dials, &BTreeSet::new());
    let sources: Vec<_> = plans.iter().map(|plan| plan.sources.clone()).collect();
    let of = |lane| (0..3).map(|number| ObjectId::adopted(lane, LaneNumber(number))).collect::<Vec<_>>();
    assert_eq!(sources, [of(lanes[0]), of(lanes[1])]);
}

/// What happens to a world: uploads to some streams, trims, deletions, merges.
#[derive(Clone, Debug)]
enum Step {
    Upload(Vec<(u64, u64, u64)>),
    Trim(u64, u64),
    Delete(u64),
    Merge(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::btree_map(0u64..8, (1u64..5, 1u64..300), 1..6)
            .prop_map(|some| Step::Upload(some.into_iter().map(|(s, (r, b))| (s, r, b)).collect())),
        2 => (0u64..8, 0u64..30).prop_map(|(stream, by)| Step::Trim(stream, by)),
        1 => (0u64..8).prop_map(Step::Delete),
        3 => (0usize..4).prop_map(Step::Merge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Each plan is carried out after another thing happened, too: it stays legal while its sources are there.
    #[test]
    fn plans_are_legal_whenever_their_sources_are_there(steps in prop::collection::vec(any_step(), 1..150)) {
        let mut world = World::new(8, small());
        let mut late: Option<MergePlan> = None;
        for step in steps {
            match step {
                Step::Upload(some) => world.upload(some.into_iter().map(|(s, r, b)| (StreamId(s), r, b))),
                Step::Trim(stream, by) => {
                    if let Some(state) = world.catalog.stream(StreamId(stream)) {
                        let start = (state.start + by).min(state.base);
                        world.apply(StorageRecord::StreamTrimmed { stream: StreamId(stream), start });
                    }
                }
                Step::Delete(stream) => {
                    // Rarely all of them.
                    if world.catalog.stream_count() > 3 && world.catalog.stream(StreamId(stream)).is_some() {
                        world.apply(StorageRecord::StreamDeleted { stream: StreamId(stream) });
                    }
                }
                Step::Merge(count) => {
                    if let Some(plan) = late.take() {
                        let there = |object: &ObjectId| {
                            world.catalog.object(*object).is_some_and(|state| !state.is_condemned())
                        };
                        if plan.sources.iter().all(there) {
                            world.carry_out(&plan);
                        }
                    }
                    let mut plans = plan(&world.catalog, &world.dials, &BTreeSet::new());
                    let busy: BTreeSet<ObjectId> = plans.iter().flat_map(|p| p.sources.clone()).collect();
                    let others = plan(&world.catalog, &world.dials, &busy);
                    prop_assert!(others.iter().all(|p| p.sources.iter().all(|s| !busy.contains(s))));
                    plans.truncate(count + 1);
                    late = plans.pop();
                    plans.iter().for_each(|plan| world.carry_out(plan));
                }
            }
        }
    }
}
