//! The measurements, in their order. Each takes the rig with the topics filled and returns figures; what they have in
//! common stands below them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Plan, plain_gets};
use crate::client::{self, Load, Payloads, RECORD_BYTES, Replayed};
use crate::measure::latency::{self, Offer, Taken, ms};
use crate::measure::{CpuMeter, GIB, MIB, mib_per_second, records};
use crate::peers::aquifer::{self, Objects};
use crate::peers::minio::Served;
use crate::peers::{BUCKET, Peer, tansu};
use crate::process::drop_page_cache;
use crate::report::{Figure, figure};

/// The topic that is replayed.
pub const TOPIC: &str = "replay";
/// The topic that warms the code and is measured nowhere.
const WARM_UP: &str = "replay-warm-up";
/// Partitions of both, and of those of the tail.
pub const PARTITIONS: i32 = 8;
/// Readers at once.
const READERS: usize = 4;
/// Theirs beside the tail: the largest value of `nice`.
const LEAST_PRIORITY: i32 = 19;
/// Of a measurement that is none where only root may drop the page cache.
const NOT_COLD: &str =
    "the page cache cannot be dropped, so nothing is cold: run it as root, or without this step";
/// A producer and a tail work for so long before they are measured, and before others replay beside them: what a cold machine
/// does to those who have just come is neither of the two.
pub const LEAD_IN: Duration = Duration::from_secs(10);
/// How long a broker may take to stop.
pub const STOP: Duration = Duration::from_secs(60);
/// Connections of the plain GETs: as many as readers.
const GETTERS: usize = READERS;
/// Nothing has changed for so long: at rest. Longer than what an object is kept for after nothing refers to it, and than a lane
/// waits for more before it is uploaded, which is a minute. What lies in lanes then was adopted.
const REST: Duration = Duration::from_secs(75);
/// How often is told what is waited for.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A peer at work.
pub struct Rig<'a> {
    /// The peer.
    pub peer: &'a mut Peer,
    /// How much to do.
    pub plan: &'a Plan,
    /// Record values.
    pub payloads: &'a Payloads,
    /// Bytes of records in its log.
    pub produced_bytes: u64,
}

impl Rig<'_> {
    /// Prints one line of progress.
    pub fn say(&self, text: &str) {
        eprintln!("[{}] {text}", self.peer.name);
    }

    /// Creates a topic and fills it as fast as the client can; returns how long that took.
    pub fn fill(&mut self, topic: &str, mib: u64) -> Result<Duration> {
        client::create_topic(&self.peer.bootstrap, topic, PARTITIONS)?;
        let load =
            Load { topic, partitions: PARTITIONS, records: records(mib), per_second: None, settings: &[] };
        let produced = client::produce(&self.peer.bootstrap, self.payloads, &load, |acked| {
            self.say(&format!("{topic}: wrote {} of {mib} MiB", acked * RECORD_BYTES as u64 / MIB));
        })?;
        self.produced_bytes += mib * MIB;
        Ok(produced.took)
    }

    /// What the store was asked for so far, where it is a process of its own.
    fn served(&self) -> Result<Option<Served>> {
        self.peer.store().map(|store| store.served()).transpose()
    }

    /// One reader through all of a topic.
    fn read(&self, what: &str, topic: &str, mib: u64) -> Result<Replayed> {
        client::replay(&self.peer.bootstrap, topic, PARTITIONS, records(mib), |read| {
            self.say(&format!("{what}: {} of {mib} MiB", read * RECORD_BYTES as u64 / MIB));
            true
        })
    }

    /// Stops the broker and starts it again, warms its code, and drops the machine's page cache.
    fn chill(&mut self) -> Result<()> {
        let broker = self.peer.ours().context("a broker of somebody else is not restarted")?;
        // It is not running where an earlier step could not start it again.
        ensure!(broker.pid().is_none() || broker.stop(STOP)?, "the broker did not stop within {STOP:?}");
        broker.start_again()?;
        self.read("warm-up", WARM_UP, self.plan.warm_up_mib)?;
        drop_page_cache().context(NOT_COLD)
    }

    /// `readers` through all of the topic at once, measured. Keys begin with `key`, labels with `label`.
    fn replay(&mut self, key: &str, label: &str, readers: usize) -> Result<Vec<Figure>> {
        let range = self.plan.size_mib * MIB;
        self.peer.forget_peak()?;
        let (meter, before) = (CpuMeter::start(self.peer)?, self.served()?);
        let this = &*self;
        let begun = Instant::now();
        let all: Vec<Replayed> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..readers)
                .map(|n| {
                    let what = if readers == 1 { label.to_owned() } else { format!("{label} {}", n + 1) };
                    scope.spawn(move || this.read(&what, TOPIC, this.plan.size_mib))
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("a reader does not panic")).collect::<Result<_>>()
        })?;
        let whole = begun.elapsed();
        let (cpu, after) = (meter.stop(self.peer)?, self.served()?);
        // One reader's clock begins with its assignment; several are as fast as all of them.
        let took = if readers == 1 { all[0].took } else { whole };
        let bytes = range * readers as u64;
        let first = all.iter().map(|replayed| replayed.first).max().unwrap_or_default();
        self.say(&format!("{label}: {} MiB in {took:.1?}, first record after {first:.0?}", bytes / MIB));

        let mut figures =
            vec![figure(format!("{key}.throughput"), label, "MiB/s", mib_per_second(bytes, took))];
        figures.extend(cpu.figures(key, label, bytes));
        figures.push(figure(
            format!("{key}.first"),
            format!("{label}, first record"),
            "ms",
            first.as_secs_f64() * 1e3,
        ));
        if let Some((before, after)) = before.zip(after) {
            let gets = (after.gets - before.gets) as f64 * GIB as f64 / range as f64;
            figures.push(figure(format!("{key}.gets"), format!("{label}, GETs"), "1/GiB of log", gets));
        }
        if let Some(memory) = self.peer.resident()? {
            let peak = memory.peak as f64 / MIB as f64;
            figures.push(figure(format!("{key}.memory"), format!("{label}, RSS, peak"), "MiB", peak));
        }
        Ok(figures)
    }
}

