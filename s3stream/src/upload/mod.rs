//! From the lane to the objects that history is read from (DESIGN §6).
//!
//! [`plan`] (p) says what of some lane objects goes where; [`task`] fetches them (from the tail, else from the store),
//! composes the object, puts it, and proposes the one record that makes it count and trims the lane; [`adopt`] leaves large
//! ones where they are.

mod adopt;
pub mod plan;
#[cfg(test)]
pub(crate) mod rig;
pub mod task;

use async_trait::async_trait;
use bytes::Bytes;

use crate::catalog::{Catalog, StorageRecord};
use crate::ids::StreamId;
use crate::object::AttachmentEntry;

pub use task::{InWork, ObjectCounter, UploadDials, Uploader};

/// The journal, as storage's own tasks need it.
#[async_trait]
pub trait CatalogJournal: Send + Sync {
    /// The catalog of the newest image that may be acted on, and the number of its last commit.
    fn catalog(&self) -> (u64, Catalog);
    /// Proposes one mutation; returns when it is in [`CatalogJournal::catalog`], or known not to be in the log.
    ///
    /// # Errors
    /// A sentence. Refused and outcome unknown alike: the caller looks at the catalog again.
    async fn propose(&self, records: Vec<StorageRecord>) -> Result<(), String>;
    /// Does everybody who reads the journal know records of adoption (its feature level)?
    fn can_adopt(&self) -> bool;
}

/// What the user of streams keeps beside them: pure, so that owner and heir make the same bytes (DESIGN §6 "Checkpoint").
pub trait Checkpoints: Send + Sync {
    /// The checkpoint after these attachments; None where the state is empty.
    fn advance(
        &self,
        stream: StreamId,
        before: Option<&Bytes>,
        attachments: &[AttachmentEntry],
    ) -> Option<Bytes>;
}

/// Told what was uploaded, when the catalog has it.
pub trait UploadSink: Send + Sync {
    /// Objects hold all that is kept of each stream below its end.
    fn uploaded(&self, ends: &[(StreamId, u64)]);
}
