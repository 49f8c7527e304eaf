//! One object of a lane, taken apart and believed in nothing: what `dump` shows and `verify` checks. Pure.
//!
//! Below is the object's own truth (header, index, footer, CRCs), above it Kafka's: a data block is whole record batches
//! whose stamped offsets follow each other through the entry's range, and every idempotent batch has its attachment.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::record_batch::{Batch, BatchHeader, split_batches};
use s3stream::ids::{LaneId, LaneNumber};
use s3stream::object::{AttachmentEntry, BlockKind, IndexEntry, ObjectKind, Whole, attachments, parse_whole};

use crate::partition::attachment::ProducerAttachment;
use crate::partition::checkpoint;
use crate::partition::producer_state::ProducerStates;

/// What is in a block, as far as it can be read.
#[derive(Clone, Debug)]
pub enum BlockContents {
    /// Record batches.
    Batches(Vec<BatchHeader>),
    /// What is kept beside offsets.
    Attachments(Vec<AttachmentEntry>),
    /// The producers of a checkpoint.
    Producers(ProducerStates),
    /// Opaque bytes.
    Opaque(Bytes),
}

/// One block with everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its line of the index.
    pub entry: IndexEntry,
    /// What could be read.
    pub contents: BlockContents,
    /// What is wrong; empty where all is well.
    pub problems: Vec<String>,
}

impl Block {
    /// A problem of it, with which block it is.
    pub fn said(&self, problem: &str) -> String {
        let e = &self.entry;
        format!("{:?} of stream {} offsets {}..{}: {problem}", e.kind, e.stream, e.base, e.end)
    }
}

/// The lane and the number that a key names; None for other keys.
pub fn parse_key(key: &str) -> Option<(LaneId, LaneNumber)> {
    let (lane, number) = key.strip_prefix("wal/")?.split_once('/')?;
    Some((parse_lane(lane)?, LaneNumber(number.parse().ok()?)))
}

/// `<seq>.<index>-<nonce>`
pub fn parse_lane(text: &str) -> Option<LaneId> {
    let (incarnation, nonce) = text.split_once('-')?;
    let (seq, index) = incarnation.split_once('.')?;
    let incarnation = s3stream::ids::Incarnation { seq: seq.parse().ok()?, index: index.parse().ok()? };
    let lane = LaneId { incarnation, nonce: s3stream::ids::Nonce(u64::from_str_radix(nonce, 16).ok()?) };
    // One spelling alone is a lane's.
    (lane.to_string() == text).then_some(lane)
}

/// Reads header, index and footer of the object at this place.
///
/// # Errors
/// What is wrong: damage, another object than its place says, a kind that no lane has.
pub fn open(lane: LaneId, number: LaneNumber, bytes: Bytes) -> Result<Whole, String> {
    let whole = parse_whole(bytes).map_err(|e| e.to_string())?;
    let header = &whole.footer.header;
    if (header.owner, header.number) != (lane, number.0) {
        return Err(format!("says that it is number {} of lane {}", header.number, header.owner));
    }
    match header.object_kind {
        ObjectKind::Wal | ObjectKind::Seal => Ok(whole),
        kind => Err(format!("is a {kind:?} object, which no lane has")),
    }
}

/// Reads and checks every block.
pub fn blocks(whole: &Whole) -> Vec<Block> {
    let read = |entry| block(whole, entry, Place::Lane);
    let mut read: Vec<Block> = whole.footer.entries.iter().map(read).collect();
    check_producers(&mut read);
    read
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a lane: it is as it was written.
    Lane,
    /// In an object of `data/`: it may go on after its entry's end, and log compaction may have left fewer batches and
    /// records of it. What it leaves ends with a batch still.
    Data,
}

/// Reads and checks one block.
pub(super) fn block(whole: &Whole, entry: &IndexEntry, place: Place) -> Block {
    let damaged = |problem: String| Block {
        entry: *entry,
        contents: BlockContents::Opaque(Bytes::new()),
        problems: vec![problem],
    };
    let bytes = match whole.block(entry) {
        Ok(bytes) => bytes,
        Err(error) => return damaged(error.to_string()),
    };
    match entry.kind {
        BlockKind::Data => {
            let (headers, problems) = batches(entry, bytes, place);
            Block { entry: *entry, contents: BlockContents::Batches(headers), problems }
        }
        BlockKind::Attachment => match attachments(entry, &bytes) {
            Ok(list) => {
                Block { entry: *entry, contents: BlockContents::Attachments(list), problems: Vec::new() }
            }
            Err(error) => damaged(error.to_string()),
        },
        BlockKind::Checkpoint => match checkpoint::decode(Some(&bytes)) {
            Ok(states) => {
                Block { entry: *entry, contents: BlockContents::Producers(states), problems: Vec::new() }
            }
            Err(error) => damaged(error.to_string()),
        },
        BlockKind::Pointer | BlockKind::Note => {
            Block { entry: *entry, contents: BlockContents::Opaque(bytes), problems: Vec::new() }
        }
    }
}

