//! A live owner, several sealers that may die, a trimmer, and a store that lies by omission: whatever happens in which
//! order, what was acknowledged lies below the sealed length, and everybody finds the same seal (I1, SAFETY F5).
//! Same seed, same trace.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::lane::{Lane, LaneConfig, LaneEnded};
use super::lane_tests::Told;
use super::open_object::{Append, Prefix};
use super::rig::{Chaos, RigStore, lane_id, ms};
use super::seal::{Sealed, seal};
use crate::block_ref::LaneRef;
use crate::budget::Budget;
use crate::cache::tail::TailCache;
use crate::entropy::Entropy;
use crate::env::Env;
use crate::ids::{LaneId, LaneNumber, StreamEpoch, StreamId};
use crate::object::{BlockKind, ObjectKind, parse_whole};
use crate::store::Store;

fn id() -> LaneId {
    lane_id(11)
}

/// What the journal knows of the lane, and what it refuses (DESIGN §5, §6).
#[derive(Default)]
struct Journal {
    trim: u64,
    sealed: Option<Sealed>,
}

struct World {
    seed: u64,
    dice: Entropy,
    store: Arc<RigStore>,
    journal: Mutex<Journal>,
    lane: Lane,
    owner: Env,
    sink: Arc<Told>,
    /// (lane number, offset) of every push that was taken.
    pushed: Mutex<Vec<(u64, u64)>>,
}

impl World {
    fn new(seed: u64) -> Arc<World> {
        let dice = Entropy::seeded(seed);
        let faults = [0.0, 0.1, 0.3, 0.6][dice.u64() as usize % 4];
        let chaos = Chaos { entropy: dice.fork(), latency: ms(2 + dice.u64() % 80), fault: faults };
        let puts_in_flight = 1 + dice.u64() as usize % 8;
        let store = Arc::new(RigStore::with_chaos(puts_in_flight, chaos));
        let owner = Env { entropy: dice.fork(), ..Env::seeded(0) };
        let budget = Budget::new(64 << 20);
        let mut config = LaneConfig::for_store(store.traits(), &budget);
        config.full_bytes = 500;
        let lane = Lane::start(store.clone(), &owner, id(), LaneRef(0), config, TailCache::new(&budget));
        let (journal, sink, pushed) = (Mutex::default(), Arc::default(), Mutex::default());
        Arc::new(World { seed, dice, store, journal, lane, owner, sink, pushed })
    }

    async fn producer(self: Arc<World>) {
        let mut base = 0;
        loop {
            let body = Bytes::from(vec![base as u8; 1 + self.dice.u64() as usize % 300]);
            let append = Append {
                stream: StreamId(1),
                epoch: StreamEpoch(0),
                base,
                count: 1,
                max_timestamp: 0,
                prefix: Prefix::EMPTY,
                body,
                attachment: None,
                sink: self.sink.clone(),
                charge: None,
            };
            let Ok(number) = self.lane.push(append) else { return };
            self.pushed.lock().push((number.0, base));
            base += 1;
            sleep(self.dice.jitter(ms(20))).await;
            if base % 32 == 0 && self.lane.room(1_000_000).await.is_err() {
                return;
            }
        }
    }

    /// The owner's process stops and goes on, as under a debugger or a VM's suspend.
    async fn pauser(self: Arc<World>) {
        loop {
            sleep(self.dice.jitter(ms(3_000))).await;
            self.owner.tasks.pause();
            sleep(self.dice.jitter(ms(2_000))).await;
            self.owner.tasks.resume();
        }
    }

    /// Uploads need no simulating: what is durable may be trimmed. The objects go later, one by one.
    async fn trimmer(self: Arc<World>) {
        loop {
            sleep(self.dice.jitter(ms(800))).await;
            let (from, trim) = {
                let mut journal = self.journal.lock();
                if journal.sealed.is_some() {
                    return;
                }
                let from = journal.trim;
                journal.trim = self.lane.durable_below().0.saturating_sub(self.dice.u64() % 4).max(from);
                (from, journal.trim)
            };
            self.store.note(format!("trim {trim}"));
            for number in from..trim {
                sleep(self.dice.jitter(ms(10))).await;
                self.store.remove(id(), number);
            }
        }
    }

    /// Seals from the trim point that it knows, which may be old by the time it gets anywhere.
    async fn sealer(self: Arc<World>, env: Env, after: Duration) {
        sleep(after).await;
        loop {
            let trim = LaneNumber(self.journal.lock().trim);
            sleep(self.dice.jitter(ms(500))).await;
            let window = 1 + self.dice.u64() as usize % 8;
            let sealed =
                seal(&*self.store, &env, id(), trim, window, b"").await.expect("waits for the store");
            sleep(self.dice.jitter(ms(100))).await;
            let mut journal = self.journal.lock();
            let journal = &mut *journal;
            self.store.note(format!("sealed {} trim {}", sealed.length, journal.trim));
            if sealed.length.0 < journal.trim {
                continue;
            }
            let first = journal.sealed.get_or_insert_with(|| sealed.clone());
            assert_eq!(*first, sealed, "seed {}: two ends of one lane", self.seed);
            return;
        }
    }

