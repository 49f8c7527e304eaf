//! Pass 2, rule by rule.

use std::collections::HashMap;

use protocol::compression::Compression;
use protocol::control_batch::EndTransaction;
use protocol::record_batch::{NO_TIMESTAMP, TimestampType, stamp_log_append_time};

use super::*;
use crate::log_cleaner::offset_map::ENTRY_BYTES;
use crate::log_cleaner::samples::*;
use crate::log_cleaner::transactions::AbortedTransaction;

const ALWAYS: i64 = 1_000;

/// One batch through a filter whose map holds `known`, everything below `until` covered.
struct Case<'a> {
    known: &'a [(&'a str, i64)],
    until: i64,
    now_ms: i64,
    producers: HashMap<i64, LastRecord>,
    aborted: Vec<AbortedTransaction>,
}

impl Case<'_> {
    fn run(&self, bytes: &Bytes) -> Filtered {
        self.pass(std::slice::from_ref(bytes)).remove(0)
    }

    fn pass(&self, log: &[Bytes]) -> Vec<Filtered> {
        let mut map = OffsetMap::new(64 * ENTRY_BYTES, 0.9, 1).unwrap();
        self.known.iter().for_each(|(key, offset)| assert!(map.put(key.as_bytes(), *offset)));
        let rules = FilterRules {
            until: self.until,
            upper_bound: ALWAYS,
            now_ms: self.now_ms,
            delete_retention_ms: RETENTION,
            decompressed_bytes_max: LIMIT,
        };
        let transactions = CleanedTransactions::new(self.aborted.iter().copied());
        let mut filter = Filter::new(&map, rules, &self.producers, transactions);
        log.iter().map(|bytes| filter.filter(&parse(bytes.clone())).unwrap()).collect()
    }
}

fn case<'a>(known: &'a [(&'a str, i64)]) -> Case<'a> {
    let (producers, aborted) = (HashMap::new(), Vec::new());
    Case { known, until: ALWAYS, now_ms: NOW, producers, aborted }
}

fn header(filtered: &Filtered) -> BatchHeader {
    *parse(filtered.bytes().unwrap().clone()).header()
}

fn rewritten(filtered: &Filtered) -> (Vec<Told>, BatchHeader) {
    let Filtered::Rewrite(bytes) = filtered else { panic!("{filtered:?}") };
    let batch = parse(bytes.clone());
    batch.check_crc().unwrap();
    (told(std::slice::from_ref(bytes)), *batch.header())
}

fn one(offset: i64, key: &str, value: Option<&str>) -> Told {
    (offset, Some(key.into()), value.map(Into::into))
}

#[test]
fn only_the_latest_record_of_a_key_stays() {
    let batch = plain(10, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]);
    for (what, known, stay) in [
        ("nothing newer", &[("a", 12), ("b", 11)][..], &[11i64, 12][..]),
        ("keys that are not in the section", &[], &[10, 11, 12]),
        ("a later batch has it", &[("a", 50)], &[11]),
        ("all are superseded", &[("a", 50), ("b", 51)], &[]),
        ("the map knows less than the batch", &[("a", 10)], &[10, 11, 12]),
    ] {
        let filtered = case(known).run(&batch);
        let left = filtered.bytes().map_or(Vec::new(), |bytes| told(std::slice::from_ref(bytes)));
        assert_eq!(left.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), stay, "{what}");
        match stay.len() {
            0 => assert_eq!(filtered, Filtered::Drop, "{what}"),
            3 => assert_eq!(filtered, Filtered::Keep(batch.clone()), "{what}"),
            _ => assert!(matches!(filtered, Filtered::Rewrite(_)), "{what}"),
        }
    }
}

#[test]
fn what_is_kept_as_it_is_is_not_copied() {
    let batch = plain(0, &[("a", Some("1"))]);
    let kept = case(&[]).run(&batch);
    assert_eq!(kept.bytes().unwrap().as_ptr(), batch.as_ptr());
}

