//! Sockets: [`listener`] accepts as many as [`connections`] allows, [`frame_reader`] reads bounded frames into memory of
//! [`receive_buffers`], [`connection`] runs one client, [`reply_queue`]
//! keeps its answers in order.

pub mod connection;
pub mod connections;
pub mod frame_reader;
pub mod listener;
pub mod receive_buffers;
pub mod reply_queue;
