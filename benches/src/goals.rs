//! Goals, one row each, and whether a run reached them. A table is of a program: [`E2E`] here, that of the replays in
//! [`crate::replay`].
//!
//! Ratios are to Kafka from the same run: these hold on any machine. Throughput of produce, latencies and the first start are
//! judged on the directory alone: a store of its own takes its own share of the machine, and its own time. Starts are
//! absolute, and a slow machine may miss them; so is idle memory. Goals are Aquifer's: no other broker is held to them.

use serde_json::{Map, Value, json};

use crate::peers::PeerKind;
use crate::report::{Report, number};

/// What a figure is held to.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At least so many times Kafka's.
    AtLeast(f64),
    /// At most so many times Kafka's.
    AtMost(f64),
    /// At most this, in the figure's own unit.
    Within(f64),
    /// At least this, in the figure's own unit.
    Reach(f64),
}

/// A figure, its bound, and the only peer that is held to it, if not all are.
pub type Aim = (&'static str, Bound, Option<&'static str>);

use Bound::{AtLeast, AtMost, Reach, Within};

/// Aquifer on a directory: the peer that stores where Kafka does.
const ON_DIRECTORY: &str = PeerKind::AquiferDirectory.name();

/// What `cargo bench-e2e` is held to.
pub const E2E: &[Aim] = &[
    ("produce.throughput", AtLeast(1.5), Some(ON_DIRECTORY)),
    ("produce.cpu", AtMost(0.334), None),
    ("produce_16k.cpu_requests", AtMost(0.334), None),
    ("produce_16k.cpu_besides_store", Within(10.0), Some(ON_DIRECTORY)),
    ("small.cpu_requests", AtMost(0.1), None),
    ("replay.throughput", AtLeast(1.3), None),
    ("replay.cpu", AtMost(0.5), None),
    ("latency.ack_p50", AtMost(1.0), Some(ON_DIRECTORY)),
    ("latency.ack_p99", AtMost(1.0), Some(ON_DIRECTORY)),
    ("latency.e2e_p50", AtMost(1.0), Some(ON_DIRECTORY)),
    ("latency.e2e_p99", AtMost(1.0), Some(ON_DIRECTORY)),
    ("latency.above_put", Within(20.0), None),
    ("restart.recovered", Within(1_000.0), None),
    ("start.empty", Within(100.0), Some(ON_DIRECTORY)),
    ("memory.idle", Within(32.0), None),
];

/// How a goal stands with one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The peer.
    pub peer: String,
    /// What was found.
    pub found: String,
    /// Was the goal reached?
    pub reached: bool,
}

/// A goal of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// The figure's key.
    pub key: &'static str,
    /// The figure, for people.
    pub label: String,
    /// The bound, for people.
    pub bound: String,
    /// One per peer beside Kafka that has the figure.
    pub verdicts: Vec<Verdict>,
}

/// The goals of `aims` that this run says something about.
pub fn judge(report: &Report, aims: &[Aim]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (key, aim, only) in aims {
        let Some(row) = report.rows().into_iter().find(|row| row.key == *key) else { continue };
        let verdicts: Vec<Verdict> = report
            .challengers()
            .filter(|peer| only.is_none_or(|only| only == *peer) && *peer != PeerKind::Tansu.name())
            .filter_map(|peer| {
                let ratio = report.ratio(key, peer);
                let (found, reached) = match aim {
                    AtLeast(least) => (format!("{} ×", number(ratio?)), ratio? >= *least),
                    AtMost(most) => (format!("{} ×", number(ratio?)), ratio? <= *most),
                    Within(bound) | Reach(bound) => {
                        let value = report.value(key, peer)?;
                        let reached =
                            if matches!(*aim, Within(_)) { value <= *bound } else { value >= *bound };
                        (format!("{} {}", number(value), row.unit), reached)
                    }
                };
                Some(Verdict { peer: peer.to_owned(), found, reached })
            })
            .collect();
        if verdicts.is_empty() {
            continue;
        }
        let unit = row.unit;
        let (label, bound) = match aim {
            AtLeast(least) => (format!("{}, {unit}", row.label), format!("≥ {least} × Kafka")),
            AtMost(most) => (format!("{}, {unit}", row.label), format!("≤ {most} × Kafka")),
            Within(most) => (row.label.clone(), format!("≤ {most} {unit}")),
            Reach(least) => (row.label.clone(), format!("≥ {least} {unit}")),
        };
        goals.push(Goal { key, label, bound, verdicts });
    }
    goals
}

/// A line per verdict, for a terminal.
pub fn lines(report: &Report, aims: &[Aim]) -> String {
    let mut text = String::new();
    for goal in judge(report, aims) {
        for Verdict { peer, found, reached } in &goal.verdicts {
            let verdict = if *reached { "reached" } else { "NOT REACHED" };
            text += &format!("{verdict:<12}{peer:<19}{}: {found}, goal {}\n", goal.label, goal.bound);
        }
    }
    text
}

/// The verdicts: `{key: {"goal": …, "reached": {peer: bool}}}`.
pub fn json(report: &Report, aims: &[Aim]) -> Value {
    let goals = judge(report, aims).into_iter().map(|goal| {
        let reached: Map<String, Value> =
            goal.verdicts.into_iter().map(|v| (v.peer, v.reached.into())).collect();
        (goal.key.to_owned(), json!({"goal": goal.bound, "reached": reached}))
    });
    Value::Object(goals.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure;

    #[test]
    fn goals_are_ratios_or_values_and_absent_figures_judge_nothing() {
        let mut report = Report::default();
        let throughput = |value| figure("produce.throughput", "produce", "MiB/s", value);
        let small = |value| figure("small.cpu_requests", "small", "CPU·s/1,000 requests", value);
        let idle = |value| figure("memory.idle", "idle", "MiB", value);
        report.add("aquifer-directory", vec![throughput(140.0), small(1.0), idle(8.0)]);
        report.add("aquifer-minio", vec![throughput(40.0), small(1.1), idle(33.0)]);
        let replay = figure("replay.cpu", "replay", "CPU·s/GiB", 0.7);
        report.add("kafka", vec![throughput(100.0), small(10.0), replay]);
        report.add("tansu-minio", vec![small(100.0), idle(100.0)]);
        let least = judge(&report, &[("memory.idle", Reach(20.0), None)]);
        assert_eq!(least[0].bound, "≥ 20 MiB");
        assert_eq!(least[0].verdicts.iter().map(|v| v.reached).collect::<Vec<_>>(), [false, true]);
        let goals = judge(&report, E2E);
        let seen: Vec<(&str, Vec<(&str, bool)>)> = goals
            .iter()
            .map(|g| (g.key, g.verdicts.iter().map(|v| (v.found.as_str(), v.reached)).collect()))
            .collect();
        assert_eq!(
            seen,
            [
                // A store of its own is not held to it.
                ("produce.throughput", vec![("1.40 ×", false)]),
                ("small.cpu_requests", vec![("0.100 ×", true), ("0.110 ×", false)]),
                ("memory.idle", vec![("8.00 MiB", true), ("33.0 MiB", false)]),
            ]
        );
    }
}
