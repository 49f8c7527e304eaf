//! The broker.

pub mod coordinator;
