//! `cargo sim --seeds N [--from SEED] [--seed ONE]`: the whole-broker simulation, as many seeds as asked. A seed that fails is
//! printed with the command that runs it again.

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tests::sim::run::{Outcome, run};

/// Runs the whole-broker simulation.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo sim")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// This seed alone, with what it showed.
    #[arg(long)]
    seed: Option<u64>,
    /// Where to write the history and the store's trace (with --seed).
    #[arg(long, requires = "seed")]
    trace: Option<PathBuf>,
    /// The log of the brokers, as a filter of `tracing` (with --seed), for instance `info`.
    #[arg(long, requires = "seed")]
    log: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => Ok(many(arguments.from, arguments.seeds)),
    }
}

fn one(seed: u64, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(filter) = &arguments.log {
        let filter = filter.parse::<tracing_subscriber::filter::LevelFilter>()?;
        tracing_subscriber::fmt().with_max_level(filter).without_time().with_writer(std::io::stderr).init();
    }
    let outcome = run(seed);
    if let Some(path) = &arguments.trace {
        std::fs::write(path, &outcome.trace)?;
    }
    println!(
        "seed {seed}: {} broker lives, {} batches acknowledged, {} records read, {} offsets committed",
        outcome.lives, outcome.acknowledged, outcome.read, outcome.committed
    );
    show(&outcome);
    let passed = outcome.violations.is_empty();
    println!("{} passed, {} failed", u32::from(passed), u32::from(!passed));
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(outcome: &Outcome) {
    for violation in outcome.violations.iter().take(10) {
        println!("  {violation}");
    }
    if outcome.violations.len() > 10 {
        println!("  and {} more", outcome.violations.len() - 10);
    }
}

fn many(from: u64, seeds: u64) -> ExitCode {
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::new(seeds) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {msg}, {eta} to go") {
        bar.set_style(style);
    }
    let (mut passed, mut failed) = (0u64, 0u64);
    for (done, seed) in (1..).zip(from..from.saturating_add(seeds)) {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(outcome) if outcome.violations.is_empty() => passed += 1,
            result => {
                failed += 1;
                bar.suspend(|| {
                    println!("seed {seed} failed; run it again with: cargo sim --seed {seed}");
                    if let Ok(outcome) = &result {
                        show(outcome);
                    }
                });
            }
        }
        bar.set_message(format!("{failed} failed"));
        bar.inc(1);
        if !terminal && done % 50 == 0 {
            println!("{done}/{seeds} seeds, {failed} failed");
        }
    }
    bar.finish_and_clear();
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
