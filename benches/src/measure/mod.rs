//! One module per measurement. Each takes a running peer and the plan, and returns figures.
//!
//! Order of a run, per peer: [`start`] (empty), [`produce`] with its warm-up, [`replay`] of what was produced,
//! [`small_batches`], [`latency`], [`puts`], and last [`restart`], because a broker that was killed is cold again.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::{Payloads, RECORD_BYTES};
use crate::peers::Peer;

pub mod latency;
pub mod produce;
pub mod puts;
pub mod replay;
pub mod restart;
pub mod small_batches;
pub mod start;

/// Bytes of a MiB and a GiB.
pub const MIB: u64 = 1 << 20;
/// See [`MIB`].
pub const GIB: u64 = 1 << 30;

/// How much work each measurement gets.
#[derive(Clone, Debug)]
pub struct Plan {
    /// MiB produced before anything is measured.
    pub warm_up_mib: u64,
    /// MiB produced and replayed under measurement.
    pub size_mib: u64,
    /// Measured one-record batches.
    pub small_batches: u64,
    /// Measured seconds at 200 records a second.
    pub latency_seconds: u64,
    /// Seconds of each PUT count.
    pub puts_seconds: u64,
    /// MiB in the log when the broker is killed.
    pub restart_mib: u64,
}

impl Plan {
    /// What the published figures are made with.
    pub fn full() -> Plan {
        Plan {
            warm_up_mib: 1024,
            size_mib: 2048,
            small_batches: 100_000,
            latency_seconds: 30,
            puts_seconds: 10,
            restart_mib: 1024,
        }
    }

    /// A look in about a minute a peer; figures of the JVM are worse than when it is warm.
    pub fn quick() -> Plan {
        Plan {
            warm_up_mib: 256,
            size_mib: 512,
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
}

impl Run<'_> {
    /// Prints one line of progress.
    pub fn say(&self, text: &str) {
        eprintln!("[{}] {text}", self.peer.name);
    }
}

/// CPU time of broker and store over a stretch of work.
pub struct CpuMeter {
    broker: Duration,
    store: Option<Duration>,
    from: Instant,
}

/// What a [`CpuMeter`] read.
#[derive(Clone, Copy, Debug)]
pub struct CpuUsed {
    /// The broker's CPU time.
    pub broker: Duration,
    /// The store's, where it is a process of its own.
    pub store: Option<Duration>,
    /// Wall time.
    pub wall: Duration,
}

impl CpuMeter {
    /// Begins a stretch.
    pub fn start(peer: &Peer) -> Result<CpuMeter> {
        Ok(CpuMeter { broker: peer.broker_cpu()?, store: peer.store_cpu()?, from: Instant::now() })
    }

    /// Ends it.
    pub fn stop(self, peer: &Peer) -> Result<CpuUsed> {
        let store = peer.store_cpu()?.zip(self.store).map(|(now, then)| now - then);
        Ok(CpuUsed { broker: peer.broker_cpu()? - self.broker, store, wall: self.from.elapsed() })
    }
}

/// CPU seconds per GiB of `bytes`.
pub fn per_gib(cpu: Duration, bytes: u64) -> f64 {
    cpu.as_secs_f64() * GIB as f64 / bytes as f64
}

/// MiB per second.
pub fn mib_per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / MIB as f64 / time.as_secs_f64()
}
