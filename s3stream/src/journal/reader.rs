//! The bucket as a reader of the journal sees it: the look, windows of GETs, folding what they bring, boot.
//!
//! Owns reading and believing. Everything read or found missing is believed only after a look, made later, at the stride of
//! the last number held (SAFETY F1); whoever calls here gets images that were looked at, or `History`. Does not own the
//! image that this process goes by (`owner`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::commit::Commit;
use super::state::{FoldError, Folded, JournalImage};
use super::wire::DecodeError;
use super::{Image, JournalConfig, Shared, Stop, count, snapshot};
use crate::env::Env;
use crate::ids::{boundary_key, commit_key, snapshot_key};
use crate::store::create::back_off;
use crate::store::{Store, StoreError};

/// GETs in flight when reading on (PRACTICE J4).
pub(super) const WINDOW: u64 = 64;
/// How often boot starts again, when what it reads is history by then, or damaged, before it gives up.
const ROUNDS_MAX: u32 = 12;

/// What a look says of everything learnt before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It may be acted on.
    Live,
    /// It is history: entries of that stride may be gone, and what is missing may have been there.
    History,
}

/// What reading on came to.
#[derive(Debug)]
pub(super) enum ReadOn<I> {
    /// The head: the image, and when the GET that missed the next number began and ended.
    Head { image: JournalImage<I>, began: Duration, ended: Duration },
    /// Something does not fit: damage, or a dead branch.
    Stray(String),
}

/// Reads the bucket; cheap to clone.
#[derive(Debug)]
pub(super) struct Reader<I> {
    pub store: Arc<dyn Store>,
    pub env: Env,
    pub config: JournalConfig,
    pub shared: Arc<Shared<I>>,
}

