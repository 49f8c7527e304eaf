//! Where the records of one stream are (p).
//!
//! [`StreamIndex`] is a stream's list of durable blocks, in offset order: pushed by the owner as its lane becomes durable,
//! built by recovery for what older lanes hold, trimmed at the log start. It answers where an offset, a timestamp or the
//! end of an epoch is. It does not fetch ([`crate::cache::reader`]) and knows nothing of what is inside a block: which
//! record of it is the first at or after a timestamp is the caller's to find.
//!
//! 40 bytes per block: what all blocks of an epoch share (its lane) is kept once per epoch, and the end of a block is the
//! base of the next. Blocks are in groups of [`GROUP`] with the largest timestamp of each, so that a lookup by time skips
//! whole groups although timestamps come in any order.

use std::collections::VecDeque;

use crate::block_ref::{BlockRef, LaneRef};
use crate::ids::{LaneNumber, StreamEpoch};

/// Blocks per group.
const GROUP: usize = 64;

/// The durable blocks of one stream, and its epochs.
#[derive(Clone, Debug, Default)]
pub struct StreamIndex {
    /// The log start: offsets below are gone. May lie inside the first block.
    start: u64,
    /// Where the blocks begin: what is kept below is in objects that only the catalog names ([`crate::history`]). At the
    /// log start where there are none.
    floor: u64,
    /// Offset after the last record.
    end: u64,
    /// Ascending by epoch and by start; the first covers the first block.
    epochs: Vec<EpochRun>,
    groups: VecDeque<Group>,
    /// Where a block's end is not the base of the next: a loss that was accepted by name (SAFETY F19).
    gaps: Vec<Gap>,
}

#[derive(Clone, Copy, Debug)]
struct EpochRun {
    epoch: StreamEpoch,
    /// Of its blocks in here; None while there are none.
    lane: Option<LaneRef>,
    start: u64,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    from: u64,
    to: u64,
}

#[derive(Clone, Debug)]
struct Group {
    blocks: Vec<Packed>,
    /// The largest timestamp of the blocks.
    max_timestamp: i64,
}

/// A block without what its epoch or its neighbour tells.
#[derive(Clone, Copy, Debug)]
struct Packed {
    base: u64,
    number: LaneNumber,
    position: u64,
    max_timestamp: i64,
    /// Length of the block in the lower 31 bits, whether its object is small in the highest.
    length_and_small: u32,
    crc: u32,
}

const SMALL: u32 = 1 << 31;

/// The offset asked for is not in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} is outside {start}..={end}")]
pub struct OffsetOutOfRange {
    /// As asked.
    pub offset: u64,
    /// The log start.
    pub start: u64,
    /// Offset after the last durable record.
    pub end: u64,
}

impl StreamIndex {
    /// The index of a stream that begins (or goes on) at `start` with nothing in it.
    pub fn new(start: u64) -> StreamIndex {
        StreamIndex { start, floor: start, end: start, ..StreamIndex::default() }
    }

    /// The index of a stream of which objects hold all that is kept below `floor`, in these epochs (ascending, with where
    /// each begins). Blocks go on at `floor`.
    pub fn above_history(
        start: u64,
        floor: u64,
        epochs: impl IntoIterator<Item = (StreamEpoch, u64)>,
    ) -> StreamIndex {
        let floor = floor.max(start);
        let run = |(epoch, start)| EpochRun { epoch, lane: None, start };
        let epochs = epochs.into_iter().map(run).collect();
        StreamIndex { start, floor, end: floor, epochs, ..StreamIndex::default() }
    }

    /// Where the blocks begin; below, down to the log start, is history.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Blocks that end at or below `offset` are history from now on: objects that the catalog names hold them.
    pub fn forget_below(&mut self, offset: u64) {
        while let Some(end) = self.first_end().filter(|end| *end <= offset) {
            self.pop_front();
            self.floor = self.floor.max(end);
        }
        let first = self.first().map_or(self.floor, |block| block.base);
        self.floor = self.floor.max(first);
        let floor = self.floor;
        self.gaps.retain(|gap| gap.to > floor);
    }

    /// The first block.
    pub fn first(&self) -> Option<BlockRef> {
        (!self.is_empty()).then(|| self.unpack(0, 0))
    }

