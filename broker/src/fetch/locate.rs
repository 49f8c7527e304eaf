//! Which blocks hold a partition's records from an offset on: what the partition knows itself, else what the image and an
//! object's index say. Waits for nothing but that index, and only where it is asked to.

use s3stream::block_ref::BlockRef;
use s3stream::cache::ReadError;
use s3stream::history::HistoryRead;

use crate::broker::Broker;
use crate::partition::{Offsets, Partition, ReadRefused};

/// Where records lie, as far as that is known without waiting.
pub struct Located {
    /// The partition's offsets when it was asked.
    pub offsets: Offsets,
    /// Their blocks, in offset order; the first may begin below.
    pub blocks: Vec<BlockRef>,
    /// Which index has to be read first.
    pub unread: Option<HistoryRead>,
    /// The range of the catalog that lies behind these, if they are of the catalog's.
    read: Option<HistoryRead>,
}

impl Located {
    /// Are these uploaded: below what the partition knows itself?
    pub fn in_history(&self) -> bool {
        self.read.is_some() || self.unread.is_some()
    }
}

/// The blocks of about `bytes` from `offset` on; none at the high watermark.
///
/// # Errors
/// The partition refuses.
pub fn locate(
    broker: &Broker,
    partition: &Partition,
    offset: i64,
    bytes: usize,
) -> Result<Located, ReadRefused> {
    let found = partition.find(offset, bytes, |block| broker.reader.in_tail(block))?;
    let mut located = Located { offsets: found.offsets, blocks: found.blocks, unread: None, read: None };
    if found.in_history {
        // Blocks of one answer come from one image.
        let image = broker.journal.image();
        let read = image.inner.catalog.history(partition.stream, offset as u64, bytes as u64);
        match broker.history.known(&read) {
            Some(known) => (located.blocks, located.read) = (known, Some(read)),
            None if read.ranges.is_empty() => located.blocks = partition.above_history(bytes),
            None => located.unread = Some(read),
        }
    }
    Ok(located)
}

/// The same, waiting for the index.
///
/// # Errors
/// The index cannot be read.
pub async fn blocks(broker: &Broker, located: Located) -> Result<Vec<BlockRef>, ReadError> {
    match located.unread {
        Some(read) => broker.history.blocks(&read).await,
        None => Ok(located.blocks),
    }
}

/// The same for who reads on without end: the index after these is read meanwhile. None where there is nothing to read.
///
/// # Errors
/// As [`blocks`].
pub async fn blocks_ahead(
    broker: &Broker,
    partition: &Partition,
    offset: u64,
    bytes: u64,
) -> Result<Vec<BlockRef>, ReadError> {
    let Ok(located) = locate(broker, partition, offset as i64, bytes as usize) else {
        return Ok(Vec::new());
    };
    if let Some(read) = located.unread.as_ref().or(located.read.as_ref()) {
        broker.history.expect_next(read);
    }
    blocks(broker, located).await
}
