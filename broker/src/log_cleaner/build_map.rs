//! Pass 1: the keys of the dirty section into the offset map.
//!
//! Owns: which records count (committed or not transactional, with a key, inside the section), and how far the map reaches
//! when it is full. Does not own reading batches. (Kafka: `Cleaner.buildOffsetMap`, `buildOffsetMapForSegment`.)

use protocol::record_batch::Batch;

use super::offset_map::OffsetMap;
use super::stats::CleanerStats;
use super::transactions::CleanedTransactions;
use super::{CleaningError, RecordOrder, check_offsets};

/// Whether to feed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// The next batch, please.
    More,
    /// Enough: the map is full, or the batch lies at or above the section's end.
    Enough,
}

/// See the module. Feed batches in order of offset, from the one that holds the section's first offset, until [`Fed::Enough`]
/// or until there are no more below the section's end; then [`MapBuilder::finish`].
pub struct MapBuilder<'a> {
    map: &'a mut OffsetMap,
    dirty_from: i64,
    until: i64,
    transactions: CleanedTransactions,
    decompressed_bytes_max: usize,
    full: bool,
    stats: CleanerStats,
}

impl<'a> MapBuilder<'a> {
    /// For the section [`dirty_from`, `until`) of a [`super::plan::Cleaning`]. `map`: empty. `transactions`: of the section.
    /// `decompressed_bytes_max`: of one batch, compressed ones only.
    pub fn new(
        map: &'a mut OffsetMap,
        dirty_from: i64,
        until: i64,
        transactions: CleanedTransactions,
        decompressed_bytes_max: usize,
    ) -> MapBuilder<'a> {
        assert!(map.is_empty() && map.latest_offset().is_none(), "the map holds another section");
        let stats = CleanerStats::default();
        MapBuilder { map, dirty_from, until, transactions, decompressed_bytes_max, full: false, stats }
    }

    /// Passes one batch.
    pub fn feed(&mut self, batch: &Batch) -> Result<Fed, CleaningError> {
        check_offsets(batch)?;
        let header = batch.header();
        if self.full || header.base_offset >= self.until {
            return Ok(Fed::Enough);
        }
        self.stats.map_bytes_read += header.size() as u64;
        let counted = header.record_count.max(0) as u64;
        if header.is_control() {
            self.transactions.on_control_batch(batch).map_err(CleaningError::of(batch))?;
            self.stats.map_messages_read += counted;
        } else if self.transactions.on_batch(batch) || header.next_offset() <= self.dirty_from {
            // Aborted values supersede nothing; clean ones are superseded by the section or stay.
            self.stats.map_messages_read += counted;
        } else if !self.feed_records(batch)? {
            self.full = true;
            return Ok(Fed::Enough);
        }
        if header.last_offset() >= self.dirty_from {
            self.map.update_latest_offset(header.last_offset().min(self.until - 1));
        }
        Ok(Fed::More)
    }

    /// False once the map is full: what was put before counts.
    fn feed_records(&mut self, batch: &Batch) -> Result<bool, CleaningError> {
        let error = CleaningError::of(batch);
        let mut order = RecordOrder::of(batch);
        let mut records = batch.records(self.decompressed_bytes_max).map_err(&error)?;
        while let Some(record) = records.next_view() {
            let record = record.map_err(&error)?;
            order.check(record.offset)?;
            if record.offset >= self.until {
                break;
            }
            if let Some(key) = record.key
                && record.offset >= self.dirty_from
                && !self.map.put(key, record.offset)
            {
                return Ok(false);
            }
            self.stats.map_messages_read += 1;
        }
        Ok(true)
    }

    /// The end offset that was covered, and what it took: the section's end, or, if the map is full, the offset after the last
    /// one that it knows of, which may lie inside a batch.
    pub fn finish(mut self) -> (i64, CleanerStats) {
        if !self.full && self.until > self.dirty_from {
            // Where offsets are missing before the end, nothing is there to be looked at.
            self.map.update_latest_offset(self.until - 1);
        }
        self.stats.buffer_utilization = self.map.utilization();
        let covered = self.map.latest_offset().map_or(self.dirty_from, |latest| latest + 1);
        (covered.max(self.dirty_from), self.stats)
    }
}
