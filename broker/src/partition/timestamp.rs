//! Finding records by time, exact to the record: the index says which blocks may hold one, the block says which it is.

use std::sync::Arc;

use bytes::Bytes;
use protocol::record_batch::{Batch, BatchError, TimestampType, split_batches};
use s3stream::block_ref::BlockRef;

use super::Partition;
use crate::broker::Broker;

/// No batch is larger when decompressed: produce refused it.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Its timestamp.
    pub timestamp: i64,
    /// Its offset.
    pub offset: i64,
    /// The leader epoch it was written in.
    pub leader_epoch: i32,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The bucket did not answer.
    #[error("{0}")]
    Read(String),
    /// A stored batch cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// The first record at or after `timestamp`.
pub async fn first_from(
    broker: &Arc<Broker>,
    partition: &Partition,
    timestamp: i64,
) -> Result<Option<TimestampedOffset>, LookupError> {
    let log_start = partition.offsets().log_start;
    for block in partition.blocks_from_timestamp(timestamp) {
        for batch in split_batches(read(broker, &block).await?) {
            let batch = batch?;
            if batch.header().next_offset() <= log_start {
                continue;
            }
            if let Some(found) = first_in(&batch, log_start, |t| t >= timestamp)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// The record with the largest timestamp; the first of them where several have it (KIP-734).
pub async fn max(
    broker: &Arc<Broker>,
    partition: &Partition,
) -> Result<Option<TimestampedOffset>, LookupError> {
    let Some(block) = partition.block_of_max_timestamp() else { return Ok(None) };
    let log_start = partition.offsets().log_start;
    let mut best: Option<TimestampedOffset> = None;
    for batch in split_batches(read(broker, &block).await?) {
        let batch = batch?;
        let above = best.map_or(-1, |b| b.timestamp);
        let mut from = above;
        while let Some(found) = first_in(&batch, log_start, |t| t > from)? {
            from = found.timestamp;
            best = Some(found);
        }
    }
    Ok(best)
}

fn first_in(
    batch: &Batch,
    log_start: i64,
    wanted: impl Fn(i64) -> bool,
) -> Result<Option<TimestampedOffset>, BatchError> {
    let header = batch.header();
    let leader_epoch = header.partition_leader_epoch;
    if header.timestamp_type() == TimestampType::LogAppendTime {
        // All records of the batch bear the batch's time.
        let offset = header.base_offset.max(log_start);
        let found = TimestampedOffset { timestamp: header.max_timestamp, offset, leader_epoch };
        return Ok(wanted(header.max_timestamp).then_some(found));
    }
    for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
        let record = record?;
        if record.offset >= log_start && wanted(record.timestamp) {
            return Ok(Some(TimestampedOffset {
                timestamp: record.timestamp,
                offset: record.offset,
                leader_epoch,
            }));
        }
    }
    Ok(None)
}

async fn read(broker: &Broker, block: &BlockRef) -> Result<Bytes, LookupError> {
    if let Some(bytes) = broker.reader.memory(block) {
        return Ok(bytes);
    }
    let mut blocks = broker
        .reader
        .load(std::slice::from_ref(block))
        .await
        .map_err(|e| LookupError::Read(e.to_string()))?;
    blocks.pop().ok_or_else(|| LookupError::Read("a block was read as nothing".into()))
}
