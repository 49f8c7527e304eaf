//! The bucket, behind one conditional primitive (DESIGN §2).
//!
//! `put_new` is the only conditional operation every store has, and it is tri-state: an answer that does not say
//! "created" or "exists" outright says nothing (I4). Whoever needs to know resolves it with [`create`]. Nothing here
//! retries by itself: a retried success comes back as a conflict.

pub mod cloud;
pub mod create;
pub mod directory;
pub mod hedge;
pub mod memory;
pub mod metrics;
pub mod proof;
pub mod retry;
pub mod url;

#[cfg(test)]
mod conformance;

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
pub use object_store::PutPayload;

pub use self::create::{Create, CreateOptions, CreateStats, create};
pub use self::directory::DirectoryStore;
pub use self::memory::MemoryStore;
pub use self::retry::{retry, retry_in_turn};
pub use self::url::{OpenError, open};

/// What one attempt to create a key told us.
#[derive(Debug)]
pub enum PutNew {
    /// The store said so explicitly: this attempt made the object, and it is durable.
    Created,
    /// 409 or 412: something may be there. Believed only after reading it (SAFETY F18).
    Exists,
    /// Anything else: the object may or may not be there, now or later.
    Unknown(StoreError),
}

/// Why a store call gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A transient fault: time-out, 5xx, connection cut. Retry (I10).
    #[error("store did not answer: {0}")]
    Transient(String),
    /// The store refuses for good: credentials, missing bucket, permissions.
    #[error("store refused: {0}")]
    Refused(String),
    /// No room in the directory.
    #[error("no space left in {0}")]
    NoSpace(String),
    /// fsync failed: nothing written since the last one is known to be there, and asking again proves nothing. Ends the
    /// process (I10, SAFETY F17).
    #[error("fsync failed: {0}")]
    FsyncFailed(String),
}

/// A listed object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key, below the root.
    pub key: String,
    /// Its length in bytes.
    pub len: u64,
}

/// The room of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes free for new objects.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// The end of an object.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The last bytes, at most as many as asked for.
    pub bytes: Bytes,
    /// Length of the whole object.
    pub object_len: u64,
}

/// What the lane and the reader should know of a store. Not promises: tuning.
#[derive(Clone, Debug)]
pub struct StoreTraits {
    /// For logs and messages: the URL without secrets.
    pub name: String,
    /// True for a directory: one PUT in flight, other bounds, fsync of what is observed.
    pub directory: bool,
    /// PUTs a lane keeps in flight.
    pub puts_in_flight: usize,
    /// Default cap of lane PUTs per second (it delays small objects only); None is none.
    pub puts_per_second_max: Option<u32>,
    /// May a slow PUT be sent a second time with the same key and body?
    pub hedge: bool,
    /// Keys that [`Store::delete_all`] takes at a time, at least 1.
    pub deletes_at_once: usize,
    /// In a directory: below this many free bytes produces are refused (the default of `storage.directory.free.min`).
    pub free_min: Option<u64>,
}

/// Bytes of the memory of reads that a store keeps for the next ones, until it is told otherwise: two of the largest.
pub const READ_MEMORY_KEPT: usize = 17 << 20;

/// A store rooted at one place. Keys are relative, with `/` between parts. Calls have deadlines of their own and do not
/// retry; all are cancel-safe in the sense that a dropped call may or may not have happened.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Creates `key` if it is absent. `Created` only when the object is durable.
    async fn put_new(&self, key: &str, body: PutPayload, timeout: Duration) -> PutNew;
    /// The whole object, or None where there is none. In a directory, what is returned has been made durable (F17).
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;
    /// Bytes `range` of the object (its end must lie within it), or None where there is none.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError>;
    /// Like `get_range`, for somebody after whom nobody will read it soon: no cache of the system's needs it.
    async fn get_range_once(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        self.get_range(key, range).await
    }
    /// The last `len` bytes and the object's length, or None where there is none. Made durable like `get`.
    async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError>;
    /// The object's length, or None where there is none.
    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError>;
    /// All objects under `prefix`, sorted by key. For people, sweeps and boot hints: never proof of absence.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError>;
    /// Deletes `key`; absent is fine.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
    /// Deletes `keys`, as one request where the store has one for it; absent is fine. An answer for each, in their order.
    async fn delete_all(&self, keys: &[String]) -> Vec<Result<(), StoreError>> {
        let mut answers = Vec::with_capacity(keys.len());
        for key in keys {
            answers.push(self.delete(key).await);
        }
        answers
    }
    /// Room for new objects, where that means something (a directory).
    async fn space(&self) -> Result<Option<Space>, StoreError>;
    /// Tuning facts.
    fn traits(&self) -> &StoreTraits;
    /// Keeps at most so many bytes of the memory of reads for the next ones, where it keeps any.
    fn keep_read_memory(&self, bytes: usize) {
        let _ = bytes;
    }
}

/// `range` of a whole object. A range outside it is a fault of the caller's index: damage, or another object.
pub(crate) fn slice_range(key: &str, body: &Bytes, range: Range<u64>) -> Result<Bytes, StoreError> {
    if range.start > range.end || range.end > body.len() as u64 {
        let len = body.len();
        return Err(StoreError::Refused(format!(
            "{key} has {len} bytes, not {}..{}",
            range.start, range.end
        )));
    }
    Ok(body.slice(range.start as usize..range.end as usize))
}

/// The last `len` bytes of a whole object.
pub(crate) fn slice_tail(body: &Bytes, len: u64) -> Tail {
    let object_len = body.len() as u64;
    Tail { bytes: body.slice(object_len.saturating_sub(len) as usize..), object_len }
}
