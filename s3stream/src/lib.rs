//! Streams over object storage: a numbered journal, write-ahead lanes, one object format, a catalog. Knows nothing of Kafka.
//!
//! The map, in the order a record meets it:
//! - [`wal`]: the open object, the cut, the lane's PUTs, the seal, recovery.
//! - [`object`]: the one format of everything that is stored as data.
//! - [`store`]: the bucket, behind one conditional primitive, `put_new`.
//! - [`upload`]: from the lane to the objects that history is read from; [`gc`]: what nobody refers to goes.
//! - [`cache`]: what of it is in memory.
//! - [`stream`]: where the newest blocks of a stream are; [`history`]: where the older ones are.
//! - [`merge`]: fewer and larger objects of it; [`rewrite`]: objects made out of others;
//!   [`claims`]: those that one task leaves to another.
//! - [`catalog`]: which lanes and streams exist and who may write them (pure).
//! - [`journal`]: the numbered log of commits that carries the catalog, generic over its records.

#![forbid(unsafe_code)]

pub mod block_ref;
pub mod budget;
pub mod buffers;
pub mod cache;
pub mod catalog;
pub mod claims;
pub mod clock;
pub mod entropy;
pub mod env;
pub mod gc;
pub mod history;
mod huge_pages;
pub mod ids;
pub mod journal;
pub mod merge;
pub mod object;
pub mod rewrite;
pub mod store;
pub mod stream;
pub mod tasks;
pub mod upload;
pub mod wal;

#[cfg(any(test, feature = "sim"))]
pub mod sim;
