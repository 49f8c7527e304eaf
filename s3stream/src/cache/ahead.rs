//! Loads what sequential readers will want next, so that they find it in memory (DESIGN §7 "Cold reads").
//!
//! [`super::read_ahead`] decides; this looks up, charges, loads and holds. What was loaded ahead is held, and charged, until
//! its reader is past it: then it goes into the block cache, where those who come behind find it. So a block that was
//! loaded stays until it was read, however much others read meanwhile. Loads go through the table of the [`Reader`]: who
//! asks for what is on its way joins.
//!
//! Loading ahead is optional, and never in anybody's way: it has at most half of the room for loads, does not wait for it,
//! is left where reads wait for their turn ([`super::cold`]), and what nobody came for is given up after
//! [`super::read_ahead::IDLE`].
//!
//! Lock order: the readers, then the loads in flight.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::Shared;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::block::BlockCache;
use super::error::ReadError;
use super::read_ahead::{Ask, GET_MAX, GetId, IDLE, ReadAhead, SequentialRead};
use super::reader::{InFlight, Inner, Load, Reader, Run, count};
use super::wanted::{Wanted, Wants};
use crate::block_ref::{BlockRef, SMALL_OBJECT_BYTES};
use crate::budget::{ByteSemaphore, Permit};
use crate::ids::StreamId;

/// So many times what a GET may bring is looked through for what lies in a row.
const LOOKED_THROUGH: u64 = 2;

/// What is ahead of its readers.
pub(super) struct Ahead {
    state: Mutex<State>,
    /// GETs that are held, by which who has nothing to give up takes no lock.
    holding: AtomicUsize,
    /// The part of the room for loads that may be taken.
    room: ByteSemaphore,
    began: Instant,
}

#[derive(Default)]
struct State {
    readers: ReadAhead,
    held: HashMap<GetId, Held>,
    /// A task looks after readers that do not come.
    swept: bool,
}

#[derive(Clone)]
struct Held {
    run: Run,
    load: Shared<Load>,
}

/// Room for one load ahead: of the part for them, and of that for all loads.
pub(super) struct Room {
    ahead: Permit,
    loads: Permit,
}

impl Room {
    /// It brought less than it might.
    pub fn shrink_to(&mut self, bytes: u64) {
        self.ahead.shrink_to(bytes);
        self.loads.shrink_to(bytes);
    }
}

impl Ahead {
    pub fn new(cache: &BlockCache) -> Ahead {
        let all = cache.loads().capacity();
        // Whoever waits for a load finds room for a small object, whatever is held for readers that pause.
        let room = ByteSemaphore::new("read-ahead", (all / 2).min(all.saturating_sub(SMALL_OBJECT_BYTES)));
        Ahead { state: Mutex::default(), holding: AtomicUsize::new(0), room, began: Instant::now() }
    }

    fn room(&self, cache: &BlockCache, bytes: u64) -> Option<Room> {
        // A charge is capped at the capacity: what does not fit at all would be let in.
        if bytes > self.room.capacity() {
            return None;
        }
        let ahead = self.room.try_acquire(bytes)?;
        Some(Room { ahead, loads: cache.loads().try_acquire(bytes)? })
    }
}

