//! The store is gone for a while under an idempotent producer: stopped (SIGSTOP: connections stay, nothing is answered),
//! then killed and started again. A transient fault of the store never kills a broker and never loses data (DESIGN I10).
//!
//! One librdkafka producer writes 20,000 numbered records a second and a consumer tails them. From the beginning of an outage
//! on, raw connections push batches beside them until the broker holds as much as it may (`pressure`): then whoever comes
//! anew must be refused with a retriable error, within its request's time. After the outage everything that was sent must be
//! acknowledged, in the log once and in order, and at the tail; resident memory must have stayed within budget + 64 MiB.
//!
//! Prints a line per five seconds and per outage, and a table; exits 1 with what failed, and keeps the data then.
//!
//! `cargo run --release -p aquifer-tests --bin outage -- --seconds 60`

// Real processes, real time.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::client::create_topic;
use benches::peers::{Broker, aquifer, minio};
use benches::process::{self, poll_until};
use clap::{Parser, ValueEnum};
use tests::load;
use tests::load::clients::{Job, Work};

use crate::pressure::{Pressure, Told};

mod pressure;

/// Takes the store away from a broker under load and checks that nothing is lost, doubled or out of bounds.
#[derive(Debug, Parser)]
struct Arguments {
    /// How the store goes; one after the other when none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    forms: Vec<Form>,
    /// How long it stays away, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Records a second.
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Partitions written to.
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    /// memory.budget.bytes of the broker, in MiB.
    #[arg(long, default_value_t = 256)]
    budget_mib: u64,
    /// Seconds of calm before, between and after.
    #[arg(long, default_value_t = 10)]
    calm_seconds: u64,
    /// A property for the broker, KEY=VALUE.
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Keep the data also when all is well.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Form {
    /// SIGSTOP, then SIGCONT.
    Stopped,
    /// SIGKILL, then a new process on the same data.
    Killed,
}

/// What a broker may hold above its budget.
const ABOVE_BUDGET: u64 = 64 << 20;
/// How long until a client moves again, or has ended, once the store is back.
const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(50);
const TELL_EVERY: Duration = Duration::from_secs(5);
const BUCKET: &str = "outage";
/// Bytes of a record's value.
const VALUE_BYTES: usize = 200;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("outage: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let mut dir = tempfile::Builder::new().prefix("aquifer-outage-").tempdir()?;
    dir.disable_cleanup(true);
    let complaints = play(arguments, dir.path());
    if let Ok(complaints) = &complaints {
        for complaint in complaints {
            println!("FAILED: {complaint}");
        }
        println!("{}", if complaints.is_empty() { "all is well" } else { "not all is well" });
    }
    let passed = complaints.as_ref().is_ok_and(Vec::is_empty);
    if passed && !arguments.keep {
        dir.disable_cleanup(false);
    } else {
        println!("data and logs are kept in {}", dir.path().display());
    }
    complaints.map(|_| passed)
}

/// Broker, store and the work. Fields are dropped in order: the broker first.
struct Scene {
    broker: Broker,
    minio: minio::Minio,
    job: Job,
    work: Work,
    /// The most that was resident so far, in bytes.
    peak: u64,
    /// Beside the run's begin: for the lines.
    begun: Instant,
}

/// What one outage did.
struct Outage {
    form: Form,
    away: Duration,
    /// Records handed to the client's queue while the store was away.
    sent: u64,
    /// Records acknowledged meanwhile, those in flight at its beginning and end among them.
    acknowledged: u64,
    told: Told,
    /// From the return of the store to the next acknowledgement, and until nothing that was sent before is open.
    first: Duration,
    caught_up: Duration,
    peak: u64,
}

fn play(arguments: &Arguments, dir: &Path) -> Result<Vec<String>> {
    let minio = minio::Minio::start(dir, &[BUCKET])?;
    let storage = minio.storage(BUCKET, "aquifer");
    let mut settings = vec![format!("memory.budget.bytes={}", arguments.budget_mib << 20)];
    settings.extend(arguments.settings.iter().cloned());
    let launch = aquifer::launch(&storage.url, &storage.environment, dir, &settings)?;
    let (broker, _) = Broker::start(launch)?;
    let job = Job {
        addr: broker.addr(),
        topic: "outage".into(),
        partitions: arguments.partitions,
        rate: arguments.rate,
        value_bytes: VALUE_BYTES,
        trimmed: false,
    };
    create_topic(&job.addr.to_string(), &job.topic, job.partitions)?;
    create_topic(&job.addr.to_string(), pressure::TOPIC, 1)?;
    let work = Work::start(&job)?;
    let mut scene = Scene { broker, minio, job, work, peak: 0, begun: Instant::now() };
    poll_until("the clients to run", PATIENCE, TICK, || Ok((scene.work.seen() > 0).then_some(())))?;

    let calm = Duration::from_secs(arguments.calm_seconds);
    scene.watch(calm, "calm")?;
    let forms = if arguments.forms.is_empty() { Form::value_variants() } else { &arguments.forms };
    let mut outages = Vec::new();
    for form in forms {
        outages.push(scene.outage(*form, Duration::from_secs(arguments.seconds))?);
        scene.watch(calm, "calm")?;
    }
    let Scene { mut broker, minio, job, work, peak, .. } = scene;
    let verdict = load::finish(work, &job, PATIENCE)?;
    let peak = peak.max(resident(&broker)?);

    println!("\n{}", verdict.table());
    let mut complaints: Vec<String> = verdict.complaints();
    println!("{}", Outage::header());
    for outage in &outages {
        println!("{}", outage.line());
        complaints.extend(outage.complaints());
    }
    println!("peak RSS {} MiB, budget {} MiB", peak >> 20, arguments.budget_mib);
    if peak > (arguments.budget_mib << 20) + ABOVE_BUDGET {
        complaints.push(format!("{} MiB resident, budget {} MiB", peak >> 20, arguments.budget_mib));
    }
    if !broker.stop(PATIENCE)? {
        complaints.push("SIGTERM was not enough".into());
    }
    match aquifer::verify(&storage) {
        Ok(said) => println!("{said}"),
        Err(error) => complaints.push(format!("{error:#}")),
    }
    drop(minio);
    Ok(complaints)
}

impl Scene {
    /// Lets time pass; fails if broker or a client cannot go on.
    fn watch(&mut self, time: Duration, what: &str) -> Result<()> {
        let begun = Instant::now();
        let mut tell_at = TELL_EVERY;
        let mut before = (self.work.sent(), self.acknowledged());
        while begun.elapsed() < time {
            std::thread::sleep(TICK);
            self.broker.check().context("the broker died")?;
            self.work.check()?;
            self.peak = self.peak.max(resident(&self.broker)?);
            if begun.elapsed() >= tell_at {
                tell_at += TELL_EVERY;
                let now = (self.work.sent(), self.acknowledged());
                let rate = |now: u64, before: u64| (now - before) / TELL_EVERY.as_secs();
                println!(
                    "{:>4} s  {what:<8} sent {:>6}/s, acknowledged {:>6}/s, open {:>8}, peak RSS {} MiB",
                    self.begun.elapsed().as_secs(),
                    rate(now.0, before.0),
                    rate(now.1, before.1),
                    now.0 - now.1,
                    self.peak >> 20
                );
                before = now;
            }
        }
        Ok(())
    }

