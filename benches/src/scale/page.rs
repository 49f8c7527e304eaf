//! The goals of the scale measurement, its table, and `docs/scale.md`.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::Plan;
use crate::machine::{self, Fact};
use crate::report::{Figure, number};

/// What a figure should be at most, in its own unit. They are said for 10,000 partitions and 1,000 connections, on a
/// machine with nothing else to do.
pub const GOALS: &[(&str, f64)] = &[
    ("create.visible", 10.0),
    ("memory.idle", 128.0),
    ("restart.kill.recovered", 1.0),
    ("restart.stop.recovered", 1.0),
    ("consumer.cpu", 2.0),
    ("connections.memory", 32.0),
    ("memory.over_budget", 64.0),
];

/// A figure beside its goal, where it has one.
#[derive(Clone, Debug)]
pub struct Goal<'a> {
    /// The figure.
    pub figure: &'a Figure,
    /// What it should be at most.
    pub at_most: Option<f64>,
}

impl Goal<'_> {
    /// Whether the goal was reached; `None` without a goal.
    pub fn reached(&self) -> Option<bool> {
        self.at_most.map(|most| self.figure.value <= most)
    }

    fn words(&self) -> [String; 5] {
        let goal = self.at_most.map(|most| format!("≤ {most}")).unwrap_or_default();
        let verdict = match self.reached() {
            None => "",
            Some(true) => "reached",
            Some(false) => "NOT REACHED",
        };
        let Figure { label, unit, value, .. } = self.figure;
        [label.clone(), (*unit).to_owned(), number(*value), goal, verdict.to_owned()]
    }
}

/// Every figure beside its goal.
pub fn goals(figures: &[Figure]) -> Vec<Goal<'_>> {
    let most = |key: &str| GOALS.iter().find(|(goal, _)| *goal == key).map(|(_, most)| *most);
    figures.iter().map(|figure| Goal { figure, at_most: most(&figure.key) }).collect()
}

/// The figures and goals, aligned for a terminal.
pub fn table(figures: &[Figure]) -> String {
    let lines: Vec<[String; 5]> = goals(figures).iter().map(Goal::words).collect();
    let width = |c: usize| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for [label, unit, value, goal, verdict] in &lines {
        let line = format!(
            "{label:<0$}  {value:>2$}  {unit:<1$}  {goal:<3$}  {verdict}",
            widths[0], widths[1], widths[2], widths[3]
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// `{"figures": {key: {label, unit, value, goal?, reached?}}, "run": facts}`.
pub fn json(figures: &[Figure], facts: &[Fact]) -> Value {
    let all: Map<String, Value> = goals(figures)
        .iter()
        .map(|goal| {
            let Figure { key, label, unit, value } = goal.figure;
            let mut row = json!({ "label": label, "unit": unit, "value": value });
            if let (Some(most), Some(reached)) = (goal.at_most, goal.reached()) {
                row["goal"] = most.into();
                row["reached"] = reached.into();
            }
            (key.clone(), row)
        })
        .collect();
    json!({ "figures": all, "run": machine::json(facts) })
}

/// Writes `scale.md` into `directory`.
pub fn write(directory: &Path, plan: &Plan, figures: &[Figure], facts: &[Fact], command: &str) -> Result<()> {
    let path = directory.join("scale.md");
    std::fs::write(&path, page(plan, figures, facts, command))
        .with_context(|| format!("write {}", path.display()))
}

fn page(plan: &Plan, figures: &[Figure], facts: &[Fact], command: &str) -> String {
    let mut page = format!(
        "# Scale

One broker over a directory, {} topics of {} partitions, {} connections, `memory.budget.bytes` of {} MiB. This page is
written by

```sh
{command}
```

The goals are meant for 10,000 partitions and 1,000 connections. What matters is what does not grow: an idle partition
and an idle connection should cost next to nothing, and a restart should not notice how many there are.

| figure | | unit | goal | |
|---|---:|---|---:|---|
",
        plan.topics,
        plan.partitions,
        plan.connections,
        plan.budget >> 20
    );
    for [label, unit, value, goal, verdict] in goals(figures).iter().map(Goal::words) {
        let verdict = if verdict == "NOT REACHED" { "**not reached**" } else { &verdict };
        page += &format!("| {label} | {value} | {unit} | {goal} | {verdict} |\n");
    }
    page += "\n## What took part\n\n";
    for (name, words) in facts {
        page += &format!("- {name}: {words}\n");
    }
    page += "
## What is measured

- **Create**: one CreateTopics request per topic, one after another.
- **A record to every partition**: acks=all. librdkafka makes a request for each partition and goes through all of them
  again and again meanwhile: most of this time is its own, the broker's CPU time is in the next row. One request per
  topic is what clients make that group by broker.
- **Restart**: from the start of the process until one ListOffsets request over all partitions answers every end offset
  as it must be.
- **Idle connections**: each has asked for ApiVersions and is silent since.
- **A consumer of all partitions**: librdkafka, its defaults. It has no fetch sessions, so that each Fetch request, two a
  second, names all partitions.

A record or a partition that is missing fails the run; a time never does.
";
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure;

    #[test]
    fn a_figure_is_judged_by_its_goal_or_not_at_all() {
        let figures = [
            figure("create.visible", "create", "s", 9.9),
            figure("consumer.cpu", "consumer", "% of a core", 2.1),
            figure("idle.cpu", "idle", "% of a core", 99.0),
        ];
        let reached: Vec<Option<bool>> = goals(&figures).iter().map(Goal::reached).collect();
        assert_eq!(reached, [Some(true), Some(false), None]);
        assert_eq!(json(&figures, &[])["figures"]["consumer.cpu"]["reached"], false);
        assert!(json(&figures, &[])["figures"]["idle.cpu"].get("reached").is_none());
        let table = table(&figures);
        let words: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert!(words.ends_with(&["≤", "2", "NOT", "REACHED"]), "{table}");
    }

    #[test]
    fn every_goal_is_on_the_page_with_what_was_found() {
        let figures: Vec<Figure> =
            GOALS.iter().map(|(key, most)| figure(*key, *key, "s", most + 1.0)).collect();
        let plan = Plan {
            topics: 10,
            partitions: 1000,
            connections: 1000,
            idle: Default::default(),
            settle: Default::default(),
            budget: 256 << 20,
        };
        let page = page(&plan, &figures, &[("machine", "2 cores".into())], "cargo bench-scale --docs");
        assert_eq!(page.matches("**not reached**").count(), GOALS.len());
        assert!(page.contains("10 topics of 1000 partitions") && page.contains("- machine: 2 cores"));
    }
}
