//! The process: command line, log, runtime, exit code. What it serves is `broker::broker`, what it was told is
//! `broker::cli`. Errors are one line with the remedy; a failed start or a found damage is exit code 1, a wrong command
//! line 2 (clap's).

mod allocator;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use broker::cli::args::{Cli, Command, ServeArgs, StorageCommand, StoreArgs};
use broker::cli::settings::{Resolved, resolve};
use broker::cli::storage;
use broker::config::document;
use broker::log_levels::log_to_stderr;
use clap::Parser;

/// What is logged where RUST_LOG does not say: of us what an operator should know, of others what is wrong.
const LOG_SERVING: &str = "warn,aquifer=info,broker=info,s3stream=info,protocol=info";
/// Of a look at a bucket only what is wrong: the rest is its output.
const LOG_LOOKING: &str = "warn";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => serve(&cli.serve),
        Some(Command::Config { markdown }) => {
            print(&if markdown { document::markdown() } else { document::text() });
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Storage { store, command }) => look(&store, &command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("aquifer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    allocator::keep_few_heaps();
    log_to_stderr(LOG_SERVING, std::io::stderr().is_terminal());
    let Resolved { config, warnings } = resolve(&args.store, &args.flags(), &environment())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(broker::broker::run(config))?;
    Ok(ExitCode::SUCCESS)
}

fn look(args: &StoreArgs, command: &StorageCommand) -> anyhow::Result<ExitCode> {
    log_to_stderr(LOG_LOOKING, std::io::stderr().is_terminal());
    let Resolved { config, .. } = resolve(args, &args.flags(), &environment())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stdout = std::io::stdout();
    let done = runtime.block_on(storage::run(&config, command, &mut stdout.lock()));
    match done {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        // `| head` has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

fn print(text: &str) {
    // Whoever reads may have seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn environment() -> BTreeMap<String, String> {
    // A variable that is not Unicode is none of ours.
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
}
