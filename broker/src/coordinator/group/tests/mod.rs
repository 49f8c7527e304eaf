//! Tests of the shard as a whole: `testdata/*.txt` are scripts (a command, `----`, what it brought about), run by
//! `script.rs`; `model.rs` lets many members do anything; `formats.rs` pins the bytes.
//!
//! `REWRITE_SCRIPTS=1 cargo test -p aquifer group::` writes what happens into the scripts, to be read in the diff.

mod formats;
mod model;
mod rig;
mod script;
