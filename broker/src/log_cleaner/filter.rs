//! Pass 2: one batch in, and what stays of it out.
//!
//! Owns: which records stay, when tombstones and markers may go, what must be left of a batch without records. Does not own
//! reading, writing or naming batches anew. (Kafka: `Cleaner.cleanInto`, `shouldDiscardBatch`, `shouldRetainRecord`;
//! `MemoryRecords.filterTo`; KIP-534.)
//!
//! | record below `until` | |
//! |---|---|
//! | in an aborted transaction | goes |
//! | without a key | goes |
//! | its key stands in the map at a later offset | goes |
//! | tombstone, and its batch's delete horizon has come | goes |
//! | marker, nothing of its transaction is left, and its batch's delete horizon has come | goes |
//! | any other | stays, at its offset |
//!
//! Where a tombstone stays, or a marker of which nothing is left, its batch gets a delete horizon if it has none: readers
//! have `delete.retention.ms` from then on to see it.
//!
//! Three differences from Kafka, none of which a client can tell but by a bound kept more strictly:
//! - What stays keeps its bytes: base timestamp and timestamp deltas are encoded anew only if a horizon is set.
//! - A batch that reaches past `until` gets no horizon yet: older values of its later keys still stand, and a reader of these
//!   is owed the whole time.
//! - A horizon that a timestamp could not be written relative to is not set; such tombstones stay.

use std::collections::HashMap;

use bytes::Bytes;
use protocol::batch_builder::{BatchBuilder, emptied};
use protocol::record::{RecordView, Records};
use protocol::record_batch::{Batch, BatchHeader};

use super::offset_map::OffsetMap;
use super::stats::CleanerStats;
use super::transactions::CleanedTransactions;
use super::{CleaningError, RecordOrder, check_offsets};

/// What a producer that may still write has written last (Kafka: `LastRecord`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// Offset of its last record of data; None if it wrote only markers since it was seen first.
    pub last_data_offset: Option<i64>,
    /// Its epoch.
    pub producer_epoch: i16,
}

/// What a round is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterRules {
    /// End of what the map covers: records from here on stay as they are.
    pub until: i64,
    /// End of the section that was planned, `until` or more: the batch that ends there stays, if only its header, so that
    /// the log's end can be read off its last batch (`upperBoundOffsetOfCleaningRound`).
    pub upper_bound: i64,
    /// The time, ms since 1970.
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Most bytes one compressed batch takes decompressed.
    pub decompressed_bytes_max: usize,
}

/// What stays of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// All, as it is: the same bytes, by reference.
    Keep(Bytes),
    /// Some records, or all with a delete horizon: another batch in the place of this one. Offsets, producer, sequences,
    /// leader epoch, codec and timestamp type are those of the old.
    Rewrite(Bytes),
    /// The header alone.
    KeepEmpty(Bytes),
    /// Nothing.
    Drop,
}

impl Filtered {
    /// The bytes to store in the place of the batch.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Filtered::Keep(bytes) | Filtered::Rewrite(bytes) | Filtered::KeepEmpty(bytes) => Some(bytes),
            Filtered::Drop => None,
        }
    }
}

/// See the module. Pass every batch from the log start on, in order of offset.
pub struct Filter<'a> {
    map: &'a OffsetMap,
    rules: FilterRules,
    producers: &'a HashMap<i64, LastRecord>,
    transactions: CleanedTransactions,
    /// Of the records of the batch at hand: which stay.
    retained: Vec<bool>,
    stats: CleanerStats,
}

/// What is known of a batch before its records are read (`RecordFilter.BatchRetentionResult`).
struct BatchRetention {
    /// Its records go, whatever they are (Kafka: `discardBatchRecords`).
    discard_records: bool,
    /// Its header stays (Kafka: `RETAIN_EMPTY`).
    retain_empty: bool,
    /// It is a marker of which nothing is left (Kafka: `containsMarkerForEmptyTxn`).
    marker_for_empty_transaction: bool,
}

