//! `cargo bench-replay`: reading history, beside Apache Kafka, one run, one table.
//!
//! Each peer is started, measured, ended and its data removed before the next one starts. A measurement that fails leaves a
//! gap in the table, with the reason below it. It makes the exit code 1 unless the peer is Tansu, of which it says
//! something, and nothing of this program; a time never does.

#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use benches::client::Payloads;
use benches::peers::{Peer, PeerKind};
use benches::replay::steps::{self, Rig};
use benches::replay::{FAMILIES, PACED, Plan, Step, clean, page, restart};
use benches::report::{About, Note, Report};
use benches::{goals, machine, process};
use clap::{Parser, ValueEnum};

/// Measures replays of what was written, beside Apache Kafka.
#[derive(Debug, Parser)]
struct Arguments {
    /// Who is measured, in this order; Aquifer on a directory and on MinIO, and Kafka, when nobody is named. Tansu gets
    /// less work, and docs/replay.md says how its program gets there.
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<PeerKind>,
    /// What is measured; everything when nothing is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Step>,
    /// Much less work: a look, not figures to publish.
    #[arg(long)]
    quick: bool,
    /// MiB of the topic that is replayed.
    #[arg(long)]
    size_mib: Option<u64>,
    /// Measured seconds of producer and tail, alone and beside replays.
    #[arg(long)]
    tail_seconds: Option<u64>,
    /// Records a second of that producer.
    #[arg(long)]
    tail_rate: Option<u64>,
    /// MiB of the topic that is compacted.
    #[arg(long)]
    clean_mib: Option<u64>,
    /// Its partitions; the fewer, the more keys are held in memory at a time.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    clean_partitions: Option<i32>,
    /// MiB in the log when the broker is killed with SIGKILL. The disk must hold about twice as much.
    #[arg(long)]
    restart_mib: Option<u64>,
    /// Partitions at that moment, in thousands of them.
    #[arg(long)]
    restart_partitions: Option<i32>,
    /// A property for Aquifer, KEY=VALUE.
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Where the peers keep their data; a temporary directory by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write docs/replay.md and docs/replay.svg.
    #[arg(long)]
    docs: bool,
    /// Seed of the random records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
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
    let mut settings = vec!["object.delete.delay.ms=10000".to_owned()];
    settings.extend(arguments.settings.iter().cloned());
    let peers = if arguments.peers.is_empty() { PeerKind::USUAL } else { &arguments.peers };
    // Whoever names a peer is told before anything is measured that it is not there.
    arguments.peers.iter().try_for_each(|kind| kind.check_programs())?;
    let load = machine::load();
    let page_cache = match process::drop_page_cache() {
        Ok(()) => "dropped before each cold replay".to_owned(),
        Err(error) => format!("could not be dropped before cold replays: {error:#}"),
    };
    let mut outcome = Outcome::default();
    for kind in peers {
        let base = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&base)?;
        let dir = tempfile::Builder::new().prefix("aquifer-replay-").tempdir_in(base)?;
        eprintln!("[{}] starting", kind.name());
        let own = if *kind == PeerKind::Tansu { plan.for_slow_peer() } else { plan.clone() };
        match Peer::start(*kind, dir.path(), &settings) {
            Ok(mut peer) => {
                if own.tail_rate != plan.tail_rate {
                    let words = format!("{} records/s; the others get {}", own.tail_rate, plan.tail_rate);
                    outcome.note(*kind, "producer and tail", PACED, About::OtherLoad, words);
                }
                let rig = Rig { peer: &mut peer, plan: &own, payloads: &payloads, produced_bytes: 0 };
                measure(rig, *kind, &arguments.only, &mut outcome);
            }
            Err(error) => outcome.gap(*kind, "its start", FAMILIES, &error),
        }
        let within = page::within(&outcome.report, kind.name());
        outcome.report.add(kind.name(), within);
    }
    let Outcome { report, failures } = outcome;

    println!("{}", report.table());
    print!("{}", goals::lines(&report, page::GOALS));
    let mut facts = machine::facts(peers);
    facts.push(("page cache", page_cache));
    facts.extend(load);
    if let Some(path) = &arguments.json {
        let mut all = report.json();
        all["goals"] = goals::json(&report, page::GOALS);
        all["run"] = machine::json(&facts);
        all["command"] = machine::command("bench-replay").into();
        std::fs::write(path, serde_json::to_string_pretty(&all)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    if arguments.docs {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs");
        page::write(&docs, &plan, &report, &facts, &machine::command("bench-replay"))?;
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} measurements failed:\n{}", failures.len(), failures.join("\n"))
}

fn plan(arguments: &Arguments) -> Plan {
    let mut plan = if arguments.quick { Plan::quick() } else { Plan::full() };
    plan.size_mib = arguments.size_mib.unwrap_or(plan.size_mib);
    plan.tail_seconds = arguments.tail_seconds.unwrap_or(plan.tail_seconds);
    plan.tail_rate = arguments.tail_rate.unwrap_or(plan.tail_rate);
    plan.clean_mib = arguments.clean_mib.unwrap_or(plan.clean_mib);
    plan.clean_partitions = arguments.clean_partitions.unwrap_or(plan.clean_partitions);
    plan.restart_mib = arguments.restart_mib.unwrap_or(plan.restart_mib);
    plan.restart_partitions = arguments.restart_partitions.unwrap_or(plan.restart_partitions);
    plan
}

/// What a run found.
#[derive(Debug, Default)]
struct Outcome {
    report: Report,
    /// Measurements that make the exit code 1.
    failures: Vec<String>,
}

impl Outcome {
    fn note(
        &mut self,
        kind: PeerKind,
        what: &str,
        families: &'static [&'static str],
        about: About,
        words: String,
    ) {
        self.report.note(Note {
            peer: kind.name().to_owned(),
            what: what.to_owned(),
            families,
            about,
            words,
        });
    }

    /// Tells that figures of a peer could not be measured, and why.
    fn gap(&mut self, kind: PeerKind, what: &str, families: &'static [&'static str], error: &anyhow::Error) {
        let (peer, words) = (kind.name(), format!("{error:#}"));
        let line = format!("[{peer}] {what}: {words}");
        eprintln!("{line}");
        // More lines are a program's last words: not for a page.
        let why = words.lines().next().unwrap_or_default().to_owned();
        self.note(kind, what, families, About::Missing, why);
        if kind != PeerKind::Tansu {
            self.failures.push(line);
        }
    }
}

