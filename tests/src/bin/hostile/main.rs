//! Hostile bytes against a running broker, without log-in, and what everybody else notices of them (DESIGN I11).
//!
//! One phase after another attacks; throughout, [`victim`] is a well-behaved librdkafka client that produces, asks
//! for metadata and opens fresh connections, and keeps how long each took. A phase passes when the process lives,
//! every call of the victim was answered within a second, the resident memory stayed within budget + 64 MiB, and
//! what the phase itself demands held (a batch that lies is refused).
//!
//! | module | attack |
//! |---|---|
//! | `lies`        | lying lengths and counts on every API and version, lying frame lengths, noise |
//! | `batches`     | record batches that lie, decompression bombs |
//! | `connections` | announced frames that never come, idle connections, answers nobody reads |
//!
//! Without `--bootstrap` it starts the broker of this build itself. Prints a table; exits 1 on a failure.
//!
//! `cargo run --release -p aquifer-tests --bin hostile`

// Real processes, real time.
#![allow(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::peers::{Broker, aquifer};
use benches::{client, probe, process};
use clap::Parser;

use crate::victim::{Memory, Victim};

mod batches;
mod connections;
mod frames;
mod lies;
mod victim;

/// What a broker may hold above its budget.
const ABOVE_BUDGET: u64 = 64 << 20;
/// How long anybody else may wait for an answer.
const ANSWER: Duration = Duration::from_secs(1);

/// Attacks a broker and measures what others notice.
#[derive(Debug, Parser)]
struct Arguments {
    /// Attack this running broker (ip:port); without it, the broker of this build is started.
    #[arg(long, requires = "pid")]
    bootstrap: Option<SocketAddr>,
    /// Process id of that broker.
    #[arg(long, requires = "bootstrap")]
    pid: Option<u32>,
    /// Its memory budget in bytes; a broker we start is given it as memory.budget.bytes.
    #[arg(long, default_value_t = 256 << 20)]
    budget_bytes: u64,
    /// Seed of noise and token soup.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Phases whose name contains one of these; all when none is named.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds that connections are held.
    #[arg(long, default_value_t = 10)]
    hold_seconds: u64,
    /// A property for the broker we start, KEY=VALUE.
    #[arg(long = "set")]
    settings: Vec<String>,
}

/// What a phase is given.
pub struct Target {
    /// The broker.
    pub addr: SocketAddr,
    /// Seed of everything random.
    pub seed: u64,
    /// How long connections are held.
    pub hold: Duration,
}

/// What a phase did and how the broker took it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Frames sent, or connections opened where a phase sends none.
    pub sent: u64,
    /// Answered with something.
    pub answered: u64,
    /// Connection closed.
    pub closed: u64,
    /// Neither within the phase's patience.
    pub held: u64,
    /// Connections that could not be made.
    pub refused: u64,
    /// What the phase demands and did not get.
    pub complaints: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.closed += other.closed;
        self.held += other.held;
        self.refused += other.refused;
        self.complaints.extend(other.complaints);
    }
}

type Phase = (&'static str, fn(&Target) -> Result<Tally>);

const PHASES: &[Phase] = &[
    ("no attack", connections::nothing),
    ("lying counts, every API", lies::counts_and_lengths),
    ("token soup, every API", lies::token_soup),
    ("lying frame lengths", lies::frame_lengths),
    ("noise", lies::noise),
    ("lying batches", batches::lying),
    ("decompression bombs", batches::bombs),
    ("400 announce 50 MB", connections::announced),
    ("600 idle", connections::idle),
    ("answers nobody reads", connections::unread),
    ("afterwards", connections::nothing),
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hostile: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let dir = tempfile::Builder::new().prefix("aquifer-hostile-").tempdir()?;
    let mut ours = None;
    let (addr, pid) = match (arguments.bootstrap, arguments.pid) {
        (Some(addr), Some(pid)) => (addr, pid),
        _ => {
            let broker = start(arguments, dir.path())?;
            let at = (broker.addr(), broker.pid().context("the broker is not running")?);
            ours = Some(broker);
            at
        }
    };
    let limit = arguments.budget_bytes + ABOVE_BUDGET;
    let target = Target { addr, seed: arguments.seed, hold: Duration::from_secs(arguments.hold_seconds) };
    let victim = Victim::start(addr)?;
    let memory = Memory::start(pid);
    println!("broker {addr}, process {pid}, limit {} MiB resident; slowest answers in ms", limit >> 20);
    println!(
        "{:<26}{:>8}{:>9}{:>8}{:>6}{:>8}{:>9}{:>9}{:>7}{:>9}  verdict",
        "attack", "sent", "answered", "closed", "held", "seconds", "produce", "metadata", "fresh", "RSS MiB"
    );
    let (mut passed, mut failed) = (0, 0);
    for (name, phase) in PHASES {
        if !wanted(arguments, name) {
            continue;
        }
        victim.begin_phase();
        memory.begin_phase();
        let began = Instant::now();
        let tally = phase(&target);
        let took = began.elapsed();
        let noticed = victim.end_phase();
        let resident = memory.peak();

        let mut complaints = Vec::new();
        let tally = tally.unwrap_or_else(|error| {
            complaints.push(format!("{error:#}"));
            Tally::default()
        });
        complaints.extend(tally.complaints.clone());
        complaints.extend(noticed.complaints(ANSWER));
        if resident > limit {
            complaints.push(format!("{} MiB resident", resident >> 20));
        }
        let alive = process::resident(pid).is_ok() && probe::brokers(addr).is_ok();
        if !alive {
            complaints.push("the broker is gone or silent".into());
        }
        println!(
            "{name:<26}{:>8}{:>9}{:>8}{:>6}{:>8.1}{:>9}{:>9}{:>7}{:>9}  {}",
            tally.sent,
            tally.answered,
            tally.closed,
            tally.held,
            took.as_secs_f64(),
            noticed.produce.as_millis(),
            noticed.metadata.as_millis(),
            noticed.fresh.as_millis(),
            resident >> 20,
            if complaints.is_empty() { "ok".into() } else { format!("FAILED: {}", complaints.join("; ")) }
        );
        if complaints.is_empty() {
            passed += 1
        } else {
            failed += 1
        }
        if process::resident(pid).is_err() {
            if let Some(broker) = &mut ours {
                broker.check()?;
            }
            bail!("the broker died in «{name}»");
        }
    }
    drop(victim);
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn wanted(arguments: &Arguments, name: &str) -> bool {
    arguments.only.is_empty() || arguments.only.iter().any(|part| name.contains(part.as_str()))
}

fn start(arguments: &Arguments, dir: &Path) -> Result<Broker> {
    let root = dir.join("log");
    std::fs::create_dir_all(&root)?;
    let mut settings = vec![format!("memory.budget.bytes={}", arguments.budget_bytes)];
    settings.extend(arguments.settings.iter().cloned());
    let launch = aquifer::launch(&format!("file://{}", root.display()), &[], dir, &settings)?;
    let (broker, _) = Broker::start(launch)?;
    Ok(broker)
}

/// A topic for an attack; made through the front door.
pub fn topic(target: &Target, name: &str, configs: &[(&str, &str)]) -> Result<String> {
    let name = format!("hostile-{name}-{}", std::process::id());
    client::create_configured_topic(&target.addr.to_string(), &name, 1, configs)?;
    Ok(name)
}
