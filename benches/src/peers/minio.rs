//! MinIO on one drive: the object store under Aquifer.
//!
//! The program is the cache's `bin/minio`. A bucket is a directory of the drive, so making the directory before the
//! start makes the bucket; and objects are directories in it, which is how PUTs are counted.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::cache;
use crate::process::{Process, free_port, poll_until};

const USER: &str = "minioadmin";
const PASSWORD: &str = "minioadmin";

/// A running MinIO.
#[derive(Debug)]
pub struct Minio {
    /// The process; dropping it kills the store.
    pub process: Process,
    /// Where it serves S3.
    pub addr: SocketAddr,
    /// The drive: one directory per bucket.
    pub data: PathBuf,
}

impl Minio {
    /// Starts a store under `dir`, with these buckets, and waits until it is ready.
    pub fn start(dir: &Path, buckets: &[&str]) -> Result<Minio> {
        let program = cache()?.join("bin/minio");
        if !program.is_file() {
            bail!("the MinIO program is not at {}", program.display());
        }
        let data = dir.join("minio");
        for bucket in buckets {
            std::fs::create_dir_all(data.join(bucket))?;
        }
        let addr: SocketAddr = ([127, 0, 0, 1], free_port()?).into();
        let mut command = Command::new(program);
        command
            .args(["server", "--quiet", "--address", &addr.to_string()])
            .args(["--console-address", &format!("127.0.0.1:{}", free_port()?)])
            .arg(&data)
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            // Lets the drive be on the root file system.
            .env("MINIO_CI_CD", "1");
        let mut process = Process::spawn("minio", command, &dir.join("minio.out"))?;
        poll_until("MinIO to be ready", Duration::from_secs(30), Duration::from_millis(20), || {
            process.check()?;
            Ok(ready(addr).then_some(()))
        })?;
        Ok(Minio { process, addr, data })
    }
}

/// Aquifer's `--storage` URL for a bucket behind `endpoint`, which may be the store or a proxy before it.
pub fn storage_url(endpoint: SocketAddr, bucket: &str, root: &str) -> String {
    format!("s3://{bucket}/{root}?endpoint=http://{endpoint}&region=us-east-1")
}

/// The environment that carries this store's credentials.
pub fn credentials() -> [(&'static str, &'static str); 2] {
    [("AWS_ACCESS_KEY_ID", USER), ("AWS_SECRET_ACCESS_KEY", PASSWORD)]
}

/// MinIO's own readiness check.
fn ready(addr: SocketAddr) -> bool {
    use std::io::{Read, Write};
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /minio/health/ready HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
