//! The simulation's world: clocks that can be wrong, a bucket that loses answers, a disk that loses power. For tests of
//! this crate and of the crates above it (feature `sim`).
//!
//! The rules that make a run repeat bit for bit: one current-thread runtime with tokio's clock paused; every die is rolled
//! by a seeded [`crate::entropy::Entropy`] or by the world's own; no threads, no sockets, no files. The *real* S3 client runs
//! over [`s3::FakeS3`], the *real* steps of a directory over [`directory::SimVolume`].

pub mod clock;
pub mod directory;
#[cfg(feature = "aws")]
pub mod s3;

use std::sync::Arc;

use crate::entropy::Entropy;
use crate::env::Env;
use crate::tasks::Tasks;

/// One simulated process: its own clock, dice and tasks.
#[derive(Clone, Debug)]
pub struct SimProcess {
    /// What its code is given.
    pub env: Env,
    /// Its clock, to set.
    pub clock: Arc<clock::SimClock>,
}

impl SimProcess {
    /// A process with a right clock and dice of its own.
    pub fn new(seed: u64) -> SimProcess {
        let clock = Arc::new(clock::SimClock::new());
        let env = Env { clock: clock.clone(), entropy: Entropy::seeded(seed), tasks: Tasks::new() };
        SimProcess { env, clock }
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.env.tasks.kill();
    }
}

/// Runs `world` on a paused current-thread runtime, as `#[tokio::test(start_paused = true)]` does: for loops over seeds.
pub fn run<T>(world: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime {
        Ok(runtime) => runtime.block_on(world),
        Err(error) => panic!("no runtime: {error}"),
    }
}
