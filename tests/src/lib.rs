//! Whole-broker tests.

#![forbid(unsafe_code)]

pub mod fault_proxy;
pub mod load;
pub mod server;
pub mod sim;
