//! Tables for the legality of uploads, merges, releases and deletions, and golden bytes of a snapshot with objects.

use super::rig::*;
use super::*;

/// Streams 0 and 1 of incarnation 1, each with offsets 0..10 in object 0, which has their checkpoints too.
fn uploaded() -> Log {
    let mut log = Log::new();
    log.ok(1, create(0, 1));
    log.ok(1, create(1, 1));
    log.ok(1, upload(1, (0, 2), object(1, 0), &[part(0, 0, 0, 10), part(1, 0, 0, 10)]));
    log
}

/// The same with 10..20 in object 1.
fn uploaded_twice() -> Log {
    let mut log = uploaded();
    log.ok(1, upload(1, (2, 4), object(1, 1), &[part(0, 0, 10, 20), part(1, 0, 10, 20)]));
    log
}

#[test]
fn an_upload_moves_ranges_checkpoints_and_the_trim_together() {
    let mut log = uploaded();
    assert_eq!(log.references(object(1, 0)), Some(4), "two ranges, two checkpoints");
    log.ok(1, upload(1, (2, 5), object(1, 1), &[part(0, 0, 10, 20)]));
    assert_eq!(log.ranges(0), [(0, 10, 0), (10, 20, 1)]);
    assert_eq!((log.stream(0).base, log.stream(0).checkpoint), (20, Some(object(1, 1))));
    assert_eq!((log.references(object(1, 0)), log.references(object(1, 1))), (Some(3), Some(2)));
    assert_eq!(log.catalog.lane(incarnation(1)).unwrap().trim, LaneNumber(5));
    // A state that became empty leaves no checkpoint.
    log.ok(1, upload(1, (5, 6), object(1, 2), &[bare(0, 0, 20, 21)]));
    assert_eq!((log.stream(0).checkpoint, log.references(object(1, 2))), (None, Some(1)));
    check_objects(&log.catalog);
}

#[test]
fn an_upload_may_be_several_objects_and_one_may_have_several_parts_of_a_stream() {
    let mut log = uploaded();
    log.ok(1, upload(1, (2, 2), object(1, 1), &[part(0, 0, 10, 12), part(0, 0, 12, 15)]));
    log.ok(1, upload(1, (2, 3), object(1, 2), &[part(1, 0, 10, 15)]));
    assert_eq!(log.ranges(0), [(0, 10, 0), (10, 12, 1), (12, 15, 1)]);
    assert_eq!(log.references(object(1, 1)), Some(3), "two ranges, one checkpoint: the later one");
    check_objects(&log.catalog);
}

#[test]
fn uploads_that_are_refused() {
    let mut log = uploaded();
    let go_on = [part(0, 0, 10, 20)];
    let of = |id: ObjectId| upload(1, (2, 4), id, &go_on);
    for (who, record, why) in [
        (2, of(object(2, 0)), "only"),
        (1, upload(9, (0, 0), object(1, 1), &[]), "is not registered"),
        (1, upload(1, (1, 4), object(1, 1), &go_on), "is trimmed to 2, not to 1"),
        (1, upload(1, (2, 1), object(1, 1), &go_on), "may be trimmed"),
        (1, of(object(2, 0)), "may not be introduced"),
        (1, of(object(1, 0)), "may not be introduced"),
        (1, upload(1, (2, 4), object(1, 1), &[part(0, 0, 10, 10)]), "not in order"),
        (1, upload(1, (2, 4), object(1, 1), &[part(0, 0, 20, 10)]), "not in order"),
        (1, upload(1, (2, 4), object(1, 1), &[part(1, 0, 10, 20), go_on[0]]), "not in order"),
        (1, upload(1, (2, 4), object(1, 1), &[part(0, 0, 15, 20), part(0, 0, 10, 15)]), "not in order"),
        (1, upload(1, (2, 4), object(1, 1), &[part(0, 0, 10, 15), part(0, 0, 14, 20)]), "not in order"),
        (1, upload(1, (2, 4), object(1, 1), &[part(0, 0, 9, 20)]), "does not follow"),
        (1, upload(1, (2, 4), object(1, 1), &[part(0, 0, 11, 20)]), "does not follow"),
        (1, upload(1, (2, 4), object(1, 1), &[part(0, 1, 10, 20)]), "does not follow"),
        // The first part is in place, the second is not: nothing of both.
        (1, upload(1, (2, 4), object(1, 1), &[go_on[0], part(1, 0, 11, 20)]), "does not follow"),
    ] {
        log.refused(who, record, why);
    }
    let elsewhere = StorageRecord::LaneUploaded {
        incarnation: incarnation(1),
        from: LaneNumber(2),
        trim: LaneNumber(2),
        object: NewObject { store: StoreId(7), ..new_object(object(1, 1)) },
        parts: go_on.to_vec(),
    };
    log.refused(1, elsewhere, "store 7 is not registered");
    // An ended lane's own process may not upload it, its heir not past its length.
    log.ok(2, fence(1, 5, Some(2)));
    log.refused(1, of(object(1, 1)), "only");
    log.refused(2, upload(1, (2, 6), object(2, 0), &go_on), "may be trimmed");
    log.ok(2, upload(1, (2, 5), object(2, 0), &go_on));
}

