//! Carries merges out: reads what the plan names, composes the objects that take its place, and proposes the one record that
//! swaps them.
//!
//! One merge at a time, and within it one object at a time: what is held in memory is one object's blocks, charged to class
//! merge. Blocks are read by GETs of neighbours and checked (I7); their bytes are not touched. A record that is refused
//! changes nothing: what was put is an orphan, and the next plan is made of a newer image.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{MergeDials, MergeOutput, MergePlan, plan};
use crate::block_ref::{BlockRef, LaneTable};
use crate::budget::{Budget, Class};
use crate::cache::{ReadError, Stores};
use crate::catalog::{Catalog, NewObject, ObjectPart, StorageRecord};
use crate::env::Env;
use crate::history::History;
use crate::ids::{LaneId, ObjectId, StoreId, StreamId, data_key};
use crate::object::{BlockKind, Composed, Composer, IndexEntry, ObjectHeader, ObjectKind};
use crate::store::{Create, CreateOptions, create, retry};
use crate::upload::{CatalogJournal, InWork, ObjectCounter};
use crate::wal::recovery::checkpoints::read_checkpoints;

/// How often the catalog is looked at, where nothing was due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long sources whose merge failed are left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// Bytes of one GET of neighbours.
const RUN_BYTES_MAX: u64 = 8 << 20;
/// How long one part of a source is asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The merging of one process.
pub struct Merger {
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
    /// Whose memory it uses.
    pub budget: Budget,
    /// The journal.
    pub journal: Arc<dyn CatalogJournal>,
    /// Ids.
    pub counter: Arc<ObjectCounter>,
    /// Who writes.
    pub me: LaneId,
    /// What to merge.
    pub dials: MergeDials,
}

/// Why a merge came to nothing.
#[derive(Debug, thiserror::Error)]
enum MergeError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{key}: {why}")]
    Damaged { key: String, why: String },
    #[error("{0}")]
    Checkpoint(String),
    #[error("{key}: {why}")]
    Put { key: String, why: String },
    #[error("{0}")]
    Journal(String),
    #[error("what was planned is not there any more")]
    Outdated,
}

impl Merger {
    /// Dials that fit a memory budget.
    pub fn dials(budget: &Budget) -> MergeDials {
        let default = MergeDials::default();
        // As much as an upload holds at a time: both fit into the class together.
        let share = (budget.class(Class::Merge).capacity() / 2).max(1 << 20);
        MergeDials {
            max_object_bytes: default.max_object_bytes.min(share),
            // An object is composed in memory, cold ones too (I8).
            cold_object_bytes: default.cold_object_bytes.min(share),
            ..default
        }
    }

