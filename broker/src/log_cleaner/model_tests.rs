//! Any log, cleaned in any rounds, against what a reader of the whole log would have kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use proptest::prelude::*;
use protocol::batch_builder::BatchBuilder;
use protocol::compression::Compression;
use protocol::control_batch::EndTransaction;
use protocol::record_batch::BatchHeader;

use super::filter::{Filtered, LastRecord};
use super::samples::{LIMIT, NOW, RETENTION, Setting, left, marker, parse, round};
use super::transactions::AbortedTransaction;

const MANY: usize = 100;

/// A key of a few or none, a value or none.
type Pair = (Option<u8>, Option<u8>);

#[derive(Clone, Debug)]
enum Op {
    /// Producers 0 and 1 have an id, 2 has none.
    Plain {
        producer: u8,
        codec: Compression,
        records: Vec<Pair>,
    },
    Transactional {
        producer: u8,
        codec: Compression,
        records: Vec<Pair>,
    },
    End {
        producer: u8,
        commit: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let codec = || prop_oneof![4 => Just(Compression::None), 1 => Just(Compression::Lz4), 1 => Just(Compression::Zstd)];
    let key = prop_oneof![1 => Just(None), 12 => (0u8..8).prop_map(Some)];
    let value = prop_oneof![1 => Just(None), 3 => any::<u8>().prop_map(Some)];
    let records = || prop::collection::vec((key.clone(), value.clone()), 1..6);
    prop_oneof![
        3 => (0u8..3, codec(), records())
            .prop_map(|(producer, codec, records)| Op::Plain { producer, codec, records }),
        2 => (5u8..8, codec(), records())
            .prop_map(|(producer, codec, records)| Op::Transactional { producer, codec, records }),
        2 => (5u8..8, any::<bool>()).prop_map(|(producer, commit)| Op::End { producer, commit }),
    ]
}

/// What a record is: compared before and after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    offset: i64,
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(Bytes, Option<Bytes>)>,
}

/// A log and the truth about it.
#[derive(Default)]
struct World {
    log: Vec<Bytes>,
    end: i64,
    /// Below it every transaction is decided.
    stable: i64,
    setting: Setting,
    aborted_offsets: BTreeSet<i64>,
}

fn world(ops: &[Op]) -> World {
    let mut world = World::default();
    let mut open: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
    for op in ops {
        let (id, codec, records, transactional) = match op {
            Op::Plain { producer, codec, records } => {
                ((*producer < 2).then_some(*producer), codec, records, false)
            }
            Op::Transactional { producer, codec, records } => (Some(*producer), codec, records, true),
            Op::End { producer, commit } => {
                let offsets = open.remove(producer).unwrap_or_default();
                let kind = if *commit { EndTransaction::Commit } else { EndTransaction::Abort };
                world.log.push(marker(i64::from(*producer), world.end, kind));
                if let (false, Some(&first_offset)) = (*commit, offsets.first()) {
                    let producer_id = i64::from(*producer);
                    let last_offset = world.end;
                    world.setting.aborted.push(AbortedTransaction { first_offset, last_offset, producer_id });
                    world.aborted_offsets.extend(offsets);
                }
                let first = LastRecord { last_data_offset: None, producer_epoch: 0 };
                world.setting.producers.entry(i64::from(*producer)).or_insert(first);
                world.end += 1;
                continue;
            }
        };
        let mut builder =
            BatchBuilder::new().compression(*codec).base_offset(world.end).transactional(transactional);
        if let Some(id) = id {
            builder = builder.producer(i64::from(id), 0, world.end as i32);
        }
        for (n, (key, value)) in (0..).zip(records) {
            let headers: &[(&str, Option<&[u8]>)] = if n % 2 == 0 { &[("h", Some(b"1"))] } else { &[] };
            let (key, value) = (key.map(|k| [b'k', k]), value.map(|v| [v; 20]));
            builder = builder.append(
                5_000 - world.end * 7 + n,
                key.as_ref().map(|k| &k[..]),
                value.as_ref().map(|v| &v[..]),
                headers,
            );
        }
        world.log.push(builder.build());
        if transactional {
            let id = id.expect("transactional");
            open.entry(id).or_default().extend(world.end..world.end + records.len() as i64);
        }
        world.end += records.len() as i64;
        if let Some(id) = id {
            let last = LastRecord { last_data_offset: Some(world.end - 1), producer_epoch: 0 };
            world.setting.producers.insert(i64::from(id), last);
        }
    }
    // Of these two nobody remembers anything.
    world.setting.producers.retain(|id, _| ![1, 7].contains(id));
    world.stable = open.values().filter_map(|offsets| offsets.first().copied()).min().unwrap_or(world.end);
    world
}

