//! What the clients of a run sent, were told and saw, in the order in which it happened, and what of that breaks a promise.
//! Pure: a history made by hand is judged as one that was lived.
//!
//! The last reading (`Reader::Final`) is the log as it stands at the end. Against it: what was acknowledged is there, where
//! the answer said; what anybody read is there at the same offset; nothing is there twice, in another order than it was
//! sent, or without having been sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::commits::CommitJudge;

/// Keys of a producer in a partition of a compacted topic.
pub const KEYS: i32 = 8;

/// One record: the `number`th of a producer in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    /// Index of the producer.
    pub producer: u32,
    /// Partition it was sent to.
    pub partition: i32,
    /// From 0, without gaps.
    pub number: i32,
}

impl RecordId {
    /// The record's value; `padding` more bytes make it as large as wanted.
    pub fn value(&self, padding: usize) -> Vec<u8> {
        let mut value = format!("{}/{}/{}/", self.producer, self.partition, self.number).into_bytes();
        value.resize(value.len() + padding, b'.');
        value
    }

    /// Its key in a compacted topic: of few that its producer has.
    pub fn key(&self) -> Vec<u8> {
        format!("{}/{}", self.producer, self.number % KEYS).into_bytes()
    }

    /// Does it delete its key, in a compacted topic?
    pub fn is_tombstone(&self) -> bool {
        self.number % 13 == 12
    }

    /// Its key and partition, for comparison.
    fn keyed(&self) -> (u32, i32, i32) {
        (self.producer, self.partition, self.number % KEYS)
    }

    /// The reverse; None for anything that no producer makes.
    pub fn parse(value: &[u8]) -> Option<RecordId> {
        let mut parts = std::str::from_utf8(value).ok()?.split('/');
        let producer = parts.next()?.parse().ok()?;
        let partition = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let rest = parts.next()?;
        (parts.next().is_none() && rest.bytes().all(|b| b == b'.')).then_some(RecordId {
            producer,
            partition,
            number,
        })
    }
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// A consumer during the run.
    Tail(u32),
    /// The reading of everything at the end.
    Final,
}

/// One thing that happened.
#[allow(missing_docs, reason = "fields are what their names say; the variants are documented")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The topic is compacted by key.
    Compacted,
    /// Somebody asks that records below an offset be deleted.
    TrimSent { partition: i32, below: i64 },
    /// A record went out for the first time.
    Sent(RecordId),
    /// A batch was acknowledged; `base_offset` None where the answer names no offset (DUPLICATE_SEQUENCE_NUMBER).
    Acknowledged { first: RecordId, count: i32, base_offset: Option<i64> },
    /// A reader goes on from here.
    Sought { reader: Reader, partition: i32, offset: i64 },
    /// A reader got a record.
    Read { reader: Reader, partition: i32, offset: i64, value: Option<RecordId> },
    /// An answer on `connection`, of broker life `life`, said where the log ends for readers.
    HighWatermark { life: u32, connection: u64, partition: i32, offset: i64 },
    /// The newest life said where the log ends, when the highest acknowledged offset was `acknowledged` (-1: none) before
    /// it was asked.
    ListedLatest { life: u32, partition: i32, offset: i64, acknowledged: i64 },
    /// A member of the group asks for this to be committed.
    CommitSent { partition: i32, offset: i64 },
    /// It was told that it is.
    CommitAcknowledged { partition: i32, offset: i64 },
    /// The newest life said what is committed (-1: nothing), when `acknowledged` was before it was asked.
    OffsetFetched { partition: i32, offset: i64, acknowledged: i64 },
    /// A member has its assignment of this generation, from the newest life.
    Generation { member: u32, generation: i32 },
    /// The newest life refused what was right: a sequence in order, an offset that is in the log.
    RefusedWrongly(String),
    /// A client or the world did not come to an end in time.
    Stuck(String),
    /// What the world did; for readers of the trace.
    Note(String),
}

