//! The journal: every commit still there and its chain, every snapshot, the two against each other.

use std::collections::{BTreeMap, BTreeSet};

use s3stream::ids::{boundary_key, commit_key, snapshot_key};
use s3stream::journal::JournalConfig;

use super::super::bucket::Bucket;
use super::super::journal::{self, ClusterImage, StoredSnapshot};
use super::report::Report;

/// Checks snapshots and log against each other. The image after the last commit, if there is one.
///
/// # Errors
/// The store does not answer, or holds no journal at all.
pub async fn check_journal(bucket: &Bucket, report: &mut Report<'_>) -> anyhow::Result<Option<ClusterImage>> {
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
