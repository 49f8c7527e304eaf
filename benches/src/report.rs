//! Figures, and how they are shown: a table with the ratio to Kafka, plain or in Markdown, and JSON for machines.
//! Where there is something to say of a figure, or of why it is missing, its cell has a number, and the words stand below.

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

/// What is to be known of a peer's figures of some measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The peer.
    pub peer: String,
    /// The measurement, for people.
    pub what: String,
    /// Families of its figures, which is what their keys have before the point, and whole keys.
    pub families: &'static [&'static str],
    /// Which of them it is about.
    pub about: About,
    /// The words, in one line.
    pub words: String,
}

/// Which figures of its families a [`Note`] is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum About {
    /// Those that are missing.
    Missing,
    /// Those that were measured with another load than Kafka's: no ratio is taken.
    OtherLoad,
}

/// All figures of one run.
#[derive(Debug, Default)]
pub struct Report {
    peers: Vec<String>,
    rows: Vec<Figure>,
    values: BTreeMap<(String, String), f64>,
    notes: Vec<Note>,
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

    /// Says something of figures, whether they are there already or not.
    pub fn note(&mut self, note: Note) {
        self.take_part(&note.peer);
        self.notes.push(note);
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

    /// The notes with their numbers, in a form that is fit to read as it is and as Markdown.
    fn notes(&self) -> String {
        let notes = self.notes.iter().zip(1..);
        let lines: String = notes
            .map(|(note, n)| {
                let missing = if note.about == About::Missing { " not measured," } else { "" };
                format!("{n}. {}, {}:{missing} {}\n", note.peer, note.what, note.words)
            })
            .collect();
        if lines.is_empty() { lines } else { format!("\n{lines}") }
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
                cells.push(self.cell(&row.key, peer));
                if peer != REFERENCE {
                    let ratio = self.ratio(&row.key, peer);
                    cells.push(ratio.map_or(String::new(), |ratio| format!("{} ×", number(ratio))));
                }
            }
            lines.push(cells);
        }
        lines
    }

    /// A figure or a dash, with the number of the note about it.
    fn cell(&self, key: &str, peer: &str) -> String {
        let (text, about) = match self.value(key, peer) {
            Some(value) => (number(value), About::OtherLoad),
            None => ("–".to_owned(), About::Missing),
        };
        match self.note_of(key, peer, about) {
            Some(n) => format!("{text} ({})", n + 1),
            None => text,
        }
    }

    fn note_of(&self, key: &str, peer: &str, about: About) -> Option<usize> {
        self.notes.iter().position(|note| {
            let named = note.families.contains(&family(key)) || note.families.contains(&key);
            named && note.about == about && note.peer == peer
        })
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

    /// `{"figures": {key: {"label": …, "unit": …, "peers": {peer: value}}}, "notes": [{"peer": …, "what": …, "families": […],
    /// "missing": …, "words": …}]}`.
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
        let notes: Vec<Value> = self
            .notes
            .iter()
            .map(|note| {
                let missing = note.about == About::Missing;
                let Note { peer, what, families, words, .. } = note;
                json!({"peer": peer, "what": what, "families": families, "missing": missing, "words": words})
            })
            .collect();
        json!({ "figures": figures, "notes": notes })
    }

    /// A figure of a peer.
    pub fn value(&self, key: &str, peer: &str) -> Option<f64> {
        self.values.get(&(key.to_owned(), peer.to_owned())).copied()
    }

    /// A figure of a peer in units of Kafka's, where both were measured with the same load.
    pub fn ratio(&self, key: &str, peer: &str) -> Option<f64> {
        if self.note_of(key, peer, About::OtherLoad).is_some() {
            return None;
        }
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
    fn notes_have_numbers_and_their_words_stand_below() {
        let note = |about, families, words: &str| {
            let (peer, what) = ("tansu-minio".to_owned(), "it".to_owned());
            Note { peer, what, families, about, words: words.into() }
        };
        let mut report = Report::default();
        report.add("kafka", vec![figure("cold.cpu", "cold", "s", 4.0), figure("warm.cpu", "warm", "s", 1.0)]);
        report.note(note(About::Missing, &["cold", "four"], "it did not stop"));
        let table = report.table();
        let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[2], ["cold", "s", "4.00", "–", "(1)"]);
        assert_eq!(rows[3], ["warm", "s", "1.00", "–"]);
        assert!(table.ends_with("\n1. tansu-minio, it: not measured, it did not stop\n"), "{table}");
        assert!(report.markdown().contains("| cold | s | 4.00 | – (1) |  |"));
        assert_eq!(report.json()["notes"][0]["families"][1], "four");

        // What was found before a measurement failed is shown; with another load there is no ratio.
        report.note(note(About::OtherLoad, &["warm.cpu"], "20 records/s"));
        report.add(
            "tansu-minio",
            vec![figure("cold.cpu", "cold", "s", 8.0), figure("warm.cpu", "warm", "s", 2.0)],
        );
        let markdown = report.markdown();
        assert!(markdown.contains("| cold | s | 4.00 | 8.00 | 2.00 × |"), "{markdown}");
        assert!(markdown.contains("| warm | s | 1.00 | 2.00 (2) |  |"), "{markdown}");
        assert!(markdown.ends_with("2. tansu-minio, it: 20 records/s\n"), "{markdown}");
    }
}
