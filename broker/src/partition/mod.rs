//! A partition: what it accepts, what it knows, what it shows.
//!
//! [`append`] (p) judges a batch; [`producer_state`] (p) remembers producers; [`attachment`] and [`checkpoint`] (p) are what
//! of it is stored;
//! [`slice`] (p) cuts a fetch out of blocks; this file is the shell: one short mutex per partition, taken on the
//! connection's task, never across an await (PRACTICE P5). LOCK ORDER: partition, then lane, then fetch interest: so that
//! lane order is offset order.
//!
//! Offsets: `log_start_offset` ≤ `high_watermark` ≤ `log_end_offset`. What is below the high watermark is durable, with
//! everything before it (I1); what is above is in the lane and shown to nobody.

pub mod append;
pub mod attachment;
pub mod checkpoint;
pub mod producer_state;
pub mod slice;
pub mod table;
pub mod timestamp;
pub mod trim;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use protocol::record_batch::Batch;
use s3stream::block_ref::BlockRef;
use s3stream::budget::Permit;
use s3stream::ids::{LaneNumber, StreamEpoch, StreamId};
use s3stream::stream::StreamIndex;
use s3stream::wal::{Append, Attachment, Lane, Prefix, StreamSink};
use uuid::Uuid;

use crate::config::topic::TopicConfig;
use crate::fetch::interest::FetchInterest;
use crate::log_cleaner::filter::LastRecord;
use crate::retention::policy::Unit;
use append::AppendError;
use attachment::ProducerAttachment;
use producer_state::{ActiveProducer, KnownBatch, ProducerStates, Sequenced};
use trim::TrimRefused;

/// One partition that this broker leads.
pub struct Partition {
    /// Name of its topic.
    pub topic: Arc<str>,
    /// Id of its topic.
    pub topic_id: Uuid,
    /// Its index in the topic.
    pub index: i32,
    /// Its log.
    pub stream: StreamId,
    /// The epoch under which this incarnation leads it.
    pub leader_epoch: StreamEpoch,
    /// Its topic's configuration, swapped when that changes.
    pub config: Arc<ArcSwap<TopicConfig>>,
    state: Mutex<State>,
}

struct State {
    log_start_offset: u64,
    high_watermark: u64,
    log_end_offset: u64,
    blocks: StreamIndex,
    producers: ProducerStates,
    interests: Vec<(Weak<FetchInterest>, u32)>,
    open: Openness,
    /// Objects of `data/` hold all that is kept below; lane objects that do are deleted soon.
    uploaded_below: u64,
}

/// May the partition be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Openness {
    Open,
    /// Its topic is gone.
    Deleted,
    /// Acknowledged records of it cannot be read: it stays closed until the loss is accepted by name (SAFETY F19). To go on
    /// from what is there would give their offsets to others.
    Blocked,
}

/// A batch that has taken effect in order; it may be answered once `at` is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The append time, where the topic keeps that; else -1.
    pub log_append_time_ms: i64,
    /// The partition's log start.
    pub log_start_offset: i64,
    /// The lane object that holds it; None: durable already (a repeat of an old batch).
    pub at: Option<LaneNumber>,
}

/// The offsets of a partition at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset that is kept.
    pub log_start: i64,
    /// The first offset that nobody may read yet.
    pub high_watermark: i64,
    /// The offset that the next record gets.
    pub log_end: i64,
}

/// What a read found, before its bytes.
#[derive(Clone, Debug)]
pub struct Found {
    /// The offsets at that moment.
    pub offsets: Offsets,
    /// The blocks that hold what was asked for, in offset order; empty at the end of the log, and in history.
    pub blocks: Vec<BlockRef>,
    /// It lies in objects that only the catalog names: [`s3stream::history`] has the blocks.
    pub in_history: bool,
}

/// Why a read is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefused {
    /// Below the log start or above the end.
    #[error("offset {offset} is outside {}..={}", .offsets.log_start, .offsets.log_end)]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// What there is.
        offsets: Offsets,
    },
    /// Acknowledged records cannot be read; nothing is said of the others.
    #[error("the partition is closed: acknowledged records cannot be read")]
    Blocked,
    /// The client knows an older leader epoch (KIP-320).
    #[error("leader epoch {got} is older than {current}")]
    FencedLeaderEpoch {
        /// The client's.
        got: i32,
        /// Ours.
        current: i32,
    },
    /// The client knows a newer leader epoch: we are not the leader any more, or do not know it yet.
    #[error("leader epoch {got} is newer than {current}")]
    UnknownLeaderEpoch {
        /// The client's.
        got: i32,
        /// Ours.
        current: i32,
    },
}

