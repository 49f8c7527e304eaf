//! The system calls of a directory store. Everything here blocks; it runs on blocking threads and its futures are ready at
//! once.
//!
//! On disk: an object `a/b/c` is the file `a/b/c`. `.staging/` holds bodies that have no name yet, `.ballast` a few MiB that
//! are given up when the disk is full, so that the journal can still say what may be deleted (SAFETY L11). Names that start
//! with a dot are never objects.
//!
//! Per object: create in `.staging`, vectored writes (large bodies past the page cache: [`super::direct`]), fdatasync; renameat2(NOREPLACE), else a hard link; fsync of the
//! directory. Flushes of one directory are shared: whoever comes while one runs waits for the next, which serves all.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rustix::fs::{AtFlags, Mode, OFlags};

use super::direct::{DIRECT_MIN, DirectWriter, Precedence, read_pages, set_direct};
use super::seen::Seen;
use super::steps::{Disk, Part};
use crate::buffers::BufferPool;
use crate::ids::{DATA_PREFIX, Nonce};
use crate::store::{Listed, PutPayload, READ_MEMORY_KEPT, StoreError, Tail};

/// Where bodies are written before they get their name.
pub(super) const STAGING: &str = ".staging";
/// What is given up when the disk is full.
pub(super) const BALLAST: &str = ".ballast";
/// Its size.
const BALLAST_BYTES: u64 = 16 << 20;
/// Keys whose writing makes room in the end.
const FREEING_PREFIX: &str = "meta/";
/// Linux takes at most this many slices at once (UIO_MAXIOV).
const SLICES_MAX: usize = 1024;
/// Bytes written at once. From 2 MiB on, ext4 takes huge pages for the page cache, and waits for them: 8 MiB in one call took
/// 36 ms where sixteen calls took 2.
const WRITE_MAX: usize = 512 << 10;
/// Open directories kept; each is a descriptor.
const DIRECTORIES_MAX: usize = 256;

/// A directory on a local file system.
pub(crate) struct LocalDisk {
    root: PathBuf,
    root_fd: File,
    staging_fd: File,
    /// Tells this process's staging files from those of others.
    process: Nonce,
    staged: AtomicU64,
    directories: Mutex<HashMap<String, Arc<Directory>>>,
    /// Memory of what is read, used again.
    read_buffers: Arc<BufferPool>,
    seen: Seen,
    /// False once renameat2 said that this file system does not know NOREPLACE.
    rename_no_replace: AtomicBool,
    direct_writer: DirectWriter,
    precedence: Precedence,
    /// False once this file system refused O_DIRECT.
    direct: AtomicBool,
}

/// An open directory below the root, with its flushes.
struct Directory {
    fd: File,
    path: String,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
}

#[derive(Default)]
struct Flushes {
    begun: u64,
    ended: u64,
    running: bool,
    failed: Option<String>,
}

/// A written body. Its staging file goes with it, unless that was renamed.
pub(crate) struct Staged {
    disk: Arc<LocalDisk>,
    name: String,
    renamed: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = rustix::fs::unlinkat(&self.disk.staging_fd, &self.name, AtFlags::empty());
        }
    }
}

impl LocalDisk {
    /// Opens `root`, making it and its place above durable, and lays out ballast where there is room.
    pub(super) fn open(root: &Path, process: Nonce) -> io::Result<LocalDisk> {
        create_dir_durable(root)?;
        let root_fd = File::open(root)?;
        create_dir_durable(&root.join(STAGING))?;
        let staging_fd = File::open(root.join(STAGING))?;
        let disk = LocalDisk {
            root: root.to_owned(),
            root_fd,
            staging_fd,
            process,
            staged: AtomicU64::new(0),
            directories: Mutex::default(),
            read_buffers: BufferPool::new(READ_MEMORY_KEPT),
            seen: Seen::default(),
            rename_no_replace: AtomicBool::new(cfg!(target_os = "linux")),
            direct_writer: DirectWriter::default(),
            precedence: Precedence::default(),
            direct: AtomicBool::new(true),
        };
        disk.lay_ballast();
        Ok(disk)
    }

    pub(super) fn root_fd(&self) -> &File {
        &self.root_fd
    }

