//! Checks everything in a bucket and says what is wrong, key by key; changes nothing. Believes only what it read itself:
//! it shares the decoders with the broker, and none of its reading, recovery or caches.
//!
//! In this order: the journal ([`log`]: every commit still there and its chain; every snapshot, which must be byte for byte
//! the image that the log folds to), then each object of `data/` that streams refer to ([`objects`]), then each lane that the
//! image knows ([`lanes`]), from its trim to its seal or first missing number, then each stream over its objects and lanes
//! ([`streams`]). A broker may be writing meanwhile: objects are immutable and the image is the one that was folded first,
//! so that growth is not damage; before something is called missing the journal is asked whether it went since ([`now`]).
//!
//! `FOUND key: what` is wrong, `NOTE key: what` is worth knowing. As JSON both are lists of one object, written at the end.

pub mod lanes;
pub mod log;
pub mod now;
pub mod objects;
pub mod report;
pub mod streams;

use std::io::Write;

use self::lanes::LanesRead;
use self::now::Now;
use self::report::{Report, counted};
use super::bucket::Bucket;

/// Checks everything and tells it, in lines or as one JSON object; says whether nothing is wrong.
///
/// # Errors
/// The store does not answer, or holds no journal at all.
pub async fn verify(bucket: &Bucket, out: &mut dyn Write, as_json: bool) -> anyhow::Result<bool> {
    let mut report = Report::new(out, as_json);
    let image = log::check_journal(bucket, &mut report).await?;
    let Some(image) = image else {
        report.finish()?;
        return Ok(false);
    };
    let mut now = Now::new(bucket, image.clone());
    objects::check_objects(bucket, &image, &mut now, &mut report).await?;
    let mut read = LanesRead::default();
    for (_, state) in image.inner.catalog.lanes() {
        lanes::check_lane(bucket, state, &mut now, &mut read, &mut report).await?;
    }
    for stream in image.inner.catalog.streams() {
        streams::check_stream(&image, stream, &mut now, &mut read, &mut report).await?;
    }
    lanes::note_what_does_not_count(bucket, &image, &mut now, &mut report).await?;
    objects::note_what_does_not_count(bucket, &image, &mut now, &mut report).await?;
    let of_no_stream = read.runs.values().map(Vec::len).sum::<usize>() as u64;
    if of_no_stream > 0 {
        let blocks = counted(of_no_stream, "block");
        report.note("wal/", format!("{blocks} of streams that were deleted or given away, or uploaded"))?;
    }
    report.finish()
}
