//! `cargo bench-e2e -- [PEER]...`: whole brokers beside each other, one run, one table.
//!
//! Each peer is started, measured, ended and its data removed before the next one starts, so that they never share
//! the machine. A measurement that fails leaves a gap in the table, is named, and makes the exit code 1; the others
//! still run.

#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use benches::client::Payloads;
use benches::docs;
use benches::goals;
use benches::machine;
use benches::measure::{self, Plan, Run};
use benches::peers::{Peer, PeerKind};
use benches::report::{Figure, Report};
use clap::{Parser, ValueEnum};

/// Measures Aquifer beside its peers with one lean librdkafka client.
#[derive(Debug, Parser)]
struct Arguments {
    /// Peers to start, in this order; when none is named and no running broker is given, Aquifer's two and Kafka.
    #[arg(value_enum)]
    peers: Vec<PeerKind>,
    /// Measure this broker, which runs already, before the named peers. It keeps the topics bench-*, which must be new.
    #[arg(long, value_name = "HOST:PORT")]
    broker: Option<String>,
    /// Process id of that broker, if it is on this machine: without it no CPU time and memory.
    #[arg(long, requires = "broker")]
    pid: Option<u32>,
    /// Name of that broker in the table.
    #[arg(long, default_value = "given", requires = "broker")]
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
    /// MiB that use all memory that a broker takes, before the warm-up.
    #[arg(long)]
    fill_mib: Option<u64>,
    /// MiB of warm-up before it.
    #[arg(long)]
    warm_up_mib: Option<u64>,
    /// MiB to produce in requests of 16 KiB.
    #[arg(long)]
    small_requests_mib: Option<u64>,
    /// MiB to add to the log before the broker is killed with SIGKILL and started again.
    #[arg(long)]
    restart_mib: Option<u64>,
    /// A property for Aquifer, KEY=VALUE.
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Where the peers keep their data; a temporary directory by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write docs/performance.md and docs/performance.svg.
    #[arg(long)]
    docs: bool,
    /// Seed of the random records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Measurement {
    Start,
    Produce,
    Replay,
    Produce16k,
    SmallBatches,
    Latency,
    Puts,
    Memory,
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

    if let Some(bootstrap) = &arguments.broker {
        let mut peer = Peer::given(&arguments.name, bootstrap, arguments.pid);
        measure_peer(&mut peer, arguments, &plan, &payloads, &mut report, &mut failures);
    }
    let peers = match (&arguments.peers[..], &arguments.broker) {
        ([], None) => PeerKind::USUAL,
        (named, _) => named,
    };
    // Whoever names a peer is told before anything is measured that it is not there.
    arguments.peers.iter().try_for_each(|kind| kind.check_programs())?;
    for kind in peers {
        let base = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&base)?;
        let dir = tempfile::Builder::new().prefix("aquifer-bench-").tempdir_in(base)?;
        eprintln!("[{}] starting", kind.name());
        match Peer::start(*kind, dir.path(), &arguments.settings) {
            Ok(mut peer) => measure_peer(&mut peer, arguments, &plan, &payloads, &mut report, &mut failures),
            Err(error) => fail(&mut failures, kind.name(), "start", &error),
        }
    }

    println!("{}", report.table());
    print!("{}", goals::lines(&report, goals::E2E));
    let facts = machine::facts(peers);
    if let Some(path) = &arguments.json {
        let mut all = report.json();
        all["goals"] = goals::json(&report, goals::E2E);
        all["run"] = machine::json(&facts);
        all["command"] = machine::command("bench-e2e").into();
        std::fs::write(path, serde_json::to_string_pretty(&all)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    if arguments.docs {
        docs::write(&Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs"), &report, &facts)?;
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} measurements failed:\n{}", failures.len(), failures.join("\n"))
}

fn plan(arguments: &Arguments) -> Plan {
    let mut plan = if arguments.quick { Plan::quick() } else { Plan::full() };
    plan.size_mib = arguments.size_mib.unwrap_or(plan.size_mib);
    plan.fill_mib = arguments.fill_mib.unwrap_or(plan.fill_mib);
    plan.warm_up_mib = arguments.warm_up_mib.unwrap_or(plan.warm_up_mib);
    plan.small_requests_mib = arguments.small_requests_mib.unwrap_or(plan.small_requests_mib);
    plan.restart_mib = arguments.restart_mib.unwrap_or(plan.restart_mib);
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
    let mut run = Run { peer, plan, payloads, produced_bytes: 0 };

    let cold = [Measurement::Start, Measurement::Puts, Measurement::Memory, Measurement::Restart];
    let mut warm = false;
    for measurement in Measurement::value_variants() {
        if !wanted(*measurement) {
            continue;
        }
        if !warm && !cold.contains(measurement) {
            warm = true;
            if let Err(error) = measure::produce::warm_up(&mut run) {
                return fail(failures, &name, "warm-up", &error);
            }
        }
        if warm
            && *measurement != Measurement::Restart
            && let Err(error) = measure::rest::wait(run.peer)
        {
            return fail(failures, &name, "rest", &error);
        }
        let found: Result<Vec<Figure>> = match measurement {
            Measurement::Start => measure::start::run(&mut run),
            Measurement::Produce => measure::produce::large(&mut run),
            Measurement::Produce16k => measure::produce::small_requests(&mut run),
            Measurement::Replay => measure::replay::run(&mut run, wanted(Measurement::Produce)),
            Measurement::SmallBatches => measure::small_batches::run(&mut run),
            Measurement::Latency => measure::latency::run(&mut run),
            Measurement::Puts => measure::puts::run(&mut run),
            Measurement::Memory => measure::memory::run(&mut run),
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
