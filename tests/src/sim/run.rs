//! One seed, from an empty root to the verdict: weather, kills, pauses and successors while clients run; then calm, one last
//! process, all that was sent brought to its end, and everything read.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use s3stream::sim::directory::SimVolume;
use s3stream::sim::s3::{FakeS3, Faults, Outage};
use tokio::time::{sleep, timeout};

use super::consumer::Consumer;
use super::history::{Event, Reader, Violation, check};
use super::member::Member;
use super::producer::{Producer, Stop};
use super::trimmer::Trimmer;
use super::world::{Life, Root, World};

/// What a run showed.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Broken promises; empty is good.
    pub violations: Vec<Violation>,
    /// Batches acknowledged.
    pub acknowledged: usize,
    /// Offsets acknowledged as committed.
    pub committed: usize,
    /// Records read by anybody.
    pub read: usize,
    /// Records that were there at the end.
    pub left: usize,
    /// Broker lives that served.
    pub lives: usize,
    /// History and store, line by line; the same for the same seed.
    pub trace: String,
}

/// How long the world is hostile.
const HOSTILE: Duration = Duration::from_secs(40);
/// How long clients go on in calm weather before they are to finish.
const AFTERWARDS: Duration = Duration::from_secs(8);
/// How long all that was sent may take to come to its end once it is calm.
const CALM: Duration = Duration::from_secs(300);

/// How long it takes until a log that is not written to any more is uploaded and compacted.
const COMPACTED: Duration = Duration::from_secs(20);

/// Runs one seed.
pub fn run(seed: u64) -> Outcome {
    s3stream::sim::run(async move {
        let mut dice = StdRng::seed_from_u64(seed);
        let root = if dice.random_bool(0.65) {
            Root::S3(FakeS3::new(seed, weather(&mut dice)))
        } else {
            Root::Directory(SimVolume::new(seed))
        };
        // The lanes in a store of their own, with its own weather.
        let wal = dice.random_bool(0.2).then(|| FakeS3::new(seed ^ 1, weather(&mut dice)));
        let compacted = StdRng::seed_from_u64(!seed).random_bool(0.35);
        let rig = Rig::with(seed, root, wal, compacted);
        rig.hostile(&mut dice).await;
        rig.finish().await
    })
}

fn weather(dice: &mut StdRng) -> Faults {
    let latency = Duration::from_millis(dice.random_range(2..60));
    match dice.random_range(0..4) {
        0 => Faults { latency, slow: 0.05, ..Faults::none() },
        1 => Faults { latency, lost_answer: 0.1, zombie: 0.05, ..Faults::none() },
        2 => Faults { latency, conflict: 0.1, busy: 0.1, busy_after: 0.05, ..Faults::none() },
        _ => Faults { latency, ..Faults::rough() },
    }
}

/// A world with its clients running.
pub struct Rig {
    /// The world.
    pub world: Arc<World>,
    stop: Stop,
    producers: Vec<tokio::task::JoinHandle<()>>,
    consumers: Vec<tokio::task::JoinHandle<()>>,
    members: Vec<tokio::task::JoinHandle<()>>,
    trimmer: Option<tokio::task::JoinHandle<()>>,
}

impl Rig {
    /// One process, two producers, two consumers, a group of two, three partitions.
    pub fn new(seed: u64, root: Root) -> Rig {
        Rig::with(seed, root, None, false)
    }

    /// As [`Rig::new`], with the lanes in another store, or with a `compacted` topic, of which records are deleted as well.
    pub fn with(seed: u64, root: Root, wal: Option<FakeS3>, compacted: bool) -> Rig {
        let world = World::with_cleanup(seed, root, wal, 3, compacted);
        world.start();
        let stop = Stop::default();
        let producers = (0..2).map(|n| tokio::spawn(Producer::new(&world, n, &stop).run())).collect();
        let consumers = (0..2).map(|n| tokio::spawn(Consumer::new(&world, Reader::Tail(n)).run())).collect();
        let members = (0..2).map(|n| tokio::spawn(Member::new(&world, n).run())).collect();
        let trimmer = compacted.then(|| tokio::spawn(Trimmer::new(&world).run()));
        Rig { world, stop, producers, consumers, members, trimmer }
    }