/// SAFETY F9: what a dead lane holds comes before what the next owner wrote.
#[test]
fn an_heir_uploads_the_ended_lane_before_the_next_owner_uploads() {
    let mut log = uploaded();
    log.ok(2, fence(1, 5, Some(2)));
    log.ok(2, adopt(1, Some(2)));
    let own = upload(2, (0, 3), object(2, 9), &[part(0, 1, 15, 30)]);
    log.refused(2, own.clone(), "does not follow");
    // Not wholly yet: the dead lane may hold more.
    log.ok(2, upload(1, (2, 4), object(2, 0), &[part(0, 0, 10, 12)]));
    log.refused(2, own.clone(), "does not follow");
    log.ok(2, upload(1, (4, 5), object(2, 1), &[part(0, 0, 12, 15)]));
    assert_eq!(log.lanes(0), [(1, 2, None)]);
    log.ok(2, own);
    assert_eq!(log.stream(0).ranges.iter().map(|range| range.epoch.0).collect::<Vec<_>>(), [0, 0, 0, 1]);
    log.refused(2, upload(2, (3, 3), object(2, 10), &[part(0, 0, 30, 40)]), "does not follow");
    check_objects(&log.catalog);
}

/// The old owner's lane goes on after a move: its epoch leaves the list when it is uploaded, not when the lane ends.
#[test]
fn after_a_move_each_owner_uploads_in_turn() {
    let mut log = uploaded();
    log.ok(1, seal(0, 0, 20, 2)); // in lane objects below 3
    let next = upload(2, (0, 3), object(2, 0), &[part(0, 1, 20, 30)]);
    log.refused(2, next.clone(), "does not follow");
    log.refused(1, upload(1, (2, 3), object(1, 1), &[part(0, 0, 10, 21)]), "does not follow");
    log.ok(1, upload(1, (2, 3), object(1, 1), &[part(0, 0, 10, 20)]));
    assert_eq!(log.lanes(0), [(1, 2, None)]);
    log.ok(2, next);
    // There and back: the middle epoch is in another lane.
    log.ok(2, seal(0, 1, 40, 1));
    let back = upload(1, (3, 9), object(1, 2), &[part(0, 2, 40, 50)]);
    log.refused(1, back.clone(), "does not follow");
    log.ok(2, upload(2, (3, 4), object(2, 1), &[part(0, 1, 30, 40)]));
    log.ok(1, back);
    // An epoch without records, and one that is below the log start and was trimmed past: nothing of them to wait for.
    log.ok(1, seal(0, 2, 50, 2));
    log.ok(2, seal(0, 3, 60, 1));
    log.ok(1, trim(0, 60));
    log.ok(2, upload(2, (4, 7), object(2, 2), &[]));
    log.ok(1, upload(1, (9, 10), object(1, 3), &[part(0, 4, 60, 70)]));
    assert_eq!((log.lanes(0), log.stream(0).base), (vec![(4, 1, None)], 70));
    check_objects(&log.catalog);
}

/// SAFETY L6: one stale part refuses nothing.
#[test]
fn parts_of_deleted_streams_and_dead_ones_are_dropped() {
    let mut log = uploaded();
    log.ok(1, delete(1));
    log.ok(1, trim(0, 20));
    log.ok(1, upload(1, (2, 4), object(1, 1), &[part(0, 0, 10, 20), part(1, 0, 10, 20), part(7, 0, 0, 9)]));
    assert_eq!((log.ranges(0), log.stream(0).base), (vec![], 20));
    assert_eq!(log.references(object(1, 1)), Some(1), "the checkpoint is valid, dead as its records are");
    assert!(log.catalog.object(object(1, 0)).unwrap().is_condemned());
    // Records below the log start need not be there at all; a part that reaches above it counts whole.
    log.ok(1, trim(0, 35));
    log.ok(1, upload(1, (4, 5), object(1, 2), &[part(0, 0, 30, 40)]));
    assert_eq!(log.ranges(0), [(30, 40, 2)]);
    log.refused(1, upload(1, (5, 6), object(1, 3), &[part(0, 0, 41, 50)]), "does not follow");
    // Nothing in it counts: condemned as it comes.
    log.ok(1, upload(1, (5, 6), object(1, 3), &[part(1, 0, 20, 30)]));
    assert!(log.catalog.object(object(1, 3)).unwrap().is_condemned());
    check_objects(&log.catalog);
}

