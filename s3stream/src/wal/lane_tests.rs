//! The lane over a scripted store, under paused time: what is acknowledged, when, in which order, and when never again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::lane::{FencedBy, Lane, LaneConfig, LaneEnded, NoRoom, Wait};
use super::open_object::{Append, Prefix, StreamSink};
use super::rig::{RigStore, Step, lane_id, ms};
use super::seal::{seal, seal_object};
use crate::block_ref::{BlockRef, LaneRef};
use crate::budget::{Budget, Class};
use crate::cache::tail::TailCache;
use crate::env::Env;
use crate::ids::{LaneId, LaneNumber, Nonce, StreamEpoch, StreamId, lane_key};
use crate::object::parse_whole;

/// Writes down what it is told.
#[derive(Default)]
pub(super) struct Told(Mutex<Vec<(u64, u64, u64)>>);

impl StreamSink for Told {
    fn durable(&self, number: LaneNumber, blocks: &[BlockRef]) {
        assert!(
            blocks.windows(2).all(|w| w[0].end == w[1].base) && blocks.iter().all(|b| b.number == number)
        );
        let (first, last) = (blocks.first().expect("blocks"), blocks.last().expect("blocks"));
        self.0.lock().push((number.0, first.base, last.end));
    }
}

impl Told {
    /// (lane number, base, end) of each call.
    pub(super) fn so_far(&self) -> Vec<(u64, u64, u64)> {
        self.0.lock().clone()
    }
}

struct Rig {
    store: Arc<RigStore>,
    env: Env,
    budget: Budget,
    tail: Arc<TailCache>,
    lane: Lane,
    sink: Arc<Told>,
}

const ID: u64 = 5;

fn id() -> LaneId {
    lane_id(ID)
}

impl Rig {
    fn new(store: RigStore, tune: impl FnOnce(&mut LaneConfig)) -> Rig {
        Rig::with_budget(store, Budget::new(256 << 20), tune)
    }

    fn with_budget(store: RigStore, budget: Budget, tune: impl FnOnce(&mut LaneConfig)) -> Rig {
        let store = Arc::new(store);
        let env = Env::seeded(1);
        let tail = TailCache::new(&budget);
        let mut config = LaneConfig::for_store(crate::store::Store::traits(&*store), &budget);
        tune(&mut config);
        let lane = Lane::start(store.clone(), &env, id(), LaneRef(0), config, tail.clone());
        Rig { store, env, budget, tail, lane, sink: Arc::default() }
    }

    fn append(&self, base: u64, body: Bytes) -> Append {
        Append {
            stream: StreamId(1),
            epoch: StreamEpoch(0),
            base,
            count: 1,
            max_timestamp: base as i64,
            prefix: Prefix::EMPTY,
            body,
            attachment: None,
            sink: self.sink.clone(),
            charge: None,
        }
    }

    fn push(&self, base: u64) -> LaneNumber {
        self.lane.push(self.append(base, Bytes::from(vec![base as u8; 100]))).expect("the lane lives")
    }