    /// The hostile part.
    pub async fn hostile(&self, dice: &mut StdRng) {
        let script = async {
            loop {
                sleep(Duration::from_millis(dice.random_range(200..8_000))).await;
                self.disturb(dice).await;
                if self.world.lives().iter().all(|life| life.is_paused()) {
                    sleep(Duration::from_millis(dice.random_range(0..2_000))).await;
                    self.world.start();
                }
            }
        };
        let _ = timeout(HOSTILE, script).await;
    }

    async fn disturb(&self, dice: &mut StdRng) {
        let world = &self.world;
        let lives = world.lives();
        let Some(life) = lives.get(dice.random_range(0..lives.len().max(1))).cloned() else { return };
        match dice.random_range(0..12) {
            0..3 => world.kill(&life),
            3..5 if !life.is_paused() => {
                world.pause(&life);
                let (world, pause) = (world.clone(), Duration::from_millis(dice.random_range(100..60_000)));
                tokio::spawn(async move {
                    sleep(pause).await;
                    world.resume(&life);
                });
                if dice.random_bool(0.7) {
                    sleep(Duration::from_millis(dice.random_range(0..5_000))).await;
                    self.world.start();
                }
            }
            5 => {
                world.start();
                if dice.random_bool(0.3) {
                    sleep(Duration::from_millis(dice.random_range(0..50))).await;
                    world.start();
                }
            }
            6 => self.outage(dice).await,
            7 => self.cut_off(dice, life).await,
            8 => self.power_loss(dice).await,
            9 | 10 => self.disturb_clock(dice, &life),
            _ => {}
        }
    }

    /// The store does not answer, or takes no lane objects, for up to 20 s.
    async fn outage(&self, dice: &mut StdRng) {
        let how = [Outage::Refused, Outage::Unavailable, Outage::Silent][dice.random_range(0..3)];
        let long = Duration::from_millis(dice.random_range(500..20_000));
        let lane_only = dice.random_bool(0.5);
        self.world.note(format!("outage {how:?}, lanes only: {lane_only}, {long:?}"));
        match (&self.world.wal, &self.world.root) {
            (Some(lanes), _) if lane_only => lanes.down_as(how),
            (_, root) => self.root_out(root, lane_only, how),
        }
        sleep(long).await;
        self.calm_outages();
    }

    fn root_out(&self, root: &Root, lane_only: bool, how: Outage) {
        match root {
            Root::S3(s3) if lane_only => s3.prefix_down("wal/", how),
            Root::S3(s3) => s3.down_as(how),
            Root::Directory(volume) => volume.hold_flushes(),
        }
    }

    fn calm_outages(&self) {
        if let Some(lanes) = &self.world.wal {
            lanes.up();
        }
        match &self.world.root {
            Root::S3(s3) => {
                s3.up();
                s3.prefix_up("wal/");
            }
            Root::Directory(volume) => volume.release_flushes(),
        }
    }

    /// One process does not reach the store; often another takes its place meanwhile.
    async fn cut_off(&self, dice: &mut StdRng, life: Arc<Life>) {
        let Root::S3(s3) = &self.world.root else { return };
        self.world.note(format!("cut off {}", life.number));
        s3.cut_off(&life.name());
        if dice.random_bool(0.6) {
            self.world.start();
        }
        sleep(Duration::from_millis(dice.random_range(100..15_000))).await;
        s3.reconnect(&life.name());
    }

    /// A clock is stepped, runs too fast or too slow, or stands still for a while.
    fn disturb_clock(&self, dice: &mut StdRng, life: &Arc<Life>) {
        let clock = life.process.clock.clone();
        match dice.random_range(0..3) {
            0 => {
                let ms = dice.random_range(-86_400_000..86_400_000);
                self.world.note(format!("the wall clock of {} is stepped by {ms} ms", life.number));
                clock.step_wall(ms);
            }
            1 => {
                let rate = dice.random_range(0.2..4.0);
                self.world.note(format!("the clocks of {} run at {rate:.2}", life.number));
                clock.set_rate(rate);
            }
            _ => {
                let long = Duration::from_millis(dice.random_range(100..20_000));
                self.world.note(format!("the monotonic clock of {} stands still for {long:?}", life.number));
                clock.freeze();
                tokio::spawn(async move {
                    sleep(long).await;
                    clock.thaw();
                });
            }
        }
    }