fn batches(entry: &IndexEntry, bytes: Bytes, place: Place) -> (Vec<BatchHeader>, Vec<String>) {
    let (mut headers, mut problems) = (Vec::new(), Vec::new());
    let mut next = entry.base as i64;
    for batch in split_batches(bytes) {
        let batch: Batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                problems.push(format!("batch at offset {next}: {error}"));
                return (headers, problems);
            }
        };
        let header = *batch.header();
        if let Err(error) = batch.check_crc() {
            problems.push(format!("batch at offset {next}: {error}"));
        }
        let follows = match place {
            Place::Lane => header.base_offset == next,
            Place::Data => header.base_offset >= next,
        };
        if !follows {
            problems.push(format!("a batch of offset {} stands where {next} belongs", header.base_offset));
        }
        if i64::from(header.partition_leader_epoch) != i64::from(entry.epoch.0) {
            problems.push(format!(
                "batch at offset {} has leader epoch {}, its block {}",
                header.base_offset, header.partition_leader_epoch, entry.epoch.0
            ));
        }
        // What is left of a batch without records keeps its time, which counts no more.
        let is_emptied = place == Place::Data && header.record_count == 0;
        if header.max_timestamp > entry.max_timestamp && !is_emptied {
            problems.push(format!(
                "batch at offset {} has timestamp {}, above its block's {}",
                header.base_offset, header.max_timestamp, entry.max_timestamp
            ));
        }
        next = header.next_offset();
        headers.push(header);
    }
    let end = entry.end as i64;
    if next < end || next > end && place == Place::Lane {
        problems.push(format!("its batches end at offset {next}, the index says {}", entry.end));
    }
    (headers, problems)
}

/// Every idempotent batch has the attachment that says the same, and none is of a batch that is not there. Not judged
/// where a block of the object could not be read.
fn check_producers(read: &mut [Block]) {
    if read.iter().any(|b| !b.problems.is_empty()) {
        return;
    }
    let mut expected = BTreeMap::new();
    for block in read.iter() {
        let BlockContents::Batches(headers) = &block.contents else { continue };
        for header in headers {
            if let Some(attachment) = ProducerAttachment::of(header) {
                expected.insert((block.entry.stream, header.base_offset as u64), attachment);
            }
        }
    }
    for block in read.iter_mut() {
        let BlockContents::Attachments(list) = &block.contents else { continue };
        for attached in list {
            let Some(found) = ProducerAttachment::decode(&attached.bytes) else { continue };
            match expected.remove(&(block.entry.stream, attached.offset)) {
                Some(batch) if is_same(&batch, &found) => {}
                Some(_) => block.problems.push(format!(
                    "the attachment of offset {} tells of another producer than its batch",
                    attached.offset
                )),
                None => block
                    .problems
                    .push(format!("the attachment of offset {} belongs to no batch here", attached.offset)),
            }
        }
    }
    for (stream, offset) in expected.into_keys() {
        let holds = |b: &&mut Block| {
            b.entry.kind == BlockKind::Data
                && b.entry.stream == stream
                && (b.entry.base..b.entry.end).contains(&offset)
        };
        if let Some(block) = read.iter_mut().find(holds) {
            block.problems.push(format!("the idempotent batch at offset {offset} has no attachment"));
        }
    }
}

/// The timestamp is the append time where the topic says so; all else is the batch's own.
fn is_same(batch: &ProducerAttachment, found: &ProducerAttachment) -> bool {
    ProducerAttachment { max_timestamp: 0, ..*batch } == ProducerAttachment { max_timestamp: 0, ..*found }
}

#[cfg(test)]
mod tests {
    use s3stream::ids::{Incarnation, Nonce, lane_key};

    use super::*;

    #[test]
    fn keys_of_lanes_are_read_and_others_are_not() {
        let lane = LaneId { incarnation: Incarnation { seq: 7, index: 2 }, nonce: Nonce(0xabc) };
        assert_eq!(parse_key(&lane_key(lane, LaneNumber(9))), Some((lane, LaneNumber(9))));
        for key in ["wal/7.2-abc/9", "wal/x/9", "meta/log/9", "wal/00000000000000000007.2-0000000000000abc"] {
            assert_eq!(parse_key(key), None, "{key}");
        }
    }
}
