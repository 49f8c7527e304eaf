//! The peers: how each is started, killed with SIGKILL and started again on the same data.
//!
//! Every peer gets its own directory, free ports on 127.0.0.1 and its own defaults. What a peer is made of is in
//! its file; here is only what all have in common. Programs are found by [`cache`]: nothing is downloaded.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::probe;
use crate::process::{self, Process, Resident};

use self::minio::Minio;

pub mod aquifer;
pub mod kafka;
pub mod minio;
pub mod tansu;

/// How long a broker may take to answer its first Metadata.
const START: Duration = Duration::from_secs(120);
/// The bucket of those who have one.
pub const BUCKET: &str = "bench";
/// What those of Aquifer's threads are called that write to a directory and read from it.
const DIRECTORY_THREADS: &str = "directory-store";
/// What fetches and compiles MinIO and Apache Kafka.
const PREPARE: &str = "tests/interop/run --prepare";

/// What can be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum PeerKind {
    /// Aquifer with its log in a directory, fsync on.
    AquiferDirectory,
    /// Aquifer with its log in MinIO, whose CPU time is counted apart.
    AquiferMinio,
    /// Apache Kafka 4.3.1: one node, its defaults, 1 GiB of heap.
    Kafka,
    /// Tansu 0.6 with its log in MinIO. Only where it is named: it is not fetched with the others.
    Tansu,
}

impl PeerKind {
    /// Who is measured where nobody is named.
    pub const USUAL: &[PeerKind] = &[PeerKind::AquiferDirectory, PeerKind::AquiferMinio, PeerKind::Kafka];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            PeerKind::AquiferDirectory => "aquifer-directory",
            PeerKind::AquiferMinio => "aquifer-minio",
            PeerKind::Kafka => "kafka",
            PeerKind::Tansu => "tansu-minio",
        }
    }

    /// Fails, with what is to be done about it, where a program of this peer is not on the machine. Aquifer is built by
    /// whoever starts it.
    pub fn check_programs(self) -> Result<()> {
        if matches!(self, PeerKind::AquiferMinio | PeerKind::Tansu) {
            minio::program()?;
        }
        match self {
            PeerKind::AquiferDirectory | PeerKind::AquiferMinio => Ok(()),
            PeerKind::Kafka => kafka::libs().map(drop),
            PeerKind::Tansu => tansu::program().map(drop),
        }
    }
}

/// Where an Aquifer has its log, as its command line and environment say it.
#[derive(Clone, Debug)]
pub struct Storage {
    /// `--storage`.
    pub url: String,
    /// Credentials.
    pub environment: Vec<(&'static str, &'static str)>,
}

/// How to start a broker process, again and again, on the same data and port.
pub struct Launch {
    /// Name for messages.
    pub name: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// The file its output goes to.
    pub log: PathBuf,
    /// Makes the command line.
    pub command: Box<dyn Fn() -> Command + Send + Sync>,
}

/// A broker process of ours: started, killed and started again on the same data and port.
pub struct Broker {
    launch: Launch,
    process: Option<Process>,
}

impl Broker {
    /// Starts it; returns it with the time to its first answered Metadata.
    pub fn start(launch: Launch) -> Result<(Broker, Duration)> {
        let mut broker = Broker { launch, process: None };
        let (_, took) = broker.start_again()?;
        Ok((broker, took))
    }

    /// Starts it on what it left behind. Returns the instant of the start and the time from it to the first answered
    /// Metadata.
    pub fn start_again(&mut self) -> Result<(Instant, Duration)> {
        self.process = None;
        let from = Instant::now();
        let mut process = Process::spawn(&self.launch.name, (self.launch.command)(), &self.launch.log)?;
        // A process that is gone will not answer: look between short waits, so that its own words are shown.
        let took = loop {
            match probe::until_metadata(self.launch.addr, from, Duration::from_secs(1)) {
                Ok(took) => break took,
                Err(_) => process.check()?,
            }
            if from.elapsed() > START {
                bail!("{}: no Metadata within {START:?}\n{}", self.launch.name, process.log_tail());
            }
        };
        self.process = Some(process);
        Ok((from, took))
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the broker is not running")?.kill()
    }

    /// SIGTERM and up to `patience` to go; returns whether it went by itself.
    pub fn stop(&mut self, patience: Duration) -> Result<bool> {
        self.process.take().context("the broker is not running")?.stop(patience)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.launch.addr
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Fails with its last words if it ended by itself.
    pub fn check(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::check)
    }
}

/// A broker under measurement.
pub struct Peer {
    /// Its name in tables.
    pub name: String,
    /// `host:port` for clients.
    pub bootstrap: String,
    /// From the start of the process to the first answered Metadata; `None` for a broker we did not start.
    pub started_in: Option<Duration>,
    /// The directory that holds `wal/`, where objects written can be counted.
    pub root: Option<PathBuf>,
    /// Where the log is, if it is Aquifer's and ours: for `aquifer storage`.
    pub storage: Option<Storage>,
    /// Where the log is, if it is Kafka's and ours.
    kafka_log: Option<PathBuf>,
    broker: Runs,
    // After the broker: fields are dropped in order, and the store must outlive it.
    store: Option<Minio>,
}

enum Runs {
    Ours(Broker),
    Elsewhere(Option<u32>),
}

