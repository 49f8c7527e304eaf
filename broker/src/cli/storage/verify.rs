//! Checks everything in a bucket and says what is wrong, key by key; changes nothing. Believes only what it read itself:
//! it shares the decoders with the broker, and none of its reading, recovery or caches.
//!
//! In this order: the journal (every commit still there and its chain; every snapshot, which must be byte for byte the image
//! that the log folds to), then each lane that the image knows, from its trim to its seal or first missing number, then
//! each stream over its lanes, by the clip rule. A broker may be writing meanwhile: objects are immutable and the image is
//! the one that was folded first, so that growth is not damage.
//!
//! `FOUND key: what` is wrong, `NOTE key: what` is worth knowing. As JSON both are lists of one object, written at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};

use futures::stream::{self, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use s3stream::catalog::{LaneEnd, LaneState, StreamState};
use s3stream::ids::{
    Incarnation, LaneNumber, StreamEpoch, StreamId, boundary_key, commit_key, lane_key, snapshot_key,
};
use s3stream::journal::JournalConfig;
use s3stream::object::{BlockKind, ObjectKind};
use serde_json::{Value, json};

use super::bucket::Bucket;
use super::bytes_text;
use super::journal::{self, ClusterImage, Problem, StoredSnapshot};
use super::lane;

/// Objects read at a time; each is a few MiB.
const WINDOW: usize = 4;
/// Without a terminal, a line after so many objects.
const LINE_EVERY: u64 = 1000;

/// Checks everything and tells it, in lines or as one JSON object; says whether nothing is wrong.
///
/// # Errors
/// The store does not answer, or holds no journal at all.
pub async fn verify(bucket: &Bucket, out: &mut dyn Write, as_json: bool) -> anyhow::Result<bool> {
    let mut report = Report::new(out, as_json);
    let image = check_journal(bucket, &mut report).await?;
    let Some(image) = image else {
        report.finish()?;
        return Ok(false);
    };
    let mut runs = Runs::new();
    for (incarnation, state) in image.inner.catalog.lanes() {
        check_lane(bucket, state, &mut runs, &mut report).await?;
        report.seen_lanes.insert(incarnation);
    }
    note_strange_lanes(bucket, &mut report).await?;
    for (id, state) in image.inner.catalog.streams() {
        check_stream(&image, id, state, &mut runs, &mut report)?;
    }
    let of_no_stream: usize = runs.values().map(Vec::len).sum();
    if of_no_stream > 0 {
        report
            .note("wal/", format!("{of_no_stream} blocks are of streams that were deleted or given away"))?;
    }
    report.finish()
}

/// What was found so far, and where it is told.
struct Report<'a> {
    out: &'a mut dyn Write,
    bar: Option<ProgressBar>,
    seen_lanes: BTreeSet<Incarnation>,
    commits: u64,
    snapshots: u64,
    objects: u64,
    blocks: u64,
    bytes: u64,
    found: u64,
    /// What was found and noted, where it is told as JSON.
    told: Option<Told>,
}

#[derive(Default)]
struct Told {
    found: Vec<Value>,
    notes: Vec<Value>,
}

