//! Reading: who waits for what ([`interest`]), what a consumer has told us so far ([`session`], p), where records lie
//! ([`locate`]), and how an answer is gathered ([`gather`]).

pub mod gather;
pub mod interest;
pub mod locate;
pub mod session;
