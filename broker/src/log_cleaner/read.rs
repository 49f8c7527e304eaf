//! Reads the batches of ranges, a step of blocks at a time, past the caches. Part of the shell.
//!
//! A task of its own reads: the next step comes from the store while the batches of the one before it are looked at. It
//! begins no step before there is room for it, so two are in memory at most.

use bytes::Bytes;
use protocol::record_batch::{Batch, BatchError, split_batches};
use s3stream::block_ref::BlockRef;
use s3stream::catalog::{Catalog, StreamRange};
use s3stream::history::RangeAt;
use s3stream::ids::StreamId;
use s3stream::rewrite::{RewriteError, Rewriter};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Steps in memory at a time: whose batches are looked at, and the next.
pub(super) const STEPS: u64 = 2;
/// Bytes of batches between two looks of the runtime at others: unpacking takes time.
const WORK_BYTES: usize = 256 << 10;

/// Why a batch cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFailed {
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Its task panicked, or the process ends.
    #[error("nobody reads any more")]
    Ended,
}

impl From<s3stream::cache::ReadError> for ReadFailed {
    fn from(error: s3stream::cache::ReadError) -> ReadFailed {
        ReadFailed::Rewrite(error.into())
    }
}

type Ready = Box<dyn Iterator<Item = Result<Batch, BatchError>> + Send>;

/// Some blocks of one range and their bytes.
type Step = (Vec<BlockRef>, Vec<Bytes>);

/// What the task says: a step, or that there is none after the last. Without either it ended too early.
type Told = Result<Option<Step>, ReadFailed>;

/// The batches of some ranges, in order.
pub(super) struct Batches {
    reading: Reading,
    ready: Ready,
    work: usize,
}

enum Reading {
    /// Nothing was asked for yet.
    Not(Ahead),
    /// What the task says, and the task.
    On { told: mpsc::Receiver<Told>, _task: Task },
    /// Behind the last.
    Done,
}

impl Batches {
    /// Of `ranges`, as `catalog` has them.
    pub(super) fn new(
        objects: &Rewriter,
        catalog: &Catalog,
        stream: StreamId,
        ranges: &[StreamRange],
        step_bytes: u64,
    ) -> Batches {
        let ranges = ranges.iter().map(|range| catalog.range_at(range)).collect();
        let ahead = Ahead { objects: objects.clone(), stream, step_bytes, ranges, from: 0 };
        Batches { reading: Reading::Not(ahead), ready: Box::new(std::iter::empty()), work: 0 }
    }

    /// Leaves out blocks that end at or below this offset. Before the first is asked for.
    pub(super) fn from(mut self, offset: u64) -> Self {
        if let Reading::Not(ahead) = &mut self.reading {
            ahead.from = offset;
        }
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
            // The memory of the step goes before the next is waited for.
            self.ready = Box::new(std::iter::empty());
            let Some((blocks, bytes)) = self.reading.next().await? else { return Ok(None) };
            self.ready = Box::new(split(&blocks, bytes));
        }
    }
}

impl Reading {
    async fn next(&mut self) -> Told {
        *self = match std::mem::replace(self, Reading::Done) {
            Reading::Not(ahead) => ahead.start(),
            other => other,
        };
        let Reading::On { told, .. } = self else { return Ok(None) };
        let step = told.recv().await.unwrap_or(Err(ReadFailed::Ended))?;
        if step.is_none() {
            *self = Reading::Done;
        }
        Ok(step)
    }
}

/// Ends with who listens to it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the task works with.
struct Ahead {
    objects: Rewriter,
    stream: StreamId,
    step_bytes: u64,
    ranges: Vec<RangeAt>,
    from: u64,
}

impl Ahead {
    fn start(self) -> Reading {
        let (tell, told) = mpsc::channel(1);
        let tasks = self.objects.env.tasks.clone();
        let task = tasks.spawn("log-cleaner-read", async move {
            let last = match self.read_all(&tell).await {
                // Nobody listens any more.
                None => return,
                Some(outcome) => outcome.map(|()| None),
            };
            let _ = tell.send(last).await;
        });
        Reading::On { told, _task: Task(task) }
    }

    /// None once nobody listens.
    async fn read_all(&self, tell: &mpsc::Sender<Told>) -> Option<Result<(), ReadFailed>> {
        for range in &self.ranges {
            let mut blocks = match self.objects.history.blocks_of(self.stream, range).await {
                Ok(blocks) => blocks,
                Err(error) => return Some(Err(error.into())),
            };
            blocks.retain(|block| block.end > self.from);
            let mut blocks = &blocks[..];
            while !blocks.is_empty() {
                let (step, rest) = blocks.split_at(step(blocks, self.step_bytes));
                let room = tell.reserve().await.ok()?;
                match self.objects.read(step).await {
                    Ok(bytes) => room.send(Ok(Some((step.to_vec(), bytes)))),
                    Err(error) => return Some(Err(error.into())),
                }
                blocks = rest;
            }
        }
        Some(Ok(()))
    }
}

/// How many of the first blocks fit into `bytes_max`: one at least, if there is one.
fn step(blocks: &[BlockRef], bytes_max: u64) -> usize {
    let mut bytes = 0;
    let fits = |block: &&BlockRef| {
        bytes += u64::from(block.length);
        bytes <= bytes_max
    };
    blocks.iter().take_while(fits).count().max(1).min(blocks.len())
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
