//! What of some lane objects goes into which object of `data/` (p).
//!
//! Only what counts: blocks inside the clip of (stream, epoch, incarnation), above what was uploaded before. What is below
//! the log start is left out, and yet has its part, since the state after it is kept (SAFETY F15). Parts of one stream
//! and epoch are dense; where a loss was accepted by name, a second part follows after the hole.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, ObjectPart};
use crate::ids::{Incarnation, LaneNumber, StreamEpoch, StreamId};
use crate::object::{BlockKind, IndexEntry};

/// Parts that one record may have: far from the limits of a commit (20,000 records, 1 MiB).
pub const PARTS_MAX: usize = 8_000;

/// One object to be composed: parts and blocks in the order of (stream, epoch, base).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedObject {
    /// What the record says; checkpoints are not decided yet.
    pub parts: Vec<ObjectPart>,
    /// Index into the sources, and the block in there.
    pub blocks: Vec<(usize, IndexEntry)>,
    /// Bytes of the blocks.
    pub bytes: u64,
}

/// The index of a lane object.
#[derive(Clone, Copy, Debug)]
pub struct SourceIndex<'a> {
    /// Its number.
    pub number: LaneNumber,
    /// Its blocks.
    pub entries: &'a [IndexEntry],
}

/// Does a block of the lane of `incarnation` at `number` count for its stream, and is not uploaded yet? The clip rule.
pub fn counts(catalog: &Catalog, incarnation: Incarnation, number: LaneNumber, entry: &IndexEntry) -> bool {
    let Some(state) = catalog.stream(entry.stream) else { return false };
    let mut entries = state.lanes.iter();
    let Some(clip) = entries.find(|lane| (lane.epoch, lane.incarnation) == (entry.epoch, incarnation)) else {
        return false;
    };
    let within = clip.sealed.is_none_or(|seal| entry.base < seal.end && number < seal.below);
    within && entry.end > state.base
}

