//! The verdict: what was acknowledged, what the tail saw and what the log holds must be one history.
//!
//! A log may have lost its beginning to retention; the tail, which saw it, stands for it. Numbers of a partition are sent in ascending order by an idempotent producer, so the log must hold ascending
//! numbers, each at most once, and every acknowledged one. A number that was sent and never reported may be there or
//! not. Pure: values in, counts out.

use std::collections::HashMap;

/// One partition's records, in the order seen: (offset, number).
pub type Sequence = Vec<(i64, u64)>;

/// What is left of one partition.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The log start: what is below it went by retention.
    pub start: i64,
    /// What was read from there on.
    pub records: Sequence,
}

/// What the producer knows of one partition.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    /// Acknowledged numbers with the offset reported; negative where the report had none (a batch whose answer was
    /// lost and whose retry was told DUPLICATE_SEQUENCE_NUMBER).
    pub acknowledged: Vec<(u64, i64)>,
    /// Records reported as failed.
    pub failed: u64,
}

/// Violations of one partition; all zero is the only pass.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Violations {
    /// Acknowledged, not in the log.
    pub lost: u64,
    /// Acknowledged at an offset that holds another number.
    pub moved: u64,
    /// In the log more than once.
    pub doubled: u64,
    /// In the log after a higher number.
    pub reordered: u64,
    /// Offsets the log's reader was not given.
    pub holes: u64,
    /// Offsets the tail was not given.
    pub skipped: u64,
    /// Offsets the tail was given again.
    pub repeated: u64,
    /// Offsets at which the tail saw another number than the log holds.
    pub changed: u64,
    /// Records the producer gave up.
    pub failed: u64,
}

impl Violations {
    /// Names and counts, in the order of the table.
    pub fn fields(&self) -> [(&'static str, u64); 9] {
        [
            ("lost", self.lost),
            ("moved", self.moved),
            ("doubled", self.doubled),
            ("reordered", self.reordered),
            ("holes", self.holes),
            ("skipped", self.skipped),
            ("repeated", self.repeated),
            ("changed", self.changed),
            ("failed", self.failed),
        ]
    }

    /// Judges one partition.
    pub fn of(produced: &Produced, tail: &Sequence, log: &Log) -> Violations {
        let mut found = Violations { failed: produced.failed, ..Violations::default() };
        let before = tail.iter().filter(|(offset, _)| *offset < log.start);
        let mut by_number: HashMap<u64, i64> = HashMap::new();
        let mut highest = None;
        for (offset, number) in before.clone().chain(&log.records) {
            if by_number.insert(*number, *offset).is_some() {
                found.doubled += 1;
            } else if highest.is_some_and(|highest| *number < highest) {
                found.reordered += 1;
            }
            highest = highest.max(Some(*number));
        }
        found.holes = gaps(&log.records, log.start).0;
        let at_offset: HashMap<i64, u64> = before.chain(&log.records).copied().collect();
        for (number, offset) in &produced.acknowledged {
            if !by_number.contains_key(number) {
                found.lost += 1;
            } else if *offset >= 0 && at_offset.get(offset) != Some(number) {
                found.moved += 1;
            }
        }
        (found.skipped, found.repeated) = gaps(tail, 0);
        let log_end = log.records.last().map_or(log.start, |(offset, _)| offset + 1);
        let tail_end = tail.last().map_or(0, |(offset, _)| offset + 1);
        found.skipped += (log_end - tail_end).max(0) as u64;
        found.changed =
            tail.iter().filter(|(offset, number)| at_offset.get(offset) != Some(number)).count() as u64;
        found
    }
}

/// Offsets left out and offsets seen again in what should be `next`, `next` + 1 …
fn gaps(sequence: &Sequence, mut next: i64) -> (u64, u64) {
    let (mut missing, mut again) = (0, 0);
    for (offset, _) in sequence {
        if *offset < next {
            again += 1;
        } else {
            missing += (offset - next) as u64;
            next = offset + 1;
        }
    }
    (missing, again)
}

/// The judgement of a whole run.
#[derive(Debug)]
pub struct Verdict {
    /// Per partition: records acknowledged, in the log, violations.
    partitions: Vec<(usize, usize, Violations)>,
}

/// Judges every partition.
pub fn check(produced: &[Produced], tail: &[Sequence], log: &[Log]) -> Verdict {
    let judge = |((produced, tail), log): ((&Produced, &Sequence), &Log)| {
        (produced.acknowledged.len(), log.records.len(), Violations::of(produced, tail, log))
    };
    Verdict { partitions: produced.iter().zip(tail).zip(log).map(judge).collect() }
}

impl Verdict {
    /// Checks without a violation; a check is one column of one partition.
    pub fn passed(&self) -> usize {
        self.checks().filter(|count| *count == 0).count()
    }

