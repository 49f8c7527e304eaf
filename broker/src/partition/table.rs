//! The partitions this broker leads, found by topic name, topic id and stream. One immutable table, swapped whole when the
//! metadata image changes: handlers load it once per request and never lock.

use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::HashMap;
use uuid::Uuid;

use super::Partition;
use crate::config::topic::TopicConfig;

/// A topic with its partitions by index. A partition led elsewhere is absent from `partitions`.
#[derive(Clone)]
pub struct Topic {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: Arc<str>,
    /// Its configuration, shared with its partitions.
    pub config: Arc<ArcSwap<TopicConfig>>,
    /// Its partitions, by index.
    pub partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// The partition of that index.
    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        usize::try_from(index).ok().and_then(|i| self.partitions.get(i))
    }
}

/// All of them.
#[derive(Clone, Default)]
pub struct PartitionTable {
    by_name: HashMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl PartitionTable {
    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics, in no order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Adds a topic, or puts one with more partitions in its place.
    pub fn insert(&mut self, topic: Arc<Topic>) {
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    /// Removes a topic and gives it back.
    pub fn remove(&mut self, id: Uuid) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        // A topic of the same name may have been created since.
        if self.by_name.get(&topic.name).is_some_and(|t| t.id == id) {
            self.by_name.remove(&topic.name);
        }
        Some(topic)
    }
}
