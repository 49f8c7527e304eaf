//! MinIO on one drive: the object store under Aquifer.
//!
//! The program is the cache's `bin/minio`. A bucket is a directory of the drive, so making the directory before the
//! start makes the bucket; and objects are directories in it, which is how PUTs are counted. What it was asked for and
//! how many bytes went either way it tells itself ([`Minio::served`]).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use rustix::process::Signal;

use super::{PREPARE, Storage, cache};
use crate::process::{Process, free_port, poll_until};

const USER: &str = "minioadmin";
const PASSWORD: &str = "minioadmin";
/// Where it counts S3 requests by kind (metrics version 3).
const METRICS: &str = "/minio/metrics/v3/api/requests";

/// A running MinIO; dropping it kills the store.
#[derive(Debug)]
pub struct Minio {
    /// Where it serves S3.
    pub addr: SocketAddr,
    /// The drive: one directory per bucket.
    pub data: PathBuf,
    program: PathBuf,
    console: u16,
    log: PathBuf,
    process: Option<Process>,
}

/// What a store was asked for since it started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Served {
    /// GetObject.
    pub gets: u64,
    /// PutObject and parts of multipart uploads.
    pub puts: u64,
    /// Bytes of all requests.
    pub received: u64,
    /// Bytes of all answers.
    pub sent: u64,
}

impl Minio {
    /// Starts a store under `dir`, with these buckets, and waits until it is ready.
    pub fn start(dir: &Path, buckets: &[&str]) -> Result<Minio> {
        let program = program()?;
        let data = dir.join("minio");
        for bucket in buckets {
            std::fs::create_dir_all(data.join(bucket))?;
        }
        let addr: SocketAddr = ([127, 0, 0, 1], free_port()?).into();
        let log = dir.join("minio.out");
        let mut minio = Minio { addr, data, program, console: free_port()?, log, process: None };
        minio.start_again()?;
        Ok(minio)
    }

    /// Starts it on what it left behind, at the same address, and waits until it is ready.
    pub fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(["server", "--quiet", "--address", &self.addr.to_string()])
            .args(["--console-address", &format!("127.0.0.1:{}", self.console)])
            .arg(&self.data)
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            // Its counters are asked for without a token.
            .env("MINIO_PROMETHEUS_AUTH_TYPE", "public")
            // Lets the drive be on the root file system.
            .env("MINIO_CI_CD", "1");
        let addr = self.addr;
        let process = self.process.insert(Process::spawn("minio", command, &self.log)?);
        poll_until("MinIO to be ready", Duration::from_secs(30), Duration::from_millis(20), || {
            process.check()?;
            Ok(ready(addr).then_some(()))
        })
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("MinIO is not running")?.kill()
    }

    /// SIGSTOP: connections stay open, and nothing is answered.
    pub fn pause(&self) -> Result<()> {
        self.running()?.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Its process id.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.running()?.pid())
    }

    /// What it was asked for since it started.
    pub fn served(&self) -> Result<Served> {
        let answer = ask(self.addr, METRICS).context("MinIO's counters")?;
        parse_served(&answer).with_context(|| format!("MinIO's counters cannot be read: {answer}"))
    }

    /// Keys and lengths of all objects of `bucket`, in the order of their keys.
    pub fn list(&self, bucket: &str) -> Result<Vec<(String, u64)>> {
        let client = client(self.addr, bucket)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listed = client.list(None).map_ok(|object| (String::from(object.location), object.size));
        let mut objects: Vec<_> = runtime.block_on(listed.try_collect()).context("list a bucket")?;
        objects.sort_unstable();
        Ok(objects)
    }

    /// Where Aquifer finds `root` in `bucket`.
    pub fn storage(&self, bucket: &str, root: &str) -> Storage {
        Storage { url: storage_url(self.addr, bucket, root), environment: credentials().to_vec() }
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("MinIO is not running")
    }
}

/// Where MinIO's program is; an error that says how one gets it, where it is not.
pub fn program() -> Result<PathBuf> {
    let program = cache()?.join("bin/minio");
    if !program.is_file() {
        bail!("the MinIO program is not at {}; {PREPARE} puts it there", program.display());
    }
    Ok(program)
}

/// Aquifer's `--storage` URL for a bucket behind `endpoint`, which may be the store or a proxy before it.
pub fn storage_url(endpoint: SocketAddr, bucket: &str, root: &str) -> String {
    format!("s3://{bucket}/{root}?endpoint=http://{endpoint}&region=us-east-1")
}

/// The environment that carries this store's credentials.
pub fn credentials() -> [(&'static str, &'static str); 2] {
    [("AWS_ACCESS_KEY_ID", USER), ("AWS_SECRET_ACCESS_KEY", PASSWORD)]
}

/// A client of a store like this one, as plain as a library has it.
pub fn client(store: SocketAddr, bucket: &str) -> Result<AmazonS3> {
    let builder = AmazonS3Builder::new().with_endpoint(format!("http://{store}")).with_allow_http(true);
    let builder = builder.with_bucket_name(bucket).with_region("us-east-1");
    Ok(builder.with_access_key_id(USER).with_secret_access_key(PASSWORD).build()?)
}

/// MinIO's own readiness check.
fn ready(addr: SocketAddr) -> bool {
    ask(addr, "/minio/health/ready").is_ok()
}

/// GETs a page that needs no credentials; fails unless it is answered with 200.
fn ask(addr: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.get(8..12) == Some(" 200") => Ok(body.to_owned()),
        _ => bail!("{path}: {}", answer.lines().next().unwrap_or("no answer")),
    }
}

/// Reads a page in Prometheus' text format. None without the counter of bytes received, which is always there.
fn parse_served(page: &str) -> Option<Served> {
    let mut served = Served::default();
    let mut received = None;
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ')?;
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let count = || value.parse::<f64>().ok().map(|count| count as u64);
        match name {
            "minio_api_requests_total" => match label(labels, "name")?.to_ascii_lowercase().as_str() {
                "getobject" => served.gets += count()?,
                "putobject" | "putobjectpart" => served.puts += count()?,
                _ => {}
            },
            "minio_api_requests_traffic_received_bytes" => received = Some(count()?),
            "minio_api_requests_traffic_sent_bytes" => served.sent = count()?,
            _ => {}
        }
    }
    Some(Served { received: received?, ..served })
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = labels.split_once(&format!("{name}=\""))?;
    after.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_are_read() {
        let page = "# HELP minio_api_requests_total Total number of requests\n\
                    # TYPE minio_api_requests_total counter\n\
                    minio_api_requests_total{name=\"GetObject\",server=\"127.0.0.1:9000\",type=\"s3\"} 12\n\
                    minio_api_requests_total{name=\"HeadObject\",server=\"127.0.0.1:9000\",type=\"s3\"} 5\n\
                    minio_api_requests_total{name=\"PutObject\",server=\"127.0.0.1:9000\",type=\"s3\"} 1.5e+06\n\
                    minio_api_requests_total{name=\"PutObjectPart\",server=\"127.0.0.1:9000\",type=\"s3\"} 2\n\
                    minio_api_requests_traffic_received_bytes{server=\"127.0.0.1:9000\",type=\"s3\"} 4.5e+09\n\
                    minio_api_requests_traffic_sent_bytes{server=\"127.0.0.1:9000\",type=\"s3\"} 7\n";
        let served = Served { gets: 12, puts: 1_500_002, received: 4_500_000_000, sent: 7 };
        assert_eq!(parse_served(page), Some(served));
        assert_eq!(parse_served("<html>\n"), None);
    }
}