#[test]
fn a_rewritten_batch_keeps_all_that_readers_and_producers_know_it_by_in_every_codec() {
    for codec in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let headers: &[(&str, Option<&[u8]>)] = &[("h", Some(b"1")), ("h", None)];
        let batch = BatchBuilder::new()
            .compression(codec)
            .base_offset(50)
            .leader_epoch(4)
            .producer(9, 1, i32::MAX)
            .transactional(true)
            .append(500, Some(b"gone"), Some(b"1"), &[])
            .append(100, Some(b"kept"), Some(b"2"), headers)
            .append(900, Some(b"gone"), Some(b"3"), &[])
            .build();
        let (records, after) = rewritten(&case(&[("gone", 60)]).run(&batch));
        assert_eq!(records, [one(51, "kept", Some("2"))]);
        let before = *parse(batch.clone()).header();
        let BatchHeader { batch_length, crc, .. } = after;
        let expected = BatchHeader { batch_length, crc, max_timestamp: 100, record_count: 1, ..before };
        assert_eq!(after, expected, "{codec:?}");
        assert_eq!((after.last_offset(), after.last_sequence()), (52, 1));
        let of = |bytes: &Bytes, n| parse(bytes.clone()).records(LIMIT).unwrap().nth(n).unwrap().unwrap();
        assert_eq!(of(case(&[("gone", 60)]).run(&batch).bytes().unwrap(), 0), of(&batch, 1), "{codec:?}");
    }
}

#[test]
fn log_append_time_is_the_batchs_whatever_is_left() {
    let batch = parse(plain(0, &[("a", Some("1")), ("b", None)]));
    let stamped: Bytes = [&stamp_log_append_time(&batch, 0, 3, 77_000)[..], &batch.body()].concat().into();
    let (records, header) = rewritten(&case(&[("a", 5)]).run(&stamped));
    assert_eq!(records, [one(1, "b", None)]);
    assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, 77_000));
    assert_eq!(header.delete_horizon(), Some(HORIZON));
}

#[test]
fn records_without_a_key_go_and_an_empty_key_is_one() {
    let batch = BatchBuilder::new().append(1, None, Some(b"v"), &[]).append(2, Some(b""), Some(b"v"), &[]);
    let batch = batch.build();
    let (records, header) = rewritten(&case(&[]).run(&batch));
    assert_eq!(records, [one(1, "", Some("v"))]);
    assert_eq!((header.base_offset, header.record_count), (0, 1));
    let keyless = BatchBuilder::new().append(1, None, None, &[]).build();
    assert_eq!(case(&[]).run(&keyless), Filtered::Drop);
}

#[test]
fn a_tombstone_stays_until_the_horizon_it_got_when_it_was_met_first() {
    let batch = plain(0, &[("a", None), ("b", Some("1"))]);
    let first = case(&[("a", 0)]).run(&batch);
    let (records, header) = rewritten(&first);
    assert_eq!(records, told(std::slice::from_ref(&batch)));
    assert_eq!((header.delete_horizon(), header.max_timestamp), (Some(HORIZON), 101));
    let met_first = first.bytes().unwrap();
    let timestamps: Vec<_> =
        parse(met_first.clone()).records(LIMIT).unwrap().map(|r| r.unwrap().timestamp).collect();
    assert_eq!(timestamps, [100, 101], "as they were");
    let at = |now_ms| Case { now_ms, ..case(&[]) }.run(met_first);
    assert_eq!(at(HORIZON - 1), Filtered::Keep(met_first.clone()), "the horizon does not move");
    let (records, header) = rewritten(&at(HORIZON));
    assert_eq!(records, [one(1, "b", Some("1"))]);
    assert_eq!(header.delete_horizon(), Some(HORIZON), "stays with the batch");
    let (records, header) = rewritten(&case(&[("a", 7)]).run(&batch));
    assert_eq!((records, header.delete_horizon()), (vec![one(1, "b", Some("1"))], None), "superseded");
    let alone = case(&[]).run(&plain(0, &[("a", None)]));
    assert_eq!(Case { now_ms: HORIZON, ..case(&[]) }.run(alone.bytes().unwrap()), Filtered::Drop);
}

#[test]
fn a_horizon_that_a_timestamp_cannot_be_told_from_is_not_set() {
    let ancient = BatchBuilder::new().append(i64::MIN + 5, Some(b"a"), None, &[]).build();
    assert_eq!(case(&[]).run(&ancient), Filtered::Keep(ancient.clone()));
    let forever = BatchBuilder::new().append(i64::MAX, Some(b"a"), None, &[]).build();
    let kept = case(&[]).run(&forever);
    assert_eq!(rewritten(&kept).1.max_timestamp, i64::MAX);
}