/// A broken promise.
#[allow(missing_docs, reason = "fields are what their names say; the variants are documented")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Acknowledged, and not in the log.
    Lost(RecordId),
    /// Twice in the log, or read twice on the way.
    Duplicated { id: RecordId, offsets: [i64; 2] },
    /// After a later record of the same producer.
    Reordered { id: RecordId, offset: i64, after: RecordId },
    /// Never sent, or sent elsewhere.
    Phantom { partition: i32, offset: i64, value: Option<RecordId> },
    /// One offset with two records, ever.
    TwoValues { partition: i32, offset: i64, values: [RecordId; 2] },
    /// An offset was passed over.
    Hole { reader: Reader, partition: i32, expected: i64, got: i64 },
    /// In the log at the end, though it was deleted by key, and what deleted it is gone.
    Resurrected { id: RecordId, offset: i64, deleted_by: RecordId },
    /// A reader was not shown what is the newest of its key.
    PassedOver { reader: Reader, offset: i64, id: RecordId },
    /// Read once, and not in the log at the end.
    ReadThenGone { partition: i32, offset: i64, id: RecordId },
    /// One life told one connection less than before.
    HighWatermarkBack { life: u32, partition: i32, from: i64, to: i64 },
    /// The newest life did not know of what was acknowledged.
    BehindAcknowledged { life: u32, partition: i32, offset: i64, acknowledged: i64 },
    /// Less is committed than was acknowledged, or what nobody committed.
    CommitLost { partition: i32, acknowledged: i64, fetched: i64 },
    /// A group's generation after a later one.
    GenerationBack { from: i32, to: i32 },
    /// See `Event::RefusedWrongly`.
    RefusedWrongly(String),
    /// See `Event::Stuck`.
    Stuck(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[derive(Default)]
struct Judge {
    sent: BTreeSet<RecordId>,
    /// Every record that was ever seen or promised at an offset.
    at: BTreeMap<(i32, i64), RecordId>,
    read: BTreeMap<(i32, i64), RecordId>,
    log: BTreeMap<(i32, i64), RecordId>,
    position: BTreeMap<(Reader, i32), i64>,
    watermark: BTreeMap<(u64, i32), i64>,
    acknowledged: Vec<(RecordId, i32)>,
    commits: CommitJudge,
    compacted: bool,
    trimmed: BTreeMap<i32, i64>,
    /// Offsets that a reader of a compacted topic was not shown: partition, from, to.
    passed: Vec<(Reader, i32, i64, i64)>,
    found: Vec<Violation>,
}

/// Every broken promise of a history, in the order in which it shows.
pub fn check(events: &[Event]) -> Vec<Violation> {
    let mut judge = Judge::default();
    events.iter().for_each(|event| judge.see(event));
    judge.finish()
}

impl Judge {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Compacted => self.compacted = true,
            Event::TrimSent { partition, below } => {
                let highest = self.trimmed.entry(*partition).or_default();
                *highest = (*highest).max(*below);
            }
            Event::Sent(id) => {
                self.sent.insert(*id);
            }
            Event::Acknowledged { first, count, base_offset } => {
                self.acknowledged.push((*first, *count));
                for i in 0..*count {
                    let id = RecordId { number: first.number + i, ..*first };
                    if let Some(base) = base_offset {
                        self.stands_at(id.partition, base + i64::from(i), id);
                    }
                }
            }
            Event::Sought { reader, partition, offset } => {
                self.position.insert((*reader, *partition), *offset);
            }
            Event::Read { reader, partition, offset, value } => {
                self.read(*reader, *partition, *offset, *value)
            }
            Event::HighWatermark { life, connection, partition, offset } => {
                let before = self.watermark.insert((*connection, *partition), *offset).unwrap_or(0);
                if *offset < before {
                    self.found.push(Violation::HighWatermarkBack {
                        life: *life,
                        partition: *partition,
                        from: before,
                        to: *offset,
                    });
                }
            }
            Event::ListedLatest { life, partition, offset, acknowledged } => {
                if offset <= acknowledged {
                    self.found.push(Violation::BehindAcknowledged {
                        life: *life,
                        partition: *partition,
                        offset: *offset,
                        acknowledged: *acknowledged,
                    });
                }
            }
            Event::CommitSent { .. }
            | Event::CommitAcknowledged { .. }
            | Event::OffsetFetched { .. }
            | Event::Generation { .. } => self.found.extend(self.commits.see(event)),
            Event::RefusedWrongly(what) => self.found.push(Violation::RefusedWrongly(what.clone())),
            Event::Stuck(what) => self.found.push(Violation::Stuck(what.clone())),
            Event::Note(_) => {}
        }
    }

    fn read(&mut self, reader: Reader, partition: i32, offset: i64, value: Option<RecordId>) {
        let expected = self.position.insert((reader, partition), offset + 1).unwrap_or(0);
        if offset > expected && self.compacted {
            self.passed.push((reader, partition, expected, offset));
        } else if offset != expected {
            self.found.push(Violation::Hole { reader, partition, expected, got: offset });
        }
        let id = match value {
            Some(id) if id.partition == partition && self.sent.contains(&id) => id,
            _ => return self.found.push(Violation::Phantom { partition, offset, value }),
        };
        self.stands_at(partition, offset, id);
        self.read.insert((partition, offset), id);
        if reader == Reader::Final {
            self.log.insert((partition, offset), id);
        }
    }

    fn stands_at(&mut self, partition: i32, offset: i64, id: RecordId) {
        let before = *self.at.entry((partition, offset)).or_insert(id);
        if before != id {
            self.found.push(Violation::TwoValues { partition, offset, values: [before, id] });
        }
    }

    fn finish(mut self) -> Vec<Violation> {
        let mut place: BTreeMap<RecordId, i64> = BTreeMap::new();
        let mut last: BTreeMap<(u32, i32), RecordId> = BTreeMap::new();
        for (&(partition, offset), &id) in &self.log {
            if let Some(first) = place.insert(id, offset) {
                self.found.push(Violation::Duplicated { id, offsets: [first, offset] });
                continue;
            }
            match last.insert((id.producer, partition), id) {
                Some(after) if after.number > id.number => {
                    self.found.push(Violation::Reordered { id, offset, after });
                }
                _ => {}
            }
        }
        let kept = Kept::of(&self);
        for (&(partition, offset), &id) in &self.read {
            if self.log.get(&(partition, offset)) != Some(&id) && !kept.may_be_gone(id, Some(offset)) {
                self.found.push(Violation::ReadThenGone { partition, offset, id });
            }
        }
        for (first, count) in &self.acknowledged {
            for i in 0..*count {
                let id = RecordId { number: first.number + i, ..*first };
                if !place.contains_key(&id) && !kept.may_be_gone(id, None) {
                    self.found.push(Violation::Lost(id));
                }
            }
        }
        for &(reader, partition, from, to) in &self.passed {
            for (&(_, offset), &id) in self.at.range((partition, from)..(partition, to)) {
                if !kept.may_be_gone(id, Some(offset)) {
                    self.found.push(Violation::PassedOver { reader, offset, id });
                }
            }
        }
        if self.compacted {
            for (&(_, offset), &id) in &self.log {
                let newest_tombstone = kept.tombstones.get(&id.keyed());
                if let Some(&deleted_by) =
                    newest_tombstone.filter(|t| t.number > id.number && !place.contains_key(t))
                {
                    self.found.push(Violation::Resurrected { id, offset, deleted_by });
                }
            }
        }
        self.found
    }
}