impl<'a> Report<'a> {
    fn new(out: &'a mut dyn Write, as_json: bool) -> Report<'a> {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {human_pos} objects, {elapsed}")
                .expect("a template that was tried");
            ProgressBar::new_spinner().with_style(style)
        });
        Report {
            out,
            bar,
            seen_lanes: BTreeSet::new(),
            commits: 0,
            snapshots: 0,
            objects: 0,
            blocks: 0,
            bytes: 0,
            found: 0,
            told: as_json.then(Told::default),
        }
    }

    fn found(&mut self, key: &str, what: impl ToString) -> anyhow::Result<()> {
        self.found += 1;
        let what = what.to_string();
        match &mut self.told {
            Some(told) => told.found.push(json!({"key": key, "what": what})),
            None => self.line(format!("FOUND {key}: {what}"))?,
        }
        Ok(())
    }

    fn problem(&mut self, problem: &Problem) -> anyhow::Result<()> {
        self.found(&problem.key, &problem.what)
    }

    fn note(&mut self, key: &str, what: impl ToString) -> anyhow::Result<()> {
        let what = what.to_string();
        match &mut self.told {
            Some(told) => told.notes.push(json!({"key": key, "what": what})),
            None => self.line(format!("NOTE {key}: {what}"))?,
        }
        Ok(())
    }

    fn line(&mut self, line: String) -> anyhow::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(self.out, "{line}"))?,
            None => writeln!(self.out, "{line}")?,
        }
        Ok(())
    }

    fn begin(&self, what: String) {
        match &self.bar {
            Some(bar) => bar.set_message(what),
            None => eprintln!("checking {what}"),
        }
    }

    fn read(&self) {
        let read = self.objects + self.commits;
        match &self.bar {
            Some(bar) => bar.set_position(read),
            None if read.is_multiple_of(LINE_EVERY) => eprintln!("checked {read} objects"),
            None => {}
        }
    }

    fn finish(mut self) -> anyhow::Result<bool> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some(told) = self.told.take() {
            let json = json!({
                "well": self.found == 0,
                "found": told.found,
                "notes": told.notes,
                "commits": self.commits,
                "snapshots": self.snapshots,
                "lanes": self.seen_lanes.len(),
                "objects": self.objects,
                "blocks": self.blocks,
                "bytes": self.bytes,
            });
            self.line(format!("{json:#}"))?;
            return Ok(self.found == 0);
        }
        let what =
            if self.found == 0 { "nothing is wrong".to_string() } else { format!("{} found", self.found) };
        let (commits, snapshots) = (counted(self.commits, "commit"), counted(self.snapshots, "snapshot"));
        let (lanes, objects) =
            (counted(self.seen_lanes.len() as u64, "lane"), counted(self.objects, "object"));
        let (blocks, bytes) = (counted(self.blocks, "block"), bytes_text(self.bytes));
        self.line(format!(
            "checked {commits}, {snapshots}, {lanes} with {objects}, {blocks}, {bytes}: {what}"
        ))?;
        Ok(self.found == 0)
    }
}

/// 1 -> "1 commit"
fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Checks snapshots and log against each other. The image after the last commit, if there is one.
async fn check_journal(bucket: &Bucket, report: &mut Report<'_>) -> anyhow::Result<Option<ClusterImage>> {
    report.begin("the journal".into());
    let numbers = journal::snapshot_numbers(bucket).await?;
    if numbers.is_empty() {
        anyhow::bail!("{bucket} holds no journal: not a bucket of Aquifer's, or an empty one");
    }
    let mut snapshots: BTreeMap<u64, StoredSnapshot> = BTreeMap::new();
    for seq in &numbers {
        match journal::read_snapshot(bucket, *seq).await? {
            Ok(snapshot) => {
                report.snapshots += 1;
                snapshots.insert(*seq, snapshot);
            }
            // Replaced by a newer one, and deleted, since the listing: its manifest goes first.
            Err(_) if !journal::snapshot_numbers(bucket).await?.contains(seq) => {}
            Err(problem) => report.problem(&problem)?,
        }
    }
    // What the log says before the oldest snapshot can be chained, not folded.
    let log: BTreeSet<u64> = commit_numbers(bucket).await?;
    check_early_log(bucket, &log, numbers[0], report).await?;
    let Some(oldest) = snapshots.keys().next().copied() else { return Ok(None) };
    let mut image = snapshots[&oldest].image.clone();
    loop {
        check_against_snapshot(&image, &snapshots, report)?;
        let key = commit_key(image.seq + 1);
        let Some(bytes) = bucket.get(&key).await? else {
            let Some(next) = go_on_at(bucket, &image, &snapshots, &log, report).await? else { break };
            image = next;
            continue;
        };
        report.commits += 1;
        report.bytes += bytes.len() as u64;
        report.read();
        match journal::fold(&image, bytes) {
            Ok(step) => {
                if let Some(why) = step.void {
                    report.found(&key, format!("is void: {why}"))?;
                }
                image = step.image;
            }
            Err(problem) => {
                report.problem(&problem)?;
                let Some(later) = snapshots.range(image.seq + 1..).next() else { return Ok(Some(image)) };
                image = later.1.image.clone();
            }
        }
    }
    for named in &image.snapshots {
        match snapshots.get(&named.seq) {
            Some(snapshot) if snapshot.manifest_crc == named.manifest_crc => {}
            Some(snapshot) => {
                let what = format!(
                    "has CRC {:08x}; the log names {:08x}",
                    snapshot.manifest_crc, named.manifest_crc
                );
                report.found(&snapshot_key(named.seq, "manifest"), what)?;
            }
            // A damaged one was found above.
            None if numbers.contains(&named.seq) => {}
            None => report.found(&snapshot_key(named.seq, "manifest"), "is missing, and the log names it")?,
        }
    }
    Ok(Some(image))
}

