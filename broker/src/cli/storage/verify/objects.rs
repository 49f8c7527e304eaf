//! Each object of `data/` that something refers to: it is there, whole, and holds what streams are said to have in it. Its
//! references are counted again. What lies there and does not count is noted.

use std::collections::BTreeMap;

use futures::future::join_all;
use s3stream::catalog::{Catalog, ObjectState, StreamRange};
use s3stream::ids::{DATA_PREFIX, Incarnation, ObjectId, StreamId, parse_data_key};
use s3stream::object::{BlockKind, Footer, IndexEntry};

use super::super::bucket::Bucket;
use super::super::journal::{ClusterImage, Problem};
use super::super::{bytes_text, data};
use super::now::Now;
use super::report::{Report, counted};
use super::streams::has_lost;

/// Objects read at a time, and bytes of them: merged ones are large, and are held whole.
const WINDOW: usize = 4;
const WINDOW_BYTES: u64 = 64 << 20;

/// What streams have in an object.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Ranges, each with the first offset of it that is kept.
    ranges: Vec<(StreamId, u64, StreamRange)>,
    /// Checkpoints, each with where its lanes go on.
    checkpoints: Vec<(StreamId, u64)>,
}

impl Held {
    fn references(&self) -> u64 {
        (self.ranges.len() + self.checkpoints.len()) as u64
    }
}

/// What streams have in objects, by object.
pub fn held(catalog: &Catalog) -> BTreeMap<ObjectId, Held> {
    let mut held: BTreeMap<ObjectId, Held> = BTreeMap::new();
    for (stream, state) in catalog.streams() {
        for range in state.ranges.iter() {
            let of = held.entry(range.object).or_default();
            of.ranges.push((stream, range.start.max(state.start), *range));
        }
        if let Some(object) = state.checkpoint {
            held.entry(object).or_default().checkpoints.push((stream, state.base));
        }
    }
    held
}

/// Where the journal's count of references is another than that of streams.
pub fn count_problems<'a>(
    catalog: &Catalog,
    objects: impl Iterator<Item = (ObjectId, &'a ObjectState)>,
    held: &BTreeMap<ObjectId, Held>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut unknown: BTreeMap<ObjectId, u64> =
        held.iter().map(|(object, held)| (*object, held.references())).collect();
    for (object, state) in objects {
        let actual = unknown.remove(&object).unwrap_or(0);
        if actual != u64::from(state.references) {
            let what = format!("the journal counts {} references, streams have {actual}", state.references);
            problems.push(Problem::new(catalog.object_key(object), what));
        }
    }
    for (object, references) in unknown {
        let what = format!("streams have {references} references to it, and the journal does not know it");
        problems.push(Problem::new(catalog.object_key(object), what));
    }
    problems
}

/// Where the index of an object does not hold what streams have in it. `lost`: something was given up by name, so that
/// checkpoints may be of before a hole.
pub fn index_problems(held: &Held, footer: &Footer, lost: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let mut blocks: BTreeMap<_, Vec<&IndexEntry>> = BTreeMap::new();
    for entry in &footer.entries {
        blocks.entry((entry.kind, entry.stream, entry.epoch)).or_default().push(entry);
    }
    for (stream, from, range) in &held.ranges {
        let mut next = *from;
        let said = format!("stream {stream} epoch {} offsets {from}..{}", range.epoch.0, range.end);
        let of_epoch = blocks.get(&(BlockKind::Data, *stream, range.epoch)).into_iter().flatten();
        for entry in of_epoch.filter(|e| e.end > *from && e.base < range.end) {
            if entry.base > next {
                problems.push(format!("{said}: no block holds {next} to {}", entry.base));
            }
            if entry.max_timestamp > range.max_timestamp {
                problems.push(format!(
                    "{said}: its block at {} has timestamp {}, above the {} that the journal says",
                    entry.base, entry.max_timestamp, range.max_timestamp
                ));
            }
            next = entry.end;
        }
        if next < range.end {
            problems.push(format!("{said}: no block holds {next} to {}", range.end));
        }
    }
    let checkpoints: BTreeMap<StreamId, &IndexEntry> = footer
        .entries
        .iter()
        .filter(|entry| entry.kind == BlockKind::Checkpoint)
        .map(|entry| (entry.stream, entry))
        .collect();
    for (stream, base) in &held.checkpoints {
        match checkpoints.get(stream) {
            None => problems.push(format!("the checkpoint of stream {stream} is not in it")),
            Some(entry) if entry.end > *base || entry.end < *base && !lost => problems.push(format!(
                "its checkpoint of stream {stream} is of offset {}, and the lanes go on at {base}",
                entry.end
            )),
            Some(_) => {}
        }
    }
    problems
}

