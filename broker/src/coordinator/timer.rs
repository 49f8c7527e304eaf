//! The deadlines of one shard. Pure: time is an argument.

use std::collections::{BTreeSet, HashMap};

use super::group::TimerKey;

/// Deadlines by key and in order; milliseconds of the coordinator's own clock.
#[derive(Debug, Default)]
pub struct Timers {
    by_key: HashMap<TimerKey, i64>,
    in_order: BTreeSet<(i64, TimerKey)>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub fn schedule(&mut self, key: TimerKey, deadline_ms: i64) {
        self.cancel(&key);
        self.in_order.insert((deadline_ms, key.clone()));
        self.by_key.insert(key, deadline_ms);
    }

    /// Forgets a key.
    pub fn cancel(&mut self, key: &TimerKey) {
        if let Some(deadline) = self.by_key.remove(key) {
            self.in_order.remove(&(deadline, key.clone()));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<i64> {
        self.in_order.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the earliest key if its deadline has come.
    pub fn expired(&mut self, now_ms: i64) -> Option<TimerKey> {
        if self.next()? > now_ms {
            return None;
        }
        let (_, key) = self.in_order.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// Moves every deadline: time in which members could not be heard does not count against them (SAFETY L10).
    pub fn postpone(&mut self, by_ms: i64) {
        self.in_order = std::mem::take(&mut self.in_order).into_iter().map(|(d, k)| (d + by_ms, k)).collect();
        self.by_key.values_mut().for_each(|deadline| *deadline += by_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> TimerKey {
        TimerKey::Join { group_id: name.into() }
    }

    #[test]
    fn deadlines_come_in_order_once_and_can_be_moved_or_forgotten() {
        let mut timers = Timers::default();
        for (name, at) in [("a", 30), ("b", 10), ("c", 20), ("d", 5)] {
            timers.schedule(key(name), at);
        }
        timers.schedule(key("b"), 40);
        timers.cancel(&key("d"));
        assert_eq!(timers.next(), Some(20));
        assert_eq!(timers.expired(19), None);
        assert_eq!(timers.expired(30), Some(key("c")));
        assert_eq!(timers.expired(30), Some(key("a")));
        assert_eq!(timers.expired(30), None);
        timers.postpone(100);
        assert_eq!(timers.next(), Some(140));
        assert_eq!(timers.expired(140), Some(key("b")));
        assert_eq!(timers.next(), None);
    }
}
