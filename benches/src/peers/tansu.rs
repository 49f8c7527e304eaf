//! Tansu 0.6 as a peer: the other broker in Rust whose log is in an object store.
//!
//! The program is the cache's `bin/tansu`; [`install`] is the command that puts it there. Its defaults but for addresses
//! and the bucket.
//!
//! It writes every batch as an object of its own before it acknowledges it, `clusters/<cluster>/topics/<topic>/partitions/
//! <partition>/records/<offset>.batch`, and merges nothing. It keeps no records in memory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::{Launch, cache, minio};
use crate::process::free_port;

/// The name of the cluster, which every key begins with.
const CLUSTER: &str = "bench";

/// The command that compiles the program and puts it where it is looked for, `root` being the cache. `dynostore` is Tansu's
/// storage in S3.
pub fn install(root: &str) -> String {
    format!("cargo install tansu@0.6.0 --no-default-features --features dynostore --root {root}")
}

/// Where the program is; an error with the command that makes it, where it is not.
pub fn program() -> Result<PathBuf> {
    let cache = cache()?;
    let program = cache.join("bin/tansu");
    if !program.is_file() {
        let install = install(&cache.display().to_string());
        bail!(
            "the Tansu program is not at {}; this puts it there, in some minutes: {install}",
            program.display()
        );
    }
    Ok(program)
}

/// What the keys of a topic's objects begin with.
pub fn keys_of(topic: &str) -> String {
    format!("clusters/{CLUSTER}/topics/{topic}/")
}

/// Returns how to start it over `bucket` of a MinIO.
pub fn launch(store: SocketAddr, bucket: &str, dir: &Path) -> Result<Launch> {
    let program = program()?;
    let port = free_port()?;
    let listener = format!("tcp://127.0.0.1:{port}");
    let arguments = [
        "broker",
        &format!("--cluster-id={CLUSTER}"),
        &format!("--listener-url={listener}"),
        &format!("--advertised-listener-url={listener}"),
        &format!("--storage-engine=s3://{bucket}/"),
    ]
    .map(str::to_owned);
    let work = dir.to_owned();
    Ok(Launch {
        name: "tansu".into(),
        addr: ([127, 0, 0, 1], port).into(),
        log: dir.join("tansu.out"),
        command: Box::new(move || {
            let mut command = Command::new(&program);
            command.args(&arguments).current_dir(&work).envs(minio::credentials());
            command.env("AWS_ENDPOINT", format!("http://{store}")).env("AWS_ALLOW_HTTP", "true");
            command.env("AWS_DEFAULT_REGION", "us-east-1");
            command
        }),
    })
}
