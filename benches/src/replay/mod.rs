//! `cargo bench-replay`: reading history. What a replay takes when it is warm and when it is cold, alone and four at a
//! time, and what others notice of it; what a record costs in the store over its life; how fast a topic is compacted; how
//! soon a broker with much in its log is back. Aquifer on a directory and on MinIO beside Apache Kafka, one after another
//! on one machine.
//!
//! Cold means: the broker was stopped and started again, so that its own memory holds nothing of the log, one other topic
//! was read, so that its code is warm and the memory that a replay passes through has been touched (which a machine may
//! have it pay for once), and the machine's page cache was dropped. Where that is not allowed, what would be cold is not
//! measured.
//!
//! A record that is missing fails a measurement, a time never does.
//!
//! | module | owns |
//! |---|---|
//! | [`steps`]      | the measurements, in their order |
//! | [`clean`]      | log compaction; [`keyed`]: what it is given, and what must be left of that |
//! | [`restart`]    | the one with much in the log |
//! | [`plain_gets`] | what the store gives when it is just asked |
//! | [`page`]       | ratios within a peer, goals, `docs/replay.md` |

use clap::ValueEnum;

pub mod clean;
pub mod keyed;
pub mod page;
pub mod plain_gets;
pub mod restart;
pub mod steps;

/// What depends on [`Plan::tail_rate`]: families of figures, and keys.
pub const PACED: &[&str] = &["tail", "busy", "within.tail_p99", "within.produce"];

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Step {
    /// One replay of what was just written.
    Warm,
    /// What the records cost in the store when all has come to rest.
    Life,
    /// One replay of what is in nobody's memory.
    Cold,
    /// Four of them at once.
    Four,
    /// GETs of the same objects without a broker.
    Limit,
    /// A producer and a tail at a bounded rate, alone.
    Tail,
    /// The same beside four replays.
    Busy,
    /// Log compaction of a topic of its own.
    Clean,
    /// Back after kill -9 with much in the log.
    Restart,
}

impl Step {
    /// What it is in a sentence, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Warm => "warm replay",
            Step::Life => "the records' life in the store",
            Step::Cold => "cold replay",
            Step::Four => "4 cold replays",
            Step::Limit => "plain GETs",
            Step::Tail => "producer and tail, alone",
            Step::Busy => "producer and tail beside 4 replays",
            Step::Clean => "compacting",
            Step::Restart => "restart after kill -9",
        }
    }

    /// What the keys of its figures have before the point.
    pub const fn families(self) -> &'static [&'static str] {
        match self {
            Step::Warm => &["warm"],
            Step::Life => &["life"],
            Step::Cold => &["cold"],
            Step::Four => &["four"],
            Step::Limit => &["limit"],
            Step::Tail => &["tail"],
            Step::Busy => &["busy"],
            Step::Clean => &["clean"],
            Step::Restart => &["restart"],
        }
    }
}

/// All that a peer has no figures of where its topics could not be filled.
pub const FAMILIES: &[&str] =
    &["fill", "warm", "life", "cold", "four", "limit", "tail", "busy", "clean", "restart", "within"];

/// How much work there is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// MiB of the topic that is replayed.
    pub size_mib: u64,
    /// MiB of the topic that warms the code, and touches the memory that passes through.
    pub warm_up_mib: u64,
    /// Measured seconds of producer and tail, alone and beside replays.
    pub tail_seconds: u64,
    /// Records a second of that producer.
    pub tail_rate: u64,
    /// MiB of the topic that is compacted.
    pub clean_mib: u64,
    /// Its partitions: the fewer, the more keys are held in memory at a time.
    pub clean_partitions: i32,
    /// MiB in the log at kill -9.
    pub restart_mib: u64,
    /// Partitions, beside those of the topics, at kill -9.
    pub restart_partitions: i32,
    /// How long what was written may take to come to rest.
    pub settle_seconds: u64,
}

impl Plan {
    /// What the published figures are made with.
    pub fn full() -> Plan {
        Plan {
            size_mib: 4096,
            warm_up_mib: 1024,
            tail_seconds: 30,
            tail_rate: 10_000,
            clean_mib: 1024,
            clean_partitions: 4,
            restart_mib: 8192,
            restart_partitions: 10_000,
            settle_seconds: 400,
        }
    }

    /// A look: about three minutes a peer, most of them spent on waiting for rest.
    pub fn quick() -> Plan {
        Plan {
            size_mib: 512,
            warm_up_mib: 128,
            tail_seconds: 10,
            tail_rate: 10_000,
            clean_mib: 256,
            clean_partitions: 4,
            restart_mib: 1024,
            restart_partitions: 2_000,
            settle_seconds: 300,
        }
    }

    /// For a peer that is too slow for the amounts of the others: a sixteenth of them. Figures are per GiB and per second
    /// all the same. It is offered the 500th part of the records a second: what a peer cannot take waits in a queue, and the
    /// latency would be the time that it was measured.
    pub fn for_slow_peer(&self) -> Plan {
        Plan {
            size_mib: (self.size_mib / 16).max(32),
            warm_up_mib: (self.warm_up_mib / 16).max(8),
            tail_rate: (self.tail_rate / 500).max(1),
            ..self.clone()
        }
    }
}
