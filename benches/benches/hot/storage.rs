//! Where a record is, and the one copy it takes on its way to the store.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use s3stream::block_ref::{BlockRef, LaneRef};
use s3stream::ids::{Incarnation, LaneId, LaneNumber, Nonce, StreamEpoch, StreamId};
use s3stream::stream::StreamIndex;
use s3stream::wal::chunk::ChunkPool;
use s3stream::wal::cut::cut as cut_object;
use s3stream::wal::open_object::OpenObject;
use s3stream::wal::{Append, Prefix, StreamSink};

use crate::random;

/// Blocks in the index that is looked up.
const BLOCKS: u64 = 1_000_000;
/// Offsets of a block.
const OFFSETS: u64 = 16;
/// Blocks pushed to a new index under measurement.
const PUSHED: u64 = 1_000;
/// A batch header: what of it the broker has stamped.
const PREFIX_BYTES: usize = 61;

/// Push and look-up by offset and by time; an ordered map of the same blocks is what one would take otherwise.
pub fn index(c: &mut Criterion) {
    let mut index = StreamIndex::new(0);
    let mut map = BTreeMap::new();
    for n in 0..BLOCKS {
        index.push(block(n));
        map.insert(n * OFFSETS, block(n));
    }
    // Steps of a prime: no two look-ups near each other.
    let mut n = 0u64;
    let mut offset = move || {
        n = (n + 7_368_787) % (BLOCKS * OFFSETS);
        n
    };
    let mut group = c.benchmark_group("stream index");
    group.bench_function("look-up, 1 block of 1,000,000", |b| {
        b.iter(|| index.lookup(black_box(offset()), 1).expect("inside"))
    });
    group.bench_function("look-up, 64 blocks of 1,000,000", |b| {
        b.iter(|| index.lookup(black_box(offset()), 64 * 100).expect("inside"))
    });
    group.bench_function("baseline: ordered map, 1 block of 1,000,000", |b| {
        b.iter(|| map.range(..=black_box(offset())).next_back().expect("inside").1.base)
    });
    group.bench_function("look-up by time", |b| {
        b.iter(|| index.blocks_from_timestamp(black_box((offset() / OFFSETS) as i64)).next().expect("inside"))
    });
    group.throughput(Throughput::Elements(PUSHED));
    group.bench_function("push 1,000 blocks", |b| {
        b.iter(|| {
            let mut index = StreamIndex::new(0);
            (0..PUSHED).for_each(|n| index.push(block(n)));
            index
        })
    });
    group.bench_function("baseline: ordered map, push 1,000 blocks", |b| {
        b.iter(|| (0..PUSHED).map(|n| (n * OFFSETS, block(n))).collect::<BTreeMap<_, _>>())
    });
    group.finish();
}

/// Sorting, copying and summing an open object of 4 MiB; the copy and the CRC of as many bytes is the floor.
pub fn cut(c: &mut Criterion) {
    let mut group = c.benchmark_group("cut of an open object");
    for (streams, length) in [(4u64, 96 << 10), (4, 16 << 10), (1_000, 1 << 10)] {
        let total: usize = 4 << 20;
        let appends = total / length;
        let body = Bytes::from(random(length - PREFIX_BYTES));
        let pool = ChunkPool::new(16 << 20);
        let name = format!("{appends} batches of {} KiB, {streams} streams", length >> 10);
        group.throughput(Throughput::Bytes((appends * length) as u64));
        group.bench_function(BenchmarkId::new("cut", &name), |b| {
            b.iter_batched(
                || open(appends as u64, streams, &body),
                |open| cut_object(open, lane(), LaneRef(0), Nonce(2), &pool),
                BatchSize::SmallInput,
            )
        });
        let source = random(appends * length);
        let mut target = vec![0; source.len()];
        group.bench_function(BenchmarkId::new("baseline: copy and CRC", &name), |b| {
            b.iter(|| {
                black_box(&mut target).copy_from_slice(black_box(&source));
                crc32fast::hash(&target)
            })
        });
    }
    group.finish();
}

fn block(n: u64) -> BlockRef {
    BlockRef {
        lane: LaneRef(0),
        number: LaneNumber(n / 8),
        position: n % 8 * 100,
        length: 100,
        epoch: StreamEpoch(0),
        base: n * OFFSETS,
        end: (n + 1) * OFFSETS,
        max_timestamp: n as i64,
        crc: n as u32,
        small: false,
    }
}

fn lane() -> LaneId {
    LaneId { incarnation: Incarnation { seq: 1, index: 0 }, nonce: Nonce(1) }
}

/// Tells nobody.
struct Deaf;

impl StreamSink for Deaf {
    fn durable(&self, _: LaneNumber, _: &[BlockRef]) {}
}

/// An open object as producers leave it: streams in turn.
fn open(appends: u64, streams: u64, body: &Bytes) -> OpenObject {
    let sink: Arc<dyn StreamSink> = Arc::new(Deaf);
    let prefix = Prefix::new(&[7; PREFIX_BYTES]).expect("fits");
    let mut open = OpenObject::new(LaneNumber(0));
    for n in 0..appends {
        let append = Append {
            stream: StreamId(n % streams),
            epoch: StreamEpoch(0),
            base: n / streams,
            count: 1,
            max_timestamp: 1_000,
            prefix,
            body: body.clone(),
            attachment: None,
            sink: sink.clone(),
            charge: None,
        };
        open.push(append, || Duration::ZERO);
    }
    open
}
