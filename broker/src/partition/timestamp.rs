//! Finding records by time, exact to the record: the index says which blocks may hold one, the block says which it is. Only
//! what is kept is found: blocks and batches are stored whole, and a log start may lie inside of either.

use std::sync::Arc;

use bytes::Bytes;
use protocol::record_batch::{Batch, BatchError, TimestampType, split_batches};
use s3stream::block_ref::BlockRef;
use s3stream::history::RangeAt;

use super::Partition;
use crate::broker::Broker;

/// No batch is larger when decompressed: produce refused it.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Its timestamp.
    pub timestamp: i64,
    /// Its offset.
    pub offset: i64,
    /// The leader epoch it was written in.
    pub leader_epoch: i32,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The bucket did not answer.
    #[error("{0}")]
    Read(String),
    /// A stored batch cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// The first record at or after `timestamp` that is kept.
pub async fn first_from(
    broker: &Arc<Broker>,
    partition: &Partition,
    timestamp: i64,
) -> Result<Option<TimestampedOffset>, LookupError> {
    let in_history = |from, below| first_in_history(broker, partition, timestamp, (from, below));
    first_of_all(partition, timestamp, in_history, |block| read(broker.clone(), block)).await
}

/// What is below the blocks that the partition knows, then these. Reading takes time, in which what was uploaded leaves
/// the partition: that is looked up as well, or the records in between would be passed over.
async fn first_of_all<H: Future<Output = Found>, F: Future<Output = Result<Bytes, LookupError>>>(
    partition: &Partition,
    timestamp: i64,
    in_history: impl Fn(u64, u64) -> H,
    read: impl Fn(BlockRef) -> F,
) -> Found {
    let mut seen = 0;
    loop {
        let (below, blocks) = partition.blocks_from_timestamp(timestamp);
        if below <= seen {
            return first_with(partition, blocks, timestamp, read).await;
        }
        if let Some(found) = in_history(seen, below).await? {
            return Ok(Some(found));
        }
        seen = below;
    }
}

type Found = Result<Option<TimestampedOffset>, LookupError>;