    pub(super) fn keep_read_memory(&self, bytes: usize) {
        self.read_buffers.keep(bytes);
    }

    /// Best effort: a disk too small for it works without.
    fn lay_ballast(&self) {
        let path = self.root.join(BALLAST);
        if std::fs::metadata(&path).is_ok_and(|meta| meta.len() >= BALLAST_BYTES) {
            return;
        }
        let laid = File::create(&path).and_then(|file| {
            #[cfg(target_os = "linux")]
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES)?;
            drop(file);
            Ok(())
        });
        if let Err(error) = laid {
            tracing::debug!(%error, "no ballast laid");
            let _ = std::fs::remove_file(&path);
        }
    }

    fn path(&self, key: &str) -> Result<PathBuf, StoreError> {
        check_key(key)?;
        Ok(self.root.join(key))
    }

    fn stage_blocking(self: &Arc<Self>, key: &str, body: &PutPayload) -> Result<Staged, StoreError> {
        check_key(key)?;
        let waited_for = !key.starts_with(DATA_PREFIX);
        let _first = waited_for.then(|| self.precedence.first());
        match self.write_staging(body, waited_for) {
            Err(StoreError::NoSpace(_)) if key.starts_with(FREEING_PREFIX) && self.give_up_ballast() => {
                self.write_staging(body, waited_for)
            }
            other => other,
        }
    }

    fn give_up_ballast(&self) -> bool {
        let given = std::fs::remove_file(self.root.join(BALLAST)).is_ok();
        if given {
            tracing::warn!(root = %self.root.display(), "disk full: gave up the ballast to write to the journal");
        }
        given
    }

    fn write_staging(self: &Arc<Self>, body: &PutPayload, waited_for: bool) -> Result<Staged, StoreError> {
        if body.content_length() >= DIRECT_MIN
            && let Some(staged) = self.write_direct(body, waited_for)?
        {
            return Ok(staged);
        }
        let created = self.create_staging(OFlags::empty());
        let (staged, mut file) = created.map_err(|error| self.io_error("create staging file", error))?;
        write_all(&mut file, body).map_err(|error| self.io_error("write", error))?;
        flush_data(&file, staged)
    }

    /// None: the file system does not do it.
    fn write_direct(
        self: &Arc<Self>,
        body: &PutPayload,
        waited_for: bool,
    ) -> Result<Option<Staged>, StoreError> {
        if !self.direct.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let written = self.create_staging(OFlags::DIRECT).and_then(|(staged, mut file)| {
            self.direct_writer.write(&mut file, body, (!waited_for).then_some(&self.precedence))?;
            Ok((staged, file))
        });
        let written = self.direct_or_none(written).map_err(|error| self.io_error("write", error))?;
        written.map(|(staged, file)| flush_data(&file, staged)).transpose()
    }

    /// What came of something past the page cache. None: the file system does not do it, and is not asked again.
    fn direct_or_none<T>(&self, tried: io::Result<T>) -> io::Result<Option<T>> {
        match tried {
            Err(error) if is_no_direct(&error) => {
                tracing::info!(root = %self.root.display(), "no O_DIRECT here: all goes through the page cache");
                self.direct.store(false, Ordering::Relaxed);
                Ok(None)
            }
            tried => tried.map(Some),
        }
    }

    fn create_staging(self: &Arc<Self>, flags: OFlags) -> io::Result<(Staged, File)> {
        let name = format!("{:016x}-{}", self.process.0, self.staged.fetch_add(1, Ordering::Relaxed));
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.staging_fd, &name, flags, Mode::from_raw_mode(0o644));
        // An open that is refused for its flags has made the file all the same.
        let staged = Staged { disk: self.clone(), name, renamed: false };
        Ok((staged, File::from(fd?)))
    }

    fn publish_blocking(&self, mut staged: Staged, key: &str) -> Result<bool, StoreError> {
        let (parent, name) = split_key(key)?;
        // A directory that was empty may be swept by another process between our opening it and naming a file in it.
        for _ in 0..4 {
            let directory = self.directory(parent)?;
            match self.give_name(&mut staged, &directory.fd, name) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
                Err(error) if error.kind() == ErrorKind::NotFound => self.forget_directory(parent),
                Err(error) => return Err(self.io_error("publish", error)),
            }
        }
        Err(StoreError::Transient(format!("{key}: its directory keeps vanishing")))
    }

    fn give_name(&self, staged: &mut Staged, directory: &File, name: &str) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.rename_no_replace.load(Ordering::Relaxed) {
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&self.staging_fd, &staged.name, directory, name, flags) {
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
                    self.rename_no_replace.store(false, Ordering::Relaxed);
                }
                renamed => {
                    staged.renamed = renamed.is_ok();
                    return renamed.map_err(io::Error::from);
                }
            }
        }
        rustix::fs::linkat(&self.staging_fd, &staged.name, directory, name, AtFlags::empty())?;
        Ok(())
    }

    fn sync_entry_blocking(&self, key: &str) -> Result<(), StoreError> {
        let (parent, _) = split_key(key)?;
        self.directory(parent)?.flush()
    }

    /// The open directory at `path` ("" is the root), created if need be. The first time in this process its own name and
    /// all above are flushed, whoever made them.
    fn directory(&self, path: &str) -> Result<Arc<Directory>, StoreError> {
        if let Some(known) = self.directories.lock().get(path).cloned() {
            // A directory that was removed has no links left; another may have its name now.
            let alive = rustix::fs::fstat(&known.fd).is_ok_and(|stat| stat.st_nlink > 0);
            if alive {
                return Ok(known);
            }
        }
        let opened = if path.is_empty() {
            let fd = self.root_fd.try_clone().map_err(|error| self.io_error("open root", error))?;
            Directory::new(fd, path)
        } else {
            let above = self.directory(path.rsplit_once('/').map_or("", |(above, _)| above))?;
            let full = self.root.join(path);
            match std::fs::create_dir(&full) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(self.io_error("create directory", error));
                }
                _ => {}
            }
            let fd = File::open(&full).map_err(|error| self.io_error("open directory", error))?;
            above.flush()?;
            Directory::new(fd, path)
        };
        let opened = Arc::new(opened);
        let mut directories = self.directories.lock();
        if directories.len() >= DIRECTORIES_MAX {
            directories.clear();
        }
        directories.insert(path.to_owned(), opened.clone());
        Ok(opened)
    }

    fn forget_directory(&self, path: &str) {
        self.directories.lock().remove(path);
    }

    fn read_blocking(&self, key: &str, part: &Part) -> Result<Option<Tail>, StoreError> {
        let path = self.path(key)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.io_error("open", error)),
        };
        let meta = file.metadata().map_err(|error| self.io_error("stat", error))?;
        if meta.is_dir() {
            return Ok(None);
        }
        let object_len = meta.len();
        let (range, once) = match part {
            Part::Length => return Ok(Some(Tail { bytes: Bytes::new(), object_len })),
            Part::Whole => (0..object_len, false),
            Part::Tail(len) => (object_len.saturating_sub(*len)..object_len, false),
            Part::Range(range) => (range.clone(), false),
            Part::Once(range) => (range.clone(), true),
        };
        if range.start > range.end || range.end > object_len {
            let Range { start, end } = range;
            return Err(StoreError::Refused(format!("{key} has {object_len} bytes, not {start}..{end}")));
        }
        let bytes = self.read_range(&file, key, range, once).map_err(|error| self.io_error("read", error))?;
        Ok(Some(Tail { bytes, object_len }))
    }

    /// Bytes `range` of a file that has them: large ones past the page cache, unless somebody has read them before.
    fn read_range(&self, file: &File, key: &str, range: Range<u64>, once: bool) -> io::Result<Bytes> {
        let length = (range.end - range.start) as usize;
        if length >= DIRECT_MIN
            && (once || !self.seen.again(key, range.start, range.end))
            && let Some(bytes) = self.read_direct(file, &range, once)?
        {
            return Ok(bytes);
        }
        let mut bytes = self.read_buffers.take(length);
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.freeze())
    }

    /// None: the file system does not do it. Who reads once gives way to others.
    fn read_direct(&self, file: &File, range: &Range<u64>, once: bool) -> io::Result<Option<Bytes>> {
        if !self.direct.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let giving_way = once.then_some(&self.precedence);
        let read =
            set_direct(file, true).and_then(|()| read_pages(file, range, &self.read_buffers, giving_way));
        let read = self.direct_or_none(read)?;
        if read.is_none() {
            set_direct(file, false)?;
        }
        Ok(read)
    }

    fn remove_blocking(&self, key: &str) -> Result<(), StoreError> {
        match std::fs::remove_file(self.path(key)?) {
            Err(error) if !is_absent(&error) => Err(self.io_error("delete", error)),
            _ => Ok(()),
        }
    }

    /// All objects whose key starts with `prefix`, sorted.
    pub(super) fn list_blocking(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let top = prefix.rsplit_once('/').map_or("", |(top, _)| top);
        if !top.is_empty() {
            check_key(top)?;
        }
        let mut found = Vec::new();
        let mut below = vec![top.to_owned()];
        while let Some(directory) = below.pop() {
            let entries = match std::fs::read_dir(self.root.join(&directory)) {
                Ok(entries) => entries,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(self.io_error("list", error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| self.io_error("list", error))?;
                let name = entry.file_name();
                let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
                let key = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
                let meta = match entry.metadata() {
                    Ok(meta) => meta,
                    Err(error) if is_absent(&error) => continue,
                    Err(error) => return Err(self.io_error("list", error)),
                };
                if meta.is_dir() {
                    if key.starts_with(prefix) || prefix.starts_with(&key) {
                        below.push(key);
                    }
                } else if key.starts_with(prefix) {
                    found.push(Listed { key, len: meta.len() });
                }
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// Removes what dead processes left: staging files and empty directories not touched since `before` (milliseconds
    /// since 1970). Not younger ones: a stopped process may go on and publish. Returns how many.
    pub(super) fn sweep_blocking(&self, before_ms: i64) -> io::Result<usize> {
        let is_old = |meta: &std::fs::Metadata| {
            let modified = meta.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            modified.is_some_and(|at| (at.as_millis() as i64) < before_ms)
        };
        let mut swept = 0;
        for entry in std::fs::read_dir(self.root.join(STAGING))? {
            let entry = entry?;
            if entry.metadata().is_ok_and(|meta| is_old(&meta)) && std::fs::remove_file(entry.path()).is_ok()
            {
                swept += 1;
            }
        }
        let mut below = vec![self.root.clone()];
        let mut old = Vec::new();
        while let Some(directory) = below.pop() {
            for entry in std::fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_name().to_str().is_some_and(|name| name.starts_with('.')) {
                    continue;
                }
                let Ok(meta) = entry.metadata() else { continue };
                if meta.is_dir() {
                    if is_old(&meta) {
                        old.push(entry.path());
                    }
                    below.push(entry.path());
                }
            }
        }
        // Deepest first. One that is not empty stays: that is what rmdir is for.
        swept += old.iter().rev().filter(|directory| std::fs::remove_dir(directory).is_ok()).count();
        Ok(swept)
    }

    fn io_error(&self, what: &str, error: io::Error) -> StoreError {
        let at = self.root.display();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::NoSpace(at.to_string()),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                StoreError::Refused(format!("{what} in {at}: {error}"))
            }
            _ => StoreError::Transient(format!("{what} in {at}: {error}")),
        }
    }
}

