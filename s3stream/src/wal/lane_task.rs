//! The one task of a lane: cuts, puts, grants in order, ends.
//!
//! ```text
//! open ─ full ─►│ memory ─► cut ─► prepared ─► PUT in flight ─►│ durable ─► granted ─► sinks, tail, waiters
//!  (pushers)    │        (this task, one after the other)       │      (in lane order, whatever came back first)
//! ```
//! An object waits for memory of class lane + tail before it is cut; PUTs that come back meanwhile are what frees it.
//! Every PUT is `store::create`: Unknown is resolved there, with the same key and body, for as long as it takes (I4).
//! What is not ours at our number ends the lane: nothing further is granted, ever (I2, SAFETY F18).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::chunk::ChunkPool;
use super::cut::{self, CutDecision, CutObject, CutPolicy, CutState, PutCap};
use super::lane::{LaneEnded, Shared};
use super::open_object::OpenObject;
use super::put_times::PutTimes;
use super::seal::{self, Sealed};
use crate::block_ref::LaneRef;
use crate::budget::Permit;
use crate::cache::pace::Met;
use crate::cache::tail::TailCache;
use crate::env::Env;
use crate::ids::{LaneNumber, Nonce, lane_key};
use crate::store::create::{self, Create, CreateOptions};
use crate::store::{PutPayload, Store, StoreError};

/// The lane's task. Ends when the lane has.
pub(super) struct LaneTask {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    env: Env,
    lane_ref: LaneRef,
    tail: Arc<TailCache>,
    pool: Arc<ChunkPool>,
    policy: CutPolicy,
    cap: PutCap,
    times: PutTimes,
    /// For which object the task has yielded instead of a gather.
    yielded_for: Option<LaneNumber>,
    /// Taken from the pushers, and waiting for memory.
    waiting_for_memory: Option<(OpenObject, BoxFuture<'static, Permit>)>,
    /// Cut and not granted, in lane order without a hole. The first `started` of them have been put.
    flights: VecDeque<Flight>,
    started: usize,
    puts: FuturesUnordered<BoxFuture<'static, PutAnswer>>,
    /// The own seal was sent, with this nonce.
    sealing: Option<Nonce>,
}

struct Flight {
    cut: CutObject,
    /// When its first append came, since the lane began.
    first_at: Option<Duration>,
    begun: Option<(Instant, Met)>,
    durable: bool,
}

/// How the PUT of a number ended.
struct PutAnswer {
    number: LaneNumber,
    result: Result<Create, StoreError>,
    /// How long it took, if the first attempt was answered clearly.
    clean: Option<Duration>,
}

impl LaneTask {
    pub fn new(
        shared: Arc<Shared>,
        store: Arc<dyn Store>,
        env: Env,
        lane_ref: LaneRef,
        tail: Arc<TailCache>,
    ) -> LaneTask {
        let config = &shared.config;
        LaneTask {
            pool: ChunkPool::new(config.idle_chunk_bytes),
            policy: CutPolicy { linger: config.linger, puts_in_flight: config.puts_in_flight.max(1) },
            cap: PutCap::new(config.puts_per_second_max),
            times: PutTimes::default(),
            yielded_for: None,
            waiting_for_memory: None,
            flights: VecDeque::new(),
            started: 0,
            puts: FuturesUnordered::new(),
            sealing: None,
            shared,
            store,
            env,
            lane_ref,
            tail,
        }
    }

    pub async fn run(mut self) {
        while self.shared.state.lock().ended.is_none() {
            let again_at = match self.cut_what_is_due() {
                CutDecision::Yield => {
                    tokio::task::yield_now().await;
                    continue;
                }
                CutDecision::At(at) => Some(at),
                CutDecision::Now | CutDecision::Wait => None,
            };
            self.seal_if_drained();
            self.show();
            let shared = self.shared.clone();
            tokio::select! {
                biased;
                Some(answer) = self.puts.next(), if !self.puts.is_empty() => self.answered(answer),
                permit = memory(&mut self.waiting_for_memory) => self.got_memory(permit),
                () = shared.wake.notified() => {}
                () = sleep_until(shared.at(again_at)), if again_at.is_some() => {}
            }
        }
        self.clean_up();
    }

