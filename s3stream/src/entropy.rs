//! The only source of chance. Nonces must differ between processes (seeded by the system), and must not differ between two
//! runs of one simulated seed.
//!
//! A machine cloned with its memory rolls the same dice on both copies, so a nonce never proves by itself who wrote
//! something: see `store::create`, which compares whole bodies (SAFETY F18).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::ids::Nonce;

/// A shared, seeded generator. Clones share its state.
#[derive(Clone)]
pub struct Entropy(Arc<Mutex<StdRng>>);

impl Entropy {
    /// Seeded by the system.
    pub fn from_os() -> Entropy {
        Entropy(Arc::new(Mutex::new(StdRng::from_os_rng())))
    }

    /// The same sequence for the same seed.
    pub fn seeded(seed: u64) -> Entropy {
        Entropy(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Another generator, seeded from this one: for a part whose dice must not depend on how often others roll.
    pub fn fork(&self) -> Entropy {
        Entropy::seeded(self.u64())
    }

    /// 64 random bits that name an attempt, a process or an object. Never zero, which means "none" in formats.
    pub fn nonce(&self) -> Nonce {
        Nonce(self.u64().max(1))
    }

    /// 64 random bits.
    pub fn u64(&self) -> u64 {
        self.0.lock().random()
    }

    /// Uniform in [0, 1).
    pub fn unit_f64(&self) -> f64 {
        self.0.lock().random()
    }

    /// True with probability `p`.
    pub fn chance(&self, p: f64) -> bool {
        self.unit_f64() < p
    }

    /// Uniform in [0, `d`).
    pub fn jitter(&self, d: Duration) -> Duration {
        d.mul_f64(self.unit_f64())
    }

    /// Fills `out` with random bytes.
    pub fn fill(&self, out: &mut [u8]) {
        self.0.lock().fill(out);
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its state would tell the nonces to come.
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_rolls_the_same_dice_and_another_does_not() {
        let (a, b, c) = (Entropy::seeded(7), Entropy::seeded(7), Entropy::seeded(8));
        let roll = |e: &Entropy| (0..8).map(|_| e.u64()).collect::<Vec<_>>();
        let first = roll(&a);
        assert_eq!(first, roll(&b));
        assert_ne!(first, roll(&c));
        assert_ne!(Entropy::from_os().nonce(), Entropy::from_os().nonce());
    }

    #[test]
    fn jitter_stays_below_its_bound() {
        let e = Entropy::seeded(1);
        let d = Duration::from_millis(100);
        let rolls: Vec<_> = (0..1000).map(|_| e.jitter(d)).collect();
        assert!(rolls.iter().all(|r| *r < d));
        assert!(rolls.iter().any(|r| *r > d / 2) && rolls.iter().any(|r| *r < d / 2));
    }
}
