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
use serde_json::Value;

use super::{Launch, Storage};
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

/// What is in a bucket, as `aquifer storage ls` counts it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Objects {
    /// All of them.
    pub all: u64,
    /// Of `data/`: what was uploaded and merged.
    pub data: u64,
    /// Of `wal/`: objects of lanes, seals among them.
    pub lanes: u64,
    /// Bytes of those.
    pub lane_bytes: u64,
    /// Of `meta/`: the journal.
    pub meta: u64,
    /// Bytes of all.
    pub bytes: u64,
}

/// Counts the objects of a bucket. A broker may be at work on it.
pub fn objects(storage: &Storage) -> Result<Objects> {
    let listed = ls(storage, &[])?;
    let number = |of: &Value, member: &str| of[member].as_u64().context("not a listing");
    let mut objects =
        Objects { all: number(&listed, "objects")?, bytes: number(&listed, "bytes")?, ..Objects::default() };
    for area in listed["areas"].as_array().context("not a listing")? {
        let count = number(area, "objects")?;
        match area["area"].as_str().and_then(|name| name.split('/').next()) {
            Some("data") => objects.data += count,
            Some("meta") => objects.meta += count,
            Some("wal") => {
                objects.lanes += count;
                objects.lane_bytes += number(area, "bytes")?;
            }
            _ => {}
        }
    }
    Ok(objects)
}

/// Keys and lengths of the objects of `data/`.
pub fn data_keys(storage: &Storage) -> Result<Vec<(String, u64)>> {
    let listed = ls(storage, &["--all"])?;
    let keys = listed["keys"].as_array().context("not a listing")?.iter();
    let pairs = keys.filter_map(|key| Some((key["key"].as_str()?.to_owned(), key["bytes"].as_u64()?)));
    Ok(pairs.filter(|(key, _)| key.starts_with("data/")).collect())
}

/// How far a partition has come, as the image in the bucket has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PartitionAt {
    /// Below it everything is in objects of `data/`.
    pub uploaded: i64,
    /// Below it everything was compacted.
    pub compacted: i64,
}

/// The partitions of a topic, in order. A broker may be at work on the bucket.
pub fn partitions(storage: &Storage, topic: &str) -> Result<Vec<PartitionAt>> {
    let image: Value = serde_json::from_str(&offline(storage, &["image", "--json"])?)
        .context("an image that is not JSON")?;
    let topics = image["topics"].as_array().context("not an image")?;
    let found = topics
        .iter()
        .find(|t| t["name"] == topic)
        .with_context(|| format!("no topic {topic} in the image"))?;
    let partitions = found["partitions"].as_array().context("not an image")?.iter();
    let at = |partition: &Value| {
        let offset = |member: &str| partition["state"][member].as_i64().context("not an image");
        Ok(PartitionAt { uploaded: offset("uploaded_end")?, compacted: offset("cleaned")? })
    };
    partitions.map(at).collect()
}

/// `aquifer storage verify` on a bucket that nobody writes to: what it says, as an error if anything is wrong.
pub fn verify(storage: &Storage) -> Result<String> {
    offline(storage, &["verify"]).map(|said| said.lines().last().unwrap_or_default().to_owned())
}

fn ls(storage: &Storage, options: &[&str]) -> Result<Value> {
    let said = offline(storage, &[&["ls", "--json"], options].concat())?;
    serde_json::from_str(&said).context("a listing that is not JSON")
}

/// `aquifer storage …`: its output; its error output as an error if it fails.
fn offline(storage: &Storage, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(binary()?);
    command.arg("storage").args(arguments).args(["--storage", &storage.url]);
    let output = command.envs(storage.environment.iter().copied()).output().context("aquifer storage")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("aquifer storage {}: {said}{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(said)
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
