//! Whole-broker tests.

pub mod server;
