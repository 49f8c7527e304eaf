//! Whole-broker tests.

pub mod fault_proxy;
pub mod load;
pub mod server;
pub mod sim;
