//! Gathering one answer: look at the slots that have news, take what is in memory, start loads of what is not, wait for the
//! rest until the deadline. It returns what it has, never sleeps while data is there, and a cold partition never holds
//! the hot ones of the same fetch (PRACTICE F3).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::error::{self, ErrorCode};
use s3stream::budget::{Class, Permit};
use s3stream::cache::{ReadError, SequentialRead};
use s3stream::ids::StreamId;
use tokio::time::{Instant, timeout_at};

use super::locate::{Located, blocks, blocks_ahead, locate};
use super::session::{Done, FetchSlots, Load, TopicKey};
use crate::broker::Broker;
use crate::error::read_error_code;
use crate::partition::slice::whole_batches;
use crate::partition::table::PartitionTable;
use crate::partition::{Offsets, Partition};

/// An answer that waits for more does not hold slices of others' memory for longer: a slice keeps all that came by the same
/// GET, and is charged for itself alone (I8).
const PINNED_MAX: Duration = Duration::from_millis(100);
/// What was loaded for a slot waits so long for the fetch that takes it.
const LOADED_MAX: Duration = Duration::from_secs(10);

/// Offsets of a partition that we know nothing of.
const UNKNOWN: Offsets = Offsets { log_start: -1, high_watermark: -1, log_end: -1 };

/// The limits of one fetch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait for `min_bytes`.
    pub max_wait: Duration,
    /// Enough to answer at once.
    pub min_bytes: usize,
    /// The most of the whole answer, soft as in KIP-74.
    pub max_bytes: usize,
}

/// What was found for one slot.
#[derive(Debug)]
pub struct Gathered {
    /// Error code, 0 for none.
    pub error: i16,
    /// Offsets when it was looked at.
    pub offsets: Offsets,
    /// Whole batches.
    pub records: Vec<Bytes>,
    bytes: usize,
    /// They are copies, not slices of what was read.
    copied: bool,
}

impl Gathered {
    /// Nothing to read.
    pub fn empty(offsets: Offsets) -> Gathered {
        Gathered { error: error::NONE, offsets, records: Vec::new(), bytes: 0, copied: false }
    }

    /// There is no such partition here; of a topic whose id is known, UNKNOWN_TOPIC_ID would be a lie
    /// (`KafkaApis.handleFetchRequest`).
    pub fn unknown(topic: &TopicKey, table: &PartitionTable) -> Gathered {
        let code = match topic {
            TopicKey::Id(id) if table.topic_by_id(*id).is_none() => ErrorCode::UnknownTopicId,
            TopicKey::Id(_) | TopicKey::Name(_) => ErrorCode::UnknownTopicOrPartition,
        };
        Gathered::failed(code, UNKNOWN)
    }

    fn failed(code: ErrorCode, offsets: Offsets) -> Gathered {
        Gathered { error: code.code(), offsets, records: Vec::new(), bytes: 0, copied: false }
    }
}

/// Everything that was looked at, by slot, and the charge of what the answer pins.
#[derive(Debug, Default)]
pub struct Answer {
    /// By slot.
    pub slots: HashMap<u32, Gathered>,
    /// Charge of class responses.
    pub charge: Option<Permit>,
}

impl Answer {
    /// Does it hold slices of what was read?
    fn pins(&self) -> bool {
        self.slots.values().any(|gathered| gathered.bytes > 0 && !gathered.copied)
    }

    /// Copies what it holds slices of.
    fn copy(&mut self) {
        for gathered in self.slots.values_mut().filter(|gathered| !gathered.copied) {
            gathered.records.iter_mut().for_each(|slice| *slice = Bytes::copy_from_slice(slice));
            gathered.copied = true;
        }
    }
}

/// Gathers until there is enough, an error to tell, or no time left.
pub async fn gather(broker: &Arc<Broker>, slots: &mut FetchSlots, limits: Limits) -> Answer {
    let answer = gather_until(broker, slots, limits).await;
    // Who gave something is looked at again by the next fetch.
    for (slot, _) in answer.slots.iter().filter(|(_, gathered)| gathered.bytes > 0) {
        slots.feed(*slot);
    }
    answer
}

