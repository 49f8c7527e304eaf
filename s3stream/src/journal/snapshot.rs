//! The image in the bucket: chunks, then the manifest that makes them count.
//!
//! Order of things: the encoded image is cut into chunks, each created; then the manifest, which names their lengths and
//! CRCs; then everything is read back; then a commit names the manifest by its CRC (`SnapshotTaken`), and only then is the
//! snapshot used or relied upon (DESIGN §3). Encoding is deterministic, so that a second writer of the same number proposes
//! the same bytes; other bytes under the same number are a snapshot of a dead branch or a bug, and are not named.
//!
//! Owns the format, writing and reading one snapshot. Does not own when one is due (`state`), which counts (the log says),
//! or deleting (`release`).

use bytes::{BufMut, Bytes, BytesMut};

use super::state::{JournalImage, SnapshotRef};
use super::wire::{DecodeError, WireReader};
use super::{Image, Stop};
use crate::env::Env;
use crate::ids::snapshot_key;
use crate::store::create::back_off;
use crate::store::{Create, CreateOptions, PutPayload, Store, StoreError, create};

/// "AQJS"
const MAGIC: u32 = 0x4151_4a53;
const VERSION: u16 = 1;
/// One PUT each, well below what any store takes at once. Small in this crate's tests, so that they meet several.
const CHUNK_BYTES: usize = if cfg!(test) { 256 << 10 } else { 8 << 20 };
/// Above this, encoding is CPU work that does not belong on the journal's runtime (DESIGN §4).
pub(super) const INLINE_ENCODE_BYTES: usize = 64 << 10;

/// What makes a snapshot count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The feature level of the image.
    pub level: u16,
    /// The commit whose image it is.
    pub seq: u64,
    /// Length and CRC of each chunk.
    pub chunks: Vec<(u32, u32)>,
}

impl Manifest {
    fn of(level: u16, seq: u64, chunks: &[Bytes]) -> Manifest {
        let chunks = chunks.iter().map(|c| (c.len() as u32, crc32fast::hash(c))).collect();
        Manifest { level, seq, chunks }
    }

