//! Figures, and how they are shown: a table with the ratio to Kafka, and JSON for machines.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The peer that ratios are taken against.
const REFERENCE: &str = "kafka";

/// One measured number.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is, stable for machines: `produce.throughput`.
    pub key: &'static str,
    /// What it is, for people.
    pub label: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The number.
    pub value: f64,
}

/// Makes a figure.
pub fn figure(key: &'static str, label: &'static str, unit: &'static str, value: f64) -> Figure {
    Figure { key, label, unit, value }
}

/// All figures of one run.
#[derive(Debug, Default)]
pub struct Report {
    peers: Vec<String>,
    rows: Vec<Figure>,
    values: BTreeMap<(&'static str, String), f64>,
}

impl Report {
    /// Adds what one measurement found for one peer.
    pub fn add(&mut self, peer: &str, figures: Vec<Figure>) {
        if !self.peers.iter().any(|p| p == peer) {
            self.peers.push(peer.to_owned());
        }
        for figure in figures {
            self.values.insert((figure.key, peer.to_owned()), figure.value);
            if !self.rows.iter().any(|row| row.key == figure.key) {
                self.rows.push(figure);
            }
        }
    }

    /// The table: a row per figure, a column per peer, `×` the ratio to Kafka where Kafka was measured too.
    pub fn table(&self) -> String {
        let mut lines = vec![self.header()];
        let mut rows: Vec<&Figure> = self.rows.iter().collect();
        // Rows of one measurement stand together though a later peer may have brought some of them.
        let order = |key: &str| self.rows.iter().position(|r| family(r.key) == family(key));
        rows.sort_by_key(|row| order(row.key));
        for row in rows {
            let mut cells = vec![row.label.to_owned(), row.unit.to_owned()];
            let reference = self.value(row.key, REFERENCE);
            for peer in &self.peers {
                cells.push(self.value(row.key, peer).map_or("–".into(), number));
                if peer != REFERENCE {
                    let ratio = self.value(row.key, peer).zip(reference).filter(|(_, r)| *r > 0.0);
                    cells.push(ratio.map_or(String::new(), |(v, r)| format!("{} ×", number(v / r))));
                }
            }
            lines.push(cells);
        }
        align(&lines)
    }

    fn header(&self) -> Vec<String> {
        let mut cells = vec!["figure".to_owned(), "unit".to_owned()];
        for peer in &self.peers {
            cells.push(peer.clone());
            if peer != REFERENCE {
                cells.push("to kafka".into());
            }
        }
        cells
    }

    /// `{"figures": {key: {"unit": …, "peers": {peer: value}}}}`.
    pub fn json(&self) -> Value {
        let mut figures = Map::new();
        for row in &self.rows {
            let peers: Map<String, Value> = self
                .peers
                .iter()
                .filter_map(|peer| Some((peer.clone(), json!(self.value(row.key, peer)?))))
                .collect();
            figures.insert(row.key.into(), json!({"label": row.label, "unit": row.unit, "peers": peers}));
        }
        json!({ "figures": figures })
    }

    fn value(&self, key: &'static str, peer: &str) -> Option<f64> {
        self.values.get(&(key, peer.to_owned())).copied()
    }
}

fn family(key: &str) -> &str {
    key.split_once('.').map_or(key, |(family, _)| family)
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |c: usize| lines.iter().filter_map(|l| l.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        for (c, cell) in line.iter().enumerate() {
            let pad = " ".repeat(widths[c] - cell.chars().count());
            // Words to the left, numbers to the right.
            text += &if c < 2 { format!("{cell}{pad}  ") } else { format!("{pad}{cell}  ") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if n == 0 {
            text += &"─".repeat(widths.iter().map(|w| w + 2).sum::<usize>());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_ratios_to_kafka_and_gaps() {
        let mut report = Report::default();
        report.add("aquifer-directory", vec![figure("produce.cpu", "produce", "CPU·s/GiB", 1.0)]);
        report.add("kafka", vec![figure("produce.cpu", "produce", "CPU·s/GiB", 4.0)]);
        report.add("kafka", vec![figure("idle.rss", "idle", "MiB", 385.0)]);
        let table = report.table();
        let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[2], ["produce", "CPU·s/GiB", "1.00", "0.250", "×", "4.00"]);
        assert_eq!(rows[3], ["idle", "MiB", "–", "385"]);
        assert_eq!(report.json()["figures"]["produce.cpu"]["peers"]["kafka"], 4.0);
    }
}
