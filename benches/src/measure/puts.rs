//! PUTs per second for one partition and for 1,000, at the same rate of one-record batches.
//!
//! Counted from the store's own directory: lanes are `wal/<incarnation>-<nonce>/<number>`, numbered without gaps, so
//! the highest number says how many were written, whatever was deleted since. MinIO keeps an object as a directory of
//! the object's name, so the same count serves both stores. Kafka has nothing like it.

use std::path::Path;

use anyhow::{Context, Result};

use super::Run;
use super::small_batches::{ONE_RECORD, PARTITIONS, TOPIC};
use crate::client::{self, Load};
use crate::report::{Figure, figure};

/// The offered load; far below what any peer can take, far above one PUT per record.
const RECORDS_PER_SECOND: u64 = 1000;
const ONE: &str = "bench-1-partition";

/// Measures PUTs per second for both.
pub fn run(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    let Some(root) = run.peer.root.clone() else { return Ok(vec![]) };
    let one = rate(run, &root, ONE, 1)?;
    let many = rate(run, &root, TOPIC, PARTITIONS)?;
    Ok(vec![
        figure("puts.one", "PUTs for 1,000 records/s, 1 partition", "1/s", one),
        figure("puts.many", "PUTs for 1,000 records/s, 1,000 partitions", "1/s", many),
    ])
}

fn rate(run: &mut Run<'_>, root: &Path, topic: &str, partitions: i32) -> Result<f64> {
    client::create_topic(&run.peer.bootstrap, topic, partitions)?;
    let load = Load {
        topic,
        partitions,
        records: RECORDS_PER_SECOND * run.plan.puts_seconds,
        per_second: Some(RECORDS_PER_SECOND),
        settings: ONE_RECORD,
    };
    let before = lane_objects(root)?;
    let took = run.produce(&format!("{RECORDS_PER_SECOND} records/s to {topic}"), &load)?.took;
    let puts = lane_objects(root)? - before;
    run.say(&format!("{puts} PUTs in {took:.1?} for {partitions} partitions"));
    Ok(puts as f64 / took.as_secs_f64())
}

/// Lane objects written under `root` since the beginning.
fn lane_objects(root: &Path) -> Result<u64> {
    let mut objects = 0;
    let lanes = root.join("wal");
    for lane in std::fs::read_dir(&lanes).with_context(|| format!("lanes at {}", lanes.display()))? {
        let mut next = 0;
        for object in std::fs::read_dir(lane?.path())? {
            if let Some(number) = object?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) {
                next = next.max(number + 1);
            }
        }
        objects += next;
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_objects_counts_numbers_that_were_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        for (lane, numbers) in [("7-ab", vec![5u64, 6]), ("9-cd", vec![0])] {
            let lane = dir.path().join("wal").join(lane);
            std::fs::create_dir_all(&lane).unwrap();
            for n in numbers {
                std::fs::write(lane.join(format!("{n:020}")), b"").unwrap();
            }
            std::fs::write(lane.join("00000000000000000099#1"), b"staged").unwrap();
        }
        assert_eq!(lane_objects(dir.path()).unwrap(), 7 + 1);
    }
}
