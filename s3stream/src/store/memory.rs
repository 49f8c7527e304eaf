//! A store in this process's memory: for tests, and for `memory://`. Honest, instant and gone with the process; faults are
//! the simulation's business (`sim`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Listed, PutNew, PutPayload, Space, Store, StoreError, StoreTraits, Tail, slice_range, slice_tail,
};

/// Objects in a map. Clones are the same store.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    traits: Arc<StoreTraits>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        let traits = StoreTraits {
            name: "memory://".into(),
            directory: false,
            puts_in_flight: 8,
            puts_per_second_max: None,
            hedge: true,
            deletes_at_once: 1,
            free_min: None,
        };
        MemoryStore { objects: Arc::default(), traits: Arc::new(traits) }
    }

    /// Overwrites or creates an object: damage, for tests of what is read.
    pub fn overwrite(&self, key: &str, body: Bytes) {
        self.objects.lock().insert(key.to_owned(), body);
    }

    /// Bytes of all objects.
    pub fn total_bytes(&self) -> u64 {
        self.objects.lock().values().map(|body| body.len() as u64).sum()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put_new(&self, key: &str, body: PutPayload, _timeout: Duration) -> PutNew {
        // A copy: slices of the caller's memory would keep all of that.
        let mut copy = Vec::with_capacity(body.content_length());
        body.iter().for_each(|part| copy.extend_from_slice(part));
        let mut objects = self.objects.lock();
        if objects.contains_key(key) {
            return PutNew::Exists;
        }
        objects.insert(key.to_owned(), copy.into());
        PutNew::Created
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.objects.lock().get(key).cloned())
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        self.objects.lock().get(key).map(|body| slice_range(key, body, range)).transpose()
    }

    async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError> {
        Ok(self.objects.lock().get(key).map(|body| slice_tail(body, len)))
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.objects.lock().get(key).map(|body| body.len() as u64))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let objects = self.objects.lock();
        let from = objects.range(prefix.to_owned()..);
        let under = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(under.map(|(key, body)| Listed { key: key.clone(), len: body.len() as u64 }).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.objects.lock().remove(key);
        Ok(())
    }

    async fn space(&self) -> Result<Option<Space>, StoreError> {
        Ok(None)
    }

    fn traits(&self) -> &StoreTraits {
        &self.traits
    }
}
