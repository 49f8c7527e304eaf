//! Each lane that the image knows, from its trim to its seal or first missing number.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use futures::stream::{self, StreamExt};
use s3stream::catalog::{LaneEnd, LaneState};
use s3stream::ids::{Incarnation, LaneNumber, ObjectId, StreamEpoch, StreamId, lane_key};
use s3stream::object::{BlockKind, ObjectKind, Whole};

use super::super::bucket::Bucket;
use super::super::journal::ClusterImage;
use super::super::lane;
use super::now::Now;
use super::report::{Report, counted};

/// Objects read at a time; each is a few MiB.
const WINDOW: usize = 4;

/// A run of records in a lane: what one data block holds.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// In which object of the lane.
    pub number: LaneNumber,
    /// Offset of its first record.
    pub base: u64,
    /// Offset after its last.
    pub end: u64,
}

/// What was read of all lanes.
#[derive(Debug, Default)]
pub struct LanesRead {
    /// Runs in the order in which they lie.
    pub runs: BTreeMap<(StreamId, StreamEpoch, Incarnation), Vec<Run>>,
    /// Lanes that could not be read, since their store was not named: nothing is known of what they hold.
    pub unread: BTreeSet<Incarnation>,
}

/// Reads and checks a lane from its trim on.
///
/// # Errors
/// The store does not answer.
pub async fn check_lane(
    bucket: &Bucket,
    state: &LaneState,
    now: &mut Now<'_>,
    read: &mut LanesRead,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    report.begin(format!("lane {}", state.id));
    let incarnation = state.id.incarnation;
    report.seen_lanes.insert(incarnation);
    if !bucket.has(state.store) {
        read.unread.insert(incarnation);
        let key = lane_key(state.id, state.trim);
        return report.found(&key, format!("lies in store {}: name it with --wal-storage", state.store.0));
    }
    let numbers = (state.trim.0..).map(LaneNumber);
    let mut reads = stream::iter(numbers)
        .map(|n| async move { (n, bucket.get_in(state.store, &lane_key(state.id, n)).await) })
        .buffered(WINDOW);
    while let Some((number, bytes)) = reads.next().await {
        let key = lane_key(state.id, number);
        let length = state.end.length();
        let at_end = length == Some(number);
        let Some(bytes) = bytes? else {
            match state.end {
                LaneEnd::Ended { .. } if at_end => break,
                _ if state.lost.contains(&number) => continue,
                _ => {}
            }
            let told = now.look().await?.lane(incarnation);
            if told.is_some_and(|lane| number < lane.trim || lane.lost.contains(&number)) {
                // Uploaded and deleted since, or given up.
                continue;
            }
            match length {
                None => break,
                Some(_) if at_end => {
                    report.found(&key, "is missing: the seal that the journal names")?;
                    break;
                }
                Some(_) => {
                    report.found(&key, "is missing below the sealed length")?;
                    continue;
                }
            }
        };
        report.objects += 1;
        report.bytes += bytes.len() as u64;
        report.read();
        let whole = match lane::open(state.id, number, bytes) {
            Ok(whole) => whole,
            Err(_) if state.lost.contains(&number) => continue,
            Err(what) => {
                report.found(&key, what)?;
                if at_end { break } else { continue }
            }
        };
        let header = whole.footer.header;
        match (header.object_kind, at_end, state.end) {
            (ObjectKind::Seal, true, _) => {
                if state.end.seal_nonce().is_some_and(|nonce| nonce != header.nonce) {
                    report.found(
                        &key,
                        format!("is seal {:016x}, not the one that the journal names", header.nonce.0),
                    )?;
                }
                check_blocks(&key, state, number, &whole, read, report)?;
                break;
            }
            (ObjectKind::Seal, false, LaneEnd::Open) => {
                report.note(&key, "is a seal; the journal does not say so yet")?;
                check_blocks(&key, state, number, &whole, read, report)?;
                break;
            }
            (ObjectKind::Seal, false, _) => report.found(&key, "is a seal below the sealed length")?,
            (_, true, LaneEnd::Ended { .. }) => break,
            (_, true, _) => {
                report.found(&key, "is an object where the journal names a seal")?;
                break;
            }
            (_, false, _) => check_blocks(&key, state, number, &whole, read, report)?,
        }
    }
    Ok(())
}

fn check_blocks(
    key: &str,
    state: &LaneState,
    number: LaneNumber,
    whole: &Whole,
    read: &mut LanesRead,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    for block in lane::blocks(whole) {
        report.blocks += 1;
        let e = &block.entry;
        for problem in &block.problems {
            report.found(key, block.said(problem))?;
        }
        if e.kind == BlockKind::Data {
            let of_epoch = read.runs.entry((e.stream, e.epoch, state.id.incarnation)).or_default();
            of_epoch.push(Run { number, base: e.base, end: e.end });
        }
    }
    Ok(())
}

/// What lies under `wal/` and does not count: of no lane of the image (of a registration that was not committed, or not
/// ours), or below the trim.
///
/// # Errors
/// The store does not answer.
pub async fn note_what_does_not_count(
    bucket: &Bucket,
    image: &ClusterImage,
    now: &mut Now<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let mut strange = BTreeMap::new();
    let mut trimmed = BTreeMap::new();
    for listed in bucket.list("wal/").await? {
        let parsed = lane::parse_key(&listed.key);
        let catalog = &image.inner.catalog;
        let known = parsed.and_then(|(id, number)| {
            let below = number < catalog.lane(id.incarnation)?.trim;
            // Checked with the objects of data/.
            let adopted = catalog.object(ObjectId::adopted(id.incarnation, number));
            Some(below && adopted.is_none_or(|object| object.is_condemned()))
        });
        let counts = match known {
            Some(false) => continue,
            Some(true) => &mut trimmed,
            None => &mut strange,
        };
        let lane = listed.key.rsplit_once('/').map_or(listed.key.as_str(), |(lane, _)| lane).to_string();
        let incarnation = parsed.map(|(id, _)| id.incarnation);
        counts.entry((lane, incarnation)).or_insert(0u64).add_assign(1);
    }
    for ((lane, incarnation), objects) in strange {
        let since = match incarnation {
            Some(incarnation) => now.look().await?.lane(incarnation).is_some(),
            None => false,
        };
        if !since {
            let objects = counted(objects, "object");
            report.note(&lane, format!("{objects} of a lane that the journal does not know"))?;
        }
    }
    for ((lane, _), objects) in trimmed {
        let objects = counted(objects, "object");
        report.note(&lane, format!("{objects} below the trim: uploaded, and being deleted"))?;
    }
    Ok(())
}
