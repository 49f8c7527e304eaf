//! Producer ids, given out in blocks by the journal so that no two brokers and no two lives of one give the same
//! (`ProducerIdManager`; blocks of 1,000 there).

use std::ops::Range;

use protocol::error::ErrorCode;
use tokio::sync::Mutex;

use crate::broker::Broker;
use crate::error::propose_error_code;
use crate::metadata::MetadataRecord;

/// Ids per block.
const BLOCK: i64 = 10_000;

/// What is left of this broker's block.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// An id that nobody had.
    pub async fn next(&self, broker: &Broker) -> Result<i64, ErrorCode> {
        let mut block = self.block.lock().await;
        if block.is_empty() {
            let first = broker.journal.image().inner.next_producer_id();
            let record = MetadataRecord::ProducerIdsAllocated { next: first + BLOCK };
            broker.journal.propose(vec![record]).await.map_err(|e| propose_error_code(&e))?;
            *block = first..first + BLOCK;
        }
        let id = block.start;
        block.start += 1;
        Ok(id)
    }
}
