//! Tests of the journal that need more than one file: a toy image, a bucket with faults, and what happens between them.

mod basics;
mod bucket;
mod fights;
mod golden;
mod seeds;
pub(super) mod toy;