    fn outage(&mut self, form: Form, time: Duration) -> Result<Outage> {
        let (sent, acknowledged) = (self.work.sent(), self.acknowledged());
        match form {
            Form::Stopped => self.minio.pause()?,
            Form::Killed => self.minio.kill()?,
        }
        println!("{:>4} s  the store is {form:?}", self.begun.elapsed().as_secs());
        let began = Instant::now();
        let pressure = Pressure::start(self.job.addr);
        self.watch(time, "outage")?;
        pressure.end();
        match form {
            Form::Stopped => self.minio.resume()?,
            Form::Killed => self.minio.start_again()?,
        }
        let (away, back) = (began.elapsed(), Instant::now());
        let (open, acknowledged_then) = (self.work.sent(), self.acknowledged());
        let peak = self.peak;
        println!("{:>4} s  the store is back", self.begun.elapsed().as_secs());
        let moved = |more_than: u64| {
            poll_until("acknowledgements after the outage", PATIENCE, TICK, || {
                self.work.check()?;
                Ok((self.acknowledged() > more_than).then(|| back.elapsed()))
            })
        };
        let first = moved(acknowledged_then)?;
        let caught_up = moved(open.saturating_sub(1).max(acknowledged_then))?;
        // All that was pushed gets its answer now, or was refused before.
        let told = pressure.finish(PATIENCE)?;
        Ok(Outage {
            form,
            away,
            sent: open - sent,
            acknowledged: acknowledged_then - acknowledged,
            told,
            first,
            caught_up,
            peak,
        })
    }

    fn acknowledged(&self) -> u64 {
        self.work.acknowledged.load(Ordering::Relaxed)
    }
}

impl Outage {
    fn header() -> String {
        format!(
            "{:<9}{:>6}{:>10}{:>14}{:>9}{:>9}{:>8}{:>9}{:>12}{:>11}{:>9}",
            "store",
            "away",
            "sent",
            "acknowledged",
            "pushed",
            "refused",
            "codes",
            "slowest",
            "first ack",
            "caught up",
            "RSS MiB"
        )
    }

    fn line(&self) -> String {
        let codes: Vec<String> = self.told.codes.iter().map(i16::to_string).collect();
        format!(
            "{:<9}{:>4.0} s{:>10}{:>14}{:>9}{:>9}{:>8}{:>7.1} s{:>10.1} s{:>9.1} s{:>9}",
            format!("{:?}", self.form),
            self.away.as_secs_f64(),
            self.sent,
            self.acknowledged,
            self.told.pushed,
            self.told.refused,
            codes.join(","),
            self.told.slowest.as_secs_f64(),
            self.first.as_secs_f64(),
            self.caught_up.as_secs_f64(),
            self.peak >> 20
        )
    }

    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.told.refused == 0 {
            complaints.push(format!("{:?}: nobody was refused, the broker took all that came", self.form));
        }
        complaints.extend(self.told.wrong().map(|what| format!("{:?}: {what}", self.form)));
        complaints
    }
}

fn resident(broker: &Broker) -> Result<u64> {
    let pid = broker.pid().context("the broker is not running")?;
    let resident = process::resident(pid)?;
    ensure!(resident.now > 0, "the broker is gone");
    Ok(resident.peak)
}
