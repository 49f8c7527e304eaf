//! What the journal says by now. A broker may be writing while everything is read: what was deleted since the image was
//! folded is not damage, so whoever misses something asks here first.

use s3stream::catalog::Catalog;
use s3stream::ids::{StreamId, commit_key};

use super::super::bucket::Bucket;
use super::super::journal::{self, ClusterImage};

/// The newest image that was seen.
pub struct Now<'a> {
    bucket: &'a Bucket,
    image: ClusterImage,
}

impl Now<'_> {
    /// As of this image.
    pub fn new(bucket: &Bucket, image: ClusterImage) -> Now<'_> {
        Now { bucket, image }
    }

    /// Folds what was committed since the last look. Stops where it cannot go on: damage of the log is told elsewhere.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn look(&mut self) -> anyhow::Result<&Catalog> {
        loop {
            while let Some(bytes) = self.bucket.get(&commit_key(self.image.seq + 1)).await? {
                let Ok(step) = journal::fold(&self.image, bytes) else {
                    return Ok(&self.image.inner.catalog);
                };
                self.image = step.image;
            }
            // The end, or commits that a snapshot has replaced since.
            let later =
                journal::snapshot_numbers(self.bucket).await?.pop().filter(|seq| *seq > self.image.seq);
            let Some(later) = later else { break };
            match journal::read_snapshot(self.bucket, later).await? {
                Ok(snapshot) => self.image = snapshot.image,
                Err(_) => break,
            }
        }
        Ok(&self.image.inner.catalog)
    }

    /// What the last look saw.
    pub fn seen(&self) -> &Catalog {
        &self.image.inner.catalog
    }

    /// Is everything of the stream below `offset` uploaded or gone by now?
    ///
    /// # Errors
    /// As [`Now::look`].
    pub async fn has_left_the_lanes(&mut self, stream: StreamId, offset: u64) -> anyhow::Result<bool> {
        let state = self.look().await?.stream(stream);
        Ok(state.is_none_or(|state| offset <= state.base.max(state.start)))
    }
}
