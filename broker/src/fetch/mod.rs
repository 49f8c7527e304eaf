//! Reading: who waits for what ([`interest`]), what a consumer has told us so far ([`session`], p), and how an answer is
//! gathered ([`gather`]).

pub mod gather;
pub mod interest;
pub mod session;
