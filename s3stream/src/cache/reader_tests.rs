//! What is read once, by reference, again, or not at all.

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::cache::rig::{self, RigReader};

fn small(rig: &RigReader) -> Vec<BlockRef> {
    rig.put_object(0, &[(1, 0, b"one"), (2, 0, b"two"), (3, 0, b"three")])
}

/// One large object: eight blocks of 512 KiB of one stream.
fn large(rig: &RigReader, number: u64) -> Vec<BlockRef> {
    let bodies: Vec<Vec<u8>> = (0..12).map(|at| vec![at; 512 << 10]).collect();
    let parts: Vec<(u64, u64, &[u8])> =
        bodies.iter().enumerate().map(|(at, body)| (1, at as u64 * 10, &body[..])).collect();
    rig.put_object(number, &parts)
}

#[test]
fn neighbours_come_in_one_get_and_small_objects_whole() {
    let at = |number: u64, position: u64, length: u32, small: bool| BlockRef {
        number: LaneNumber(number),
        small,
        ..rig::block_ref(0, position, length)
    };
    type Gets = &'static [(u64, u64, usize)]; // from, to, blocks
    let table: [(&str, Vec<BlockRef>, Gets); 6] = [
        ("neighbours", vec![at(0, 100, 50, false), at(0, 150, 50, false)], &[(100, 200, 2)]),
        (
            "in any order, once each",
            vec![at(0, 150, 50, false), at(0, 100, 50, false), at(0, 150, 50, false)],
            &[(100, 200, 2)],
        ),
        (
            "not over a gap",
            vec![at(0, 100, 50, false), at(0, 151, 50, false)],
            &[(100, 150, 1), (151, 201, 1)],
        ),
        (
            "not into the next object",
            vec![at(0, 100, 50, false), at(1, 150, 50, false)],
            &[(100, 150, 1), (150, 200, 1)],
        ),
        (
            "up to 4 MiB",
            vec![at(0, 0, 3 << 20, false), at(0, 3 << 20, 1 << 20, false), at(0, 4 << 20, 1, false)],
            &[(0, 4 << 20, 2), (4 << 20, (4 << 20) + 1, 1)],
        ),
        (
            "a larger one alone",
            vec![at(0, 0, 9 << 20, false), at(0, 9 << 20, 1, false)],
            &[(0, 9 << 20, 1), (9 << 20, (9 << 20) + 1, 1)],
        ),
    ];
    for (what, blocks, expected) in table {
        let runs: Vec<_> = runs_of(blocks, RUN_BYTES_MAX)
            .iter()
            .map(|run| (run.start(), run.end(), run.blocks.len()))
            .collect();
        assert_eq!(runs, expected, "{what}");
    }
    let blocks = vec![at(0, 100, 50, true), at(0, 900, 50, true), at(1, 100, 50, true)];
    let runs = runs_of(blocks, RUN_BYTES_MAX);
    assert_eq!(
        runs.iter().map(|run| (run.whole, run.start(), run.blocks.len())).collect::<Vec<_>>(),
        [(true, 0, 2), (true, 0, 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_small_object_is_read_once_for_all_its_streams() {
    let rig = RigReader::new();
    let blocks = small(&rig);
    assert_eq!(rig.reader.memory(&blocks[0]), None);
    assert_eq!(rig.reader.load(&blocks[1..2]).await.unwrap(), [&b"two"[..]]);
    assert_eq!(rig.reader.load(&blocks).await.unwrap(), [&b"one"[..], b"two", b"three"]);
    assert_eq!(rig.reader.memory(&blocks[2]).unwrap(), &b"three"[..]);
    assert_eq!(rig.gets(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_tail_is_asked_first_and_the_store_when_it_has_gone() {
    let rig = RigReader::new();
    let block = rig.put_object(3, &[(1, 0, b"tail")])[0];
    let object = rig::object(3, &[(1, 0, b"tail")]);
    let charge = rig.tail.try_reserve(object.capacity() as u64).unwrap();
    rig.tail.insert(rig.lane, LaneNumber(3), object, charge);
    assert_eq!(rig.reader.memory(&block).unwrap(), &b"tail"[..]);
    assert_eq!(rig.reader.load(&[block]).await.unwrap(), [&b"tail"[..]]);
    assert_eq!((rig.gets(), rig.reader.stats().tail_blocks), (0, 2));
    rig.tail.forget_from(rig.lane, LaneNumber(0));
    assert_eq!(rig.reader.load(&[block]).await.unwrap(), [&b"tail"[..]]);
    assert_eq!(rig.gets(), 1);
}

#[tokio::test(start_paused = true)]
async fn however_many_wait_one_get_brings_it() {
    let rig = RigReader::new();
    let blocks = large(&rig, 7);
    let readers = (0..50).map(|_| rig.reader.load(&blocks[2..6]));
    for loaded in join_all(readers).await {
        let loaded = loaded.unwrap();
        assert_eq!((loaded.len(), loaded[3][0]), (4, 5));
    }
    assert_eq!(rig.gets(), 1);
    assert_eq!(rig.reader.stats().get_bytes, 4 * (512 << 10));
    // Overlapping asks share what they can: blocks 4 and 5 are there, 6 and 7 are one more GET, however many ask.
    let (a, b) = tokio::join!(rig.reader.load(&blocks[4..8]), rig.reader.load(&blocks[6..8]));
    assert_eq!((a.unwrap().len(), b.unwrap().len()), (4, 2));
    assert_eq!(rig.gets(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_goes_on_for_others_and_ends_with_the_last() {
    let rig = RigReader::new();
    let blocks = large(&rig, 0);
    let mut first = Box::pin(rig.reader.load(&blocks[..1]));
    assert!(futures::poll!(&mut first).is_pending(), "the store takes its time");
    let mut second = Box::pin(rig.reader.load(&blocks[..1]));
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    assert_eq!(second.await.unwrap().len(), 1);
    assert_eq!(rig.gets(), 1);
    // The last one to go takes the load along; the next begins another.
    let mut gone = Box::pin(rig.reader.load(&blocks[1..2]));
    assert!(futures::poll!(&mut gone).is_pending());
    drop(gone);
    assert_eq!(rig.reader.load(&blocks[1..2]).await.unwrap()[0][0], 1);
    assert_eq!(rig.loads_in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn damage_is_asked_for_again_then_told_and_never_kept() {
    for big in [false, true] {
        let rig = RigReader::new();
        let blocks = if big { large(&rig, 0) } else { small(&rig) };
        let honest = rig.flip(0, blocks[1].position);
        let error = rig.reader.load(&blocks[..3]).await.unwrap_err();
        let ReadError::Corrupt { key, position, .. } = &error else { panic!("{error}") };
        assert_eq!((key.as_str(), *position), (&*rig.key(0), blocks[1].position));
        assert_eq!(rig.gets(), 2, "asked twice");
        assert_eq!(rig.reader.load(&blocks[..1]).await.unwrap().len(), 1, "its neighbour is whole");
        assert!(rig.reader.load(&blocks[1..2]).await.is_err());
        rig.replace(0, honest);
        assert_eq!(rig.reader.load(&blocks[..3]).await.unwrap().len(), 3, "nothing bad was kept");
    }
}

#[tokio::test(start_paused = true)]
async fn damage_on_the_way_is_healed_by_asking_again() {
    let rig = RigReader::new();
    let blocks = large(&rig, 0);
    rig.garble_next_read();
    assert_eq!(rig.reader.load(&blocks[..2]).await.unwrap()[1][0], 1);
    assert_eq!(rig.reader.stats().repeats, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_asked_for_again_and_never_remembered() {
    let rig = RigReader::new();
    let blocks = small(&rig);
    let honest = rig.take(0);
    let error = rig.reader.load(&blocks).await.unwrap_err();
    assert!(
        matches!(&error, ReadError::Missing { position, .. } if *position == blocks[0].position),
        "{error}"
    );
    assert!(!error.is_transient());
    assert_eq!(rig.calls(), 2);
    rig.replace(0, honest);
    assert_eq!(rig.reader.load(&blocks).await.unwrap().len(), 3);
}

/// The wait is none of the store's doing (I10).
#[tokio::test(start_paused = true)]
async fn a_fault_after_a_long_wait_for_its_turn_is_not_final() {
    let (rig, producing) = behind_others().await;
    let blocks = small(&rig);
    rig.fail_reads(1);
    let begun = tokio::time::Instant::now();
    let loaded = rig.reader.load(&blocks).await;
    assert!(begun.elapsed() > PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(loaded.expect("answered when asked again").len(), 3);
    producing.abort();
}

/// A reader whose store may be read again in a minute, beside a producer.
async fn behind_others() -> (RigReader, JoinHandle<()>) {
    let rig = RigReader::new();
    let producing = rig::producing(&rig.reader.0.cold);
    rig.reader.0.cold.turn(1).await.brought(4 << 30);
    (rig, producing)
}

/// Who reads history holds room while he waits for his turn; all of it, if there are some (L10).
#[tokio::test(start_paused = true)]
async fn what_is_wanted_at_once_waits_for_no_room_of_those_who_read_in_turn() {
    let (rig, producing) = behind_others().await;
    let mut others = Vec::new();
    for number in 1..20 {
        let blocks = large(&rig, number);
        let reader = rig.reader.clone();
        let mut load = Box::pin(async move { reader.load(&blocks[..8]).await });
        assert!(futures::poll!(&mut load).is_pending());
        others.push(load);
    }
    let blocks = small(&rig);
    let second = Duration::from_secs(1);
    let loaded = timeout(second, rig.reader.load_at_once(&blocks)).await.expect("at once");
    assert_eq!(loaded.unwrap(), [&b"one"[..], b"two", b"three"]);
    assert_eq!(rig.gets(), 1, "the others wait for their turn");
    join_all(others).await.into_iter().for_each(|loaded| assert_eq!(loaded.unwrap().len(), 8));
    assert_eq!(rig.loads_in_use(), 0);
    producing.abort();
}

/// It is in flight, as somebody asked for it; but its GET has not begun.
#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_is_read_when_somebody_wants_it_at_once() {
    let (rig, producing) = behind_others().await;
    let blocks = large(&rig, 0);
    let mut in_turn = Box::pin(rig.reader.load(&blocks[..2]));
    assert!(futures::poll!(&mut in_turn).is_pending());
    let at_once = timeout(Duration::from_secs(1), rig.reader.load_at_once(&blocks[1..2])).await;
    assert_eq!(at_once.expect("at once").unwrap()[0][0], 1);
    assert_eq!(in_turn.await.unwrap().len(), 2);
    assert_eq!((rig.gets(), rig.loads_in_use()), (1, 0));
    producing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_waited_for_then_told() {
    let rig = RigReader::new();
    let blocks = small(&rig);
    rig.fail_reads(3);
    assert!(rig.reader.load(&blocks).await.is_ok());
    let rig = RigReader::new();
    let blocks = small(&rig);
    rig.fail_reads(u32::MAX);
    let error = rig.reader.load(&blocks).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&rig.key(0)), "{error}");
    rig.fail_reads(0);
    assert!(rig.reader.load(&blocks).await.is_ok(), "errors are not kept");
}
