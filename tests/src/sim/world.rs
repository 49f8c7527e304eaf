//! The world of a run: one root in one store, and the lives of broker processes on it. Owns starting, killing, pausing, and
//! what process a client gets to. A process that is superseded ends itself, as `aquifer` does; the world's keeper starts
//! another when none is there.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use broker::broker::Broker;
use broker::config::BrokerConfig;
use broker::server::connection::{Connection, serve};
use broker::start::{OpenStores, Sockets, start};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use s3stream::ids::Incarnation;
use s3stream::sim::SimProcess;
use s3stream::sim::directory::SimVolume;
use s3stream::sim::s3::FakeS3;
use s3stream::store::Store;
use tokio::time::Instant;

use super::history::Event;
use super::wire::Wire;

/// Bytes that fit into one direction of a connection.
const PIPE: usize = 256 << 10;
/// Where lanes lie, if not beside the rest.
const WAL_URL: &str = "s3://lanes/root";
/// The one topic of a run.
pub const TOPIC: &str = "sim";

/// Where the root lies.
pub enum Root {
    /// The real S3 client over a fake S3.
    S3(FakeS3),
    /// The real steps of a directory over a disk that forgets what was not flushed.
    Directory(SimVolume),
}

/// One life of a broker process, from its start to its end.
pub struct Life {
    /// From 1, in order of starting.
    pub number: u32,
    /// The process.
    pub process: SimProcess,
    broker: Mutex<Option<Arc<Broker>>>,
    incarnation: Mutex<Option<Incarnation>>,
    paused: Mutex<bool>,
}

impl Life {
    /// What the store knows it by.
    pub fn name(&self) -> String {
        format!("b{}", self.number)
    }

    /// Its registration; None before it serves.
    pub fn incarnation(&self) -> Option<Incarnation> {
        *self.incarnation.lock()
    }

    /// What serves in it; None before it serves.
    pub fn broker(&self) -> Option<Arc<Broker>> {
        self.broker.lock().clone()
    }

    /// Is it stopped for now?
    pub fn is_paused(&self) -> bool {
        *self.paused.lock()
    }
}

struct State {
    lives: Vec<Arc<Life>>,
    started: u32,
    connections: u64,
    /// The highest incarnation that ever served.
    newest: Option<Incarnation>,
    events: Vec<(Duration, Event)>,
    acknowledged: Vec<i64>,
    committed: Vec<i64>,
    trimmed: Vec<i64>,
}

/// Shared by everything in a run.
pub struct World {
    /// Seed of the run.
    pub seed: u64,
    /// The store.
    pub root: Root,
    /// Another one for the lanes (`--wal-storage`), if it is not the same.
    pub wal: Option<FakeS3>,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Is it compacted by key?
    pub compacted: bool,
    begun: Instant,
    state: Mutex<State>,
}

impl World {
    /// A world without processes. Within a runtime whose time is paused.
    pub fn new(seed: u64, root: Root, wal: Option<FakeS3>, partitions: i32) -> Arc<World> {
        World::with_cleanup(seed, root, wal, partitions, false)
    }

    /// As [`World::new`], with a topic that is `compacted` and deletes, or one that deletes alone.
    pub fn with_cleanup(
        seed: u64,
        root: Root,
        wal: Option<FakeS3>,
        partitions: i32,
        compacted: bool,
    ) -> Arc<World> {
        let state = State {
            lives: Vec::new(),
            started: 0,
            connections: 0,
            newest: None,
            events: Vec::new(),
            acknowledged: vec![-1; partitions as usize],
            committed: vec![-1; partitions as usize],
            trimmed: vec![0; partitions as usize],
        };
        let (begun, state) = (Instant::now(), Mutex::new(state));
        let world = Arc::new(World { seed, root, wal, partitions, compacted, begun, state });
        if compacted {
            world.record(Event::Compacted);
        }
        world
    }

