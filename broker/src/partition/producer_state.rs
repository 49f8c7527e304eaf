//! What a partition knows of its producers: the last five batches of each, so that a repeat is recognised and a gap refused
//! (KIP-98; Kafka's `ProducerAppendInfo`, `ProducerStateEntry`, `ProducerStateManager`). Pure.
//!
//! A batch is known from the moment it is admitted, before it is durable: a repeat of one that is still in the lane joins
//! its outcome (SAFETY F8), which is why every batch carries the number of its lane object.

use std::collections::{HashMap, VecDeque};

use protocol::record_batch::BatchHeader;
use s3stream::ids::LaneNumber;

use crate::log_cleaner::filter::LastRecord;

/// Batches kept per producer: as many as a client may have in flight (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const BATCHES_KEPT: usize = 5;

/// No epoch yet: the entry was made from nothing.
const NO_EPOCH: i16 = -1;

/// What admission says of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequenced {
    /// The next one: append it.
    Next,
    /// It was appended before: answer with the original.
    Duplicate(KnownBatch),
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A gap, or a repeat older than the five kept.
    #[error("out of order sequence number: producer {producer_id}, expected {expected}, got {got}")]
    OutOfOrder {
        /// Whose.
        producer_id: i64,
        /// The next sequence in order.
        expected: i32,
        /// The batch's first.
        got: i32,
        /// The lane object that holds the producer's newest batch; None: durable since before this incarnation.
        at: Option<LaneNumber>,
    },
    /// A producer with a newer epoch has written.
    #[error("epoch {got} of producer {producer_id} is older than the last seen epoch {current}")]
    StaleEpoch {
        /// Whose.
        producer_id: i64,
        /// The newest seen.
        current: i16,
        /// The batch's.
        got: i16,
        /// The lane object that holds the producer's newest batch; None: durable since before this incarnation.
        at: Option<LaneNumber>,
    },
}

impl SequenceError {
    /// The lane object that the judgement rests on: what is in there may not become durable, and would then have been judged by
    /// what never was.
    pub fn rests_on(&self) -> Option<LaneNumber> {
        match self {
            SequenceError::OutOfOrder { at, .. } | SequenceError::StaleEpoch { at, .. } => *at,
        }
    }
}

/// A batch that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownBatch {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Its largest timestamp (the append time where that is what the topic keeps).
    pub timestamp: i64,
    /// The lane object that holds it; None: durable since before this incarnation.
    pub at: Option<LaneNumber>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    batches: VecDeque<KnownBatch>,
    last_timestamp: i64,
}

/// All producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStates {
    by_id: HashMap<i64, Producer>,
}

/// A producer, for people (DescribeProducers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The last sequence appended, -1 where there is none.
    pub last_sequence: i32,
    /// Timestamp of its last batch.
    pub last_timestamp: i64,
}

impl ProducerStates {
    /// Judges a batch that has a producer id; changes nothing.
    pub fn check(&self, batch: &BatchHeader) -> Result<Sequenced, SequenceError> {
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            // Never seen, or expired: any sequence will do (KIP-360; without verification as in TV2).
            return Ok(Sequenced::Next);
        };
        let (producer_id, at) = (batch.producer_id, producer.batches.back().and_then(|b| b.at));
        if batch.producer_epoch < producer.epoch {
            let (current, got) = (producer.epoch, batch.producer_epoch);
            return Err(SequenceError::StaleEpoch { producer_id, current, got, at });
        }
        let first = batch.base_sequence;
        let out_of_order = |expected| SequenceError::OutOfOrder { producer_id, expected, got: first, at };
        if batch.producer_epoch > producer.epoch {
            let begins = first == 0 || producer.epoch == NO_EPOCH;
            return if begins { Ok(Sequenced::Next) } else { Err(out_of_order(0)) };
        }
        let last = batch.last_sequence();
        if let Some(known) =
            producer.batches.iter().find(|b| b.first_sequence == first && b.last_sequence == last)
        {
            return Ok(Sequenced::Duplicate(*known));
        }
        let expected = producer.batches.back().map_or(0, |b| next_sequence(b.last_sequence));
        if first == expected { Ok(Sequenced::Next) } else { Err(out_of_order(expected)) }
    }

    /// Notes a batch that was appended.
    pub fn record(&mut self, producer_id: i64, epoch: i16, batch: KnownBatch) {
        let producer = self.by_id.entry(producer_id).or_insert_with(|| Producer {
            epoch,
            batches: VecDeque::with_capacity(BATCHES_KEPT),
            last_timestamp: batch.timestamp,
        });
        if epoch != producer.epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_KEPT {
            producer.batches.pop_front();
        }
        producer.batches.push_back(batch);
        producer.last_timestamp = batch.timestamp;
    }

    /// Forgets producers that have not written for `expiration_ms` (`producer.id.expiration.ms`). One with a batch that
    /// is not durable yet stays: its outcome is still owed.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64, durable_below: LaneNumber) {
        self.by_id.retain(|_, p| {
            now_ms - p.last_timestamp < expiration_ms
                || p.batches.iter().any(|b| b.at.is_some_and(|at| at >= durable_below))
        });
    }

    /// All producers, by id.
    pub fn active(&self) -> Vec<ActiveProducer> {
        let mut all: Vec<_> = self
            .by_id
            .iter()
            .map(|(id, p)| ActiveProducer {
                producer_id: *id,
                epoch: p.epoch,
                last_sequence: p.batches.back().map_or(-1, |b| b.last_sequence),
                last_timestamp: p.last_timestamp,
            })
            .collect();
        all.sort_by_key(|p| p.producer_id);
        all
    }

    /// Id, epoch and kept batches of every producer, ascending by id; the last batch has the last timestamp.
    pub fn batches(&self) -> Vec<(i64, i16, &VecDeque<KnownBatch>)> {
        let all = self.by_id.iter().filter(|(_, p)| !p.batches.is_empty());
        let mut all: Vec<_> = all.map(|(id, p)| (*id, p.epoch, &p.batches)).collect();
        all.sort_by_key(|(id, ..)| *id);
        all
    }

    /// What each wrote last, by id (Kafka: `ProducerStateManager.lastEntry`, as the cleaner asks for it).
    pub fn last_records(&self) -> HashMap<i64, LastRecord> {
        let last = |p: &Producer| LastRecord {
            last_data_offset: p.batches.back().map(|batch| batch.last_offset),
            producer_epoch: p.epoch,
        };
        self.by_id.iter().map(|(id, p)| (*id, last(p))).collect()
    }

    /// The last lane object that holds a batch of any of them; None: all are durable since before this incarnation.
    pub fn last_lane_object(&self) -> Option<LaneNumber> {
        self.by_id.values().filter_map(|p| p.batches.back()?.at).max()
    }
}