impl Directory {
    fn new(fd: File, path: &str) -> Directory {
        Directory { fd, path: path.to_owned(), flushes: Mutex::default(), flushed: Condvar::new() }
    }

    /// Returns when a flush that began after this call has ended.
    fn flush(&self) -> Result<(), StoreError> {
        let mut flushes = self.flushes.lock();
        let needed = flushes.begun + 1;
        loop {
            if let Some(why) = &flushes.failed {
                return Err(StoreError::FsyncFailed(why.clone()));
            }
            if flushes.ended >= needed {
                return Ok(());
            }
            if flushes.running {
                self.flushed.wait(&mut flushes);
                continue;
            }
            flushes.running = true;
            flushes.begun += 1;
            let number = flushes.begun;
            drop(flushes);
            let outcome = self.fd.sync_all();
            flushes = self.flushes.lock();
            flushes.running = false;
            match outcome {
                Ok(()) => flushes.ended = number,
                Err(error) => flushes.failed = Some(format!("directory {}: {error}", self.path)),
            }
            self.flushed.notify_all();
        }
    }
}

impl Disk for Arc<LocalDisk> {
    type Staged = Staged;

    async fn stage(&self, key: &str, body: &PutPayload) -> Result<Staged, StoreError> {
        self.stage_blocking(key, body)
    }
    async fn publish(&self, staged: Staged, key: &str) -> Result<bool, StoreError> {
        self.publish_blocking(staged, key)
    }
    async fn sync_entry(&self, key: &str) -> Result<(), StoreError> {
        self.sync_entry_blocking(key)
    }
    async fn read(&self, key: &str, part: &Part) -> Result<Option<Tail>, StoreError> {
        self.read_blocking(key, part)
    }
    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.remove_blocking(key)
    }
}