    /// Cuts and puts for as long as there is something to cut and room for it; says when to ask again.
    fn cut_what_is_due(&mut self) -> CutDecision {
        loop {
            self.start_puts();
            if self.waiting_for_memory.is_some() {
                return CutDecision::Wait;
            }
            let open = {
                let mut state = self.shared.state.lock();
                let oldest = state.full.front().unwrap_or(&state.open);
                let decision = self.policy.decide(&CutState {
                    now: self.shared.now(),
                    open_bytes: oldest.bytes,
                    first_at: oldest.first_at,
                    full: !state.full.is_empty(),
                    flush: state.closing,
                    in_flight: self.flights.len(),
                    put_time: self.times.smoothed(),
                    yielded: self.yielded_for == Some(oldest.number),
                    small_from: self.cap.small_from(),
                });
                match decision {
                    CutDecision::Now => {}
                    CutDecision::Yield => {
                        self.yielded_for = Some(oldest.number);
                        return decision;
                    }
                    CutDecision::At(_) | CutDecision::Wait => return decision,
                }
                match state.full.pop_front() {
                    Some(full) => full,
                    None => state.open.take(),
                }
            };
            self.cap.spend(self.shared.now());
            let tail = self.tail.clone();
            let bytes = cut::capacity_max(&open);
            let mut reserve = async move { tail.reserve(bytes).await }.boxed();
            match (&mut reserve).now_or_never() {
                Some(permit) => self.cut(open, permit),
                None => self.waiting_for_memory = Some((open, reserve)),
            }
        }
    }

    fn got_memory(&mut self, permit: Permit) {
        if let Some((open, _)) = self.waiting_for_memory.take() {
            self.cut(open, permit);
        }
    }

    /// Copies the object together; its frames and their charges end here, before the PUT.
    fn cut(&mut self, open: OpenObject, mut permit: Permit) {
        let next = self.flights.back().map(|flight| flight.cut.number.next());
        let expected = next.unwrap_or_else(|| self.shared.state.lock().granted);
        assert_eq!(open.number, expected, "lane objects are cut in order");
        let (nonce, first_at) = (self.env.entropy.nonce(), open.first_at);
        let cut = cut::cut(open, self.shared.id, self.lane_ref, nonce, &self.pool);
        permit.shrink_to(cut.object.capacity() as u64);
        self.tail.insert(self.lane_ref, cut.number, cut.object.clone(), permit);
        self.flights.push_back(Flight { cut, first_at, begun: None, durable: false });
    }

    fn start_puts(&mut self) {
        while self.puts.len() < self.policy.puts_in_flight
            && let Some(flight) = self.flights.get_mut(self.started)
        {
            flight.begun = Some((Instant::now(), self.shared.cold_reads.put()));
            self.started += 1;
            let (number, object) = (flight.cut.number, flight.cut.object.clone());
            let hedge_after = self.times.hedge_after(object.len());
            self.puts.push(self.put(number, object.put_payload(), hedge_after));
        }
    }

    fn put(
        &self,
        number: LaneNumber,
        body: PutPayload,
        hedge_after: Option<Duration>,
    ) -> BoxFuture<'static, PutAnswer> {
        let (shared, store, env) = (self.shared.clone(), self.store.clone(), self.env.clone());
        let stats = self.shared.create_stats.clone();
        async move {
            let key = lane_key(shared.id, number);
            let unclear = || stats.unknowns.load(std::sync::atomic::Ordering::Relaxed);
            let (begun, unclear_before) = (Instant::now(), unclear());
            let mut attempt = 0;
            let result = loop {
                let options = CreateOptions { hedge_after, patient: false, stats: Some(stats.clone()) };
                match create::create(&*store, &env, &key, body.clone(), options).await {
                    Err(StoreError::FsyncFailed(why)) => break Err(StoreError::FsyncFailed(why)),
                    Err(error) => {
                        attempt += 1;
                        tracing::error!(key, attempt, %error, "the lane's store refuses; asking again");
                        shared.set_refusal(Some(error.to_string()));
                        create::back_off(&env, attempt).await;
                    }
                    Ok(created) => break Ok(created),
                }
            };
            if attempt > 0 {
                tracing::info!(key, "the lane's store takes objects again");
                shared.set_refusal(None);
            }
            let clean = (attempt == 0 && unclear() == unclear_before).then(|| begun.elapsed());
            PutAnswer { number, result, clean }
        }
        .boxed()
    }

