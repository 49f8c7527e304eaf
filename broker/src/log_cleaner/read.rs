//! Reads the batches of ranges, a step of blocks at a time, past the caches. Part of the shell.

use bytes::Bytes;
use protocol::record_batch::{Batch, BatchError, split_batches};
use s3stream::block_ref::BlockRef;
use s3stream::catalog::{Catalog, StreamRange};
use s3stream::ids::StreamId;
use s3stream::rewrite::{RewriteError, Rewriter};

/// Bytes of batches between two looks of the runtime at others: unpacking takes time.
const WORK_BYTES: usize = 256 << 10;

/// Why a batch cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFailed {
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl From<s3stream::cache::ReadError> for ReadFailed {
    fn from(error: s3stream::cache::ReadError) -> ReadFailed {
        ReadFailed::Rewrite(error.into())
    }
}

type Ready = Box<dyn Iterator<Item = Result<Batch, BatchError>> + Send>;

/// The batches of some ranges, in order.
pub(super) struct Batches<'a> {
    objects: &'a Rewriter,
    catalog: &'a Catalog,
    stream: StreamId,
    step_bytes: u64,
    ranges: std::slice::Iter<'a, StreamRange>,
    from: u64,
    /// Of the range at hand, and which of them were read.
    blocks: Vec<BlockRef>,
    at: usize,
    ready: Ready,
    work: usize,
}

impl<'a> Batches<'a> {
    /// Of `ranges`, as `catalog` has them.
    pub(super) fn new(
        objects: &'a Rewriter,
        catalog: &'a Catalog,
        stream: StreamId,
        ranges: &'a [StreamRange],
        step_bytes: u64,
    ) -> Batches<'a> {
        let (ranges, from, blocks, at, work) = (ranges.iter(), 0, Vec::new(), 0, 0);
        let ready: Ready = Box::new(std::iter::empty());
        Batches { objects, catalog, stream, step_bytes, ranges, from, blocks, at, ready, work }
    }

    /// Leaves out blocks that end at or below this offset.
    pub(super) fn from(mut self, offset: u64) -> Self {
        self.from = offset;
        self
    }

    /// The next one; None behind the last.
    ///
    /// # Errors
    /// It cannot be read, or is no batch.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, ReadFailed> {
        if self.work >= WORK_BYTES {
            self.work = 0;
            tokio::task::yield_now().await;
        }
        loop {
            if let Some(batch) = self.ready.next() {
                let batch = batch?;
                self.work += batch.bytes().len();
                return Ok(Some(batch));
            }
            if self.at == self.blocks.len() {
                let Some(range) = self.ranges.next() else { return Ok(None) };
                let at = self.catalog.range_at(range);
                (self.blocks, self.at) = (self.objects.history.blocks_of(self.stream, &at).await?, 0);
                self.blocks.retain(|block| block.end > self.from);
                continue;
            }
            let step = step(&self.blocks[self.at..], self.step_bytes);
            self.at += step.len();
            self.ready = Box::new(split(step, self.objects.read(step).await?));
        }
    }
}

/// As many of the first blocks as fit into `bytes_max`, one at least.
fn step(blocks: &[BlockRef], bytes_max: u64) -> &[BlockRef] {
    let mut bytes = 0;
    let fits = |block: &&BlockRef| {
        bytes += u64::from(block.length);
        bytes <= bytes_max
    };
    let count = blocks.iter().take_while(fits).count().max(1).min(blocks.len());
    &blocks[..count]
}

/// The batches of some blocks. Where an epoch was sealed inside a block its bytes go on: what lies there is void.
fn split(
    step: &[BlockRef],
    bytes: Vec<Bytes>,
) -> impl Iterator<Item = Result<Batch, BatchError>> + Send + use<> {
    let ends: Vec<i64> = step.iter().map(|block| block.end as i64).collect();
    ends.into_iter().zip(bytes).flat_map(|(end, bytes)| {
        split_batches(bytes)
            .filter(move |batch| batch.as_ref().map_or(true, |batch| batch.header().base_offset < end))
    })
}