    /// The stored bytes and their CRC.
    pub fn encode(&self) -> (Bytes, u32) {
        let mut out = BytesMut::new();
        out.put_u32(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(self.level);
        out.put_u64(self.seq);
        out.put_u32(self.chunks.len() as u32);
        for (len, crc) in &self.chunks {
            out.put_u32(*len);
            out.put_u32(*crc);
        }
        let crc = crc32fast::hash(&out);
        out.put_u32(crc);
        (out.freeze(), crc)
    }

    /// The manifest in `bytes` and its CRC.
    pub fn decode(bytes: Bytes) -> Result<(Manifest, u32), DecodeError> {
        let Some(crc_at) = bytes.len().checked_sub(4) else {
            return Err(DecodeError::malformed("a manifest of less than 4 bytes"));
        };
        let crc = crc32fast::hash(&bytes[..crc_at]);
        if WireReader::new(bytes.slice(crc_at..)).u32("crc")? != crc {
            return Err(DecodeError::malformed("manifest: crc"));
        }
        let mut r = WireReader::new(bytes.slice(..crc_at));
        if r.u32("magic")? != MAGIC {
            return Err(DecodeError::malformed("not a manifest: wrong magic"));
        }
        let version = r.u16("version")?;
        if version == 0 {
            return Err(DecodeError::malformed("snapshot format 0 never was"));
        }
        if version > VERSION {
            return Err(DecodeError::unknown(format!("snapshot format {version}, known up to {VERSION}")));
        }
        let (level, seq) = (r.u16("level")?, r.u64("seq")?);
        let mut chunks = Vec::new();
        for _ in 0..r.count(8, "chunks")? {
            chunks.push((r.u32("chunk length")?, r.u32("chunk crc")?));
        }
        r.end("manifest")?;
        Ok((Manifest { level, seq, chunks }, crc))
    }
}

/// Name of chunk `index`.
pub(super) fn chunk_part(index: usize) -> String {
    format!("{index:06}")
}

/// Cuts an encoded image.
fn cut(image: Bytes) -> Vec<Bytes> {
    (0..image.len().div_ceil(CHUNK_BYTES).max(1))
        .map(|i| image.slice(i * CHUNK_BYTES..((i + 1) * CHUNK_BYTES).min(image.len())))
        .collect()
}

/// Writes the snapshot of `image`, whose encoding is `encoded`, and reads it back.
///
/// # Errors
/// A sentence, where other bytes are under its name or do not come back: it must not be named. Store errors only where
/// `patient` is false.
pub(super) async fn write<I: Image>(
    store: &dyn Store,
    env: &Env,
    image: &JournalImage<I>,
    encoded: Bytes,
    patient: bool,
) -> Result<SnapshotRef, WriteError> {
    let chunks = cut(encoded);
    let (manifest, manifest_crc) = Manifest::of(image.level, image.seq, &chunks).encode();
    let mut parts: Vec<(String, Bytes)> =
        chunks.into_iter().enumerate().map(|(i, c)| (chunk_part(i), c)).collect();
    parts.push(("manifest".to_owned(), manifest));
    for (part, body) in &parts {
        let key = snapshot_key(image.seq, part);
        let options = CreateOptions { patient, ..CreateOptions::default() };
        if let Create::Foreign(_) =
            create(store, env, &key, PutPayload::from_bytes(body.clone()), options).await?
        {
            return Err(WriteError::Foreign(key));
        }
    }
    for (part, body) in &parts {
        let key = snapshot_key(image.seq, part);
        if get(store, env, &key, patient).await?.as_ref() != Some(body) {
            return Err(WriteError::Foreign(key));
        }
    }
    Ok(SnapshotRef { seq: image.seq, log_bytes: image.log_bytes, manifest_crc })
}

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0} holds other bytes than this image's")]
    Foreign(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads snapshot `seq`: the image and its manifest's CRC, or None where it is incomplete, damaged or gone (another one
/// will do).
///
/// # Errors
/// [`Stop::Upgrade`] where it is of a level above `level_max` or a format of a later release, [`Stop::Store`] where the store refuses.
pub(super) async fn read<I: Image>(
    store: &dyn Store,
    env: &Env,
    seq: u64,
    level_max: u16,
) -> Result<Option<(JournalImage<I>, u32)>, Stop> {
    let refused = |e: StoreError| Stop::Store(e.to_string());
    let Some(bytes) = get(store, env, &snapshot_key(seq, "manifest"), false).await.map_err(refused)? else {
        return Ok(None);
    };
    let Some((manifest, crc)) = usable(seq, Manifest::decode(bytes))? else { return Ok(None) };
    // Before the image is read: what a later level adds to it must not look like damage.
    check_level(manifest.level, level_max)?;
    let mut all = BytesMut::new();
    for (i, (len, crc)) in manifest.chunks.iter().enumerate() {
        match get(store, env, &snapshot_key(seq, &chunk_part(i)), false).await.map_err(refused)? {
            Some(chunk) if chunk.len() == *len as usize && crc32fast::hash(&chunk) == *crc => {
                all.extend_from_slice(&chunk);
            }
            found => {
                tracing::error!(
                    snapshot = seq,
                    chunk = i,
                    found = found.is_some(),
                    "a chunk of a snapshot is damaged or gone"
                );
                return Ok(None);
            }
        }
    }
    let Some(image) = usable(seq, JournalImage::<I>::decode(all.freeze()))? else { return Ok(None) };
    if image.seq != seq || manifest.seq != seq {
        tracing::error!(
            snapshot = seq,
            image = image.seq,
            "a snapshot holds another image than its name says"
        );
        return Ok(None);
    }
    Ok(Some((image, crc)))
}

/// May a process that knows levels up to `level_max` read what is of `level`?
pub(super) fn check_level(level: u16, level_max: u16) -> Result<(), Stop> {
    if level <= level_max {
        return Ok(());
    }
    Err(Stop::Upgrade(format!(
        "the cluster is at feature level {level}, this release knows up to {level_max}; upgrade this process"
    )))
}

fn usable<T>(seq: u64, decoded: Result<T, DecodeError>) -> Result<Option<T>, Stop> {
    match decoded {
        Ok(value) => Ok(Some(value)),
        Err(DecodeError::Unknown(what)) => Err(Stop::Upgrade(format!("snapshot {seq}: {what}"))),
        Err(error) => {
            tracing::error!(snapshot = seq, %error, "a snapshot is damaged");
            Ok(None)
        }
    }
}

/// Reads `key`, asking again while the store does not answer.
pub(super) async fn get(
    store: &dyn Store,
    env: &Env,
    key: &str,
    patient: bool,
) -> Result<Option<Bytes>, StoreError> {
    let mut attempt = 0;
    loop {
        match store.get(key).await {
            Ok(found) => return Ok(found),
            Err(StoreError::Transient(_)) => {}
            Err(error @ StoreError::FsyncFailed(_)) => return Err(error),
            Err(error) if !patient => return Err(error),
            Err(error) => tracing::error!(key, %error, "the store refuses a read; asking again"),
        }
        attempt += 1;
        back_off(env, attempt).await;
    }
}
