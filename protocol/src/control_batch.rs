//! Control batches: what a broker writes into a partition for clients to obey.
//!
//! Owns: the end-transaction marker, read and written. Control records of other types (leader change, KRaft
//! versions, snapshots) are Kafka's raft log's; we skip what we do not know, as clients do.
//!
//! Key: version i16, type i16 (0 abort, 1 commit). Value: version i16, coordinator epoch i32; later versions
//! add fields behind. (Kafka: `ControlRecordType`, `EndTransactionMarker`; KIP-98.)

use bytes::Bytes;

use crate::batch_builder::BatchBuilder;
use crate::record::RecordFault;
use crate::record_batch::{Batch, BatchError, NO_SEQUENCE};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 0;
const TYPE_ABORT: i16 = 0;
const TYPE_COMMIT: i16 = 1;
/// Most bytes a control batch takes decompressed; Kafka's hold a dozen.
const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndTransaction {
    /// Its records are not to be read.
    Abort,
    /// Its records are to be read.
    Commit,
}

/// The end of a transaction in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// How it ended.
    pub kind: EndTransaction,
    /// Epoch of the transaction coordinator that decided, which fences older ones.
    pub coordinator_epoch: i32,
}

/// The marker's batch: one control record, transactional, base offset 0 until stamped.
pub fn end_transaction_batch(
    producer_id: i64,
    producer_epoch: i16,
    timestamp_ms: i64,
    marker: EndTransactionMarker,
) -> Bytes {
    let kind = match marker.kind {
        EndTransaction::Abort => TYPE_ABORT,
        EndTransaction::Commit => TYPE_COMMIT,
    };
    let mut key = [0u8; 4];
    key[..2].copy_from_slice(&KEY_VERSION.to_be_bytes());
    key[2..].copy_from_slice(&kind.to_be_bytes());
    let mut value = [0u8; 6];
    value[..2].copy_from_slice(&VALUE_VERSION.to_be_bytes());
    value[2..].copy_from_slice(&marker.coordinator_epoch.to_be_bytes());
    BatchBuilder::new()
        .producer(producer_id, producer_epoch, NO_SEQUENCE)
        .transactional(true)
        .control(true)
        .append(timestamp_ms, Some(&key), Some(&value), &[])
        .build()
}

/// The marker in a control batch; `None` for a control record of another type.
///
/// # Panics
/// If the batch is not a control batch: data must not be taken for a marker.
pub fn parse_control_batch(batch: &Batch) -> Result<Option<EndTransactionMarker>, BatchError> {
    assert!(batch.header().is_control(), "not a control batch: {:?}", batch.header());
    let Some(record) = batch.records(CONTROL_BYTES_MAX)?.next().transpose()? else {
        // Log compaction leaves control batches without a record (MemoryRecords.filterTo).
        return Ok(None);
    };
    let malformed = BatchError::Record { index: 0, fault: RecordFault::EndsEarly };
    let key = record.key.as_deref().and_then(<[u8]>::first_chunk::<4>).ok_or(malformed.clone())?;
    let kind = match i16::from_be_bytes([key[2], key[3]]) {
        TYPE_ABORT => EndTransaction::Abort,
        TYPE_COMMIT => EndTransaction::Commit,
        _ => return Ok(None),
    };
    let value = record.value.as_deref().and_then(<[u8]>::first_chunk::<6>).ok_or(malformed)?;
    let coordinator_epoch = i32::from_be_bytes([value[2], value[3], value[4], value[5]]);
    Ok(Some(EndTransactionMarker { kind, coordinator_epoch }))
}
