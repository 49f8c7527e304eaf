//! Transactions as the cleaner meets them: which data is aborted, which markers have lost all they ended.
//!
//! Owns: the state that walks along with either pass, one instance per pass. Does not own the list of aborted transactions:
//! the shell gives it, from the attachments of the range that is read (each marker's says which aborted transaction it
//! ended), reading on behind the range's end until an LSO after a marker reaches that end; or, for records still in
//! memory, from the partition's state. It may come piece by piece, as long as a transaction is known before the first batch
//! at or above its first offset is passed, and may hold transactions of which neither data nor marker is left: where one
//! ended is known by its offset, too. (Kafka: `CleanedTransactionMetadata`, which trusts in the marker alone.)

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use protocol::control_batch::{EndTransaction, parse_control_batch};
use protocol::record_batch::{Batch, BatchError};

/// A transaction that was aborted (Kafka: `AbortedTxn`). Ordered by first offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbortedTransaction {
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of its marker.
    pub last_offset: i64,
    /// Whose.
    pub producer_id: i64,
}

struct Ongoing {
    transaction: AbortedTransaction,
    data_seen: bool,
}

/// See the module. Memory grows with the transactions of the range that are aborted and the producers with one open.
#[derive(Default)]
pub struct CleanedTransactions {
    /// Those whose first offset is not reached yet.
    ahead: BinaryHeap<Reverse<AbortedTransaction>>,
    aborted: HashMap<i64, Ongoing>,
    committed: HashSet<i64>,
    retained: Vec<AbortedTransaction>,
}

impl CleanedTransactions {
    /// The state before the first batch; the aborted transactions that overlap the range to be passed, in any order.
    pub fn new(aborted: impl IntoIterator<Item = AbortedTransaction>) -> CleanedTransactions {
        let mut transactions = CleanedTransactions::default();
        transactions.add_aborted(aborted);
        transactions
    }

    /// More of them, before the first batch of any is passed.
    pub fn add_aborted(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        self.ahead.extend(aborted.into_iter().map(Reverse));
    }

    /// Passes a batch of data. True if it belongs to an aborted transaction: nobody is to read it.
    pub fn on_batch(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        self.reach(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        // Its marker may be gone while the list still has it: what follows is another transaction's.
        let ongoing = self.aborted.get_mut(&header.producer_id);
        match ongoing.filter(|ongoing| header.base_offset < ongoing.transaction.last_offset) {
            Some(ongoing) => {
                ongoing.data_seen = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Passes a control batch. True if what it is for is gone: a marker without data before it, or a batch that was emptied
    /// by an earlier round.
    pub fn on_control_batch(&mut self, batch: &Batch) -> Result<bool, BatchError> {
        let header = batch.header();
        self.reach(header.last_offset());
        if header.record_count == 0 {
            return Ok(true);
        }
        // A control record of another type is not ours to judge: it stays.
        let Some(marker) = parse_control_batch(batch)? else { return Ok(false) };
        Ok(match marker.kind {
            EndTransaction::Abort => match self.aborted.remove(&header.producer_id) {
                Some(ongoing) if ongoing.data_seen => {
                    self.retained.push(ongoing.transaction);
                    false
                }
                _ => true,
            },
            EndTransaction::Commit => !self.committed.remove(&header.producer_id),
        })
    }

    /// The aborted transactions that readers of the cleaned range still have to know (Kafka's cleaned index): those of which
    /// data was met before their marker. That data goes in this round, so the next one forgets them.
    pub fn retained(&self) -> &[AbortedTransaction] {
        &self.retained
    }

    fn reach(&mut self, offset: i64) {
        while let Some(Reverse(next)) = self.ahead.peek().copied() {
            if next.first_offset > offset {
                break;
            }
            self.ahead.pop();
            // An earlier one of the same producer, if its marker was not met, is over by now.
            self.aborted.insert(next.producer_id, Ongoing { transaction: next, data_seen: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_cleaner::samples::{control, marker, parse, plain, transactional};

    fn aborted(producer_id: i64, first_offset: i64, last_offset: i64) -> AbortedTransaction {
        AbortedTransaction { first_offset, last_offset, producer_id }
    }

    #[test]
    fn data_is_aborted_between_first_offset_and_marker() {
        let mut t = CleanedTransactions::new([aborted(1, 20, 23), aborted(1, 2, 5)]);
        assert!(!t.on_batch(&parse(plain(0, &[("a", Some("1"))]))), "not transactional");
        assert!(t.on_batch(&parse(transactional(1, 2, &[("a", Some("1"))]))));
        assert!(!t.on_batch(&parse(transactional(2, 3, &[("a", Some("1"))]))), "another producer");
        assert_eq!(t.on_control_batch(&parse(marker(1, 5, EndTransaction::Abort))), Ok(false), "has data");
        assert!(!t.on_batch(&parse(transactional(1, 6, &[("a", Some("1"))]))), "the next one commits");
        assert_eq!(t.on_control_batch(&parse(marker(1, 7, EndTransaction::Commit))), Ok(false));
        assert_eq!(t.on_control_batch(&parse(marker(2, 8, EndTransaction::Commit))), Ok(false));
        assert!(t.on_batch(&parse(transactional(1, 20, &[("a", Some("1"))]))));
        assert_eq!(t.retained(), [aborted(1, 2, 5)]);
    }

    #[test]
    fn markers_without_data_can_go() {
        let mut t = CleanedTransactions::new([aborted(1, 0, 4)]);
        t.add_aborted([aborted(3, 7, 12)]);
        for (what, batch, can_go) in [
            ("abort, known, no data left", marker(1, 4, EndTransaction::Abort), true),
            ("abort, not known", marker(2, 5, EndTransaction::Abort), true),
            ("commit without data", marker(2, 6, EndTransaction::Commit), true),
            ("another control record", control(2, 7, &[0, 0, 0, 2]), false),
            ("emptied before", protocol::batch_builder::emptied(parse(control(2, 8, &[])).header()), true),
        ] {
            assert_eq!(t.on_control_batch(&parse(batch)), Ok(can_go), "{what}");
        }
        assert_eq!(t.retained(), []);
        assert!(t.on_batch(&parse(transactional(3, 9, &[("a", None)]))), "reached by what lies between");
    }

    #[test]
    fn a_transaction_whose_marker_is_gone_is_over_at_its_end() {
        let mut t = CleanedTransactions::new([aborted(1, 0, 1), aborted(1, 20, 23)]);
        assert!(!t.on_batch(&parse(transactional(1, 5, &[("a", Some("1"))]))));
        assert_eq!(t.on_control_batch(&parse(marker(1, 6, EndTransaction::Commit))), Ok(false));
        assert!(t.on_batch(&parse(transactional(1, 20, &[("a", Some("1"))]))));
        let mut t = CleanedTransactions::new([aborted(1, 0, 1)]);
        assert!(t.on_batch(&parse(transactional(1, 0, &[("a", Some("1"))]))));
        assert!(!t.on_batch(&parse(transactional(1, 2, &[("a", Some("1"))]))));
    }

    #[test]
    fn a_torn_marker_is_an_error() {
        let batch = parse(control(1, 0, &[0, 0, 0]));
        assert!(CleanedTransactions::default().on_control_batch(&batch).is_err());
    }
}
