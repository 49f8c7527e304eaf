//! Rebuilding a shard: every record of its partition, in order, through the same `replay` as live traffic (I5).

use std::sync::Arc;

use bytes::Bytes;
use protocol::control_batch::{EndTransaction, parse_control_batch};
use protocol::record_batch::{Batch, split_batches};
use s3stream::block_ref::BlockRef;

use super::group::{GroupRecord, GroupShard};
use crate::broker::Broker;
use crate::fetch::locate::{blocks, locate};
use crate::partition::Partition;
use crate::partition::slice::whole_batches;

/// Read at a time.
const STEP_BYTES: usize = 4 << 20;
/// No batch of ours is larger when decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// Why a shard cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bucket did not answer.
    #[error("{0}")]
    Read(String),
    /// The log holds what is not a record of a group.
    #[error("offset {offset} cannot be read: {reason}")]
    Corrupt {
        /// Of the batch.
        offset: i64,
        /// Why.
        reason: String,
    },
}

/// Replays everything below the high watermark.
pub async fn load(
    broker: &Arc<Broker>,
    partition: &Arc<Partition>,
    mut shard: GroupShard,
) -> Result<GroupShard, LoadError> {
    // A closed partition must not look like an empty one: members would start from nothing.
    partition.check_epoch(-1).map_err(|e| LoadError::Read(e.to_string()))?;
    let offsets = partition.offsets();
    let mut offset = offsets.log_start;
    while offset < offsets.high_watermark {
        let located = locate(broker, partition, offset, STEP_BYTES);
        let located = located.map_err(|e| LoadError::Read(e.to_string()))?;
        let blocks = blocks(broker, located).await.map_err(|e| LoadError::Read(e.to_string()))?;
        let blocks = read(broker, &blocks).await?;
        let before = offset;
        for slice in whole_batches(&blocks, offset, usize::MAX, true) {
            for batch in split_batches(slice) {
                let batch = batch.map_err(|e| LoadError::Corrupt { offset, reason: e.to_string() })?;
                replay(&mut shard, &batch)?;
                offset = batch.header().next_offset();
            }
        }
        if offset == before {
            return Err(LoadError::Corrupt { offset, reason: "no batch at this offset".into() });
        }
    }
    Ok(shard)
}

async fn read(broker: &Broker, blocks: &[BlockRef]) -> Result<Vec<Bytes>, LoadError> {
    let in_memory: Vec<Bytes> = blocks.iter().map_while(|b| broker.reader.memory(b)).collect();
    if !in_memory.is_empty() {
        return Ok(in_memory);
    }
    broker.reader.load_at_once(blocks).await.map_err(|e| LoadError::Read(e.to_string()))
}

fn replay(shard: &mut GroupShard, batch: &Batch) -> Result<(), LoadError> {
    let header = batch.header();
    let corrupt = |reason: String| LoadError::Corrupt { offset: header.base_offset, reason };
    if header.is_control() {
        let marker = parse_control_batch(batch).map_err(|e| corrupt(e.to_string()))?;
        if let Some(marker) = marker {
            shard.replay_marker(header.producer_id, marker.kind == EndTransaction::Commit);
        }
        return Ok(());
    }
    for record in batch.records(DECOMPRESSED_BYTES_MAX).map_err(|e| corrupt(e.to_string()))? {
        let record = record.map_err(|e| corrupt(e.to_string()))?;
        let key = record.key.as_deref().unwrap_or_default();
        let decoded =
            GroupRecord::decode(key, record.value.as_deref()).map_err(|e| corrupt(e.to_string()))?;
        // None: a key version of a later release, skipped as Kafka does.
        let Some(decoded) = decoded else { continue };
        if header.is_transactional() {
            shard.replay_transactional(header.producer_id, &decoded);
        } else {
            shard.replay(&decoded);
        }
    }
    Ok(())
}
