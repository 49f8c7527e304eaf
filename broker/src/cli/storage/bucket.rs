//! The bucket as the offline tool sees it: two calls, and none that writes. A directory is read directly, since opening it
//! as a store creates, sweeps and reserves; clouds are read through the broker's own client.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use s3stream::env::Env;
use s3stream::ids::StoreId;
use s3stream::store::{Listed, Store, StoreError, retry, url};

/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// All stores of a cluster, as far as they were named.
#[derive(Debug)]
pub struct Bucket {
    main: Source,
    wal: Option<Source>,
}

enum Source {
    Directory(PathBuf),
    Cloud(Arc<dyn Store>, Env),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Directory(path) => write!(f, "{}", path.display()),
            Source::Cloud(store, _) => f.write_str(&store.traits().name),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wal {
            None => write!(f, "{}", self.main),
            Some(wal) => write!(f, "{} and {wal}", self.main),
        }
    }
}

impl Bucket {
    /// Opens `storage`, and `wal_storage` where that is another one.
    ///
    /// # Errors
    /// No such directory, or not a storage URL; `memory://`, which ends with its process.
    pub fn open(storage: &str, wal_storage: Option<&str>) -> anyhow::Result<Bucket> {
        let wal = wal_storage.filter(|wal| *wal != storage).map(Source::open).transpose()?;
        Ok(Bucket { main: Source::open(storage)?, wal })
    }

    /// The object, from wherever such keys lie.
    ///
    /// # Errors
    /// The store refuses, or does not answer for a minute.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Bytes>> {
        if key.starts_with("wal/")
            && let Some(wal) = &self.wal
            && let Some(bytes) = wal.get(key).await?
        {
            return Ok(Some(bytes));
        }
        self.main.get(key).await
    }

    /// The object in this store, or None where there is none.
    ///
    /// # Errors
    /// As [`Bucket::get`]; and a store that was not named.
    pub async fn get_in(&self, store: StoreId, key: &str) -> anyhow::Result<Option<Bytes>> {
        match (store.0, &self.wal) {
            (0, _) => self.main.get(key).await,
            (_, Some(wal)) => wal.get(key).await,
            (id, None) => bail!("{key} lies in store {id}: name it with --wal-storage"),
        }
    }

    /// Was this store named?
    pub fn has(&self, store: StoreId) -> bool {
        store.0 == 0 || self.wal.is_some()
    }

    /// Every object under `prefix` in every store, by key. A hint of what is there, never proof of what is not.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub async fn list(&self, prefix: &str) -> anyhow::Result<Vec<Listed>> {
        let mut listed = self.main.list(prefix).await?;
        if let Some(wal) = &self.wal {
            listed.extend(wal.list(prefix).await?);
        }
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        listed.dedup();
        Ok(listed)
    }
}

impl Source {
    fn open(text: &str) -> anyhow::Result<Source> {
        if text.starts_with("memory:") {
            bail!("storage {text} is inside the process that serves it and cannot be looked at from another");
        }
        if let Some(path) = directory_of(text) {
            if !path.is_dir() {
                bail!("storage directory {} does not exist", path.display());
            }
            return Ok(Source::Directory(path));
        }
        let env = Env::system();
        Ok(Source::Cloud(url::open(text, &env)?, env))
    }

    async fn get(&self, key: &str) -> anyhow::Result<Option<Bytes>> {
        match self {
            Source::Directory(root) => read_file(root, key),
            Source::Cloud(store, env) => {
                retry(env, Some(PATIENCE), || store.get(key)).await.map_err(|e| said(key, e))
            }
        }
    }

    async fn list(&self, prefix: &str) -> anyhow::Result<Vec<Listed>> {
        match self {
            Source::Directory(root) => {
                let mut found = Vec::new();
                // As in a bucket, a prefix may end within a name.
                let above = prefix.rsplit_once('/').map_or("", |(above, _)| above);
                if is_key(above) || above.is_empty() {
                    list_directory(root, above, &mut found)?;
                }
                found.retain(|l| l.key.starts_with(prefix));
                Ok(found)
            }
            Source::Cloud(store, env) => {
                retry(env, Some(PATIENCE), || store.list(prefix)).await.map_err(|e| said(prefix, e))
            }
        }
    }
}

fn said(key: &str, error: StoreError) -> anyhow::Error {
    anyhow::anyhow!("{key}: {error}")
}

/// The directory that a storage URL names; None for a cloud's.
fn directory_of(text: &str) -> Option<PathBuf> {
    match text.split_once("://") {
        None => Some(PathBuf::from(text)),
        Some(("file", _)) => url_path(text),
        Some(_) => None,
    }
}

fn url_path(text: &str) -> Option<PathBuf> {
    ::url::Url::parse(text).ok()?.to_file_path().ok()
}

/// No part is empty or begins with a dot: those are not objects (`s3stream::store::directory`).
fn is_key(key: &str) -> bool {
    !key.is_empty() && key.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

fn read_file(root: &Path, key: &str) -> anyhow::Result<Option<Bytes>> {
    if !is_key(key) {
        return Ok(None);
    }
    let path = root.join(key);
    if path.is_dir() {
        return Ok(None);
    }
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

fn list_directory(root: &Path, below: &str, found: &mut Vec<Listed>) -> anyhow::Result<()> {
    let path = root.join(below);
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(()),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| !n.starts_with('.')) else { continue };
        let key = if below.is_empty() { name.to_string() } else { format!("{below}/{name}") };
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => list_directory(root, &key, found)?,
            Ok(meta) => found.push(Listed { key, len: meta.len() }),
            // Deleted meanwhile.
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(e).with_context(|| key),
        }
    }
    Ok(())
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_is_read_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("meta/log")).unwrap();
        std::fs::create_dir_all(dir.path().join(".staging")).unwrap();
        std::fs::write(dir.path().join("meta/log/1"), b"one").unwrap();
        std::fs::write(dir.path().join(".staging/2"), b"two").unwrap();
        for text in [dir.path().display().to_string(), format!("file://{}", dir.path().display())] {
            let bucket = Bucket::open(&text, None).unwrap();
            assert_eq!(bucket.get("meta/log/1").await.unwrap().as_deref(), Some(&b"one"[..]));
            for key in ["meta/log/2", "meta/log", "meta/log/1/x", ".staging/2", "../x", "", "/etc/passwd"] {
                assert_eq!(bucket.get(key).await.unwrap(), None, "{key}");
            }
            let one = [Listed { key: "meta/log/1".into(), len: 3 }];
            for (prefix, there) in
                [("", true), ("meta/", true), ("meta/l", true), ("me", true), ("wal/", false), ("../", false)]
            {
                assert_eq!(
                    bucket.list(prefix).await.unwrap(),
                    if there { &one[..] } else { &[] },
                    "{prefix}"
                );
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_looked_at_is_said() {
        assert!(Bucket::open("/no/such/directory", None).unwrap_err().to_string().contains("does not exist"));
        assert!(Bucket::open("memory://", None).unwrap_err().to_string().contains("inside the process"));
        assert!(Bucket::open("ftp://x", None).is_err());
    }
}