/// The same, of what objects hold of some offsets that the partition does not know.
async fn first_in_history(
    broker: &Arc<Broker>,
    partition: &Partition,
    timestamp: i64,
    (from, below): (u64, u64),
) -> Found {
    let (ranges, log_start) = (history(broker, partition, from, below), partition.offsets().log_start);
    for at in ranges.iter().filter(|at| at.range.max_timestamp >= timestamp) {
        for block in blocks_of(broker, partition, at).await? {
            if block.max_timestamp < timestamp {
                continue;
            }
            if let Some(found) = first_in(read(broker.clone(), block).await?, log_start, timestamp)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// The record with the largest timestamp of those that are kept; the first of them where several have it (KIP-734).
///
/// Kafka's `UnifiedLog.fetchOffsetByTimestamp` does not look at the log start and may name a record below it.
pub async fn max(
    broker: &Arc<Broker>,
    partition: &Partition,
) -> Result<Option<TimestampedOffset>, LookupError> {
    // The log start lies below all that the partition knows itself, so none of these blocks straddles it.
    let recent = max_with(partition, |block| read(broker.clone(), block)).await?;
    let ranges = history(broker, partition, 0, partition.history_below());
    let above = |best: Option<TimestampedOffset>| best.map_or(-1, |found| found.timestamp);
    // Of equal ones the first: history comes before.
    let mut best: Option<TimestampedOffset> = None;
    let log_start = partition.offsets().log_start;
    for at in ranges.iter().filter(|at| at.range.max_timestamp >= above(recent)) {
        if at.range.max_timestamp <= above(best) {
            continue;
        }
        for block in blocks_of(broker, partition, at).await? {
            if block.max_timestamp > above(best) && block.max_timestamp >= above(recent) {
                let found = max_in(read(broker.clone(), block).await?, log_start)?;
                best = if above(found) > above(best) { found } else { best };
            }
        }
    }
    Ok(if above(best) >= above(recent) { best.or(recent) } else { recent })
}

/// What objects hold of these offsets of a partition, oldest first.
fn history(broker: &Broker, partition: &Partition, from: u64, below: u64) -> Vec<RangeAt> {
    let image = broker.journal.image();
    let catalog = &image.inner.catalog;
    let ranges = catalog.stream(partition.stream).map(|state| state.ranges.clone());
    let known = ranges
        .iter()
        .flat_map(|ranges| ranges.iter())
        .filter(|range| range.start < below && range.end > from);
    known.map(|range| catalog.range_at(range)).collect()
}

async fn blocks_of(
    broker: &Broker,
    partition: &Partition,
    at: &RangeAt,
) -> Result<Vec<BlockRef>, LookupError> {
    broker.history.blocks_of(partition.stream, at).await.map_err(|e| LookupError::Read(e.to_string()))
}

async fn first_with<F: Future<Output = Result<Bytes, LookupError>>>(
    partition: &Partition,
    blocks: Vec<BlockRef>,
    timestamp: i64,
    read: impl Fn(BlockRef) -> F,
) -> Found {
    // After the blocks: it never goes back, so that nothing is found that was deleted before.
    let log_start = partition.offsets().log_start;
    for block in blocks {
        if let Some(found) = first_in(read(block).await?, log_start, timestamp)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn max_with<F: Future<Output = Result<Bytes, LookupError>>>(
    partition: &Partition,
    read: impl Fn(BlockRef) -> F,
) -> Result<Option<TimestampedOffset>, LookupError> {
    let Some(block) = partition.block_of_max_timestamp() else { return Ok(None) };
    let log_start = partition.offsets().log_start;
    let best = max_in(read(block).await?, log_start)?;
    if block.base as i64 >= log_start {
        return Ok(best);
    }
    // The log start lies in it: the record that it is in the index for may be gone, and a later block have a larger one
    // than what is left of it.
    let from = best.map_or(0, |b| b.timestamp.saturating_add(1));
    match latest(&partition.blocks_from_timestamp(from).1, log_start) {
        Some(block) => Ok(max_in(read(block).await?, log_start)?.or(best)),
        None => Ok(best),
    }
}

/// The first block with the largest timestamp, of those that are kept whole.
fn latest(blocks: &[BlockRef], log_start: i64) -> Option<BlockRef> {
    let whole = blocks.iter().filter(|block| block.base as i64 >= log_start);
    whole.copied().reduce(|best, block| if block.max_timestamp > best.max_timestamp { block } else { best })
}

fn first_in(block: Bytes, log_start: i64, timestamp: i64) -> Result<Option<TimestampedOffset>, BatchError> {
    for batch in split_batches(block) {
        if let Some(found) = find(&batch?, log_start, timestamp, Stop::AtFirst)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn max_in(block: Bytes, log_start: i64) -> Result<Option<TimestampedOffset>, BatchError> {
    let mut best: Option<TimestampedOffset> = None;
    for batch in split_batches(block) {
        let from = best.map_or(0, |b| b.timestamp.saturating_add(1));
        best = find(&batch?, log_start, from, Stop::AtEnd)?.or(best);
    }
    Ok(best)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// At the first record that is late enough.
    AtFirst,
    /// Never: each must be later than the one before.
    AtEnd,
}

/// What of a batch is kept and not older than `from`. Records are unpacked only where the header says that one may be.
fn find(
    batch: &Batch,
    log_start: i64,
    mut from: i64,
    stop: Stop,
) -> Result<Option<TimestampedOffset>, BatchError> {
    let header = batch.header();
    let leader_epoch = header.partition_leader_epoch;
    // A batch that log compaction emptied has its timestamp still.
    let empty = header.record_count == 0;
    if empty || header.next_offset() <= log_start || header.max_timestamp < from {
        return Ok(None);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime && header.is_dense() {
        // All records of the batch bear the batch's time.
        let offset = header.base_offset.max(log_start);
        return Ok(Some(TimestampedOffset { timestamp: header.max_timestamp, offset, leader_epoch }));
    }
    let mut found = None;
    for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
        let record = record?;
        if record.offset >= log_start && record.timestamp >= from {
            let (timestamp, offset) = (record.timestamp, record.offset);
            found = Some(TimestampedOffset { timestamp, offset, leader_epoch });
            if stop == Stop::AtFirst {
                break;
            }
            let Some(later) = timestamp.checked_add(1) else { break };
            from = later;
        }
    }
    Ok(found)
}

async fn read(broker: Arc<Broker>, block: BlockRef) -> Result<Bytes, LookupError> {
    if let Some(bytes) = broker.reader.memory(&block) {
        return Ok(bytes);
    }
    let mut blocks = broker
        .reader
        .load_at_once(std::slice::from_ref(&block))
        .await
        .map_err(|e| LookupError::Read(e.to_string()))?;
    blocks.pop().ok_or_else(|| LookupError::Read("a block was read as nothing".into()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arc_swap::ArcSwap;
    use protocol::batch_builder::BatchBuilder;
    use s3stream::block_ref::LaneRef;
    use s3stream::ids::{LaneNumber, StreamEpoch, StreamId};
    use s3stream::stream::StreamIndex;
    use uuid::Uuid;

    use super::*;
    use crate::config::BrokerConfig;
    use crate::config::topic::TopicConfig;
    use crate::config::topic_keys::effective;

    /// A partition of blocks of batches of records, each a time in ms.
    struct Rig {
        partition: Arc<Partition>,
        stored: BTreeMap<u64, Bytes>,
    }

    impl Rig {
        fn new(kind: TimestampType, blocks: &[&[&[i64]]]) -> Rig {
            let (mut index, mut stored, mut base) = (StreamIndex::new(0), BTreeMap::new(), 0u64);
            index.begin_epoch(StreamEpoch(3), LaneRef(0));
            for (number, batches) in blocks.iter().enumerate() {
                let (first, mut bytes) = (base, Vec::new());
                for times in *batches {
                    let mut batch =
                        BatchBuilder::new().base_offset(base as i64).leader_epoch(3).timestamp_type(kind);
                    for time in *times {
                        batch = batch.append(*time, None, Some(b"v"), &[]);
                    }
                    bytes.extend(batch.build());
                    base += times.len() as u64;
                }
                index.push(BlockRef {
                    lane: LaneRef(0),
                    number: LaneNumber(number as u64),
                    position: 0,
                    length: bytes.len() as u32,
                    epoch: StreamEpoch(3),
                    base: first,
                    end: base,
                    max_timestamp: batches.iter().flat_map(|b| b.iter()).copied().max().unwrap(),
                    crc: 0,
                    small: true,
                });
                stored.insert(first, Bytes::from(bytes));
            }
            let values = BrokerConfig::default().values;
            let config = TopicConfig::read(&effective(&values, std::iter::empty()));
            let partition = Partition::open(
                "t".into(),
                Uuid::from_u128(1),
                0,
                StreamId(0),
                StreamEpoch(3),
                Arc::new(ArcSwap::from_pointee(config)),
                index,
                crate::partition::producer_state::ProducerStates::default(),
            );
            Rig { partition, stored }
        }

        fn read(&self) -> impl Fn(BlockRef) -> std::future::Ready<Result<Bytes, LookupError>> {
            |block| std::future::ready(Ok(self.stored[&block.base].clone()))
        }

        async fn max(&self) -> Option<(i64, i64)> {
            let found = max_with(&self.partition, self.read()).await.unwrap();
            found.map(|f| (f.timestamp, f.offset))
        }

        async fn first(&self, timestamp: i64) -> Option<(i64, i64)> {
            let nothing = |_, _| std::future::ready(Ok(None));
            let found = first_of_all(&self.partition, timestamp, nothing, self.read()).await.unwrap();
            found.map(|f| (f.timestamp, f.offset))
        }

        /// What is said at each log start, beside what a walk over all records says.
        async fn is_exact_at_every_log_start(&self, times: &[i64]) {
            for log_start in 0..=times.len() {
                self.partition.trim(log_start as u64);
                let kept = || (log_start..times.len()).map(|n| (times[n], n as i64));
                let max = kept().reduce(|best, next| if next.0 > best.0 { next } else { best });
                assert_eq!(self.max().await, max, "maximum from {log_start}");
                for timestamp in 0..=100 {
                    let first = kept().find(|(t, _)| *t >= timestamp);
                    assert_eq!(self.first(timestamp).await, first, "{timestamp} from {log_start}");
                }
            }
        }
    }

    #[tokio::test]
    async fn only_what_is_kept_is_found_wherever_the_log_start_lies() {
        let blocks: &[&[&[i64]]] =
            &[&[&[10, 90, 20], &[30, 30]], &[&[40, 5]], &[&[80], &[1, 80, 80]], &[&[80, 2]]];
        let times: Vec<i64> = blocks.iter().flat_map(|b| b.concat()).collect();
        Rig::new(TimestampType::CreateTime, blocks).is_exact_at_every_log_start(&times).await;
        // The rest of the first block is later than any other, or as late.
        for rest in [60, 50] {
            let blocks: &[&[&[i64]]] = &[&[&[90, 7], &[rest]], &[&[50, 50], &[3]]];
            let times: Vec<i64> = blocks.iter().flat_map(|b| b.concat()).collect();
            Rig::new(TimestampType::CreateTime, blocks).is_exact_at_every_log_start(&times).await;
        }
    }

    #[tokio::test]
    async fn a_batch_below_the_log_start_lends_its_append_time_to_nobody() {
        let blocks: &[&[&[i64]]] = &[&[&[90, 90], &[20, 20]], &[&[30, 30]]];
        let times: Vec<i64> = blocks.iter().flat_map(|b| b.concat()).collect();
        Rig::new(TimestampType::LogAppendTime, blocks).is_exact_at_every_log_start(&times).await;
    }

    /// While one look-up reads history, an upload ends and its blocks leave the partition: what they hold is not passed over.
    #[tokio::test]
    async fn what_becomes_history_meanwhile_is_looked_up_there() {
        let rig = Rig::new(TimestampType::CreateTime, &[&[&[10]], &[&[20]], &[&[30]], &[&[40]]]);
        let partition = &rig.partition;
        partition.uploaded(1, |_| false);
        let in_history = |from: u64, below: u64| {
            let asked: Vec<u64> = (from..below).collect();
            // By the time it answers one more is history.
            partition.uploaded(below + 1, |_| false);
            let records = [10, 20, 30, 40].into_iter().zip(0..).filter(|(_, n)| asked.contains(n));
            let found = records.map(|(timestamp, n)| TimestampedOffset {
                timestamp,
                offset: n as i64,
                leader_epoch: 3,
            });
            std::future::ready(Ok(found.filter(|found| found.timestamp >= 15).min_by_key(|f| f.offset)))
        };
        let found = first_of_all(partition, 15, in_history, rig.read()).await.unwrap().unwrap();
        assert_eq!((found.timestamp, found.offset), (20, 1));
    }

    #[tokio::test]
    async fn records_without_a_time_have_no_latest() {
        let rig = Rig::new(TimestampType::CreateTime, &[&[&[-1, -1]]]);
        assert_eq!(rig.max().await, None);
        let rig = Rig::new(TimestampType::CreateTime, &[&[&[7, -1]]]);
        rig.partition.trim(1);
        assert_eq!(rig.max().await, None);
    }
}
