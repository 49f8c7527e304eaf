//! When to cut the open object, and what a cut makes of it. Pure: time is an argument.
//!
//! **When** (DESIGN §5, PRACTICE P2). *Idle* (no PUT in flight): wait `gather`, 1/32 of the smoothed PUT time, then cut:
//! without it a pipelined producer's first request leaves alone and the others wait for a whole PUT. Below a
//! millisecond, the timer's tick, a single yield stands for it. *Busy*: when an object is full, or the first append has
//! waited for the linger, or the last PUT is back (then it is idle again, and what waits has gathered already). A cap on
//! PUTs per second is the dial between latency and cost; it delays small objects only.
//!
//! **What**: appends sorted by (stream, epoch, base), copied once into chunks, attachments after the data.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::chunk::{ALIGNED_MIN, ALIGNMENT, ChunkPool, SHARED_ROOM_MIN};
use super::open_object::{OpenObject, StreamSink};
use crate::block_ref::{BlockRef, LaneRef};
use crate::ids::{LaneId, LaneNumber, Nonce};
use crate::object::format::{HEADER_LEN, MAX_BLOCK_BYTES, index_and_footer_len};
use crate::object::{BlockKind, Object, ObjectBuilder, ObjectHeader, ObjectKind};

/// Objects below this are small: a cap on PUTs per second delays them alone.
pub const SMALL_OBJECT_BYTES: u64 = 256 << 10;
/// A gather shorter than this is a yield: tokio's timer ticks in milliseconds.
const TIMER_TICK: Duration = Duration::from_millis(1);
/// The gather is this part of the smoothed PUT time.
const GATHER_PART: u32 = 32;

/// The dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutPolicy {
    /// The longest that a first append waits while another PUT is in flight and one more may be.
    pub linger: Duration,
    /// PUTs in flight at most, at least 1.
    pub puts_in_flight: usize,
}

/// What there is to decide on. All times are since the lane began.
#[derive(Clone, Copy, Debug)]
pub struct CutState {
    /// Now.
    pub now: Duration,
    /// Bytes in the oldest object that is not cut yet.
    pub open_bytes: u64,
    /// When its first append came; None while it is empty.
    pub first_at: Option<Duration>,
    /// Is it closed because the next append did not fit?
    pub full: bool,
    /// Shall all be written now: the lane is being closed?
    pub flush: bool,
    /// Objects being put, or cut and waiting to be.
    pub in_flight: usize,
    /// Smoothed time of a PUT.
    pub put_time: Duration,
    /// Has the task yielded since the first append came?
    pub yielded: bool,
    /// From when on the cap lets a small object through.
    pub small_from: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutDecision {
    /// Cut.
    Now,
    /// Yield once, then ask again with `yielded`.
    Yield,
    /// Ask again then, if nothing happens before.
    At(Duration),
    /// Ask again when a PUT is back or something is pushed.
    Wait,
}

impl CutPolicy {
    /// When to cut: see the file header.
    pub fn decide(&self, s: &CutState) -> CutDecision {
        let Some(first_at) = s.first_at else { return CutDecision::Wait };
        // One full object may be cut ahead of its turn: its copy then runs beside the PUT before it.
        if s.in_flight >= self.puts_in_flight + usize::from(s.full) {
            return CutDecision::Wait;
        }
        if s.full || s.flush {
            return CutDecision::Now;
        }
        let idle = s.in_flight == 0;
        let gather = (s.put_time / GATHER_PART).min(self.linger);
        let due = if idle { first_at + gather } else { first_at + self.linger };
        let small_from = if s.open_bytes < SMALL_OBJECT_BYTES { s.small_from } else { Duration::ZERO };
        if s.now < small_from {
            return CutDecision::At(due.max(small_from));
        }
        if s.now >= due {
            return CutDecision::Now;
        }
        match idle && gather < TIMER_TICK {
            true if s.yielded => CutDecision::Now,
            true => CutDecision::Yield,
            false => CutDecision::At(due),
        }
    }
}

/// Caps PUTs per second: a bucket of tokens that holds a quarter second of them, so that a short burst is not delayed.
#[derive(Clone, Debug)]
pub struct PutCap {
    /// Time per PUT; zero is no cap.
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again: theoretical arrival time of the generic cell rate algorithm.
    full_at: Duration,
}

impl PutCap {
    /// At most `per_second` PUTs; None or 0 is no cap.
    pub fn new(per_second: Option<u32>) -> PutCap {
        let per_second = per_second.unwrap_or(0);
        let interval = if per_second == 0 { Duration::ZERO } else { Duration::from_secs(1) / per_second };
        PutCap { interval, burst: (per_second / 4).max(1), full_at: Duration::ZERO }
    }

    /// From when on a small object may be put.
    pub fn small_from(&self) -> Duration {
        self.full_at.saturating_sub(self.interval * (self.burst - 1))
    }

