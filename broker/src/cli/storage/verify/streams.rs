//! Each stream over what holds it: ranges in objects of `data/` up to the end of what was uploaded, then the epochs in their
//! lanes, by the clip rule. Each begins where the one before it ended, and has no hole but for what was lost by name.

use s3stream::catalog::{Catalog, StreamState};
use s3stream::ids::{StreamId, lane_key};

use super::super::journal::ClusterImage;
use super::lanes::LanesRead;
use super::now::Now;
use super::report::Report;

/// Was something of any lane given up by name? Then streams have holes that nobody can tell from others.
pub fn has_lost(catalog: &Catalog) -> bool {
    catalog.lanes().any(|(_, lane)| !lane.lost.is_empty())
}

/// What is wrong with the ranges of a stream by themselves: dense from the log start to the end of what was uploaded. Holes
/// are not judged where something was `lost`.
pub fn range_problems(state: &StreamState, lost: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let mut next: Option<u64> = None;
    for range in state.ranges.iter() {
        let expected = next.unwrap_or(range.start.min(state.start));
        if range.start >= range.end || range.end <= state.start {
            problems.push(format!(
                "its range {}..{} in {} holds nothing above the log start {}",
                range.start, range.end, range.object, state.start
            ));
        }
        if range.start < expected {
            problems.push(format!("two objects hold offset {}: one is {}", range.start, range.object));
        } else if range.start > expected && !lost {
            problems.push(format!("no object holds offsets {expected} to {}", range.start));
        }
        next = Some(range.end);
    }
    let reached = next.unwrap_or(state.start);
    if reached < state.base && !lost {
        problems.push(format!("no object holds offsets {reached} to {}, where its lanes go on", state.base));
    }
    if next.is_some_and(|end| end > state.base) {
        problems.push(format!("objects hold it to {reached}, and its lanes go on at {}", state.base));
    }
    problems
}

/// Follows a stream through its ranges and epochs.
///
/// # Errors
/// The store does not answer.
pub async fn check_stream(
    image: &ClusterImage,
    (id, state): (StreamId, &StreamState),
    now: &mut Now<'_>,
    read: &mut LanesRead,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let catalog = &image.inner.catalog;
    let lost = has_lost(catalog);
    for problem in range_problems(state, lost) {
        report.found(&format!("stream {id}"), problem)?;
    }
    // The first that is still there may begin anywhere up to here.
    let from = state.start.max(state.base);
    let mut next: Option<u64> = None;
    for entry in state.lanes.iter() {
        let of_epoch = read.runs.remove(&(id, entry.epoch, entry.incarnation)).unwrap_or_default();
        let Some(lane) = catalog.lane(entry.incarnation) else {
            let what = format!("epoch {} is in {}, which has no lane", entry.epoch.0, entry.incarnation);
            report.found(&format!("stream {id}"), what)?;
            continue;
        };
        if read.unread.contains(&entry.incarnation) {
            // Nothing is known of where it ends.
            return Ok(());
        }
        let below = [lane.end.length(), entry.sealed.map(|s| s.below)].into_iter().flatten().min();
        let mut begins = true;
        for run in of_epoch.iter().filter(|run| below.is_none_or(|below| run.number < below)) {
            let end = entry.sealed.map_or(run.end, |seal| seal.end.min(run.end));
            if run.base >= end {
                continue;
            }
            let expected = next.unwrap_or(run.base.min(from));
            // Where an epoch begins may lie behind what another lane lost of the one before.
            let given_up = lane.lost.iter().any(|lost| *lost < run.number) || begins && lost;
            let missing = run.base > expected && !given_up;
            if run.base < expected || missing && !now.has_left_the_lanes(id, run.base).await? {
                let what = if missing { "records are missing before" } else { "there are other records of" };
                let what = format!("stream {id}: {what} offset {}; {expected} was expected", run.base);
                report.found(&lane_key(lane.id, run.number), what)?;
            }
            begins = false;
            next = Some(end);
        }
        let Some(seal) = entry.sealed else { continue };
        let reached = next.unwrap_or(from);
        if reached >= seal.end {
            continue;
        }
        next = Some(seal.end);
        if lane.lost.is_empty() && !now.has_left_the_lanes(id, seal.end).await? {
            let what =
                format!("stream {id} epoch {} ends at {reached}; its seal says {}", entry.epoch.0, seal.end);
            report.found(&lane_key(lane.id, seal.below), what)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use s3stream::catalog::StreamRange;
    use s3stream::ids::{Incarnation, ObjectId, StreamEpoch};

    use super::*;

    fn problems(start: u64, base: u64, ranges: &[(u64, u64)], lost: bool) -> String {
        let owner = Incarnation { seq: 1, index: 0 };
        let range = |(counter, (start, end)): (usize, &(u64, u64))| StreamRange {
            start: *start,
            end: *end,
            epoch: StreamEpoch(0),
            object: ObjectId { incarnation: owner, counter: counter as u64 },
            bytes: 1,
            max_timestamp: -1,
        };
        let ranges: Vec<StreamRange> = ranges.iter().enumerate().map(range).collect();
        let state = StreamState {
            owner,
            epoch: StreamEpoch(0),
            start,
            base,
            lanes: [].into(),
            ranges: ranges.into(),
            checkpoint: None,
            cleaned: 0,
        };
        range_problems(&state, lost).join("; ")
    }

    #[test]
    fn ranges_are_dense_from_the_log_start_to_where_lanes_go_on() {
        assert_eq!(problems(0, 0, &[], false), "");
        assert_eq!(problems(3, 9, &[(0, 5), (5, 9)], false), "");
        assert_eq!(problems(9, 9, &[], false), "");
        assert_eq!(problems(12, 9, &[], false), "", "trimmed into the lanes");
        assert_eq!(problems(3, 9, &[(4, 9)], false), "no object holds offsets 3 to 4");
        assert_eq!(problems(0, 9, &[(0, 5), (6, 9)], false), "no object holds offsets 5 to 6");
        assert_eq!(problems(0, 9, &[(0, 5), (6, 9)], true), "", "given up by name");
        assert_eq!(problems(0, 9, &[(0, 5), (4, 9)], false), "two objects hold offset 4: one is 1.0-1");
        assert_eq!(problems(0, 9, &[(0, 5)], false), "no object holds offsets 5 to 9, where its lanes go on");
        assert_eq!(problems(0, 9, &[], false), "no object holds offsets 0 to 9, where its lanes go on");
        assert_eq!(problems(0, 4, &[(0, 5)], true), "objects hold it to 5, and its lanes go on at 4");
        let dead = "its range 0..5 in 1.0-0 holds nothing above the log start 5";
        assert_eq!(problems(5, 9, &[(0, 5), (5, 9)], false), dead);
    }
}