/// The objects that hold what counts of `sources` (ascending by number), each of at most `object_bytes` of blocks and
/// [`PARTS_MAX`] parts, but for a single larger block. None at all: the lane may be trimmed as it is.
pub fn plan(
    catalog: &Catalog,
    incarnation: Incarnation,
    sources: &[SourceIndex<'_>],
    object_bytes: u64,
) -> Vec<PlannedObject> {
    let mut by_stream: BTreeMap<(StreamId, StreamEpoch), Vec<(usize, IndexEntry)>> = BTreeMap::new();
    for (at, source) in sources.iter().enumerate() {
        let data = source.entries.iter().filter(|entry| entry.kind == BlockKind::Data);
        for entry in data.filter(|entry| counts(catalog, incarnation, source.number, entry)) {
            by_stream.entry((entry.stream, entry.epoch)).or_default().push((at, *entry));
        }
    }
    let mut objects = vec![PlannedObject::default()];
    for ((stream, epoch), blocks) in by_stream {
        let state = catalog.stream(stream).expect("what counts has a stream");
        let sealed = state.lanes.iter().find(|lane| lane.epoch == epoch).and_then(|lane| lane.sealed);
        let clip_end = sealed.map_or(u64::MAX, |seal| seal.end);
        for (at, entry) in blocks {
            let object = objects.last().expect("never empty");
            let full =
                object.bytes + u64::from(entry.length) > object_bytes || object.parts.len() >= PARTS_MAX;
            if full && !object.parts.is_empty() {
                objects.push(PlannedObject::default());
            }
            let object = objects.last_mut().expect("never empty");
            let end = entry.end.min(clip_end);
            let dead = entry.end <= state.start;
            let joined = object.parts.last_mut().filter(|part| {
                (part.stream, part.epoch, part.end) == (stream, epoch, entry.base)
                    && (part.end <= state.start) == dead
            });
            match joined {
                Some(part) => part.end = end,
                None => object.parts.push(ObjectPart {
                    stream,
                    epoch,
                    start: entry.base,
                    end,
                    bytes: 0,
                    max_timestamp: -1,
                    checkpoint: false,
                }),
            }
            if !dead {
                let part = object.parts.last_mut().expect("just made");
                part.bytes += u64::from(entry.length);
                part.max_timestamp = part.max_timestamp.max(entry.max_timestamp);
                object.bytes += u64::from(entry.length);
                object.blocks.push((at, IndexEntry { end, ..entry }));
            }
        }
    }
    objects.retain(|object| !object.parts.is_empty());
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::StorageRecord;
    use crate::ids::{Nonce, StoreId};
    use crate::journal::MutationPoint;

    fn incarnation(seq: u64) -> Incarnation {
        Incarnation { seq, index: 0 }
    }

    /// Streams 1 to 3 of incarnation 1, of which 1 begins at 20.
    fn catalog() -> Catalog {
        let mut catalog = Catalog::new();
        let owner = incarnation(1);
        let records = [
            StorageRecord::StoreRegistered { store: StoreId(0), url: "memory://".into() },
            StorageRecord::LaneRegistered { nonce: Nonce(1), store: StoreId(0) },
            StorageRecord::StreamCreated { stream: StreamId(1), owner },
            StorageRecord::StreamCreated { stream: StreamId(2), owner },
            StorageRecord::StreamCreated { stream: StreamId(3), owner },
            StorageRecord::StreamDeleted { stream: StreamId(3) },
            StorageRecord::StreamTrimmed { stream: StreamId(1), start: 20 },
        ];
        for (seq, record) in records.iter().enumerate() {
            let at = MutationPoint { seq: seq as u64, index: 0, proposer: Some(owner), level: 3 };
            catalog.apply(at, record).unwrap();
        }
        catalog
    }

    fn entry(stream: u64, base: u64, end: u64, length: u32) -> IndexEntry {
        IndexEntry {
            kind: BlockKind::Data,
            stream: StreamId(stream),
            epoch: StreamEpoch(0),
            base,
            end,
            position: base,
            length,
            max_timestamp: end as i64,
            crc: 0,
        }
    }

    /// Stream, start, end and bytes of a part.
    type Part = (u64, u64, u64, u64);

    /// The parts of each object, and how many blocks it has.
    fn planned(sources: &[Vec<IndexEntry>], object_bytes: u64) -> Vec<(Vec<Part>, usize)> {
        let sources: Vec<SourceIndex<'_>> = (0..)
            .map(LaneNumber)
            .zip(sources)
            .map(|(number, entries)| SourceIndex { number, entries })
            .collect();
        let part = |part: &ObjectPart| (part.stream.0, part.start, part.end, part.bytes);
        let objects = plan(&catalog(), incarnation(1), &sources, object_bytes);
        objects.iter().map(|object| (object.parts.iter().map(part).collect(), object.blocks.len())).collect()
    }

    #[test]
    fn blocks_of_many_objects_become_parts_by_stream() {
        let sources = [
            vec![entry(1, 0, 20, 5), entry(2, 0, 5, 5), entry(3, 0, 9, 5)],
            vec![entry(1, 20, 30, 5), entry(2, 5, 9, 5)],
        ];
        // What is below the log start has a part without bytes; the deleted stream has none.
        let parts = vec![(1, 0, 20, 0), (1, 20, 30, 5), (2, 0, 9, 10)];
        assert_eq!(planned(&sources, 100), [(parts, 3)]);
        assert_eq!(
            planned(&sources, 10),
            [(vec![(1, 0, 20, 0), (1, 20, 30, 5), (2, 0, 5, 5)], 2), (vec![(2, 5, 9, 5)], 1)]
        );
        assert_eq!(planned(&[vec![entry(3, 0, 9, 5)]], 10), []);
    }

    #[test]
    fn a_hole_of_accepted_loss_begins_a_second_part() {
        let sources = [vec![entry(2, 0, 5, 5)], vec![entry(2, 8, 9, 5)]];
        assert_eq!(planned(&sources, 100), [(vec![(2, 0, 5, 5), (2, 8, 9, 5)], 2)]);
    }

    #[test]
    fn an_epoch_of_another_lane_does_not_count() {
        let mut foreign = entry(2, 0, 5, 5);
        foreign.epoch = StreamEpoch(1);
        assert_eq!(planned(&[vec![foreign]], 100), []);
    }
}
