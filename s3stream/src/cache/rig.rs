//! Objects for the tests of caches, readers and recovery.

use std::sync::Arc;

use crate::ids::{Incarnation, LaneId, Nonce, StreamEpoch, StreamId};
use crate::object::format::{ObjectHeader, ObjectKind};
use crate::object::writer::{Object, ObjectBuilder};
use crate::wal::chunk::ChunkPool;

/// The lane of incarnation (`seq`, 0).
pub fn lane(seq: u64) -> LaneId {
    LaneId { incarnation: Incarnation { seq, index: 0 }, nonce: Nonce(seq) }
}

/// Object `number` of lane 1: one block of ten records per (stream, base, body), epoch 0, timestamps are offsets.
pub fn object(number: u64, blocks: &[(u64, u64, &[u8])]) -> Arc<Object> {
    let header = ObjectHeader::new(ObjectKind::Wal, lane(1), number, Nonce(number));
    let bytes = blocks.iter().map(|(_, _, body)| body.len()).sum();
    let mut builder = ObjectBuilder::new(header, ChunkPool::new(0), bytes, blocks.len());
    for (stream, base, body) in blocks {
        let end = base + 10;
        builder.append(StreamId(*stream), StreamEpoch(0), *base, end, end as i64 - 1, &[body]);
    }
    Arc::new(builder.finish())
}