    fn answered(&mut self, answer: PutAnswer) {
        let number = answer.number;
        match answer.result {
            Ok(Create::Mine) if self.sealing.is_some() && self.flights.is_empty() => {
                self.own_seal_is_there(number)
            }
            Ok(Create::Mine) => self.durable(number, answer.clean),
            Ok(Create::Foreign(bytes)) => {
                let by = seal::read_fence(self.shared.id, number, bytes);
                tracing::error!(lane = %self.shared.id, %number, %by, "fenced");
                self.end(LaneEnded::Fenced { at: number, by });
            }
            Err(error) => {
                self.end(LaneEnded::FsyncFailed(error.to_string()));
                self.env.tasks.fatal(format!("lane {} at {number}: {error}", self.shared.id));
            }
        }
    }

    /// The object is in the store. It, and what waited for it, is granted in lane order.
    fn durable(&mut self, number: LaneNumber, clean: Option<Duration>) {
        let first = self.flights.front().expect("an answer has its flight").cut.number;
        let flight = &mut self.flights[(number.0 - first.0) as usize];
        assert!(flight.cut.number == number && !flight.durable, "lane number {number} answered twice");
        flight.durable = true;
        if let Some(took) = clean {
            self.times.record(flight.cut.object.len(), took);
            if let (Some((_, met)), Some(first_at)) = (flight.begun, flight.first_at) {
                self.shared.cold_reads.durable(met, self.shared.now().saturating_sub(first_at));
            }
        }
        while self.flights.front().is_some_and(|flight| flight.durable) {
            let Some(Flight { cut, .. }) = self.flights.pop_front() else { break };
            self.started -= 1;
            if !self.shared.grant(cut.number) {
                // The owner abandoned the lane meanwhile: what came back since then was never acknowledged.
                return;
            }
            for (sink, blocks) in &cut.sinks {
                sink.0.durable(cut.number, &cut.blocks[blocks.clone()]);
            }
            self.tail.mark_durable(self.lane_ref, cut.number.next());
            self.shared.publish(cut.number, cut.bytes, cut.object.len());
        }
    }

    /// Everything is durable and nothing more comes: the number after the last gets the own seal.
    fn seal_if_drained(&mut self) {
        if self.sealing.is_some() || !self.flights.is_empty() || self.waiting_for_memory.is_some() {
            return;
        }
        let number = {
            let state = self.shared.state.lock();
            if !state.closing || !state.full.is_empty() || !state.open.is_empty() {
                return;
            }
            assert_eq!(state.open.number, state.granted, "a drained lane is durable to its end");
            state.open.number
        };
        let nonce = self.env.entropy.nonce();
        self.sealing = Some(nonce);
        let seal = seal::seal_object(self.shared.id, number, nonce, b"");
        self.puts.push(self.put(number, seal.put_payload(), None));
    }

    fn own_seal_is_there(&mut self, length: LaneNumber) {
        let Some(seal_nonce) = self.sealing else { return };
        self.shared.state.lock().sealed = Some(Sealed::own(length, seal_nonce));
        self.end(LaneEnded::Closed);
    }

    fn end(&mut self, why: LaneEnded) {
        // Refused if the owner abandoned it a moment ago: then that is how it ended.
        let _ = self.shared.end(why);
    }

    fn show(&mut self) {
        let mut state = self.shared.state.lock();
        state.oldest_put =
            self.flights.iter().filter(|flight| !flight.durable).find_map(|flight| Some(flight.begun?.0));
        state.stats.in_flight = self.puts.len();
        state.stats.put_time = self.times.smoothed();
        state.stats.chunk_bytes = self.pool.in_use();
    }

    /// What is not granted never will be: PUTs are dropped (they may still land; nobody believes in them), memory ends.
    fn clean_up(mut self) {
        self.puts.clear();
        self.flights.clear();
        self.waiting_for_memory = None;
        let length = self.shared.state.lock().granted;
        self.tail.mark_durable(self.lane_ref, length);
        self.tail.forget_from(self.lane_ref, length);
        self.show();
    }
}

/// The memory that an object waits for; never, if none does. Cancel-safe: the waiting future stays where it is.
async fn memory(waiting: &mut Option<(OpenObject, BoxFuture<'static, Permit>)>) -> Permit {
    match waiting {
        Some((_, reserve)) => reserve.await,
        None => std::future::pending().await,
    }
}
