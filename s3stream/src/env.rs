//! What a process is given from outside: time, chance and a place for its tasks. One value, cloned everywhere, so that the
//! simulation can run several processes in one runtime, each with its own clock, its own seed and its own `kill -9`.
//!
//! Owns nothing but the three handles. Sleeping and time-outs are `tokio::time` (which the simulation pauses); whoever
//! reads a time asks `clock`, whoever rolls a die asks `entropy`, whoever starts something asks `tasks`.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::entropy::Entropy;
use crate::tasks::Tasks;

/// The surroundings of one process. Cheap to clone; clones are the same process.
#[derive(Clone, Debug)]
pub struct Env {
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Chance: nonces and jitter.
    pub entropy: Entropy,
    /// Every task of this process.
    pub tasks: Tasks,
}

impl Env {
    /// The machine's clocks and randomness.
    pub fn system() -> Env {
        Env { clock: Arc::new(SystemClock), entropy: Entropy::from_os(), tasks: Tasks::new() }
    }

    /// The machine's clocks under seeded randomness: for tests that do not own their time.
    pub fn seeded(seed: u64) -> Env {
        Env { clock: Arc::new(SystemClock), entropy: Entropy::seeded(seed), tasks: Tasks::new() }
    }
}