fn rows(log: &[Bytes]) -> Vec<Row> {
    let batches = log.iter().map(|bytes| parse(bytes.clone())).filter(|batch| !batch.header().is_control());
    batches
        .flat_map(|batch| batch.records(LIMIT).unwrap())
        .map(|record| record.unwrap())
        .map(|record| Row {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.iter().map(|header| (header.key, header.value)).collect(),
        })
        .collect()
}

/// What is to be left when everything below `until` is cleaned and no tombstone is too old.
fn model(world: &World, until: i64) -> Vec<Row> {
    let all = rows(&world.log);
    let mut latest: HashMap<Bytes, i64> = HashMap::new();
    let counts = |row: &&Row| row.offset < until && !world.aborted_offsets.contains(&row.offset);
    for row in all.iter().filter(counts) {
        if let Some(key) = &row.key {
            latest.insert(key.clone(), row.offset);
        }
    }
    let stays = |row: &Row| {
        row.offset >= until
            || row.key.as_ref().is_some_and(|key| counts(&row) && latest.get(key) == Some(&row.offset))
    };
    all.into_iter().filter(stays).collect()
}

/// Where batches begin and end, and what they hold.
fn shape(log: &[Bytes]) -> Vec<(i64, i64, i32)> {
    let header = |bytes: &Bytes| *parse(bytes.clone()).header();
    log.iter().map(header).map(|h| (h.base_offset, h.last_offset(), h.record_count)).collect()
}

/// One round, and what must hold of every round.
fn checked_round(
    world: &World,
    log: &[Bytes],
    section: (i64, i64),
    keys: usize,
    now_ms: i64,
) -> (Vec<Bytes>, i64, Vec<Filtered>) {
    let (outcome, until, stats) = round(log, section, keys, now_ms, &world.setting);
    assert!((section.0..=section.1).contains(&until));
    assert!(until > section.0 || section.0 == section.1, "progress");
    let after = left(&outcome);
    let before = rows(log);
    let kept = rows(&after);
    let known: BTreeSet<_> = before.iter().collect();
    assert!(kept.iter().all(|row| known.contains(row)), "a record changed, or came from nowhere");
    assert!(kept.is_sorted_by(|a, b| a.offset < b.offset));
    let beyond = |rows: &[Row]| rows.iter().filter(|row| row.offset >= until).cloned().collect::<Vec<_>>();
    assert_eq!(beyond(&kept), beyond(&before), "from {until} on nothing changes");
    for (bytes, filtered) in log.iter().zip(&outcome) {
        let header = *parse(bytes.clone()).header();
        if header.base_offset >= until {
            assert_eq!(filtered, &Filtered::Keep(bytes.clone()));
        }
        let Some(stored) = filtered.bytes() else { continue };
        let stored = parse(stored.clone());
        stored.check_crc().unwrap();
        let new = stored.header();
        assert!(new.size() >= 61 && new.record_count <= header.record_count);
        let mut attributes = header.attributes | new.attributes & 1 << 6;
        if new.record_count == 0 {
            attributes = new.attributes & !0b100_0111 | header.attributes & 0b1000;
        }
        let BatchHeader { batch_length, crc, base_timestamp, max_timestamp, record_count, .. } = *new;
        let same = BatchHeader { batch_length, crc, base_timestamp, max_timestamp, record_count, ..header };
        assert_eq!(*new, BatchHeader { attributes, ..same });
    }
    let ends: BTreeSet<_> = shape(&after).into_iter().map(|(_, last, _)| last).collect();
    for (id, last) in &world.setting.producers {
        let offset = last.last_data_offset;
        assert!(
            offset.is_none_or(|offset| ends.contains(&offset)),
            "producer {id}: its last sequence is gone"
        );
    }
    let end = |log: &[Bytes]| shape(log).last().map(|(_, last, _)| *last);
    assert_eq!(end(&after), end(log), "the log ends where it did");
    assert_eq!(
        stats.messages_written as usize,
        shape(&after).iter().map(|(_, _, n)| *n as usize).sum::<usize>()
    );
    assert_eq!(stats.bytes_written as usize, after.iter().map(Bytes::len).sum::<usize>());
    (after, until, outcome)
}

