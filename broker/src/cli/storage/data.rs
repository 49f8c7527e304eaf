//! One object of `data/`, taken apart and believed in nothing: what `dump` shows and `verify` checks. Pure.
//!
//! Its own truth is as of a lane's object (`lane.rs`). Above it: data blocks by (stream, epoch, offset), none twice, and
//! checkpoints of streams behind them. An upload clips blocks in its index alone, so a block may go on after its end.

use std::fmt;

use bytes::Bytes;
use s3stream::ids::{ObjectId, StreamEpoch, StreamId};
use s3stream::object::{BlockKind, IndexEntry, NO_TIMESTAMP, ObjectKind, Whole, parse_whole};

use super::lane::{self, Block, Place};

/// Reads header, index and footer of the object with this id.
///
/// # Errors
/// What is wrong: damage, another object than its place says, a kind that does not lie here.
pub fn open(id: ObjectId, bytes: Bytes) -> Result<Whole, String> {
    let whole = parse_whole(bytes).map_err(|e| e.to_string())?;
    let header = &whole.footer.header;
    let in_lane = id.lane_number();
    let number = in_lane.map_or(id.counter, |number| number.0);
    if (header.owner.incarnation, header.number) != (id.incarnation, number) {
        return Err(format!("says that it is number {} of {}", header.number, header.owner));
    }
    match (header.object_kind, in_lane) {
        (ObjectKind::Merged | ObjectKind::Stream, None) | (ObjectKind::Wal, Some(_)) => Ok(whole),
        (kind, None) => Err(format!("is a {kind:?} object, which belongs into a lane")),
        (kind, Some(_)) => Err(format!("is a {kind:?} object, which belongs into data/")),
    }
}

/// Reads and checks every block.
pub fn blocks(whole: &Whole) -> Vec<Block> {
    let mut last: Option<IndexEntry> = None;
    let mut blocks = Vec::with_capacity(whole.footer.entries.len());
    for entry in &whole.footer.entries {
        let mut block = lane::block(whole, entry, Place::Data);
        match entry.kind {
            BlockKind::Data => {
                let key = |e: &IndexEntry| (e.stream, e.epoch, e.base);
                if last.is_some_and(|last| key(&last) >= key(entry)) {
                    block.problems.push("it is not in order of stream, epoch and offset".into());
                } else if last.is_some_and(|last| last.stream == entry.stream && last.end > entry.base) {
                    block.problems.push("the block before it holds some of its offsets".into());
                }
                last = Some(*entry);
            }
            BlockKind::Checkpoint => {}
            // A lane's, of what was adopted: checkpoints have taken its place.
            BlockKind::Attachment if whole.footer.header.object_kind == ObjectKind::Wal => {}
            kind => block.problems.push(format!("no object of data/ has {kind:?} blocks")),
        }
        blocks.push(block);
    }
    blocks
}

/// What lies together of one stream and epoch, without a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which stream.
    pub stream: StreamId,
    /// The epoch it was written in.
    pub epoch: StreamEpoch,
    /// Offset of its first record.
    pub start: u64,
    /// Offset after its last.
    pub end: u64,
    /// Blocks of it.
    pub blocks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The largest timestamp of its records; -1 where they have none.
    pub max_timestamp: i64,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = if self.blocks == 1 { "block" } else { "blocks" };
        write!(
            f,
            "part of stream {} epoch {} offsets {}..{}, {} {blocks}, {} bytes, max timestamp {}",
            self.stream, self.epoch.0, self.start, self.end, self.blocks, self.bytes, self.max_timestamp
        )
    }
}

/// The parts that an index tells of, in its order.
pub fn parts(entries: &[IndexEntry]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == BlockKind::Data) {
        let goes_on =
            |part: &&mut Part| (part.stream, part.epoch, part.end) == (entry.stream, entry.epoch, entry.base);
        if parts.last_mut().filter(goes_on).is_none() {
            parts.push(Part {
                stream: entry.stream,
                epoch: entry.epoch,
                start: entry.base,
                end: entry.base,
                blocks: 0,
                bytes: 0,
                max_timestamp: NO_TIMESTAMP,
            });
        }
        let part = parts.last_mut().expect("just there");
        part.end = entry.end;
        part.blocks += 1;
        part.bytes += u64::from(entry.length);
        part.max_timestamp = part.max_timestamp.max(entry.max_timestamp);
    }
    parts
}
