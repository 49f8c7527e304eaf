//! What a directory does in which order, over an abstract disk: the real one ([`super::disk`]) and the simulated one
//! (`sim::directory`), which loses what was not flushed when the power fails. No system calls here, and no threads.
//!
//! Creating: *stage* (write elsewhere, flush the data) → *publish* (give it its name, unless the name is taken) → *sync the
//! entry* (flush the directory, and the directories above it). Only then Created: from publish to sync the object can be
//! seen by everyone, and a power cut would undo it (PRACTICE E5).
//!
//! Observing: so whoever sees an object that it did not make durable itself flushes its entry before acting on it (SAFETY
//! F17 i), Exists included. What has been made durable once is remembered.
//!
//! A flush that fails has told the truth once; asking again returns success over lost data. So the first failure breaks the
//! store for good, and ends the process (F17 ii, I10).

use std::collections::HashSet;
use std::future::Future;
use std::ops::Range;
use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::store::{PutNew, PutPayload, StoreError, Tail};
use crate::tasks::Tasks;

/// The part of an object to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// These bytes, which must exist.
    Range(Range<u64>),
    /// These, for somebody who reads them once.
    Once(Range<u64>),
    /// At most this many last bytes.
    Tail(u64),
    /// Nothing but its length.
    Length,
}

/// The steps a disk can do. Errors are [`StoreError`]s: `FsyncFailed` means just that.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Data that is on the disk, without a name.
    type Staged: Send;
    /// Writes the body and flushes it.
    fn stage(
        &self,
        key: &str,
        body: &PutPayload,
    ) -> impl Future<Output = Result<Self::Staged, StoreError>> + Send;
    /// Gives it its name in one step: false if that is taken.
    fn publish(
        &self,
        staged: Self::Staged,
        key: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Flushes the name of an object that is visible *now*, and those of the directories it lies in.
    fn sync_entry(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Reads from an object: the bytes of `part` and the object's length, or None where there is none.
    fn read(&self, key: &str, part: &Part) -> impl Future<Output = Result<Option<Tail>, StoreError>> + Send;
    /// Removes an object; absent is fine.
    fn remove(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A disk, and what is known of it.
pub(crate) struct Steps<D> {
    pub(crate) disk: D,
    durable: Remembered,
    /// Set by the first flush that failed, for ever.
    broken: OnceLock<String>,
    tasks: Tasks,
}

impl<D: Disk> Steps<D> {
    /// Nothing is known yet. A failed flush is reported to `tasks`.
    pub(crate) fn new(disk: D, tasks: Tasks) -> Steps<D> {
        Steps { disk, durable: Remembered::default(), broken: OnceLock::new(), tasks }
    }

    pub(crate) async fn put_new(&self, key: &str, body: &PutPayload) -> PutNew {
        match self.try_put_new(key, body).await {
            Ok(true) => PutNew::Created,
            Ok(false) => PutNew::Exists,
            Err(error) => PutNew::Unknown(self.note(error)),
        }
    }

    async fn try_put_new(&self, key: &str, body: &PutPayload) -> Result<bool, StoreError> {
        self.whole()?;
        let staged = self.disk.stage(key, body).await?;
        self.whole()?;
        let created = self.disk.publish(staged, key).await?;
        self.make_durable(key).await?;
        Ok(created)
    }

    pub(crate) async fn read(&self, key: &str, part: &Part) -> Result<Option<Tail>, StoreError> {
        self.whole()?;
        let read = self.disk.read(key, part).await.map_err(|error| self.note(error))?;
        if read.is_some() {
            self.make_durable(key).await.map_err(|error| self.note(error))?;
        }
        Ok(read)
    }

    pub(crate) async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.whole()?;
        // First: another process may create it again, and nobody here has flushed that.
        self.durable.forget(key);
        self.disk.remove(key).await.map_err(|error| self.note(error))
    }

    async fn make_durable(&self, key: &str) -> Result<(), StoreError> {
        if self.durable.contains(key) {
            return Ok(());
        }
        self.disk.sync_entry(key).await?;
        // Somebody else's flush may have failed while ours went well.
        self.whole()?;
        self.durable.remember(key);
        Ok(())
    }

    /// Refuses everything after a failed flush.
    fn whole(&self) -> Result<(), StoreError> {
        self.broken.get().map_or(Ok(()), |why| Err(StoreError::FsyncFailed(why.clone())))
    }

    fn note(&self, error: StoreError) -> StoreError {
        if let StoreError::FsyncFailed(why) = &error {
            let why = self.broken.get_or_init(|| why.clone());
            self.tasks.fatal(format!("fsync failed: {why}"));
        }
        error
    }
}

/// The newest keys known to be durable: two generations, so that it is bounded and costs no order. To forget one costs a
/// flush, never a mistake.
#[derive(Default)]
struct Remembered(Mutex<[HashSet<String>; 2]>);

/// Keys of one generation: some MiB at most.
const REMEMBERED: usize = 16_384;

impl Remembered {
    fn contains(&self, key: &str) -> bool {
        self.0.lock().iter().any(|generation| generation.contains(key))
    }

    fn remember(&self, key: &str) {
        let [young, old] = &mut *self.0.lock();
        if young.len() >= REMEMBERED {
            *old = std::mem::take(young);
        }
        young.insert(key.to_owned());
    }

    fn forget(&self, key: &str) {
        for generation in self.0.lock().iter_mut() {
            generation.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_stays() {
        let remembered = Remembered::default();
        for n in 0..REMEMBERED * 5 {
            remembered.remember(&n.to_string());
        }
        assert!(remembered.0.lock().iter().map(HashSet::len).sum::<usize>() <= 2 * REMEMBERED);
        let newest = (REMEMBERED * 5 - 1).to_string();
        assert!(remembered.contains(&newest) && !remembered.contains("0"));
        remembered.forget(&newest);
        assert!(!remembered.contains(&newest));
    }
}
