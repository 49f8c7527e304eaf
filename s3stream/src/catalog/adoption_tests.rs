//! Tables for the legality of adoptions: lane objects that the catalog refers to where they lie.

use super::rig::*;
use super::*;
use crate::ids::lane_key;

fn adopted(number: u64) -> ObjectId {
    ObjectId::adopted(incarnation(1), LaneNumber(number))
}

/// The checkpoint of a stream at `end`.
fn checkpoint(stream: u64, end: u64) -> ObjectPart {
    ObjectPart { bytes: 0, max_timestamp: -1, ..part(stream, 0, end, end) }
}

/// Streams 0 and 1 of incarnation 1, each with offsets 0..10 in lane object 0.
fn log() -> Log {
    let mut log = Log::new();
    log.ok(1, create(0, 1));
    log.ok(1, create(1, 1));
    log
}

#[test]
fn adoption_moves_ranges_checkpoints_and_the_trim_together() {
    let mut log = log();
    let first = [bare(0, 0, 0, 10), bare(1, 0, 0, 5)];
    let second = [bare(0, 0, 10, 20)];
    let states = [checkpoint(0, 20), checkpoint(1, 5)];
    log.ok(1, adopt_objects(1, (0, 3), &[(0, &first), (2, &second)], Some((object(1, 0), &states))));
    assert_eq!(log.ranges(0).len(), 2);
    assert_eq!((log.stream(0).base, log.stream(0).checkpoint), (20, Some(object(1, 0))));
    assert_eq!((log.stream(1).base, log.stream(1).checkpoint), (5, Some(object(1, 0))));
    let references = [adopted(0), adopted(1), adopted(2), object(1, 0)].map(|object| log.references(object));
    assert_eq!(references, [Some(2), None, Some(1), Some(2)]);
    assert_eq!(log.catalog.lane(incarnation(1)).unwrap().trim, LaneNumber(3));
    check_objects(&log.catalog);
    // Ordinary uploads go on from there, and take the checkpoint's place.
    log.ok(1, upload(1, (3, 4), object(1, 1), &[part(0, 0, 20, 30)]));
    assert_eq!(log.references(object(1, 0)), Some(1));
    // A state that became empty leaves no checkpoint.
    log.ok(1, adopt_objects(1, (4, 5), &[(4, &[bare(0, 0, 30, 40)])], None));
    assert_eq!((log.stream(0).checkpoint, log.references(object(1, 1))), (None, Some(1)));
    check_objects(&log.catalog);
}

#[test]
fn what_was_adopted_dies_by_its_references_and_is_never_adopted_again() {
    let mut log = log();
    log.ok(1, adopt_objects(1, (0, 2), &[(0, &[bare(0, 0, 0, 10)]), (1, &[bare(0, 0, 10, 20)])], None));
    log.ok(1, merge(&[adopted(0), adopted(1)], &[(object(1, 0), &[bare(0, 0, 0, 20)])]));
    assert!(log.catalog.object(adopted(0)).unwrap().is_condemned());
    assert_eq!(
        log.catalog.object_key(adopted(0)),
        lane_key(log.catalog.lane(incarnation(1)).unwrap().id, LaneNumber(0))
    );
    log.ok(1, delete_objects(&[adopted(0)]));
    assert_eq!(log.references(adopted(0)), None);
    log.refused(1, adopt_objects(1, (2, 3), &[(0, &[bare(0, 0, 20, 30)])], None), "may not be introduced");
    // Releasing what was begun says nothing of lanes.
    log.ok(1, release(1, u64::MAX));
    log.ok(1, adopt_objects(1, (2, 3), &[(2, &[bare(0, 0, 20, 30)])], None));
    check_objects(&log.catalog);
}

#[test]
fn adoptions_that_are_refused() {
    let mut log = log();
    log.ok(1, adopt_objects(1, (0, 1), &[(0, &[bare(0, 0, 0, 10)])], None));
    let go_on = [bare(0, 0, 10, 20)];
    let states = [checkpoint(0, 20)];
    for (who, record, why) in [
        (2, adopt_objects(1, (1, 2), &[(1, &go_on)], None), "only"),
        (1, adopt_objects(1, (0, 2), &[(1, &go_on)], None), "is trimmed to 1, not to 0"),
        (1, adopt_objects(1, (1, 2), &[(0, &go_on)], None), "may not be introduced"),
        // Above the trim that comes with it: nobody would keep it from being trimmed as one that holds nothing.
        (1, adopt_objects(1, (1, 2), &[(2, &go_on)], None), "may not be introduced"),
        (
            1,
            adopt_objects(1, (1, 3), &[(2, &go_on), (1, &[bare(0, 0, 20, 30)])], None),
            "may not be introduced",
        ),
        (1, adopt_objects(1, (1, 2), &[(1, &[part(0, 0, 10, 20)])], None), "not in order"),
        (1, adopt_objects(1, (1, 2), &[(1, &[bare(0, 0, 11, 20)])], None), "does not follow"),
        (1, adopt_objects(1, (1, 2), &[(1, &[bare(0, 1, 10, 20)])], None), "does not follow"),
        (1, adopt_objects(1, (1, 2), &[(1, &go_on)], Some((object(2, 0), &states))), "may not be introduced"),
        (1, adopt_objects(1, (1, 2), &[(1, &go_on)], Some((object(1, 0), &go_on))), "not in order"),
        // Of another stream than was adopted, and further than that.
        (
            1,
            adopt_objects(1, (1, 2), &[(1, &go_on)], Some((object(1, 0), &[checkpoint(1, 5)]))),
            "does not follow",
        ),
        (
            1,
            adopt_objects(1, (1, 2), &[(1, &go_on)], Some((object(1, 0), &[checkpoint(0, 21)]))),
            "does not follow",
        ),
    ] {
        log.refused(who, record, why);
    }
}

/// SAFETY L6, F9: as for other uploads.
#[test]
fn an_heir_adopts_and_what_was_deleted_is_dropped() {
    let mut log = log();
    log.ok(2, fence(1, 5, Some(2)));
    log.ok(2, lose(1, 0));
    log.refused(2, adopt_objects(1, (0, 5), &[(0, &[bare(0, 0, 0, 3)])], None), "may not be introduced");
    log.ok(2, delete(1));
    let parts = [bare(0, 0, 3, 10), bare(1, 0, 0, 9)];
    let states = [checkpoint(0, 10), checkpoint(1, 9)];
    let adoption = adopt_objects(1, (0, 5), &[(1, &parts)], Some((object(2, 0), &states)));
    log.refused(1, adoption.clone(), "only");
    log.ok(2, adoption);
    assert_eq!((log.references(adopted(1)), log.references(object(2, 0))), (Some(1), Some(1)));
    assert_eq!(log.stream(0).base, 10);
    check_objects(&log.catalog);
}

/// A lane is read from its trim on: an object above could be condemned, deleted and missed, or be adopted a second time.
#[test]
fn what_the_trim_does_not_pass_is_not_adopted() {
    let mut log = log();
    log.refused(1, adopt_objects(1, (0, 0), &[(0, &[bare(0, 0, 0, 10)])], None), "may not be introduced");
    log.refused(1, adopt_objects(1, (0, 1), &[(1, &[bare(0, 0, 0, 10)])], None), "may not be introduced");
    log.ok(1, adopt_objects(1, (0, 1), &[(0, &[bare(0, 0, 0, 10)])], None));
    log.ok(1, adopt_objects(1, (1, 2), &[(1, &[bare(0, 0, 10, 20)])], None));
    assert_eq!(log.stream(0).base, 20);
    check_objects(&log.catalog);
}
