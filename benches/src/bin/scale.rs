//! `cargo bench-scale`: one broker over an empty directory with 10,000 partitions and 1,000 connections.
//!
//! Prints each figure beside its goal. The exit code says whether everything was there, never whether it was fast.

#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use benches::machine;
use benches::peers::PeerKind;
use benches::scale::{self, Plan, page};
use clap::Parser;

/// Measures one broker with many partitions and connections.
#[derive(Debug, Parser)]
struct Arguments {
    /// Topics to create.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=999))]
    topics: u16,
    /// Partitions of each.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Idle connections to open.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Seconds over which CPU time is counted while nothing happens.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle_secs: u64,
    /// The broker's memory.budget.bytes, in MiB.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    budget_mib: u64,
    /// A property for the broker, KEY=VALUE.
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Where the broker keeps its data; a temporary directory by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write docs/scale.md.
    #[arg(long)]
    docs: bool,
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
    let plan = Plan {
        topics: arguments.topics.into(),
        partitions: arguments.partitions,
        connections: arguments.connections.into(),
        idle: Duration::from_secs(arguments.idle_secs),
        settle: Duration::from_secs(3),
        budget: arguments.budget_mib << 20,
    };
    let load = machine::load();
    let base = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&base)?;
    let dir = tempfile::Builder::new().prefix("aquifer-scale-").tempdir_in(base)?;
    let figures = scale::run(dir.path(), &plan, &arguments.settings, &|what| eprintln!("{what}"))?;
    print!("{}", page::table(&figures));

    let mut facts = machine::facts(&[PeerKind::AquiferDirectory]);
    facts.extend(load);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&page::json(&figures, &facts))?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    if arguments.docs {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs");
        page::write(&docs, &plan, &figures, &facts, &machine::command("bench-scale"))?;
    }
    Ok(())
}