/// Fills both topics.
pub fn fill(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    rig.fill(WARM_UP, rig.plan.warm_up_mib)?;
    let took = rig.fill(TOPIC, rig.plan.size_mib)?;
    let rate = mib_per_second(rig.plan.size_mib * MIB, took);
    Ok(vec![figure("fill.throughput", "writing it", "MiB/s", rate)])
}

/// What was just written, from whatever memory holds it.
pub fn warm(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    rig.read("warm-up", WARM_UP, rig.plan.warm_up_mib)?;
    rig.replay("warm", "warm replay", 1)
}

/// One reader of what is in nobody's memory.
pub fn cold(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    rig.chill()?;
    rig.replay("cold", "cold replay", 1)
}

/// Four of them.
pub fn four(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    rig.chill()?;
    rig.replay("four", "4 cold replays of one range", READERS)
}

/// Waits until upload, merging and deletion have nothing left to do, and counts what is there and what was written on the
/// way. To be done before the broker is restarted: the system counts per process.
pub fn life(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if let Some(held) = settle(rig)? {
        figures.push(figure("life.objects", "objects at rest", "objects", held.objects as f64));
        figures.push(figure(
            "life.stored",
            "bytes at rest, per byte of record",
            "×",
            held.bytes as f64 / rig.produced_bytes as f64,
        ));
    }
    if let Some(written) = rig.peer.bytes_written()? {
        let ratio = written as f64 / rig.produced_bytes as f64;
        figures.push(figure("life.written", "bytes written, per byte of record", "×", ratio));
    }
    if let Some(served) = rig.served()? {
        let puts = served.puts as f64 * GIB as f64 / rig.produced_bytes as f64;
        figures.push(figure("life.puts", "PUTs, life long", "1/GiB of log", puts));
    }
    Ok(figures)
}

/// What a peer has in its store.
#[derive(Clone, Debug)]
struct Held {
    /// Objects.
    objects: u64,
    /// Bytes of them.
    bytes: u64,
    /// What stays as it is when the peer is at rest.
    moving: [u64; 3],
}

impl Held {
    /// None for a peer that has no store of its own which could be looked into.
    fn by(peer: &Peer) -> Result<Option<Held>> {
        if let Some(storage) = &peer.storage {
            let Objects { all: objects, bytes, data, lanes, lane_bytes, .. } = aquifer::objects(storage)?;
            // The journal goes on by itself, and is small.
            return Ok(Some(Held { objects, bytes, moving: [data, lanes, lane_bytes] }));
        }
        let Some(store) = peer.store() else { return Ok(None) };
        let listed = store.list(BUCKET)?;
        let (objects, bytes) = (listed.len() as u64, listed.iter().map(|(_, bytes)| bytes).sum());
        Ok(Some(Held { objects, bytes, moving: [objects, bytes, 0] }))
    }
}

