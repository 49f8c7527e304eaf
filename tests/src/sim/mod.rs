//! Whole-broker simulation (DESIGN §10.3): one seed is one run of brokers, clients and a hostile world in one thread, with
//! tokio's time paused; the history of what the clients saw is then judged. Same seed, same trace, bit for bit.
//!
//! | file | owns |
//! |---|---|
//! | `history.rs`, `commits.rs` | what clients saw, and what must never be seen (pure) |
//! | `world.rs` | the store, the brokers' lives, kills, pauses, successors |
//! | `wire.rs` | one connection: real frames over a pipe in memory |
//! | `producer.rs`, `consumer.rs`, `member.rs`, `trimmer.rs` | clients |
//! | `run.rs` | one seed from beginning to verdict |

mod commits;
pub mod consumer;
pub mod history;
pub mod member;
pub mod producer;
pub mod run;
mod trimmer;
pub mod wire;
pub mod world;
