//! Reads the checkpoints that the catalog names: the state of each stream where its lanes take over (DESIGN §6).
//!
//! Checkpoints lie at the end of their object, beside its index, so one GET or two bring all of an object, whoever they
//! belong to. Their CRCs are checked (I7); one that cannot be read is an error, never an empty state.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{PATIENCE, TAIL_BYTES, WINDOW};
use crate::cache::Stores;
use crate::catalog::Catalog;
use crate::env::Env;
use crate::ids::{ObjectId, StoreId, StreamId};
use crate::object::{BlockKind, IndexEntry, TailParse, parse_tail};
use crate::store::{StoreError, retry};

/// Why a checkpoint is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store did not answer for a minute, or refuses.
    #[error("{key}: {error}")]
    Store {
        /// The object.
        key: String,
        /// Its last answer.
        error: StoreError,
    },
    /// This process was not given that store.
    #[error("{key} lies in store {}, which this process does not have", store.0)]
    UnknownStore {
        /// The object.
        key: String,
        /// Where it lies.
        store: StoreId,
    },
    /// It is missing or not what the catalog says. Where the image is old, catch up and ask again.
    #[error("{key} does not have the checkpoint of stream {stream}: {why}")]
    NotThere {
        /// The object.
        key: String,
        /// Whose checkpoint.
        stream: StreamId,
        /// What is wrong.
        why: String,
    },
}

/// The checkpoints of `streams`; those that have none are left out.
///
/// # Errors
/// The first that could not be read.
pub async fn read_checkpoints(
    env: &Env,
    stores: &Stores,
    catalog: &Catalog,
    streams: impl IntoIterator<Item = StreamId>,
) -> Result<BTreeMap<StreamId, Bytes>, CheckpointError> {
    let mut by_object: BTreeMap<ObjectId, Vec<StreamId>> = BTreeMap::new();
    for stream in streams {
        if let Some(object) = catalog.stream(stream).and_then(|state| state.checkpoint) {
            by_object.entry(object).or_default().push(stream);
        }
    }
    let reads = by_object.into_iter().map(|(object, streams)| {
        let store = catalog.object(object).expect("a checkpoint keeps its object in the catalog").store;
        read_object(env, stores, store, catalog.object_key(object), streams)
    });
    let merge = |mut all: BTreeMap<StreamId, Bytes>, some| async move {
        all.extend(some);
        Ok(all)
    };
    stream::iter(reads).buffer_unordered(WINDOW).boxed().try_fold(BTreeMap::new(), merge).await
}

async fn read_object(
    env: &Env,
    stores: &Stores,
    store_id: StoreId,
    key: String,
    streams: Vec<StreamId>,
) -> Result<BTreeMap<StreamId, Bytes>, CheckpointError> {
    let Some(store) = stores.get(store_id) else {
        return Err(CheckpointError::UnknownStore { key, store: store_id });
    };
    let not_there = |why: String| CheckpointError::NotThere { key: key.clone(), stream: streams[0], why };
    let mut bytes = TAIL_BYTES;
    let (footer, tail) = loop {
        let tail = retry(env, Some(PATIENCE), || store.get_tail(&key, bytes)).await;
        let tail = tail.map_err(|error| CheckpointError::Store { key: key.clone(), error })?;
        let tail = tail.ok_or_else(|| not_there("it is not there".into()))?;
        match parse_tail(&tail).map_err(|error| not_there(error.to_string()))? {
            TailParse::NeedMore(more) => bytes = more,
            TailParse::Index(footer) => match footer.tail_from(BlockKind::Checkpoint) {
                Some(more) if more > tail.bytes.len() as u64 => bytes = more,
                _ => break (footer, tail),
            },
        }
    };
    let mut found = BTreeMap::new();
    for stream in &streams {
        let not_there = |why: String| CheckpointError::NotThere { key: key.clone(), stream: *stream, why };
        let mine = |e: &&IndexEntry| e.kind == BlockKind::Checkpoint && e.stream == *stream;
        let entry =
            footer.entries.iter().rfind(mine).ok_or_else(|| not_there("it is not in the index".into()))?;
        let block =
            footer.block_in_tail(&tail, entry).ok_or_else(|| not_there("the tail ends above it".into()))?;
        let block = block.map_err(|error| not_there(error.to_string()))?;
        // Copied, so that it does not hold the tail it came in.
        found.insert(*stream, Bytes::copy_from_slice(&block));
    }
    Ok(found)
}
