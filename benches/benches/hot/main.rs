//! The hot pure pieces, alone: `cargo bench -p aquifer-benches [FILTER]`, about a minute.
//!
//! Each group has a baseline from the same run where there is one: what the message codec's crate takes for the same
//! work, or what cannot be avoided (the CRC, the copy). Times are the machine's; what to watch is the distance between
//! a piece and its baseline. `wire.rs` is `protocol`, `produce.rs` and `cleaner.rs` the broker's judgement, `storage.rs` s3stream.

#![allow(missing_docs, reason = "criterion's macros make undocumented public items")]

use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use protocol::batch_builder::BatchBuilder;
use protocol::compression::Compression;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

mod cleaner;
mod produce;
mod storage;
mod wire;

/// Bytes of a record value.
const VALUE_BYTES: usize = 1000;

/// `length` random bytes, always the same.
fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
    bytes
}

/// A batch of `records` records of [`VALUE_BYTES`], half of each random, by an idempotent producer.
fn batch(records: usize, compression: Compression) -> Bytes {
    let values = random(records * VALUE_BYTES);
    let mut builder = BatchBuilder::new().compression(compression).producer(7, 0, 0);
    for (i, value) in values.chunks(VALUE_BYTES).enumerate() {
        let mut value = value.to_vec();
        value[VALUE_BYTES / 2..].fill(b'v');
        builder = builder.append(1_000 + i as i64, None, Some(&value), &[]);
    }
    builder.build()
}

fn bounded() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
}

criterion_group! {
    name = hot;
    config = bounded();
    targets = wire::crc, wire::batch_view, wire::guard, wire::fetch_response,
        produce::validation, produce::admission, storage::index, storage::cut, cleaner::passes
}
criterion_main!(hot);
