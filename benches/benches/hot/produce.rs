//! Is a batch honest, and is it its producer's next?

use std::hint::black_box;

use broker::config::topic::TopicConfig;
use broker::config::{BrokerConfig, Values, topic_keys};
use broker::partition::append::validate;
use broker::partition::producer_state::{KnownBatch, ProducerStates, Sequenced};
use criterion::{BenchmarkId, Criterion, Throughput};
use protocol::compression::Compression;
use protocol::record_batch::{BatchHeader, crc32c};
use s3stream::ids::LaneNumber;

use crate::batch;

/// Judging a batch of a produce request; the CRC of the same bytes is what cannot be left out.
pub fn validation(c: &mut Criterion) {
    let broker: Values = BrokerConfig::read([].into_iter()).expect("the defaults are valid").values;
    let config = TopicConfig::read(&topic_keys::effective(&broker, [].into_iter()));
    let mut group = c.benchmark_group("produce validation");
    for (records, codec) in
        [(1, Compression::None), (16, Compression::None), (900, Compression::None), (900, Compression::Lz4)]
    {
        let bytes = batch(records, codec);
        let name = format!("{records} records, {codec:?}");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("validate", &name), |b| {
            b.iter(|| validate(Some(black_box(bytes.clone())), 9, &config, 2_000, 8 << 20).expect("honest"))
        });
        group.bench_function(BenchmarkId::new("baseline: CRC alone", &name), |b| {
            b.iter(|| crc32c(black_box(&bytes)))
        });
    }
    group.finish();
}

/// Admission of the next batch of a producer, in turn, among few and among many.
pub fn admission(c: &mut Criterion) {
    let mut group = c.benchmark_group("producer admission");
    for producers in [1i64, 100, 10_000] {
        let bytes = batch(1, Compression::None);
        let mut header = BatchHeader::parse(&bytes).expect("a header");
        let mut states = ProducerStates::default();
        let mut turn = 0i64;
        group.bench_function(BenchmarkId::new("check and record", producers), |b| {
            b.iter(|| {
                header.producer_id = turn % producers;
                header.base_sequence = ((turn / producers) % i64::from(i32::MAX)) as i32;
                assert_eq!(states.check(black_box(&header)), Ok(Sequenced::Next));
                let known = KnownBatch {
                    first_sequence: header.base_sequence,
                    last_sequence: header.last_sequence(),
                    base_offset: turn,
                    last_offset: turn,
                    timestamp: 1_000,
                    at: Some(LaneNumber(turn as u64)),
                };
                states.record(header.producer_id, 0, known);
                turn += 1;
            })
        });
    }
    group.finish();
}