/// Reads and checks every object that something refers to.
///
/// # Errors
/// The store does not answer.
pub async fn check_objects(
    bucket: &Bucket,
    image: &ClusterImage,
    now: &mut Now<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    report.begin("objects of data/".into());
    let catalog = &image.inner.catalog;
    let held = held(catalog);
    for problem in count_problems(catalog, catalog.objects(), &held) {
        report.problem(&problem)?;
    }
    let mut window: Vec<(ObjectId, ObjectState)> = Vec::new();
    let mut bytes = 0;
    for (object, state) in catalog.objects().filter(|(_, state)| !state.is_condemned()) {
        if !bucket.has(state.store) {
            let what = format!("lies in store {}: name it with --wal-storage", state.store.0);
            report.found(&catalog.object_key(object), what)?;
            continue;
        }
        if window.len() == WINDOW || !window.is_empty() && bytes + state.len > WINDOW_BYTES {
            check_window(bucket, catalog, std::mem::take(&mut window), &held, now, report).await?;
            bytes = 0;
        }
        window.push((object, *state));
        bytes += state.len;
    }
    check_window(bucket, catalog, window, &held, now, report).await
}

async fn check_window(
    bucket: &Bucket,
    catalog: &Catalog,
    window: Vec<(ObjectId, ObjectState)>,
    held: &BTreeMap<ObjectId, Held>,
    now: &mut Now<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let reads = window.into_iter().map(|(object, state)| async move {
        let bytes = bucket.get_in(state.store, &catalog.object_key(object)).await;
        (object, state, bytes)
    });
    let nothing = Held::default();
    for (object, state, bytes) in join_all(reads).await {
        let key = catalog.object_key(object);
        let Some(bytes) = bytes? else {
            let told = now.look().await?.object(object);
            if told.is_some_and(|state| !state.is_condemned()) {
                report.found(&key, "is missing, and streams refer to it")?;
            }
            continue;
        };
        let held = held.get(&object).unwrap_or(&nothing);
        report.data_objects += 1;
        report.bytes += bytes.len() as u64;
        report.ranges += held.ranges.len() as u64;
        report.checkpoints += held.checkpoints.len() as u64;
        report.read();
        if bytes.len() as u64 != state.len {
            report.found(&key, format!("has {} bytes; the journal says {}", bytes.len(), state.len))?;
        }
        let whole = match data::open(object, bytes) {
            Ok(whole) => whole,
            Err(what) => {
                report.found(&key, what)?;
                continue;
            }
        };
        let owner = whole.footer.header.owner;
        if catalog.lane(object.incarnation).is_none_or(|lane| lane.id != owner) {
            report.found(&key, format!("says that {owner} wrote it, whom the journal does not know"))?;
        }
        for block in data::blocks(&whole) {
            report.blocks += 1;
            for problem in &block.problems {
                report.found(&key, block.said(problem))?;
            }
        }
        for problem in index_problems(held, &whole.footer, has_lost(catalog)) {
            report.found(&key, problem)?;
        }
    }
    Ok(())
}

/// What lies under `data/` and does not count: condemned, in work or left over, or not ours.
///
/// # Errors
/// The store does not answer.
pub async fn note_what_does_not_count(
    bucket: &Bucket,
    image: &ClusterImage,
    now: &mut Now<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let catalog = &image.inner.catalog;
    let mut condemned = (0u64, 0u64);
    let mut unknown: BTreeMap<Incarnation, (u64, u64)> = BTreeMap::new();
    let mut looked = false;
    for listed in bucket.list(DATA_PREFIX).await? {
        let Some(object) = parse_data_key(&listed.key) else {
            report.note(&listed.key, "is not an object of Aquifer's")?;
            continue;
        };
        let counts = match catalog.object(object) {
            Some(state) if !state.is_condemned() => continue,
            Some(_) => &mut condemned,
            None => {
                if !looked {
                    now.look().await?;
                    looked = true;
                }
                // Introduced since the image was folded.
                if now.seen().object(object).is_some() {
                    continue;
                }
                unknown.entry(object.incarnation).or_default()
            }
        };
        counts.0 += 1;
        counts.1 += listed.len;
    }
    if condemned.0 > 0 {
        let (objects, bytes) = (counted(condemned.0, "object"), bytes_text(condemned.1));
        report.note(DATA_PREFIX, format!("{objects}, {bytes}, that nothing refers to: to be deleted"))?;
    }
    for (incarnation, (objects, bytes)) in unknown {
        let (objects, bytes) = (counted(objects, "object"), bytes_text(bytes));
        let what = format!(
            "{objects}, {bytes}, of {incarnation} that the journal does not know: in work, or orphans"
        );
        report.note(DATA_PREFIX, what)?;
    }
    Ok(())
}
