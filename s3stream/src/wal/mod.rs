//! The write-ahead lane: the numbered objects of one broker incarnation (DESIGN §5).
//!
//! A record's way: [`open_object`] takes it, [`cut`] says when, [`lane`] makes the object, puts it and tells its sinks in
//! lane order, `seal` ends a lane for good, `recovery` reads a dead one.

pub mod chunk;
