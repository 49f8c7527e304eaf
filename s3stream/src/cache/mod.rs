//! What of the objects is in memory: the tail that this process wrote, and blocks that were read back.

pub mod tail;

#[cfg(test)]
pub(crate) mod rig;
