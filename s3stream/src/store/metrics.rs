//! Counts what a store is asked and what that costs: calls, failures, bytes, time. A wrapper, so that every store is
//! counted alike and no store counts itself.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::{Listed, PutNew, PutPayload, Space, Store, StoreError, StoreTraits, Tail};

/// The kinds of calls, as they are billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `put_new`.
    Put,
    /// `get`, `get_range`, `get_tail`.
    Get,
    /// `head`.
    Head,
    /// `list`.
    List,
    /// `delete`.
    Delete,
}

impl Op {
    /// All kinds.
    pub const ALL: [Op; 5] = [Op::Put, Op::Get, Op::Head, Op::List, Op::Delete];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Op::Put => "put",
            Op::Get => "get",
            Op::Head => "head",
            Op::List => "list",
            Op::Delete => "delete",
        }
    }
}

/// One kind of call, summed since the start. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCounts {
    /// Calls that were answered or failed; a dropped call is not counted.
    pub calls: u64,
    /// Of them, without an answer: Unknown, or an error.
    pub unanswered: u64,
    /// Bytes of bodies sent or received.
    pub bytes: u64,
    /// Time from call to answer, summed.
    pub time: Duration,
}

#[derive(Debug, Default)]
struct Cell {
    calls: AtomicU64,
    unanswered: AtomicU64,
    bytes: AtomicU64,
    micros: AtomicU64,
}

/// The counters of one store. Clones are the same counters.
#[derive(Clone, Debug, Default)]
pub struct StoreCounts {
    cells: Arc<[Cell; 5]>,
}

impl StoreCounts {
    /// What was counted for one kind.
    pub fn of(&self, op: Op) -> OpCounts {
        let cell = &self.cells[op as usize];
        OpCounts {
            calls: cell.calls.load(Ordering::Relaxed),
            unanswered: cell.unanswered.load(Ordering::Relaxed),
            bytes: cell.bytes.load(Ordering::Relaxed),
            time: Duration::from_micros(cell.micros.load(Ordering::Relaxed)),
        }
    }

    fn add(&self, op: Op, begun: Instant, answered: bool, bytes: usize) {
        let cell = &self.cells[op as usize];
        cell.calls.fetch_add(1, Ordering::Relaxed);
        cell.unanswered.fetch_add(u64::from(!answered), Ordering::Relaxed);
        cell.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        cell.micros.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
    }
}

/// A store that is counted.
#[derive(Debug)]
pub struct CountedStore {
    inner: Arc<dyn Store>,
    counts: StoreCounts,
}

impl CountedStore {
    /// Counts the calls of `inner`.
    pub fn new(inner: Arc<dyn Store>) -> (Arc<CountedStore>, StoreCounts) {
        let counts = StoreCounts::default();
        (Arc::new(CountedStore { inner, counts: counts.clone() }), counts)
    }

    async fn counted_get(
        &self,
        getting: impl Future<Output = Result<Option<Bytes>, StoreError>>,
    ) -> Result<Option<Bytes>, StoreError> {
        let begun = Instant::now();
        let got = getting.await;
        let bytes = got.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len);
        self.counts.add(Op::Get, begun, got.is_ok(), bytes);
        got
    }
}

#[async_trait]
impl Store for CountedStore {
    async fn put_new(&self, key: &str, body: PutPayload, timeout: Duration) -> PutNew {
        let (begun, bytes) = (Instant::now(), body.content_length());
        let put = self.inner.put_new(key, body, timeout).await;
        self.counts.add(Op::Put, begun, !matches!(put, PutNew::Unknown(_)), bytes);
        put
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.counted_get(self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        self.counted_get(self.inner.get_range(key, range)).await
    }

    async fn get_range_once(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        self.counted_get(self.inner.get_range_once(key, range)).await
    }

    async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError> {
        let begun = Instant::now();
        let got = self.inner.get_tail(key, len).await;
        let bytes = got.as_ref().ok().and_then(Option::as_ref).map_or(0, |tail| tail.bytes.len());
        self.counts.add(Op::Get, begun, got.is_ok(), bytes);
        got
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let begun = Instant::now();
        let got = self.inner.head(key).await;
        self.counts.add(Op::Head, begun, got.is_ok(), 0);
        got
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let begun = Instant::now();
        let got = self.inner.list(prefix).await;
        self.counts.add(Op::List, begun, got.is_ok(), 0);
        got
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let begun = Instant::now();
        let got = self.inner.delete(key).await;
        self.counts.add(Op::Delete, begun, got.is_ok(), 0);
        got
    }

    async fn delete_all(&self, keys: &[String]) -> Vec<Result<(), StoreError>> {
        let begun = Instant::now();
        let got = self.inner.delete_all(keys).await;
        self.counts.add(Op::Delete, begun, got.iter().all(Result::is_ok), 0);
        got
    }

    async fn space(&self) -> Result<Option<Space>, StoreError> {
        self.inner.space().await
    }

    fn traits(&self) -> &StoreTraits {
        self.inner.traits()
    }

    fn keep_read_memory(&self, bytes: usize) {
        self.inner.keep_read_memory(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::store::create::ATTEMPT_BASE;

    #[tokio::test(start_paused = true)]
    async fn calls_and_bytes_are_counted_by_kind() {
        let (store, counts) = CountedStore::new(Arc::new(MemoryStore::new()));
        store.put_new("k", "12345".into(), ATTEMPT_BASE).await;
        store.put_new("k", "67".into(), ATTEMPT_BASE).await;
        store.get("k").await.expect("get");
        store.get("absent").await.expect("get");
        store.get_tail("k", 2).await.expect("get");
        store.get_range("k", 3..9).await.expect_err("outside");
        store.head("k").await.expect("head");
        let of = |op| (counts.of(op).calls, counts.of(op).unanswered, counts.of(op).bytes);
        assert_eq!((of(Op::Put), of(Op::Get), of(Op::Head)), ((2, 0, 7), (4, 1, 7), (1, 0, 0)));
        assert_eq!(counts.of(Op::List), OpCounts::default());
    }
}
