//! Tables for the legality of changes, properties of random histories, golden bytes of a snapshot.

use proptest::prelude::*;

use super::rig::*;
use super::*;

/// SAFETY F3: there are three ways to a new owner, and each needs its proof.
#[test]
fn a_new_owner_needs_a_proof_about_the_old_one() {
    let mut log = Log::new();
    log.ok(0, create(0, 1));
    log.refused(2, open(0, Some(2)), "has not ended");
    log.refused(2, adopt(1, Some(2)), "has not ended");
    log.refused(2, seal(0, 0, 10, 2), "only");
    // Sealed by its owner's own incarnation.
    log.ok(1, seal(0, 0, 10, 2));
    assert_eq!((log.stream(0).owner, log.stream(0).epoch), (incarnation(2), StreamEpoch(1)));
    log.refused(1, seal(0, 0, 20, 2), "only");
    // The owner's lane was fenced.
    log.ok(1, fence(2, 5, Some(1)));
    assert_eq!(log.catalog.streams_without_owner().count(), 1);
    log.ok(1, open(0, Some(1)));
    assert_eq!(log.lanes(0), [(0, 1, Some(10)), (1, 2, None), (2, 1, None)]);
    // The owner left, and a registration adopts all in its own mutation: None is the incarnation it registers.
    log.ok(1, leave(1, 9));
    log.seq += 1;
    let point = at(log.seq, None);
    log.catalog.apply(point, &StorageRecord::LaneRegistered { nonce: Nonce(1), store: StoreId(0) }).unwrap();
    log.catalog.apply(point, &adopt(1, None)).unwrap();
    assert_eq!((log.stream(0).owner.seq, log.stream(0).epoch), (log.seq, StreamEpoch(3)));
    assert_eq!(log.catalog.streams_without_owner().count(), 0);
    // The owner's own LaneEnded, and only its own.
    let owner = log.seq;
    let other = log.register();
    log.refused(other, end(owner, 3), "only");
    log.ok(owner, end(owner, 3));
    log.ok(other, adopt(owner, Some(other)));
}

#[test]
fn only_the_living_own_streams() {
    let mut log = Log::new();
    log.refused(1, create(0, 9), "is not registered");
    log.ok(1, fence(2, 0, Some(1)));
    log.refused(1, create(0, 2), "has ended");
    log.ok(1, create(0, 1));
    log.refused(1, seal(0, 0, 0, 2), "has ended");
    log.refused(1, seal(0, 0, 0, 1), "to itself");
    log.refused(1, seal(0, 1, 0, 2), "is in epoch 0, not 1");
    let third = log.register();
    log.ok(third, fence(1, 4, Some(third)));
    log.refused(1, seal(0, 0, 10, third), "has ended");
    log.refused(1, trim(0, 1), "has ended");
    log.refused(third, adopt(1, Some(2)), "has ended");
    log.refused(third, adopt(1, None), "is not registered");
}

#[test]
fn a_lane_ends_once_and_not_below_its_trim() {
    let mut log = Log::new();
    log.refused(2, trim_lane(1, 5), "only");
    log.ok(1, trim_lane(1, 5));
    log.refused(1, trim_lane(1, 4), "may be trimmed");
    log.refused(2, fence(1, 4, Some(2)), "trimmed to 5");
    log.refused(2, fence(1, 5, Some(1)), "to itself");
    log.refused(2, fence(1, 5, Some(9)), "is not registered");
    log.refused(2, leave(1, 5), "only");
    log.ok(2, fence(1, 7, Some(2)));
    assert!(!log.catalog.is_live(incarnation(1)));
    for again in [fence(1, 7, Some(2)), fence(1, 9, Some(2))] {
        log.refused(2, again, "has ended");
    }
    log.refused(1, leave(1, 7), "has ended");
    log.refused(1, end(1, 7), "has ended");
    // The heir alone trims it, up to its length.
    log.refused(1, trim_lane(1, 6), "only");
    log.refused(2, trim_lane(1, 8), "may be trimmed");
    log.ok(2, trim_lane(1, 7));
    assert!(log.catalog.lane(incarnation(1)).unwrap().is_spent());
}

#[test]
fn an_heir_that_goes_is_replaced() {
    let mut log = Log::new();
    let third = log.register();
    log.refused(third, heir(1, Some(third)), "has not ended");
    log.ok(2, fence(1, 7, Some(2)));
    assert_eq!(log.catalog.lanes_without_heir().count(), 0);
    log.ok(third, fence(2, 1, Some(third)));
    let orphans: Vec<u64> = log.catalog.lanes_without_heir().map(|(lane, _)| lane.seq).collect();
    assert_eq!(orphans, [1]);
    log.ok(third, heir(1, Some(third)));
    log.ok(third, trim_lane(1, 7));
    assert_eq!(log.catalog.lanes_without_heir().count(), 0);
}

