//! Tables for folding and judging, and the property that boot and replay are the same.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::journal::commit::Mutation;
use crate::journal::draft::{Admitted, Draft};
use crate::journal::tests::toy::{Toy, ToyRecord};

type Toys = JournalImage<Toy>;

fn genesis() -> Toys {
    JournalImage::genesis(Toy::with_level_max(3), 1, Times::default())
}

fn of(incarnation: Incarnation, counter: u64) -> MutationId {
    MutationId::Of { incarnation, counter }
}

fn user(records: &[ToyRecord]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for record in records {
        let mut out = BytesMut::new();
        record.encode(&mut out);
        entries.push(Entry::User(out.freeze()));
    }
    entries
}

/// A commit by `writer` after `image`, legal or not.
fn commit(image: &Toys, writer: Option<Incarnation>, mutations: Vec<Mutation>) -> Commit {
    Commit {
        level: image.level,
        seq: image.seq + 1,
        writer,
        nonce: Nonce(image.seq),
        prev_chain: image.chain,
        idle_ms: 750,
        p99_ms: 10,
        mutations,
    }
}

fn fold(image: &Toys, commit: &Commit) -> Folded<Toy> {
    let (bytes, chain) = commit.encode();
    image.fold(commit, chain, bytes.len()).expect("continues the image")
}

fn election(image: &Toys, nonce: u64, name: u32) -> Commit {
    let mut entries = vec![Entry::Journal(JournalRecord::ControllerElected)];
    entries.extend(user(&[ToyRecord::Register(name)]));
    commit(image, None, vec![Mutation { id: MutationId::Registration { nonce: Nonce(nonce) }, entries }])
}

/// An image with one member, which is controller.
fn governed() -> (Toys, Incarnation) {
    let image = fold(&genesis(), &election(&genesis(), 1, 1)).into_image();
    let a = image.controller.expect("elected");
    (image, a)
}

fn expect_void(image: &Toys, commit: &Commit, why: fn(&Refusal) -> bool) {
    match fold(image, commit) {
        Folded::Void(next, refusal) if why(&refusal) => {
            let untouched = Toys {
                seq: next.seq,
                chain: next.chain,
                log_bytes: next.log_bytes,
                voids: next.voids,
                ..image.clone()
            };
            assert_eq!(next.encode(), untouched.encode(), "a void commit changes nothing");
            assert_eq!((next.seq, next.voids), (image.seq + 1, image.voids + 1));
        }
        other => panic!("expected void, got {other:?}"),
    }
}

#[test]
fn an_election_carries_the_registration_of_a_process_that_has_none() {
    let (image, a) = governed();
    assert_eq!(a, Incarnation { seq: 1, index: 0 });
    assert_eq!(image.incarnation_of(Nonce(1)), Some(a));
    assert!(image.inner.is_live(a));
}

#[test]
fn a_commit_by_anybody_but_the_controller_is_void_as_a_whole() {
    let (image, a) = governed();
    let stranger = Incarnation { seq: 9, index: 9 };
    let mutation = Mutation { id: of(a, 1), entries: user(&[ToyRecord::Add(1)]) };
    for writer in [None, Some(stranger)] {
        let bad = commit(&image, writer, vec![mutation.clone()]);
        expect_void(&image, &bad, |r| matches!(r, Refusal::NotController { .. }));
    }
    assert!(matches!(fold(&image, &commit(&image, Some(a), vec![mutation])), Folded::Next(_)));
}

#[test]
fn one_illegal_mutation_makes_the_whole_commit_void() {
    let (image, a) = governed();
    let good = Mutation { id: of(a, 1), entries: user(&[ToyRecord::Add(1)]) };
    let bad = Mutation { id: of(a, 2), entries: user(&[ToyRecord::Remove(99)]) };
    let void = commit(&image, Some(a), vec![good.clone(), bad]);
    expect_void(&image, &void, |r| matches!(r, Refusal::Illegal(i) if i.code == 3));
    // The next number goes on behind it, and the mutation that was legal may come again.
    let next = fold(&image, &void).into_image();
    assert!(matches!(fold(&next, &commit(&next, Some(a), vec![good])), Folded::Next(_)));
}

