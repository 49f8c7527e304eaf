//! The offsets that groups committed, and those that open transactions will commit: the store and its replay.
//!
//! Owns no decision: `commit.rs` decides, `shard.rs` replays. Hard state all of it: it is what the offset records of
//! the partition and the markers between them say, in the order of the log.
//!
//! A pending offset becomes the committed one when its transaction commits, unless a commit outside of transactions
//! came *after* it: the later record wins, as it does for a reader of the log (`OffsetMetadataManager
//! .replayEndTransactionMarker`). Kafka compares record offsets; here each replayed record has a number, which orders
//! them alike.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{OffsetAndMetadata, OffsetKey};

#[derive(Debug, Clone)]
struct Stored {
    value: OffsetAndMetadata,
    /// Its place among all replayed records.
    number: u64,
}

/// Offsets by group, topic, partition.
#[derive(Debug, Default)]
struct OffsetMap(BTreeMap<String, BTreeMap<String, BTreeMap<i32, Stored>>>);

impl OffsetMap {
    fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&Stored> {
        self.0.get(group_id)?.get(topic)?.get(&partition)
    }

    fn put(&mut self, key: &OffsetKey, stored: Stored) {
        let topics = self.0.entry(key.group_id.clone()).or_default();
        topics.entry(key.topic.clone()).or_default().insert(key.partition, stored);
    }

    fn remove(&mut self, key: &OffsetKey) {
        let Some(topics) = self.0.get_mut(&key.group_id) else { return };
        let Some(partitions) = topics.get_mut(&key.topic) else { return };
        partitions.remove(&key.partition);
        if partitions.is_empty() {
            topics.remove(&key.topic);
        }
        if topics.is_empty() {
            self.0.remove(&key.group_id);
        }
    }

    fn of_group(&self, group_id: &str) -> impl Iterator<Item = (&str, i32, &Stored)> {
        let topics = self.0.get(group_id).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(&partition, stored)| (topic.as_str(), partition, stored))
        })
    }
}

/// All offsets of a shard.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    committed: OffsetMap,
    /// By producer id.
    pending: BTreeMap<i64, OffsetMap>,
    /// Producers with pending offsets in a group.
    open_by_group: BTreeMap<String, BTreeSet<i64>>,
    replayed: u64,
}

impl Offsets {
    /// A record of an offset; of a transaction if `producer_id` says so. A tombstone also removes what is pending.
    pub(super) fn replay(
        &mut self,
        producer_id: Option<i64>,
        key: &OffsetKey,
        value: Option<&OffsetAndMetadata>,
    ) {
        self.replayed += 1;
        let Some(value) = value else {
            self.committed.remove(key);
            if let Some(producers) = self.open_by_group.get_mut(&key.group_id) {
                producers.retain(|producer_id| {
                    let Some(pending) = self.pending.get_mut(producer_id) else { return false };
                    pending.remove(key);
                    pending.0.contains_key(&key.group_id)
                });
                if producers.is_empty() {
                    self.open_by_group.remove(&key.group_id);
                }
            }
            return;
        };
        let stored = Stored { value: value.clone(), number: self.replayed };
        match producer_id {
            None => self.committed.put(key, stored),
            Some(producer_id) => {
                self.pending.entry(producer_id).or_default().put(key, stored);
                self.open_by_group.entry(key.group_id.clone()).or_default().insert(producer_id);
            }
        }
    }

    /// The end of a producer's transaction; returns the groups that it had offsets for.
    pub(super) fn replay_marker(&mut self, producer_id: i64, committed: bool) -> Vec<String> {
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        let group_ids: Vec<String> = pending.0.keys().cloned().collect();
        self.open_by_group.retain(|_, producers| {
            producers.remove(&producer_id);
            !producers.is_empty()
        });
        if !committed {
            return group_ids;
        }
        for (group_id, topics) in pending.0 {
            for (topic, partitions) in topics {
                for (partition, stored) in partitions {
                    let key = OffsetKey { group_id: group_id.clone(), topic: topic.clone(), partition };
                    let existing = self.committed.get(&key.group_id, &key.topic, partition);
                    if existing.is_none_or(|existing| existing.number < stored.number) {
                        self.committed.put(&key, stored);
                    }
                }
            }
        }
        group_ids
    }

    pub(super) fn committed(
        &self,
        group_id: &str,
        topic: &str,
        partition: i32,
    ) -> Option<&OffsetAndMetadata> {
        self.committed.get(group_id, topic, partition).map(|stored| &stored.value)
    }

    /// Whether an open transaction may still change this offset.
    pub(super) fn is_pending(&self, group_id: &str, topic: &str, partition: i32) -> bool {
        let producers = self.open_by_group.get(group_id).into_iter().flatten();
        producers
            .filter_map(|id| self.pending.get(id))
            .any(|pending| pending.get(group_id, topic, partition).is_some())
    }

    /// Whether the group has an offset, committed or pending.
    pub(super) fn has_any(&self, group_id: &str) -> bool {
        self.committed.0.contains_key(group_id) || self.open_by_group.contains_key(group_id)
    }

    /// Whether a transaction that touches the group is open.
    pub(super) fn has_open_transactions(&self, group_id: &str) -> bool {
        self.open_by_group.contains_key(group_id)
    }

    /// (topic, partition, offset), in that order.
    pub(super) fn committed_of(
        &self,
        group_id: &str,
    ) -> impl Iterator<Item = (&str, i32, &OffsetAndMetadata)> {
        let committed = self.committed.of_group(group_id);
        committed.map(|(topic, partition, stored)| (topic, partition, &stored.value))
    }

    /// Keys of all offsets of a group, committed or pending, each once.
    pub(super) fn keys_of(&self, group_id: &str) -> BTreeSet<(String, i32)> {
        let producers = self.open_by_group.get(group_id).into_iter().flatten();
        let pending = producers.filter_map(|id| self.pending.get(id)).flat_map(|map| map.of_group(group_id));
        let all = self.committed.of_group(group_id).chain(pending);
        all.map(|(topic, partition, _)| (topic.to_string(), partition)).collect()
    }

    /// Keys of all offsets of a topic, committed or pending, each once.
    pub(super) fn keys_of_topic(&self, topic: &str) -> BTreeSet<OffsetKey> {
        let maps = std::iter::once(&self.committed).chain(self.pending.values());
        let mut keys = BTreeSet::new();
        for (group_id, topics) in maps.flat_map(|map| &map.0) {
            for &partition in topics.get(topic).into_iter().flat_map(BTreeMap::keys) {
                keys.insert(OffsetKey { group_id: group_id.clone(), topic: topic.to_string(), partition });
            }
        }
        keys
    }

    /// Every offset, committed (`None`) or pending (its producer id), in the order in which their records were replayed:
    /// replaying them so gives the same store, and the same outcome of every marker to come.
    pub(super) fn in_log_order(&self) -> Vec<(Option<i64>, OffsetKey, &OffsetAndMetadata)> {
        let committed = std::iter::once((None, &self.committed));
        let pending = self.pending.iter().map(|(&producer_id, map)| (Some(producer_id), map));
        let mut all = Vec::new();
        for (producer_id, map) in committed.chain(pending) {
            for group_id in map.0.keys() {
                for (topic, partition, stored) in map.of_group(group_id) {
                    let key = OffsetKey { group_id: group_id.clone(), topic: topic.to_string(), partition };
                    all.push((stored.number, producer_id, key, &stored.value));
                }
            }
        }
        all.sort_by_key(|(number, ..)| *number);
        all.into_iter().map(|(_, producer_id, key, value)| (producer_id, key, value)).collect()
    }
}