async fn commit_numbers(bucket: &Bucket) -> anyhow::Result<BTreeSet<u64>> {
    let listed = bucket.list("meta/log/").await?;
    Ok(listed.iter().filter_map(|l| l.key.strip_prefix("meta/log/")?.parse().ok()).collect())
}

/// Commits up to the oldest snapshot: each whole, each continuing the one before it if that is still there.
async fn check_early_log(
    bucket: &Bucket,
    log: &BTreeSet<u64>,
    oldest: u64,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let mut before: Option<(u64, u32)> = None;
    for seq in log.range(..=oldest) {
        let key = commit_key(*seq);
        // Deleted meanwhile, with its stride.
        let Some(bytes) = bucket.get(&key).await? else { continue };
        report.commits += 1;
        report.bytes += bytes.len() as u64;
        report.read();
        let (commit, chain) = match s3stream::journal::commit::Commit::decode(bytes) {
            Ok(decoded) => decoded,
            Err(error) => {
                report.found(&key, error)?;
                before = None;
                continue;
            }
        };
        if commit.seq != *seq {
            report.found(&key, format!("says that it is commit {}", commit.seq))?;
        }
        match before {
            Some((last, held)) if last + 1 == *seq && held != commit.prev_chain => {
                report.found(
                    &key,
                    format!("continues {:08x}, the commit before it ends in {held:08x}", commit.prev_chain),
                )?;
            }
            _ => {}
        }
        before = Some((*seq, chain));
    }
    Ok(())
}

fn check_against_snapshot(
    image: &ClusterImage,
    snapshots: &BTreeMap<u64, StoredSnapshot>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let Some(snapshot) = snapshots.get(&image.seq) else { return Ok(()) };
    if image.encode() == snapshot.encoded {
        return Ok(());
    }
    let key = snapshot_key(image.seq, "manifest");
    // One that no commit names is a dead branch's or was not finished: nobody starts from it.
    let named = image.seq == 0
        || snapshots
            .values()
            .flat_map(|s| &s.image.snapshots)
            .any(|s| s.manifest_crc == snapshot.manifest_crc);
    let what = "holds another image than the log folds to";
    if named { report.found(&key, what) } else { report.note(&key, what) }
}

/// The next commit is missing: the end of the log, a released stride, or a hole. Where a later snapshot goes on.
async fn go_on_at(
    bucket: &Bucket,
    image: &ClusterImage,
    snapshots: &BTreeMap<u64, StoredSnapshot>,
    log: &BTreeSet<u64>,
    report: &mut Report<'_>,
) -> anyhow::Result<Option<ClusterImage>> {
    let missing = image.seq + 1;
    let later_snapshot = snapshots.range(missing..).next();
    let later_commit = log.range(missing + 1..).next().copied();
    let released = bucket.get(&boundary_key(missing / JournalConfig::default().stride)).await?.is_some();
    let is_end = later_commit.is_none() && later_snapshot.is_none();
    if !is_end && !released {
        report.found(
            &commit_key(missing),
            "is missing below a later one, and no boundary says that it may be",
        )?;
    }
    Ok(later_snapshot.map(|(_, snapshot)| snapshot.image.clone()))
}

/// A run of records in a lane: what one data block holds.
#[derive(Clone, Copy, Debug)]
struct Run {
    number: LaneNumber,
    base: u64,
    end: u64,
}

type Runs = BTreeMap<(StreamId, StreamEpoch, Incarnation), Vec<Run>>;

