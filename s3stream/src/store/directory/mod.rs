//! A store in a directory of a local file system: the embedded default, and a real cluster's bucket when several processes
//! share it.
//!
//! Owns what is special about disks: when an object is durable ([`steps`]), the system calls ([`disk`], [`direct`]), which file systems
//! will do ([`filesystem`]), and carrying both to threads that may block. An object is visible a moment before it is
//! durable; whoever sees it makes it durable before acting on it. A call that runs out of time goes on in its thread: it
//! may or may not happen, as everywhere.

mod direct;
pub(crate) mod disk;
pub(crate) mod filesystem;
mod seen;
pub(crate) mod steps;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;

use self::disk::LocalDisk;
use self::filesystem::{Verdict, judge};
use self::steps::{Part, Steps};
use super::url::OpenError;
use super::{Listed, PutNew, PutPayload, Space, Store, StoreError, StoreTraits, Tail};
use crate::env::Env;

/// Objects as files. Cheap to clone by `Arc`.
pub struct DirectoryStore {
    steps: Arc<Steps<Arc<LocalDisk>>>,
    traits: StoreTraits,
}

/// How long a read may take. A disk that is silent for longer is not a slow one.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// What dead processes left is removed after this long.
const SWEEP_AFTER: Duration = Duration::from_secs(3600);
/// Produces are refused below the greater of this and [`FREE_MIN_PER_CENT`] of the file system.
const FREE_MIN_BYTES: u64 = 1 << 30;
const FREE_MIN_PER_CENT: u64 = 2;

/// Linux takes 15 bytes.
#[cfg(target_os = "linux")]
const THREAD_NAME: &std::ffi::CStr = c"directory-store";

impl DirectoryStore {
    /// Opens or creates `root`, sweeps what dead processes left there an hour ago or earlier, and lays out ballast. Blocks
    /// for some milliseconds: for a start. A flush that fails later is reported to `env.tasks` as fatal.
    ///
    /// # Errors
    /// The directory cannot be created or opened, or lies on a network file system.
    pub fn open(root: &Path, env: &Env) -> Result<DirectoryStore, OpenError> {
        let failed = |error: std::io::Error| OpenError::Directory {
            path: root.display().to_string(),
            error: error.to_string(),
        };
        let root = std::path::absolute(root).map_err(failed)?;
        let disk = LocalDisk::open(&root, env.entropy.nonce()).map_err(failed)?;
        check_file_system(&root, &disk)?;
        let before_ms = env.clock.wall_ms() - SWEEP_AFTER.as_millis() as i64;
        match disk.sweep_blocking(before_ms) {
            Ok(0) => {}
            Ok(swept) => tracing::info!(swept, root = %root.display(), "removed what earlier processes left"),
            Err(error) => tracing::warn!(%error, root = %root.display(), "could not sweep"),
        }
        let (_, total) = space(&disk).map_err(failed)?;
        let traits = StoreTraits {
            name: format!("file://{}", root.display()),
            directory: true,
            // One is flushed while the next is written; four in flight are slower than one (PRACTICE §7).
            puts_in_flight: 2,
            puts_per_second_max: Some(1000),
            hedge: false,
            deletes_at_once: 1,
            free_min: Some(free_min(total)),
        };
        Ok(DirectoryStore { steps: Arc::new(Steps::new(Arc::new(disk), env.tasks.clone())), traits })
    }

    /// Runs `step` on a blocking thread, for at most `timeout`. Its futures must be ready at once.
    async fn blocking<T, F>(
        &self,
        timeout: Duration,
        step: impl FnOnce(Arc<Steps<Arc<LocalDisk>>>) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
        T: Send + 'static,
    {
        let steps = self.steps.clone();
        let running = tokio::task::spawn_blocking(move || {
            name_thread();
            step(steps)
                .now_or_never()
                .unwrap_or_else(|| unreachable!("a local disk blocks, it does not wait"))
        });
        match tokio::time::timeout(timeout, running).await {
            Ok(Ok(done)) => done,
            Ok(Err(join)) => Err(StoreError::Transient(format!("disk thread: {join}"))),
            Err(_) => Err(StoreError::Transient(format!("no answer from the disk for {timeout:?}"))),
        }
    }

    async fn read(&self, key: &str, part: Part) -> Result<Option<Tail>, StoreError> {
        let key = key.to_owned();
        self.blocking(READ_TIMEOUT, move |steps| async move { steps.read(&key, &part).await }).await
    }
}

#[async_trait]
impl Store for DirectoryStore {
    async fn put_new(&self, key: &str, body: PutPayload, timeout: Duration) -> PutNew {
        let key = key.to_owned();
        let put = self.blocking(timeout, move |steps| async move { Ok(steps.put_new(&key, &body).await) });
        put.await.unwrap_or_else(PutNew::Unknown)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read(key, Part::Whole).await?.map(|read| read.bytes))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read(key, Part::Range(range)).await?.map(|read| read.bytes))
    }

    async fn get_range_once(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read(key, Part::Once(range)).await?.map(|read| read.bytes))
    }

    async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError> {
        self.read(key, Part::Tail(len)).await
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.read(key, Part::Length).await?.map(|read| read.object_len))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking(READ_TIMEOUT, move |steps| async move { steps.disk.list_blocking(&prefix) }).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.blocking(READ_TIMEOUT, move |steps| async move { steps.remove(&key).await }).await
    }

    async fn space(&self) -> Result<Option<Space>, StoreError> {
        let space = self.blocking(READ_TIMEOUT, |steps| async move {
            space(&steps.disk).map_err(|error| StoreError::Transient(error.to_string()))
        });
        let (free, total) = space.await?;
        Ok(Some(Space { free, total }))
    }

    fn traits(&self) -> &StoreTraits {
        &self.traits
    }

    fn keep_read_memory(&self, bytes: usize) {
        self.steps.disk.keep_read_memory(bytes);
    }
}

impl fmt::Debug for DirectoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traits.name)
    }
}

/// What a directory costs is told apart by the names of the threads that do it: in `top -H`, and by the benchmarks.
fn name_thread() {
    thread_local!(static NAMED: Cell<bool> = const { Cell::new(false) });
    if !NAMED.replace(true) {
        #[cfg(target_os = "linux")]
        let _ = rustix::thread::set_name(THREAD_NAME);
    }
}

/// Default of `storage.directory.free.min` on a file system of `total` bytes.
pub fn free_min(total: u64) -> u64 {
    FREE_MIN_BYTES.max(total / 100 * FREE_MIN_PER_CENT)
}

/// Free and total bytes.
fn space(disk: &LocalDisk) -> std::io::Result<(u64, u64)> {
    let stat = rustix::fs::fstatvfs(disk.root_fd())?;
    Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

fn check_file_system(root: &Path, disk: &LocalDisk) -> Result<(), OpenError> {
    let stat = rustix::fs::fstatfs(disk.root_fd()).map_err(|error| OpenError::Directory {
        path: root.display().to_string(),
        error: error.to_string(),
    })?;
    // The type of f_type differs between systems; magic numbers are 32 bits.
    match judge(stat.f_type as u32) {
        Verdict::Good(_) => Ok(()),
        Verdict::Doubtful(why) => {
            tracing::warn!(root = %root.display(), why, "this file system is not one to rely on");
            Ok(())
        }
        Verdict::Network(kind) => {
            Err(OpenError::NetworkFileSystem { path: root.display().to_string(), kind: kind.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests;
