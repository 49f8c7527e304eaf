//! One consumer's waiting place (DESIGN §7, PRACTICE F1). A partition keeps `(interest, slot)` and marks the slot when its
//! high watermark moves; a fetch looks at ready slots only, and is woken once however many were marked.
//!
//! LOCK ORDER: a partition marks under its own mutex; nothing here ever calls a partition.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Slots that have news.
#[derive(Debug, Default)]
pub struct FetchInterest {
    ready: Mutex<Ready>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Ready {
    slots: Vec<u32>,
    marked: Vec<bool>,
    bytes: usize,
}

impl FetchInterest {
    /// An interest in nothing yet.
    pub fn new() -> FetchInterest {
        FetchInterest::default()
    }

    /// `slot` has news: `bytes` more to read, or none (an error, a deletion, a block that was loaded).
    pub fn mark(&self, slot: u32, bytes: usize) {
        let mut ready = self.ready.lock();
        let at = slot as usize;
        if ready.marked.len() <= at {
            ready.marked.resize(at + 1, false);
        }
        if !ready.marked[at] {
            ready.marked[at] = true;
            ready.slots.push(slot);
        }
        ready.bytes += bytes;
        drop(ready);
        self.wake.notify_one();
    }

    /// Takes the slots that were marked since the last call, in the order they were marked.
    pub fn take(&self) -> Vec<u32> {
        let mut ready = self.ready.lock();
        ready.bytes = 0;
        let slots = std::mem::take(&mut ready.slots);
        for slot in &slots {
            ready.marked[*slot as usize] = false;
        }
        slots
    }

    /// Waits until a slot is marked. Cancel-safe: a mark that comes meanwhile is not lost.
    pub async fn changed(&self) {
        loop {
            let wake = self.wake.notified();
            if !self.ready.lock().slots.is_empty() {
                return;
            }
            wake.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_slot_is_ready_once_however_often_it_is_marked() {
        let interest = Arc::new(FetchInterest::new());
        interest.mark(3, 10);
        interest.mark(3, 10);
        interest.mark(0, 1);
        interest.changed().await;
        assert_eq!(interest.take(), [3, 0]);
        assert!(interest.take().is_empty());
        interest.mark(3, 1);
        assert_eq!(interest.take(), [3]);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let interest = Arc::new(FetchInterest::new());
        let waiting = tokio::spawn({
            let interest = interest.clone();
            async move { interest.changed().await }
        });
        tokio::task::yield_now().await;
        interest.mark(0, 1);
        waiting.await.unwrap();
    }
}
