//! Figures, and how they are shown: a table with the ratio to Kafka, plain or in Markdown, and JSON for machines.
//! Where a figure is missing and something is known about it, the table's dash has a number, and the words stand below.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The peer that ratios are taken against.
pub const REFERENCE: &str = "kafka";

/// One measured number.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is, stable for machines: `produce.throughput`.
    pub key: String,
    /// What it is, for people.
    pub label: String,
    /// Its unit.
    pub unit: &'static str,
    /// The number.
    pub value: f64,
}

/// Makes a figure.
pub fn figure(key: impl Into<String>, label: impl Into<String>, unit: &'static str, value: f64) -> Figure {
    Figure { key: key.into(), label: label.into(), unit, value }
}

impl Figure {
    /// A rate; of everything else, less is better.
    pub fn more_is_better(&self) -> bool {
        self.unit == "MiB/s"
    }
}

/// Why a peer has no figures of some measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// The peer.
    pub peer: String,
    /// What was to be measured, for people.
    pub what: String,
    /// Families of the figures that are missing: what their keys have before the point.
    pub families: &'static [&'static str],
    /// Why, in one line.
    pub why: String,
}

/// All figures of one run.
#[derive(Debug, Default)]
pub struct Report {
    peers: Vec<String>,
    rows: Vec<Figure>,
    values: BTreeMap<(String, String), f64>,
    gaps: Vec<Gap>,
}

impl Report {
    /// Adds what one measurement found for one peer.
    pub fn add(&mut self, peer: &str, figures: Vec<Figure>) {
        self.take_part(peer);
        for figure in figures {
            self.values.insert((figure.key.clone(), peer.to_owned()), figure.value);
            if !self.rows.iter().any(|row| row.key == figure.key) {
                self.rows.push(figure);
            }
        }
    }

    /// Says why figures are missing. A figure that was measured all the same is shown.
    pub fn miss(&mut self, gap: Gap) {
        self.take_part(&gap.peer);
        self.gaps.push(gap);
    }

    /// Gives a peer its column.
    fn take_part(&mut self, peer: &str) {
        if !self.peers.iter().any(|p| p == peer) {
            self.peers.push(peer.to_owned());
        }
    }

    /// The table: a row per figure, a column per peer, `×` the ratio to Kafka where Kafka was measured too.
    pub fn table(&self) -> String {
        align(&self.lines()) + &self.notes()
    }