async fn check_lane(
    bucket: &Bucket,
    state: &LaneState,
    runs: &mut Runs,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    report.begin(format!("lane {}", state.id));
    if !bucket.has(state.store) {
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
            match (length, state.end) {
                (None, _) => break,
                (Some(_), LaneEnd::Ended { .. }) if at_end => break,
                (Some(_), _) if at_end => {
                    report.found(&key, "is missing: the seal that the journal names")?;
                    break;
                }
                (Some(_), _) if state.lost.contains(&number) => continue,
                (Some(_), _) => {
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
                check_blocks(&key, state, number, &whole, runs, report)?;
                break;
            }
            (ObjectKind::Seal, false, LaneEnd::Open) => {
                report.note(&key, "is a seal; the journal does not say so yet")?;
                check_blocks(&key, state, number, &whole, runs, report)?;
                break;
            }
            (ObjectKind::Seal, false, _) => report.found(&key, "is a seal below the sealed length")?,
            (_, true, LaneEnd::Ended { .. }) => break,
            (_, true, _) => {
                report.found(&key, "is an object where the journal names a seal")?;
                break;
            }
            (_, false, _) => check_blocks(&key, state, number, &whole, runs, report)?,
        }
    }
    Ok(())
}

fn check_blocks(
    key: &str,
    state: &LaneState,
    number: LaneNumber,
    whole: &s3stream::object::Whole,
    runs: &mut Runs,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    for block in lane::blocks(whole) {
        report.blocks += 1;
        let e = &block.entry;
        for problem in &block.problems {
            report.found(
                key,
                format!("{:?} of stream {} offsets {}..{}: {problem}", e.kind, e.stream, e.base, e.end),
            )?;
        }
        if e.kind == BlockKind::Data {
            let of_epoch = runs.entry((e.stream, e.epoch, state.id.incarnation)).or_default();
            of_epoch.push(Run { number, base: e.base, end: e.end });
        }
    }
    Ok(())
}

/// What lies under `wal/` and is no lane of the image: of a registration that was not committed, or not ours.
async fn note_strange_lanes(bucket: &Bucket, report: &mut Report<'_>) -> anyhow::Result<()> {
    let mut strange = BTreeMap::new();
    for listed in bucket.list("wal/").await? {
        let known =
            lane::parse_key(&listed.key).is_some_and(|(l, _)| report.seen_lanes.contains(&l.incarnation));
        if !known {
            let lane = listed.key.rsplit_once('/').map_or(listed.key.as_str(), |(lane, _)| lane).to_string();
            *strange.entry(lane).or_insert(0u64) += 1;
        }
    }
    for (lane, objects) in strange {
        report.note(&lane, format!("{objects} objects of a lane that the journal does not know"))?;
    }
    Ok(())
}

/// Follows a stream through its epochs: each begins where the one before it ended, and has no hole.
fn check_stream(
    image: &ClusterImage,
    id: StreamId,
    state: &StreamState,
    runs: &mut Runs,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let mut next: Option<u64> = None;
    for entry in state.lanes.iter() {
        let Some(lane) = image.inner.catalog.lane(entry.incarnation) else {
            let key = format!("stream {id}");
            report.found(
                &key,
                format!("epoch {} is in {}, which has no lane", entry.epoch.0, entry.incarnation),
            )?;
            continue;
        };
        let below = [lane.end.length(), entry.sealed.map(|s| s.below)].into_iter().flatten().min();
        let of_epoch = runs.remove(&(id, entry.epoch, entry.incarnation)).unwrap_or_default();
        for run in of_epoch.iter().filter(|run| below.is_none_or(|below| run.number < below)) {
            let end = entry.sealed.map_or(run.end, |seal| seal.end.min(run.end));
            if run.base >= end {
                continue;
            }
            // The first that is still there may begin anywhere up to the log start.
            let expected = next.unwrap_or(run.base.min(state.start.max(state.base)));
            let given_up = lane.lost.iter().any(|lost| *lost < run.number);
            if run.base != expected && !(run.base > expected && given_up) {
                let key = lane_key(lane.id, run.number);
                let what = if run.base > expected {
                    "records are missing before"
                } else {
                    "there are other records of"
                };
                report.found(
                    &key,
                    format!("stream {id}: {what} offset {}; {expected} was expected", run.base),
                )?;
            }
            next = Some(end);
        }
        if let (Some(seal), Some(reached)) = (entry.sealed, next)
            && reached < seal.end
        {
            let key = lane_key(lane.id, seal.below);
            report.found(
                &key,
                format!("stream {id} epoch {} ends at {reached}; its seal says {}", entry.epoch.0, seal.end),
            )?;
        }
    }
    Ok(())
}
