//! kill -9 in a loop under a running idempotent producer and a tailing consumer.
//!
//! Starts the store (a directory, or MinIO behind [`tests::fault_proxy`]) and the broker; a librdkafka producer
//! writes numbered records to several partitions, a consumer tails them all; every 1–4 s, seeded, the broker gets
//! SIGKILL and is started again at once. At the end a fresh consumer reads everything from offset 0 and
//! [`tests::load::history::check`] compares the three views: what was acknowledged, what the tail saw, what the log holds.
//!
//! Prints a line per kill and a closing table; exits 1 when anything was lost, doubled, reordered, skipped or moved.
//! What failed keeps its data for `aquifer storage`.
//!
//! `cargo run --release -p aquifer-tests --bin kill_loop -- --storage minio --kills 20 --seed 1`

// Real processes, real time.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::peers::{Broker, aquifer, minio};
use clap::{Parser, ValueEnum};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tests::fault_proxy::{Counts, FaultPlan, FaultProxy};
use tests::load::clients::{Job, Work};

/// Kills a broker again and again under load and checks that nothing acknowledged is lost, doubled or reordered.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the log lies.
    #[arg(long, value_enum, default_value = "minio")]
    storage: Storage,
    /// How often to kill.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Seed of kill times and of the store's faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Partitions written to.
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    /// Records per second, all partitions together.
    #[arg(long, default_value_t = 2000)]
    rate: u64,
    /// Shortest time between kills, ms.
    #[arg(long, default_value_t = 1000)]
    min_ms: u64,
    /// Longest time between kills, ms.
    #[arg(long, default_value_t = 4000)]
    max_ms: u64,
    /// Median delay of the store's answers (MinIO only), ms; 0 for none.
    #[arg(long, default_value_t = 20)]
    delay_median_ms: u64,
    /// 99th percentile of that delay, ms.
    #[arg(long, default_value_t = 400)]
    delay_p99_ms: u64,
    /// Share of the store's answers that are cut after the request took effect (MinIO only).
    #[arg(long, default_value_t = 0.01)]
    cut: f64,
    /// A property for the broker, KEY=VALUE.
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Keep the data also when all is well.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Storage {
    Directory,
    Minio,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kill loop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.min_ms > arguments.max_ms {
        bail!("--min-ms is above --max-ms");
    }
    let mut dir = tempfile::Builder::new().prefix("aquifer-kill-loop-").tempdir()?;
    dir.disable_cleanup(true);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = runtime.enter();
    let mut scene = Scene::start(arguments, dir.path(), &runtime)?;
    let passed = scene.play(arguments)?;
    drop(scene);
    if passed && !arguments.keep {
        dir.disable_cleanup(false);
    } else {
        println!("data and logs are kept in {}", dir.path().display());
    }
    Ok(passed)
}

/// Broker, store and what stands between them. Fields are dropped in order: the broker first.
struct Scene {
    broker: Broker,
    proxy: Option<FaultProxy>,
    _minio: Option<minio::Minio>,
}

impl Scene {
    fn start(arguments: &Arguments, dir: &Path, runtime: &tokio::runtime::Runtime) -> Result<Scene> {
        let (storage, environment, minio, proxy) = match arguments.storage {
            Storage::Directory => {
                let root = dir.join("log");
                std::fs::create_dir_all(&root)?;
                (format!("file://{}", root.display()), vec![], None, None)
            }
            Storage::Minio => {
                let minio = minio::Minio::start(dir, &["kills"])?;
                let proxy = runtime.block_on(FaultProxy::start(minio.addr, plan(arguments)))?;
                let url = minio::storage_url(proxy.addr(), "kills", "aquifer");
                (url, minio::credentials().to_vec(), Some(minio), Some(proxy))
            }
        };
        let launch = aquifer::launch(&storage, &environment, dir, &arguments.settings)?;
        let (broker, took) = Broker::start(launch)?;
        println!("{:?}: broker on {} in {took:.0?}, log {storage}", arguments.storage, broker.addr());
        Ok(Scene { broker, proxy, _minio: minio })
    }

    /// The whole run; returns whether the history is clean.
    fn play(&mut self, arguments: &Arguments) -> Result<bool> {
        let job = Job {
            addr: self.broker.addr(),
            topic: "kill-loop".into(),
            partitions: arguments.partitions,
            rate: arguments.rate,
            value_bytes: 200,
            trimmed: false,
        };
        benches::client::create_topic(&job.addr.to_string(), &job.topic, job.partitions)?;
        let work = Work::start(&job)?;
        // Killing begins when both clients are at work.
        benches::process::poll_until("the clients to run", PATIENCE, TICK, || {
            Ok((work.seen() > 0).then_some(()))
        })?;
        self.kills(arguments, &work)?;

        println!("stopping: {} records sent, waiting for the last acknowledgements", work.stop_sending());
        let verdict = tests::load::finish(work, &job, PATIENCE)?;
        println!("\n{}", verdict.table());
        if let Some(proxy) = &self.proxy {
            println!("{}", proxy_line(&proxy.counts()));
        }
        println!("{} passed, {} failed", verdict.passed(), verdict.failed());
        Ok(verdict.failed() == 0)
    }

    fn kills(&mut self, arguments: &Arguments, work: &Work) -> Result<()> {
        let mut rng = StdRng::seed_from_u64(arguments.seed);
        println!("kill  after    back in  outage   acknowledged  seen by the tail");
        for kill in 1..=arguments.kills {
            let alive = Duration::from_millis(rng.random_range(arguments.min_ms..=arguments.max_ms));
            let deadline = Instant::now() + alive;
            while Instant::now() < deadline {
                std::thread::sleep(TICK.min(deadline.saturating_duration_since(Instant::now())));
                self.broker.check().context("the broker died by itself")?;
                work.check()?;
            }
            let acked_before = work.acknowledged.load(Ordering::Relaxed);
            let killed = Instant::now();
            self.broker.kill()?;
            let (_, back) = self.broker.start_again()?;
            // The outage ends when a record sent to the new process is acknowledged.
            let outage =
                benches::process::poll_until("an acknowledgement after the kill", PATIENCE, TICK, || {
                    work.check()?;
                    let acked = work.acknowledged.load(Ordering::Relaxed);
                    Ok((acked > acked_before).then(|| killed.elapsed()))
                })?;
            println!(
                "{kill:>4}  {:>5.2} s  {:>6} ms  {:>5.2} s  {:>12}  {:>16}",
                alive.as_secs_f64(),
                back.as_millis(),
                outage.as_secs_f64(),
                work.acknowledged.load(Ordering::Relaxed),
                work.seen(),
            );
        }
        Ok(())
    }
}

/// How long a client may stand still.
const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(20);

fn plan(arguments: &Arguments) -> FaultPlan {
    FaultPlan {
        delay_median: Duration::from_millis(arguments.delay_median_ms),
        delay_p99: Duration::from_millis(arguments.delay_p99_ms),
        cut: arguments.cut,
        seed: arguments.seed,
    }
}

fn proxy_line(counts: &Counts) -> String {
    let answered: u64 = counts.answered.values().sum();
    let cut: u64 = counts.cut.values().sum();
    let mean = counts.delayed.as_secs_f64() * 1e3 / answered.max(1) as f64;
    let methods: Vec<String> = counts
        .answered
        .iter()
        .map(|(method, n)| format!("{method} {n} ({} cut)", counts.cut.get(method).unwrap_or(&0)))
        .collect();
    format!(
        "store: {answered} answers, {cut} cut, mean delay {mean:.0} ms, longest {:.1?}: {}",
        counts.delay_max,
        methods.join(", ")
    )
}
