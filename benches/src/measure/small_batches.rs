//! 1,000 partitions of one-record batches: what a batch costs when nothing can be gathered by the client.
//!
//! librdkafka is told `linger.ms=0` (send at once) and `batch.num.messages=1` (never two records in a batch); it
//! sends one batch per Produce request, so every record is a request of its own, up to its default number in flight.

use anyhow::Result;

use super::Run;
use crate::client::{self, Load};
use crate::report::Figure;

/// The topic, shared with the PUT count.
pub const TOPIC: &str = "bench-1000-partitions";
/// Its partitions.
pub const PARTITIONS: i32 = 1000;
/// Records each partition gets before anything is measured. Kafka writes its first index entry after 4 KiB of log;
/// what that costs (two page faults on a mapped file per partition) belongs to the topic's beginning.
const WARM_UP_RECORDS: u64 = 20;
/// Client settings that make every batch hold one record.
pub const ONE_RECORD: &[(&str, &str)] = &[("linger.ms", "0"), ("batch.num.messages", "1")];

/// Measures throughput and the broker's CPU time per GiB and per request, which is per record.
pub fn run(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    client::create_topic(&run.peer.bootstrap, TOPIC, PARTITIONS)?;
    run.produce("one-record batches, warm-up", &load(WARM_UP_RECORDS * PARTITIONS as u64))?;
    run.measure_produce("small", "produce, 1 KiB requests, 1,000 partitions", &load(run.plan.small_batches))
}

fn load(records: u64) -> Load<'static> {
    Load { topic: TOPIC, partitions: PARTITIONS, records, per_second: None, settings: ONE_RECORD }
}