#[test]
fn ids_and_urls_are_not_reused() {
    let mut log = Log::new();
    log.ok(0, store(0, "memory://"));
    log.refused(0, store(0, "memory://other"), "is memory://, not");
    log.refused(0, store(1, &"x".repeat(URL_BYTES_MAX + 1)), "2049 bytes");
    log.refused(0, StorageRecord::LaneRegistered { nonce: Nonce(0), store: StoreId(1) }, "not registered");
    let twice = at(1, None);
    let registration = StorageRecord::LaneRegistered { nonce: Nonce(0), store: StoreId(0) };
    assert_eq!(log.catalog.apply(twice, &registration), Err(Illegal::RegisteredAlready(incarnation(1))));
    log.ok(1, create(3, 1));
    log.refused(1, create(3, 1), "below the next id, 4");
    log.ok(1, delete(3));
    log.refused(1, delete(3), "does not exist");
    log.refused(1, create(3, 1), "below the next id");
    log.refused(1, create(u64::MAX, 1), "no number after");
    assert_eq!(log.catalog.registered_as(Nonce(1001)), Some(incarnation(2)));
}

#[test]
fn offsets_of_a_stream_do_not_go_back() {
    let mut log = Log::new();
    log.ok(1, create(0, 1));
    log.ok(1, trim(0, 20));
    log.refused(1, trim(0, 19), "has reached 20");
    log.refused(2, trim(0, 30), "only");
    log.refused(1, seal(0, 0, 19, 2), "has reached 20");
    log.ok(1, seal(0, 0, 40, 2));
    log.refused(2, seal(0, 1, 39, 1), "has reached 40");
    log.ok(2, seal(0, 1, 40, 1));
    assert_eq!(log.lanes(0), [(0, 1, Some(40)), (1, 2, Some(40)), (2, 1, None)]);
}

/// SAFETY F9: an entry stays until its lane holds nothing any more, however often the stream moves on.
#[test]
fn lanes_leave_a_streams_list_when_they_are_spent() {
    let mut log = Log::new();
    log.ok(1, create(0, 1));
    log.ok(2, fence(1, 6, Some(2)));
    log.ok(2, adopt(1, Some(2)));
    let third = log.register();
    log.ok(third, fence(2, 4, Some(third)));
    log.ok(third, heir(1, Some(third)));
    log.ok(third, adopt(2, Some(third)));
    assert_eq!(log.lanes(0), [(0, 1, None), (1, 2, None), (2, third, None)]);
    log.ok(third, trim_lane(1, 6));
    assert_eq!(log.lanes(0), [(1, 2, None), (2, third, None)]);
    // A lane that ended empty never held anything.
    let fourth = log.register();
    log.ok(fourth, fence(third, 0, Some(fourth)));
    log.ok(fourth, adopt(third, Some(fourth)));
    assert_eq!(log.lanes(0), [(1, 2, None), (3, fourth, None)]);
    // What a spent lane's seal said is remembered: the next epoch does not begin below it.
    let fifth = log.register();
    log.ok(fourth, seal(0, 3, 90, fifth));
    log.ok(fifth, fence(fourth, 10, Some(fifth)));
    log.ok(fifth, trim_lane(fourth, 10));
    assert_eq!(log.lanes(0), [(1, 2, None), (3, fourth, Some(90)), (4, fifth, None)]);
    log.ok(fifth, heir(2, Some(fifth)));
    log.ok(fifth, trim_lane(2, 4));
    assert_eq!((log.lanes(0), log.stream(0).base), (vec![(4, fifth, None)], 90));
}

/// SAFETY F19.
#[test]
fn a_loss_is_accepted_by_name_once_and_where_it_can_be() {
    let mut log = Log::new();
    log.refused(1, lose(1, 0), "has not ended");
    log.ok(1, trim_lane(1, 2));
    log.ok(2, fence(1, 6, Some(2)));
    for outside in [0, 1, 6, 7] {
        log.refused(2, lose(1, outside), "cannot be given up");
    }
    log.ok(2, lose(1, 5));
    log.ok(2, lose(1, 3));
    log.refused(2, lose(1, 3), "cannot be given up");
    assert_eq!(*log.catalog.lane(incarnation(1)).unwrap().lost, [LaneNumber(3), LaneNumber(5)]);
    // It excuses the hole of a stream that goes on behind the trim.
    log.ok(2, trim_lane(1, 4));
    assert_eq!(*log.catalog.lane(incarnation(1)).unwrap().lost, [LaneNumber(3), LaneNumber(5)]);
}