    /// Pushes one object per call: each is cut by its own.
    async fn push_apart(&self, bases: std::ops::Range<u64>) {
        for base in bases {
            assert_eq!(self.push(base), LaneNumber(base));
            sleep(ms(6)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_is_stored_told_and_acknowledged() {
    let rig = Rig::new(RigStore::new(4), |_| {});
    assert_eq!((rig.push(0), rig.push(1)), (LaneNumber(0), LaneNumber(0)));
    assert_eq!(rig.lane.outcome(LaneNumber(0)), None);
    rig.lane.wait_durable(LaneNumber(0)).await.expect("durable");
    assert_eq!(rig.lane.durable_below(), LaneNumber(1));
    assert_eq!(rig.lane.outcome(LaneNumber(0)), Some(Ok(())));
    assert_eq!(rig.sink.so_far(), [(0, 0, 2)]);
    assert_eq!(rig.store.payload(id(), 1, 1), [[0; 100], [1; 100]].concat());
    let object = rig.tail.get(LaneRef(0), LaneNumber(0)).expect("the tail has it");
    assert_eq!(object.payload.concat(), rig.store.object(id(), 0).expect("stored"), "the same chunks");
    let stats = rig.lane.stats();
    assert_eq!((stats.objects, stats.bytes, stats.undurable_bytes), (1, object.len(), 0));
}

/// A look without the lock may be older than a publication. Who then asks under the lock is told so, and waits for nothing:
/// there is no bell below what is published.
#[tokio::test(start_paused = true)]
async fn who_asks_for_what_was_published_meanwhile_does_not_wait() {
    let rig = Rig::new(RigStore::new(4), |_| {});
    let number = rig.push(0);
    {
        let mut state = rig.lane.0.state.lock();
        assert!(matches!(state.wait(number, LaneNumber(0)), Wait::For(_)));
        assert_eq!(state.waiting.len(), 1);
    }
    rig.lane.wait_durable(number).await.expect("durable");
    rig.push(1);
    let mut state = rig.lane.0.state.lock();
    for published in [LaneNumber(1), LaneNumber(2)] {
        let over = state.wait(number, published);
        assert!(matches!(over, Wait::Over(Ok(()))), "{published}: {over:?}");
    }
    assert_eq!(state.waiting.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn acknowledgement_follows_the_contiguous_prefix_whatever_comes_back_first() {
    let store = RigStore::new(4);
    store.script_lane(id(), 0, [Step::After(ms(300))]);
    store.script_lane(id(), 2, [Step::After(ms(100))]);
    let rig = Rig::new(store, |_| {});
    let begun = Instant::now();
    rig.push_apart(0..4).await;
    sleep(ms(200)).await;
    assert!(rig.store.object(id(), 1).is_some() && rig.store.object(id(), 3).is_some(), "1 and 3 are there");
    assert_eq!((rig.sink.so_far(), rig.lane.durable_below()), (vec![], LaneNumber(0)), "and nobody is told");
    rig.lane.wait_durable(LaneNumber(3)).await.expect("durable");
    assert_eq!(begun.elapsed().as_millis(), 300);
    assert_eq!(rig.sink.so_far(), [(0, 0, 1), (1, 1, 2), (2, 2, 3), (3, 3, 4)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_neither_failure_nor_success() {
    let store = RigStore::new(4);
    store.script_lane(id(), 0, [Step::LostAnswer(ms(5))]);
    store.script_lane(id(), 1, [Step::Lost, Step::Lost]);
    let rig = Rig::new(store, |_| {});
    rig.push_apart(0..2).await;
    sleep(ms(2_900)).await;
    assert_eq!(rig.sink.so_far(), [], "before the deadline nothing is known");
    assert!(rig.lane.stats().oldest_put.is_some_and(|age| age >= ms(2_900)));
    rig.lane.wait_durable(LaneNumber(1)).await.expect("resolved");
    assert_eq!(rig.sink.so_far(), [(0, 0, 1), (1, 1, 2)]);
    assert_eq!(rig.lane.stats().unknowns, 3);
    assert_eq!((rig.lane.stats().oldest_put, rig.lane.stats().put_time), (None, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_slow_put_is_hedged_with_the_same_body() {
    let store = RigStore::new(1);
    store.script_lane(id(), 40, [Step::LostAnswer(ms(2_000)), Step::After(ms(10))]);
    let rig = Rig::new(store, |_| {});
    for base in 0..40 {
        let number = rig.push(base);
        rig.lane.wait_durable(number).await.expect("durable");
    }
    let begun = Instant::now();
    let number = rig.push(40);
    rig.lane.wait_durable(number).await.expect("durable");
    assert!(begun.elapsed() < ms(50), "took {:?}", begun.elapsed());
    assert_eq!((rig.lane.stats().hedges, number), (1, LaneNumber(40)));
    sleep(ms(3_000)).await;
    parse_whole(rig.store.object(id(), 40).expect("there")).expect("the loser changed nothing");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_object_at_our_number_ends_the_lane_for_good() {
    let store = RigStore::new(4);
    store.script_lane(id(), 0, [Step::After(ms(50))]);
    store.script_lane(id(), 1, [Step::After(ms(200))]);
    store.put(lane_key(id(), LaneNumber(1)), Bytes::from_static(b"somebody else's"));
    let rig = Rig::new(store, |_| {});
    rig.push_apart(0..4).await;
    let waiters: Vec<_> = (0..4).map(|n| rig.lane.wait_durable(LaneNumber(n))).collect();
    let outcomes = futures::future::join_all(waiters).await;
    let ended = rig.lane.ended().expect("ended");
    assert!(matches!(&ended, LaneEnded::Fenced { at: LaneNumber(1), by: FencedBy::Foreign(_) }), "{ended}");
    assert_eq!(outcomes, [Ok(()), Err(ended.clone()), Err(ended.clone()), Err(ended.clone())]);
    assert_eq!(rig.lane.push(rig.append(4, Bytes::from_static(b"x"))), Err(ended.clone()));
    assert_eq!(rig.lane.room(1).await, Err(NoRoom::Ended(ended.clone())));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.sink.so_far(), [(0, 0, 1)], "2 and 3 were stored, and never acknowledged");
    assert!(rig.store.object(id(), 3).is_some());
    assert_eq!(rig.lane.wait_durable(LaneNumber(3)).await, Err(ended));
    assert!(
        rig.tail.get(LaneRef(0), LaneNumber(0)).is_some()
            && rig.tail.get(LaneRef(0), LaneNumber(2)).is_none()
    );
}

/// The owner sleeps through its own fencing: whatever it wakes up with, it acknowledges nothing.
#[tokio::test(start_paused = true)]
async fn a_zombie_never_acknowledges_after_the_seal() {
    let rig = Rig::new(RigStore::new(4), |_| {});
    rig.push_apart(0..2).await;
    rig.lane.wait_durable(LaneNumber(1)).await.expect("durable");
    rig.env.tasks.pause();
    let sealer = Env::seeded(2);
    let sealed = seal(&*rig.store, &sealer, id(), LaneNumber(0), 4, b"broker 2").await.expect("sealed");
    assert_eq!(sealed.length, LaneNumber(2));
    let number = rig.push(2);
    rig.env.tasks.resume();
    let ended = rig.lane.wait_durable(number).await.expect_err("fenced");
    let by = FencedBy::Seal { nonce: sealed.seal_nonce, note: Bytes::from_static(b"broker 2") };
    assert_eq!(ended, LaneEnded::Fenced { at: LaneNumber(2), by });
    assert_eq!(rig.sink.so_far(), [(0, 0, 1), (1, 1, 2)]);
}

/// The process that was fenced registers again: what the old lane had pending is not answered from the new one.
#[tokio::test(start_paused = true)]
async fn refence_same_process() {
    let rig = Rig::new(RigStore::new(4), |_| {});
    rig.store.script_lane(id(), 0, [Step::After(ms(500))]);
    let pending = rig.push(0);
    sleep(ms(1)).await;
    let sealed = seal(&*rig.store, &rig.env, id(), LaneNumber(0), 4, b"").await.expect("sealed");
    assert_eq!(sealed.length, LaneNumber(0), "the batch was not there yet");
    let config = LaneConfig::for_store(crate::store::Store::traits(&*rig.store), &rig.budget);
    let again =
        Lane::start(rig.store.clone(), &rig.env, lane_id(ID + 1), LaneRef(1), config, rig.tail.clone());
    let retried = again.push(rig.append(0, Bytes::from_static(b"the retry"))).expect("a new lane");
    assert_eq!(retried, pending, "the same number, of another lane");
    again.wait_durable(retried).await.expect("durable");
    assert!(rig.lane.wait_durable(pending).await.is_err(), "the old lane's number stays refused");
    assert_eq!(rig.sink.so_far().len(), 1);
    assert_eq!(rig.store.payload(lane_id(ID + 1), 1, 1), b"the retry");
}

#[tokio::test(start_paused = true)]
async fn a_clean_leave_writes_everything_then_seals_its_own_lane() {
    let rig = Rig::new(RigStore::new(2), |config| config.full_bytes = 250);
    for base in 0..9 {
        rig.push(base);
    }
    let sealed = rig.lane.close().await.expect("closed");
    assert_eq!((sealed.length, rig.lane.durable_below()), (LaneNumber(5), LaneNumber(5)));
    assert_eq!(rig.store.payload(id(), 5, 1).len(), 900);
    assert_eq!(rig.lane.ended(), Some(LaneEnded::Closed));
    assert_eq!(rig.lane.push(rig.append(9, Bytes::from_static(b"x"))), Err(LaneEnded::Closed));
    let found = seal(&*rig.store, &Env::seeded(2), id(), LaneNumber(0), 4, b"").await.expect("found");
    assert_eq!(found, sealed, "others find the same end");
    assert_eq!(rig.lane.close().await.expect("still closed"), sealed);
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_meets_a_seal_was_fenced() {
    let rig = Rig::new(RigStore::new(2), |_| {});
    let seal = seal_object(id(), LaneNumber(0), Nonce(9), b"");
    rig.store.put(lane_key(id(), LaneNumber(0)), seal.payload.concat().into());
    let ended = rig.lane.close().await.expect_err("fenced");
    assert!(matches!(
        ended,
        LaneEnded::Fenced { at: LaneNumber(0), by: FencedBy::Seal { nonce: Nonce(9), .. } }
    ));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_lane_acknowledges_nothing_from_that_moment() {
    let rig = Rig::new(RigStore::new(4), |_| {});
    rig.store.script_lane(id(), 1, [Step::After(ms(400))]);
    rig.push_apart(0..3).await;
    sleep(ms(100)).await;
    assert_eq!(rig.lane.abandon(), Ok(LaneNumber(1)));
    assert_eq!(rig.lane.wait_durable(LaneNumber(0)).await, Ok(()));
    assert_eq!(rig.lane.wait_durable(LaneNumber(1)).await, Err(LaneEnded::Abandoned));
    sleep(Duration::from_secs(10)).await;
    assert!(rig.store.object(id(), 1).is_some(), "it landed all the same");
    assert_eq!(rig.sink.so_far(), [(0, 0, 1)]);
    assert_eq!(rig.lane.abandon(), Err(LaneEnded::Abandoned));
}

/// Ends its lane in the middle of an acknowledgement.
struct Quitter(std::sync::OnceLock<Lane>, Mutex<Vec<Result<LaneNumber, LaneEnded>>>);

impl StreamSink for Quitter {
    fn durable(&self, _: LaneNumber, _: &[BlockRef]) {
        let ended = self.0.get().expect("set").abandon();
        self.1.lock().push(ended);
    }
}

/// An end between two grants: what is being told counts as told, what is durable and comes after it does not.
#[tokio::test(start_paused = true)]
async fn the_end_and_an_acknowledgement_have_an_order() {
    let rig = Rig::new(RigStore::new(4), |_| {});
    rig.store.script_lane(id(), 0, [Step::After(ms(100))]);
    let quitter = Arc::new(Quitter(rig.lane.clone().into(), Mutex::default()));
    rig.lane
        .push(Append { sink: quitter.clone(), ..rig.append(0, Bytes::from_static(b"0")) })
        .expect("lives");
    sleep(ms(6)).await;
    rig.lane.push(rig.append(1, Bytes::from_static(b"1"))).expect("lives");
    assert_eq!(rig.lane.wait_durable(LaneNumber(1)).await, Err(LaneEnded::Abandoned));
    assert_eq!(rig.lane.wait_durable(LaneNumber(0)).await, Ok(()), "its sink was being told");
    assert_eq!(*quitter.1.lock(), [Ok(LaneNumber(1))]);
    assert!(rig.store.object(id(), 1).is_some() && rig.sink.so_far().is_empty());
    assert_eq!(rig.lane.durable_below(), LaneNumber(1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_fsync_ends_the_process() {
    let rig = Rig::new(RigStore::new(4), |_| {});
    rig.store.script_lane(id(), 0, [Step::FsyncFailed]);
    let number = rig.push(0);
    assert!(matches!(rig.lane.wait_durable(number).await, Err(LaneEnded::FsyncFailed(_))));
    assert!(rig.env.tasks.fatal_reason().await.contains("fsync failed"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_is_asked_again_and_only_waiting_for_room_fails() {
    let rig = Rig::new(RigStore::new(1), |config| config.undurable_bytes_max = 150);
    rig.store.script_lane(id(), 0, [Step::Refused, Step::NoSpace, Step::NoSpace, Step::NoSpace]);
    let number = rig.push(0);
    sleep(ms(5)).await;
    assert_eq!(rig.lane.room(10).await, Ok(()), "there is room");
    assert!(matches!(rig.lane.room(100).await, Err(NoRoom::StoreRefuses(_))));
    assert_eq!(rig.push(1), LaneNumber(1), "a push that needs not ask is taken");
    rig.lane.wait_durable(number).await.expect("the store came back");
    assert_eq!(rig.lane.room(50).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn room_waits_for_durability_and_is_woken_by_it() {
    let rig = Rig::new(RigStore::new(1), |config| config.undurable_bytes_max = 150);
    assert_eq!(rig.lane.room(1_000_000).await, Ok(()), "anything goes when nothing is on its way");
    let number = rig.push(0);
    assert_eq!(timeout(ms(9), rig.lane.room(51)).await.ok(), None);
    let begun = Instant::now();
    rig.lane.room(51).await.expect("room");
    assert!(begun.elapsed() < ms(3), "{:?}", begun.elapsed());
    assert!(rig.lane.durable_below() > number);
}

/// Objects larger than the class allows together go one after the other; nothing deadlocks, nothing passes the class.
#[tokio::test(start_paused = true)]
async fn the_lane_lives_within_its_class() {
    let budget = Budget::new(32 << 20);
    let rig = Rig::with_budget(RigStore::new(8), budget, |config| config.full_bytes = 3 << 20);
    let body = Bytes::from(vec![7; 1 << 20]);
    let numbers: Vec<_> =
        (0..40).map(|base| rig.lane.push(rig.append(base, body.clone())).expect("lives")).collect();
    rig.lane.wait_durable(*numbers.last().expect("some")).await.expect("durable");
    let usage = rig.budget.class(Class::LaneTail).usage();
    assert!(usage.peak <= usage.capacity, "{usage:?}");
    assert_eq!(rig.store.payload(id(), 14, 1).len(), 40 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_charged_whole_until_the_last_append_out_of_it_was_cut() {
    let rig = Rig::new(RigStore::new(1), |config| config.full_bytes = 250);
    rig.store.script_lane(id(), 0, [Step::After(ms(1_000))]);
    let ingress = rig.budget.class(Class::Ingress).clone();
    let frame = ingress.try_acquire(1000).map(Arc::new);
    let mut pushed = LaneNumber(0);
    for base in 0..2 {
        let append = Append { charge: frame.clone(), ..rig.append(base, Bytes::from(vec![1; 200])) };
        pushed = rig.lane.push(append).expect("lives");
    }
    drop(frame);
    sleep(ms(10)).await;
    assert_eq!((pushed, rig.tail.stats().objects), (LaneNumber(1), 1), "the first alone was cut");
    assert_eq!(ingress.usage().used, 1000);
    rig.lane.wait_durable(pushed).await.expect("durable");
    assert_eq!(ingress.usage().used, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_charged_for_a_frame_is_given_back_at_the_cut_not_at_the_answer() {
    let rig = Rig::new(RigStore::new(1), |_| {});
    rig.store.script_lane(id(), 0, [Step::After(ms(1_000))]);
    let ingress = rig.budget.class(Class::Ingress).clone();
    let mut append = rig.append(0, Bytes::from(vec![1; 1000]));
    append.charge = ingress.try_acquire(1000).map(Arc::new);
    let number = rig.lane.push(append).expect("lives");
    assert_eq!(ingress.usage().used, 1000);
    sleep(ms(10)).await;
    assert_eq!((ingress.usage().used, rig.lane.outcome(number)), (0, None));
    assert!(rig.budget.class(Class::LaneTail).usage().used > 1000, "the charge moved");
}

#[tokio::test(start_paused = true)]
async fn objects_close_by_size_and_one_at_a_time_in_a_directory() {
    let rig = Rig::new(RigStore::new(1), |config| config.full_bytes = 250);
    let numbers: Vec<u64> = (0..7).map(|base| rig.push(base).0).collect();
    assert_eq!(numbers, [0, 0, 1, 1, 2, 2, 3]);
    let begun = Instant::now();
    rig.lane.wait_durable(LaneNumber(3)).await.expect("durable");
    assert_eq!(begun.elapsed(), ms(40), "one PUT of 10 ms after the other");
    assert_eq!(rig.sink.so_far(), [(0, 0, 2), (1, 2, 4), (2, 4, 6), (3, 6, 7)]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_costs_nothing_and_late_ones_are_answered_at_once() {
    let rig = Rig::new(RigStore::new(1), |_| {});
    let number = rig.push(0);
    assert!(timeout(ms(1), rig.lane.wait_durable(number)).await.is_err());
    let many = (0..100).map(|_| rig.lane.wait_durable(number));
    assert!(futures::future::join_all(many).await.iter().all(Result::is_ok));
    assert!(timeout(ms(0), rig.lane.wait_durable(number)).await.is_ok());
}

/// DESIGN §7: cold reads do not delay a produce.
#[tokio::test(start_paused = true)]
async fn reads_beside_objects_that_are_late_are_held_back() {
    let rig = Rig::new(RigStore::new(1), |_| {});
    let one = |base: u64| {
        let (lane, pushed) = (rig.lane.clone(), rig.push(base));
        async move { lane.wait_durable(pushed).await.expect("durable") }
    };
    for base in 0..30 {
        one(base).await;
    }
    let cold = rig.lane.cold_reads();
    for number in 30..34 {
        rig.store.script_lane(id(), number, [Step::After(ms(100))]);
    }
    let mut read = cold.turn(1 << 20).await;
    read.brought(1 << 20);
    let begun_with = cold.rate().expect("reads begin slowly beside a producer");
    assert!(begun_with > crate::cache::cold::RATE_MIN);
    for base in 30..33 {
        one(base).await;
        assert_eq!(cold.rate(), Some(begun_with), "{} late objects may be noise", base - 29);
    }
    one(33).await;
    assert_eq!(cold.rate(), Some(crate::cache::cold::RATE_MIN), "four are not");
    drop(read);
    let begun = tokio::time::Instant::now();
    for _ in 0..2 {
        cold.turn(8 << 20).await.brought(8 << 20);
    }
    assert!(begun.elapsed() >= ms(200), "8 MiB of 32 a second take a quarter of one: {:?}", begun.elapsed());
}
