//! The broker: Kafka's meaning, written once, above storage.
//!
//! The life of a **produce**, in files: `server/connection` → `server/frame_reader` → `dispatch` → `handlers/produce` →
//! `partition/append` (p: is it honest?) → `partition/mod` (`Partition::append`: offsets, order) → `s3stream/wal/lane` →
//! the bucket; back through `Partition::durable` and `server/reply_queue`.
//!
//! The life of a **fetch**: `server/connection` → `dispatch` → `handlers/fetch` → `fetch/session` (what is wanted) →
//! `fetch/gather` (waits here) → `partition/mod` (`Partition::find`) → `s3stream/cache/reader` → `partition/slice` (p).
//!
//! **Later**: `storage_tasks` (the broker's side of `s3stream/upload` and `s3stream/gc`) moves records from the lane into objects
//! of `data/`, which `s3stream/history` finds again; `retention` moves log starts.
//!
//! The life of a **rebalance**: `handlers/join_group` → `coordinator/runtime` → `coordinator/group/shard` (p) →
//! `coordinator/group/rebalance` (p) → back through `runtime`, which appends and then answers.

#![forbid(unsafe_code)]

pub mod broker;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod dispatch;
pub mod error;
pub mod fetch;
pub mod free_space;
pub mod handlers;
pub mod log_cleaner;
pub mod log_levels;
pub mod metadata;
pub mod partition;
pub mod producer_ids;
pub mod retention;
pub mod server;
pub mod start;
pub mod storage_tasks;
pub mod topics;
pub mod trims;
