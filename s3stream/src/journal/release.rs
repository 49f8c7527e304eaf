//! What a controller does beside committing: snapshots, and after them the deletes that they allow.
//!
//! Order of things: write the snapshot, read it back, have a commit name it; then delete snapshots older than the two
//! newest named; then release the strides of the log that lie wholly below the older of those two, in ascending order: the
//! boundary object first, then the entries (SAFETY F1). Boundaries are never deleted. Everything here acts on an image that
//! was looked at, and on facts that stay facts whoever is controller by then: it may be stopped, repeated or done by two at
//! once.
//!
//! Owns that background task. Does not own the decision that a snapshot is due (`state`), nor its format (`snapshot`).

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::commit::JournalRecord;
use super::owner::Pending;
use super::reader::{Reader, manifest_seq};
use super::snapshot::{self, INLINE_ENCODE_BYTES};
use super::state::JournalImage;
use super::{Command, Image, count};
use crate::ids::{boundary_key, commit_key};
use crate::store::{CreateOptions, PutPayload, StoreError, create};

/// "AQJB"
const BOUNDARY_MAGIC: u32 = 0x4151_4a42;
/// Deletes in flight: background work that must not crowd out commits.
const DELETES: usize = 16;

/// Takes one snapshot of `image` and cleans up behind it. Reports a failure; success is the commit itself.
pub(super) async fn housekeeping<I: Image>(
    reader: Reader<I>,
    image: Arc<JournalImage<I>>,
    commands: mpsc::WeakUnboundedSender<Command<I>>,
) {
    if let Err(why) = take_snapshot(&reader, &image, &commands).await {
        tracing::warn!(seq = image.seq, why, "no snapshot");
        return end(&commands, false);
    }
    count(&reader.shared.counters.snapshots);
    let named = reader.shared.image.borrow().clone();
    if let Err(error) = clean(&reader, &named).await {
        tracing::warn!(%error, "cleaning up behind the snapshot was cut short; the next one goes on");
    }
    end(&commands, true);
}

fn end<I: Image>(commands: &mpsc::WeakUnboundedSender<Command<I>>, named: bool) {
    if let Some(commands) = commands.upgrade() {
        let _ = commands.send(Command::SnapshotEnded { named });
    }
}

async fn take_snapshot<I: Image>(
    reader: &Reader<I>,
    image: &Arc<JournalImage<I>>,
    commands: &mpsc::WeakUnboundedSender<Command<I>>,
) -> Result<(), String> {
    let encoded = encode(image.clone()).await?;
    let named = snapshot::write(&*reader.store, &reader.env, image, encoded, true)
        .await
        .map_err(|e| e.to_string())?;
    let record = JournalRecord::SnapshotTaken {
        seq: named.seq,
        log_bytes: named.log_bytes,
        manifest_crc: named.manifest_crc,
    };
    let (pending, answer) = Pending::new(None, vec![record], Vec::new());
    let commands = commands.upgrade().ok_or("the journal is closed")?;
    commands.send(Command::Submit(pending)).map_err(|_| "the journal is closed")?;
    drop(commands);
    answer.await.map_err(|e| e.to_string())?.map(|_| ()).map_err(|e| e.to_string())
}

async fn encode<I: Image>(image: Arc<JournalImage<I>>) -> Result<Bytes, String> {
    if image.inner.size_hint() <= INLINE_ENCODE_BYTES {
        return Ok(image.encode());
    }
    tokio::task::spawn_blocking(move || image.encode()).await.map_err(|e| e.to_string())
}

/// Deletes what `image` proves is not needed to boot from either of its named snapshots.
pub(super) async fn clean<I: Image>(reader: &Reader<I>, image: &JournalImage<I>) -> Result<(), StoreError> {
    // Never while there is only one: "the older of the two" would be a guess.
    let [newest, older] = image.snapshots[..] else { return Ok(()) };
    let kept = |seq: u64| seq == older.seq || seq >= newest.seq;
    delete_snapshots(reader, kept).await?;
    for stride in releasable(reader, older.seq).await? {
        release(reader, stride).await?;
    }
    Ok(())
}

/// All snapshots that are neither of the two newest, nor possibly being written: manifests first, so that a reader finds a
/// snapshot whole or not at all.
async fn delete_snapshots<I: Image>(
    reader: &Reader<I>,
    kept: impl Fn(u64) -> bool,
) -> Result<(), StoreError> {
    let listed = reader.store.list("meta/snapshot/").await?;
    let doomed: Vec<&str> = listed
        .iter()
        .map(|l| l.key.as_str())
        .filter(|key| snapshot_seq(key).is_some_and(|seq| !kept(seq)))
        .collect();
    let (manifests, chunks): (Vec<&str>, Vec<&str>) =
        doomed.into_iter().partition(|k| manifest_seq(k).is_some());
    delete_all(reader, manifests.into_iter().map(str::to_owned).collect()).await?;
    delete_all(reader, chunks.into_iter().map(str::to_owned).collect()).await
}

/// The strides below `older` that still have entries, or were cut short, in the order of their release.
async fn releasable<I: Image>(reader: &Reader<I>, older: u64) -> Result<std::ops::Range<u64>, StoreError> {
    let end = older / reader.config.stride;
    if end == 0 {
        return Ok(0..0);
    }
    let listed = reader.store.list("meta/log/").await?;
    let lowest = listed.iter().find_map(|l| commit_seq(&l.key)).map_or(end, |seq| seq / reader.config.stride);
    // A listing is only a hint of where to begin: every stride below must have its boundary already.
    let mut first = lowest.min(end);
    while first > 0 && reader.store.head(&boundary_key(first - 1)).await?.is_none() {
        first -= 1;
    }
    Ok(first..end)
}

/// Puts the boundary, then deletes the entries of one stride.
async fn release<I: Image>(reader: &Reader<I>, stride: u64) -> Result<(), StoreError> {
    let mut body = BytesMut::new();
    body.put_u32(BOUNDARY_MAGIC);
    body.put_u64(stride);
    let options = CreateOptions { patient: true, ..CreateOptions::default() };
    // Whoever's it is, it is the boundary.
    create(
        &*reader.store,
        &reader.env,
        &boundary_key(stride),
        PutPayload::from_bytes(body.freeze()),
        options,
    )
    .await?;
    delete_all(
        reader,
        (stride * reader.config.stride..(stride + 1) * reader.config.stride).map(commit_key).collect(),
    )
    .await?;
    count(&reader.shared.counters.strides_released);
    Ok(())
}

async fn delete_all<I: Image>(reader: &Reader<I>, keys: Vec<String>) -> Result<(), StoreError> {
    let deletes = keys.into_iter().map(|key| async move { reader.store.delete(&key).await });
    let mut deletes = stream::iter(deletes).buffer_unordered(DELETES);
    while let Some(deleted) = deletes.next().await {
        deleted?;
    }
    Ok(())
}

/// `meta/log/<seq>` -> seq
fn commit_seq(key: &str) -> Option<u64> {
    key.strip_prefix("meta/log/")?.parse().ok()
}

/// `meta/snapshot/<seq>/<part>` -> seq
fn snapshot_seq(key: &str) -> Option<u64> {
    key.strip_prefix("meta/snapshot/")?.split_once('/')?.0.parse().ok()
}
