//! How soon a broker is back after kill -9 with much in its log and many partitions.
//!
//! What grows with the log must not be read at a start: neither records nor objects, only checkpoints and what was not
//! uploaded yet. The broker is killed at once after the last acknowledgement, with the lane as full as it is then.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::steps::{PARTITIONS, Rig, TOPIC};
use crate::measure::{GIB, MIB, records};
use crate::process::poll_until;
use crate::report::{Figure, figure};
use crate::scale::wire::{Connection, one_record_batch};

/// The topic that makes the log as large as it is to be.
const FILL: &str = "replay-fill";
/// Partitions of one of the many topics.
const PER_TOPIC: i32 = 1000;
/// How long a broker may take to have everything again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes the log large, kills the broker and measures its return. Aquifer alone: the goal is absolute.
pub fn run(rig: &mut Rig<'_>) -> Result<Vec<Figure>> {
    if rig.peer.storage.is_none() {
        return Ok(vec![]);
    }
    let addr = rig.peer.ours().context("a broker of somebody else is not killed")?.addr();
    let topics = create(rig, addr)?;
    let fill_mib = rig.plan.restart_mib.saturating_sub(rig.produced_bytes / MIB).max(1);
    rig.fill(FILL, fill_mib)?;
    let log = rig.produced_bytes as f64 / GIB as f64;
    let all = i64::from(PARTITIONS) * 2 + topics.len() as i64 * i64::from(PER_TOPIC);
    rig.say(&format!("kill -9 with {log:.1} GiB and {all} partitions"));

    let main = [TOPIC.to_owned(), FILL.to_owned()];
    let acknowledged = records(rig.plan.size_mib) + records(fill_mib);
    let broker = rig.peer.ours().context("a broker of somebody else is not killed")?;
    broker.kill()?;
    let (from, metadata) = broker.start_again()?;
    let everything_is_there = || -> Result<()> {
        let mut connection = Connection::open(addr)?;
        let ends = connection.end_offsets(&main, PARTITIONS)?;
        let found = ends.iter().sum::<i64>() as u64;
        ensure!(found >= acknowledged, "{acknowledged} records were acknowledged, {found} are there");
        if !topics.is_empty() {
            let ends = connection.end_offsets(&topics, PER_TOPIC)?;
            let wrong = ends.iter().filter(|end| **end != 1).count();
            ensure!(wrong == 0, "{wrong} of {} partitions end elsewhere", ends.len());
        }
        Ok(())
    };
    let mut last = None;
    let recovered =
        poll_until("all end offsets", PATIENCE, Duration::from_millis(1), || match everything_is_there() {
            Ok(()) => Ok(Some(from.elapsed())),
            Err(error) => {
                last = Some(error);
                Ok(None)
            }
        });
    let recovered = recovered.map_err(|late| match last {
        Some(error) => error.context(late),
        None => late,
    })?;
    rig.say(&format!("back in {metadata:.1?}, everything in {recovered:.1?}"));
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(vec![
        figure("restart.log", "records in the log at kill -9", "GiB", log),
        figure("restart.partitions", "partitions at kill -9", "partitions", all as f64),
        figure("restart.metadata", "restart after kill -9, to Metadata", "ms", ms(metadata)),
        figure("restart.recovered", "restart after kill -9, to every end offset", "ms", ms(recovered)),
    ])
}

/// The many partitions, each with one record.
fn create(rig: &Rig<'_>, addr: std::net::SocketAddr) -> Result<Vec<String>> {
    let topics: Vec<String> =
        (0..rig.plan.restart_partitions / PER_TOPIC).map(|n| format!("replay-many-{n:03}")).collect();
    let begun = Instant::now();
    let (mut connection, batch) = (Connection::open(addr)?, one_record_batch());
    for topic in &topics {
        connection.create_topic(topic, PER_TOPIC)?;
        let bases = connection.produce(topic, PER_TOPIC, &batch)?;
        ensure!(bases.iter().all(|base| *base == 0), "a new partition is not empty");
    }
    rig.say(&format!("{} partitions in {:.1?}", topics.len() * PER_TOPIC as usize, begun.elapsed()));
    Ok(topics)
}
