//! What pass 2 writes: consecutive ranges of a stream become objects that cover the same offsets (p). One object, unless that
//! grows too large: then it is cut behind any batch that stays.
//!
//! Where batches went, the next one's block reaches down over their offsets; and the last batch of every run of offsets stays,
//! if only its header. So every offset of a part lies in a block whose last batch ends where the block does: a reader of any
//! offset finds a batch at or after it, and never waits at a hole (PROTOCOL 2.6, "or is the last batch").

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::batch_builder::emptied;
use protocol::record_batch::BatchHeader;
use s3stream::catalog::{ObjectPart, StreamRange};
use s3stream::ids::StreamId;
use s3stream::object::{BlockKind, Composed, Composer, IndexEntry};
use thiserror::Error;

use super::filter::Filtered;

/// No timestamp: of a block without records.
const NO_TIMESTAMP: i64 = -1;

/// The batches do not fit the ranges they were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SectionError {
    /// A batch reaches outside of its run of offsets, or into the batch before it.
    #[error("a batch of the offsets {base_offset}..{next_offset} where {expected}..{end} is to be covered")]
    OutOfPlace {
        /// Of the batch.
        base_offset: i64,
        /// Of the batch.
        next_offset: i64,
        /// What was covered so far.
        expected: u64,
        /// End of the run.
        end: u64,
    },
    /// No batch ends where the run does.
    #[error("the batches end at {covered}, the range at {end}")]
    Incomplete {
        /// What was covered.
        covered: u64,
        /// End of the run.
        end: u64,
    },
}