/// Creates a directory and flushes the names of all that were missing.
fn create_dir_durable(path: &Path) -> io::Result<()> {
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    if path.is_dir() {
        // Perhaps another process made it a moment ago. Where we may not open what is above, we did not make it either.
        return File::open(above).map_or(Ok(()), |above| above.sync_all());
    }
    create_dir_durable(above)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

/// The size is part of what fdatasync must flush: the file was empty.
fn flush_data(file: &File, staged: Staged) -> Result<Staged, StoreError> {
    match file.sync_data() {
        Ok(()) => Ok(staged),
        Err(error) => Err(StoreError::FsyncFailed(format!("{}: {error}", staged.name))),
    }
}

fn write_all(file: &mut File, body: &PutPayload) -> io::Result<()> {
    let pieces = body.iter().flat_map(|part| part.chunks(WRITE_MAX));
    let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(SLICES_MAX.min(body.as_ref().len() + 1));
    let mut gathered = 0;
    for piece in pieces {
        if slices.len() == SLICES_MAX || gathered + piece.len() > WRITE_MAX {
            write_slices(file, &mut slices)?;
            slices.clear();
            gathered = 0;
        }
        slices.push(IoSlice::new(piece));
        gathered += piece.len();
    }
    write_slices(file, &mut slices)
}

/// Writes all of these.
pub(super) fn write_slices(file: &mut File, mut rest: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What file systems say that have no O_DIRECT.
fn is_no_direct(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// Not there, or a part of its path is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Keys are ours, but a bucket's content may not be: nothing may lead outside the root or to a hidden name.
fn check_key(key: &str) -> Result<(), StoreError> {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\0');
    if key.split('/').all(plain) { Ok(()) } else { Err(StoreError::Refused(format!("not a key: {key:?}"))) }
}

fn split_key(key: &str) -> Result<(&str, &str), StoreError> {
    check_key(key)?;
    Ok(key.rsplit_once('/').unwrap_or(("", key)))
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// Most say EINVAL, others EOPNOTSUPP, which is another kind of error; a fault of the disk is neither.
    #[test]
    fn a_file_system_without_o_direct_is_asked_once_and_used_through_the_page_cache() {
        let root = tempfile::tempdir().expect("tempdir");
        let open = || Arc::new(LocalDisk::open(root.path(), Nonce(1)).expect("opens"));
        let content: Vec<u8> = (0..3 * DIRECT_MIN + 123).map(|at| (at / 7) as u8).collect();
        let (body, length) = (PutPayload::from(content.clone()), content.len() as u64);
        for refused in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS] {
            let disk = open();
            assert_eq!(disk.direct_or_none::<()>(Err(refused.into())).expect("no fault"), None);
            assert!(!disk.direct.load(Ordering::Relaxed), "{refused}: not again");
            let key = format!("data/{}", refused.raw_os_error());
            let staged = disk.stage_blocking(&key, &body).expect("written");
            assert!(disk.publish_blocking(staged, &key).expect("named"));
            let read = disk.read_blocking(&key, &Part::Once(1..length)).expect("read").expect("there");
            assert!(read.bytes == content[1..], "{refused}");
        }
        let disk = open();
        assert!(disk.direct_or_none::<()>(Err(Errno::IO.into())).is_err());
        assert!(disk.direct.load(Ordering::Relaxed), "a disk that fails is not one without");
    }
}