/// Where and how to append.
pub struct AppendContext<'a> {
    /// This incarnation's lane.
    pub lane: &'a Lane,
    /// Wall clock, milliseconds.
    pub now_ms: i64,
    /// Charge of the frame that the batch lies in.
    pub charge: Option<Arc<Permit>>,
}

impl Partition {
    /// A partition as recovery found it; with an empty index for a new stream. `blocks` has our epoch begun.
    #[allow(clippy::too_many_arguments, reason = "each is a fact of its own, said once")]
    pub fn open(
        topic: Arc<str>,
        topic_id: Uuid,
        index: i32,
        stream: StreamId,
        leader_epoch: StreamEpoch,
        config: Arc<ArcSwap<TopicConfig>>,
        blocks: StreamIndex,
        producers: ProducerStates,
    ) -> Arc<Partition> {
        let state = State {
            log_start_offset: blocks.start(),
            high_watermark: blocks.end(),
            log_end_offset: blocks.end(),
            blocks,
            producers,
            interests: Vec::new(),
            open: Openness::Open,
            uploaded_below: 0,
        };
        Arc::new(Partition { topic, topic_id, index, stream, leader_epoch, config, state: Mutex::new(state) })
    }

    /// Appends a batch that [`append::validate`] passed. In order, whole, exactly once if it has a producer id.
    pub fn append(
        self: &Arc<Self>,
        batch: &Batch,
        max_timestamp: i64,
        context: AppendContext<'_>,
    ) -> Result<Appended, AppendError> {
        let header = batch.header();
        let config = self.config.load();
        let log_append_time = config.log_append_time.then_some(context.now_ms);
        let mut state = self.state.lock();
        match state.open {
            Openness::Open => {}
            Openness::Deleted => return Err(AppendError::Deleted),
            Openness::Blocked => return Err(AppendError::Blocked),
        }
        let log_start_offset = state.log_start_offset as i64;
        if header.has_producer_id()
            && let Sequenced::Duplicate(known) = state.producers.check(header)?
        {
            // Joins the original's outcome: durable when its lane object is (SAFETY F8, PRACTICE P8).
            return Ok(Appended {
                base_offset: known.base_offset,
                last_offset: known.last_offset,
                log_append_time_ms: if config.log_append_time { known.timestamp } else { -1 },
                log_start_offset,
                at: known.at,
            });
        }
        let base = state.log_end_offset;
        let epoch = self.leader_epoch.0 as i32;
        let (prefix, max_timestamp) = match log_append_time {
            None if max_timestamp != header.max_timestamp => (
                protocol::record_batch::stamp_max_timestamp(batch, base as i64, epoch, max_timestamp),
                max_timestamp,
            ),
            None => (protocol::record_batch::stamp(header, base as i64, epoch), max_timestamp),
            Some(now) => (protocol::record_batch::stamp_log_append_time(batch, base as i64, epoch, now), now),
        };
        let kept = ProducerAttachment::of(header).map(|a| ProducerAttachment { max_timestamp, ..a });
        let append = Append {
            stream: self.stream,
            epoch: self.leader_epoch,
            base,
            count: header.record_count as u32,
            max_timestamp,
            prefix: Prefix::new(&prefix).expect("a batch header fits a prefix"),
            body: batch.body(),
            attachment: kept.and_then(|a| Attachment::new(&a.encode())),
            sink: self.clone() as Arc<dyn StreamSink>,
            charge: context.charge,
        };
        let at = context.lane.push(append).map_err(AppendError::LaneEnded)?;
        let last_offset = base as i64 + i64::from(header.last_offset_delta);
        state.log_end_offset = last_offset as u64 + 1;
        if let Some(kept) = kept {
            let known = KnownBatch {
                first_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                base_offset: base as i64,
                last_offset,
                timestamp: max_timestamp,
                at: Some(at),
            };
            state.producers.record(kept.producer_id, kept.producer_epoch, known);
        }
        Ok(Appended {
            base_offset: base as i64,
            last_offset,
            log_append_time_ms: log_append_time.unwrap_or(-1),
            log_start_offset,
            at: Some(at),
        })
    }

    /// The offsets now.
    pub fn offsets(&self) -> Offsets {
        self.state.lock().offsets()
    }

