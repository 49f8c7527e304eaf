//! Repeatable damage, for `cargo test`, which has no engine that learns: bits, bytes, lengths, cuts, repeats.

/// Randomness (xorshift) and what is done with it.
#[derive(Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// The same damage for the same seed.
    pub fn new(seed: u64) -> Mutator {
        Mutator(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// `bytes` with one to three things wrong.
    pub fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => {
                    let again = bytes[at..bytes.len().min(at + 16)].to_vec();
                    bytes.splice(at..at, again);
                }
                // A length or a count that lies.
                2 if at + 4 <= bytes.len() => {
                    let lie = [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0; 4], [0x80, 0, 0, 0]][self.below(4)];
                    bytes[at..at + 4].copy_from_slice(&lie);
                }
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                4 if at < bytes.len() => {
                    bytes.remove(at);
                }
                _ if at < bytes.len() => bytes[at] = self.below(256) as u8,
                _ => bytes.push(self.below(256) as u8),
            }
        }
        bytes
    }
}