async fn gather_until(broker: &Arc<Broker>, slots: &mut FetchSlots, limits: Limits) -> Answer {
    let deadline = Instant::now() + limits.max_wait;
    let interest = slots.interest.clone();
    let mut answer = Answer::default();
    let mut pinned_since = None;
    loop {
        let complete = look(broker, slots, limits, &mut answer).await;
        let now = Instant::now();
        if complete || slots.is_empty() || now >= deadline {
            return answer;
        }
        let copy_at = answer.pins().then(|| *pinned_since.get_or_insert(now) + PINNED_MAX);
        let until = copy_at.map_or(deadline, |at| at.min(deadline));
        let mut changed = timeout_at(until, interest.changed()).await.is_ok();
        if copy_at.is_some_and(|at| at <= Instant::now()) {
            answer.copy();
            pinned_since = None;
            changed = changed || timeout_at(deadline, interest.changed()).await.is_ok();
        }
        if !changed {
            // One last look: a mark may have come with the deadline.
            look(broker, slots, limits, &mut answer).await;
            return answer;
        }
    }
}

/// Looks at every slot that has news. True if the answer should leave now.
async fn look(broker: &Arc<Broker>, slots: &mut FetchSlots, limits: Limits, answer: &mut Answer) -> bool {
    let candidates = slots.candidates();
    let mut found = Vec::with_capacity(candidates.len());
    let mut available = 0;
    for slot in candidates {
        match find(broker, slots, slot, limits.max_bytes.saturating_sub(available)) {
            Ok(looked) => {
                available += looked.bytes();
                found.push((slot, looked));
            }
            Err(failed) => {
                slots.feed(slot);
                answer.slots.insert(slot, failed);
            }
        }
    }
    let mut has_error = answer.slots.values().any(|g| g.error != error::NONE);
    if available > 0 {
        let class = broker.budget.class(Class::Responses);
        let most = available.min(limits.max_bytes);
        let wanted = most.min((class.capacity() / 8) as usize);
        let charge = match &answer.charge {
            // Who has something does not wait for more room: it might be its own that it waits for.
            Some(held) if held.bytes() > 0 => match class.try_acquire(wanted as u64) {
                Some(charge) => charge,
                None => {
                    found.iter().for_each(|(slot, _)| slots.feed(*slot));
                    return true;
                }
            },
            _ => class.acquire(wanted as u64).await,
        };
        let mut room = limits.max_bytes.saturating_sub(total(answer)).min(charge.bytes() as usize);
        for (slot, looked) in found {
            // What an earlier look took of it is read again, in the room that it had.
            let earlier = answer.slots.remove(&slot).filter(|earlier| earlier.bytes > 0);
            room += earlier.as_ref().map_or(0, |earlier| earlier.bytes);
            let first = total(answer) == 0;
            let mut gathered = take(broker, slots, slot, looked, room, first);
            if let Some(earlier) = earlier
                && gathered.error == error::NONE
                && gathered.bytes < earlier.bytes
            {
                // It has left memory meanwhile.
                gathered = earlier;
            }
            has_error |= gathered.error != error::NONE;
            room = room.saturating_sub(gathered.bytes);
            answer.slots.insert(slot, gathered);
        }
        let mut all = match answer.charge.take() {
            None => charge,
            Some(earlier) => join(earlier, charge, broker),
        };
        let held = total(answer);
        all.shrink_to(held as u64);
        answer.charge = Some(all);
        if wanted < most && held > 0 {
            // More than that is answered by no fetch: waiting would not bring it.
            return true;
        }
    } else {
        for (slot, looked) in found {
            answer.slots.insert(slot, Gathered::empty(looked.located.offsets));
        }
    }
    has_error || total(answer) >= limits.min_bytes
}

/// One permit for two: both are of class responses, so the sum may be charged as one.
fn join(a: Permit, b: Permit, broker: &Broker) -> Permit {
    let sum = a.bytes() + b.bytes();
    drop((a, b));
    broker.budget.class(Class::Responses).overdraw(sum)
}

