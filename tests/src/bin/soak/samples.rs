//! Memory and objects over time, and what is wrong with them.
//!
//! Memory is the kernel's own peak of each life of the broker, so that nothing is missed between two looks. Objects are
//! counted every few seconds. Those of `data/` may not grow when the amount of records kept has stopped growing: the most of
//! the last third of the run is held against the most of the second. Lanes hold what was written in the last seconds, as
//! many objects as the store takes in that time; the journal lets go of a stride of 4,096 commits at a time. Both have an
//! absolute bound.

use std::time::{Duration, Instant};

use anyhow::Result;
use benches::peers::aquifer::Objects;

use crate::{ABOVE_BUDGET, peak};

const OBJECTS_EVERY: Duration = Duration::from_secs(5);
/// How many more there may be in the last third: what the rhythm of uploads and merges moves.
const GROWTH_MAX: f64 = 1.25;
const GROWTH_FREE: u64 = 50;
/// Lane objects at which an upload is due, whatever its bytes and its age (in a directory, where they are smallest), and as
/// many that wait to be deleted.
const LANES_MOST: u64 = 2 * 8192;
/// Two strides, and what a stride waits for: two snapshots.
const JOURNAL_MOST: u64 = 2 * 4096 + 1024;

/// What a count is held to.
enum Bound {
    NoGrowth,
    AtMost(u64),
}

/// One area of the bucket: its name, how to count it, its bound.
type Area = (&'static str, fn(&Objects) -> u64, Bound);

const AREAS: [Area; 3] = [
    ("data", |o| o.data, Bound::NoGrowth),
    ("lanes", |o| o.lanes, Bound::AtMost(LANES_MOST)),
    ("journal", |o| o.meta, Bound::AtMost(JOURNAL_MOST)),
];

/// Samples of a run.
pub struct Samples {
    budget: u64,
    peak: u64,
    objects: Vec<Objects>,
    looked: Option<Instant>,
}

impl Samples {
    /// None yet. `budget` is the broker's, in bytes.
    pub fn new(budget: u64) -> Samples {
        Samples { budget, peak: 0, objects: Vec::new(), looked: None }
    }

    /// Notes the peak of the process's life so far.
    pub fn take_memory(&mut self, pid: u32) -> Result<()> {
        self.peak = self.peak.max(peak(pid)?);
        Ok(())
    }

    /// Is it time to count objects again?
    pub fn wants_objects(&self) -> bool {
        self.looked.is_none_or(|looked| looked.elapsed() >= OBJECTS_EVERY)
    }

    /// Notes a count.
    pub fn take_objects(&mut self, objects: Objects) {
        self.looked = Some(Instant::now());
        self.objects.push(objects);
    }

    /// The newest, in a few words.
    pub fn line(&self) -> String {
        let Objects { data, lanes, meta, bytes, .. } = self.objects.last().copied().unwrap_or_default();
        let (peak, mib) = (self.peak >> 20, bytes >> 20);
        format!(
            "objects: {data} of data, {lanes} of lanes, {meta} of the journal, {mib} MiB; peak RSS {peak} MiB"
        )
    }

    /// The most of each third of the run, and memory.
    pub fn table(&self) -> String {
        let mut text =
            format!("{:<14}{:>12}{:>12}{:>12}\n", "objects, most", "1st third", "2nd third", "3rd third");
        for (name, count, _) in AREAS {
            let most = self.most(count);
            text += &format!("{name:<14}{:>12}{:>12}{:>12}\n", most[0], most[1], most[2]);
        }
        text + &format!("peak RSS {} MiB, budget {} MiB", self.peak >> 20, self.budget >> 20)
    }

    /// What is wrong.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.peak > self.budget + ABOVE_BUDGET {
            complaints.push(format!("{} MiB resident, budget {} MiB", self.peak >> 20, self.budget >> 20));
        }
        for (name, count, bound) in AREAS {
            let [first, second, third] = self.most(count);
            match bound {
                Bound::NoGrowth if third > (second as f64 * GROWTH_MAX) as u64 + GROWTH_FREE => {
                    complaints.push(format!("objects of {name} grow: {second}, then {third}"));
                }
                Bound::AtMost(most) if first.max(second).max(third) > most => {
                    complaints.push(format!("more than {most} objects of {name}"));
                }
                Bound::NoGrowth | Bound::AtMost(_) => {}
            }
        }
        complaints
    }

    fn most(&self, count: fn(&Objects) -> u64) -> [u64; 3] {
        let third = self.objects.len().div_ceil(3).max(1);
        let mut thirds = self.objects.chunks(third).map(|chunk| chunk.iter().map(count).max().unwrap_or(0));
        std::array::from_fn(|_| thirds.next().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(data: &[u64]) -> Samples {
        let mut samples = Samples::new(100 << 20);
        for data in data {
            samples.take_objects(Objects { data: *data, ..Objects::default() });
        }
        samples
    }

    #[test]
    fn growth_in_the_last_third_is_told_and_a_first_rise_is_not() {
        assert_eq!(samples(&[0, 10, 900, 1000, 1100, 1200]).complaints(), [""; 0]);
        let grown = samples(&[0, 10, 900, 1000, 1100, 1301]).complaints();
        assert_eq!(grown, ["objects of data grow: 1000, then 1301"]);
        assert_eq!(samples(&[5]).most(|o| o.data), [5, 0, 0]);
        let mut samples = samples(&[]);
        samples.take_objects(Objects { meta: JOURNAL_MOST + 1, ..Objects::default() });
        assert_eq!(samples.complaints(), ["more than 9216 objects of journal"]);
    }

    #[test]
    fn memory_is_held_to_budget_and_a_margin() {
        let mut samples = samples(&[1]);
        samples.peak = 164 << 20;
        assert_eq!(samples.complaints(), [""; 0]);
        samples.peak += 1;
        assert_eq!(samples.complaints(), ["164 MiB resident, budget 100 MiB"]);
    }
}