/// SAFETY F19: the hole behind a lost object is excused, however late the stream goes on.
#[test]
fn what_was_lost_by_name_may_be_a_hole() {
    let mut log = uploaded();
    log.ok(2, fence(1, 9, Some(2)));
    log.ok(2, adopt(1, Some(2)));
    log.refused(2, upload(1, (2, 4), object(2, 0), &[part(0, 0, 12, 20)]), "does not follow");
    log.ok(2, lose(1, 3));
    log.ok(2, upload(1, (2, 4), object(2, 0), &[part(0, 0, 12, 20)]));
    log.ok(2, upload(1, (4, 9), object(2, 1), &[part(1, 0, 15, 20)]));
    assert_eq!(log.ranges(1), [(0, 10, 0), (15, 20, 1)]);
    // The next epoch may begin behind what was lost of this one; inside it there is no excuse.
    log.ok(2, upload(2, (0, 1), object(2, 2), &[part(0, 1, 25, 30)]));
    log.refused(2, upload(2, (1, 2), object(2, 3), &[part(0, 1, 31, 40)]), "does not follow");
    check_objects(&log.catalog);
}

#[test]
fn a_merge_takes_the_place_of_what_it_covers() {
    let mut log = uploaded_twice();
    let sources = [object(1, 0), object(1, 1)];
    // Any live incarnation may merge; stream 0 gets an object of its own.
    let outputs: &[(ObjectId, &[ObjectPart])] =
        &[(object(2, 0), &[part(0, 0, 0, 20)]), (object(2, 1), &[bare(1, 0, 0, 5), part(1, 0, 5, 20)])];
    log.ok(2, merge(&sources, outputs));
    assert_eq!(log.ranges(0), [(0, 20, 0)]);
    assert_eq!(log.ranges(1), [(0, 5, 1), (5, 20, 1)]);
    assert_eq!(log.stream(1).checkpoint, Some(object(2, 1)));
    assert_eq!((log.references(object(2, 0)), log.references(object(2, 1))), (Some(2), Some(3)));
    assert!(sources.iter().all(|source| log.catalog.object(*source).unwrap().is_condemned()));
    // The second of two that had the same plan finds its sources gone.
    let again: &[(ObjectId, &[ObjectPart])] =
        &[(object(1, 7), &[part(0, 0, 0, 20)]), (object(1, 8), &[part(1, 0, 0, 20)])];
    log.refused(1, merge(&sources, again), "is not there");
    // The stream goes on behind what was merged.
    log.ok(1, upload(1, (4, 5), object(1, 2), &[part(0, 0, 20, 30)]));
    assert_eq!(log.references(object(2, 0)), Some(1));
    check_objects(&log.catalog);
}

#[test]
fn merges_that_are_refused() {
    let mut log = uploaded_twice();
    log.ok(1, upload(1, (4, 5), object(1, 2), &[part(0, 0, 20, 30)]));
    let (two, new) = ([object(1, 0), object(1, 1)], object(2, 0));
    let one = part(1, 0, 0, 20);
    let refused: &[(&[ObjectPart], &str)] = &[
        (&[one], "stream 0 would lose what is in 0..20"),
        (&[bare(0, 0, 0, 20)], "stream 1 would lose"),
        (&[bare(0, 0, 0, 19), one], "would lose"),
        (&[bare(0, 0, 1, 20), one], "would lose"),
        (&[bare(0, 0, 0, 9), bare(0, 0, 10, 20), one], "would lose"),
        (&[bare(0, 0, 0, 21), one], "would lose"),
        (&[bare(0, 0, 0, 20), bare(0, 0, 20, 30), one], "would lose"),
        (&[bare(0, 1, 0, 20), one], "would lose"),
        (&[bare(0, 0, 0, 11), bare(0, 0, 10, 20), one], "not in order"),
        (&[one, bare(0, 0, 0, 20)], "not in order"),
        (&[bare(0, 0, 0, 20), part(0, 0, 5, 5), one], "not in order"),
        (&[bare(0, 0, 0, 5), bare(0, 0, 5, 5), bare(0, 0, 5, 20), one], "not in order"),
        // Stream 1's checkpoint is in a source, and nowhere then.
        (&[bare(0, 0, 0, 20), bare(1, 0, 0, 20)], "object 1.0-1 is referenced"),
    ];
    for (parts, why) in refused {
        log.refused(2, merge(&two, &[(new, *parts)]), why);
    }
    let whole: &[ObjectPart] = &[bare(0, 0, 0, 20), one];
    // Overlapping between two objects.
    let overlapping: &[(ObjectId, &[ObjectPart])] = &[(new, whole), (object(2, 1), &[bare(0, 0, 5, 20)])];
    log.refused(2, merge(&two, overlapping), "would lose");
    log.refused(2, merge(&two, &[(new, whole), (new, &[])]), "may not be introduced");
    log.refused(2, merge(&two, &[(object(1, 9), whole)]), "may not be introduced");
    log.refused(1, merge(&two, &[(object(1, 2), whole)]), "may not be introduced");
    log.refused(2, merge(&[two[0], two[1], object(1, 7)], &[(new, whole)]), "object 1.0-7 is not there");
    log.refused(9, merge(&two, &[(object(9, 0), whole)]), "is not registered");
    let third = log.register();
    log.ok(third, fence(2, 0, Some(third)));
    log.refused(2, merge(&two, &[(new, whole)]), "has ended");
    log.ok(third, merge(&two, &[(object(third, 0), whole)]));
    assert_eq!(log.ranges(0), [(0, 20, 0), (20, 30, 2)]);
    check_objects(&log.catalog);
}

