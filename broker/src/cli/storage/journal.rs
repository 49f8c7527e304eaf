//! The journal read offline: one snapshot, one commit, and the image after any commit that is still told.
//!
//! Owns reading and folding; nothing here makes a look, since nothing is acted on. Says what is wrong as (key, sentence).

use anyhow::bail;
use bytes::{Bytes, BytesMut};
use s3stream::ids::{commit_key, snapshot_key};
use s3stream::journal::JournalImage;
use s3stream::journal::commit::Commit;
use s3stream::journal::snapshot::Manifest;
use s3stream::journal::state::Folded;

use super::bucket::Bucket;
use crate::metadata::MetadataImage;

/// The image of the journal with the cluster's metadata in it.
pub type ClusterImage = JournalImage<MetadataImage>;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

impl Problem {
    /// Of this key.
    pub fn new(key: impl Into<String>, what: impl ToString) -> Problem {
        Problem { key: key.into(), what: what.to_string() }
    }
}

/// A snapshot, read and checked.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
    /// What it holds.
    pub image: ClusterImage,
    /// CRC of its manifest, by which a commit names it.
    pub manifest_crc: u32,
    /// The image's bytes, as stored.
    pub encoded: Bytes,
}

/// Name of a snapshot's chunk.
pub fn chunk_key(seq: u64, index: usize) -> String {
    snapshot_key(seq, &format!("{index:06}"))
}

/// Numbers of the snapshots that have a manifest, ascending.
///
/// # Errors
/// The store does not answer.
pub async fn snapshot_numbers(bucket: &Bucket) -> anyhow::Result<Vec<u64>> {
    let listed = bucket.list("meta/snapshot/").await?;
    let number = |key: &str| key.strip_prefix("meta/snapshot/")?.strip_suffix("/manifest")?.parse().ok();
    Ok(listed.iter().filter_map(|l| number(&l.key)).collect())
}

/// Reads snapshot `seq`: manifest, chunks, image.
///
/// # Errors
/// The store does not answer. What is wrong with the snapshot is the inner error.
pub async fn read_snapshot(bucket: &Bucket, seq: u64) -> anyhow::Result<Result<StoredSnapshot, Problem>> {
    let key = snapshot_key(seq, "manifest");
    let Some(bytes) = bucket.get(&key).await? else { return Ok(Err(Problem::new(key, "is missing"))) };
    let (manifest, manifest_crc) = match Manifest::decode(bytes) {
        Ok(decoded) => decoded,
        Err(error) => return Ok(Err(Problem::new(key, error))),
    };
    if manifest.seq != seq {
        return Ok(Err(Problem::new(key, format!("says that it is of snapshot {}", manifest.seq))));
    }
    let mut encoded = BytesMut::new();
    for (index, (len, crc)) in manifest.chunks.iter().enumerate() {
        let key = chunk_key(seq, index);
        let Some(chunk) = bucket.get(&key).await? else { return Ok(Err(Problem::new(key, "is missing"))) };
        let actual = crc32fast::hash(&chunk);
        if chunk.len() != *len as usize || actual != *crc {
            let what = format!(
                "has {} bytes with CRC {actual:08x}; the manifest says {len} with {crc:08x}",
                chunk.len()
            );
            return Ok(Err(Problem::new(key, what)));
        }
        encoded.extend_from_slice(&chunk);
    }
    let encoded = encoded.freeze();
    match ClusterImage::decode(encoded.clone()) {
        Ok(image) if image.seq == seq => Ok(Ok(StoredSnapshot { image, manifest_crc, encoded })),
        Ok(image) => Ok(Err(Problem::new(key, format!("holds the image after commit {}", image.seq)))),
        Err(error) => Ok(Err(Problem::new(key, format!("its image: {error}")))),
    }
}

/// A commit as it was folded.
#[derive(Clone, Debug)]
pub struct Step {
    /// The image after it.
    pub image: ClusterImage,
    /// It was illegal and changed nothing, for this reason.
    pub void: Option<String>,
}

/// Folds the stored bytes of the next commit.
///
/// # Errors
/// They are damaged, or do not continue this image.
pub fn fold(image: &ClusterImage, bytes: Bytes) -> Result<Step, Problem> {
    let key = commit_key(image.seq + 1);
    let len = bytes.len();
    let (commit, chain) = Commit::decode(bytes).map_err(|e| Problem::new(&key, e))?;
    match image.fold(&commit, chain, len) {
        Ok(Folded::Next(image)) => Ok(Step { image, void: None }),
        Ok(Folded::Void(image, why)) => Ok(Step { image, void: Some(why.to_string()) }),
        Err(error) => Err(Problem::new(&key, error)),
    }
}

/// The image after commit `at`, or after the last: from the nearest snapshot that the log continues.
///
/// # Errors
/// No such commit; no snapshot from which it can be reached; the store does not answer.
pub async fn image_at(bucket: &Bucket, at: Option<u64>) -> anyhow::Result<ClusterImage> {
    let numbers = snapshot_numbers(bucket).await?;
    let Some(oldest) = numbers.first() else {
        bail!("{bucket} holds no journal: not a bucket of Aquifer's, or an empty one");
    };
    if at.is_some_and(|at| at < *oldest) {
        bail!("the oldest snapshot is {oldest}: earlier images are not told any more");
    }
    let mut why = String::new();
    for seq in numbers.iter().rev().filter(|seq| at.is_none_or(|at| **seq <= at)) {
        match reach(bucket, *seq, at).await? {
            Ok(image) => return Ok(image),
            Err(problem) => why = format!("{}: {}", problem.key, problem.what),
        }
    }
    bail!("{why}; `aquifer storage verify` tells all")
}

async fn reach(bucket: &Bucket, from: u64, at: Option<u64>) -> anyhow::Result<Result<ClusterImage, Problem>> {
    let mut image = match read_snapshot(bucket, from).await? {
        Ok(snapshot) => snapshot.image,
        Err(problem) => return Ok(Err(problem)),
    };
    while at.is_none_or(|at| image.seq < at) {
        let key = commit_key(image.seq + 1);
        let Some(bytes) = bucket.get(&key).await? else {
            let enough = at.is_none();
            return Ok(if enough {
                Ok(image)
            } else {
                Err(Problem::new(key, "is missing: the log ends before it"))
            });
        };
        image = match fold(&image, bytes) {
            Ok(step) => step.image,
            Err(problem) => return Ok(Err(problem)),
        };
    }
    Ok(Ok(image))
}