#[test]
fn the_plan_reads_every_lane_once_and_says_what_counts() {
    let mut log = Log::new();
    let third = log.register();
    for stream in 0..3 {
        log.ok(1, create(stream, 1));
    }
    log.ok(1, trim(0, 5));
    log.ok(1, seal(1, 0, 30, 2)); // in lane objects below 4
    log.ok(1, seal(2, 0, 50, third)); // below 6
    log.ok(third, fence(2, 9, Some(third)));
    log.ok(third, adopt(2, Some(third)));
    // Stream 0 goes on in lane 1, which is open: nothing to recover. Lane 1 is read as far as streams 1 and 2 need it.
    let plan = log.catalog.recovery([StreamId(0), StreamId(1), StreamId(2), StreamId(77)]);
    let spans: Vec<_> =
        plan.lanes.iter().map(|l| (l.id.incarnation.seq, l.from.0, l.below.0, l.seal_nonce)).collect();
    assert_eq!(spans, [(1, 0, 6, None), (2, 0, 9, Some(Nonce(7)))]);
    let clips: Vec<Vec<_>> = plan
        .streams
        .iter()
        .map(|s| s.epochs.iter().map(|e| (e.epoch.0, e.lane, e.below.0, e.end)).collect())
        .collect();
    assert_eq!(clips, [vec![], vec![(0, 0, 4, Some(30)), (1, 1, 9, None)], vec![(0, 0, 6, Some(50))]]);
    assert_eq!(plan.streams[0].start, 5);
    // Once lane 1 has ended it is read whole, for what it may hold of stream 0.
    log.ok(third, fence(1, 8, Some(third)));
    log.ok(third, lose(1, 2));
    let plan = log.catalog.recovery([StreamId(0), StreamId(1)]);
    assert_eq!((plan.lanes[0].below, &plan.lanes[0].lost[..]), (LaneNumber(8), &[LaneNumber(2)][..]));
    assert_eq!((plan.streams[0].epochs[0].below, plan.streams[0].epochs[0].end), (LaneNumber(8), None));
    assert_eq!(plan.streams[1].epochs[0].below, LaneNumber(4));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "prints how long it took")]
fn adopting_ten_thousand_streams_copies_what_it_must() {
    let mut log = Log::new();
    for stream in 0..10_000 {
        log.ok(1, create(stream, 1));
    }
    log.ok(2, fence(1, 5, Some(2)));
    let before = log.catalog.clone();
    let start = std::time::Instant::now();
    log.catalog.apply(at(log.seq + 1, Some(incarnation(2).seq)), &adopt(1, Some(2))).unwrap();
    println!("adopted 10,000 streams in {:?}", start.elapsed());
    assert_eq!(before.streams_of(incarnation(1)).count(), 10_000);
    assert_eq!(log.catalog.streams_of(incarnation(2)).count(), 10_000);
    assert!(log.catalog.streams().all(|(_, state)| state.epoch == StreamEpoch(1)));
    let start = std::time::Instant::now();
    let bytes = encoded(&log.catalog);
    let encode = start.elapsed();
    let decoded = Catalog::decode(bytes.clone()).unwrap();
    println!(
        "{} bytes, hint {}: encoded in {encode:?}, both {:?}",
        bytes.len(),
        decoded.size_hint(),
        start.elapsed()
    );
    assert_eq!(decoded, log.catalog);
    assert!(bytes.len() < 2 * decoded.size_hint() && decoded.size_hint() < 2 * bytes.len());
}

/// Written by the first release. If this breaks, snapshots of that release can no longer be read.
#[test]
fn a_snapshot_keeps_its_bytes() {
    let mut log = Log::new();
    log.ok(1, create(3, 1));
    log.ok(1, trim(3, 4));
    log.ok(1, seal(3, 0, 20, 2));
    log.ok(2, fence(1, 5, Some(2)));
    log.ok(2, lose(1, 2));
    let golden = concat!(
        "0001",
        "0000000000000004", // version, next stream
        "00000001",
        "00",
        "0009",
        "6d656d6f72793a2f2f", // store 0: memory://
        "00000002",           // lanes
        "000000000000000100000000",
        "00000000000003e8",
        "00",
        "0000000000000000",
        "01",
        "0000000000000005",
        "0000000000000007",
        "01000000000000000200000000",
        "00000001",
        "0000000000000002",
        "000000000000000200000000",
        "00000000000003e9",
        "00",
        "0000000000000000",
        "00",
        "00",
        "00000000",
        "00000001", // streams
        "0000000000000003",
        "000000000000000200000000",
        "00000001",
        "0000000000000004",
        "0000000000000000",
        "00000002",
        "00000000",
        "000000000000000100000000",
        "01",
        "0000000000000014",
        "0000000000000003",
        "00000001",
        "000000000000000200000000",
        "00",
    );
    let hex: String = encoded(&log.catalog).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden);
}