    /// May it be read, and is the client's idea of the leader epoch ours? -1 is no idea (KIP-320).
    pub fn check_epoch(&self, current_leader_epoch: i32) -> Result<(), ReadRefused> {
        if self.state.lock().open == Openness::Blocked {
            return Err(ReadRefused::Blocked);
        }
        let current = self.leader_epoch.0 as i32;
        match current_leader_epoch {
            -1 => Ok(()),
            got if got < current => Err(ReadRefused::FencedLeaderEpoch { got, current }),
            got if got > current => Err(ReadRefused::UnknownLeaderEpoch { got, current }),
            _ => Ok(()),
        }
    }

    /// The blocks from `offset` on, about `max_bytes` of them and one at least, of what is durable. `in_tail` tells whether
    /// a block is in memory since it was written: what was uploaded and is not is history.
    pub fn find(
        &self,
        offset: i64,
        max_bytes: usize,
        in_tail: impl Fn(&BlockRef) -> bool,
    ) -> Result<Found, ReadRefused> {
        let mut state = self.state.lock();
        let offsets = state.offsets();
        if offset < offsets.log_start || offset > offsets.log_end {
            return Err(ReadRefused::OutOfRange { offset, offsets });
        }
        let at = offset as u64;
        if offset >= offsets.high_watermark {
            return Ok(Found { offsets, blocks: Vec::new(), in_history: false });
        }
        if at >= state.blocks.floor() && at < state.uploaded_below {
            state.forget_history(&in_tail);
        }
        let in_history = at < state.blocks.floor();
        let blocks = if in_history {
            Vec::new()
        } else {
            state.blocks.lookup(at, max_bytes as u64).unwrap_or_default()
        };
        Ok(Found { offsets, blocks, in_history })
    }

    /// Objects of `data/` hold all that is kept below `end`, says the image.
    pub fn uploaded(&self, end: u64, in_tail: impl Fn(&BlockRef) -> bool) {
        let mut state = self.state.lock();
        state.uploaded_below = state.uploaded_below.max(end);
        state.forget_history(&in_tail);
    }

    /// Objects of `data/` hold less than before of what is below `end`: log compaction wrote it anew. What memory has of it is
    /// read no more.
    pub fn rewritten(&self, end: u64) {
        self.state.lock().blocks.forget_below(end);
    }

    /// The blocks from `offset` on, for retention.
    pub fn units_from(&self, offset: u64) -> Vec<Unit> {
        let state = self.state.lock();
        let blocks = state.blocks.blocks().filter(|block| block.end > offset);
        let unit = |block: BlockRef| {
            let (end, bytes) = (block.end, u64::from(block.length));
            Unit { end, bytes, max_timestamp: block.max_timestamp }
        };
        blocks.map(unit).collect()
    }

    /// About `max_bytes` of the first blocks that the partition knows itself: what follows where history ends before them,
    /// by a loss that was accepted.
    pub fn above_history(&self, max_bytes: usize) -> Vec<BlockRef> {
        let blocks = &self.state.lock().blocks;
        blocks.lookup(blocks.floor(), max_bytes as u64).unwrap_or_default()
    }

    /// Where the blocks that this partition knows begin: below is history.
    pub fn history_below(&self) -> u64 {
        self.state.lock().blocks.floor()
    }

    /// Blocks that may hold the first record at or after `timestamp`, in offset order, and where those begin that this
    /// partition knows: below is history.
    pub fn blocks_from_timestamp(&self, timestamp: i64) -> (u64, Vec<BlockRef>) {
        let blocks = &self.state.lock().blocks;
        (blocks.floor(), blocks.blocks_from_timestamp(timestamp).collect())
    }

    /// The block that holds the record with the largest timestamp.
    pub fn block_of_max_timestamp(&self) -> Option<BlockRef> {
        self.state.lock().blocks.block_of_max_timestamp()
    }

    /// The largest leader epoch up to `asked` that wrote something, and the offset after its last record (KIP-101);
    /// for our own epoch that is the high watermark.
    pub fn end_offset_for_epoch(&self, asked: i32) -> Option<(i32, i64)> {
        let state = self.state.lock();
        if asked == self.leader_epoch.0 as i32 {
            return Some((asked, state.high_watermark as i64));
        }
        let asked = StreamEpoch(u32::try_from(asked).ok()?);
        state.blocks.end_offset_for_epoch(asked).map(|(epoch, end)| (epoch.0 as i32, end as i64))
    }

    /// The leader epoch that wrote the first offset that is kept.
    pub fn epoch_at_log_start(&self) -> Option<i32> {
        let state = self.state.lock();
        state.blocks.epoch_at(state.log_start_offset).map(|epoch| epoch.0 as i32)
    }