fn total(answer: &Answer) -> usize {
    answer.slots.values().map(|g| g.bytes).sum()
}

struct Looked {
    partition: Arc<Partition>,
    located: Located,
}

impl Looked {
    /// What there is to take, about.
    fn bytes(&self) -> usize {
        let known: usize = self.located.blocks.iter().map(|b| b.length as usize).sum();
        known + self.located.unread.as_ref().map_or(0, |read| read.bytes_max as usize)
    }

    /// Does this object hold any of it, by the image at hand? If that is not there it is gone, and nothing is elsewhere.
    fn is_in(&self, broker: &Broker, key: &str) -> bool {
        let ranges = self.located.unread.iter().flat_map(|read| &read.ranges);
        self.located.blocks.iter().any(|block| broker.reader.key(block) == key)
            || ranges.map(|at| at.range.object.key(at.writer)).any(|of_range| of_range == key)
    }
}

fn find(broker: &Arc<Broker>, slots: &mut FetchSlots, slot: u32, room: usize) -> Result<Looked, Gathered> {
    let table = broker.partitions.load();
    let Some(partition) = slots.resolve(slot, &table) else {
        return Err(Gathered::unknown(&slots.get(slot).wanted.topic, &table));
    };
    let wanted = &slots.get(slot).wanted;
    partition
        .check_epoch(wanted.leader_epoch)
        .map_err(|refused| Gathered::failed(read_error_code(&refused), UNKNOWN))?;
    let bytes = (wanted.max_bytes.max(1) as usize).min(room.max(1));
    let located = locate(broker, &partition, wanted.offset, bytes)
        .map_err(|refused| Gathered::failed(read_error_code(&refused), partition.offsets()))?;
    Ok(Looked { located, partition })
}

/// Takes what is in memory of what was found; starts a load if that is nothing.
fn take(
    broker: &Arc<Broker>,
    slots: &mut FetchSlots,
    slot: u32,
    looked: Looked,
    room: usize,
    first: bool,
) -> Gathered {
    let offsets = looked.located.offsets;
    if looked.located.blocks.is_empty() && looked.located.unread.is_none() {
        let offset = slots.get(slot).wanted.offset;
        broker.reader.passed(looked.partition.stream, offset as u64);
        return Gathered::empty(offsets);
    }
    // There is data: this slot is looked at again, until something is taken of it.
    slots.feed(slot);
    if room == 0 && !first {
        return Gathered::empty(offsets);
    }
    let offset = slots.get(slot).wanted.offset;
    let limit = (slots.get(slot).wanted.max_bytes.max(0) as usize).min(room);
    let blocks = &looked.located.blocks;
    let mut in_memory: Vec<Bytes> = blocks.iter().map_while(|b| broker.reader.memory(b)).collect();
    tell_reader(broker, &looked, offset, in_memory.is_empty());
    if in_memory.is_empty() {
        match loaded(slots, slot, looked.partition.stream, offset) {
            Loaded::Bytes(bytes) => in_memory = bytes,
            Loaded::UnderWay => return waiting(slots, slot, offsets),
            // It went while it was looked up: an image later it is elsewhere (DESIGN §7).
            Loaded::Failed(ReadError::Missing { key, .. }) if !looked.is_in(broker, &key) => {
                slots.interest.mark(slot, 0);
                return Gathered::empty(offsets);
            }
            Loaded::Failed(reason) => {
                tracing::warn!(topic = %looked.partition.topic, partition = looked.partition.index, offset,
                    %reason, "a fetch could not be read from the store");
                return Gathered::failed(ErrorCode::KafkaStorageError, offsets);
            }
            Loaded::NotStarted => {
                start_load(broker, slots, slot, looked.partition.stream, looked.located);
                return waiting(slots, slot, offsets);
            }
        }
    }
    let records = whole_batches(&in_memory, offset, limit, first);
    let bytes = records.iter().map(Bytes::len).sum();
    if bytes > 0 {
        slots.to_tail(slot);
        slots.get_mut(slot).hungry = false;
    }
    Gathered { error: error::NONE, offsets, records, bytes, copied: false }
}

