//! One module per measurement. Each takes a running peer and the plan, and returns figures.
//!
//! Order of a run, per peer: [`start`] (empty), [`produce`] with its warm-up, [`replay`] of what was produced while memory
//! has it, produce once more in small requests, [`small_batches`], [`latency`], [`puts`], [`memory`] after all that, and last
//! [`restart`], because a broker that was killed is cold again. Before each that follows a load, but the last, the peer comes to [`rest`]: what a load
//! leaves to be done afterwards is a figure of that load, and not part of the next one.

use std::time::Duration;

use anyhow::Result;

use crate::client::{self, Load, Payloads, Produced, RECORD_BYTES};
use crate::machine;
use crate::peers::Peer;
use crate::report::{Figure, figure};

pub mod latency;
pub mod memory;
pub mod plain_puts;
pub mod produce;
pub mod puts;
pub mod replay;
pub mod rest;
pub mod restart;
pub mod small_batches;
pub mod start;

/// Bytes of a MiB and a GiB.
pub const MIB: u64 = 1 << 20;
/// See [`MIB`].
pub const GIB: u64 = 1 << 30;

/// On a machine with more than 32 GiB a broker's budget is to be set, or it is measured while it fills.
const FILL_MIB_MAX: u64 = 8 << 10;

/// How much work each measurement gets.
#[derive(Clone, Debug)]
pub struct Plan {
    /// MiB produced before that: a broker that has run for a while has used all memory that it takes, and memory that is
    /// touched for the first time costs more than anything that is done with it. A quarter of the machine's, at most
    /// [`FILL_MIB_MAX`].
    pub fill_mib: u64,
    /// MiB produced before anything is measured.
    pub warm_up_mib: u64,
    /// MiB produced and replayed under measurement.
    pub size_mib: u64,
    /// MiB produced in requests of 16 KiB.
    pub small_requests_mib: u64,
    /// Measured one-record batches.
    pub small_batches: u64,
    /// Measured seconds at 200 records a second.
    pub latency_seconds: u64,
    /// Seconds of each PUT count.
    pub puts_seconds: u64,
    /// MiB added to the log before the broker is killed.
    pub restart_mib: u64,
}

impl Plan {
    /// What the published figures are made with.
    pub fn full() -> Plan {
        Plan {
            fill_mib: (machine::memory_mib() / 4).min(FILL_MIB_MAX),
            warm_up_mib: 1024,
            size_mib: 2048,
            small_requests_mib: 1024,
            small_batches: 100_000,
            latency_seconds: 30,
            puts_seconds: 10,
            restart_mib: 1024,
        }
    }

    /// A look in about a minute a peer; figures of the JVM are worse than when it is warm.
    pub fn quick() -> Plan {
        Plan {
            fill_mib: 0,
            warm_up_mib: 256,
            size_mib: 512,
            small_requests_mib: 256,
            small_batches: 20_000,
            latency_seconds: 8,
            puts_seconds: 4,
            restart_mib: 256,
        }
    }
}

/// Records that fill this many MiB.
pub fn records(mib: u64) -> u64 {
    mib * MIB / RECORD_BYTES as u64
}

/// What every measurement is given.
pub struct Run<'a> {
    /// The peer under measurement.
    pub peer: &'a mut Peer,
    /// How much to do.
    pub plan: &'a Plan,
    /// Record values.
    pub payloads: &'a Payloads,
    /// Bytes of records that this run has put into the peer's log.
    pub produced_bytes: u64,
}