/// Cleans again at the same time: data does not change; markers may get their horizon, then nothing changes.
fn settle(world: &World, log: Vec<Bytes>, upper: i64, now_ms: i64) -> Vec<Bytes> {
    let (second, _, outcome) = checked_round(world, &log, (upper, upper), MANY, now_ms);
    for (bytes, filtered) in log.iter().zip(&outcome) {
        let is_marker = parse(bytes.clone()).header().is_control();
        assert!(is_marker || filtered == &Filtered::Keep(bytes.clone()), "{filtered:?}");
    }
    let (third, _, _) = checked_round(world, &second, (upper, upper), MANY, now_ms);
    assert_eq!(third, second, "a third cleaning");
    third
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_every_key_the_last_value_stays_whatever_the_rounds(
        ops in prop::collection::vec(op(), 1..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
        keys in 1usize..10,
        step_ms in prop_oneof![Just(0i64), 1i64..700],
    ) {
        let world = world(&ops);
        let boundaries: Vec<i64> =
            shape(&world.log).iter().map(|(_, last, _)| last + 1).filter(|end| *end <= world.stable).collect();
        prop_assume!(!boundaries.is_empty());
        let mut uppers: Vec<i64> = cuts.iter().map(|cut| boundaries[cut.index(boundaries.len())]).collect();
        uppers.sort_unstable();
        uppers.dedup();
        let upper = *uppers.last().unwrap();
        let expected = model(&world, upper);

        // In one round.
        let (at_once, until, _) = checked_round(&world, &world.log, (0, upper), MANY, NOW);
        prop_assert_eq!(until, upper);
        prop_assert_eq!(&rows(&at_once), &expected);
        let at_once = settle(&world, at_once, upper, NOW);

        // In many: section by section, each in as many as the map needs, time going on.
        let (mut log, mut from, mut now_ms) = (world.log.clone(), 0, NOW);
        let mut met: BTreeMap<i64, i64> = BTreeMap::new();
        for section in uppers {
            while from < section {
                let (after, until, _) = checked_round(&world, &log, (from, section), keys, now_ms);
                (from..until).for_each(|offset| { met.insert(offset, now_ms); });
                (log, from) = (after, until);
                now_ms += step_ms;
            }
        }
        now_ms -= step_ms;
        let kept = rows(&log);
        let gone: Vec<_> = expected.iter().filter(|row| !kept.contains(row)).collect();
        for row in &gone {
            prop_assert!(row.value.is_none() && row.offset < upper, "{:?} is missing", row);
            prop_assert!(met[&row.offset] + RETENTION <= now_ms, "{:?} went early", row);
        }
        prop_assert_eq!(kept.len() + gone.len(), expected.len(), "nothing else is left");
        let log = settle(&world, log, upper, now_ms);
        if step_ms == 0 {
            prop_assert_eq!(rows(&log), rows(&at_once));
            prop_assert_eq!(shape(&log), shape(&at_once), "the same, whatever the map's size");
        }

        // Long after, no tombstone is left below, and no marker but those that an active producer is known by.
        let (late, ..) = checked_round(&world, &log, (upper, upper), MANY, now_ms + RETENTION);
        let values: Vec<_> =
            expected.iter().filter(|row| row.value.is_some() || row.offset >= upper).cloned().collect();
        prop_assert_eq!(rows(&late), values);
    }
}
