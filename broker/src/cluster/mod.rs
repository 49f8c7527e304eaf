//! Other processes: who answers at an address ([`identity`]).

pub mod identity;
