//! Ratios within a peer, the goals, and `docs/replay.md` with its chart.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Plan, steps};
use crate::chart;
use crate::docs::goals_table;
use crate::goals::Aim;
use crate::goals::Bound::{AtLeast, Reach, Within};
use crate::machine::Fact;
use crate::peers::{PeerKind, tansu};
use crate::report::{Figure, Report, figure};

const ON_DIRECTORY: Option<&str> = Some(PeerKind::AquiferDirectory.name());
const ON_MINIO: Option<&str> = Some(PeerKind::AquiferMinio.name());

/// What `cargo bench-replay` holds Aquifer to. Those of amounts are meant for a full run.
pub const GOALS: &[Aim] = &[
    ("cold.throughput", AtLeast(1.0), ON_DIRECTORY),
    ("within.cold", Reach(0.667), ON_MINIO),
    ("cold.cpu", Within(0.8), ON_DIRECTORY),
    ("cold.cpu", Within(0.8), ON_MINIO),
    ("cold.first", Within(200.0), ON_MINIO),
    ("within.four_gets", Within(1.25), ON_MINIO),
    ("within.four_throughput", Reach(1.5), ON_DIRECTORY),
    ("within.four_throughput", Reach(1.5), ON_MINIO),
    ("within.tail_p99", Within(1.5), ON_DIRECTORY),
    ("within.tail_p99", Within(1.5), ON_MINIO),
    ("within.produce", Reach(0.7), ON_DIRECTORY),
    ("within.produce", Reach(0.7), ON_MINIO),
    ("life.written", Within(3.2), ON_DIRECTORY),
    ("life.written", Within(3.2), ON_MINIO),
    ("life.objects", Within(2000.0), ON_DIRECTORY),
    ("life.objects", Within(2000.0), ON_MINIO),
    ("clean.throughput", Reach(100.0), ON_DIRECTORY),
    ("clean.throughput", Reach(100.0), ON_MINIO),
    ("clean.memory", Within(64.0), ON_DIRECTORY),
    ("clean.memory", Within(64.0), ON_MINIO),
    ("restart.recovered", Within(1500.0), ON_DIRECTORY),
    ("restart.recovered", Within(1500.0), ON_MINIO),
];

/// What the chart shows.
const CHARTED: &[&str] = &[
    "fill.throughput",
    "warm.throughput",
    "warm.cpu",
    "cold.throughput",
    "cold.cpu",
    "cold.first",
    "cold.memory",
    "four.throughput",
    "four.cpu",
    "tail.p50",
    "tail.p99",
    "busy.p50",
    "busy.p99",
    "busy.produce",
    "busy.replay",
    "clean.throughput",
    "clean.cpu",
    "clean.memory",
];