impl Run<'_> {
    /// Prints one line of progress.
    pub fn say(&self, text: &str) {
        eprintln!("[{}] {text}", self.peer.name);
    }

    /// Produces a load, telling its progress.
    pub fn produce(&mut self, what: &str, load: &Load<'_>) -> Result<Produced> {
        let mib = |records: u64| records * RECORD_BYTES as u64 / MIB;
        let total = mib(load.records);
        let produced = client::produce(&self.peer.bootstrap, self.payloads, load, |acked| {
            self.say(&format!("{what}: {} of {total} MiB", mib(acked)));
        })?;
        self.produced_bytes += load.records * RECORD_BYTES as u64;
        self.say(&format!("{what}: {total} MiB in {:.1?}", produced.took));
        Ok(produced)
    }

    /// Produces a load under measurement: throughput, the requests it took, and what a GiB and 1,000 requests cost.
    /// Keys begin with `key`, labels with `label`.
    pub fn measure_produce(&mut self, key: &str, label: &str, load: &Load<'_>) -> Result<Vec<Figure>> {
        let meter = CpuMeter::start(self.peer)?;
        let produced = self.produce(label, load)?;
        let cpu = meter.stop(self.peer)?;
        let requests = produced.requests()?;
        let bytes = load.records * RECORD_BYTES as u64;
        let mut figures = vec![
            figure(format!("{key}.throughput"), label, "MiB/s", mib_per_second(bytes, produced.took)),
            figure(
                format!("{key}.request"),
                format!("{label}, mean request"),
                "KiB",
                bytes as f64 / 1024.0 / requests as f64,
            ),
        ];
        figures.extend(cpu.figures(key, label, bytes));
        if let Some(broker) = cpu.broker {
            figures.push(figure(
                format!("{key}.cpu_requests"),
                format!("{label}, broker CPU"),
                "CPU·s/1,000 requests",
                broker.as_secs_f64() * 1e3 / requests as f64,
            ));
        }
        if let Some((broker, directory)) = cpu.broker.zip(cpu.directory) {
            figures.push(figure(
                format!("{key}.cpu_besides_store"),
                format!("{label}, broker CPU besides its store's"),
                "µs/request",
                broker.saturating_sub(directory).as_secs_f64() * 1e6 / requests as f64,
            ));
        }
        Ok(figures)
    }
}

/// CPU time of broker and store over a stretch of work.
pub struct CpuMeter {
    broker: Option<Duration>,
    directory: Option<Duration>,
    store: Option<Duration>,
}

/// What a [`CpuMeter`] read.
#[derive(Clone, Copy, Debug)]
pub struct CpuUsed {
    /// The broker's CPU time, where its process id is known.
    pub broker: Option<Duration>,
    /// Of that what its directory took, where it has one and tells.
    pub directory: Option<Duration>,
    /// The store's, where it is a process of its own.
    pub store: Option<Duration>,
}

impl CpuUsed {
    /// CPU seconds per GiB of `bytes`.
    pub fn figures(&self, key: &str, label: &str, bytes: u64) -> Vec<Figure> {
        let per_gib = |name: &str, who: &str, cpu: Option<Duration>| {
            let value = cpu?.as_secs_f64() * GIB as f64 / bytes as f64;
            Some(figure(format!("{key}.{name}"), format!("{label}, {who} CPU"), "CPU·s/GiB", value))
        };
        [per_gib("cpu", "broker", self.broker), per_gib("store_cpu", "store", self.store)]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl CpuMeter {
    /// Begins a stretch.
    pub fn start(peer: &Peer) -> Result<CpuMeter> {
        Ok(CpuMeter {
            broker: peer.broker_cpu()?,
            directory: peer.directory_cpu()?,
            store: peer.store_cpu()?,
        })
    }

    /// Ends it.
    pub fn stop(self, peer: &Peer) -> Result<CpuUsed> {
        let used = |now: Option<Duration>, then| now.zip(then).and_then(|(now, then)| now.checked_sub(then));
        Ok(CpuUsed {
            broker: used(peer.broker_cpu()?, self.broker),
            directory: used(peer.directory_cpu()?, self.directory),
            store: used(peer.store_cpu()?, self.store),
        })
    }
}

/// MiB per second.
pub fn mib_per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / MIB as f64 / time.as_secs_f64()
}
