//! A soak of bounded length with everything on: uploads, merges, retention by size and by time, deleted records and
//! topics, a compacted topic, consumers that tail and that replay, idempotent producers, and kill -9 now and then. Every
//! dial is short, so that minutes see what takes days.
//!
//! What must hold: no record is lost, doubled, reordered or skipped, by the tail over all of the run and in the log among
//! what retention kept; every replay is whole; resident memory stays within budget + 64 MiB; retention,
//! deletion and log compaction leave no more than they may; the number of objects does not
//! grow when the amount kept does not; and at the end `aquifer storage verify` finds nothing wrong.
//!
//! | module | owns |
//! |---|---|
//! | `keyed`   | the compacted topic: the newest value of every key |
//! | `replays` | readers that begin again and again at the log start |
//! | `samples` | memory and objects over time |
//!
//! Prints a line per half minute and a table; exits 1 with what failed, and keeps the data then.
//!
//! `cargo run --release -p aquifer-tests --bin soak -- --minutes 5 --storage minio`

// Real processes, real time.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::client::{create_configured_topic, create_topic};
use benches::peers::{Broker, Storage, aquifer, minio};
use benches::process;
use clap::{Parser, ValueEnum};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};
use tests::load;
use tests::load::clients::{Job, Work};

use crate::keyed::Keyed;
use crate::replays::Replays;
use crate::samples::Samples;

mod keyed;
mod replays;
mod samples;

/// Runs a broker with everything on for some minutes and checks that nothing is lost, grows or is damaged.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long, before the closing checks.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Where the log lies.
    #[arg(long, value_enum, default_value = "directory")]
    storage: Where,
    /// memory.budget.bytes of the broker, in MiB.
    #[arg(long, default_value_t = 256)]
    budget_mib: u64,
    /// Records of 1,000 bytes a second to each of the three plain topics.
    #[arg(long, default_value_t = 1500)]
    rate: u64,
    /// Longest time between two kills, in seconds; the shortest is a third of it. 0 kills nobody.
    #[arg(long, default_value_t = 60)]
    kill_seconds: u64,
    /// Seed of the times of kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A property for the broker, KEY=VALUE.
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Keep the data also when all is well.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Where {
    Directory,
    Minio,
}

/// Minutes see what takes days with the defaults.
const SHORT_DIALS: &[&str] = &[
    "wal.upload.bytes=4194304",
    "wal.upload.interval.ms=2000",
    "merge.fan.in=4",
    "object.delete.delay.ms=5000",
    "log.retention.check.interval.ms=1000",
    "log.cleaner.backoff.ms=1000",
];
/// A topic of records without keys, of which some may go.
struct Plain {
    name: &'static str,
    configs: &'static [(&'static str, &'static str)],
    /// Records that may be left at the end, with so many written a second. Retention's unit is a range of an object, which merging
    /// makes as large as what may be kept: so there may be twice that, and what came since the last look.
    left_most: fn(u64) -> u64,
}

/// The plain topics.
const PLAIN: [Plain; 3] = [
    Plain {
        name: "soak-size",
        configs: &[("retention.bytes", "16777216"), ("retention.ms", "-1")],
        left_most: |rate| 2 * PARTITIONS as u64 * (16 << 20) / VALUE_BYTES as u64 + LATE_SECONDS * rate,
    },
    Plain {
        name: "soak-time",
        configs: &[("retention.ms", "30000")],
        left_most: |rate| (2 * 30 + LATE_SECONDS) * rate,
    },
    Plain {
        name: DELETED,
        configs: &[("retention.ms", "-1")],
        left_most: |rate| PARTITIONS as u64 * KEPT_BELOW_END as u64 + LATE_SECONDS * rate,
    },
];
/// What was written for so long may be left whatever is to go: uploads, rounds and deletions are seconds apart, and a kill
/// makes them late.
const LATE_SECONDS: u64 = 30;
/// The one whose records are deleted by request, up to so many below its end.
const DELETED: &str = "soak-deleted";
const KEPT_BELOW_END: i64 = 10_000;
const PARTITIONS: i32 = 4;
const VALUE_BYTES: usize = 1000;
/// How often records and topics are deleted.
const DELETE_EVERY: Duration = Duration::from_secs(7);
/// How often a line is printed.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// How long a client may stand still.
const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Vec<String>> {
    let mut dir = tempfile::Builder::new().prefix("aquifer-soak-").tempdir()?;
    dir.disable_cleanup(true);
    let mut scene = Scene::start(arguments, dir.path())?;
    let complaints = scene.play(arguments);
    drop(scene);
    if complaints.as_ref().is_ok_and(Vec::is_empty) && !arguments.keep {
        dir.disable_cleanup(false);
    } else {
        println!("data and logs are kept in {}", dir.path().display());
    }
    complaints
}

