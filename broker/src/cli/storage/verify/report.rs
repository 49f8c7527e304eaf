//! What was found so far, and where it is told: in lines as it comes, or as one JSON object at the end. Progress goes to
//! standard error.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use s3stream::ids::Incarnation;
use serde_json::{Value, json};

use super::super::bytes_text;
use super::super::journal::Problem;

/// Without a terminal, a line after so many objects.
const LINE_EVERY: u64 = 1000;

/// What was found so far, and where it is told.
pub struct Report<'a> {
    out: &'a mut dyn Write,
    bar: Option<ProgressBar>,
    /// Lanes that were walked.
    pub seen_lanes: BTreeSet<Incarnation>,
    /// Commits that were read.
    pub commits: u64,
    /// Snapshots that were read whole.
    pub snapshots: u64,
    /// Objects of lanes that were read.
    pub objects: u64,
    /// Objects of `data/` that were read.
    pub data_objects: u64,
    /// Ranges of streams that were looked for in them.
    pub ranges: u64,
    /// Checkpoints likewise.
    pub checkpoints: u64,
    /// Blocks that were read.
    pub blocks: u64,
    /// Bytes of all that was read.
    pub bytes: u64,
    found: u64,
    /// What was found and noted, where it is told as JSON.
    told: Option<Told>,
}

#[derive(Default)]
struct Told {
    found: Vec<Value>,
    notes: Vec<Value>,
}

impl<'a> Report<'a> {
    /// Nothing was found yet.
    pub fn new(out: &'a mut dyn Write, as_json: bool) -> Report<'a> {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {human_pos} objects, {elapsed}")
                .expect("a template that was tried");
            ProgressBar::new_spinner().with_style(style)
        });
        Report {
            out,
            bar,
            seen_lanes: BTreeSet::new(),
            commits: 0,
            snapshots: 0,
            objects: 0,
            data_objects: 0,
            ranges: 0,
            checkpoints: 0,
            blocks: 0,
            bytes: 0,
            found: 0,
            told: as_json.then(Told::default),
        }
    }

    /// Tells of damage.
    ///
    /// # Errors
    /// It could not be written.
    pub fn found(&mut self, key: &str, what: impl ToString) -> anyhow::Result<()> {
        self.found += 1;
        let what = what.to_string();
        match &mut self.told {
            Some(told) => told.found.push(json!({"key": key, "what": what})),
            None => self.line(format!("FOUND {key}: {what}"))?,
        }
        Ok(())
    }

    /// As [`Report::found`].
    ///
    /// # Errors
    /// It could not be written.
    pub fn problem(&mut self, problem: &Problem) -> anyhow::Result<()> {
        self.found(&problem.key, &problem.what)
    }

    /// Tells what is worth knowing.
    ///
    /// # Errors
    /// It could not be written.
    pub fn note(&mut self, key: &str, what: impl ToString) -> anyhow::Result<()> {
        let what = what.to_string();
        match &mut self.told {
            Some(told) => told.notes.push(json!({"key": key, "what": what})),
            None => self.line(format!("NOTE {key}: {what}"))?,
        }
        Ok(())
    }

    fn line(&mut self, line: String) -> anyhow::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(self.out, "{line}"))?,
            None => writeln!(self.out, "{line}")?,
        }
        Ok(())
    }

    /// What is being checked from here on.
    pub fn begin(&self, what: String) {
        match &self.bar {
            Some(bar) => bar.set_message(what),
            None => eprintln!("checking {what}"),
        }
    }

    /// One object more was read and counted.
    pub fn read(&self) {
        let read = self.objects + self.data_objects + self.commits;
        match &self.bar {
            Some(bar) => bar.set_position(read),
            None if read.is_multiple_of(LINE_EVERY) => eprintln!("checked {read} objects"),
            None => {}
        }
    }

    /// Tells how much was read; says whether nothing was found.
    ///
    /// # Errors
    /// It could not be written.
    pub fn finish(mut self) -> anyhow::Result<bool> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some(told) = self.told.take() {
            let json = json!({
                "well": self.found == 0,
                "found": told.found,
                "notes": told.notes,
                "commits": self.commits,
                "snapshots": self.snapshots,
                "lanes": self.seen_lanes.len(),
                "objects": self.objects,
                "data_objects": self.data_objects,
                "ranges": self.ranges,
                "checkpoints": self.checkpoints,
                "blocks": self.blocks,
                "bytes": self.bytes,
            });
            self.line(format!("{json:#}"))?;
            return Ok(self.found == 0);
        }
        let what =
            if self.found == 0 { "nothing is wrong".to_string() } else { format!("{} found", self.found) };
        let (commits, snapshots) = (counted(self.commits, "commit"), counted(self.snapshots, "snapshot"));
        let (lanes, objects) =
            (counted(self.seen_lanes.len() as u64, "lane"), counted(self.objects, "object"));
        let (blocks, bytes) = (counted(self.blocks, "block"), bytes_text(self.bytes));
        let data = counted(self.data_objects, "data object");
        let (ranges, checkpoints) = (counted(self.ranges, "range"), counted(self.checkpoints, "checkpoint"));
        self.line(format!(
            "checked {commits}, {snapshots}, {lanes} with {objects}, {data} with {ranges} and {checkpoints}, \
             {blocks}, {bytes}: {what}"
        ))?;
        Ok(self.found == 0)
    }
}

/// 1 -> "1 commit"
pub fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