    /// The log start.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset after the last durable record.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        let full = self.groups.len().saturating_sub(2) * GROUP;
        match self.groups.len() {
            0 => 0,
            1 => self.groups[0].blocks.len(),
            more => self.groups[0].blocks.len() + full + self.groups[more - 1].blocks.len(),
        }
    }

    /// No blocks?
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// A new owner goes on at the end, in its own lane. Also where it has written nothing yet: an epoch without records
    /// has an end, too.
    ///
    /// # Panics
    /// If epochs do not ascend.
    pub fn begin_epoch(&mut self, epoch: StreamEpoch, lane: LaneRef) {
        if let Some(last) = self.epochs.last_mut() {
            // Part of it is history already, the rest lies in its lane.
            if last.epoch == epoch && last.lane.is_none() {
                last.lane = Some(lane);
                return;
            }
            assert!(last.epoch < epoch, "epoch {} after {}", epoch.0, last.epoch.0);
        }
        self.epochs.push(EpochRun { epoch, lane: Some(lane), start: self.end });
    }

    /// Appends a block that goes on at the end, in the current epoch or (without [`StreamIndex::begin_epoch`]) a new one.
    ///
    /// # Panics
    /// If it leaves a hole or overlaps (I3), or its epoch does not ascend, or the epoch has another lane.
    pub fn push(&mut self, block: BlockRef) {
        if self.is_empty() && block.base < self.start && self.start < block.end {
            self.rebase(block.base);
        }
        assert_eq!(block.base, self.end, "block {block:?} does not go on at the end {}", self.end);
        self.append(block);
    }

    /// What lies between the end and `to` was given up by name (SAFETY F19): the stream goes on at `to`.
    pub fn skip_loss(&mut self, to: u64) {
        if to > self.end {
            self.gaps.push(Gap { from: self.end, to });
            self.end = to;
        }
    }

    /// The blocks that hold the records from `offset` on, as many as `bytes_max` needs and at least one; none at the
    /// end. Below [`StreamIndex::floor`] it is not asked: that is history. The first may begin below `offset`. An offset in a gap of accepted loss gets what follows the gap.
    ///
    /// # Errors
    /// An offset below the log start or above the end.
    pub fn lookup(&self, offset: u64, bytes_max: u64) -> Result<Vec<BlockRef>, OffsetOutOfRange> {
        self.lookup_until(offset, u64::MAX, bytes_max)
    }

    /// As [`StreamIndex::lookup`], without blocks that begin at or above `until`.
    ///
    /// # Errors
    /// As [`StreamIndex::lookup`].
    pub fn lookup_until(
        &self,
        offset: u64,
        until: u64,
        bytes_max: u64,
    ) -> Result<Vec<BlockRef>, OffsetOutOfRange> {
        if offset < self.start || offset > self.end {
            return Err(OffsetOutOfRange { offset, start: self.start, end: self.end });
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        for block in self.blocks_from(offset) {
            if block.base >= until {
                break;
            }
            bytes += u64::from(block.length);
            found.push(block);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(found)
    }

    /// Bytes of the blocks that hold records from `offset` on, without walking more than it must once `bytes_max` is
    /// reached: how far behind a reader is.
    pub fn bytes_from(&self, offset: u64, bytes_max: u64) -> u64 {
        let mut bytes = 0;
        for block in self.blocks_from(offset) {
            bytes += u64::from(block.length);
            if bytes >= bytes_max {
                break;
            }
        }
        bytes
    }

    /// All blocks, in offset order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockRef> + '_ {
        self.blocks_from(self.start)
    }

    /// The blocks that may hold the first record at or after `timestamp`, in offset order: each has such a record, and no
    /// block before the first of them does. Usually the first is enough; the caller goes on only where that block's
    /// records are below the log start.
    pub fn blocks_from_timestamp(&self, timestamp: i64) -> impl Iterator<Item = BlockRef> + '_ {
        let groups =
            self.groups.iter().enumerate().filter(move |(_, group)| group.max_timestamp >= timestamp);
        groups.flat_map(move |(at, group)| {
            let blocks = group.blocks.iter().enumerate();
            let late = blocks.filter(move |(_, block)| block.max_timestamp >= timestamp);
            late.map(move |(within, _)| self.unpack(at, within))
        })
    }

    /// The first block with the largest timestamp; None where no record has one.
    pub fn block_of_max_timestamp(&self) -> Option<BlockRef> {
        let max = self.groups.iter().map(|group| group.max_timestamp).max().filter(|max| *max >= 0)?;
        self.blocks_from_timestamp(max).next()
    }

    /// Where the epoch asked for ended: the largest epoch at or below it that the stream knows, and the offset at which
    /// the next one began (for the newest: the end). An epoch below all known ones gets itself and where the first known
    /// one begins. None for one above the newest, and where none is known. (Kafka's `LeaderEpochFileCache.endOffsetFor`,
    /// KIP-101 and KIP-279.)
    pub fn end_offset_for_epoch(&self, asked: StreamEpoch) -> Option<(StreamEpoch, u64)> {
        let newest = self.epochs.last()?.epoch;
        if asked > newest {
            return None;
        }
        let above = self.epochs.partition_point(|run| run.epoch <= asked);
        let end = self.epochs.get(above).map_or(self.end, |next| next.start.max(self.start));
        let floor = above.checked_sub(1).map_or(asked, |at| self.epochs[at].epoch);
        Some((floor, end))
    }

    /// The epochs and where each begins (at the log start at least), ascending.
    pub fn epochs(&self) -> impl Iterator<Item = (StreamEpoch, u64)> + '_ {
        self.epochs.iter().map(|run| (run.epoch, run.start.max(self.start)))
    }

    /// The epoch in which the record at `offset` was written.
    pub fn epoch_at(&self, offset: u64) -> Option<StreamEpoch> {
        if offset < self.start || offset >= self.end {
            return None;
        }
        let above = self.epochs.partition_point(|run| run.start <= offset);
        above.checked_sub(1).map(|at| self.epochs[at].epoch)
    }

    /// Moves the log start forward; blocks and epochs wholly below it go. Above the end it takes the end along: nothing is
    /// left, and the stream goes on there.
    pub fn trim(&mut self, start: u64) {
        if start <= self.start {
            return;
        }
        self.start = start;
        while let Some(next) = self.second_base() {
            if next > start {
                break;
            }
            self.pop_front();
        }
        if self.end <= start {
            self.groups.clear();
            self.end = start;
        }
        // Down to the log start or history, and not further than the blocks reach.
        self.floor = self.first().map_or(self.floor.max(start), |first| self.floor.max(first.base));
        // As Kafka's truncateFromStart: the epoch that the log start lies in stays.
        let above = self.epochs.partition_point(|run| run.start <= start);
        self.epochs.drain(..above.saturating_sub(1));
        self.gaps.retain(|gap| gap.to > start);
    }

    /// Bytes of memory behind the index, about.
    pub fn memory(&self) -> usize {
        let groups: usize =
            self.groups.iter().map(|group| group.blocks.capacity() * size_of::<Packed>()).sum();
        groups + self.groups.capacity() * size_of::<Group>() + self.epochs.capacity() * size_of::<EpochRun>()
    }

    fn append(&mut self, block: BlockRef) {
        assert!(
            block.base < block.end && block.length < SMALL,
            "block {block:?} is empty or larger than 2 GiB"
        );
        match self.epochs.last() {
            Some(last) if last.epoch == block.epoch => match last.lane {
                Some(lane) => {
                    assert_eq!(lane, block.lane, "block {block:?} is in another lane than its epoch")
                }
                None => self.begin_epoch(block.epoch, block.lane),
            },
            _ => self.begin_epoch(block.epoch, block.lane),
        }
        let small = if block.small { SMALL } else { 0 };
        let packed = Packed {
            base: block.base,
            number: block.number,
            position: block.position,
            max_timestamp: block.max_timestamp,
            length_and_small: block.length | small,
            crc: block.crc,
        };
        match self.groups.back_mut().filter(|group| group.blocks.len() < GROUP) {
            Some(group) => {
                group.max_timestamp = group.max_timestamp.max(block.max_timestamp);
                group.blocks.push(packed);
            }
            None => self.groups.push_back(Group { max_timestamp: block.max_timestamp, blocks: vec![packed] }),
        }
        self.end = block.end;
    }

    /// The log start lies inside the first block: it begins below.
    fn rebase(&mut self, base: u64) {
        self.end = base;
        self.floor = base;
        for run in &mut self.epochs {
            run.start = run.start.min(base);
        }
    }

    fn first_end(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.end_of(0, 0))
    }

    fn second_base(&self) -> Option<u64> {
        let first = self.groups.front()?;
        let second = first.blocks.get(1).or_else(|| self.groups.get(1)?.blocks.first());
        second.map(|block| block.base)
    }

    fn pop_front(&mut self) {
        let Some(group) = self.groups.front_mut() else { return };
        group.blocks.remove(0);
        if group.blocks.is_empty() {
            self.groups.pop_front();
        } else {
            let max = group.blocks.iter().map(|block| block.max_timestamp).max();
            group.max_timestamp = max.expect("the group is not empty");
        }
    }

    fn blocks_from(&self, offset: u64) -> impl Iterator<Item = BlockRef> + '_ {
        let (at, within) = self.place_of(offset);
        let groups = self.groups.iter().enumerate().skip(at);
        groups.flat_map(move |(group, blocks)| {
            let first = if group == at { within } else { 0 };
            (first..blocks.blocks.len()).map(move |within| self.unpack(group, within))
        })
    }

    /// Group and index of the first block that ends above `offset`.
    fn place_of(&self, offset: u64) -> (usize, usize) {
        let group = self.groups.partition_point(|group| group.blocks[0].base <= offset).saturating_sub(1);
        let Some(blocks) = self.groups.get(group).map(|group| &group.blocks) else { return (0, 0) };
        let within = blocks.partition_point(|block| block.base <= offset).saturating_sub(1);
        if self.end_of(group, within) > offset { (group, within) } else { (group, within + 1) }
    }

    fn end_of(&self, group: usize, within: usize) -> u64 {
        let next =
            self.groups[group].blocks.get(within + 1).or_else(|| self.groups.get(group + 1)?.blocks.first());
        let next = next.map_or(self.end, |next| next.base);
        match self.gaps.binary_search_by_key(&next, |gap| gap.to) {
            Ok(gap) => self.gaps[gap].from,
            Err(_) => next,
        }
    }

    fn unpack(&self, group: usize, within: usize) -> BlockRef {
        let packed = self.groups[group].blocks[within];
        let above = self.epochs.partition_point(|run| run.start <= packed.base);
        let run = self.epochs[above.saturating_sub(1)];
        BlockRef {
            lane: run.lane.expect("a block is in a lane"),
            number: packed.number,
            position: packed.position,
            length: packed.length_and_small & !SMALL,
            epoch: run.epoch,
            base: packed.base,
            end: self.end_of(group, within),
            max_timestamp: packed.max_timestamp,
            crc: packed.crc,
            small: packed.length_and_small & SMALL != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(epoch: u32, base: u64, end: u64, max_timestamp: i64) -> BlockRef {
        BlockRef {
            lane: LaneRef(epoch),
            number: LaneNumber(base / 7),
            position: base * 3,
            length: 100,
            epoch: StreamEpoch(epoch),
            base,
            end,
            max_timestamp,
            crc: base as u32,
            small: base.is_multiple_of(2),
        }
    }

    fn index(blocks: &[BlockRef]) -> StreamIndex {
        let mut index = StreamIndex::new(blocks[0].base);
        blocks.iter().for_each(|block| index.push(*block));
        index
    }

    fn bases(found: &[BlockRef]) -> Vec<u64> {
        found.iter().map(|block| block.base).collect()
    }

    #[test]
    fn a_block_costs_forty_bytes() {
        assert_eq!(size_of::<Packed>(), 40);
        let blocks: Vec<BlockRef> = (0..6400).map(|at| block(0, at, at + 1, 0)).collect();
        let index = index(&blocks);
        assert_eq!(index.len(), 6400);
        assert!(index.memory() <= 6400 * 40 + (6400 / 64 + 64) * size_of::<Group>(), "{}", index.memory());
    }

    #[test]
    fn an_offset_is_found_and_as_many_blocks_as_its_bytes_need() {
        let index = index(&[block(0, 10, 20, 0), block(0, 20, 30, 0), block(1, 30, 40, 0)]);
        let table: [(u64, u64, &[u64]); 6] = [
            (10, 0, &[10]), // at least one
            (19, 100, &[10]),
            (19, 101, &[10, 20]),
            (20, 1000, &[20, 30]),
            (39, 1, &[30]),
            (40, 1, &[]), // at the end there is nothing yet
        ];
        for (offset, bytes_max, expected) in table {
            assert_eq!(bases(&index.lookup(offset, bytes_max).unwrap()), expected, "{offset} {bytes_max}");
        }
        for offset in [9, 41] {
            assert_eq!(index.lookup(offset, 1), Err(OffsetOutOfRange { offset, start: 10, end: 40 }));
        }
        assert_eq!(bases(&index.lookup_until(10, 30, 1000).unwrap()), [10, 20]);
        assert_eq!(bases(&index.lookup_until(10, 31, 1000).unwrap()), [10, 20, 30]);
        assert_eq!(
            (index.bytes_from(10, 1000), index.bytes_from(25, 1000), index.bytes_from(10, 150)),
            (300, 200, 200)
        );
        assert_eq!(index.lookup(30, 1).unwrap()[0], block(1, 30, 40, 0));
    }

    #[test]
    fn a_timestamp_is_found_though_they_come_in_any_order() {
        let times = [5, 3, 9, 9, -1, 7, 12, 1];
        let blocks: Vec<BlockRef> =
            times.iter().enumerate().map(|(at, time)| block(0, at as u64, at as u64 + 1, *time)).collect();
        let mut index = index(&blocks);
        let table: [(i64, Option<u64>); 6] =
            [(0, Some(0)), (5, Some(0)), (6, Some(2)), (10, Some(6)), (12, Some(6)), (13, None)];
        for (timestamp, expected) in table {
            let found = index.blocks_from_timestamp(timestamp).next().map(|block| block.base);
            assert_eq!(found, expected, "{timestamp}");
        }
        assert_eq!(index.block_of_max_timestamp().unwrap().base, 6);
        index.trim(7);
        assert_eq!(index.block_of_max_timestamp().unwrap().base, 7);
        assert_eq!(StreamIndex::new(3).block_of_max_timestamp(), None);
    }

    /// Kafka's LeaderEpochFileCacheTest, in our words.
    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let mut index = StreamIndex::new(0);
        assert_eq!(index.end_offset_for_epoch(StreamEpoch(0)), None);
        index.push(block(2, 0, 10, 0));
        index.begin_epoch(StreamEpoch(4), LaneRef(4)); // wrote nothing
        index.push(block(5, 10, 20, 0));
        index.begin_epoch(StreamEpoch(7), LaneRef(7));
        let table =
            [(0, (0, 0)), (1, (1, 0)), (2, (2, 10)), (3, (2, 10)), (4, (4, 10)), (5, (5, 20)), (7, (7, 20))];
        for (asked, (epoch, end)) in table {
            assert_eq!(
                index.end_offset_for_epoch(StreamEpoch(asked)),
                Some((StreamEpoch(epoch), end)),
                "{asked}"
            );
        }
        assert_eq!(index.end_offset_for_epoch(StreamEpoch(8)), None);
        assert_eq!(index.epoch_at(9), Some(StreamEpoch(2)));
        assert_eq!(index.epoch_at(10), Some(StreamEpoch(5)));
        assert_eq!(index.epoch_at(20), None);
        index.trim(12);
        let epochs: Vec<(u32, u64)> = index.epochs().map(|(epoch, start)| (epoch.0, start)).collect();
        assert_eq!(epochs, [(5, 12), (7, 20)]);
        assert_eq!(index.end_offset_for_epoch(StreamEpoch(2)), Some((StreamEpoch(2), 12)));
    }

    #[test]
    fn the_log_start_may_lie_inside_a_block_and_past_the_end() {
        let mut index = index(&[block(0, 0, 10, 0), block(0, 10, 20, 0)]);
        index.trim(15);
        assert_eq!((index.start(), index.len(), index.end()), (15, 1, 20));
        assert_eq!(bases(&index.lookup(15, 1).unwrap()), [10]);
        assert!(index.lookup(14, 1).is_err());
        index.trim(14);
        assert_eq!(index.start(), 15, "it does not go back");
        index.trim(20);
        assert!(index.is_empty());
        index.push(block(0, 20, 30, 0));
        index.trim(50);
        assert_eq!((index.start(), index.end(), index.len()), (50, 50, 0));
        // Recovery meets a first block that begins below the log start.
        let mut recovered = StreamIndex::new(25);
        recovered.begin_epoch(StreamEpoch(0), LaneRef(0));
        recovered.push(block(0, 20, 30, 0));
        assert_eq!(bases(&recovered.lookup(25, 1).unwrap()), [20]);
        assert_eq!(recovered.lookup(24, 1), Err(OffsetOutOfRange { offset: 24, start: 25, end: 30 }));
    }

    #[test]
    fn a_reader_passes_a_gap_of_accepted_loss() {
        let mut index = index(&[block(0, 0, 10, 0)]);
        index.skip_loss(30);
        assert_eq!((index.lookup(0, 1).unwrap()[0].end, index.lookup(20, 1).unwrap()), (10, vec![]));
        index.push(block(0, 30, 40, 0));
        index.push(block(0, 40, 50, 0));
        for offset in [10, 20, 30] {
            assert_eq!(bases(&index.lookup(offset, 1).unwrap()), [30], "{offset}");
        }
        assert_eq!(bases(&index.lookup(9, 1000).unwrap()), [0, 30, 40]);
        assert_eq!(index.lookup(0, 1).unwrap()[0].end, 10);
        index.trim(20);
        assert_eq!(bases(&index.lookup(20, 1).unwrap()), [30]);
    }

    #[test]
    #[should_panic(expected = "does not go on at the end 10")]
    fn a_hole_is_not_pushed() {
        index(&[block(0, 0, 10, 0), block(0, 11, 20, 0)]);
    }

    #[test]
    #[should_panic(expected = "epoch 1 after 2")]
    fn epochs_ascend() {
        index(&[block(2, 0, 10, 0), block(1, 10, 20, 0)]);
    }

    proptest! {
        /// Against a plain list of blocks, through pushes and trims, with more blocks than a group has.
        #[test]
        fn the_index_answers_as_a_list_would(
            sizes in prop::collection::vec((1u64..4, 0i64..50, prop::bool::weighted(0.05)), 1..300),
            trims in prop::collection::vec(0u64..900, 0..4),
            probes in prop::collection::vec((0u64..900, 0i64..60), 20),
        ) {
            let mut list: Vec<BlockRef> = Vec::new();
            let (mut end, mut epoch) = (0, 0);
            let mut index = StreamIndex::new(0);
            for (size, timestamp, next_epoch) in sizes {
                epoch += u32::from(next_epoch);
                let next = block(epoch, end, end + size, timestamp);
                end += size;
                list.push(next);
                index.push(next);
            }
            let mut start = 0;
            for trim in trims {
                start = start.max(trim.min(end));
                index.trim(start);
                list.retain(|block| block.end > start);
            }
            prop_assert_eq!(index.blocks().collect::<Vec<_>>(), list.clone());
            prop_assert_eq!((index.start(), index.end(), index.len()), (start, end, list.len()));
            for (offset, timestamp) in probes {
                let expected: Vec<BlockRef> = list.iter().filter(|block| block.end > offset).take(3).copied().collect();
                match index.lookup(offset, 300) {
                    Ok(found) => prop_assert_eq!(found, expected),
                    Err(_) => prop_assert!(offset < start || offset > end),
                }
                let late: Vec<BlockRef> = list.iter().filter(|block| block.max_timestamp >= timestamp).copied().collect();
                prop_assert_eq!(index.blocks_from_timestamp(timestamp).collect::<Vec<_>>(), late);
                let within = list.iter().find(|block| block.base <= offset && offset < block.end);
                if offset >= start {
                    prop_assert_eq!(index.epoch_at(offset), within.map(|block| block.epoch));
                }
            }
            let max = list.iter().map(|block| block.max_timestamp).max();
            prop_assert_eq!(index.block_of_max_timestamp().map(|block| block.max_timestamp), max);
        }
    }
}
