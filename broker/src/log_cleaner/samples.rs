//! Batches for tests, and rounds run over them.

use std::collections::HashMap;

use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::control_batch::{EndTransaction, EndTransactionMarker, end_transaction_batch};
use protocol::record_batch::{Batch, stamp};

use super::build_map::{Fed, MapBuilder};
use super::filter::{Filter, FilterRules, Filtered, LastRecord};
use super::offset_map::{ENTRY_BYTES, OffsetMap};
use super::stats::CleanerStats;
use super::transactions::{AbortedTransaction, CleanedTransactions};

/// Most bytes a test's batch takes decompressed.
pub const LIMIT: usize = 1 << 20;
/// The time of tests, and what is kept of tombstones.
pub const NOW: i64 = 1_700_000_000_000;
pub const RETENTION: i64 = 1_000;
pub const HORIZON: i64 = NOW + RETENTION;

/// Key and value; timestamps are the offset plus 100.
pub type KeyValue<'a> = (&'a str, Option<&'a str>);

pub fn parse(bytes: Bytes) -> Batch {
    Batch::parse(bytes).expect("a batch")
}

pub fn with(builder: BatchBuilder, base_offset: i64, records: &[KeyValue<'_>]) -> Bytes {
    let records = (base_offset..).zip(records);
    records
        .fold(builder.base_offset(base_offset).leader_epoch(3), |builder, (offset, (key, value))| {
            builder.append(100 + offset, Some(key.as_bytes()), value.map(str::as_bytes), &[])
        })
        .build()
}

pub fn plain(base_offset: i64, records: &[KeyValue<'_>]) -> Bytes {
    with(BatchBuilder::new(), base_offset, records)
}

pub fn transactional(producer_id: i64, base_offset: i64, records: &[KeyValue<'_>]) -> Bytes {
    with(BatchBuilder::new().producer(producer_id, 0, 0).transactional(true), base_offset, records)
}

pub fn control(producer_id: i64, offset: i64, key: &[u8]) -> Bytes {
    let builder = BatchBuilder::new().base_offset(offset).producer(producer_id, 0, -1);
    builder.transactional(true).control(true).append(100 + offset, Some(key), Some(&[0; 6]), &[]).build()
}

pub fn marker(producer_id: i64, offset: i64, kind: EndTransaction) -> Bytes {
    let marker = EndTransactionMarker { kind, coordinator_epoch: 1 };
    let batch = parse(end_transaction_batch(producer_id, 0, 100 + offset, marker));
    [&stamp(batch.header(), offset, 3)[..], &batch.body()].concat().into()
}

/// A record as it is told in a test: offset, key, value.
pub type Told = (i64, Option<String>, Option<String>);

pub fn told(log: &[Bytes]) -> Vec<Told> {
    let text = |bytes: Option<Bytes>| bytes.map(|b| String::from_utf8(b.to_vec()).expect("text"));
    let records = log.iter().flat_map(|bytes| parse(bytes.clone()).records(LIMIT).expect("readable"));
    records
        .map(|record| record.expect("a record"))
        .map(|record| (record.offset, text(record.key), text(record.value)))
        .collect()
}

/// What a round needs beside the log.
#[derive(Clone, Default)]
pub struct Setting {
    pub aborted: Vec<AbortedTransaction>,
    pub producers: HashMap<i64, LastRecord>,
}

pub fn map_of(keys: usize) -> OffsetMap {
    OffsetMap::new((keys + 1) * ENTRY_BYTES, 1.0, 0x5eed).expect("room for a key")
}

/// Pass 1 over [`dirty_from`, `until`): the offset that was covered.
pub fn build(
    map: &mut OffsetMap,
    log: &[Bytes],
    section: (i64, i64),
    setting: &Setting,
) -> (i64, CleanerStats) {
    let transactions = CleanedTransactions::new(setting.aborted.iter().copied());
    let mut builder = MapBuilder::new(map, section.0, section.1, transactions, LIMIT);
    for bytes in log {
        if builder.feed(&parse(bytes.clone())).expect("readable") == Fed::Enough {
            break;
        }
    }
    builder.finish()
}

/// One round with a map of `keys` keys: what every batch came to, where the round ended, and its counts.
pub fn round(
    log: &[Bytes],
    section: (i64, i64),
    keys: usize,
    now_ms: i64,
    setting: &Setting,
) -> (Vec<Filtered>, i64, CleanerStats) {
    let mut map = map_of(keys);
    let (until, mut stats) = build(&mut map, log, section, setting);
    let rules = FilterRules {
        until,
        upper_bound: section.1,
        now_ms,
        delete_retention_ms: RETENTION,
        decompressed_bytes_max: LIMIT,
    };
    let transactions = CleanedTransactions::new(setting.aborted.iter().copied());
    let mut filter = Filter::new(&map, rules, &setting.producers, transactions);
    let outcome = log.iter().map(|bytes| filter.filter(&parse(bytes.clone())).expect("readable")).collect();
    stats.add(filter.stats());
    (outcome, until, stats)
}

/// The log that a round leaves.
pub fn left(outcome: &[Filtered]) -> Vec<Bytes> {
    outcome.iter().filter_map(Filtered::bytes).cloned().collect()
}
