//! Reads a lane whole and believes nothing: for the offline tool (DESIGN §10.7). Changes nothing, needs no journal.
//!
//! Every object is fetched, its header, index and every block checked, its attachments taken apart, and the offsets of each
//! stream followed from object to object. What is wrong is written down and reading goes on, so that one report tells all.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::env::Env;
use crate::ids::{LaneId, LaneNumber, Nonce, StreamEpoch, StreamId, lane_key};
use crate::object::{BlockKind, ObjectKind, Whole, attachments, parse_whole};
use crate::store::{Store, StoreError, retry};

/// Whole objects in memory at a time.
const WINDOW: usize = 4;

/// How long one object is asked for while the store does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a lane is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneReport {
    /// First number read.
    pub from: LaneNumber,
    /// The number at which reading ended, and what was there.
    pub end: (LaneNumber, LaneEndFound),
    /// Objects of the owner.
    pub objects: u64,
    /// Bytes of all that was read.
    pub bytes: u64,
    /// Blocks checked.
    pub blocks: u64,
    /// Each stream with the epoch and offset it reached.
    pub streams: BTreeMap<StreamId, (StreamEpoch, u64)>,
    /// Everything that is wrong, in the order of numbers.
    pub problems: Vec<Problem>,
}

/// What ended the reading of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneEndFound {
    /// A seal.
    Seal(Nonce),
    /// No object: the lane goes on, or is cut off.
    Nothing,
    /// The bound that the caller set.
    Bound,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

/// Reads `lane` upward from `from`, to its first seal or missing number, or through all numbers below `below` (then what
/// is missing is a problem). `progress` is told after each object.
///
/// # Errors
/// The store does not answer, or refuses.
pub async fn verify_lane(
    env: &Env,
    store: &dyn Store,
    lane: LaneId,
    from: LaneNumber,
    below: Option<LaneNumber>,
    mut progress: impl FnMut(&LaneReport),
) -> Result<LaneReport, StoreError> {
    let bound = below.unwrap_or(LaneNumber(u64::MAX));
    let mut report = LaneReport {
        from,
        end: (bound, LaneEndFound::Bound),
        objects: 0,
        bytes: 0,
        blocks: 0,
        streams: BTreeMap::new(),
        problems: Vec::new(),
    };
    let reads = (from.0..bound.0).map(|number| async move {
        let key = lane_key(lane, LaneNumber(number));
        let bytes = retry(env, Some(PATIENCE), || store.get(&key)).await?;
        Ok::<_, StoreError>((LaneNumber(number), key, bytes))
    });
    let mut reads = stream::iter(reads).buffered(WINDOW);
    while let Some((number, key, bytes)) = reads.try_next().await? {
        let found = match bytes {
            Some(bytes) => report.object(lane, number, &key, bytes),
            None => Some(LaneEndFound::Nothing),
        };
        progress(&report);
        let Some(found) = found else { continue };
        if below.is_none() {
            report.end = (number, found);
            break;
        }
        report.problem(&key, format!("{found:?} below the lane's length"));
        report.streams.clear();
    }
    Ok(report)
}

impl LaneReport {
    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Checks one object; says so if it is a seal.
    fn object(&mut self, lane: LaneId, number: LaneNumber, key: &str, bytes: Bytes) -> Option<LaneEndFound> {
        self.bytes += bytes.len() as u64;
        let whole = match parse_whole(bytes) {
            Ok(whole) => whole,
            Err(error) => {
                self.problem(key, error.to_string());
                self.streams.clear(); // whatever follows may follow on this
                return None;
            }
        };
        let header = whole.footer.header;
        if (header.owner, header.number) != (lane, number.0) {
            self.problem(key, format!("object {} of lane {}", header.number, header.owner));
            return None;
        }
        match header.object_kind {
            ObjectKind::Seal => return Some(LaneEndFound::Seal(header.nonce)),
            ObjectKind::Wal => {}
            other => self.problem(key, format!("{other:?} object in a lane")),
        }
        self.objects += 1;
        self.blocks(key, &whole);
        None
    }

    fn blocks(&mut self, key: &str, whole: &Whole) {
        for entry in &whole.footer.entries {
            self.blocks += 1;
            let place = format!("{:?} block of stream {} at {}", entry.kind, entry.stream, entry.position);
            match whole.block(entry) {
                Err(error) => self.problem(key, format!("{place}: {error}")),
                Ok(block) if entry.kind == BlockKind::Attachment => {
                    if let Err(error) = attachments(entry, &block) {
                        self.problem(key, format!("{place}: {error}"));
                    }
                }
                Ok(_) => {}
            }
            if entry.kind != BlockKind::Data {
                continue;
            }
            // In a later epoch it may go on further up: the epochs between were written in other lanes.
            if let Some(&(epoch, end)) = self.streams.get(&entry.stream) {
                let follows = match entry.epoch.cmp(&epoch) {
                    std::cmp::Ordering::Equal => entry.base == end,
                    std::cmp::Ordering::Greater => entry.base >= end,
                    std::cmp::Ordering::Less => false,
                };
                if !follows {
                    let (now, was) = (entry.epoch.0, epoch.0);
                    self.problem(
                        key,
                        format!("{place}: epoch {now} offset {} after epoch {was} end {end}", entry.base),
                    );
                }
            }
            self.streams.insert(entry.stream, (entry.epoch, entry.end));
        }
    }

    fn problem(&mut self, key: &str, what: String) {
        self.problems.push(Problem { key: key.to_owned(), what });
    }
}