/// What a peer's figures say beside each other; those whose parts were not measured are left out.
pub fn within(report: &Report, peer: &str) -> Vec<Figure> {
    let value = |key: &str| report.value(key, peer).filter(|value| *value > 0.0);
    let possible = match (value("warm.throughput"), value("limit.throughput")) {
        (Some(warm), Some(limit)) => Some(warm.min(limit)),
        (warm, _) => warm,
    };
    let ratio = |key: &str, label: &str, part: Option<f64>, of: Option<f64>| {
        Some(figure(format!("within.{key}"), label, "×", part? / of?))
    };
    [
        ratio("cold", "cold replay, of warm or of the store's limit", value("cold.throughput"), possible),
        ratio("four_gets", "GETs of 4 readers, of those of one", value("four.gets"), value("cold.gets")),
        ratio(
            "four_throughput",
            "throughput of 4 readers, of that of one",
            value("four.throughput"),
            value("cold.throughput"),
        ),
        ratio("tail_p99", "tail p99 beside 4 replays, of alone", value("busy.p99"), value("tail.p99")),
        ratio("produce", "produced beside 4 replays, of alone", value("busy.produce"), value("tail.produce")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Writes `replay.md` and, where there are ratios to Kafka, `replay.svg` into `directory`.
pub fn write(directory: &Path, plan: &Plan, report: &Report, facts: &[Fact], command: &str) -> Result<()> {
    let chart = chart::svg(report, CHARTED);
    let save = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    save("replay.md", &page(plan, report, facts, command, chart.is_some()))?;
    chart.map_or(Ok(()), |chart| save("replay.svg", &chart))
}

fn page(plan: &Plan, report: &Report, facts: &[Fact], command: &str, has_chart: bool) -> String {
    let mut page = format!(
        "# Replays

What reading history costs, and whom it disturbs. This page and its chart are written by one command, which runs every
broker one after another on one machine and gives each the same work from the same client with its default settings:

```sh
{command}
```

"
    );
    if has_chart {
        page += "![Ratios to Apache Kafka](replay.svg)\n\n";
    }
    page += &goals_table(report, GOALS);
    page += "## Figures\n\n";
    page += &report.markdown();
    page += "\n## What took part\n\n";
    for (name, words) in facts {
        page += &format!("- {name}: {words}\n");
    }
    page += &format!(
        "
## What is measured

Records of 1 KiB of random bytes, {} MiB of them in 8 partitions; acks=all. CPU time is that of the broker's process; where
the store is a process of its own, its CPU time has rows of its own. Clients run on the same machine and take their share
of it: what four readers can gain over one, and what they leave to others, is bounded by the cores they have.

- **RSS**: the most during the measurement, not before it.
- **Warm**: right after it was written, from whatever memory holds it.
- **Cold**: the broker was stopped and started again, another topic of {} MiB was read, so that its code is warm and the memory
  that a replay passes through has been touched, and the page cache of the machine was dropped. **First record**: from the
  assignment of the partitions; the connection is there already.
- **4 cold replays**: four consumers from offset 0 of the same partitions at once; throughput is of all four together, GETs
  are per GiB of the log, not of what was sent.
- **Plain GETs**: the same objects in ranges of 8 MiB over four connections, without a broker: what the store can give.
- **Tail**: {} records/s to 8 partitions for {} s, from `send` to a waiting consumer; alone, then beside four replays that
  begin cold with those seconds, and begin again when they end. Before both the broker is started again and the page cache
  dropped, since that also holds what a file system knows of its files; then producer and tail work for {} s that are not
  measured, and that nobody replays in: what a machine without a page cache does to those who have just come. The replays' own
  clients run at the least priority: what a client does with what it reads holds up nobody else's on a machine of its own.
- **Bytes written** and **objects**: when uploading, merging and deleting have nothing left to do. For MinIO what it received,
  for a directory what the process handed to the file system: the journal and all else included.
- **Compacting**: {} MiB of records with random keys, about ten of each, in {} partitions of a topic of their own. The broker
  is started again, so that it holds no memory that it could use instead of new; then the topic's `min.cleanable.dirty.ratio`
  is lowered. From there until the broker has written that every partition is compacted; per MiB of what there was before.
  `log.cleaner.backoff.ms` is 100, all else of cleaners is default. That the last value of every key is left, and nothing else, is checked.
- **Restart**, of Aquifer alone: SIGKILL right after the last acknowledgement, until every partition answers its end
  offset; that nothing acknowledged is missing is checked.

Aquifer runs with `object.delete.delay.ms=10000`, so that what was merged away leaves the disk within the run; all else is
default. `cargo bench-replay --help` has the rest.
",
        plan.size_mib,
        plan.warm_up_mib,
        plan.tail_rate,
        plan.tail_seconds,
        steps::LEAD_IN.as_secs(),
        plan.clean_mib,
        plan.clean_partitions
    );
    page + &about_tansu(&plan.for_slow_peer())
}

/// What differs with Tansu, which gets `own`.
fn about_tansu(own: &Plan) -> String {
    format!(
        "
Tansu 0.6, the other broker in Rust over an object store, is measured where it is named:

```sh
{}
cargo bench-replay --peers aquifer-directory,aquifer-minio,kafka,tansu
```

It has a MinIO of its own and its defaults. It is too slow for the amounts above: its topic has {} MiB, and its producer sends
{} records/s. The client's defaults make a request of nearly every record of such a producer, and Tansu takes the requests of a
connection one after another, each with several of its own to the store: more records than that wait in a queue, and the
latency would be the time that it was measured. A step that Tansu does not get through is a dash with the reason below the
table.
",
        tansu::install("~/.cache/aquifer"),
        own.size_mib,
        own.tail_rate
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals::judge;

    fn measured() -> Report {
        let mut report = Report::default();
        let figures = |values: &[(&str, f64)]| -> Vec<Figure> {
            values.iter().map(|(key, value)| figure(*key, *key, "u", *value)).collect()
        };
        let minio = [
            ("warm.throughput", 600.0),
            ("cold.throughput", 300.0),
            ("limit.throughput", 400.0),
            ("cold.gets", 300.0),
            ("four.gets", 450.0),
            ("tail.p99", 10.0),
            ("busy.p99", 12.0),
        ];
        report.add("aquifer-minio", figures(&minio));
        let directory = [("warm.throughput", 600.0), ("cold.throughput", 480.0)];
        report.add("aquifer-directory", figures(&directory));
        report.add("kafka", figures(&[("cold.throughput", 500.0)]));
        for peer in ["aquifer-minio", "aquifer-directory"] {
            let within = within(&report, peer);
            report.add(peer, within);
        }
        report
    }

    #[test]
    fn a_store_that_gives_less_than_memory_is_the_limit() {
        let report = measured();
        assert_eq!(report.value("within.cold", "aquifer-minio"), Some(0.75));
        assert_eq!(report.value("within.cold", "aquifer-directory"), Some(0.8));
        assert_eq!(report.value("within.produce", "aquifer-minio"), None);
    }

    #[test]
    fn each_goal_is_judged_by_its_own_peer() {
        let report = measured();
        let reached: Vec<(&str, String, bool)> = judge(&report, GOALS)
            .into_iter()
            .flat_map(|goal| goal.verdicts.into_iter().map(move |v| (goal.key, v.peer, v.reached)))
            .collect();
        let (minio, directory) = ("aquifer-minio".to_owned(), "aquifer-directory".to_owned());
        let expected = [
            ("cold.throughput", directory, false),
            ("within.cold", minio.clone(), true),
            ("within.four_gets", minio.clone(), false),
            ("within.tail_p99", minio, true),
        ];
        assert_eq!(reached, expected);
        let page = page(&Plan::full(), &report, &[("machine", "2 cores".into())], "cargo bench-replay", true);
        assert!(page.contains("| ≥ 0.667 × |") && page.contains("**not reached**"), "{page}");
        assert!(page.contains("- machine: 2 cores") && page.contains("4096 MiB"));
        assert!(
            page.contains("cargo install tansu@0.6.0") && page.contains("its topic has 256 MiB"),
            "{page}"
        );
    }
}