#[test]
fn a_cut_or_changed_snapshot_is_refused_or_another_one() {
    let mut log = Log::new();
    log.ok(1, create(0, 1));
    log.ok(1, create(1, 1));
    log.ok(1, seal(1, 0, 5, 2));
    log.ok(2, fence(1, 5, Some(2)));
    log.ok(2, lose(1, 2));
    let bytes = encoded(&log.catalog);
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

fn any_record() -> impl Strategy<Value = StorageRecord> {
    let lane = || 1u64..7;
    let to = || prop_oneof![3 => (1u64..7).prop_map(Some), 1 => Just(None)];
    let stream = || 0u64..5;
    prop_oneof![
        3 => (0u64..9).prop_map(|n| StorageRecord::LaneRegistered { nonce: Nonce(n), store: StoreId(0) }),
        1 => (lane(), 0u64..8, to()).prop_map(|(of, length, heir)| fence(of, length, heir)),
        1 => (lane(), 0u64..8).prop_map(|(of, length)| leave(of, length)),
        1 => (lane(), 0u64..8).prop_map(|(of, length)| end(of, length)),
        1 => (lane(), to()).prop_map(|(of, to)| heir(of, to)),
        2 => (lane(), 0u64..8).prop_map(|(of, trim)| trim_lane(of, trim)),
        4 => (stream(), lane()).prop_map(|(stream, owner)| create(stream, owner)),
        1 => stream().prop_map(delete),
        2 => (stream(), to()).prop_map(|(stream, to)| open(stream, to)),
        3 => (lane(), to()).prop_map(|(from, to)| adopt(from, to)),
        4 => (stream(), 0u32..4, 0u64..40, lane()).prop_map(|(s, epoch, end, to)| seal(s, epoch, end, to)),
        1 => (stream(), 0u64..40).prop_map(|(stream, start)| trim(stream, start)),
        1 => (lane(), 0u64..8).prop_map(|(of, number)| lose(of, number)),
    ]
}

/// What must hold in every image, however it came about.
fn check_invariants(before: &Catalog, after: &Catalog) {
    for (incarnation, lane) in before.lanes() {
        let now = after.lane(incarnation).expect("lanes are never forgotten");
        assert!(lane.is_open() || lane.end == now.end, "what ended stays so");
        assert!(now.trim >= lane.trim && now.end.length().is_none_or(|length| now.trim <= length));
    }
    assert!(after.next_stream() >= before.next_stream());
    for (stream, state) in after.streams() {
        assert!(stream < after.next_stream());
        assert!(state.lanes.windows(2).all(|pair| pair[0].epoch < pair[1].epoch), "{state:?}");
        let spent = after.lane(state.owner).expect("registered").is_spent();
        match state.lanes.last() {
            Some(last) if !spent => {
                assert_eq!((last.epoch, last.incarnation, last.sealed), (state.epoch, state.owner, None))
            }
            _ => assert!(spent, "a stream whose owner's lane may hold records lists it: {state:?}"),
        }
        // Of any two owners the older was proven silent: sealed, or its lane ended.
        for entry in state.lanes.iter().rev().skip(usize::from(!spent)) {
            assert!(entry.sealed.is_some() || !after.is_live(entry.incarnation), "{state:?}");
        }
        let Some(was) = before.stream(stream) else { continue };
        assert!(state.epoch >= was.epoch && state.start >= was.start && state.base >= was.base);
        assert!(state.end_at_least() >= was.end_at_least());
        if state.owner != was.owner {
            assert_eq!(state.epoch.0, was.epoch.0 + 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_invariants(history in prop::collection::vec((any_record(), 0u64..7), 1..80)) {
        let mut catalog = Catalog::new();
        catalog.apply(at(0, None), &store(0, "memory://")).unwrap();
        let mut applied = 0;
        for (seq, (record, proposer)) in history.into_iter().enumerate() {
            let before = catalog.clone();
            // Numbers are small so that registrations meet the incarnations that other records name.
            let point = at(catalog.lanes().count() as u64 + 1, Some(proposer));
            match catalog.apply(point, &record) {
                Ok(()) => applied += 1,
                Err(_) => prop_assert_eq!(&catalog, &before, "{:?} at {} was refused and changed something", record, seq),
            }
            check_invariants(&before, &catalog);
            let bytes = encoded(&catalog);
            let decoded = Catalog::decode(bytes.clone()).unwrap();
            prop_assert_eq!(&decoded, &catalog);
            prop_assert_eq!(encoded(&decoded), bytes);
            let _plan = catalog.recovery(catalog.streams().map(|(stream, _)| stream));
        }
        prop_assert!(applied <= 80);
    }
}