    /// Merges for as long as the process lives.
    pub async fn run(self) {
        let mut left_alone: VecDeque<(Instant, Vec<ObjectId>)> = VecDeque::new();
        loop {
            while left_alone.front().is_some_and(|(since, _)| since.elapsed() >= LEFT_ALONE) {
                left_alone.pop_front();
            }
            let busy: BTreeSet<ObjectId> =
                left_alone.iter().flat_map(|(_, objects)| objects.iter().copied()).collect();
            let (_, catalog) = self.journal.catalog();
            if !catalog.is_live(self.me.incarnation) {
                return;
            }
            let ours = |plan: &MergePlan| plan.owner == self.me.incarnation || !catalog.is_live(plan.owner);
            let due = plan(&catalog, &self.dials, &busy).into_iter().find(ours);
            let Some(due) = due else {
                sleep(LOOK_EVERY).await;
                continue;
            };
            match self.carry_out(&catalog, &due).await {
                Ok(()) => {
                    let (sources, outputs) = (due.sources.len(), due.outputs.len());
                    tracing::debug!(kind = ?due.kind, sources, outputs, "merged");
                }
                Err(error) => {
                    tracing::warn!(%error, kind = ?due.kind, "a merge failed; its sources are left alone for a while");
                    left_alone.push_back((Instant::now(), due.sources.clone()));
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    async fn carry_out(&self, catalog: &Catalog, due: &MergePlan) -> Result<(), MergeError> {
        // Held until the record has its outcome: ids in work are not released.
        let mut in_work: Vec<InWork> = Vec::new();
        let mut objects: Vec<(NewObject, Vec<ObjectPart>)> = Vec::new();
        for output in &due.outputs {
            let room = output.bytes().clamp(1 << 20, self.dials.max_object_bytes.max(1 << 20));
            let _room = self.budget.class(Class::Merge).acquire(room).await;
            let work = self.counter.begin();
            let id = ObjectId { incarnation: self.me.incarnation, counter: work.number };
            in_work.push(work);
            let composed = self.compose(catalog, output, id).await?;
            self.put(id, &composed).await?;
            objects.push((NewObject { id, store: self.data_store, len: composed.len }, output.parts()));
        }
        let record = StorageRecord::ObjectsMerged { sources: due.sources.clone(), objects };
        self.journal.propose(vec![record]).await.map_err(MergeError::Journal)
    }

    async fn compose(
        &self,
        catalog: &Catalog,
        output: &MergeOutput,
        id: ObjectId,
    ) -> Result<Composed, MergeError> {
        let kind = if output.streams.len() == 1 { ObjectKind::Stream } else { ObjectKind::Merged };
        let mut composer =
            Composer::new(ObjectHeader::new(kind, self.me, id.counter, self.env.entropy.nonce()));
        let wanted = output.streams.iter().filter(|stream| stream.checkpoint.is_some());
        let states =
            read_checkpoints(&self.env, &self.stores, catalog, wanted.map(|stream| stream.stream)).await;
        let states = states.map_err(|error| MergeError::Checkpoint(error.to_string()))?;
        let mut blocks = Vec::new();
        for of in &output.streams {
            for range in &of.ranges {
                if catalog.object(range.object).is_none_or(|object| object.is_condemned()) {
                    return Err(MergeError::Outdated);
                }
                let found = self.history.blocks_of(of.stream, &catalog.range_at(range)).await?;
                let kept = found.into_iter().filter(|block| block.end > of.start);
                blocks.extend(kept.map(|block| (of.stream, block)));
            }
        }
        for (stream, block, bytes) in self.fetch(blocks).await? {
            let BlockRef { epoch, base, end, length, max_timestamp, crc, .. } = block;
            let (kind, position) = (BlockKind::Data, 0);
            let entry = IndexEntry { kind, stream, epoch, base, end, position, length, max_timestamp, crc };
            composer.data(&entry, bytes);
        }
        for (of, part) in output.streams.iter().filter_map(|of| Some((of, *of.parts().last()?))) {
            if part.checkpoint {
                let state = states.get(&of.stream).cloned().ok_or(MergeError::Outdated)?;
                // Valid where it was made: at the end of what was uploaded, whichever range it travels with.
                composer.checkpoint(of.stream, of.end.0, of.end.1, state);
            }
        }
        Ok(composer.finish())
    }

    /// The bytes of all these blocks, in their order, checked. Neighbours come in one GET.
    async fn fetch(
        &self,
        blocks: Vec<(StreamId, BlockRef)>,
    ) -> Result<Vec<(StreamId, BlockRef, Bytes)>, MergeError> {
        let mut fetched = Vec::with_capacity(blocks.len());
        let mut at = 0;
        while at < blocks.len() {
            let first = blocks[at].1;
            let mut until = at + 1;
            let mut end = first.range().end;
            while let Some((_, next)) = blocks.get(until) {
                let neighbour = (next.lane, next.number, next.position) == (first.lane, first.number, end);
                if !neighbour || next.range().end - first.position > RUN_BYTES_MAX {
                    break;
                }
                end = next.range().end;
                until += 1;
            }
            let run = self.get(&first, end).await?;
            for (stream, block) in &blocks[at..until] {
                let from = (block.position - first.position) as usize;
                let bytes = run.slice(from..from + block.length as usize);
                if crc32fast::hash(&bytes) != block.crc {
                    let (_, key) = self.tables.key(block.lane, block.number);
                    let why = format!("the block at {} is damaged", block.position);
                    return Err(MergeError::Damaged { key, why });
                }
                fetched.push((*stream, *block, bytes));
            }
            at = until;
        }
        Ok(fetched)
    }

    async fn get(&self, first: &BlockRef, end: u64) -> Result<Bytes, MergeError> {
        let (store, key) = self.tables.key(first.lane, first.number);
        let damaged = |why: String| MergeError::Damaged { key: key.clone(), why };
        let store = self.stores.get(store).ok_or_else(|| damaged("its store is not at hand".into()))?;
        let get = || store.get_range(&key, first.position..end);
        let got = retry(&self.env, Some(PATIENCE), get).await.map_err(|error| damaged(error.to_string()))?;
        let got = got.ok_or_else(|| damaged("it is not there".into()))?;
        let wanted = end - first.position;
        match got.len() as u64 == wanted {
            true => Ok(got),
            false => Err(damaged(format!("{} bytes came of {wanted}", got.len()))),
        }
    }

    async fn put(&self, id: ObjectId, composed: &Composed) -> Result<(), MergeError> {
        let key = data_key(id);
        let failed = |why: String| MergeError::Put { key: key.clone(), why };
        let store =
            self.stores.get(self.data_store).ok_or_else(|| failed("its store is not at hand".into()))?;
        let options = CreateOptions { patient: true, ..CreateOptions::default() };
        match create(&**store, &self.env, &key, composed.put_payload(), options).await {
            Ok(Create::Mine) => Ok(()),
            Ok(Create::Foreign(_)) => Err(failed("it is somebody else's".into())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is merged, what one output holds fits into the class beside an upload.
    #[test]
    fn no_output_is_larger_than_its_share_of_memory() {
        for total in [64 << 20, 1 << 30, 64 << 30] {
            let budget = Budget::new(total);
            let share = budget.class(Class::Merge).capacity() / 2;
            let dials = Merger::dials(&budget);
            let largest = dials.max_object_bytes.max(dials.cold_object_bytes);
            assert!(largest <= share.max(1 << 20), "{largest} of {share} bytes with a budget of {total}");
        }
    }
}
