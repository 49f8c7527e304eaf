//! Every parser of bytes from outside, as a fuzz target: a function over bytes that panics where something does not hold.
//!
//! Owns the table of targets, their seeds (made by functions, not files) and what each asserts beyond not crashing: what
//! decodes encodes to what it was, sizes stay within their bounds. Does not own the engine: `bin/fuzz.rs` is libFuzzer
//! around this table, `tests/fuzz/run` starts it, and `cargo test` sends every seed, and a few thousand mutations of them,
//! through every target without it.
//!
//! Where a format ends in a checksum, the target writes it anew, so that damage reaches the parser behind it. What was
//! found is a named test beside the parser that was at fault.

pub mod mutate;
pub mod repair;
mod targets;

pub use targets::{TARGETS, Target};

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::Mutator;

    /// Mutations of each seed.
    const MUTATIONS: usize = 20;

    #[test]
    fn every_target_takes_its_seeds_and_mutations_of_them() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seed", target.name);
            let mut mutator = Mutator::new(target.name.len() as u64);
            (target.run)(&[]);
            for seed in &seeds {
                (target.run)(seed);
                for _ in 0..MUTATIONS {
                    (target.run)(&mutator.mutated(seed));
                }
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for target in TARGETS {
            assert_eq!(TARGETS.iter().filter(|other| other.name == target.name).count(), 1);
        }
    }
}