    /// A PUT of any size starts. Large ones use up tokens too, but never more than the bucket holds: they are not held
    /// back, and small ones pay for them by at most one interval.
    pub fn spend(&mut self, now: Duration) {
        let most = now + self.interval * self.burst;
        self.full_at = (self.full_at.max(now) + self.interval).min(most);
    }
}

/// An object that was cut, and who waits for it.
#[derive(Debug)]
pub struct CutObject {
    /// Its number in the lane.
    pub number: LaneNumber,
    /// Its bytes: PUT payload, tail cache and source of uploads.
    pub object: Arc<Object>,
    /// Bytes that were pushed for it.
    pub bytes: u64,
    /// Its data blocks, by stream.
    pub blocks: Vec<BlockRef>,
    /// Whose they are: one sink per stream and epoch, with its part of `blocks`.
    pub sinks: Vec<(SinkHandle, Range<usize>)>,
}

/// A sink; for `Debug`.
#[derive(Clone)]
pub struct SinkHandle(pub Arc<dyn StreamSink>);

impl std::fmt::Debug for SinkHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamSink")
    }
}

/// The most memory that the object of `open` can take: what to reserve before it is cut. At the end of a chunk less
/// than the largest append is left unused, at its beginning less than [`ALIGNMENT`]; and once there may be less left of a
/// shared one than it is worth to go on with.
pub fn capacity_max(open: &OpenObject) -> u64 {
    let chunk = ChunkPool::CHUNK_BYTES as u64;
    let index = index_and_footer_len(blocks_max(open)) as u64;
    let total = HEADER_LEN as u64 + open.bytes + index;
    let (lead, largest) = (ALIGNMENT as u64, open.largest as u64);
    let left = match total {
        total if total < ALIGNED_MIN as u64 => 0,
        _ => (SHARED_ROOM_MIN as u64).max(largest).max(index).min(chunk) + 2 * lead,
    };
    if total <= chunk - lead {
        return total + lead + left;
    }
    let chunks = total / (chunk - lead - largest.min((chunk - lead) / 2)) + 1;
    total + chunks * (largest + lead).min(chunk) + left
}

/// At least as many blocks as the cut can make.
fn blocks_max(open: &OpenObject) -> usize {
    let attached = open.appends.iter().filter(|a| a.attachment.is_some()).count();
    open.appends.len().min(streams_seen(open) + 4 * open.bytes as usize / MAX_BLOCK_BYTES + 1) + attached
}

/// Runs of equal (stream, epoch) in push order: at least as many as streams.
fn streams_seen(open: &OpenObject) -> usize {
    let key = |i: usize| (open.appends[i].stream, open.appends[i].epoch);
    (0..open.appends.len()).filter(|&i| i == 0 || key(i) != key(i - 1)).count()
}

/// Cuts: sorts by (stream, epoch, base), copies every byte once, then lets go of the frames and what was charged for
/// them.
///
/// # Panics
/// If the appends of a stream and epoch have a hole or overlap (I3).
pub fn cut(
    open: OpenObject,
    lane: LaneId,
    lane_ref: LaneRef,
    nonce: Nonce,
    pool: &Arc<ChunkPool>,
) -> CutObject {
    let number = open.number;
    let header = ObjectHeader::new(ObjectKind::Wal, lane, number.0, nonce);
    let mut builder = ObjectBuilder::new(header, pool.clone(), open.bytes as usize, blocks_max(&open));
    let appends = &open.appends;
    let mut order: Vec<u32> = (0..appends.len() as u32).collect();
    let key = |&i: &u32| {
        let a = &appends[i as usize];
        (a.stream, a.epoch, a.base)
    };
    if !order.is_sorted_by_key(key) {
        order.sort_unstable_by_key(key);
    }
    let mut owners: Vec<&super::open_object::Append> = Vec::new();
    for &i in &order {
        let a = &appends[i as usize];
        let end = a.base + u64::from(a.count);
        builder.append(a.stream, a.epoch, a.base, end, a.max_timestamp, &[a.prefix.as_slice(), &a.body]);
        match owners.last_mut() {
            Some(last) if (last.stream, last.epoch) == (a.stream, a.epoch) => *last = a,
            _ => owners.push(a),
        }
    }
    for &i in &order {
        let a = &appends[i as usize];
        if let Some(attachment) = &a.attachment {
            builder.attach(a.stream, a.epoch, a.base, attachment.as_slice());
        }
    }
    let object = Arc::new(builder.finish());
    let blocks: Vec<BlockRef> = object
        .blocks(BlockKind::Data)
        .map(|entry| BlockRef::new(lane_ref, number, entry, object.len()))
        .collect();
    let mut sinks = Vec::with_capacity(owners.len());
    let mut data = object.blocks(BlockKind::Data).enumerate().peekable();
    for owner in owners {
        let first = data.peek().map_or(blocks.len(), |(at, _)| *at);
        let mut end = first;
        while let Some((at, _)) = data.next_if(|(_, e)| (e.stream, e.epoch) == (owner.stream, owner.epoch)) {
            end = at + 1;
        }
        assert!(first < end, "stream {} was pushed and has no block", owner.stream);
        sinks.push((SinkHandle(owner.sink.clone()), first..end));
    }
    drop(data);
    CutObject { number, object, bytes: open.bytes, blocks, sinks }
}

#[cfg(test)]
mod tests;