/// Ranges of a stream that are not neighbours are replaced each by itself, and epochs stay apart.
#[test]
fn a_merge_joins_neighbours_of_one_epoch_only() {
    let mut log = uploaded_twice();
    log.ok(1, upload(1, (4, 5), object(1, 2), &[part(0, 0, 20, 30)]));
    let ends: &[ObjectPart] = &[bare(0, 0, 0, 10), part(0, 0, 20, 30), bare(1, 0, 0, 10)];
    let sources = [object(1, 0), object(1, 2)];
    log.refused(2, merge(&sources, &[(object(2, 0), &[part(0, 0, 0, 30), bare(1, 0, 0, 10)])]), "would lose");
    log.ok(2, merge(&sources, &[(object(2, 0), ends)]));
    assert_eq!(log.ranges(0), [(0, 10, 0), (10, 20, 1), (20, 30, 0)]);
    assert_eq!(
        (log.stream(0).checkpoint, log.stream(1).checkpoint),
        (Some(object(2, 0)), Some(object(1, 1)))
    );
    log.ok(1, seal(0, 0, 30, 2));
    log.ok(2, upload(2, (0, 1), object(2, 1), &[part(0, 1, 30, 40)]));
    let sources = [object(2, 0), object(2, 1)];
    let third: &[ObjectPart] = &[bare(0, 0, 0, 10), part(0, 0, 20, 40), bare(1, 0, 0, 10)];
    log.refused(2, merge(&sources, &[(object(2, 2), third)]), "would lose");
    let apart: &[ObjectPart] =
        &[bare(0, 0, 0, 10), bare(0, 0, 20, 30), part(0, 1, 30, 40), bare(1, 0, 0, 10)];
    log.ok(2, merge(&sources, &[(object(2, 2), apart)]));
    check_objects(&log.catalog);
}

#[test]
fn a_merge_that_raced_a_trim_or_a_deletion_is_accepted_with_what_is_left() {
    let sources = [object(1, 0), object(1, 1)];
    let planned: &[(ObjectId, &[ObjectPart])] =
        &[(object(2, 0), &[part(0, 0, 0, 20)]), (object(2, 1), &[bare(1, 0, 0, 10), part(1, 0, 10, 20)])];
    let run = |races: &[StorageRecord]| {
        let mut log = uploaded_twice();
        races.iter().for_each(|race| log.ok(1, race.clone()));
        log.ok(2, merge(&sources, planned));
        check_objects(&log.catalog);
        log
    };
    let log = run(&[trim(0, 4)]);
    assert_eq!(log.ranges(0), [(0, 20, 0)]);
    // Planned behind the log start: what is dead need not be copied, what is kept must be.
    let mut log = uploaded_twice();
    log.ok(1, trim(0, 4));
    let whole = part(1, 0, 0, 20);
    log.refused(2, merge(&sources, &[(object(2, 0), &[part(0, 0, 5, 20), whole])]), "would lose");
    log.ok(2, merge(&sources, &[(object(2, 0), &[part(0, 0, 4, 20), whole])]));
    assert_eq!(log.ranges(0), [(4, 20, 0)]);
    // The first source has no range of stream 0 any more.
    let log = run(&[trim(0, 14), trim(1, 5)]);
    assert_eq!((log.ranges(0), log.ranges(1)), (vec![(0, 20, 0)], vec![(0, 10, 1), (10, 20, 1)]));
    // Of stream 0 nothing but the checkpoint is left.
    let log = run(&[trim(0, 20), trim(1, 5)]);
    assert_eq!((log.ranges(0), log.ranges(1)), (vec![], vec![(0, 10, 1), (10, 20, 1)]));
    assert_eq!((log.stream(0).checkpoint, log.references(object(2, 0))), (Some(object(2, 0)), Some(1)));
    let log = run(&[delete(1)]);
    assert!(log.catalog.object(object(2, 1)).unwrap().is_condemned(), "came for nothing");
    // A newer checkpoint stays where it is.
    let log = run(&[upload(1, (4, 5), object(1, 2), &[part(0, 0, 20, 30)])]);
    assert_eq!((log.stream(0).checkpoint, log.references(object(2, 0))), (Some(object(1, 2)), Some(1)));
    // A source that lost its last reference is condemned: it may be gone already.
    let mut log = uploaded_twice();
    log.ok(1, trim(0, 10));
    log.ok(1, trim(1, 10));
    log.refused(2, merge(&sources, planned), "object 1.0-0 is not there");
}

