//! Moving log starts: the journal first, then the partitions of this process. What the image has never goes back, so two that
//! race end at the higher start.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::error::ErrorCode;
use s3stream::catalog::StorageRecord;
use s3stream::journal::ProposeError;

use crate::broker::Broker;
use crate::error::propose_error_code;
use crate::metadata::MetadataRecord;
use crate::partition::Partition;

/// A partition and the log start that it shall have at least.
pub struct Trim {
    /// Which.
    pub partition: Arc<Partition>,
    /// At or below its high watermark: what is durable and shown may go, nothing else.
    pub start: u64,
}

/// Moves all of them in one mutation, and returns when that is in this process's image and its partitions show it.
pub async fn trim(broker: &Broker, trims: Vec<Trim>) -> Result<(), ErrorCode> {
    loop {
        let image = broker.journal.image();
        let mut wanted: BTreeMap<_, u64> = BTreeMap::new();
        for trim in &trims {
            let stream = trim.partition.stream;
            // Gone with its topic: there is nothing left to move.
            let Some(state) = image.inner.catalog.stream(stream) else { continue };
            if state.start < trim.start {
                let start = wanted.entry(stream).or_default();
                *start = trim.start.max(*start);
            } else {
                trim.partition.trim(state.start);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let record =
            |(stream, start)| MetadataRecord::Storage(StorageRecord::StreamTrimmed { stream, start });
        match broker.journal.propose(wanted.into_iter().map(record).collect()).await {
            Ok(_) => {}
            // Another one was there first, with a higher start or a deletion: looked at again. What else refuses it (the
            // stream is not ours any more) shows in the image, too.
            Err(ProposeError::Refused(refusal)) => {
                let newer = broker.journal.image();
                if newer.seq == image.seq {
                    tracing::warn!(%refusal, "a log start could not be moved");
                    return Err(ErrorCode::NotLeaderOrFollower);
                }
            }
            Err(error) => return Err(propose_error_code(&error)),
        }
    }
}