    /// The same table in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (n, line) in self.lines().iter().enumerate() {
            text += &format!("| {} |\n", line.join(" | "));
            if n == 0 {
                let columns = (0..line.len()).map(|c| if c < 2 { "---" } else { "---:" });
                text += &format!("|{}|\n", columns.collect::<Vec<_>>().join("|"));
            }
        }
        text + &self.notes()
    }

    /// The gaps with their numbers, in a form that is fit to read as it is and as Markdown.
    fn notes(&self) -> String {
        let notes = self.gaps.iter().zip(1..);
        let lines: String =
            notes.map(|(gap, n)| format!("{n}. {}, {}: {}\n", gap.peer, gap.what, gap.why)).collect();
        if lines.is_empty() { lines } else { format!("\nNot measured:\n\n{lines}") }
    }

    /// What was measured, in the order of the table.
    pub fn rows(&self) -> Vec<&Figure> {
        let mut rows: Vec<&Figure> = self.rows.iter().collect();
        // Rows of one measurement stand together though a later peer may have brought some of them.
        let order = |key: &str| self.rows.iter().position(|r| family(&r.key) == family(key));
        rows.sort_by_key(|row| order(&row.key));
        rows
    }

    /// Who was measured beside [`REFERENCE`].
    pub fn challengers(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().map(String::as_str).filter(|peer| *peer != REFERENCE)
    }

    fn lines(&self) -> Vec<Vec<String>> {
        let mut lines = vec![self.header()];
        for row in self.rows() {
            let mut cells = vec![row.label.clone(), row.unit.to_owned()];
            for peer in &self.peers {
                cells.push(self.value(&row.key, peer).map_or_else(|| self.dash(&row.key, peer), number));
                if peer != REFERENCE {
                    let ratio = self.ratio(&row.key, peer);
                    cells.push(ratio.map_or(String::new(), |ratio| format!("{} ×", number(ratio))));
                }
            }
            lines.push(cells);
        }
        lines
    }

    /// What stands where no figure is: a dash, with the number of the note that says why.
    fn dash(&self, key: &str, peer: &str) -> String {
        let about = |gap: &Gap| gap.peer == peer && gap.families.contains(&family(key));
        match self.gaps.iter().position(about) {
            Some(n) => format!("– ({})", n + 1),
            None => "–".into(),
        }
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

    /// `{"figures": {key: {"unit": …, "peers": {peer: value}}}, "gaps": [{"peer": …, "what": …, "families": […], "why": …}]}`.
    pub fn json(&self) -> Value {
        let mut figures = Map::new();
        for row in &self.rows {
            let peers: Map<String, Value> = self
                .peers
                .iter()
                .filter_map(|peer| Some((peer.clone(), json!(self.value(&row.key, peer)?))))
                .collect();
            figures.insert(row.key.clone(), json!({"label": row.label, "unit": row.unit, "peers": peers}));
        }
        let gaps: Vec<Value> = self
            .gaps
            .iter()
            .map(|gap| json!({"peer": gap.peer, "what": gap.what, "families": gap.families, "why": gap.why}))
            .collect();
        json!({ "figures": figures, "gaps": gaps })
    }

    /// A figure of a peer.
    pub fn value(&self, key: &str, peer: &str) -> Option<f64> {
        self.values.get(&(key.to_owned(), peer.to_owned())).copied()
    }

    /// A figure of a peer in units of Kafka's, where both were measured.
    pub fn ratio(&self, key: &str, peer: &str) -> Option<f64> {
        let reference = self.value(key, REFERENCE).filter(|r| *r > 0.0)?;
        Some(self.value(key, peer)? / reference)
    }
}

fn family(key: &str) -> &str {
    key.split_once('.').map_or(key, |(family, _)| family)
}

/// Three significant digits.
pub fn number(value: f64) -> String {
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
        let markdown = report.markdown();
        assert_eq!(markdown.lines().nth(1), Some("|---|---|---:|---:|---:|"));
        assert_eq!(markdown.lines().nth(2), Some("| produce | CPU·s/GiB | 1.00 | 0.250 × | 4.00 |"));
        assert_eq!(report.json()["figures"]["produce.cpu"]["peers"]["kafka"], 4.0);
    }

    #[test]
    fn a_gap_has_a_number_and_its_words_stand_below() {
        let mut report = Report::default();
        let gap = |families, why: &str| Gap {
            peer: "tansu-minio".into(),
            what: "Cold".into(),
            families,
            why: why.into(),
        };
        report.add(
            "kafka",
            vec![figure("cold.cpu", "cold", "CPU·s/GiB", 4.0), figure("warm.cpu", "warm", "ms", 1.0)],
        );
        assert!(!report.table().contains("Not measured"));
        report.miss(gap(&["cold", "four"], "it did not stop"));
        let table = report.table();
        let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[2], ["cold", "CPU·s/GiB", "4.00", "–", "(1)"]);
        assert_eq!(rows[3], ["warm", "ms", "1.00", "–"]);
        assert!(table.ends_with("\nNot measured:\n\n1. tansu-minio, Cold: it did not stop\n"), "{table}");
        assert!(report.markdown().contains("| cold | CPU·s/GiB | 4.00 | – (1) |  |"));
        assert_eq!(report.json()["gaps"][0]["families"][1], "four");
        // What was found before a measurement failed is no gap.
        report.add("tansu-minio", vec![figure("cold.cpu", "cold", "CPU·s/GiB", 8.0)]);
        assert!(report.markdown().contains("| cold | CPU·s/GiB | 4.00 | 8.00 | 2.00 × |"));
    }
}
