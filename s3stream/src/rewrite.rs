//! Objects of `data/` made out of others: reads blocks past the caches, puts what was composed, proposes the record that
//! makes it count. Shared by merging and by whoever writes a stream anew with fewer records (DESIGN §6 "Log compaction").
//!
//! Nothing here is charged to a class of memory: the caller holds the charge of what it reads and composes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::block_ref::{BlockRef, LaneTable};
use crate::cache::{ColdRead, ColdReads, ReadError, Stores};
use crate::catalog::StorageRecord;
use crate::claims::Claims;
use crate::env::Env;
use crate::history::History;
use crate::ids::{LaneId, ObjectId, StoreId, data_key};
use crate::object::{Composed, Composer, ObjectHeader, ObjectKind};
use crate::store::{Create, CreateOptions, create, retry_in_turn};
use crate::upload::{CatalogJournal, InWork, ObjectCounter};

/// Bytes of one GET of neighbours.
const RUN_BYTES_MAX: u64 = 8 << 20;
/// How long one part of a source is asked for, once its turn has come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it takes to make objects out of others. Cheap to clone.
#[derive(Clone)]
pub struct Rewriter {
    /// Surroundings.
    pub env: Env,
    /// Where to write.
    pub data_store: StoreId,
    /// All stores.
    pub stores: Stores,
    /// Short numbers of series.
    pub tables: Arc<LaneTable>,
    /// Indexes of objects.
    pub history: History,
    /// The journal.
    pub journal: Arc<dyn CatalogJournal>,
    /// Ids.
    pub counter: Arc<ObjectCounter>,
    /// Who writes.
    pub me: LaneId,
    /// What is being written anew.
    pub claims: Claims,
    /// Whose turns its GETs wait for: what is made anew is in no more of a hurry than who reads history.
    pub cold: Arc<ColdReads>,
}

/// Why nothing came of it. What was put, if anything, is an orphan.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// An index could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Bytes that are not what the index says, or not there.
    #[error("{key}: {why}")]
    Damaged {
        /// The object.
        key: String,
        /// In words.
        why: String,
    },
    /// The store did not take the object.
    #[error("{key}: {why}")]
    Put {
        /// The object.
        key: String,
        /// In words.
        why: String,
    },
    /// Refused, or nobody knows: the catalog says.
    #[error("{0}")]
    Journal(String),
}

impl Rewriter {
    /// Begins an object: its id, which is in work until the second is dropped, and an empty composer.
    pub fn begin(&self, kind: ObjectKind) -> (ObjectId, InWork, Composer) {
        let work = self.counter.begin();
        let id = ObjectId { incarnation: self.me.incarnation, counter: work.number };
        let header = ObjectHeader::new(kind, self.me, id.counter, self.env.entropy.nonce());
        (id, work, Composer::new(header))
    }