impl<'a> Filter<'a> {
    /// For one round: the map that pass 1 made, the producers that are active, and the transactions of the whole range from
    /// the log start on.
    pub fn new(
        map: &'a OffsetMap,
        rules: FilterRules,
        producers: &'a HashMap<i64, LastRecord>,
        transactions: CleanedTransactions,
    ) -> Filter<'a> {
        assert!(rules.until <= rules.upper_bound, "{rules:?}");
        let stats = CleanerStats::default();
        Filter { map, rules, producers, transactions, retained: Vec::new(), stats }
    }

    /// Passes one batch.
    pub fn filter(&mut self, batch: &Batch) -> Result<Filtered, CleaningError> {
        check_offsets(batch)?;
        let header = batch.header();
        self.stats.bytes_read += header.size() as u64;
        self.stats.messages_read += header.record_count.max(0) as u64;
        if header.base_offset >= self.rules.until {
            self.written(header.size(), header.record_count);
            self.stats.bytes_untouched += header.size() as u64;
            return Ok(Filtered::Keep(batch.bytes().clone()));
        }
        let retention = self.batch_retention(batch)?;
        if retention.discard_records && self.is_covered(header) {
            return Ok(self.without_records(batch, &retention));
        }
        self.filter_records(batch, &retention)
    }

    /// What the round did in this pass.
    pub fn stats(&self) -> &CleanerStats {
        &self.stats
    }

    /// See [`CleanedTransactions::retained`].
    pub fn transactions(&self) -> &CleanedTransactions {
        &self.transactions
    }

    /// `checkBatchRetention`.
    fn batch_retention(&mut self, batch: &Batch) -> Result<BatchRetention, CleaningError> {
        let header = batch.header();
        let (can_discard, horizon_came) = if header.is_control() {
            let can_discard = self.transactions.on_control_batch(batch).map_err(CleaningError::of(batch))?;
            (can_discard, header.delete_horizon().is_some_and(|horizon| horizon <= self.rules.now_ms))
        } else {
            (self.transactions.on_batch(batch), true)
        };
        Ok(BatchRetention {
            discard_records: can_discard && horizon_came,
            retain_empty: header.next_offset() >= self.rules.upper_bound || self.is_last_of_producer(header),
            marker_for_empty_transaction: can_discard && header.is_control(),
        })
    }

    /// Whether the batch holds what an active producer is known by: its last sequence, or, where it wrote only markers, its
    /// epoch, which fences older ones.
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let Some(last) = self.producers.get(&header.producer_id).filter(|_| header.has_producer_id()) else {
            return false;
        };
        match last.last_data_offset {
            Some(offset) => header.last_offset() == offset,
            None => header.is_control() && header.producer_epoch == last.producer_epoch,
        }
    }

    fn filter_records(
        &mut self,
        batch: &Batch,
        retention: &BatchRetention,
    ) -> Result<Filtered, CleaningError> {
        let header = batch.header();
        let error = CleaningError::of(batch);
        let mut order = RecordOrder::of(batch);
        let mut records = batch.records(self.rules.decompressed_bytes_max).map_err(&error)?;
        let again = records.clone();
        self.retained.clear();
        let (mut count, mut tombstones, mut earliest) = (0, false, i64::MAX);
        while let Some(record) = records.next_view() {
            let record = record.map_err(&error)?;
            order.check(record.offset)?;
            let stays = self.retains(header, retention, &record);
            self.retained.push(stays);
            if stays {
                count += 1;
                tombstones |= record.value.is_none();
                earliest = earliest.min(record.timestamp);
            }
        }
        if count == 0 {
            return Ok(self.without_records(batch, retention));
        }
        let horizon =
            self.new_horizon(header, tombstones || retention.marker_for_empty_transaction, earliest);
        let filtered = if horizon.is_none() && count as usize == self.retained.len() {
            self.stats.bytes_untouched += header.size() as u64;
            Filtered::Keep(batch.bytes().clone())
        } else {
            // What is damaged must not come out with a CRC that calls it whole.
            batch.check_crc().map_err(&error)?;
            Filtered::Rewrite(self.rewritten(header, again, horizon).map_err(&error)?)
        };
        self.written(filtered.bytes().map_or(0, Bytes::len), count);
        Ok(filtered)
    }

    /// `shouldRetainRecord`, both of them.
    fn retains(&mut self, header: &BatchHeader, retention: &BatchRetention, record: &RecordView<'_>) -> bool {
        if record.offset >= self.rules.until {
            return true;
        }
        if retention.discard_records {
            return false;
        }
        if header.is_control() {
            return true;
        }
        let Some(key) = record.key else {
            self.stats.invalid_messages_read += 1;
            return false;
        };
        if self.map.get(key).is_some_and(|latest| record.offset < latest) {
            return false;
        }
        record.value.is_some() || header.delete_horizon().is_none_or(|horizon| self.rules.now_ms < horizon)
    }

    /// The horizon that the batch gets now.
    fn new_horizon(&self, header: &BatchHeader, wanted: bool, earliest: i64) -> Option<i64> {
        if !wanted || header.delete_horizon().is_some() || !self.is_covered(header) {
            return None;
        }
        let horizon = self.rules.now_ms.saturating_add(self.rules.delete_retention_ms);
        earliest.checked_sub(horizon).map(|_| horizon)
    }

    /// Whether the map covers the batch to its end.
    fn is_covered(&self, header: &BatchHeader) -> bool {
        header.next_offset() <= self.rules.until
    }

    fn rewritten(
        &self,
        header: &BatchHeader,
        mut records: Records,
        horizon: Option<i64>,
    ) -> Result<Bytes, protocol::record_batch::BatchError> {
        let mut builder = BatchBuilder::like(header, header.compression()?);
        if let Some(horizon) = horizon {
            builder = builder.delete_horizon(horizon);
        }
        let mut retained = self.retained.iter();
        while let (Some(record), Some(stays)) = (records.next_view(), retained.next()) {
            let record = record?;
            if *stays {
                builder = builder.append_view(&record);
            }
        }
        Ok(builder.build())
    }

    fn without_records(&mut self, batch: &Batch, retention: &BatchRetention) -> Filtered {
        let header = batch.header();
        if !retention.retain_empty {
            return Filtered::Drop;
        }
        if header.record_count == 0 {
            self.stats.bytes_untouched += header.size() as u64;
            self.written(header.size(), 0);
            return Filtered::Keep(batch.bytes().clone());
        }
        let bytes = emptied(header);
        self.written(bytes.len(), 0);
        Filtered::KeepEmpty(bytes)
    }

    fn written(&mut self, bytes: usize, messages: i32) {
        self.stats.bytes_written += bytes as u64;
        self.stats.messages_written += messages.max(0) as u64;
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
