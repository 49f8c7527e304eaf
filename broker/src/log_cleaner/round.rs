//! The sections of one round, from and to the bucket. Part of the shell.

use s3stream::catalog::{Catalog, StorageRecord, StreamRange, StreamState};
use s3stream::ids::StreamId;
use s3stream::rewrite::{RewriteError, Rewriter};

use super::CleaningError;
use super::filter::{Filter, Filtered};
use super::offset_map::OffsetMapError;
use super::read::{Batches, ReadFailed};
use super::write::{Output, WriteFailed};

/// Why a partition was not cleaned. Its log is as it was, or cleaner up to some object.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Read(#[from] ReadFailed),
    #[error(transparent)]
    Write(#[from] WriteFailed),
    #[error(transparent)]
    Propose(#[from] RewriteError),
    #[error(transparent)]
    Cleaning(#[from] CleaningError),
    #[error(transparent)]
    Map(#[from] OffsetMapError),
    #[error("its ranges were merged or trimmed before it began")]
    Outdated,
    #[error("not one record of {0}.. could be looked at")]
    NoProgress(i64),
}

impl Failed {
    /// May it be that what was planned is not there any more?
    pub(super) fn is_of_storage(&self) -> bool {
        matches!(
            self,
            Failed::Read(ReadFailed::Rewrite(_))
                | Failed::Write(WriteFailed::Rewrite(_))
                | Failed::Propose(_)
                | Failed::Outdated
        )
    }
}

/// One stream's round, as its passes see it.
pub(super) struct Round<'a> {
    /// From and to the bucket.
    pub objects: &'a Rewriter,
    /// Which stream.
    pub stream: StreamId,
    /// The image that it was planned in, and the stream there.
    pub catalog: &'a Catalog,
    /// See `catalog`.
    pub state: &'a StreamState,
    /// Where an object ends.
    pub object_bytes: u64,
    /// What is read at a time.
    pub step_bytes: u64,
}

impl<'a> Round<'a> {
    /// The batches of some ranges.
    pub fn batches(&self, ranges: &[StreamRange]) -> Batches {
        Batches::new(self.objects, self.catalog, self.stream, ranges, self.step_bytes)
    }

    /// Passes one section, and writes it anew if that changes anything; true if so. `cleaned` is what is clean after it, if
    /// that is to be said.
    pub async fn rewrite(
        &self,
        ranges: &[StreamRange],
        cleaned: Option<u64>,
        filter: &mut Filter<'_>,
    ) -> Result<bool, Failed> {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok(false) };
        let mut output = Output::begin(self.objects, self.stream, ranges, self.object_bytes);
        // What does not fit into one object is not written before something of it changes. Then all before is read again.
        let large = ranges.iter().map(|range| range.bytes).sum::<u64>() > self.object_bytes;
        let mut skipped = large.then_some(first.start as i64);
        let mut batches = self.batches(ranges);
        while let Some(batch) = batches.next().await? {
            let filtered = filter.filter(&batch)?;
            if let Some(until) = skipped.take() {
                if output.is_unchanged(batch.header(), &filtered) {
                    skipped = Some(batch.header().next_offset());
                    continue;
                }
                self.copy(ranges, until, &mut output).await?;
            }
            output.push(batch.header(), &filtered).await?;
        }
        drop(batches);
        let changed = output.is_changed();
        let (start, end, (objects, _in_work)) = match (changed, cleaned) {
            (true, _) => (first.start, last.end, output.finish().await?),
            // Nothing to write: it is said all the same.
            (false, Some(cleaned)) => (cleaned, cleaned, Default::default()),
            (false, None) => return Ok(false),
        };
        let (stream, epoch, cleaned) = (self.stream, self.state.epoch, cleaned.unwrap_or(self.state.cleaned));
        let record = StorageRecord::StreamRewritten { stream, epoch, start, end, cleaned, objects };
        self.objects.propose(record).await?;
        Ok(changed)
    }

    /// Batches that stay as they are, up to an offset.
    async fn copy(&self, ranges: &[StreamRange], until: i64, output: &mut Output<'_>) -> Result<(), Failed> {
        let mut batches = self.batches(ranges);
        while let Some(batch) = batches.next().await?.filter(|batch| batch.header().base_offset < until) {
            output.push(batch.header(), &Filtered::Keep(batch.bytes().clone())).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "round_tests.rs"]
mod tests;
