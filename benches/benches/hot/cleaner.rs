//! Log compaction: a log's keys into the map, then what stays of every batch.

use std::collections::HashMap;
use std::hint::black_box;

use broker::log_cleaner::build_map::MapBuilder;
use broker::log_cleaner::filter::{Filter, FilterRules};
use broker::log_cleaner::offset_map::OffsetMap;
use broker::log_cleaner::transactions::CleanedTransactions;
use criterion::{BenchmarkId, Criterion, Throughput};
use protocol::batch_builder::BatchBuilder;
use protocol::compression::Compression;
use protocol::record_batch::{Batch, crc32c};

use crate::{VALUE_BYTES, random};

/// Memory of the map; with a batch at hand it stays below 64 MiB.
const MAP_BYTES: usize = 48 << 20;
const RECORDS_PER_BATCH: usize = 16;
const BATCHES: usize = 1_024;
const DECOMPRESSED_BYTES_MAX: usize = 8 << 20;

/// Both passes over 16 MiB of records of 1 KiB, by how much of it is superseded; the map's emptying counts, bytes are those
/// stored. A CRC of the same bytes is what reading them takes at least.
pub fn passes(c: &mut Criterion) {
    let mut group = c.benchmark_group("log compaction");
    for (name, own_keys, codec) in [
        ("all kept", 2, Compression::None),
        ("half of every batch superseded", 1, Compression::None),
        ("nearly all superseded", 0, Compression::None),
        ("half of every batch superseded, Lz4", 1, Compression::Lz4),
    ] {
        let log = log(own_keys, codec);
        let bytes: usize = log.iter().map(|batch| batch.bytes().len()).sum();
        let mut map = OffsetMap::new(MAP_BYTES, 0.9, 1).expect("room");
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("both passes", name), |b| {
            b.iter(|| clean(&mut map, black_box(&log)))
        });
        group.bench_function(BenchmarkId::new("baseline: CRC alone", name), |b| {
            b.iter(|| log.iter().fold(0, |sum, batch| sum ^ crc32c(black_box(batch.bytes()))))
        });
    }
    group.finish();
}

/// A round, its map emptied before; bytes that stay.
fn clean(map: &mut OffsetMap, log: &[Batch]) -> u64 {
    let end = (RECORDS_PER_BATCH * BATCHES) as i64;
    map.clear(2);
    let mut builder = MapBuilder::new(map, 0, end, CleanedTransactions::default(), DECOMPRESSED_BYTES_MAX);
    for batch in log {
        builder.feed(batch).expect("readable");
    }
    let (until, _) = builder.finish();
    let rules = FilterRules {
        until,
        upper_bound: end,
        now_ms: 1_000_000,
        delete_retention_ms: 1_000,
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
    };
    let producers = HashMap::new();
    let mut filter = Filter::new(map, rules, &producers, CleanedTransactions::default());
    for batch in log {
        black_box(filter.filter(batch).expect("readable"));
    }
    filter.stats().bytes_written
}

/// Of every two records, `own_keys` have a key that does not come again; the others share a hundred.
fn log(own_keys: usize, codec: Compression) -> Vec<Batch> {
    let mut values = random(RECORDS_PER_BATCH * VALUE_BYTES);
    // Half of each can be compressed.
    values.chunks_mut(VALUE_BYTES).for_each(|value| value[VALUE_BYTES / 2..].fill(b'v'));
    let batch = |n: usize| {
        let base = n * RECORDS_PER_BATCH;
        let builder = BatchBuilder::new().compression(codec).base_offset(base as i64);
        let built = (base..base + RECORDS_PER_BATCH).fold(builder, |builder, i| {
            let key =
                if i % 2 < own_keys { format!("own:{i:020}") } else { format!("shared:{:017}", i % 100) };
            let value = &values[i % RECORDS_PER_BATCH * VALUE_BYTES..][..VALUE_BYTES];
            builder.append(1_000 + i as i64, Some(key.as_bytes()), Some(value), &[])
        });
        Batch::parse(built.build()).expect("a batch")
    };
    (0..BATCHES).map(batch).collect()
}
