//! Aquifer itself as a child process.
//!
//! [`binary`] finds the broker that belongs to the running program's build: the environment's `AQUIFER_BIN`, else
//! the one cargo builds into the same target directory and profile. Building is cargo's business each time, so a
//! measured or tested broker is never an old one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use super::Launch;
use crate::process::free_port;

/// Returns how to start Aquifer on `storage`, on a free port, with its output in `dir`.
pub fn launch(
    storage: &str,
    environment: &[(&'static str, &'static str)],
    dir: &Path,
    settings: &[String],
) -> Result<Launch> {
    let program = binary()?;
    let port = free_port()?;
    let mut arguments: Vec<OsString> =
        ["--storage", storage, "--listeners", &format!("PLAINTEXT://127.0.0.1:{port}"), "--node-id", "0"]
            .map(OsString::from)
            .to_vec();
    for setting in settings {
        arguments.extend(["--set".into(), setting.into()]);
    }
    let environment = environment.to_vec();
    let work = dir.to_owned();
    Ok(Launch {
        name: "aquifer".into(),
        addr: ([127, 0, 0, 1], port).into(),
        log: dir.join("aquifer.out"),
        command: Box::new(move || {
            let mut command = Command::new(&program);
            command.args(&arguments).envs(environment.iter().copied()).current_dir(&work);
            command
        }),
    })
}

/// The broker's program, built if it must be. The answer is kept for the life of this process.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY.get_or_init(|| find_or_build().map_err(|e| format!("{e:#}"))).clone().map_err(anyhow::Error::msg)
}

fn find_or_build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("AQUIFER_BIN") {
        return Ok(path.into());
    }
    // <target>/<profile>/program, or <target>/<profile>/deps/test-1234
    let me = std::env::current_exe()?;
    let mut profile = me.parent().context("a program without a directory")?;
    if profile.ends_with("deps") {
        profile = profile.parent().context("deps without a parent")?;
    }
    let target = profile.parent().context("no target directory")?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "aquifer", "--bin", "aquifer", "--manifest-path"]);
    cargo.arg(&manifest).arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().context("run cargo")?;
    let program = profile.join("aquifer");
    if !status.success() || !program.is_file() {
        bail!("cargo could not build {}; AQUIFER_BIN may name a built one", program.display());
    }
    Ok(program)
}