#[test]
fn nothing_from_until_on_is_judged() {
    let records = [("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None)];
    let known = [("a", 90), ("b", 91)];
    let at = |until| Case { until, ..case(&known) }.run(&plain(10, &records));
    assert_eq!(at(10), Filtered::Keep(plain(10, &records)));
    assert_eq!(at(9), Filtered::Keep(plain(10, &records)));
    for (until, gone) in [(11, 1), (12, 2), (13, 3)] {
        let (left, header) = rewritten(&at(until));
        assert_eq!(left, told(&[plain(10, &records)])[gone..], "until {until}");
        assert_eq!(header.delete_horizon(), None, "not before the map covers the whole batch");
    }
    assert_eq!(at(14), Filtered::Drop);
    let keyless = BatchBuilder::new().append(1, None, Some(b"v"), &[]).append(2, None, Some(b"v"), &[]);
    let keyless = keyless.build();
    assert_eq!(told(&[Case { until: 1, ..case(&[]) }.run(&keyless).bytes().unwrap().clone()]).len(), 1);
    let aborted = vec![AbortedTransaction { producer_id: 1, first_offset: 0, last_offset: 2 }];
    let data = transactional(1, 0, &[("x", Some("1")), ("y", Some("1"))]);
    let (left, _) = rewritten(&Case { until: 1, aborted, ..case(&[]) }.run(&data));
    assert_eq!(left, [one(1, "y", Some("1"))]);
}

#[test]
fn the_last_batch_of_the_section_stays_as_a_header() {
    let base = ALWAYS - 2;
    let builder = BatchBuilder::new().compression(Compression::Lz4).producer(4, 2, 8);
    let batch = with(builder, base, &[("a", Some("1")), ("a", Some("2"))]);
    let known = [("a", ALWAYS + 5)];
    let emptied = case(&known).run(&batch);
    let Filtered::KeepEmpty(bytes) = &emptied else { panic!("{emptied:?}") };
    parse(bytes.clone()).check_crc().unwrap();
    assert_eq!(bytes.len(), 61);
    let expected = BatchHeader {
        batch_length: 49,
        crc: header(&emptied).crc,
        attributes: 0,
        base_timestamp: NO_TIMESTAMP,
        record_count: 0,
        ..*parse(batch.clone()).header()
    };
    assert_eq!(header(&emptied), expected);
    assert_eq!((expected.last_offset(), expected.last_sequence()), (ALWAYS - 1, 9));
    assert_eq!(case(&known).run(bytes), Filtered::Keep(bytes.clone()), "nothing to do again");
    let earlier = with(BatchBuilder::new(), base - 2, &[("a", Some("1")), ("a", Some("2"))]);
    assert_eq!(case(&known).run(&earlier), Filtered::Drop);
    let emptied = protocol::batch_builder::emptied(parse(earlier).header());
    assert_eq!(case(&known).run(&emptied), Filtered::Drop, "no longer the last one");
}

#[test]
fn the_last_batch_of_an_active_producer_stays_as_a_header() {
    let data = with(BatchBuilder::new().producer(4, 2, 8), 10, &[("a", Some("1")), ("a", Some("2"))]);
    let end = marker(4, 20, EndTransaction::Commit);
    // Its horizon has come: it was met first long ago.
    let aged = Case { now_ms: 0, ..case(&[]) }.run(&end).bytes().unwrap().clone();
    let producers = |last_data_offset, producer_epoch| {
        HashMap::from([(4, LastRecord { last_data_offset, producer_epoch })])
    };
    let known = [("a", 50)];
    for (what, producers, data_stays, marker_stays) in [
        ("not active", HashMap::new(), false, false),
        ("its last data", producers(Some(11), 2), true, false),
        ("its data before the last", producers(Some(12), 2), false, false),
        ("only markers, of this epoch", producers(None, 0), false, true),
        ("only markers, of a later epoch", producers(None, 1), false, false),
    ] {
        let case = Case { producers, ..case(&known) };
        let kept = |filtered: Filtered| match filtered {
            Filtered::KeepEmpty(_) => true,
            Filtered::Drop => false,
            other => panic!("{what}: {other:?}"),
        };
        assert_eq!(kept(case.run(&data)), data_stays, "{what}");
        assert_eq!(kept(case.run(&aged)), marker_stays, "{what}");
    }
}

#[test]
fn aborted_data_goes_and_markers_follow_a_horizon_after_it() {
    let log = [
        transactional(1, 0, &[("a", Some("aborted"))]),
        transactional(2, 1, &[("b", Some("committed"))]),
        marker(1, 2, EndTransaction::Abort),
        marker(2, 3, EndTransaction::Commit),
    ];
    let aborted = vec![AbortedTransaction { producer_id: 1, first_offset: 0, last_offset: 2 }];
    let keep = |bytes: &Bytes| Filtered::Keep(bytes.clone());
    let first = Case { aborted: aborted.clone(), ..case(&[("b", 1)]) }.pass(&log);
    assert_eq!(first, [Filtered::Drop, keep(&log[1]), keep(&log[2]), keep(&log[3])]);
    // The next round: the abort marker has lost its data; the value of b is superseded, but was there.
    let second = Case { aborted, ..case(&[("b", 40)]) }.pass(&log[1..]);
    assert_eq!((&second[0], &second[2]), (&Filtered::Drop, &keep(&log[3])));
    let (records, header) = rewritten(&second[1]);
    assert_eq!((records.len(), header.delete_horizon(), header.is_control()), (1, Some(HORIZON), true));
    let log = left(&second);
    let at = |now_ms| Case { now_ms, ..case(&[]) }.pass(&log);
    let third = at(HORIZON - 1);
    assert_eq!(third[0], keep(&log[0]));
    assert_eq!(rewritten(&third[1]).1.delete_horizon(), Some(HORIZON - 1 + RETENTION), "now it is bare, too");
    assert_eq!(at(HORIZON)[0], Filtered::Drop);
    let unknown = control(3, 0, &[0, 0, 0, 2]);
    assert_eq!(Case { now_ms: i64::MAX, ..case(&[]) }.run(&unknown), keep(&unknown));
    let empty = protocol::batch_builder::emptied(parse(log[0].clone()).header());
    assert_eq!(case(&[]).run(&empty), Filtered::Drop, "a marker that was emptied before");
}

#[test]
fn what_is_damaged_is_not_sealed_anew() {
    let mut bytes = plain(0, &[("a", Some("1")), ("b", Some("1"))]).to_vec();
    // The value of the record that stays.
    let at = bytes.len() - 2;
    bytes[at] ^= 0x55;
    let map = {
        let mut map = map_of(5);
        map.put(b"a", 9);
        map
    };
    let rules = FilterRules {
        until: 10,
        upper_bound: 10,
        now_ms: NOW,
        delete_retention_ms: RETENTION,
        decompressed_bytes_max: LIMIT,
    };
    let producers = HashMap::new();
    let mut filter = Filter::new(&map, rules, &producers, CleanedTransactions::default());
    let error = filter.filter(&parse(bytes.into())).unwrap_err();
    assert!(matches!(error, CleaningError::Batch { base_offset: 0, .. }), "{error}");
}

#[test]
fn the_counts_of_a_round() {
    let keyless = BatchBuilder::new().base_offset(3).append(1, None, Some(b"v"), &[]).build();
    let log = [
        plain(0, &[("a", Some("1")), ("b", Some("1"))]),
        plain(2, &[("c", Some("1"))]),
        keyless,
        plain(4, &[("a", Some("2"))]),
        plain(5, &[("a", Some("3"))]),
    ];
    let (outcome, until, stats) = round(&log, (0, 5), 10, NOW, &Setting::default());
    assert_eq!(until, 5);
    let bytes = |log: &[Bytes]| log.iter().map(|b| b.len() as u64).sum::<u64>();
    let expected = CleanerStats {
        map_bytes_read: bytes(&log[..4]),
        map_messages_read: 5,
        bytes_read: bytes(&log),
        messages_read: 6,
        bytes_written: bytes(&left(&outcome)),
        messages_written: 4,
        bytes_untouched: bytes(&[log[1].clone(), log[3].clone(), log[4].clone()]),
        invalid_messages_read: 1,
        buffer_utilization: 3.0 / 11.0,
    };
    assert_eq!(stats, expected);
    assert_eq!((stats.messages_dropped(), stats.bytes_dropped()), (2, bytes(&log) - bytes(&left(&outcome))));
}
