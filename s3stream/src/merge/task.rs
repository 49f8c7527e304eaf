//! Carries merges out: reads what the plan names, composes the objects that take its place, and proposes the one record that
//! swaps them.
//!
//! One merge at a time, and within it one object at a time: what is held in memory is one object's blocks, charged to class
//! merge. Blocks are read by GETs of neighbours and checked (I7); their bytes are not touched. A record that is refused
//! changes nothing: what was put is an orphan, and the next plan is made of a newer image.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::pace::Pace;
use super::plan::next_of;
use super::{MergeDials, MergeOutput, MergePlan};
use crate::block_ref::BlockRef;
use crate::budget::{Budget, Class};
use crate::cache::ReadError;
use crate::catalog::{Catalog, NewObject, ObjectPart, StorageRecord};
use crate::ids::ObjectId;
use crate::object::{BlockKind, Composed, Composer, IndexEntry, ObjectKind};
use crate::rewrite::{RewriteError, Rewriter};
use crate::upload::InWork;
use crate::wal::Lane;
use crate::wal::recovery::checkpoints::read_checkpoints;

/// How often the catalog is looked at, where nothing was due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long sources whose merge failed are left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// How long it gives way to producers at a time.
const GIVEN_WAY: Duration = Duration::from_secs(1);

/// The merging of one process.
pub struct Merger {
    /// Objects, read and written.
    pub objects: Rewriter,
    /// Whose memory it uses.
    pub budget: Budget,
    /// The process's own lane, which merging gives way to.
    pub lane: Lane,
    /// What to merge.
    pub dials: MergeDials,
}

/// Why a merge came to nothing.
#[derive(Debug, thiserror::Error)]
enum MergeError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error("{0}")]
    Checkpoint(String),
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
        let mut pace = Pace::default();
        let mut looked = Instant::now();
        loop {
            pace.look(self.lane.stats().bytes, looked.elapsed());
            looked = Instant::now();
            while left_alone.front().is_some_and(|(since, _)| since.elapsed() >= LEFT_ALONE) {
                left_alone.pop_front();
            }
            let (_, catalog) = self.objects.journal.catalog();
            if !catalog.is_live(self.objects.me.incarnation) {
                return;
            }
            let me = self.objects.me.incarnation;
            let failed: BTreeSet<ObjectId> =
                left_alone.iter().flat_map(|(_, objects)| objects).copied().collect();
            let (claimed, gives_way) = (self.objects.claims.claimed(), !pace.allows());
            let Some(due) = next_of(me, &catalog, &self.dials, &failed, &claimed, gives_way) else {
                sleep(if gives_way { GIVEN_WAY } else { LOOK_EVERY }).await;
                continue;
            };
            match self.carry_out(&catalog, &due).await {
                Ok(()) => {
                    pace.merged(due.outputs.iter().map(MergeOutput::bytes).sum());
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
            let _room = self.budget.class(Class::Merge).acquire(output.charge(&self.dials)).await;
            let kind = if output.streams.len() == 1 { ObjectKind::Stream } else { ObjectKind::Merged };
            let (id, work, composer) = self.objects.begin(kind);
            in_work.push(work);
            let composed = self.compose(catalog, output, composer).await?;
            self.objects.put(id, &composed).await?;
            objects
                .push((NewObject { id, store: self.objects.data_store, len: composed.len }, output.parts()));
        }
        let record = StorageRecord::ObjectsMerged { sources: due.sources.clone(), objects };
        Ok(self.objects.propose(record).await?)
    }

    async fn compose(
        &self,
        catalog: &Catalog,
        output: &MergeOutput,
        mut composer: Composer,
    ) -> Result<Composed, MergeError> {
        let Rewriter { env, stores, history, .. } = &self.objects;
        let wanted = output.streams.iter().filter(|stream| stream.checkpoint.is_some());
        let states = read_checkpoints(env, stores, catalog, wanted.map(|stream| stream.stream)).await;
        let states = states.map_err(|error| MergeError::Checkpoint(error.to_string()))?;
        let (mut of_streams, mut blocks) = (Vec::new(), Vec::new());
        for of in &output.streams {
            for range in &of.ranges {
                if catalog.object(range.object).is_none_or(|object| object.is_condemned()) {
                    return Err(MergeError::Outdated);
                }
                let found = history.blocks_of(of.stream, &catalog.range_at(range)).await?;
                let kept = found.into_iter().filter(|block| block.end > of.start);
                blocks.extend(kept);
                of_streams.resize(blocks.len(), of.stream);
            }
        }
        let read = self.objects.read(&blocks).await?;
        for ((stream, block), bytes) in of_streams.into_iter().zip(blocks).zip(read) {
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
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block_ref::LaneRef;
    use crate::cache::TailCache;
    use crate::cache::rig::SlowStore;
    use crate::ids::StreamId;
    use crate::store::Store;
    use crate::upload::CatalogJournal;
    use crate::upload::rig::{ME, RigJournal};
    use crate::wal::LaneConfig;

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

    /// What somebody is about to replace is replaced by nobody else; its neighbours wait for it.
    #[tokio::test(start_paused = true)]
    async fn what_is_claimed_is_not_merged_until_the_claim_ends() {
        let (store, budget) = (Arc::new(SlowStore::default()), Budget::new(256 << 20));
        let journal = RigJournal::new(1);
        let objects = journal.rewriter(store.clone(), Arc::default(), &budget);
        let mut uploaded = Vec::new();
        for _ in 0..3 {
            uploaded.push(journal.upload(&objects, StreamId(0), 1_000).await);
        }
        let config = LaneConfig::for_store(store.traits(), &budget);
        let tail = TailCache::new(&budget);
        let lane = Lane::start(store.clone(), &objects.env, ME, LaneRef(0), config, tail);
        let dials = MergeDials { fan_in: 3, ..Merger::dials(&budget) };
        let claim = objects.claims.claim([uploaded[1]]);
        let task = tokio::spawn(Merger { objects, budget, lane, dials }.run());
        let ranges = || journal.catalog().1.stream(StreamId(0)).unwrap().ranges.len();
        sleep(LEFT_ALONE).await;
        assert_eq!(ranges(), 3);
        drop(claim);
        sleep(LEFT_ALONE).await;
        assert_eq!(ranges(), 1);
        task.abort();
    }
}