    /// Checks with one.
    pub fn failed(&self) -> usize {
        self.checks().filter(|count| *count > 0).count()
    }

    /// Records acknowledged, all partitions together.
    pub fn acknowledged(&self) -> usize {
        self.partitions.iter().map(|(acknowledged, _, _)| acknowledged).sum()
    }

    /// Records left in the log, all partitions together.
    pub fn kept(&self) -> usize {
        self.partitions.iter().map(|(_, kept, _)| kept).sum()
    }

    /// Names of the violations with their counts over all partitions; those that are zero are left out.
    pub fn complaints(&self) -> Vec<String> {
        let mut sums = Violations::default().fields();
        for (_, _, violations) in &self.partitions {
            for (sum, (_, count)) in sums.iter_mut().zip(violations.fields()) {
                sum.1 += count;
            }
        }
        sums.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect()
    }

    fn checks(&self) -> impl Iterator<Item = u64> {
        self.partitions.iter().flat_map(|(_, _, violations)| violations.fields().map(|(_, count)| count))
    }

    /// A row per partition.
    pub fn table(&self) -> String {
        let names = Violations::default().fields().map(|(name, _)| format!("{name:>11}")).concat();
        let mut text = format!("partition  acknowledged  in the log{names}\n");
        for (partition, (acknowledged, kept, violations)) in self.partitions.iter().enumerate() {
            let counts = violations.fields().map(|(_, count)| format!("{count:>11}")).concat();
            text += &format!("{partition:>9}  {acknowledged:>12}  {kept:>10}{counts}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(acknowledged: &[(u64, i64)], tail: &[(i64, u64)], log: &[(i64, u64)]) -> Violations {
        judge_from(0, acknowledged, tail, log)
    }

    fn judge_from(
        start: i64,
        acknowledged: &[(u64, i64)],
        tail: &[(i64, u64)],
        log: &[(i64, u64)],
    ) -> Violations {
        let produced = Produced { acknowledged: acknowledged.to_vec(), failed: 0 };
        Violations::of(&produced, &tail.to_vec(), &Log { start, records: log.to_vec() })
    }

    #[test]
    fn what_retention_took_the_tail_has_seen() {
        let none = Violations::default;
        let tail = [(0, 0), (1, 1), (2, 2), (3, 3)];
        let acknowledged = [(0, 0), (1, -1), (2, 2), (3, 3)];
        assert_eq!(judge_from(2, &acknowledged, &tail, &[(2, 2), (3, 3)]), none());
        assert_eq!(judge_from(4, &acknowledged, &tail, &[]), none());
        assert_eq!(
            judge_from(4, &acknowledged, &tail[..3], &[]),
            Violations { skipped: 1, lost: 1, ..none() }
        );
        assert_eq!(judge_from(2, &[], &tail, &[(3, 3)]), Violations { holes: 1, changed: 1, ..none() });
        // A record that went by retention and is in the log again.
        let again = [(0, 0), (1, 1), (2, 1)];
        assert_eq!(judge_from(2, &[], &again, &[(2, 1)]), Violations { doubled: 1, ..none() });
    }

    #[test]
    fn one_history_in_three_views_is_clean() {
        let log = [(0, 0), (1, 1), (2, 5)];
        // Number 5 was written and never reported; 1 was reported without an offset.
        assert_eq!(judge(&[(0, 0), (1, -1)], &log, &log), Violations::default());
        assert_eq!(judge(&[], &[], &[]), Violations::default());
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let log = [(0, 0), (1, 1), (2, 2)];
        let none = Violations::default;
        assert_eq!(judge(&[(7, 7)], &log, &log), Violations { lost: 1, ..none() });
        assert_eq!(judge(&[(1, 2)], &log, &log), Violations { moved: 1, ..none() });
        let doubled = [(0, 0), (1, 1), (2, 1)];
        assert_eq!(judge(&[], &doubled, &doubled), Violations { doubled: 1, ..none() });
        let reordered = [(0, 0), (1, 2), (2, 1)];
        assert_eq!(judge(&[], &reordered, &reordered), Violations { reordered: 1, ..none() });
        assert_eq!(judge(&[], &log, &[(0, 0), (2, 2)]), Violations { holes: 1, changed: 1, ..none() });
        assert_eq!(judge(&[], &[(0, 0), (2, 2)], &log), Violations { skipped: 1, ..none() });
        assert_eq!(judge(&[], &[(0, 0), (1, 1)], &log), Violations { skipped: 1, ..none() });
        assert_eq!(judge(&[], &[], &log), Violations { skipped: 3, ..none() });
        let again = [(0, 0), (1, 1), (1, 1), (2, 2)];
        assert_eq!(judge(&[], &again, &log), Violations { repeated: 1, ..none() });
        assert_eq!(judge(&[], &[(0, 0), (1, 9), (2, 2)], &log), Violations { changed: 1, ..none() });
    }
}
