//! Produce: 1 KiB random records to 4 partitions, acks=all; batches as large as librdkafka makes them by default, and
//! requests of 16 KiB, which is what the Java client's default `batch.size` makes.
//!
//! The warm-up goes to a topic of its own, so that the replay reads exactly what was measured here.

use anyhow::Result;

use super::{MIB, Run, records, rest};
use crate::client::{self, Load};
use crate::report::Figure;

/// Partitions of the produce and replay topics.
pub const PARTITIONS: i32 = 4;
/// The topic of what only uses memory.
const FILL: &str = "bench-fill";
/// The topic of the warm-up.
pub const WARM_UP: &str = "bench-warm-up";
/// The topic of the measured records.
pub const MEASURED: &str = "bench-produce";
const SMALL_REQUESTS: &str = "bench-small-requests";
/// The part of the measured small requests that is sent before them.
const WARM_UP_SHARE: u64 = 4;
/// librdkafka sends one batch per request, so that this bounds the request, too.
const JAVA_BATCH_SIZE: &[(&str, &str)] = &[("batch.size", "16384")];

/// Fills memory and the warm-up topic; everything after it runs on a warm broker.
pub fn warm_up(run: &mut Run<'_>) -> Result<()> {
    if run.plan.fill_mib > 0 {
        client::create_topic(&run.peer.bootstrap, FILL, PARTITIONS)?;
        run.produce("fill", &load(FILL, run.plan.fill_mib, &[]))?;
    }
    client::create_topic(&run.peer.bootstrap, WARM_UP, PARTITIONS)?;
    run.produce("warm-up", &load(WARM_UP, run.plan.warm_up_mib, &[]))?;
    Ok(())
}

/// Measures the client's default batches.
pub fn large(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    client::create_topic(&run.peer.bootstrap, MEASURED, PARTITIONS)?;
    let mut figures = run.measure_produce("produce", "produce", &load(MEASURED, run.plan.size_mib, &[]))?;
    let after = rest::wait(run.peer)?;
    figures.extend(after.figures(
        "produce_after",
        "produce, what follows until rest",
        run.plan.size_mib * MIB,
    ));
    Ok(figures)
}

/// Measures requests of 16 KiB.
pub fn small_requests(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    client::create_topic(&run.peer.bootstrap, SMALL_REQUESTS, PARTITIONS)?;
    // Requests of this size take ways through a broker that the large ones did not warm.
    let mib = run.plan.small_requests_mib / WARM_UP_SHARE;
    run.produce("16 KiB requests, warm-up", &load(SMALL_REQUESTS, mib, JAVA_BATCH_SIZE))?;
    let load = load(SMALL_REQUESTS, run.plan.small_requests_mib, JAVA_BATCH_SIZE);
    run.measure_produce("produce_16k", "produce, 16 KiB requests", &load)
}

fn load<'a>(topic: &'a str, mib: u64, settings: &'a [(&'a str, &'a str)]) -> Load<'a> {
    Load { topic, partitions: PARTITIONS, records: records(mib), per_second: None, settings }
}