/// Broker and store. Fields are dropped in order: the broker first.
struct Scene {
    broker: Broker,
    storage: Storage,
    _minio: Option<minio::Minio>,
}

impl Scene {
    fn start(arguments: &Arguments, dir: &Path) -> Result<Scene> {
        let (storage, minio) = match arguments.storage {
            Where::Directory => {
                let root = dir.join("log");
                std::fs::create_dir_all(&root)?;
                (Storage { url: format!("file://{}", root.display()), environment: vec![] }, None)
            }
            Where::Minio => {
                let minio = minio::Minio::start(dir, &["soak"])?;
                (minio.storage("soak", "aquifer"), Some(minio))
            }
        };
        let mut settings: Vec<String> = SHORT_DIALS.iter().map(|dial| (*dial).to_owned()).collect();
        settings.push(format!("memory.budget.bytes={}", arguments.budget_mib << 20));
        settings.extend(arguments.settings.iter().cloned());
        let launch = aquifer::launch(&storage.url, &storage.environment, dir, &settings)?;
        let (broker, took) = Broker::start(launch)?;
        println!("broker on {} in {took:.0?}, log {}", broker.addr(), storage.url);
        Ok(Scene { broker, storage, _minio: minio })
    }

    /// The whole run; returns what is wrong.
    fn play(&mut self, arguments: &Arguments) -> Result<Vec<String>> {
        let addr = self.broker.addr();
        let bootstrap = addr.to_string();
        let mut works = Vec::new();
        for Plain { name, configs, .. } in PLAIN {
            create_configured_topic(&bootstrap, name, PARTITIONS, configs)?;
            let job = Job {
                addr,
                topic: name.to_owned(),
                partitions: PARTITIONS,
                rate: arguments.rate,
                value_bytes: VALUE_BYTES,
                trimmed: true,
            };
            works.push((Work::start(&job)?, job));
        }
        let keyed = Keyed::start(addr)?;
        let replays = Replays::start(works.iter().map(|(_, job)| job.clone()).collect());
        let mut samples = Samples::new(arguments.budget_mib << 20);
        self.live(arguments, &works, &keyed, &replays, &mut samples)?;

        println!("closing: everything is to be acknowledged, read and verified");
        let replayed = replays.finish()?;
        let mut complaints = Vec::new();
        println!("{:<14}{:>13}{:>12}  ", "topic", "acknowledged", "in the log");
        for ((work, job), Plain { left_most, .. }) in works.into_iter().zip(PLAIN) {
            let verdict = load::finish(work, &job, PATIENCE).with_context(|| job.topic.clone())?;
            let mut found = verdict.complaints();
            found.extend(too_many(verdict.kept() as u64, left_most(arguments.rate)));
            let words = if found.is_empty() { "ok".to_owned() } else { found.join(", ") };
            println!("{:<14}{:>13}{:>12}  {words}", job.topic, verdict.acknowledged(), verdict.kept());
            complaints.extend(found.into_iter().map(|what| format!("{}: {what}", job.topic)));
        }
        let (acknowledged, kept, mut found) = keyed.finish(PATIENCE)?;
        found.extend(too_many(kept, keyed::left_most()));
        let words = if found.is_empty() { "ok".to_owned() } else { found.join(", ") };
        println!("{:<14}{acknowledged:>13}{kept:>12}  {words}", keyed::TOPIC);
        complaints.extend(found.into_iter().map(|what| format!("{}: {what}", keyed::TOPIC)));
        println!("{} replays read {} records from log starts to ends", replayed.rounds, replayed.records);
        if replayed.rounds == 0 {
            complaints.push("no replay came to an end".into());
        }

        samples.take_memory(self.pid()?)?;
        samples.take_objects(aquifer::objects(&self.storage)?);
        println!("{}", samples.table());
        complaints.extend(samples.complaints());
        if !self.broker.stop(PATIENCE)? {
            complaints.push("SIGTERM was not enough".into());
        }
        match aquifer::verify(&self.storage) {
            Ok(said) => println!("{said}"),
            Err(error) => complaints.push(format!("{error:#}")),
        }
        for complaint in &complaints {
            println!("FAILED: {complaint}");
        }
        println!("{}", if complaints.is_empty() { "all is well" } else { "not all is well" });
        Ok(complaints)
    }