    /// The bytes of all these blocks, in their order, checked (I7). Neighbours come in one GET and share its memory.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub async fn read(&self, blocks: &[BlockRef]) -> Result<Vec<Bytes>, RewriteError> {
        let mut read = Vec::with_capacity(blocks.len());
        let mut at = 0;
        while at < blocks.len() {
            let bytes_max = RUN_BYTES_MAX.min(self.cold.read_bytes_max());
            let first = blocks[at];
            let mut until = at + 1;
            let mut end = first.range().end;
            while let Some(next) = blocks.get(until) {
                let neighbour = (next.lane, next.number, next.position) == (first.lane, first.number, end);
                if !neighbour || next.range().end - first.position > bytes_max {
                    break;
                }
                end = next.range().end;
                until += 1;
            }
            let run = self.get(&first, end).await?;
            for block in &blocks[at..until] {
                let from = (block.position - first.position) as usize;
                let bytes = run.slice(from..from + block.length as usize);
                if crc32fast::hash(&bytes) != block.crc {
                    let (_, key) = self.tables.key(block.lane, block.number);
                    let why = format!("the block at {} is damaged", block.position);
                    return Err(RewriteError::Damaged { key, why });
                }
                read.push(bytes);
            }
            at = until;
        }
        Ok(read)
    }

    async fn get<'a>(&'a self, first: &BlockRef, end: u64) -> Result<Bytes, RewriteError> {
        let (store, key) = self.tables.key(first.lane, first.number);
        let damaged = |why: String| RewriteError::Damaged { key: key.clone(), why };
        let store = self.stores.get(store).ok_or_else(|| damaged("its store is not at hand".into()))?;
        let wanted = end - first.position;
        let (store, at) = (&**store, &*key);
        let get = |mut turn: ColdRead<'a>| async move {
            let got = store.get_range_once(at, first.position..end).await;
            turn.got(&got);
            got
        };
        let got = retry_in_turn(&self.env, Some(PATIENCE), || self.cold.turn(wanted), get).await;
        let got = got.map_err(|error| damaged(error.to_string()))?;
        let got = got.ok_or_else(|| damaged("it is not there".into()))?;
        match got.len() as u64 == wanted {
            true => Ok(got),
            false => Err(damaged(format!("{} bytes came of {wanted}", got.len()))),
        }
    }

    /// Puts an object.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn put(&self, id: ObjectId, composed: &Composed) -> Result<(), RewriteError> {
        let key = data_key(id);
        let failed = |why: String| RewriteError::Put { key: key.clone(), why };
        let store =
            self.stores.get(self.data_store).ok_or_else(|| failed("its store is not at hand".into()))?;
        let options = CreateOptions { patient: true, ..CreateOptions::default() };
        match create(&**store, &self.env, &key, composed.put_payload(), options).await {
            Ok(Create::Mine) => Ok(()),
            Ok(Create::Foreign(_)) => Err(failed("it is somebody else's".into())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Proposes one record.
    ///
    /// # Errors
    /// It was refused, or its outcome is not known.
    pub async fn propose(&self, record: StorageRecord) -> Result<(), RewriteError> {
        self.journal.propose(vec![record]).await.map_err(RewriteError::Journal)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::budget::Budget;
    use crate::cache::rig::{SlowStore, producing};
    use crate::ids::StreamId;
    use crate::upload::rig::RigJournal;

    const MIB: u64 = 1 << 20;

    /// One object of ten blocks, and who reads it.
    async fn one_object(
        store: Arc<SlowStore>,
        cold: Arc<ColdReads>,
        block_bytes: usize,
    ) -> (Rewriter, Vec<BlockRef>) {
        let journal = RigJournal::new(1);
        let objects = journal.rewriter(store, cold, &Budget::new(256 << 20));
        journal.upload(&objects, StreamId(0), block_bytes).await;
        let (_, catalog) = journal.catalog();
        let range = catalog.stream(StreamId(0)).unwrap().ranges[0];
        let blocks = objects.history.blocks_of(StreamId(0), &catalog.range_at(&range)).await.unwrap();
        (objects, blocks)
    }

    /// Beside a producer, and behind somebody who has just read what is due in some seconds.
    #[tokio::test(start_paused = true)]
    async fn what_is_made_anew_is_read_in_turn() {
        let (store, cold) = (Arc::new(SlowStore::default()), Arc::new(ColdReads::new(MIB)));
        let (objects, blocks) = one_object(store.clone(), cold.clone(), 400 << 10).await;
        let calls = || store.reads.load(std::sync::atomic::Ordering::SeqCst);
        let of_index = calls();

        cold.durable(cold.put(), Duration::from_millis(1));
        cold.turn(6 * MIB).await.brought(6 * MIB);
        assert_eq!(cold.rate(), Some(2 * MIB), "so the next turn is in three seconds");
        let begun = Instant::now();
        let early = timeout(Duration::from_secs(2), objects.read(&blocks[..2])).await;
        assert!(early.is_err() && calls() == of_index, "a GET came before its turn");

        let read = objects.read(&blocks).await.expect("they are there");
        assert_eq!(read.iter().map(|bytes| bytes[0]).collect::<Vec<_>>(), (0..10).collect::<Vec<u8>>());
        assert!(calls() - of_index > 1, "4 MiB come in one GET where there is no limit");
        assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    }

    /// A minute for its turn and one fault: that is no store that does not answer (I10).
    #[tokio::test(start_paused = true)]
    async fn a_fault_after_a_long_wait_is_not_final() {
        let (store, cold) = (Arc::new(SlowStore::default()), Arc::new(ColdReads::new(MIB)));
        let (objects, blocks) = one_object(store.clone(), cold.clone(), 1 << 10).await;

        let producing = producing(&cold);
        cold.turn(MIB).await.brought(4 * PATIENCE.as_secs() * MIB);
        store.fail.store(1, std::sync::atomic::Ordering::SeqCst);
        let begun = Instant::now();
        let read = objects.read(&blocks).await;
        assert!(begun.elapsed() > PATIENCE, "{:?}", begun.elapsed());
        assert_eq!(read.expect("answered when asked again").len(), blocks.len());
        producing.abort();
    }
}
