//! The floor below which a directory takes no more produces, so that the journal and deletes always find room (PRACTICE
//! E3). Watched in the background: a produce reads a flag, and so does the collector, which hurries then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use s3stream::store::{Space, Store};
use tracing::warn;

/// How often the disk is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Is there room?
#[derive(Debug, Default)]
pub struct FreeSpace {
    short: AtomicBool,
}

impl FreeSpace {
    /// Below the floor.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Watches `store`, if free space means something there, until the process ends. `floor` of 0 is the store's own.
    pub async fn watch(self: Arc<Self>, store: Arc<dyn Store>, floor: u64) {
        let floor = if floor > 0 { floor } else { store.traits().free_min.unwrap_or(0) };
        loop {
            match store.space().await {
                Ok(None) => return,
                Ok(Some(Space { free, .. })) => {
                    let short = free < floor;
                    if short != self.short.swap(short, Ordering::Relaxed) && short {
                        warn!(
                            free,
                            floor,
                            "too little free space: produces are refused until there is more \
                             (storage.directory.free.min.bytes)"
                        );
                    }
                }
                Err(error) => warn!(%error, "free space is unknown"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