#[test]
fn the_checkpoint_of_a_stream_without_records_is_moved_by_an_empty_part() {
    let mut log = uploaded();
    log.ok(1, trim(0, 10));
    let alone: &[ObjectPart] = &[part(0, 0, 10, 10), part(1, 0, 0, 10)];
    log.refused(2, merge(&[object(1, 0)], &[(object(2, 0), &alone[1..])]), "is referenced");
    let empty: &[ObjectPart] = &[alone[0], bare(1, 0, 0, 5), part(1, 0, 5, 5), bare(1, 0, 5, 10)];
    let mut other = Log { catalog: log.catalog.clone(), seq: log.seq };
    other.ok(2, merge(&[object(1, 0)], &[(object(2, 0), empty)]));
    assert_eq!(other.ranges(1), [(0, 5, 0), (5, 10, 0)], "an empty part is no range");
    log.ok(2, merge(&[object(1, 0)], &[(object(2, 0), alone)]));
    assert_eq!((log.ranges(0), log.stream(0).checkpoint), (vec![], Some(object(2, 0))));
    assert_eq!(log.references(object(2, 0)), Some(3));
    assert!(log.catalog.object(object(1, 0)).unwrap().is_condemned());
    check_objects(&log.catalog);
}

#[test]
fn a_rewrite_takes_the_place_of_ranges_offset_for_offset() {
    let mut log = uploaded_twice();
    log.ok(1, upload(1, (4, 6), object(1, 2), &[part(0, 0, 20, 30)]));
    log.ok(1, rewrite((0, 0), (0, 20), &[(object(1, 3), &[bare(0, 0, 0, 20)])]));
    assert_eq!(log.ranges(0), [(0, 20, 3), (20, 30, 2)]);
    assert_eq!((log.stream(0).cleaned, log.stream(0).checkpoint), (20, Some(object(1, 2))));
    assert_eq!([0, 1, 2, 3].map(|of| log.references(object(1, of)).unwrap()), [1, 2, 2, 1]);
    // In other pieces and several objects, of what a merge moved meanwhile.
    log.ok(1, merge(&[object(1, 3)], &[(object(1, 4), &[bare(0, 0, 0, 20)])]));
    let (first, second): (&[_], &[_]) = (&[bare(0, 0, 0, 5), bare(0, 0, 5, 15)], &[bare(0, 0, 15, 30)]);
    log.ok(1, rewrite((0, 0), (0, 30), &[(object(1, 5), first), (object(1, 6), second)]));
    assert_eq!(log.ranges(0), [(0, 5, 5), (5, 15, 5), (15, 30, 6)]);
    assert_eq!([5, 6].map(|of| log.references(object(1, of)).unwrap()), [2, 1]);
    assert!(log.catalog.object(object(1, 4)).unwrap().is_condemned());
    // What is below the log start by now is dropped from it, an object of nothing else with it.
    log.ok(1, trim(0, 6));
    let (first, second): (&[_], &[_]) = (&[bare(0, 0, 0, 4)], &[bare(0, 0, 4, 30)]);
    log.ok(1, rewrite((0, 0), (0, 30), &[(object(1, 7), first), (object(1, 8), second)]));
    assert_eq!(log.ranges(0), [(4, 30, 8)]);
    assert!(log.catalog.object(object(1, 7)).unwrap().is_condemned());
    // Nothing had to be written: what is clean moves alone, and never back.
    log.ok(1, upload(1, (6, 7), object(1, 9), &[part(0, 0, 30, 40)]));
    log.ok(1, rewrite((0, 0), (40, 40), &[]));
    assert_eq!((log.ranges(0), log.stream(0).cleaned), (vec![(4, 30, 8), (30, 40, 9)], 40));
    log.refused(1, rewrite((0, 0), (39, 39), &[]), "has reached");
    log.refused(1, rewrite((0, 0), (41, 41), &[]), "has reached");
    log.refused(1, rewrite((0, 0), (0, 40), &[]), "would lose");
    log.refused(2, rewrite((0, 0), (40, 40), &[]), "only");
    check_objects(&log.catalog);
}