    fn check(&self) {
        let journal = self.journal.lock();
        let sealed = journal.sealed.clone().unwrap_or_else(|| panic!("seed {}: never sealed", self.seed));
        let length = sealed.length.0;
        let told = self.sink.so_far();
        let acknowledged = self.lane.durable_below().0;
        let seed = self.seed;
        assert!(acknowledged <= length, "seed {seed}: {acknowledged} acknowledged, {length} sealed");
        assert!(told.windows(2).all(|w| w[0].0 + 1 == w[1].0 && w[0].2 == w[1].1), "seed {seed}: {told:?}");
        assert_eq!(told.len() as u64, acknowledged, "seed {seed}");
        let mut offset = None;
        for number in journal.trim..length {
            let bytes =
                self.store.object(id(), number).unwrap_or_else(|| panic!("seed {seed}: hole at {number}"));
            let whole = parse_whole(bytes).expect("whole");
            whole.verify_all().expect("blocks");
            assert_eq!(whole.footer.header.object_kind, ObjectKind::Wal, "seed {seed}: {number}");
            for entry in whole.footer.entries.iter().filter(|e| e.kind == BlockKind::Data) {
                assert!(offset.is_none_or(|end| end == entry.base), "seed {seed}: torn at {number}");
                offset = Some(entry.end);
            }
        }
        // What was acknowledged and not trimmed is readable below the seal, to the last record.
        if let Some((_, _, end)) = told.last().filter(|(number, ..)| *number >= journal.trim) {
            assert!(offset.is_some_and(|sealed_end| sealed_end >= *end), "seed {seed}: {offset:?} of {end}");
        }
        for (number, base) in &*self.pushed.lock() {
            let outcome = self.lane.outcome(LaneNumber(*number));
            assert_eq!(
                outcome.map(|o| o.is_ok()),
                Some(*number < acknowledged),
                "seed {seed}: offset {base}"
            );
        }
        assert!(matches!(self.lane.ended(), Some(LaneEnded::Fenced { .. })), "seed {seed}");
    }
}

fn run(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let world = World::new(seed);
        let dice = world.dice.fork();
        let owner = &world.owner.tasks;
        owner.spawn("producer", world.clone().producer());
        owner.spawn("trimmer", world.clone().trimmer());
        tokio::spawn(world.clone().pauser());
        let mut last = None;
        for _ in 0..1 + dice.u64() % 3 {
            let env = Env { entropy: dice.fork(), ..Env::seeded(0) };
            let after = dice.jitter(ms(6_000));
            env.tasks.spawn("sealer", world.clone().sealer(env.clone(), after));
            let tasks = env.tasks.clone();
            let crash_at = after + dice.jitter(ms(1_500));
            if last.is_some() && dice.chance(0.7) {
                tokio::spawn(async move {
                    sleep(crash_at).await;
                    tasks.kill();
                });
            } else {
                last = Some(env);
            }
        }
        let deadline = Duration::from_secs(3_600);
        tokio::time::timeout(deadline, world.lane.wait_ended())
            .await
            .unwrap_or_else(|_| panic!("seed {seed} stuck"));
        while world.journal.lock().sealed.is_none() {
            sleep(ms(100)).await;
        }
        let acknowledged = world.lane.durable_below();
        // Everything that is still on the wire lands; nobody's mind changes.
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.lane.durable_below(), acknowledged, "seed {seed}: acknowledged after the end");
        let sealed = world.journal.lock().sealed.clone().expect("sealed");
        let trim = LaneNumber(world.journal.lock().trim);
        let again = seal(&*world.store, &Env::seeded(seed), id(), trim, 2, b"").await.expect("sealed");
        assert_eq!(again, sealed, "seed {seed}");
        world.check();
        world.owner.tasks.kill();
        let mut trace = world.store.trace();
        trace.push(format!("acknowledged {acknowledged} of {}", sealed.length));
        trace
    })
}

#[test]
fn what_is_acknowledged_is_what_is_sealed() {
    let mut acknowledged_all = 0;
    for seed in 0..300 {
        let trace = run(seed);
        let last = trace.last().expect("a line").clone();
        let numbers: Vec<u64> = last.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(numbers[0] <= numbers[1]);
        acknowledged_all += numbers[0];
    }
    assert!(
        acknowledged_all > 3_000,
        "the lanes of the simulation got {acknowledged_all} objects acknowledged"
    );
}

#[test]
fn same_seed_same_trace() {
    for seed in [3, 7, 42, 99] {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first, second, "seed {seed}");
    }
    assert_ne!(run(3), run(7));
}
