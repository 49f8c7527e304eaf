//! How long the oldest record that is not compacted waits, for `max.compaction.lag.ms`. Part of the shell.
//!
//! The catalog has the youngest time of a range, and merges make ranges long. Where a topic says how long a record may wait,
//! the first batch behind the last round is looked at; once, as long as it is the first.
//! (Kafka: `LogSegment.getFirstBatchTimestamp`.)

use std::collections::HashMap;

use s3stream::catalog::{Catalog, StreamRange};
use s3stream::ids::{ObjectId, StreamId};
use s3stream::rewrite::Rewriter;

use super::read::Batches;

/// Bytes that are read to find a batch.
const STEP_BYTES: u64 = 1;

/// By stream: the range and the offset that was looked for, and the timestamp that was found.
#[derive(Default)]
pub(super) struct Ages(HashMap<StreamId, ((ObjectId, u64), i64)>);

impl Ages {
    /// The timestamp of the first batch of `range` that reaches past `from`, ms; the range's own where it cannot be read.
    pub(super) async fn first_timestamp(
        &mut self,
        objects: &Rewriter,
        catalog: &Catalog,
        stream: StreamId,
        range: &StreamRange,
        from: u64,
    ) -> i64 {
        let of = (range.object, from.max(range.start));
        if let Some((_, timestamp)) = self.0.get(&stream).filter(|(known, _)| *known == of) {
            return *timestamp;
        }
        let ranges = std::slice::from_ref(range);
        let mut batches = Batches::new(objects, catalog, stream, ranges, STEP_BYTES).from(of.1);
        let timestamp = loop {
            match batches.next().await {
                Ok(Some(batch)) if batch.header().next_offset() as u64 <= of.1 => {}
                Ok(Some(batch)) => break batch.header().max_timestamp,
                // Another time: the round will tell what is wrong.
                Ok(None) | Err(_) => return range.max_timestamp,
            }
        };
        self.0.insert(stream, (of, timestamp));
        timestamp
    }

    /// Forgets streams that are not asked for any more.
    pub(super) fn retain(&mut self, is_asked_for: impl Fn(StreamId) -> bool) {
        self.0.retain(|stream, _| is_asked_for(*stream));
    }
}