/// Fills the topics, where one of the steps reads them, and makes the wanted measurements of one peer, in their order.
fn measure(mut rig: Rig<'_>, kind: PeerKind, only: &[Step], outcome: &mut Outcome) {
    let reads = |step: &Step| *step != Step::Clean;
    if only.is_empty() || only.iter().any(reads) {
        match steps::fill(&mut rig) {
            Ok(figures) => outcome.report.add(kind.name(), figures),
            Err(error) => return outcome.gap(kind, "writing the topics", FAMILIES, &error),
        }
    }
    for step in Step::value_variants() {
        if !only.is_empty() && !only.contains(step) {
            continue;
        }
        let found = match step {
            Step::Warm => steps::warm(&mut rig),
            Step::Life => steps::life(&mut rig),
            Step::Cold => steps::cold(&mut rig),
            Step::Four => steps::four(&mut rig),
            Step::Limit => steps::limit(&mut rig),
            Step::Tail => steps::tail(&mut rig),
            Step::Busy => steps::busy(&mut rig),
            Step::Clean => clean::run(&mut rig),
            Step::Restart => restart::run(&mut rig),
        };
        match found {
            Ok(figures) => outcome.report.add(kind.name(), figures),
            Err(error) => {
                outcome.gap(kind, step.name(), step.families(), &error);
                if let Err(death) = rig.peer.check() {
                    return outcome.gap(kind, "all that was to come", FAMILIES, &death);
                }
            }
        }
    }
    // A broker that goes before its store has nothing to wait for.
    if let Some(broker) = rig.peer.ours() {
        let _ = broker.stop(Duration::from_secs(10));
    }
}