#[test]
fn a_rewrite_keeps_epochs_and_holes() {
    let mut log = uploaded();
    log.ok(1, seal(0, 0, 10, 2));
    log.ok(2, upload(2, (0, 1), object(2, 0), &[part(0, 1, 10, 20)]));
    assert_eq!(log.ranges(0), [(0, 10, 0), (10, 20, 0)]);
    let whole: &[ObjectPart] = &[bare(0, 0, 0, 10), bare(0, 1, 10, 20)];
    let id = object(2, 5);
    log.refused(1, rewrite((0, 1), (0, 20), &[(object(1, 5), whole)]), "only");
    log.refused(2, rewrite((0, 1), (0, 20), &[(id, &[bare(0, 0, 0, 20)])]), "would lose");
    log.refused(2, rewrite((0, 1), (0, 20), &[(id, &[bare(0, 0, 0, 9), bare(0, 1, 9, 20)])]), "would lose");
    log.ok(2, rewrite((0, 1), (0, 20), &[(id, whole)]));
    assert_eq!(log.stream(0).epochs_of_ranges(), [(StreamEpoch(0), 0), (StreamEpoch(1), 10)]);
    check_objects(&log.catalog);
}

/// What an owner planned before it lost the stream comes too late, even if it has the stream again.
#[test]
fn a_rewrite_of_an_earlier_epoch_is_refused() {
    let mut log = uploaded();
    let planned = rewrite((0, 0), (0, 10), &[(object(1, 5), &[bare(0, 0, 0, 10)])]);
    log.ok(1, seal(0, 0, 10, 2));
    log.ok(2, rewrite((0, 1), (0, 10), &[(object(2, 5), &[bare(0, 0, 0, 10)])]));
    log.refused(1, planned.clone(), "only");
    log.ok(2, seal(0, 1, 10, 1));
    log.refused(1, planned, "is in epoch 2, not 0");
    log.ok(1, rewrite((0, 2), (0, 10), &[(object(1, 5), &[bare(0, 0, 0, 10)])]));
    check_objects(&log.catalog);
}

#[test]
fn rewrites_that_are_refused() {
    let mut log = uploaded_twice();
    let own = (0, 0);
    log.ok(1, rewrite(own, (0, 10), &[(object(1, 4), &[bare(0, 0, 0, 10)])]));
    let (id, other) = (object(1, 5), object(1, 6));
    let low: &[ObjectPart] = &[bare(0, 0, 0, 10)];
    let high: &[ObjectPart] = &[bare(0, 0, 10, 20)];
    let whole: &[ObjectPart] = &[bare(0, 0, 0, 20)];
    for (who, record, why) in [
        (2, rewrite(own, (0, 20), &[(object(2, 5), whole)]), "only"),
        (1, rewrite((7, 0), (0, 20), &[(id, &[bare(7, 0, 0, 20)])]), "does not exist"),
        (1, rewrite((0, 1), (0, 20), &[(id, whole)]), "is in epoch 0, not 1"),
        (1, rewrite(own, (0, 20), &[(object(1, 4), whole)]), "may not be introduced"),
        (1, rewrite(own, (0, 20), &[(id, low), (id, high)]), "may not be introduced"),
        (1, rewrite(own, (0, 20), &[(id, &[part(0, 0, 0, 20)])]), "not in order"),
        (1, rewrite(own, (0, 20), &[(id, &[bare(1, 0, 0, 20)])]), "not in order"),
        (1, rewrite(own, (0, 20), &[(id, &[bare(0, 0, 10, 20), bare(0, 0, 0, 10)])]), "not in order"),
        (1, rewrite(own, (0, 20), &[(id, high), (other, low)]), "not in order"),
        (1, rewrite(own, (0, 20), &[(id, low), (other, low)]), "not in order"),
        (1, rewrite(own, (0, 20), &[(id, low)]), "would lose"),
        (1, rewrite(own, (0, 20), &[(id, low), (other, &[])]), "would lose"),
        (1, rewrite(own, (0, 20), &[(id, &[bare(0, 0, 1, 20)])]), "would lose"),
        (1, rewrite(own, (0, 20), &[(id, &[bare(0, 0, 0, 9), bare(0, 0, 10, 20)])]), "would lose"),
        (1, rewrite(own, (0, 20), &[(id, &[])]), "would lose"),
        (1, rewrite(own, (0, 20), &[]), "would lose"),
        (1, rewrite(own, (0, 20), &[(id, &[bare(0, 1, 0, 20)])]), "would lose"),
        (1, rewrite(own, (10, 20), &[(id, &[bare(0, 0, 5, 20)])]), "would lose"),
        (1, rewrite(own, (0, 15), &[(id, &[bare(0, 0, 0, 15)])]), "would lose"),
        (1, rewrite(own, (5, 20), &[(id, &[bare(0, 0, 5, 20)])]), "would lose"),
        (1, rewrite(own, (20, 20), &[(id, &[])]), "would lose"),
        (1, rewrite((1, 0), (0, 10), &[(id, &[bare(1, 0, 0, 10), bare(1, 0, 10, 20)])]), "would lose"),
        (1, rewrite(own, (0, 21), &[(id, whole)]), "has reached"),
        (1, rewrite(own, (0, 9), &[(id, &[bare(0, 0, 0, 9)])]), "has reached"),
    ] {
        log.refused(who, record, why);
    }
    // A merge across its bounds, or a trim past all of it, spoils it.
    log.ok(1, trim(1, 20));
    log.refused(1, rewrite((1, 0), (0, 20), &[(id, &[bare(1, 0, 0, 20)])]), "would lose");
    log.ok(
        1,
        merge(&[object(1, 1), object(1, 4)], &[(object(1, 6), &[part(0, 0, 0, 20), part(1, 0, 20, 20)])]),
    );
    log.refused(1, rewrite(own, (0, 10), &[(id, low)]), "would lose");
    check_objects(&log.catalog);
}

