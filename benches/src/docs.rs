//! The page and the chart that a run writes into `docs/`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::chart;
use crate::goals::{self, Aim, Goal};
use crate::machine::{self, Fact};
use crate::report::Report;

/// What the chart shows: what has a counterpart in Kafka and a better and a worse.
const CHARTED: &[&str] = &[
    "start.empty",
    "memory.idle",
    "memory.peak",
    "produce.throughput",
    "produce.cpu",
    "produce_16k.throughput",
    "produce_16k.cpu_requests",
    "replay.throughput",
    "replay.cpu",
    "small.throughput",
    "small.cpu_requests",
    "latency.ack_p50",
    "latency.ack_p99",
    "latency.e2e_p50",
    "latency.e2e_p99",
    "restart.metadata",
    "restart.recovered",
];

/// Writes `performance.md` and, where there are ratios, `performance.svg` into `directory`.
pub fn write(directory: &Path, report: &Report, facts: &[Fact]) -> Result<()> {
    let chart = chart::svg(report, CHARTED);
    let save = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    save("performance.md", &page(report, facts, &machine::command("bench-e2e"), chart.is_some()))?;
    chart.map_or(Ok(()), |chart| save("performance.svg", &chart))
}

fn page(report: &Report, facts: &[Fact], command: &str, has_chart: bool) -> String {
    let mut page = format!(
        "# Performance

This page and its chart are written by one command, which runs every broker one after another on one machine, gives each
the same work from the same client, and divides:

```sh
{command}
```

Latencies and throughput are the machine's as much as the broker's; what travels is the ratio to Kafka (×), CPU time most
of all. Aquifer acknowledges when the bucket has the record and, in a directory, when it has been flushed; Kafka, in its
defaults, when it is in the page cache.

"
    );
    if has_chart {
        page += "![Ratios to Apache Kafka](performance.svg)\n\n";
    }
    page += &goals_table(report, goals::E2E);
    page += "## Figures\n\n";
    page += &report.markdown();
    page += "\n## What took part\n\n";
    for (name, words) in facts {
        page += &format!("- {name}: {words}\n");
    }
    page += "
## What is measured

Every record is 1 KiB of random bytes; acks=all; everything else is librdkafka's default unless a row says otherwise. CPU
time is that of the broker's process; where the store is a process of its own, its CPU time has rows of its own.

Before anything is measured every broker takes in as much as it keeps in memory (a quarter of the machine's, 8 GiB at most) and a
warm-up of 1 GiB. A broker that has just started pays for each page of memory once: see *fill* in `--help`. Every measurement
begins at rest: no tenth of a core is used by broker and store for three seconds. What a load leaves to be merged does not
fall upon the next one; *what follows until rest* has it.

- **Produce**: 4 partitions, as fast as the client can. **16 KiB requests** are what the Java client's default
  `batch.size` makes. **1 KiB requests** hold one record each and go to 1,000 partitions in turn.
- **Warm replay**: from offset 0, what was just produced.
- **200 records/s**: from `send` to its acknowledgement, and to a waiting consumer; librdkafka's 5 ms linger is in both.
  **One PUT** is a new object of 1 KiB, at the same rate, without a broker.
- **PUTs**: objects written to the store for the same rate to one partition and to 1,000.
- **Restart after kill -9**: with the stated amount in the log, to the first answered Metadata, and until every partition
  answers its end offset; that nothing acknowledged is missing is checked.

`cargo bench-e2e -- --help` says how to measure a broker that runs already, and `cargo bench -p aquifer-benches` measures the hot
pure pieces alone.
";
    page
}

/// The section of goals: a row per goal that the run says something about, a column per peer that is held to any.
pub fn goals_table(report: &Report, aims: &[Aim]) -> String {
    let goals: Vec<Goal> = goals::judge(report, aims);
    if goals.is_empty() {
        return String::new();
    }
    let held = |peer: &&str| goals.iter().any(|goal| goal.verdicts.iter().any(|v| v.peer == *peer));
    let peers: Vec<&str> = report.challengers().filter(held).collect();
    let mut text = format!("## Goals\n\n| figure | goal | {} |\n|---|---|", peers.join(" | "));
    text += &"---|".repeat(peers.len());
    text.push('\n');
    for goal in &goals {
        text += &format!("| {} | {} |", goal.label, goal.bound);
        for peer in &peers {
            let cell = goal.verdicts.iter().find(|v| v.peer == *peer).map(|v| {
                format!(" {}, {} |", v.found, if v.reached { "reached" } else { "**not reached**" })
            });
            text += &cell.unwrap_or_else(|| " – |".into());
        }
        text.push('\n');
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure;

    #[test]
    fn the_page_says_what_was_reached_and_how_it_was_made() {
        let mut report = Report::default();
        report.add("aquifer-minio", vec![figure("produce.cpu", "produce, broker CPU", "CPU·s/GiB", 1.0)]);
        report.add("aquifer-directory", vec![figure("produce.cpu", "produce, broker CPU", "CPU·s/GiB", 3.0)]);
        report.add("kafka", vec![figure("produce.cpu", "produce, broker CPU", "CPU·s/GiB", 4.0)]);
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &report, &[("machine", "2 cores".into())]).unwrap();
        let page = std::fs::read_to_string(directory.path().join("performance.md")).unwrap();
        assert!(page.contains("cargo bench-e2e"));
        assert!(page.contains("| ≤ 0.334 × Kafka | 0.250 ×, reached | 0.750 ×, **not reached** |"), "{page}");
        assert!(page.contains("- machine: 2 cores"));
        assert!(
            std::fs::read_to_string(directory.path().join("performance.svg")).unwrap().starts_with("<svg")
        );
    }
}
