//! Sockets: [`listener`] accepts as many as [`connections`] allows, [`frame_reader`] reads bounded frames, [`connection`] runs one client, [`reply_queue`]
//! keeps its answers in order.

pub mod connection;
pub mod connections;
pub mod frame_reader;
pub mod listener;
pub mod reply_queue;