/// Tells the reader what is read of what is not in the tail: it may load what follows.
fn tell_reader(broker: &Arc<Broker>, looked: &Looked, offset: i64, missed: bool) {
    let Looked { partition, located } = looked;
    let (Some(first), Some(last)) = (located.blocks.first(), located.blocks.last()) else { return };
    if !located.in_history() && broker.reader.in_tail(first) {
        broker.reader.passed(partition.stream, offset as u64);
        return;
    }
    let read = SequentialRead { stream: partition.stream, from: offset as u64, to: last.end, missed };
    let (broker, partition) = (Arc::clone(broker), Arc::clone(partition));
    broker.clone().reader.sequential(read, move |from, bytes| {
        let (broker, partition) = (Arc::clone(&broker), Arc::clone(&partition));
        async move { blocks_ahead(&broker, &partition, from, bytes).await }
    });
}

/// A slot whose load is under way is not hungry: the load marks it when it is done.
fn waiting(slots: &mut FetchSlots, slot: u32, offsets: Offsets) -> Gathered {
    slots.get_mut(slot).hungry = false;
    Gathered::empty(offsets)
}

enum Loaded {
    Bytes(Vec<Bytes>),
    UnderWay,
    Failed(ReadError),
    NotStarted,
}

fn loaded(slots: &mut FetchSlots, slot: u32, stream: StreamId, offset: i64) -> Loaded {
    let s = slots.get_mut(slot);
    let Some(load) = s.load.clone() else { return Loaded::NotStarted };
    if (load.stream, load.offset) != (stream, offset) {
        s.load = None;
        return Loaded::NotStarted;
    }
    let mut done = load.done.lock();
    if matches!(*done, Done::UnderWay) {
        return Loaded::UnderWay;
    }
    s.load = None;
    match std::mem::replace(&mut *done, Done::Taken) {
        Done::Read(outcome) => outcome.map_or_else(Loaded::Failed, Loaded::Bytes),
        Done::UnderWay | Done::Taken => Loaded::NotStarted,
    }
}

fn start_load(broker: &Arc<Broker>, slots: &mut FetchSlots, slot: u32, stream: StreamId, located: Located) {
    let offset = slots.get(slot).wanted.offset;
    let load = Arc::new(Load { stream, offset, done: parking_lot::Mutex::new(Done::UnderWay) });
    slots.get_mut(slot).load = Some(load.clone());
    let (loader, interest) = (Arc::clone(broker), slots.interest.clone());
    broker.env.tasks.spawn("fetch-load", async move {
        let result = async {
            let blocks = blocks(&loader, located).await?;
            loader.reader.load(&blocks).await
        };
        let result = result.await;
        *load.done.lock() = Done::Read(result);
        interest.mark(slot, 0);
        // Who fetches no more keeps it no longer: it is in the cache, if it is wanted after all.
        let weak = Arc::downgrade(&load);
        drop(load);
        tokio::time::sleep(LOADED_MAX).await;
        if let Some(load) = weak.upgrade() {
            *load.done.lock() = Done::Taken;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_waits_keeps_no_more_than_its_records() {
        let memory: Arc<[u8]> = vec![7; 1 << 20].into();
        let records = vec![Bytes::from_owner(memory.clone()).slice(100..300)];
        let gathered = Gathered { error: error::NONE, offsets: UNKNOWN, records, bytes: 200, copied: false };
        let mut answer = Answer::default();
        answer.slots.insert(0, Gathered::empty(UNKNOWN));
        assert!(!answer.pins());
        answer.slots.insert(1, gathered);
        assert!(answer.pins());
        answer.copy();
        assert!(!answer.pins());
        assert_eq!(Arc::strong_count(&memory), 1);
        assert_eq!(answer.slots[&1].records, [Bytes::from(vec![7; 200])]);
    }
}
