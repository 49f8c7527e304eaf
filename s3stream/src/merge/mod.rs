//! Merging: fewer and larger objects of `data/`, in which what belongs together lies together (DESIGN §6, PRACTICE U3).
//! (The word *compaction* is Kafka's: by key.)
//!
//! - [`plan`]: what to merge into what, from an image of the catalog alone (pure);
//! - [`output`]: which ranges go into which object (pure);
//! - [`pace`]: when it gives way to producers (pure);
//! - [`task`]: carries it out.

pub mod output;
mod pace;
pub mod plan;
#[cfg(test)]
mod simulation;
pub mod task;

pub use output::{MergeOutput, MergeStream};
pub use plan::{MergeDials, MergeKind, MergePlan, plan};
pub use task::Merger;