#[test]
fn a_mismatch_of_the_chain_or_the_number_is_not_judged() {
    let (image, a) = governed();
    let mut other = commit(&image, Some(a), vec![]);
    other.prev_chain ^= 1;
    let (bytes, chain) = other.encode();
    assert!(matches!(image.fold(&other, chain, bytes.len()), Err(FoldError::ChainMismatch { .. })));
    other.seq += 1;
    assert!(matches!(image.fold(&other, chain, bytes.len()), Err(FoldError::NotNext { held: 1, found: 3 })));
}

#[test]
fn a_record_of_a_later_release_stops_and_is_never_void() {
    let (image, a) = governed();
    let unknown = Mutation { id: of(a, 1), entries: vec![Entry::User(Bytes::from_static(&[99]))] };
    let commit = commit(&image, Some(a), vec![unknown]);
    let folded = image.fold(&commit, 7, 100);
    assert!(matches!(folded, Err(FoldError::Record { error: DecodeError::Unknown(_), .. })));
}

#[test]
fn records_of_another_feature_level_are_void() {
    let (image, a) = governed();
    let mut other = commit(&image, Some(a), vec![]);
    other.level = 2;
    expect_void(&image, &other, |r| matches!(r, Refusal::Own(_)));
}

#[test]
fn counters_return_kept_results_or_are_refused_for_ever() {
    let (mut image, a) = governed();
    for counter in (2..=200).step_by(2) {
        let mutation = Mutation { id: of(a, counter), entries: user(&[ToyRecord::Add(counter)]) };
        image = fold(&image, &commit(&image, Some(a), vec![mutation])).into_image();
    }
    let newest = Committed { seq: image.seq, index: 0 };
    assert_eq!(image.known(of(a, 200)), Ok(Some(newest)));
    assert_eq!(image.known(of(a, 202)), Ok(None));
    // Abandoned below a later one: refused for ever; so is one whose result is not kept any more.
    assert_eq!(image.known(of(a, 199)), Err(Refusal::TooOld { counter: 199, highest: 200 }));
    assert!(matches!(image.known(of(a, 200 - 2 * 63)), Ok(Some(_))));
    assert!(matches!(image.known(of(a, 200 - 2 * 64)), Err(Refusal::TooOld { .. })));
    let again = Mutation { id: of(a, 200), entries: vec![] };
    expect_void(&image, &commit(&image, Some(a), vec![again]), |r| *r == Refusal::Applied);
}

#[test]
fn mutations_of_the_fenced_are_refused_and_a_controller_that_leaves_is_none() {
    let (image, a) = governed();
    let join = Mutation {
        id: MutationId::Registration { nonce: Nonce(2) },
        entries: user(&[ToyRecord::Register(2)]),
    };
    let image = fold(&image, &commit(&image, Some(a), vec![join])).into_image();
    let b = image.incarnation_of(Nonce(2)).unwrap();
    let fence =
        |who| Mutation { id: of(a, image.highest_counter(a) + 1), entries: user(&[ToyRecord::Fence(who)]) };
    let fenced = fold(&image, &commit(&image, Some(a), vec![fence(b)])).into_image();
    assert_eq!(fenced.known(of(b, 1)), Err(Refusal::NotLive(b)));
    let by_b = Mutation { id: of(b, 1), entries: vec![] };
    expect_void(&fenced, &commit(&fenced, Some(a), vec![by_b]), |r| matches!(r, Refusal::NotLive(_)));
    let left = fold(&image, &commit(&image, Some(a), vec![fence(a)])).into_image();
    assert_eq!(left.controller, None);
    expect_void(&left, &commit(&left, Some(a), vec![]), |r| matches!(r, Refusal::NotController { .. }));
}