/// What has to be there at the end, of what is known to have been in the log: nothing below a log start that was asked for;
/// of a compacted topic the newest of each key, if that is no tombstone.
struct Kept {
    trimmed: BTreeMap<i32, i64>,
    place: BTreeMap<RecordId, i64>,
    /// The newest of each key; empty where the topic is not compacted.
    newest: BTreeMap<(u32, i32, i32), RecordId>,
    tombstones: BTreeMap<(u32, i32, i32), RecordId>,
}

impl Kept {
    fn of(judge: &Judge) -> Kept {
        let of_batch = |(first, count): &(RecordId, i32)| {
            let first = *first;
            (0..*count).map(move |i| RecordId { number: first.number + i, ..first })
        };
        let known = judge.at.values().copied().chain(judge.acknowledged.iter().flat_map(of_batch));
        let place = judge.at.iter().map(|(&(_, offset), &id)| (id, offset)).collect();
        let (mut newest, mut tombstones) = (BTreeMap::new(), BTreeMap::new());
        for id in known.filter(|_| judge.compacted) {
            let later = |of: &mut BTreeMap<_, RecordId>| {
                let newest = of.entry(id.keyed()).or_insert(id);
                *newest = (*newest).max(id);
            };
            later(&mut newest);
            if id.is_tombstone() {
                later(&mut tombstones);
            }
        }
        Kept { trimmed: judge.trimmed.clone(), place, newest, tombstones }
    }