    /// Wakes `interest` in `slot` when the high watermark moves, until it is dropped.
    pub fn register(&self, interest: &Arc<FetchInterest>, slot: u32) {
        let mut state = self.state.lock();
        state.interests.retain(|(weak, _)| weak.strong_count() > 0);
        state.interests.push((Arc::downgrade(interest), slot));
    }

    /// Takes back what `register` did.
    pub fn unregister(&self, interest: &Arc<FetchInterest>, slot: u32) {
        let mut state = self.state.lock();
        state.interests.retain(|(weak, s)| *s != slot || !std::ptr::eq(weak.as_ptr(), Arc::as_ptr(interest)));
    }

    /// Producers seen within the expiry; may be told when the lane object is durable.
    pub fn active_producers(&self) -> (Vec<ActiveProducer>, Option<LaneNumber>) {
        let state = self.state.lock();
        (state.producers.active(), state.producers.last_lane_object())
    }

    /// What each known producer wrote last: its batch is not dropped by log compaction.
    pub fn last_records(&self) -> HashMap<i64, LastRecord> {
        self.state.lock().producers.last_records()
    }

    /// The log start that deleting up to `requested` comes to (-1: all that may be read).
    pub fn log_start_after(&self, requested: i64) -> Result<u64, TrimRefused> {
        let config = self.config.load();
        let compacted_only = config.compacted && !config.deletes;
        let state = self.state.lock();
        match state.open {
            Openness::Open => trim::log_start_after(state.offsets(), compacted_only, requested),
            Openness::Deleted => Err(TrimRefused::Deleted),
            Openness::Blocked => Err(TrimRefused::Blocked),
        }
    }

    /// Shows a log start that the journal has; it never goes back. Producers are not forgotten by it (SAFETY F15).
    pub fn trim(&self, start: u64) {
        let mut state = self.state.lock();
        if start <= state.log_start_offset {
            return;
        }
        assert!(
            start <= state.high_watermark,
            "{}-{}: log start {start} above the high watermark {}",
            self.topic,
            self.index,
            state.high_watermark
        );
        state.log_start_offset = start;
        state.blocks.trim(start);
        // Who waits is told the new log start, and who is below it that it is gone.
        state.interests.retain(|(weak, slot)| match weak.upgrade() {
            Some(interest) => {
                interest.mark(*slot, 0);
                true
            }
            None => false,
        });
    }

    /// Forgets producers that have been silent for `producer.id.expiration.ms`.
    pub fn expire_producers(&self, now_ms: i64, expiration_ms: i64, durable_below: LaneNumber) {
        self.state.lock().producers.expire(now_ms, expiration_ms, durable_below);
    }

    /// Closes it: acknowledged records of it cannot be read.
    pub fn block(&self) {
        self.state.lock().open = Openness::Blocked;
    }

    /// The topic is gone: appends are refused, waiting fetches wake up to find out.
    pub fn delete(&self) {
        let mut state = self.state.lock();
        state.open = Openness::Deleted;
        for (interest, slot) in state.interests.drain(..) {
            if let Some(interest) = interest.upgrade() {
                interest.mark(slot, 0);
            }
        }
    }
}

impl State {
    /// Blocks that were uploaded and are not in the tail any more are read from their new place.
    fn forget_history(&mut self, in_tail: impl Fn(&BlockRef) -> bool) {
        let below = self.uploaded_below;
        while let Some(first) = self.blocks.first().filter(|first| first.end <= below && !in_tail(first)) {
            self.blocks.forget_below(first.end);
        }
    }

    fn offsets(&self) -> Offsets {
        Offsets {
            log_start: self.log_start_offset as i64,
            high_watermark: self.high_watermark as i64,
            log_end: self.log_end_offset as i64,
        }
    }
}

impl StreamSink for Partition {
    fn durable(&self, _number: LaneNumber, blocks: &[BlockRef]) {
        let mut state = self.state.lock();
        let mut bytes = 0;
        for block in blocks {
            assert_eq!(
                block.base, state.high_watermark,
                "{}-{}: a durable block leaves a hole at the high watermark",
                self.topic, self.index
            );
            state.high_watermark = block.end;
            state.blocks.push(*block);
            bytes += block.length as usize;
        }
        assert!(state.high_watermark <= state.log_end_offset, "high watermark above the end of the log");
        state.interests.retain(|(weak, slot)| match weak.upgrade() {
            Some(interest) => {
                interest.mark(*slot, bytes);
                true
            }
            None => false,
        });
    }
}
