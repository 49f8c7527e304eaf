//! Tansu 0.6 as a peer: the other broker in Rust whose log is in an object store.
//!
//! The program is the cache's `bin/tansu`, which `cargo install tansu@0.6.0 --no-default-features --features dynostore
//! --root CACHE` puts there; `dynostore` is its storage in S3. Its defaults but for addresses and the bucket.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::{Launch, cache, minio};
use crate::process::free_port;

/// Returns how to start it over `bucket` of a MinIO.
pub fn launch(store: SocketAddr, bucket: &str, dir: &Path) -> Result<Launch> {
    let program = cache()?.join("bin/tansu");
    if !program.is_file() {
        bail!("the Tansu program is not at {}", program.display());
    }
    let port = free_port()?;
    let listener = format!("tcp://127.0.0.1:{port}");
    let arguments = [
        "broker",
        "--cluster-id=bench",
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
