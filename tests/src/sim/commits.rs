//! What members of a group committed and were told of it, judged: a committed offset, once acknowledged, is never seen to go
//! back, nor a generation; nobody is told of an offset that was not committed. Pure.
//!
//! A commit without an answer may have taken effect or not, and may do so late (a process that was stopped reads its sockets
//! when it goes on): its offset is one that may be found, from then on.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Event, Violation};

/// Folds in one event after the other.
#[derive(Default)]
pub(super) struct CommitJudge {
    sent: BTreeSet<(i32, i64)>,
    acknowledged: BTreeSet<(i32, i64)>,
    generation: BTreeMap<u32, i32>,
    newest: i32,
}

impl CommitJudge {
    /// What `event` breaks.
    pub(super) fn see(&mut self, event: &Event) -> Option<Violation> {
        match *event {
            Event::CommitSent { partition, offset } => {
                self.sent.insert((partition, offset));
                None
            }
            Event::CommitAcknowledged { partition, offset } => {
                self.acknowledged.insert((partition, offset));
                None
            }
            Event::OffsetFetched { partition, offset, acknowledged } => {
                let was_sent = offset == -1 || self.sent.contains(&(partition, offset));
                let in_doubt = was_sent && offset >= 0 && !self.acknowledged.contains(&(partition, offset));
                let good = was_sent && (offset >= acknowledged || in_doubt);
                (!good).then_some(Violation::CommitLost { partition, acknowledged, fetched: offset })
            }
            Event::Generation { member, generation } => {
                let known = self.generation.insert(member, generation).unwrap_or(-1).max(self.newest);
                self.newest = self.newest.max(generation);
                (generation < known).then_some(Violation::GenerationBack { from: known, to: generation })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::check;
    use super::*;

    fn sent(offset: i64) -> Event {
        Event::CommitSent { partition: 0, offset }
    }

    fn acknowledged(offset: i64) -> Event {
        Event::CommitAcknowledged { partition: 0, offset }
    }

    fn fetched(offset: i64, acknowledged: i64) -> Event {
        Event::OffsetFetched { partition: 0, offset, acknowledged }
    }

    #[test]
    fn an_acknowledged_commit_is_found() {
        assert_eq!(check(&[fetched(-1, -1), sent(1), acknowledged(1), fetched(1, 1)]), []);
        let lost = [sent(1), acknowledged(1), sent(2), acknowledged(2), fetched(1, 2)];
        assert_eq!(check(&lost), [Violation::CommitLost { partition: 0, acknowledged: 2, fetched: 1 }]);
        assert_eq!(check(&[sent(1), acknowledged(1), fetched(-1, 1)]).len(), 1);
    }

    #[test]
    fn a_commit_in_doubt_may_be_found_or_not_and_nothing_else_may() {
        assert_eq!(check(&[sent(1), acknowledged(1), sent(2), fetched(1, 1), fetched(2, 1)]), []);
        assert_eq!(check(&[sent(1), fetched(7, -1)]).len(), 1, "never committed");
    }

    #[test]
    fn generations_do_not_go_back() {
        let at = |member, generation| Event::Generation { member, generation };
        assert_eq!(check(&[at(0, 3), at(1, 3), at(0, 4)]), []);
        assert_eq!(check(&[at(0, 4), at(1, 3)]), [Violation::GenerationBack { from: 4, to: 3 }]);
    }
}
