//! The stores of a cluster, as readers use them: by id, and with slow GETs sent twice.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::ids::StoreId;
use crate::store::hedge::{HedgeCounts, Hedges};
use crate::store::{Store, StoreError};

/// The stores of the cluster, by id. Clones are the same stores.
#[derive(Clone, Debug, Default)]
pub struct Stores(BTreeMap<StoreId, Entry>);

#[derive(Clone, Debug)]
struct Entry {
    store: Arc<dyn Store>,
    /// What is known of its GETs. A directory has none: a disk that is slow gets no faster by being asked twice.
    hedges: Option<Arc<Hedges>>,
}

impl Stores {
    /// No stores.
    pub fn new() -> Stores {
        Stores::default()
    }

    /// With one more.
    pub fn with(mut self, id: StoreId, store: Arc<dyn Store>) -> Stores {
        let hedges = (!store.traits().directory).then(|| Arc::new(Hedges::new()));
        self.0.insert(id, Entry { store, hedges });
        self
    }

    /// Are all of them directories, of which the kernel's page cache holds what is read again?
    pub(super) fn are_directories(&self) -> bool {
        self.0.values().all(|entry| entry.store.traits().directory)
    }

    /// The store of that id, if this process has it.
    pub fn get(&self, id: StoreId) -> Option<&Arc<dyn Store>> {
        self.0.get(&id).map(|entry| &entry.store)
    }

    /// The answer of one GET at that store, `call`, which is sent twice where it is slow and `room` gives something to hold
    /// meanwhile ([`Hedges::get`]). `bytes` is about what it brings.
    ///
    /// # Errors
    /// The call's.
    pub(crate) async fn hedged<T, F, P>(
        &self,
        id: StoreId,
        bytes: u64,
        room: impl FnOnce() -> Option<P>,
        call: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        match self.0.get(&id).and_then(|entry| entry.hedges.as_ref()) {
            Some(hedges) => hedges.get(bytes, room, call).await,
            None => call().await,
        }
    }

    /// Hedges of all stores.
    pub(super) fn hedges(&self) -> HedgeCounts {
        let all = self.0.values().filter_map(|entry| entry.hedges.as_ref());
        all.fold(HedgeCounts::default(), |sum, hedges| sum + hedges.counts())
    }
}
