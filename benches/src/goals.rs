//! The goals, one row each, and whether a run reached them.
//!
//! Most are ratios to Kafka from the same run: these hold on any machine. The two absolute ones are starts, which a
//! slow machine may miss.

use serde_json::{Map, Value, json};

use crate::report::{Report, number};

/// What a figure is held to.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// At least so many times Kafka's.
    AtLeast(f64),
    /// At most so many times Kafka's.
    AtMost(f64),
    /// At most this, in the figure's own unit.
    Within(f64),
}

use Bound::{AtLeast, AtMost, Within};

/// A figure and its bound.
const GOALS: &[(&str, Bound)] = &[
    ("produce.throughput", AtLeast(1.5)),
    ("produce.cpu", AtMost(0.5)),
    ("produce_16k.cpu_requests", AtMost(0.5)),
    ("small.cpu_requests", AtMost(0.5)),
    ("replay.throughput", AtLeast(1.0)),
    ("replay.cpu", AtMost(1.0)),
    ("latency.ack_p99", AtMost(1.0)),
    ("latency.e2e_p99", AtMost(1.0)),
    ("start.empty", Within(100.0)),
    ("restart.metadata", Within(100.0)),
    ("memory.idle", AtMost(0.25)),
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

/// The goals that this run says something about.
pub fn judge(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (key, bound) in GOALS {
        let Some(row) = report.rows().into_iter().find(|row| row.key == *key) else { continue };
        let verdicts: Vec<Verdict> = report
            .challengers()
            .filter_map(|peer| {
                let ratio = report.ratio(key, peer);
                let (found, reached) = match bound {
                    AtLeast(least) => (format!("{} ×", number(ratio?)), ratio? >= *least),
                    AtMost(most) => (format!("{} ×", number(ratio?)), ratio? <= *most),
                    Within(most) => {
                        let value = report.value(key, peer)?;
                        (format!("{} {}", number(value), row.unit), value <= *most)
                    }
                };
                Some(Verdict { peer: peer.to_owned(), found, reached })
            })
            .collect();
        if verdicts.is_empty() {
            continue;
        }
        let unit = row.unit;
        let (label, bound) = match bound {
            AtLeast(least) => (format!("{}, {unit}", row.label), format!("≥ {least} × Kafka")),
            AtMost(most) => (format!("{}, {unit}", row.label), format!("≤ {most} × Kafka")),
            Within(most) => (row.label.clone(), format!("≤ {most} {unit}")),
        };
        goals.push(Goal { key, label, bound, verdicts });
    }
    goals
}

/// The verdicts: `{key: {"goal": …, "reached": {peer: bool}}}`.
pub fn json(report: &Report) -> Value {
    let goals = judge(report).into_iter().map(|goal| {
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
        report.add("aquifer-directory", vec![throughput(140.0), figure("start.empty", "start", "ms", 8.0)]);
        report.add("aquifer-minio", vec![throughput(150.0), figure("start.empty", "start", "ms", 101.0)]);
        report.add("kafka", vec![throughput(100.0), figure("replay.cpu", "replay", "CPU·s/GiB", 0.7)]);
        let goals = judge(&report);
        let seen: Vec<(&str, Vec<(&str, bool)>)> = goals
            .iter()
            .map(|g| (g.key, g.verdicts.iter().map(|v| (v.found.as_str(), v.reached)).collect()))
            .collect();
        assert_eq!(
            seen,
            [
                ("produce.throughput", vec![("1.40 ×", false), ("1.50 ×", true)]),
                ("start.empty", vec![("8.00 ms", true), ("101 ms", false)]),
            ]
        );
    }
}