/// SAFETY F6.
#[test]
fn what_was_released_is_not_introduced() {
    let mut log = uploaded();
    log.refused(2, release(1, 5), "only");
    log.refused(2, release(9, 5), "is not registered");
    log.ok(1, release(1, 5));
    let go_on = [part(0, 0, 10, 20)];
    log.refused(1, upload(1, (2, 3), object(1, 4), &go_on), "may not be introduced");
    // The mark never goes back.
    log.ok(1, release(1, 3));
    log.refused(1, upload(1, (2, 3), object(1, 4), &go_on), "may not be introduced");
    let rest: &[ObjectPart] = &[part(0, 0, 0, 10), part(1, 0, 0, 10)];
    log.refused(1, merge(&[object(1, 0)], &[(object(1, 4), rest)]), "may not be introduced");
    assert_eq!(log.catalog.lane(incarnation(1)).unwrap().trim, LaneNumber(2), "the lane was not trimmed");
    log.ok(1, upload(1, (2, 3), object(1, 5), &go_on));
    // Of an ended one anybody may say that nothing comes any more.
    log.ok(2, fence(1, 3, Some(2)));
    log.ok(2, release(1, u64::MAX));
    check_objects(&log.catalog);
}

/// SAFETY F7.
#[test]
fn only_the_condemned_are_deleted_and_they_never_come_back() {
    let mut log = uploaded_twice();
    log.refused(1, delete_objects(&[object(1, 0)]), "object 1.0-0 is referenced");
    log.ok(1, trim(0, 10));
    log.ok(1, trim(1, 10));
    assert!(log.catalog.object(object(1, 0)).unwrap().is_condemned());
    let rest: &[ObjectPart] = &[part(0, 0, 10, 20), part(1, 0, 10, 20)];
    log.refused(1, merge(&[object(1, 1)], &[(object(1, 0), rest)]), "may not be introduced");
    log.refused(1, merge(&[object(1, 0), object(1, 1)], &[(object(1, 2), rest)]), "is not there");
    log.refused(1, upload(1, (4, 5), object(1, 0), &[part(0, 0, 20, 30)]), "may not be introduced");
    log.refused(1, delete_objects(&[object(1, 0), object(1, 1)]), "object 1.0-1 is referenced");
    log.refused(1, delete_objects(&[object(1, 0), object(1, 7)]), "object 1.0-7 is not there");
    log.ok(2, delete_objects(&[object(1, 0)]));
    log.refused(2, delete_objects(&[object(1, 0)]), "is not there");
    assert_eq!(log.catalog.object_count(), 1);
    // A stream's deletion takes its ranges and its checkpoint.
    log.ok(1, delete(0));
    assert_eq!(log.references(object(1, 1)), Some(2));
    log.ok(1, delete(1));
    log.ok(1, delete_objects(&[object(1, 1)]));
    assert_eq!(log.catalog.object_count(), 0);
    check_objects(&log.catalog);
}

