//! Log compaction (`cleanup.policy=compact`): of every key the last value stays, and offsets never change. Pure but
//! for the shell: bytes, times and configuration are arguments.
//!
//! A round of one partition, in files:
//! 1. [`plan`]: which partition, and from where to where? Log start … `dirty_from` … `until`.
//! 2. [`build_map`] reads the dirty section into the [`offset_map`] until that is full: key → latest offset. The offset it
//!    comes to is where this round ends, and where the next one's dirty section begins.
//! 3. [`filter`] passes every batch from the log start to there: kept as it is, rewritten, emptied, or dropped.
//!
//! [`section`] makes the objects of what pass 2 leaves. The shell: [`task`] looks what is to be done, `round` does it,
//! `read` and `write` are the way from and to the bucket, `ages` knows how long something waits. [`transactions`] follows transactions through either pass; [`stats`] is what a round did.
//!
//! (Kafka: `Cleaner`, `LogCleanerManager`; KIP-58, KIP-354, KIP-534.)

mod ages;
pub mod build_map;
pub mod filter;
pub mod offset_map;
pub mod plan;
mod read;
mod round;
pub mod section;
pub mod stats;
pub mod task;
pub mod transactions;
mod write;

#[cfg(test)]
mod build_map_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod samples;

use protocol::record_batch::{Batch, BatchError};
use thiserror::Error;

/// Why a partition cannot be cleaned: its bytes are not what a log holds. It is to be left alone (Kafka marks it
/// uncleanable), the others go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CleaningError {
    /// A batch or a record that cannot be read.
    #[error("batch at offset {base_offset}: {error}")]
    Batch {
        /// Offset of the batch.
        base_offset: i64,
        /// What is wrong with it.
        error: BatchError,
    },
    /// Offsets of a batch that no log gives.
    #[error("batch at offset {base_offset} with last offset delta {last_offset_delta}")]
    BatchOffsets {
        /// In its header.
        base_offset: i64,
        /// In its header.
        last_offset_delta: i32,
    },
    /// A record's offset is not after the one before, or not in its batch.
    #[error("record at offset {offset} in the batch at offset {base_offset}")]
    RecordOffset {
        /// Offset of the batch.
        base_offset: i64,
        /// Offset of the record.
        offset: i64,
    },
}

impl CleaningError {
    fn of(batch: &Batch) -> impl Fn(BatchError) -> CleaningError + use<> {
        let base_offset = batch.header().base_offset;
        move |error| CleaningError::Batch { base_offset, error }
    }
}

/// Offsets are keys of the map and deltas of what is rewritten: checked before they are either.
fn check_offsets(batch: &Batch) -> Result<(), CleaningError> {
    let header = batch.header();
    let (base_offset, last_offset_delta) = (header.base_offset, header.last_offset_delta);
    let last = base_offset.checked_add(i64::from(last_offset_delta));
    if base_offset < 0 || last_offset_delta < 0 || last.is_none_or(|last| last == i64::MAX) {
        return Err(CleaningError::BatchOffsets { base_offset, last_offset_delta });
    }
    Ok(())
}

/// The order of the records of a batch, checked one by one.
struct RecordOrder {
    base_offset: i64,
    next: i64,
    end: i64,
}

impl RecordOrder {
    fn of(batch: &Batch) -> RecordOrder {
        let header = batch.header();
        RecordOrder { base_offset: header.base_offset, next: header.base_offset, end: header.next_offset() }
    }

    fn check(&mut self, offset: i64) -> Result<(), CleaningError> {
        if offset < self.next || offset >= self.end {
            return Err(CleaningError::RecordOffset { base_offset: self.base_offset, offset });
        }
        self.next = offset + 1;
        Ok(())
    }
}