    /// The machine with the directory loses power: every process on it ends.
    async fn power_loss(&self, dice: &mut StdRng) {
        let Root::Directory(volume) = &self.world.root else { return };
        self.world.note("power loss");
        self.world.lives().iter().for_each(|life| self.world.kill(life));
        if dice.random_bool(0.5) {
            volume.power_loss()
        } else {
            volume.power_loss_in_part()
        }
        sleep(Duration::from_millis(dice.random_range(0..3_000))).await;
        self.world.start();
    }

    /// Calm weather, and one process more.
    pub fn calm(&self) {
        self.world.note("calm");
        self.calm_outages();
        let main = match &self.world.root {
            Root::S3(s3) => Some(s3),
            Root::Directory(_) => None,
        };
        for s3 in main.into_iter().chain(&self.world.wal) {
            s3.set_faults(Faults::none());
            self.world.lives().iter().for_each(|life| s3.reconnect(&life.name()));
        }
        for life in self.world.lives() {
            life.process.clock.set_rate(1.0);
            life.process.clock.thaw();
        }
        self.world.lives().iter().filter(|life| life.is_paused()).for_each(|life| self.world.resume(life));
    }

    /// Everything to its end, read, and judged.
    pub async fn finish(mut self) -> Outcome {
        self.calm();
        self.world.start();
        let keeper = {
            let world = self.world.clone();
            tokio::spawn(async move {
                loop {
                    sleep(Duration::from_secs(1)).await;
                    if world.lives().iter().all(|life| life.is_paused()) {
                        world.start();
                    }
                }
            })
        };
        // Work goes on after all that has happened.
        sleep(AFTERWARDS).await;
        self.stop.stop();
        for producer in &mut self.producers {
            match timeout(CALM, producer).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.world.record(Event::Stuck(format!("a producer failed: {error}"))),
                Err(_) => self.world.record(Event::Stuck("a producer".into())),
            }
        }
        for client in self.consumers.iter().chain(&self.members).chain(&self.trimmer) {
            if client.is_finished() {
                self.world.record(Event::Stuck("a consumer or a member failed".into()));
            }
            client.abort();
        }
        keeper.abort();
        // What the last process knows only from the store.
        self.world.lives().iter().for_each(|life| self.world.kill(life));
        self.world.start();
        if self.world.compacted {
            // What is written anew while it is read may be seen in part.
            sleep(COMPACTED).await;
        }
        if timeout(CALM, self.read_all()).await.is_err() {
            self.world.record(Event::Stuck("the last reading".into()));
        }
        self.outcome()
    }

    async fn read_all(&self) {
        let mut reader = Consumer::new(&self.world, Reader::Final);
        let mut member = Member::new(&self.world, u32::MAX);
        loop {
            sleep(Duration::from_millis(100)).await;
            let lives = self.world.lives();
            let Some(mut wire) = lives.last().and_then(|life| self.world.connect_to(life)) else { continue };
            let partitions: Vec<i32> = (0..self.world.partitions).collect();
            if reader.read_all(&mut wire).await.is_ok()
                && (self.committed() == 0 || member.fetch_offsets(&mut wire, &partitions).await.is_ok())
            {
                return;
            }
        }
    }

    /// Commits acknowledged so far.
    fn committed(&self) -> usize {
        self.world.events().iter().filter(|e| matches!(e, Event::CommitAcknowledged { .. })).count()
    }

    fn outcome(&self) -> Outcome {
        self.world.lives().iter().for_each(|life| self.world.kill(life));
        let events = self.world.events();
        let count = |wanted: fn(&Event) -> bool| events.iter().filter(|e| wanted(e)).count();
        Outcome {
            seed: self.world.seed,
            violations: check(&events),
            acknowledged: count(|e| matches!(e, Event::Acknowledged { .. })),
            committed: self.committed(),
            read: count(|e| matches!(e, Event::Read { .. })),
            left: left(&events),
            lives: count(|e| matches!(e, Event::Note(n) if n.starts_with("serving"))),
            trace: self.world.trace(),
        }
    }
}

/// Offsets with a record at the end.
fn left(events: &[Event]) -> usize {
    let of_log = events.iter().filter_map(|event| match event {
        Event::Read { reader: Reader::Final, partition, offset, .. } => Some((*partition, *offset)),
        _ => None,
    });
    of_log.collect::<std::collections::BTreeSet<_>>().len()
}