/// Consecutive ranges in groups of about `bytes_max`; a larger range is one by itself.
pub fn sections(ranges: &[StreamRange], bytes_max: u64) -> Vec<&[StreamRange]> {
    let mut sections = Vec::new();
    let (mut from, mut bytes) = (0, 0u64);
    for (at, range) in ranges.iter().enumerate() {
        if at > from && bytes.saturating_add(range.bytes) > bytes_max {
            sections.push(&ranges[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(range.bytes);
    }
    if from < ranges.len() {
        sections.push(&ranges[from..]);
    }
    sections
}

/// Neighbours of one epoch joined: the parts of the record, without what is known only when they are written. The timestamp
/// is that of the ranges.
fn runs(stream: StreamId, ranges: &[StreamRange]) -> VecDeque<ObjectPart> {
    let mut runs: VecDeque<ObjectPart> = VecDeque::new();
    for range in ranges {
        match runs.back_mut() {
            Some(last) if (last.end, last.epoch) == (range.start, range.epoch) => {
                last.end = range.end;
                last.max_timestamp = last.max_timestamp.max(range.max_timestamp);
            }
            _ => runs.push_back(ObjectPart {
                stream,
                epoch: range.epoch,
                start: range.start,
                end: range.end,
                bytes: 0,
                max_timestamp: range.max_timestamp,
                checkpoint: false,
            }),
        }
    }
    runs
}

/// An object, and the parts of the record that are in it.
pub type Written = (Composed, Vec<ObjectPart>);

/// See the module. Feed what pass 2 says of every batch of the ranges, in order of offset.
#[derive(Debug)]
pub struct SectionWriter {
    composer: Composer,
    /// What is to be covered from `covered` on, the run at hand first, and what of it is in the object at hand.
    runs: VecDeque<ObjectPart>,
    parts: Vec<ObjectPart>,
    covered: u64,
    max_timestamp: i64,
    changed: bool,
}

impl SectionWriter {
    /// For some consecutive ranges of a stream.
    pub fn new(stream: StreamId, ranges: &[StreamRange], composer: Composer) -> SectionWriter {
        let runs = runs(stream, ranges);
        let covered = runs.front().map_or(0, |run| run.start);
        let parts = Vec::new();
        SectionWriter { composer, runs, parts, covered, max_timestamp: NO_TIMESTAMP, changed: false }
    }

    /// Takes what stays of a batch.
    ///
    /// # Errors
    /// The batch does not fit the ranges.
    pub fn push(&mut self, header: &BatchHeader, filtered: &Filtered) -> Result<(), SectionError> {
        let (base_offset, next_offset) = (header.base_offset, header.next_offset());
        let Some(run) = self.runs.front_mut() else {
            let end = self.covered;
            return Err(SectionError::OutOfPlace { base_offset, next_offset, expected: end, end });
        };
        let fits = base_offset >= self.covered as i64 && next_offset <= run.end as i64;
        if !fits {
            let (expected, end) = (self.covered, run.end);
            return Err(SectionError::OutOfPlace { base_offset, next_offset, expected, end });
        }
        let ends_run = next_offset == run.end as i64;
        self.changed |= !is_unchanged(header, filtered, ends_run);
        let bytes = match filtered {
            // A copy: what is left of a batch must not hold the memory of all that was read with it.
            Filtered::Keep(bytes) => Bytes::copy_from_slice(bytes),
            Filtered::Rewrite(bytes) | Filtered::KeepEmpty(bytes) => bytes.clone(),
            Filtered::Drop if ends_run => emptied(header),
            Filtered::Drop => return Ok(()),
        };
        let kept = BatchHeader::parse(&bytes).ok().filter(|kept| kept.record_count > 0);
        let max_timestamp = kept.map_or(NO_TIMESTAMP, |kept| kept.max_timestamp);
        let entry = IndexEntry {
            kind: BlockKind::Data,
            stream: run.stream,
            epoch: run.epoch,
            base: self.covered,
            end: next_offset as u64,
            position: 0,
            length: bytes.len() as u32,
            max_timestamp,
            crc: crc32fast::hash(&bytes),
        };
        self.composer.data(&entry, bytes);
        run.bytes += u64::from(entry.length);
        self.covered = entry.end;
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
        if ends_run {
            self.close_part();
            self.runs.pop_front();
            self.covered = self.runs.front().map_or(self.covered, |next| next.start);
        }
        Ok(())
    }

    /// What of the run at hand was written becomes a part of the object at hand.
    fn close_part(&mut self) {
        let Some(run) = self.runs.front_mut().filter(|run| run.start < self.covered) else { return };
        let mut part = ObjectPart { end: self.covered, ..*run };
        // Where no record is left, the time of those that were there: a range without one would never be retained by time,
        // and hold up what comes after it.
        if self.max_timestamp > NO_TIMESTAMP {
            part.max_timestamp = self.max_timestamp;
        }
        self.parts.push(part);
        (run.start, run.bytes, self.max_timestamp) = (self.covered, 0, NO_TIMESTAMP);
    }

    /// Is what is kept of a batch that was not pushed yet what there is?
    pub fn is_unchanged(&self, header: &BatchHeader, filtered: &Filtered) -> bool {
        let ends_run = self.runs.iter().any(|run| run.end as i64 == header.next_offset());
        is_unchanged(header, filtered, ends_run)
    }

    /// Bytes of the object at hand.
    pub fn object_bytes(&self) -> u64 {
        self.composer.len()
    }

    /// Ends the object at hand behind the last batch that stays; what follows goes into the next.
    pub fn cut(&mut self, next: Composer) -> Written {
        self.close_part();
        (std::mem::replace(&mut self.composer, next).finish(), std::mem::take(&mut self.parts))
    }

    /// Did any batch change?
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The last object; without parts where a cut was the end.
    ///
    /// # Errors
    /// Something of the ranges was not passed.
    pub fn finish(self) -> Result<Written, SectionError> {
        match self.runs.front() {
            Some(run) => Err(SectionError::Incomplete { covered: self.covered, end: run.end }),
            None => Ok((self.composer.finish(), self.parts)),
        }
    }
}

/// The last batch of a run may have lost its records in an earlier round: nobody but the run asks for its header, and it stays
/// as it is.
fn is_unchanged(header: &BatchHeader, filtered: &Filtered, ends_run: bool) -> bool {
    match filtered {
        Filtered::Keep(_) => true,
        Filtered::Drop => header.record_count == 0 && ends_run,
        Filtered::Rewrite(_) | Filtered::KeepEmpty(_) => false,
    }
}

#[cfg(test)]
#[path = "section_tests.rs"]
mod tests;