    /// Lets everything run, kills, deletes and samples.
    fn live(
        &mut self,
        arguments: &Arguments,
        works: &[(Work, Job)],
        keyed: &Keyed,
        replays: &Replays,
        samples: &mut Samples,
    ) -> Result<()> {
        let mut rng = StdRng::seed_from_u64(arguments.seed);
        let mut until_next_kill = || match arguments.kill_seconds * 1000 {
            0 => Duration::MAX,
            longest => Duration::from_millis(rng.random_range(longest / 3..=longest)),
        };
        let begun = Instant::now();
        let end = Duration::from_secs(arguments.minutes * 60);
        let mut kill_at = until_next_kill();
        let (mut tell_at, mut delete_at) = (TELL_EVERY, DELETE_EVERY);
        let (mut kills, mut deletions) = (0, 0);
        while begun.elapsed() < end {
            std::thread::sleep(TICK);
            self.broker.check().context("the broker died by itself")?;
            works.iter().try_for_each(|(work, _)| work.check())?;
            keyed.check()?;
            replays.check()?;
            samples.take_memory(self.pid()?)?;
            if samples.wants_objects() {
                samples.take_objects(aquifer::objects(&self.storage)?);
            }
            if begun.elapsed() >= delete_at {
                delete_at = begun.elapsed() + DELETE_EVERY;
                delete(&works[2].1, deletions)?;
                deletions += 1;
            }
            if begun.elapsed() >= kill_at {
                self.broker.kill()?;
                self.broker.start_again()?;
                kills += 1;
                kill_at = begun.elapsed().saturating_add(until_next_kill());
            }
            if begun.elapsed() >= tell_at {
                tell_at += TELL_EVERY;
                let seen: usize = works.iter().map(|(work, _)| work.seen()).sum();
                println!(
                    "{:>4} s: {seen} records seen, {kills} kills, {deletions} deletions, {}",
                    begun.elapsed().as_secs(),
                    samples.line()
                );
            }
        }
        Ok(())
    }

    fn pid(&self) -> Result<u32> {
        self.broker.pid().context("the broker is not running")
    }
}

/// What was to go and is there.
fn too_many(left: u64, most: u64) -> Option<String> {
    (left > most).then(|| format!("{left} records are left, {most} at most should be"))
}

/// Deletes records of [`DELETED`] up to some below its end, and a topic that was made for it the time before.
fn delete(job: &Job, round: u32) -> Result<()> {
    let bootstrap = job.addr.to_string();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &bootstrap).create()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let consumer = load::clients::consumer(job, "earliest")?;
    let mut offsets = TopicPartitionList::new();
    for partition in 0..job.partitions {
        let (low, high) = consumer.fetch_watermarks(DELETED, partition, PATIENCE)?;
        let up_to = Offset::Offset((high - KEPT_BELOW_END).max(low));
        offsets.add_partition_offset(DELETED, partition, up_to)?;
    }
    let deleted = runtime.block_on(admin.delete_records(&offsets, &options)).context("delete records")?;
    for element in deleted.elements() {
        element.error().with_context(|| format!("delete records of partition {}", element.partition()))?;
    }

    let name = |round: u32| format!("soak-gone-{round}");
    create_topic(&bootstrap, &name(round), PARTITIONS)?;
    let payloads = benches::client::Payloads::new(u64::from(round));
    let load = benches::client::Load {
        topic: &name(round),
        partitions: PARTITIONS,
        records: 2000,
        per_second: None,
        settings: &[],
    };
    benches::client::produce(&bootstrap, &payloads, &load, |_| ())?;
    if let Some(before) = round.checked_sub(1) {
        for outcome in runtime.block_on(admin.delete_topics(&[&name(before)], &options))? {
            outcome.map_err(|(topic, code)| anyhow::anyhow!("delete {topic}: {code}"))?;
        }
    }
    Ok(())
}

/// What a broker may hold: its budget and this.
const ABOVE_BUDGET: u64 = 64 << 20;

/// Peak resident memory of a process so far.
fn peak(pid: u32) -> Result<u64> {
    Ok(process::resident(pid)?.peak)
}