#[test]
fn three_registrations_in_one_commit_are_three_incarnations() {
    let (image, a) = governed();
    let join = |nonce: u64| Mutation {
        id: MutationId::Registration { nonce: Nonce(nonce) },
        entries: user(&[ToyRecord::Register(nonce as u32)]),
    };
    let image = fold(&image, &commit(&image, Some(a), vec![join(2), join(3), join(4)])).into_image();
    let incarnations: Vec<_> = (2..=4).map(|n| image.incarnation_of(Nonce(n)).unwrap()).collect();
    assert_eq!(incarnations, [0, 1, 2].map(|index| Incarnation { seq: 2, index }));
    // A request that is repeated returns the same, and in a commit it would be void.
    assert_eq!(image.known(join(3).id), Ok(Some(Committed { seq: 2, index: 1 })));
    expect_void(&image, &commit(&image, Some(a), vec![join(3)]), |r| *r == Refusal::Applied);
}

#[test]
fn a_registration_must_register_and_the_dead_are_forgotten_in_order() {
    let (mut image, a) = governed();
    let nobody = Mutation { id: MutationId::Registration { nonce: Nonce(9) }, entries: vec![] };
    expect_void(&image, &commit(&image, Some(a), vec![nobody]), |r| *r == Refusal::RegistersNobody);
    // The same name over and over: each fences the one before.
    for n in 0..REGISTRATIONS_KEPT as u64 + 10 {
        let id = MutationId::Registration { nonce: Nonce(1000 + n) };
        let join = Mutation { id, entries: user(&[ToyRecord::Register(2)]) };
        image = fold(&image, &commit(&image, Some(a), vec![join])).into_image();
    }
    assert_eq!(image.registrations.len(), REGISTRATIONS_KEPT);
    assert_eq!(image.incarnation_of(Nonce(1)), Some(a), "the living stay");
    assert_eq!(image.incarnation_of(Nonce(1000)), None);
    assert_eq!(image.live_members(), 2);
}

#[test]
fn an_election_is_the_first_record_of_a_commit_or_void() {
    let (image, a) = governed();
    let elected = || vec![Entry::Journal(JournalRecord::ControllerElected)];
    let second =
        vec![Mutation { id: of(a, 1), entries: vec![] }, Mutation { id: of(a, 2), entries: elected() }];
    expect_void(&image, &commit(&image, Some(a), second), |r| matches!(r, Refusal::Own(_)));
    let dead = Incarnation { seq: 5, index: 5 };
    let by_nobody = commit(&image, Some(dead), vec![Mutation { id: of(dead, 1), entries: elected() }]);
    expect_void(&image, &by_nobody, |r| matches!(r, Refusal::NotLive(_)));
    let for_another = commit(&image, Some(dead), vec![Mutation { id: of(a, 1), entries: elected() }]);
    expect_void(&image, &for_another, |r| matches!(r, Refusal::NotController { .. }));
}

#[test]
fn the_effective_lease_grows_with_p99_and_with_promised_silence() {
    let (mut image, _) = governed();
    image.idle_ms = 750;
    assert_eq!(image.effective_lease(), Duration::from_millis(2250));
    image.p99_ms = 10_000;
    assert_eq!(image.effective_lease(), Duration::from_secs(40));
    (image.p99_ms, image.idle_ms) = (0, SOLE_IDLE_MS);
    assert_eq!(image.effective_lease(), Duration::from_millis(61_500));
}

/// What a random history may do; whatever is illegal is refused or void.
#[derive(Clone, Debug)]
enum Step {
    Register(u8),
    Add(u8, u8),
    Remove(u8, u8),
    Fence(u8, u8),
    Elect(u8),
    Resign,
    Snapshot,
    Level(u16),
    Void,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..6u8).prop_map(Step::Register),
        8 => (0..6u8, 0..20u8).prop_map(|(w, k)| Step::Add(w, k)),
        4 => (0..6u8, 0..20u8).prop_map(|(w, k)| Step::Remove(w, k)),
        1 => (0..6u8, 0..6u8).prop_map(|(w, k)| Step::Fence(w, k)),
        2 => (0..6u8).prop_map(Step::Elect),
        1 => Just(Step::Resign),
        2 => Just(Step::Snapshot),
        1 => (0..4u16).prop_map(Step::Level),
        1 => Just(Step::Void),
    ]
}

