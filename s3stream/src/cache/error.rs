//! Why a block could not be read.

use std::sync::Arc;

use crate::ids::StoreId;
use crate::store::StoreError;

/// Why a block could not be read. Names the object and where in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The object is not there. The image at hand is old (DESIGN §7: catch up and read again), or data is lost.
    #[error("{key} is missing (wanted at position {position})")]
    Missing {
        /// The object.
        key: String,
        /// First byte of the block in it.
        position: u64,
    },
    /// Twice the bytes were not what the index says.
    #[error("{key} is damaged at position {position}: {what}")]
    Corrupt {
        /// The object.
        key: String,
        /// First byte of the block in it.
        position: u64,
        /// What differs.
        what: String,
    },
    /// The store did not answer in time, or refused.
    #[error("{key} could not be read at position {position}: {error}")]
    Store {
        /// The object.
        key: String,
        /// First byte of the block in it.
        position: u64,
        /// Its last answer.
        error: Arc<StoreError>,
    },
    /// This process was not given that store.
    #[error("{key} lies in store {}, which this process does not have", store.0)]
    UnknownStore {
        /// The object.
        key: String,
        /// Where it lies.
        store: StoreId,
    },
}

impl ReadError {
    /// The same, of another block of the same load.
    pub(super) fn at(mut self, at: u64) -> ReadError {
        match &mut self {
            ReadError::Missing { position, .. }
            | ReadError::Corrupt { position, .. }
            | ReadError::Store { position, .. } => *position = at,
            ReadError::UnknownStore { .. } => {}
        }
        self
    }

    /// May the same call succeed later, with the same image?
    pub fn is_transient(&self) -> bool {
        matches!(self, ReadError::Store { error, .. } if matches!(**error, StoreError::Transient(_)))
    }
}
