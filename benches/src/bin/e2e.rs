//! `cargo bench-e2e -- [PEER]...`: whole brokers beside each other, one run, one table.
//!
//! Each peer is started, measured, ended and its data removed before the next one starts, so that they never share
//! the machine. A measurement that fails leaves a gap in the table, is named, and makes the exit code 1; the others
//! still run.

#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use benches::client::Payloads;
use benches::measure::{self, Plan, Run};
use benches::peers::{Peer, PeerKind};
use benches::report::{Figure, Report};
use clap::{Parser, ValueEnum};

/// Measures Aquifer beside its peers with one lean librdkafka client.
#[derive(Debug, Parser)]
struct Arguments {
    /// Peers, in this order; all of them when none is named.
    #[arg(value_enum)]
    peers: Vec<PeerKind>,
    /// Measure this running broker (host:port) and start none.
    #[arg(long, requires = "pid", conflicts_with = "peers")]
    bootstrap: Option<String>,
    /// Process id of that broker.
    #[arg(long, requires = "bootstrap")]
    pid: Option<u32>,
    /// Name of that broker in the table.
    #[arg(long, default_value = "given")]
    name: String,
    /// Measurements to make; all when none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measurement>,
    /// Much less work: a look, not figures to publish.
    #[arg(long)]
    quick: bool,
    /// MiB to produce and replay under measurement.
    #[arg(long)]
    size_mib: Option<u64>,
    /// MiB of warm-up before it.
    #[arg(long)]
    warm_up_mib: Option<u64>,
    /// A property for Aquifer, KEY=VALUE.
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Where the peers keep their data; a temporary directory by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here as JSON too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seed of the random records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Measurement {
    Start,
    Produce,
    Replay,
    SmallBatches,
    Latency,
    Puts,
    Restart,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let payloads = Payloads::new(arguments.seed);
    let plan = plan(arguments);
    let mut report = Report::default();
    let mut failures = Vec::new();

    if let (Some(bootstrap), Some(pid)) = (&arguments.bootstrap, arguments.pid) {
        let mut peer = Peer::given(&arguments.name, bootstrap, pid);
        measure_peer(&mut peer, arguments, &plan, &payloads, &mut report, &mut failures);
    } else {
        let peers = if arguments.peers.is_empty() { PeerKind::value_variants() } else { &arguments.peers };
        for kind in peers {
            let base = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
            std::fs::create_dir_all(&base)?;
            let dir = tempfile::Builder::new().prefix("aquifer-bench-").tempdir_in(base)?;
            eprintln!("[{}] starting", kind.name());
            match Peer::start(*kind, dir.path(), &arguments.settings) {
                Ok(mut peer) => {
                    measure_peer(&mut peer, arguments, &plan, &payloads, &mut report, &mut failures)
                }
                Err(error) => fail(&mut failures, kind.name(), "start", &error),
            }
        }
    }

    println!("{}", report.table());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} measurements failed:\n{}", failures.len(), failures.join("\n"))
}

fn plan(arguments: &Arguments) -> Plan {
    let mut plan = if arguments.quick { Plan::quick() } else { Plan::full() };
    plan.size_mib = arguments.size_mib.unwrap_or(plan.size_mib);
    plan.warm_up_mib = arguments.warm_up_mib.unwrap_or(plan.warm_up_mib);
    plan
}

/// Makes the wanted measurements of one peer in the order `measure` documents.
fn measure_peer(
    peer: &mut Peer,
    arguments: &Arguments,
    plan: &Plan,
    payloads: &Payloads,
    report: &mut Report,
    failures: &mut Vec<String>,
) {
    let wanted = |m: Measurement| arguments.only.is_empty() || arguments.only.contains(&m);
    let name = peer.name.clone();
    let mut run = Run { peer, plan, payloads };

    let warms = [Measurement::Produce, Measurement::Replay, Measurement::SmallBatches, Measurement::Latency];
    let mut warm = false;
    for measurement in Measurement::value_variants() {
        if !wanted(*measurement) {
            continue;
        }
        if !warm && warms.contains(measurement) {
            warm = true;
            if let Err(error) = measure::produce::warm_up(&mut run) {
                return fail(failures, &name, "warm-up", &error);
            }
        }
        let found: Result<Vec<Figure>> = match measurement {
            Measurement::Start => measure::start::run(&mut run),
            Measurement::Produce => measure::produce::run(&mut run),
            Measurement::Replay => measure::replay::run(&mut run, wanted(Measurement::Produce)),
            Measurement::SmallBatches => measure::small_batches::run(&mut run),
            Measurement::Latency => measure::latency::run(&mut run),
            Measurement::Puts => measure::puts::run(&mut run),
            Measurement::Restart => measure::restart::run(&mut run),
        };
        match found {
            Ok(figures) => report.add(&name, figures),
            Err(error) => {
                fail(failures, &name, &format!("{measurement:?}"), &error);
                if let Err(death) = run.peer.check() {
                    return fail(failures, &name, "broker", &death);
                }
            }
        }
    }
}

fn fail(failures: &mut Vec<String>, peer: &str, what: &str, error: &anyhow::Error) {
    let line = format!("[{peer}] {what}: {error:#}");
    eprintln!("{line}");
    failures.push(line);
}
