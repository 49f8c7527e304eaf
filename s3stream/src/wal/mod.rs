//! The write-ahead lane: the numbered objects of one broker incarnation (DESIGN §5).
//!
//! A record's way: [`open_object`] takes it, [`cut`] says when, [`lane`] makes the object, puts it and tells its sinks in
//! lane order, `seal` ends a lane for good, `recovery` reads a dead one.

pub mod chunk;
pub mod cut;
pub mod lane;
mod lane_task;
pub mod open_object;
pub mod put_times;
pub mod recovery;
pub mod seal;
mod shared_chunks;

pub use lane::{FencedBy, Lane, LaneConfig, LaneEnded, LaneStats, NoRoom};
pub use open_object::{Append, Attachment, Prefix, StreamSink};
pub use seal::{SealError, Sealed, seal};

#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod seal_tests;
#[cfg(test)]
mod simulation;