/// Makes a log of the steps, as controllers would: drafts by whoever is controller, now and then a void commit.
fn log_of(steps: &[Step]) -> Vec<Bytes> {
    let mut image = genesis();
    let mut log: Vec<Bytes> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let member = |w: u8| image.inner.live.keys().nth(w as usize % image.inner.live.len().max(1)).copied();
        let own_id = |who: Incarnation| of(who, image.highest_counter(who) + 1 + (i as u64 % 2));
        let mut writer = image.controller;
        let (id, own, records): (Option<MutationId>, Vec<JournalRecord>, Vec<ToyRecord>) = match step {
            Step::Register(w) => {
                let id = MutationId::Registration { nonce: Nonce(i as u64 + 1) };
                let own = if writer.is_none() { vec![JournalRecord::ControllerElected] } else { vec![] };
                (Some(id), own, vec![ToyRecord::Register(u32::from(*w))])
            }
            Step::Add(w, k) => (
                member(*w).map(own_id),
                vec![],
                vec![ToyRecord::Add(u64::from(*k)), ToyRecord::Add(100 + i as u64)],
            ),
            Step::Remove(w, k) => (member(*w).map(own_id), vec![], vec![ToyRecord::Remove(u64::from(*k))]),
            Step::Fence(w, k) => {
                (member(*w).map(own_id), vec![], member(*k).map(ToyRecord::Fence).into_iter().collect())
            }
            Step::Elect(w) => {
                writer = member(*w);
                (writer.map(own_id), vec![JournalRecord::ControllerElected], vec![])
            }
            Step::Resign => (writer.map(own_id), vec![JournalRecord::ControllerResigned], vec![]),
            Step::Snapshot => {
                let taken = JournalRecord::SnapshotTaken {
                    seq: image.seq,
                    log_bytes: image.log_bytes,
                    manifest_crc: i as u32,
                };
                (writer.map(own_id), vec![taken], vec![])
            }
            Step::Level(level) => {
                (writer.map(own_id), vec![JournalRecord::FeatureLevelSet { level: *level }], vec![])
            }
            Step::Void => {
                let void = commit(&image, Some(Incarnation { seq: 77, index: 7 }), vec![]);
                image = fold(&image, &void).into_image();
                log.push(void.encode().0);
                continue;
            }
        };
        let Some(id) = id else { continue };
        let mut draft = Draft::new(&image, writer);
        if !matches!(draft.admit(id, &own, &records), Admitted::Packed(_)) {
            continue;
        }
        let commit = draft.seal(&image, Nonce(i as u64), 5);
        // Written by nobody: a draft is judged, its writer is not; such a commit is void.
        image = fold(&image, &commit).into_image();
        log.push(commit.encode().0);
    }
    log
}

fn replay(mut image: Toys, log: &[Bytes]) -> Toys {
    for bytes in log {
        let (commit, chain) = Commit::decode(bytes.clone()).expect("decodes");
        image = image.fold(&commit, chain, bytes.len()).expect("continues").into_image();
    }
    image
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_snapshot_and_its_tail_are_the_full_replay(steps in proptest::collection::vec(step(), 1..80), cut in 0usize..80) {
        let log = log_of(&steps);
        let cut = cut.min(log.len());
        let full = replay(genesis(), &log);
        let snapshot = replay(genesis(), &log[..cut]).encode();
        let restored = Toys::decode(snapshot.clone()).expect("decodes");
        prop_assert_eq!(restored.encode(), snapshot, "encoding is deterministic");
        let booted = replay(restored, &log[cut..]);
        prop_assert_eq!(booted.encode(), full.encode());
        prop_assert_eq!(booted.inner, full.inner);
    }

    #[test]
    fn a_damaged_image_is_an_error_or_another_image_and_never_a_panic(
        steps in proptest::collection::vec(step(), 1..40), at in any::<prop::sample::Index>(), byte in any::<u8>(), len in any::<prop::sample::Index>(),
    ) {
        let mut bytes = replay(genesis(), &log_of(&steps)).encode().to_vec();
        let (at, len) = (at.index(bytes.len()), len.index(bytes.len()));
        bytes[at] = byte;
        let _ = Toys::decode(Bytes::from(bytes.clone()));
        bytes.truncate(len);
        let _ = Toys::decode(Bytes::from(bytes));
    }
}
