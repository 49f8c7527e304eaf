//! What a merge writes (p): which ranges go into which object.

use std::collections::BTreeSet;

use super::MergeDials;
use crate::catalog::{ObjectPart, StreamRange, StreamState};
use crate::ids::{ObjectId, StreamEpoch, StreamId};

/// One object to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeOutput {
    /// What goes into it, ascending by stream.
    pub streams: Vec<MergeStream>,
}

/// What of one stream goes into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeStream {
    /// Which.
    pub stream: StreamId,
    /// Its log start: blocks that end at or below it need not be copied.
    pub start: u64,
    /// Ranges of the sources, whole, ascending. Empty where nothing but the checkpoint is left.
    pub ranges: Vec<StreamRange>,
    /// The source that holds the stream's checkpoint, to be copied too.
    pub checkpoint: Option<ObjectId>,
    /// The end of what was uploaded, and the current epoch: where a part without records is said to be.
    pub end: (StreamEpoch, u64),
}

impl MergeStream {
    /// Bytes of it that are kept, as far as the catalog can say.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| kept_bytes(range, self.start)).sum()
    }

    /// The parts of the record: neighbours of one epoch joined, the checkpoint with the last. Where dead blocks are left
    /// out the first begins later, at the log start at the most.
    pub fn parts(&self) -> Vec<ObjectPart> {
        let mut parts: Vec<ObjectPart> = Vec::new();
        for range in &self.ranges {
            match parts.last_mut() {
                Some(last) if (last.end, last.epoch) == (range.start, range.epoch) => {
                    last.end = range.end;
                    last.bytes += range.bytes;
                    last.max_timestamp = last.max_timestamp.max(range.max_timestamp);
                }
                _ => parts.push(ObjectPart {
                    stream: self.stream,
                    epoch: range.epoch,
                    start: range.start,
                    end: range.end,
                    bytes: range.bytes,
                    max_timestamp: range.max_timestamp,
                    checkpoint: false,
                }),
            }
        }
        if self.checkpoint.is_some() {
            match parts.last_mut() {
                Some(last) => last.checkpoint = true,
                None => {
                    let ((epoch, end), stream) = (self.end, self.stream);
                    let (bytes, max_timestamp) = (0, -1);
                    parts.push(ObjectPart {
                        stream,
                        epoch,
                        start: end,
                        end,
                        bytes,
                        max_timestamp,
                        checkpoint: true,
                    });
                }
            }
        }
        parts
    }
}

impl MergeOutput {
    /// Bytes that are kept in it, without checkpoints and index.
    pub fn bytes(&self) -> u64 {
        self.streams.iter().map(MergeStream::bytes).sum()
    }

    /// What it is charged: all that it holds in memory while it is made.
    pub(super) fn charge(&self, dials: &MergeDials) -> u64 {
        let largest = dials.max_object_bytes.max(dials.cold_object_bytes);
        self.bytes().clamp(1 << 20, largest.max(1 << 20))
    }

    /// The parts of the record, by stream, then offset.
    pub fn parts(&self) -> Vec<ObjectPart> {
        self.streams.iter().flat_map(MergeStream::parts).collect()
    }
}

/// Bytes of a range at or above the log start, if records are of one size.
pub(super) fn kept_bytes(range: &StreamRange, start: u64) -> u64 {
    let dead = start.clamp(range.start, range.end) - range.start;
    let kept = u128::from(range.bytes) * u128::from(range.end - range.start - dead);
    u64::try_from(kept / u128::from(range.end - range.start)).unwrap_or(range.bytes)
}

/// What sources have of a stream; None: nothing.
pub(super) fn held_of(
    stream: StreamId,
    state: &StreamState,
    sources: &BTreeSet<ObjectId>,
) -> Option<MergeStream> {
    let ranges: Vec<StreamRange> =
        state.ranges.iter().filter(|range| sources.contains(&range.object)).copied().collect();
    let checkpoint = state.checkpoint.filter(|object| sources.contains(object));
    let something = !ranges.is_empty() || checkpoint.is_some();
    let end = (state.epoch, state.base);
    something.then_some(MergeStream { stream, start: state.start, ranges, checkpoint, end })
}

/// One stream in several objects, its checkpoint in the last.
pub(super) fn split_stream(held: MergeStream, bytes_max: u64) -> Vec<MergeOutput> {
    let MergeStream { stream, start, ranges, checkpoint, end } = held;
    let pieces = split(ranges, bytes_max, |range| kept_bytes(range, start));
    let last = pieces.len().saturating_sub(1);
    let output = |(at, ranges): (usize, Vec<StreamRange>)| {
        let checkpoint = checkpoint.filter(|_| at == last);
        MergeOutput { streams: vec![MergeStream { stream, start, ranges, checkpoint, end }] }
    };
    pieces.into_iter().enumerate().map(output).collect()
}

/// As few pieces of at most `max` as that makes, about equal; more only where an item is larger by itself.
pub(super) fn split<T>(items: Vec<T>, max: u64, bytes: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let total: u64 = items.iter().map(&bytes).sum();
    let each = total.div_ceil(total.div_ceil(max.max(1)).max(1));
    let mut pieces: Vec<Vec<T>> = Vec::new();
    let mut filled = 0;
    for item in items {
        let more = bytes(&item);
        match pieces.last_mut() {
            Some(piece) if (filled < each || more == 0) && filled + more <= max => {
                piece.push(item);
                filled += more;
            }
            _ => {
                pieces.push(vec![item]);
                filled = more;
            }
        }
    }
    pieces
}