    /// Adds to the history.
    pub fn record(&self, event: Event) {
        let mut state = self.state.lock();
        if let Event::Acknowledged { first, count, base_offset: Some(base) } = &event {
            let highest = &mut state.acknowledged[first.partition as usize];
            *highest = (*highest).max(base + i64::from(*count) - 1);
        }
        if let Event::CommitAcknowledged { partition, offset } = &event {
            let highest = &mut state.committed[*partition as usize];
            *highest = (*highest).max(*offset);
        }
        if let Event::TrimSent { partition, below } = &event {
            let highest = &mut state.trimmed[*partition as usize];
            *highest = (*highest).max(*below);
        }
        state.events.push((self.begun.elapsed(), event));
    }

    /// Says in the history what the world does.
    pub fn note(&self, what: impl Into<String>) {
        self.record(Event::Note(what.into()));
    }

    /// The history so far.
    pub fn events(&self) -> Vec<Event> {
        self.state.lock().events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// What the world did, a line each.
    pub fn notes(&self) -> String {
        let state = self.state.lock();
        let notes = state.events.iter().filter_map(|(at, event)| match event {
            Event::Note(note) => Some(format!("{:>9.3} s {note}", at.as_secs_f64())),
            _ => None,
        });
        notes.collect::<Vec<_>>().join("\n")
    }

    /// History and what the store saw, a line each: equal for equal seeds.
    pub fn trace(&self) -> String {
        let mut text = String::new();
        for (at, event) in &self.state.lock().events {
            text.push_str(&format!("{:>12.3} {event:?}\n", at.as_micros() as f64 / 1000.0));
        }
        if let Root::S3(s3) = &self.root {
            text.push_str(&s3.trace_text());
        }
        if let Some(s3) = &self.wal {
            text.push_str(&s3.trace_text());
        }
        text
    }

    /// The highest acknowledged offset of a partition; -1 for none.
    pub fn acknowledged(&self, partition: i32) -> i64 {
        self.state.lock().acknowledged[partition as usize]
    }

    /// The highest acknowledged commit of a partition; -1 for none.
    pub fn committed(&self, partition: i32) -> i64 {
        self.state.lock().committed[partition as usize]
    }

    /// Somebody asked that records below this offset of a partition be deleted.
    pub fn trimmed(&self, partition: i32) -> i64 {
        self.state.lock().trimmed[partition as usize]
    }

    /// Starts a process; it serves when it is ready, unless it ends before.
    pub fn start(self: &Arc<Self>) -> Arc<Life> {
        let number = {
            let mut state = self.state.lock();
            state.started += 1;
            state.started
        };
        let process = SimProcess::new(self.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number)));
        let life = Arc::new(Life {
            number,
            process: process.clone(),
            broker: Mutex::new(None),
            incarnation: Mutex::new(None),
            paused: Mutex::new(false),
        });
        self.state.lock().lives.push(life.clone());
        self.note(format!("start {number}"));
        let main: Arc<dyn Store> = match &self.root {
            Root::S3(s3) => s3.client(&life.name()),
            Root::Directory(volume) => volume.store(&process.env),
        };
        let wal = self.wal.as_ref().map(|s3| {
            let store: Arc<dyn Store> = s3.client(&life.name());
            (store, WAL_URL.to_string())
        });
        let stores = OpenStores { main_url: main.traits().name.clone(), main, wal };
        let (world, mine) = (self.clone(), life.clone());
        process.env.tasks.spawn("main", async move { world.main(mine, stores).await });
        life
    }

    /// What `aquifer` does: starts, serves, ends when it must.
    async fn main(self: Arc<Self>, life: Arc<Life>, stores: OpenStores) {
        let env = life.process.env.clone();
        let settings = [
            ("node.id", "1"),
            ("memory.budget.bytes", "67108864"),
            ("offsets.topic.num.partitions", "1"),
            // The clocks of this world are wrong: what goes by them is a matter of its own.
            ("log.retention.ms", "-1"),
            // Uploads and deletions happen many times in the life of a process.
            ("wal.upload.bytes", "65536"),
            ("wal.adopt.bytes", "600"),
            ("wal.upload.interval.ms", "1500"),
            ("merge.fan.in", "3"),
            ("object.delete.delay.ms", "3000"),
            // So does log compaction, of whatever is dirty.
            ("log.cleaner.backoff.ms", "700"),
            ("log.cleaner.min.cleanable.ratio", "0"),
            ("log.cleaner.delete.retention.ms", "10000"),
            ("log.roll.ms", "1"),
        ];
        let config = BrokerConfig::read(settings.into_iter()).expect("the settings are legal");
        let broker = match start(env.clone(), config, stores, Sockets::none("PLAINTEXT")).await {
            Ok(broker) => broker,
            Err(error) => return self.end(&life, &format!("did not start: {error:#}")),
        };
        self.note(format!("serving {} as {}", life.number, broker.incarnation));
        *life.incarnation.lock() = Some(broker.incarnation);
        *life.broker.lock() = Some(broker.clone());
        {
            let mut state = self.state.lock();
            state.newest = state.newest.max(Some(broker.incarnation));
        }
        let reason = tokio::select! {
            biased;
            reason = env.tasks.fatal_reason() => reason.to_string(),
            ended = broker.lane.wait_ended() => ended.to_string(),
        };
        self.end(&life, &reason);
    }

    fn end(&self, life: &Life, reason: &str) {
        self.note(format!("end {}: {reason}", life.number));
        self.remove(life);
    }

    /// `kill -9`.
    pub fn kill(&self, life: &Life) {
        self.note(format!("kill {}", life.number));
        self.remove(life);
    }

    fn remove(&self, life: &Life) {
        self.state.lock().lives.retain(|other| other.number != life.number);
        let broker = life.broker.lock().take();
        life.process.kill();
        drop(broker);
    }

    /// `SIGSTOP`.
    pub fn pause(&self, life: &Life) {
        self.note(format!("pause {}", life.number));
        *life.paused.lock() = true;
        life.process.env.tasks.pause();
    }

    /// `SIGCONT`.
    pub fn resume(&self, life: &Life) {
        self.note(format!("resume {}", life.number));
        *life.paused.lock() = false;
        life.process.env.tasks.resume();
    }

    /// The processes that have not ended, oldest first.
    pub fn lives(&self) -> Vec<Arc<Life>> {
        self.state.lock().lives.clone()
    }

    /// Is this the last that took over, as far as the world has seen one serve?
    pub fn is_newest(&self, life: &Life) -> bool {
        life.incarnation().is_some() && life.incarnation() == self.state.lock().newest
    }

    /// A connection to some serving process: mostly the newest, at times one that does not know yet that it is none.
    pub fn connect(&self, dice: &mut StdRng) -> Option<Wire> {
        let serving: Vec<_> = self.lives().into_iter().filter(|l| l.incarnation().is_some()).collect();
        let newest = serving.iter().max_by_key(|l| l.incarnation())?;
        let chosen =
            if dice.random_bool(0.8) { newest } else { &serving[dice.random_range(0..serving.len())] };
        self.connect_to(chosen)
    }

    /// A connection to this process.
    pub fn connect_to(&self, life: &Arc<Life>) -> Option<Wire> {
        let broker = life.broker.lock().clone()?;
        let number = {
            let mut state = self.state.lock();
            state.connections += 1;
            state.connections
        };
        let (client, server) = tokio::io::duplex(PIPE);
        let (reader, writer) = tokio::io::split(server);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, (number % 60_000) as u16 + 1024));
        let connection = Connection::new(peer, "PLAINTEXT".into());
        life.process.env.tasks.spawn("connection", serve(broker, connection, reader, writer));
        Some(Wire::new(life.clone(), number, client))
    }
}