impl Peer {
    /// Starts a peer with its data under `dir`. `settings` are `KEY=VALUE` for Aquifer.
    pub fn start(kind: PeerKind, dir: &Path, settings: &[String]) -> Result<Peer> {
        std::fs::create_dir_all(dir)?;
        let (mut store, mut storage) = (None, None);
        let (launch, root) = match kind {
            PeerKind::AquiferDirectory => {
                let root = dir.join("log");
                std::fs::create_dir_all(&root)?;
                let url = format!("file://{}", root.display());
                let at = storage.insert(Storage { url, environment: vec![] });
                (aquifer::launch(&at.url, &at.environment, dir, settings)?, Some(root))
            }
            PeerKind::AquiferMinio => {
                let minio = store.insert(Minio::start(dir, &[BUCKET])?);
                let at = storage.insert(minio.storage(BUCKET, "aquifer"));
                let launch = aquifer::launch(&at.url, &at.environment, dir, settings)?;
                (launch, Some(minio.data.join(BUCKET).join("aquifer")))
            }
            PeerKind::Kafka => (kafka::launch(dir)?, None),
            PeerKind::Tansu => {
                let minio = store.insert(Minio::start(dir, &[BUCKET])?);
                (tansu::launch(minio.addr, BUCKET, dir)?, None)
            }
        };
        let (broker, started_in) = Broker::start(launch)?;
        Ok(Peer {
            name: kind.name().to_owned(),
            bootstrap: broker.addr().to_string(),
            started_in: Some(started_in),
            root,
            storage,
            kafka_log: (kind == PeerKind::Kafka).then(|| kafka::log_dir(dir)),
            broker: Runs::Ours(broker),
            store,
        })
    }

    /// A broker that somebody else runs: measured, never started or ended. Without its process id there is nothing to
    /// say of its CPU time and memory.
    pub fn given(name: &str, bootstrap: &str, pid: Option<u32>) -> Peer {
        Peer {
            name: name.to_owned(),
            bootstrap: bootstrap.to_owned(),
            started_in: None,
            root: None,
            storage: None,
            kafka_log: None,
            broker: Runs::Elsewhere(pid),
            store: None,
        }
    }

    /// The broker, where it is ours to kill and restart.
    pub fn ours(&mut self) -> Option<&mut Broker> {
        match &mut self.broker {
            Runs::Ours(broker) => Some(broker),
            Runs::Elsewhere(_) => None,
        }
    }

    /// CPU time of the broker so far, the store's apart, where its process id is known.
    pub fn broker_cpu(&self) -> Result<Option<Duration>> {
        self.pid()?.map(process::cpu_time).transpose()
    }

    /// CPU time of the broker's threads that do the work of a directory, where it has such.
    pub fn directory_cpu(&self) -> Result<Option<Duration>> {
        let of_threads = |pid| process::cpu_time_of_threads(pid, DIRECTORY_THREADS);
        Ok(self.pid()?.map(of_threads).transpose()?.flatten())
    }

    /// CPU time of the store process so far, where there is one.
    pub fn store_cpu(&self) -> Result<Option<Duration>> {
        self.store.as_ref().map(|s| process::cpu_time(s.pid()?)).transpose()
    }

    /// The store, where it is a process of its own.
    pub fn store(&self) -> Option<&Minio> {
        self.store.as_ref()
    }

    /// Bytes written to the store since broker and store were started for the first time: what the store received, or
    /// what the broker handed to the file system. None for a broker that somebody else runs.
    pub fn bytes_written(&self) -> Result<Option<u64>> {
        match (&self.store, self.pid()?) {
            (Some(store), _) => Ok(Some(store.served()?.received)),
            (None, Some(pid)) => process::file_bytes_written(pid).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Can it be told what is compacted? Not of a broker that somebody else runs.
    pub fn tells_compacted(&self) -> bool {
        self.storage.is_some() || self.kafka_log.is_some()
    }

    /// Until which offset each partition of a topic is compacted, by what the broker has written of it.
    ///
    /// # Errors
    /// It cannot be told, or not be read.
    pub fn compacted(&self, topic: &str, partitions: i32) -> Result<Vec<i64>> {
        if let Some(storage) = &self.storage {
            let at = aquifer::partitions(storage, topic)?;
            return Ok(at.iter().map(|partition| partition.compacted).collect());
        }
        let log = self.kafka_log.as_deref().context("nothing says what is compacted")?;
        kafka::compacted(log, topic, partitions)
    }

    /// Resident memory of the broker, where its process id is known.
    pub fn resident(&self) -> Result<Option<Resident>> {
        self.pid()?.map(process::resident).transpose()
    }

    /// Lets the peak of that memory begin anew.
    pub fn forget_peak(&self) -> Result<()> {
        self.pid()?.map_or(Ok(()), process::forget_peak)
    }

    /// Fails with its last words if the broker is gone.
    pub fn check(&mut self) -> Result<()> {
        self.ours().map_or(Ok(()), Broker::check)
    }

    fn pid(&self) -> Result<Option<u32>> {
        match &self.broker {
            Runs::Ours(broker) => broker.pid().context("the broker is not running").map(Some),
            Runs::Elsewhere(pid) => Ok(*pid),
        }
    }
}

/// The directory of big things that are fetched once and kept outside the clone: `$AQUIFER_CACHE`, else
/// `$XDG_CACHE_HOME/aquifer`, else `~/.cache/aquifer`.
pub fn cache() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("AQUIFER_CACHE") {
        return Ok(dir.into());
    }
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").context("neither AQUIFER_CACHE nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("aquifer"))
}