/// None for a peer whose store cannot be looked into.
fn settle(rig: &Rig<'_>) -> Result<Option<Held>> {
    let begun = Instant::now();
    let patience = Duration::from_secs(rig.plan.settle_seconds);
    let (mut last, mut changed_at, mut tell_at) = (None, begun, TELL_EVERY);
    loop {
        let Some(held) = Held::by(rig.peer)? else { return Ok(None) };
        if last != Some(held.moving) {
            (last, changed_at) = (Some(held.moving), Instant::now());
        }
        if changed_at.elapsed() >= REST {
            rig.say(&format!("at rest after {:.0?}: {held:?}", begun.elapsed()));
            return Ok(Some(held));
        }
        ensure!(
            begun.elapsed() < patience,
            "not at rest after {patience:?}, which is no change for {REST:?}: {held:?}, the last change {:.0?} ago",
            changed_at.elapsed()
        );
        if begun.elapsed() >= tell_at {
            tell_at += TELL_EVERY;
            rig.say(&format!("until rest: {} objects, {} MiB", held.objects, held.bytes / MIB));
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// The same objects, got without a broker. Only where they lie in a store.
pub fn limit(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    let Some(store) = rig.peer.store() else { return Ok(vec![]) };
    let objects: Vec<(String, u64)> = if let Some(storage) = &rig.peer.storage {
        let below = |(key, bytes)| (format!("aquifer/{key}"), bytes);
        aquifer::data_keys(storage)?.into_iter().map(below).collect()
    } else {
        let topic = tansu::keys_of(TOPIC);
        store.list(BUCKET)?.into_iter().filter(|(key, _)| key.starts_with(&topic)).collect()
    };
    ensure!(!objects.is_empty(), "there is nothing to get");
    drop_page_cache().context(NOT_COLD)?;
    let got = plain_gets::get(store.addr, BUCKET, &objects, GETTERS, rig.plan.size_mib * MIB)?;
    rig.say(&format!("{} MiB in {} plain GETs in {:.1?}", got.bytes / MIB, got.gets, got.took));
    let rate = mib_per_second(got.bytes, got.took);
    Ok(vec![figure("limit.throughput", "plain GETs without a broker, cold", "MiB/s", rate)])
}

/// Producer and tail at a bounded rate, alone; on a broker and a machine in the state in which replays begin beside them.
pub fn tail(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    rig.chill()?;
    rig.say("a producer and a tail, alone");
    let alone = offer(rig, "replay-tail")?;
    rig.produced_bytes += alone.sent * RECORD_BYTES as u64;
    Ok(told("tail", "tail", &alone))
}

/// The same beside four replays that begin cold, with the measured seconds, and begin again when they end.
pub fn busy(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    rig.chill()?;
    rig.say("a producer and a tail, beside four replays");
    let (stop, read) = (AtomicBool::new(false), AtomicU64::new(0));
    let this = &*rig;
    let begin = Instant::now() + LEAD_IN;
    let (busy, whole) = std::thread::scope(|scope| -> Result<(Taken, Duration)> {
        let replays: Vec<_> =
            (0..READERS).map(|_| scope.spawn(|| again_and_again(this, begin, &stop, &read))).collect();
        let busy = offer(this, "replay-tail-busy");
        stop.store(true, Ordering::Relaxed);
        for replay in replays {
            replay.join().expect("a reader does not panic").context("a replay beside the tail")?;
        }
        Ok((busy?, begin.elapsed()))
    })?;
    let mut figures = told("busy", "tail beside 4 replays", &busy);
    let rate = mib_per_second(read.load(Ordering::Relaxed) * RECORD_BYTES as u64, whole);
    figures.push(figure("busy.replay", "… these replays", "MiB/s", rate));
    rig.produced_bytes += busy.sent * RECORD_BYTES as u64;
    Ok(figures)
}

fn offer(rig: &Rig<'_>, topic: &str) -> Result<Taken> {
    client::create_topic(&rig.peer.bootstrap, topic, PARTITIONS)?;
    latency::offer(&Offer {
        bootstrap: &rig.peer.bootstrap,
        topic,
        partitions: PARTITIONS,
        per_second: rig.plan.tail_rate,
        lead_in: LEAD_IN,
        seconds: rig.plan.tail_seconds,
        payloads: rig.payloads,
    })
}

fn told(key: &str, label: &str, taken: &Taken) -> Vec<Figure> {
    let written = taken.per_second * RECORD_BYTES as f64 / MIB as f64;
    vec![
        figure(format!("{key}.p50"), format!("{label}, p50"), "ms", ms(&taken.end_to_end, 0.50)),
        figure(format!("{key}.p99"), format!("{label}, p99"), "ms", ms(&taken.end_to_end, 0.99)),
        figure(format!("{key}.ack_p99"), format!("{label}, ack p99"), "ms", ms(&taken.acks, 0.99)),
        figure(format!("{key}.produce"), format!("{label}, produced"), "MiB/s", written),
    ]
}

fn again_and_again(rig: &Rig<'_>, begin: Instant, stop: &AtomicBool, read: &AtomicU64) -> Result<()> {
    // Linux: of this thread, and of those that its client starts.
    rustix::process::setpriority_process(None, LEAST_PRIORITY).context("give way to the tail's clients")?;
    std::thread::sleep(begin.saturating_duration_since(Instant::now()));
    while !stop.load(Ordering::Relaxed) {
        let all = records(rig.plan.size_mib);
        let replayed =
            client::replay(&rig.peer.bootstrap, TOPIC, PARTITIONS, all, |_| !stop.load(Ordering::Relaxed))?;
        read.fetch_add(replayed.records, Ordering::Relaxed);
    }
    Ok(())
}