impl<I> Clone for Reader<I> {
    fn clone(&self) -> Self {
        Reader {
            store: self.store.clone(),
            env: self.env.clone(),
            config: self.config.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<I: Image> Reader<I> {
    /// One HEAD of the boundary of the stride of `held`, asked until it is answered. Sent after what it is to confirm.
    pub async fn look(&self, held: u64) -> Result<Look, Stop> {
        let key = boundary_key(held / self.config.stride);
        let mut attempt = 0;
        loop {
            count(&self.shared.counters.looks);
            match self.store.head(&key).await {
                Ok(None) => return Ok(Look::Live),
                Ok(Some(_)) => {
                    count(&self.shared.counters.histories);
                    return Ok(Look::History);
                }
                Err(error) => self.bear(&key, error)?,
            }
            attempt += 1;
            back_off(&self.env, attempt).await;
        }
    }

    /// A store error in a running process: only a failed fsync is not waited out (DESIGN I10).
    fn bear(&self, key: &str, error: StoreError) -> Result<(), Stop> {
        match error {
            StoreError::FsyncFailed(why) => Err(Stop::Store(why)),
            StoreError::Transient(why) => {
                tracing::debug!(key, why, "no answer; asking again");
                Ok(())
            }
            error => {
                tracing::error!(key, %error, "the store refuses the journal; asking again");
                Ok(())
            }
        }
    }

    /// GETs of `width` numbers from `from` on, all in flight at once.
    async fn window(&self, from: u64, width: u64) -> Result<Vec<Option<Bytes>>, Stop> {
        let gets = (from..from + width)
            .map(|seq| async move { snapshot::get(&*self.store, &self.env, &commit_key(seq), true).await });
        join_all(gets).await.into_iter().collect::<Result<_, _>>().map_err(|e| Stop::Store(e.to_string()))
    }

    /// Folds the commits after `image` up to the first number that is missing. Looks at nothing.
    ///
    /// # Errors
    /// [`Stop::Upgrade`] at what a later release wrote.
    pub async fn read_on(&self, mut image: JournalImage<I>, mut width: u64) -> Result<ReadOn<I>, Stop> {
        let mut holes = 0;
        loop {
            let began = self.env.clock.monotonic();
            let entries = self.window(image.seq + 1, width).await?;
            let ended = self.env.clock.monotonic();
            let held = entries.iter().take_while(|e| e.is_some()).count();
            let beyond = entries[held..].iter().any(Option::is_some);
            for entry in entries.into_iter().take(held).flatten() {
                image = match self.fold(&image, &entry)? {
                    Ok(next) => next,
                    Err(why) => return Ok(ReadOn::Stray(why)),
                };
            }
            if held as u64 == width {
                width = (width * 2).min(WINDOW);
                continue;
            }
            // A number that is missing below one that is there was asked for too early, or deleted.
            if beyond && holes < 3 {
                holes += 1;
                back_off(&self.env, holes).await;
                continue;
            }
            if beyond {
                return Ok(ReadOn::Stray(format!("commit {} is missing below a later one", image.seq + 1)));
            }
            return Ok(ReadOn::Head { image, began, ended });
        }
    }

    /// Folds stored bytes into the next image. `Ok(Err)` says that they do not continue it.
    pub fn fold(
        &self,
        image: &JournalImage<I>,
        entry: &Bytes,
    ) -> Result<Result<JournalImage<I>, String>, Stop> {
        let seq = image.seq + 1;
        let (commit, chain) = match Commit::decode(entry.clone()) {
            Ok(decoded) => decoded,
            Err(error) => return unreadable(seq, error),
        };
        let next = match image.fold(&commit, chain, entry.len()) {
            Ok(Folded::Next(next)) => next,
            Ok(Folded::Void(next, why)) => {
                count(&self.shared.counters.voids);
                tracing::error!(seq, writer = ?commit.writer, %why, "VOID COMMIT: it is illegal and changes nothing; report this");
                next
            }
            Err(FoldError::Record { error, .. }) => return unreadable(seq, error),
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.check_level(&next)?;
        Ok(Ok(next))
    }

    fn check_level(&self, image: &JournalImage<I>) -> Result<(), Stop> {
        snapshot::check_level(image.level, self.config.level_max)
    }

    /// Boot: the newest named snapshot and everything after it, looked at. With `genesis`, a journal is created where there
    /// is none.
    ///
    /// # Errors
    /// [`Stop::Repair`] when nothing that could be read stays consistent.
    pub async fn load(&self, genesis: Option<&I>) -> Result<JournalImage<I>, Stop> {
        let mut why = String::from("no complete snapshot");
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                back_off(&self.env, round).await;
            }
            let mut candidates = self.snapshots().await?;
            if let (true, Some(inner)) = (candidates.is_empty(), genesis) {
                self.create(inner).await?;
                candidates.push(0);
            }
            for seq in candidates {
                match self.load_from(seq).await? {
                    Ok(image) => return Ok(image),
                    Err(reason) => {
                        tracing::info!(snapshot = seq, reason, "cannot start from this snapshot");
                        why = format!("snapshot {seq}: {reason}");
                    }
                }
            }
        }
        Err(Stop::Repair(format!(
            "{why}; run `aquifer storage verify`, and restore meta/ from a copy of the bucket"
        )))
    }

    async fn load_from(&self, seq: u64) -> Result<Result<JournalImage<I>, String>, Stop> {
        let Some((image, crc)) =
            snapshot::read::<I>(&*self.store, &self.env, seq, self.config.level_max).await?
        else {
            return Ok(Err("incomplete, damaged or gone".into()));
        };
        self.check_level(&image)?;
        let image = match self.read_on(image, WINDOW).await? {
            ReadOn::Head { image, .. } => image,
            ReadOn::Stray(why) => return Ok(Err(why)),
        };
        if self.look(image.seq).await? == Look::History {
            return Ok(Err("its tail is history by now".into()));
        }
        // A snapshot that nobody named may be a dead branch's, or half believed by who wrote it.
        let named = seq == 0 || image.snapshots.iter().any(|s| s.seq == seq && s.manifest_crc == crc);
        match named {
            true => Ok(Ok(image)),
            false => Ok(Err("no commit names it".into())),
        }
    }

    /// Numbers of the snapshots that have a manifest, newest first. A listing is a hint: what it misses costs time, what it
    /// shows is checked.
    async fn snapshots(&self) -> Result<Vec<u64>, Stop> {
        let mut attempt = 0;
        let listed = loop {
            match self.store.list("meta/snapshot/").await {
                Ok(listed) => break listed,
                Err(StoreError::Transient(_)) => {}
                Err(error) => return Err(Stop::Store(error.to_string())),
            }
            attempt += 1;
            back_off(&self.env, attempt).await;
        };
        let mut seqs: Vec<u64> = listed.iter().filter_map(|l| manifest_seq(&l.key)).collect();
        seqs.sort_unstable_by(|a, b| b.cmp(a));
        Ok(seqs)
    }

    /// Writes the empty snapshot. Others may be at it: whoever's chunk came first is the beginning, and whoever comes
    /// finishes it.
    async fn create(&self, genesis: &I) -> Result<(), Stop> {
        let image =
            JournalImage::genesis(genesis.clone(), self.config.genesis_level, self.config.genesis_times);
        let refused = |e: StoreError| Stop::Store(e.to_string());
        let encoded = image.encode();
        match snapshot::write(&*self.store, &self.env, &image, encoded, false).await {
            Ok(_) => return Ok(()),
            Err(snapshot::WriteError::Store(error)) => return Err(refused(error)),
            Err(snapshot::WriteError::Foreign(key)) => {
                tracing::info!(
                    key,
                    "the journal is being created by another process, with other first values"
                );
            }
        }
        let first = snapshot_key(0, &snapshot::chunk_part(0));
        let Some(theirs) = snapshot::get(&*self.store, &self.env, &first, false).await.map_err(refused)?
        else {
            return Ok(());
        };
        let Ok(image) = JournalImage::<I>::decode(theirs.clone()) else { return Ok(()) };
        match snapshot::write(&*self.store, &self.env, &image, theirs, false).await {
            Err(snapshot::WriteError::Store(error)) => Err(refused(error)),
            _ => Ok(()),
        }
    }
}

/// A later release's bytes stop the process with the remedy; damage may be a dead branch's, or one reader's.
fn unreadable<T>(seq: u64, error: DecodeError) -> Result<Result<T, String>, Stop> {
    match error {
        DecodeError::Unknown(what) => Err(Stop::Upgrade(format!("commit {seq}: {what}"))),
        DecodeError::Malformed(what) => Ok(Err(format!("commit {seq}: {what}"))),
    }
}

/// `meta/snapshot/<seq>/manifest` -> seq
pub(super) fn manifest_seq(key: &str) -> Option<u64> {
    let (seq, part) = key.strip_prefix("meta/snapshot/")?.split_once('/')?;
    (part == "manifest").then(|| seq.parse().ok())?
}