    fn may_be_gone(&self, id: RecordId, offset: Option<i64>) -> bool {
        let trimmed = self.trimmed.get(&id.partition).copied().unwrap_or(0);
        let offset = offset.or_else(|| self.place.get(&id).copied());
        let is_trimmed = match offset {
            Some(offset) => offset < trimmed,
            // Nobody was told where it was: somewhere before the next of its producer.
            None => self.place.range(id..).next().is_some_and(|(next, offset)| {
                (next.producer, next.partition) == (id.producer, id.partition) && *offset <= trimmed
            }),
        };
        let is_old =
            self.newest.get(&id.keyed()).is_some_and(|newest| id.is_tombstone() || newest.number > id.number);
        is_trimmed || is_old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i32) -> RecordId {
        RecordId { producer: 1, partition: 0, number }
    }

    fn read(reader: Reader, offset: i64, id: RecordId) -> Event {
        Event::Read { reader, partition: 0, offset, value: Some(id) }
    }

    fn acknowledged(number: i32, base_offset: i64) -> Event {
        Event::Acknowledged { first: id(number), count: 1, base_offset: Some(base_offset) }
    }

    /// Two records, sent, acknowledged, read by a tail and at the end.
    fn good() -> Vec<Event> {
        let t = Reader::Tail(0);
        vec![
            Event::Sent(id(0)),
            Event::Sent(id(1)),
            acknowledged(0, 0),
            read(t, 0, id(0)),
            acknowledged(1, 1),
            Event::HighWatermark { life: 1, connection: 1, partition: 0, offset: 2 },
            Event::ListedLatest { life: 1, partition: 0, offset: 2, acknowledged: 1 },
            read(t, 1, id(1)),
            Event::Sought { reader: t, partition: 0, offset: 0 },
            read(t, 0, id(0)),
            read(Reader::Final, 0, id(0)),
            read(Reader::Final, 1, id(1)),
        ]
    }

    #[test]
    fn a_good_history_is_good() {
        assert_eq!(check(&good()), []);
    }

