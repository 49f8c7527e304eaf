//! One broker with many partitions and many connections, in a directory: what they cost while nothing happens, and how
//! long what touches all of them takes.
//!
//! `cargo bench-scale` runs [`run`], shows [`goals`] beside the figures and, with `--docs`, writes `docs/scale.md`.
//! A time or an amount never fails a run; a record or a partition that is missing does.
//!
//! | module | owns |
//! |---|---|
//! | [`wire`]  | raw requests over all partitions at once |
//! | [`steps`] | the measurements, in their order |
//! | [`page`]  | the goals and the page |

pub mod page;
pub mod steps;
pub mod wire;

pub use page::{GOALS, Goal, goals};
pub use steps::{Plan, run};
