//! Whole-broker tests.

pub mod fault_proxy;
pub mod server;
pub mod sim;