    #[test]
    fn values_come_back_and_others_do_not() {
        assert_eq!(RecordId::parse(&id(7).value(3)), Some(id(7)));
        for other in ["", "1/0/7", "1/0/7/x", "1/0/7/./", "a/0/7/"] {
            assert_eq!(RecordId::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_was_acknowledged_and_is_gone_is_lost() {
        let mut h = good();
        h.pop();
        let found = check(&h);
        assert!(found.contains(&Violation::Lost(id(1))), "{found:?}");
        assert!(found.contains(&Violation::ReadThenGone { partition: 0, offset: 1, id: id(1) }), "{found:?}");
    }

    #[test]
    fn twice_in_the_log_is_a_duplicate() {
        let mut h = good();
        h.push(read(Reader::Final, 2, id(1)));
        assert_eq!(check(&h), [Violation::Duplicated { id: id(1), offsets: [1, 2] }]);
    }

    #[test]
    fn another_order_than_sent_is_seen() {
        let h = [
            Event::Sent(id(0)),
            Event::Sent(id(1)),
            read(Reader::Final, 0, id(1)),
            read(Reader::Final, 1, id(0)),
        ];
        assert_eq!(check(&h), [Violation::Reordered { id: id(0), offset: 1, after: id(1) }]);
    }

    #[test]
    fn what_nobody_sent_is_a_phantom() {
        let h = [Event::Sent(id(0)), read(Reader::Final, 0, id(5))];
        assert_eq!(check(&h), [Violation::Phantom { partition: 0, offset: 0, value: Some(id(5)) }]);
        let elsewhere = Event::Read { reader: Reader::Final, partition: 1, offset: 0, value: Some(id(0)) };
        assert_eq!(check(&[Event::Sent(id(0)), elsewhere]).len(), 1);
    }

    #[test]
    fn an_offset_has_one_value_for_ever() {
        let mut h = good();
        h.insert(2, read(Reader::Tail(9), 0, id(1)));
        assert!(check(&h).iter().any(|v| matches!(v, Violation::TwoValues { offset: 0, .. })));
        // The answer names an offset that another record has.
        let mut h = good();
        h.insert(3, acknowledged(1, 0));
        assert!(check(&h).iter().any(|v| matches!(v, Violation::TwoValues { offset: 0, .. })));
    }

    #[test]
    fn an_offset_passed_over_is_a_hole() {
        let mut h = good();
        h.remove(3);
        assert_eq!(
            check(&h),
            [Violation::Hole { reader: Reader::Tail(0), partition: 0, expected: 0, got: 1 }]
        );
    }

    /// Keys repeat every [`KEYS`] records; 12 is a tombstone.
    #[test]
    fn of_a_compacted_topic_the_newest_of_each_key_stays() {
        let compacted = |kept: &[i32]| {
            let mut h = vec![Event::Compacted];
            h.extend((0..16).map(|n| Event::Sent(id(n))));
            h.extend((0..16).map(|n| acknowledged(n, i64::from(n))));
            h.extend(kept.iter().map(|n| read(Reader::Final, i64::from(*n), id(*n))));
            check(&h)
        };
        let newest = [8, 9, 10, 11, 13, 14, 15];
        assert_eq!(compacted(&newest), []);
        assert_eq!(compacted(&[0, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15]), [], "older ones may stay");
        assert_eq!(compacted(&[8, 9, 10, 11, 13, 14]), [Violation::Lost(id(15))]);
        let found = compacted(&[8, 9, 11, 13, 14, 15]);
        let passed = Violation::PassedOver { reader: Reader::Final, offset: 10, id: id(10) };
        assert_eq!(found, [Violation::Lost(id(10)), passed]);
        let found = compacted(&[4, 8, 9, 10, 11, 13, 14, 15]);
        assert_eq!(found, [Violation::Resurrected { id: id(4), offset: 4, deleted_by: id(12) }]);
    }

    #[test]
    fn what_somebody_asked_to_delete_may_be_gone_and_nothing_else() {
        let trimmed = |below| {
            let mut h = good();
            h.truncate(10);
            h.push(Event::TrimSent { partition: 0, below });
            h.push(Event::Sought { reader: Reader::Final, partition: 0, offset: 1 });
            h.push(read(Reader::Final, 1, id(1)));
            check(&h)
        };
        assert_eq!(trimmed(1), []);
        assert_eq!(trimmed(0).len(), 2);
    }

    #[test]
    fn the_high_watermark_of_one_life_never_goes_back() {
        let mut h = good();
        h.push(Event::HighWatermark { life: 1, connection: 1, partition: 0, offset: 1 });
        assert_eq!(check(&h), [Violation::HighWatermarkBack { life: 1, partition: 0, from: 2, to: 1 }]);
    }

    #[test]
    fn the_newest_life_knows_what_was_acknowledged() {
        let mut h = good();
        h.push(Event::ListedLatest { life: 1, partition: 0, offset: 1, acknowledged: 1 });
        assert!(matches!(check(&h)[..], [Violation::BehindAcknowledged { .. }]));
        h.pop();
        h.push(Event::Stuck("a producer".into()));
        assert!(matches!(check(&h)[..], [Violation::Stuck(_)]));
    }
}