impl Reader {
    /// Tells what somebody reads, of what is not in the tail. If that is a reader that goes on where it was, the next
    /// blocks are loaded ahead; `locate` finds those that hold about so many bytes from an offset on, none at the end.
    pub fn sequential<F>(&self, read: SequentialRead, locate: impl Fn(u64, u64) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Vec<BlockRef>, ReadError>> + Send,
    {
        let inner = &self.0;
        let now = inner.ahead.began.elapsed();
        let step = inner.ahead.state.lock().readers.read(read, now);
        inner.served(&step.served);
        let Some(mut ask) = step.ask else { return };
        let inner = Arc::clone(inner);
        self.0.env.tasks.spawn("read-ahead", async move {
            loop {
                let found = locate(ask.from, ask.bytes * LOOKED_THROUGH).await;
                match inner.begin(&ask, found) {
                    Some(next) => ask = next,
                    None => return,
                }
            }
        });
    }

    /// Tells that somebody reads `stream` from `from` on, and finds it in the tail or is at the end: nothing more is loaded
    /// for that reader, and what was has served.
    pub fn passed(&self, stream: StreamId, from: u64) {
        let inner = &self.0;
        if inner.ahead.holding.load(Ordering::Relaxed) == 0 {
            return;
        }
        let served = inner.ahead.state.lock().readers.passed(stream, from);
        inner.served(&served);
    }

    /// Readers that are remembered, and GETs whose bytes are held for them.
    pub fn ahead(&self) -> (usize, usize) {
        let state = self.0.ahead.state.lock();
        (state.readers.len(), state.held.len())
    }
}

impl Inner {
    /// Begins the GET that was asked for, if there is something to get; gives what to look up next.
    fn begin(self: &Arc<Self>, ask: &Ask, found: Result<Vec<BlockRef>, ReadError>) -> Option<Ask> {
        let blocks: Vec<BlockRef> =
            found.unwrap_or_default().into_iter().filter(|block| block.end > ask.from).collect();
        let mut state = self.ahead.state.lock();
        let mut in_flight = self.in_flight.lock();
        let Some(last) = blocks.last() else {
            state.readers.nothing(ask);
            return None;
        };
        let Some(first) = blocks.iter().position(|block| !self.at_hand(&in_flight, block)) else {
            return state.readers.begun(ask, last.end, last.end, 0).ask;
        };
        let mut run = Run::of(blocks[first]);
        // All up to `to` is in memory or comes, with this run; the last that it brings ends at `until`.
        let (mut to, mut until, mut in_a_row) = (blocks[first].end, blocks[first].end, true);
        let bytes_max = ask.bytes.min(GET_MAX).min(self.cold.read_bytes_max());
        for block in &blocks[first + 1..] {
            let at_hand = self.at_hand(&in_flight, block);
            if !at_hand && run.take(*block, bytes_max) {
                until = block.end;
            } else {
                in_a_row &= at_hand;
                if !in_a_row && !run.has_room(block, bytes_max) {
                    break;
                }
            }
            if in_a_row {
                to = block.end;
            }
        }
        let room = if self.cold.behind() { None } else { self.ahead.room(&self.cache, run.bytes_max()) };
        let Some(room) = room else {
            count(&self.counters.ahead_refused, 1);
            state.readers.refused(ask);
            return None;
        };
        let step = state.readers.begun(ask, to, until, run.block_bytes());
        if !step.served.is_empty() {
            // Its reader is past it, or gone.
            return step.ask;
        }
        count(&self.counters.ahead_gets, 1);
        let wants = Wants::new(Wanted::InTurn);
        let load = Arc::clone(self).fetch(run.clone(), Some(room), wants.clone()).boxed().shared();
        let entry = InFlight::new(&load, wants);
        in_flight.extend(run.keys().map(|key| (key, entry.clone())));
        let held = Held { run, load };
        state.held.insert(ask.get, held.clone());
        self.ahead.holding.store(state.held.len(), Ordering::Relaxed);
        let swept = std::mem::replace(&mut state.swept, true);
        drop((in_flight, state));
        self.env.tasks.spawn("read-ahead-load", Arc::clone(self).complete(ask.get, held));
        if !swept {
            self.env.tasks.spawn("read-ahead-sweep", Arc::clone(self).sweep());
        }
        step.ask
    }

    async fn complete(self: Arc<Self>, get: GetId, held: Held) {
        let sound = held.load.clone().await.is_ok_and(|loaded| loaded.sound);
        let mut state = self.ahead.state.lock();
        state.readers.ended(get);
        if !sound {
            // Whoever wants it asks for it again, and is told.
            state.held.remove(&get);
            self.ahead.holding.store(state.held.len(), Ordering::Relaxed);
        }
        let wanted = state.held.contains_key(&get);
        drop(state);
        if !wanted {
            self.let_go(&held);
        }
    }

    /// Readers are past these.
    fn served(&self, gets: &[GetId]) {
        for get in gets {
            let mut state = self.ahead.state.lock();
            let held = state.held.remove(get);
            self.ahead.holding.store(state.held.len(), Ordering::Relaxed);
            drop(state);
            held.iter().for_each(|held| self.let_go(held));
        }
    }

    /// What it brought goes into the cache, for those who come behind.
    fn let_go(&self, held: &Held) {
        if let Some(Ok(loaded)) = held.load.peek()
            && loaded.sound
        {
            self.keep(&held.run, loaded);
        }
        // In this order: who misses the entry finds the bytes.
        let mut in_flight = self.in_flight.lock();
        for key in held.run.keys() {
            let entry = in_flight.get(&key);
            // Before it is done it goes on for who has joined.
            let ours = entry.and_then(InFlight::load).is_none_or(|load| load.ptr_eq(&held.load));
            if ours && held.load.peek().is_some() {
                in_flight.remove(&key);
            }
        }
    }

    /// Forgets readers that do not come, and gives up what they do not come for.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE / 3).await;
            let now = self.ahead.began.elapsed();
            let mut state = self.ahead.state.lock();
            let expired = state.readers.expire(now);
            let gone: Vec<Held> = expired.gets.iter().filter_map(|get| state.held.remove(get)).collect();
            self.ahead.holding.store(state.held.len(), Ordering::Relaxed);
            let done = state.held.is_empty() && state.readers.is_empty();
            state.swept = !done;
            drop(state);
            count(&self.counters.ahead_unread, expired.unread as u64);
            gone.iter().for_each(|held| self.let_go(held));
            if done {
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
