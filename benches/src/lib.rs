//! Benchmarks of whole brokers beside their peers, and the rig that starts such processes.
//!
//! `cargo bench-e2e` runs Aquifer on a directory, Aquifer on MinIO and Apache Kafka one after another, gives each
//! the same work from the same client, and prints what it took with the ratio to Kafka. Nothing here asserts a
//! time: machines differ, ratios from one run mean something.
//!
//! | module | owns |
//! |---|---|
//! | [`process`] | one child process: start, end by its id, CPU time and memory from `/proc` |
//! | [`peers`]   | how each peer is started, killed and started again on the same data |
//! | [`probe`]   | the smallest raw requests that show a broker answers (no client library's start-up in the figure) |
//! | [`client`]  | the lean librdkafka client: records, topics, a counting producer, a counting consumer |
//! | [`measure`] | one module per measurement |
//! | [`report`]  | figures to table and JSON |
//! | [`goals`]   | what is aimed at, and whether a run reached it |
//! | [`machine`] | on what, and of which versions |
//! | [`replay`]  | `cargo bench-replay`: reading history, and whom it disturbs; compacting it |
//! | [`scale`]   | `cargo bench-scale`: one broker with 10,000 partitions and 1,000 connections |
//! | [`chart`], [`docs`] | `docs/performance.svg` and `docs/performance.md` |
//!
//! The client runs in this process and the broker in its own, so the broker's CPU time never holds the client's.
//! The broker is not linked in: the tests use the same rig, and neither waits for the other to compile.
//! The hot pure pieces are measured by criterion in `benches/benches/` (`cargo bench -p aquifer-benches`), which do link it.

#![forbid(unsafe_code)]
// A benchmark measures the machine's own time; there is no simulated clock to respect here.
#![allow(clippy::disallowed_methods)]

pub mod chart;
pub mod client;
pub mod docs;
pub mod goals;
pub mod machine;
pub mod measure;
pub mod peers;
pub mod probe;
pub mod process;
pub mod replay;
pub mod report;
pub mod scale;
