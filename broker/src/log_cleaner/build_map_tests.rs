//! Pass 1: what counts, and how far it comes.

use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::compression::Compression;
use protocol::control_batch::EndTransaction;

use super::CleaningError;
use super::build_map::{Fed, MapBuilder};
use super::samples::{
    LIMIT, Setting, build, control, map_of, marker, parse, plain, told, transactional, with,
};
use super::transactions::{AbortedTransaction, CleanedTransactions};

#[test]
fn the_latest_offset_of_every_key_of_the_section_is_known_in_every_codec() {
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for codec in codecs {
        let log = [
            plain(0, &[("old", Some("1")), ("a", Some("1"))]),
            with(
                BatchBuilder::new().compression(codec),
                2,
                &[("a", Some("2")), ("b", None), ("c", Some("1"))],
            ),
            with(BatchBuilder::new().compression(codec), 5, &[("b", Some("2")), ("late", Some("1"))]),
        ];
        let mut map = map_of(10);
        let (covered, stats) = build(&mut map, &log, (2, 6), &Setting::default());
        let known = ["old", "a", "b", "c", "late"].map(|key| map.get(key.as_bytes()));
        assert_eq!(known, [None, Some(2), Some(5), Some(4), None], "{codec:?}");
        assert_eq!((covered, map.latest_offset(), stats.map_messages_read), (6, Some(5), 6));
        assert_eq!(stats.map_bytes_read, log.iter().map(|b| b.len() as u64).sum::<u64>());
    }
}

#[test]
fn records_without_a_key_markers_and_aborted_data_are_passed_over() {
    let keyless = BatchBuilder::new().append(1, None, Some(b"v"), &[]).append(2, Some(b""), Some(b"v"), &[]);
    let log = [
        keyless.build(),
        transactional(1, 2, &[("a", Some("1"))]),
        transactional(2, 3, &[("a", Some("2"))]),
        marker(2, 4, EndTransaction::Abort),
        marker(1, 5, EndTransaction::Commit),
        control(3, 6, &[0, 0, 0, 2]),
    ];
    let aborted = vec![AbortedTransaction { producer_id: 2, first_offset: 3, last_offset: 4 }];
    let mut map = map_of(10);
    let (covered, stats) = build(&mut map, &log, (0, 7), &Setting { aborted, ..Setting::default() });
    assert_eq!((map.len(), map.get(b"a"), map.get(b"")), (2, Some(2), Some(1)));
    assert_eq!((covered, stats.map_messages_read), (7, 7));
}

#[test]
fn a_full_map_ends_the_round_where_its_knowledge_ends() {
    let log = [
        plain(0, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("c", Some("1")), ("a", Some("3"))]),
        plain(5, &[("b", Some("2"))]),
    ];
    for (keys, covered, known) in [
        // Updates of known keys fit into a full map, but nothing behind a key that does not.
        (1, 1, [Some(0), None, None]),
        (2, 3, [Some(2), Some(1), None]),
        (3, 6, [Some(4), Some(5), Some(3)]),
    ] {
        let mut map = map_of(keys);
        let (end, stats) = build(&mut map, &log, (0, 6), &Setting::default());
        assert_eq!((end, ["a", "b", "c"].map(|k| map.get(k.as_bytes()))), (covered, known), "{keys} keys");
        assert!((stats.buffer_utilization - keys as f64 / (keys + 1) as f64).abs() < 1e-9);
        assert!(map.is_full());
    }
    // A batch that is full at its first record belongs to the next round as a whole.
    let log = [plain(0, &[("a", Some("1"))]), plain(7, &[("b", Some("1"))])];
    assert_eq!(build(&mut map_of(1), &log, (0, 8), &Setting::default()).0, 1);
}

#[test]
fn every_round_makes_progress_until_the_section_is_covered() {
    let log: Vec<Bytes> = (0..20)
        .map(|n| plain(n * 3, &[("a", Some("1")), ("b", Some("1")), (["c", "d", "e"][n as usize % 3], None)]))
        .collect();
    for keys in 1..6 {
        let mut from = 0;
        while from < 60 {
            let (covered, _) = build(&mut map_of(keys), &log, (from, 60), &Setting::default());
            assert!(covered > from, "{keys} keys, from {from}");
            from = covered;
        }
        assert_eq!(from, 60);
    }
}

#[test]
fn offsets_that_are_missing_at_the_end_are_covered_and_an_empty_section_is_nowhere() {
    let mut map = map_of(5);
    assert_eq!(build(&mut map, &[plain(0, &[("a", None)])], (0, 100), &Setting::default()).0, 100);
    assert_eq!(map.latest_offset(), Some(99));
    let mut map = map_of(5);
    assert_eq!(build(&mut map, &[], (50, 50), &Setting::default()).0, 50);
    assert_eq!(map.latest_offset(), None);
}

#[test]
fn batches_at_the_end_of_the_section_or_after_it_are_not_wanted() {
    let mut map = map_of(5);
    let mut builder = MapBuilder::new(&mut map, 0, 4, CleanedTransactions::default(), LIMIT);
    assert_eq!(builder.feed(&parse(plain(0, &[("a", None)]))), Ok(Fed::More));
    assert_eq!(builder.feed(&parse(plain(4, &[("a", None)]))), Ok(Fed::Enough));
    assert_eq!(builder.finish().0, 4);
    assert_eq!(map.get(b"a"), Some(0));
}

#[test]
fn what_no_log_holds_is_an_error() {
    let feed = |bytes: Bytes, limit| {
        let mut map = map_of(5);
        MapBuilder::new(&mut map, 0, i64::MAX, CleanedTransactions::default(), limit).feed(&parse(bytes))
    };
    let good = plain(10, &[("a", Some("1")), ("b", Some("1"))]);
    assert_eq!(feed(good.clone(), LIMIT), Ok(Fed::More));
    for (what, position, value) in
        [("negative base", 0, 0xff), ("negative delta", 23, 0xff), ("delta too small for its records", 26, 0)]
    {
        let mut bytes = good.to_vec();
        bytes[position] = value;
        let error = feed(bytes.into(), LIMIT).unwrap_err();
        assert!(!matches!(error, CleaningError::Batch { .. }), "{what}: {error}");
    }
    let mut bytes = good.to_vec();
    bytes[..8].copy_from_slice(&(i64::MAX - 1).to_be_bytes());
    assert!(matches!(feed(bytes.into(), LIMIT), Err(CleaningError::BatchOffsets { .. })));
    let twice =
        BatchBuilder::new().append_at(0, 1, Some(b"a"), None, &[]).append_at(1, 1, Some(b"b"), None, &[]);
    let mut bytes = twice.build().to_vec();
    // The second record's offset delta, 1 in zigzag: its length, attributes and timestamp stand before.
    let second = 61 + bytes[61] as usize / 2 + 1;
    assert_eq!(bytes[second + 3], 2);
    bytes[second + 3] = 0;
    assert_eq!(
        feed(bytes.into(), LIMIT),
        Err(CleaningError::RecordOffset { base_offset: 0, offset: 0 }),
        "an offset twice"
    );
    let bomb =
        with(BatchBuilder::new().compression(Compression::Zstd), 0, &[("a", Some(&"v".repeat(5_000)))]);
    assert!(matches!(feed(bomb.clone(), 4_000), Err(CleaningError::Batch { base_offset: 0, .. })));
    assert_eq!(told(std::slice::from_ref(&bomb)).len(), 1);
    assert_eq!(feed(bomb, 6_000), Ok(Fed::More));
}