/// Sequences wrap from the largest i32 to 0 (`DefaultRecordBatch.incrementSequence`).
fn next_sequence(last: i32) -> i32 {
    if last == i32::MAX { 0 } else { last + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, first: i32, count: i32) -> BatchHeader {
        let bytes = protocol::batch_builder::BatchBuilder::new().producer(7, epoch, first);
        let bytes = (0..count).fold(bytes, |b, i| b.append(i64::from(i), None, Some(b"v"), &[])).build();
        BatchHeader::parse(&bytes).unwrap()
    }

    fn admit(states: &mut ProducerStates, offset: i64, b: &BatchHeader) -> Result<Sequenced, SequenceError> {
        let outcome = states.check(b)?;
        if outcome == Sequenced::Next {
            let known = KnownBatch {
                first_sequence: b.base_sequence,
                last_sequence: b.last_sequence(),
                base_offset: offset,
                last_offset: offset + i64::from(b.last_offset_delta),
                timestamp: b.max_timestamp,
                at: Some(LaneNumber(offset as u64)),
            };
            states.record(b.producer_id, b.producer_epoch, known);
        }
        Ok(outcome)
    }

    #[test]
    fn five_in_flight_are_recognised_and_a_sixth_is_out_of_order() {
        let mut states = ProducerStates::default();
        for i in 0..6 {
            assert_eq!(admit(&mut states, i64::from(i), &batch(0, i, 1)), Ok(Sequenced::Next));
        }
        for i in 1..6 {
            let Ok(Sequenced::Duplicate(known)) = states.check(&batch(0, i, 1)) else { panic!("batch {i}") };
            assert_eq!(known.base_offset, i64::from(i));
        }
        assert_eq!(
            states.check(&batch(0, 0, 1)),
            Err(SequenceError::OutOfOrder { producer_id: 7, expected: 6, got: 0, at: Some(LaneNumber(5)) })
        );
    }

    #[test]
    fn a_gap_is_refused_and_an_overlap_is_no_duplicate() {
        let mut states = ProducerStates::default();
        admit(&mut states, 0, &batch(0, 0, 3)).unwrap();
        assert!(states.check(&batch(0, 4, 1)).is_err());
        assert!(states.check(&batch(0, 0, 2)).is_err(), "another last sequence is another batch");
        assert_eq!(states.check(&batch(0, 3, 1)), Ok(Sequenced::Next));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut states = ProducerStates::default();
        admit(&mut states, 0, &batch(0, i32::MAX - 1, 2)).unwrap();
        assert_eq!(states.check(&batch(0, 0, 1)), Ok(Sequenced::Next));
        let mut states = ProducerStates::default();
        admit(&mut states, 0, &batch(0, i32::MAX - 1, 4)).unwrap();
        assert_eq!(states.check(&batch(0, 2, 1)), Ok(Sequenced::Next), "MAX-1, MAX, 0, 1");
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
        let mut states = ProducerStates::default();
        admit(&mut states, 0, &batch(0, 0, 5)).unwrap();
        assert!(matches!(states.check(&batch(1, 5, 1)), Err(SequenceError::OutOfOrder { expected: 0, .. })));
        admit(&mut states, 5, &batch(1, 0, 1)).unwrap();
        assert!(matches!(states.check(&batch(0, 5, 1)), Err(SequenceError::StaleEpoch { current: 1, .. })));
    }

    #[test]
    fn a_refusal_rests_on_the_newest_batch_of_the_producer() {
        let mut states = ProducerStates::default();
        admit(&mut states, 3, &batch(1, 0, 1)).unwrap();
        admit(&mut states, 8, &batch(1, 1, 1)).unwrap();
        for refused in [batch(1, 5, 1), batch(2, 5, 1), batch(0, 2, 1)] {
            assert_eq!(states.check(&refused).unwrap_err().rests_on(), Some(LaneNumber(8)));
        }
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        assert_eq!(ProducerStates::default().check(&batch(3, 77, 1)), Ok(Sequenced::Next));
    }

    #[test]
    fn expiry_forgets_the_idle_but_not_those_in_flight() {
        let mut states = ProducerStates::default();
        admit(&mut states, 3, &batch(0, 0, 1)).unwrap();
        let mut in_flight = states.clone();
        in_flight.expire(100_000, 1_000, LaneNumber(3));
        assert_eq!(in_flight.active().len(), 1);
        states.expire(100_000, 1_000, LaneNumber(4));
        assert!(states.active().is_empty());
    }
}