/// The second version. If this breaks, snapshots of the release that wrote it can no longer be read.
#[test]
fn a_snapshot_with_objects_keeps_its_bytes() {
    let mut log = Log::new();
    log.ok(1, create(3, 1));
    log.ok(1, upload(1, (0, 2), object(1, 4), &[part(3, 0, 0, 10)]));
    log.ok(1, release(1, 5));
    log.ok(1, upload(1, (2, 3), object(1, 6), &[bare(3, 0, 10, 12)]));
    log.ok(1, upload(1, (3, 3), object(1, 7), &[part(3, 0, 12, 13)]));
    log.ok(1, trim(3, 11));
    let golden = concat!(
        "0002",
        "0000000000000004", // version, next stream
        "00000001",
        "00",
        "0009",
        "6d656d6f72793a2f2f", // store 0: memory://
        "00000002",           // lanes
        "000000000000000100000000",
        "00000000000003e8",
        "00",
        "0000000000000003",
        "00",
        "00",
        "00000000",
        "0000000000000005", // released
        "000000000000000200000000",
        "00000000000003e9",
        "00",
        "0000000000000000",
        "00",
        "00",
        "00000000",
        "0000000000000000",
        "00000001", // streams
        "0000000000000003",
        "000000000000000100000000",
        "00000000",
        "000000000000000b",
        "000000000000000d",
        "00000001",
        "00000000",
        "000000000000000100000000",
        "00",
        "01",
        "000000000000000100000000",
        "0000000000000007", // checkpoint
        "00000002",         // ranges
        "000000000000000a",
        "000000000000000c",
        "00000000",
        "000000000000000100000000",
        "0000000000000006",
        "0000000000000014",
        "000000000000000c",
        "000000000000000c",
        "000000000000000d",
        "00000000",
        "000000000000000100000000",
        "0000000000000007",
        "000000000000000a",
        "000000000000000d",
        "00000003", // objects
        "000000000000000100000000",
        "0000000000000004",
        "00",
        "00000000000003e8",
        "00000000", // condemned
        "000000000000000100000000",
        "0000000000000006",
        "00",
        "00000000000003e8",
        "00000001",
        "000000000000000100000000",
        "0000000000000007",
        "00",
        "00000000000003e8",
        "00000002",
    );
    check_golden(&log, golden);
}

/// The third version. If this breaks, snapshots of the release that wrote it can no longer be read.
#[test]
fn a_snapshot_with_a_rewritten_stream_keeps_its_bytes() {
    let mut log = Log::new();
    log.ok(1, create(3, 1));
    log.ok(1, upload(1, (0, 2), object(1, 4), &[part(3, 0, 0, 10)]));
    log.ok(1, rewrite((3, 0), (0, 10), &[(object(1, 5), &[bare(3, 0, 0, 10)])]));
    let golden = concat!(
        "0003",
        "0000000000000004", // version, next stream
        "00000001",
        "00",
        "0009",
        "6d656d6f72793a2f2f", // store 0: memory://
        "00000002",           // lanes
        "000000000000000100000000",
        "00000000000003e8",
        "00",
        "0000000000000002",
        "00",
        "00",
        "00000000",
        "0000000000000000", // released
        "000000000000000200000000",
        "00000000000003e9",
        "00",
        "0000000000000000",
        "00",
        "00",
        "00000000",
        "0000000000000000",
        "00000001", // streams
        "0000000000000003",
        "000000000000000100000000",
        "00000000",
        "0000000000000000",
        "000000000000000a",
        "00000001",
        "00000000",
        "000000000000000100000000",
        "00",
        "01",
        "000000000000000100000000",
        "0000000000000004", // checkpoint
        "00000001",         // ranges
        "0000000000000000",
        "000000000000000a",
        "00000000",
        "000000000000000100000000",
        "0000000000000005",
        "0000000000000064",
        "000000000000000a",
        "000000000000000a", // cleaned
        "00000002",         // objects
        "000000000000000100000000",
        "0000000000000004",
        "00",
        "00000000000003e8",
        "00000001",
        "000000000000000100000000",
        "0000000000000005",
        "00",
        "00000000000003e8",
        "00000001",
    );
    check_golden(&log, golden);
}

fn check_golden(log: &Log, golden: &str) {
    let bytes = encoded(&log.catalog);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden);
    check_objects(&log.catalog);
    for length in 0..bytes.len() {
        assert!(Catalog::decode(bytes.slice(..length)).is_err(), "cut to {length}");
    }
    for position in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[position] ^= 0xff;
        if let Ok(other) = Catalog::decode(changed.clone().into()) {
            assert_eq!(encoded(&other), changed, "two encodings of one catalog, byte {position}");
        }
    }
}
