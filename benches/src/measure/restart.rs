//! Restart after `kill -9` with the log in place: to the first answered Metadata, and to all end offsets answered.
//!
//! The second figure is the honest one: a broker may answer Metadata before it has recovered a partition. It also
//! checks that nothing acknowledged is missing.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{MIB, Run, records};
use crate::client::{self, Load};
use crate::probe;
use crate::report::{Figure, figure};

const TOPIC: &str = "bench-restart";
const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(120);

/// Fills a topic, kills the broker at once, and measures its return.
pub fn run(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    if run.peer.ours().is_none() {
        return Ok(vec![]);
    }
    let mib = run.plan.restart_mib;
    client::create_topic(&run.peer.bootstrap, TOPIC, PARTITIONS)?;
    let load =
        Load { topic: TOPIC, partitions: PARTITIONS, records: records(mib), per_second: None, settings: &[] };
    run.produce("before kill -9", &load)?;
    let in_log = run.produced_bytes as f64 / MIB as f64;
    run.say(&format!("kill -9 with {in_log:.0} MiB in the log"));
    let Some(broker) = run.peer.ours() else { return Ok(vec![]) };
    broker.kill()?;
    let (from, metadata) = broker.start_again()?;
    let (recovered, end) = probe::until_end_offsets(broker.addr(), TOPIC, PARTITIONS, from, PATIENCE)?;
    ensure!(end as u64 >= load.records, "{} records were acknowledged, {end} are there", load.records);
    run.say(&format!("back in {metadata:.1?}, recovered in {recovered:.1?}"));
    Ok(vec![
        figure("restart.log", "records in the log at kill -9", "MiB", in_log),
        figure("restart.metadata", "restart after kill -9, to Metadata", "ms", metadata.as_secs_f64() * 1e3),
        figure(
            "restart.recovered",
            "restart after kill -9, to end offsets",
            "ms",
            recovered.as_secs_f64() * 1e3,
        ),
    ])
}
