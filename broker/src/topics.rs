//! Topics: the shell around `controller::topics`, and the table of partitions that follows the image.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::join_all;
use parking_lot::Mutex;
use protocol::error::ErrorCode;
use s3stream::journal::{Image, MutationPoint};
use uuid::Uuid;

use crate::broker::Broker;
use crate::config::topic::TopicConfig;
use crate::config::topic_keys;
use crate::controller::Refused;
use crate::controller::topics::{CreatedTopic, NewTopic, TopicDefaults, create, delete};
use crate::coordinator::OFFSETS_TOPIC;
use crate::metadata::{ConfigResource, MetadataImage, TopicImage};
use crate::partition::Partition;
use crate::partition::table::Topic;
use s3stream::ids::StreamId;
use s3stream::object::AttachmentEntry;
use s3stream::stream::StreamIndex;

/// Serializes changes of topics in this process, and remembers what the table of partitions was made from.
#[derive(Default)]
pub struct TopicChanges {
    /// Held from judging a change until it is in the image: stream ids are handed out meanwhile.
    pub judging: tokio::sync::Mutex<()>,
    /// The image that the table shows.
    pub shown: Mutex<MetadataImage>,
}

/// Creates topics, each by itself; those that are told as created can be used at once.
pub async fn create_topics(
    broker: &Arc<Broker>,
    topics: Vec<NewTopic>,
    validate_only: bool,
) -> Vec<Result<CreatedTopic, Refused>> {
    let judging = broker.topic_changes.judging.lock().await;
    // Each is judged on what the ones before it leave, and all are proposed at once: one commit for the lot.
    let journal = broker.journal.image();
    let mut image = journal.inner.clone();
    let mut judged = Vec::with_capacity(topics.len());
    for topic in &topics {
        let id = broker.random_uuid();
        let result = create(&image, topic, id, broker.incarnation, broker.topic_defaults());
        if let Ok(created) = &result {
            let at = MutationPoint {
                seq: journal.seq + 1,
                index: 0,
                proposer: Some(broker.incarnation),
                level: journal.level,
            };
            if let Err(illegal) = image.apply(at, &created.records) {
                judged.push(Err(Refused::new(ErrorCode::UnknownServerError, illegal.message)));
                continue;
            }
        }
        judged.push(result);
    }
    if validate_only {
        return judged;
    }
    let proposed = join_all(judged.into_iter().map(|result| async {
        let created = result?;
        broker.propose(created.records.clone()).await.map(|()| created)
    }))
    .await;
    drop(judging);
    show_topics(broker);
    proposed
}

/// Deletes a topic, with its configuration, its committed offsets and its streams.
pub async fn delete_topic(broker: &Arc<Broker>, topic: &TopicImage) -> Result<(), Refused> {
    let judging = broker.topic_changes.judging.lock().await;
    if broker.journal.image().inner.topic_by_id(topic.id).is_none() {
        return Err(Refused::new(ErrorCode::UnknownTopicOrPartition, "The topic is gone already."));
    }
    broker.propose(delete(topic)).await?;
    drop(judging);
    show_topics(broker);
    broker.groups.topic_deleted(broker, &topic.name);
    Ok(())
}

/// Brings the table of partitions up to this process's image. New partitions are empty: what held records was opened at
/// start.
pub fn show_topics(broker: &Arc<Broker>) {
    let mut opened = Vec::new();
    {
        let mut shown = broker.topic_changes.shown.lock();
        let image = broker.journal.image().inner.clone();
        let mut table = (**broker.partitions.load()).clone();
        for change in image.topics_since(&shown) {
            match (change.old, change.new) {
                (old, Some(new)) => {
                    if let Some(old) = old.filter(|old| old.id != new.id) {
                        close(&mut table, old.id);
                    }
                    opened.extend(extend(broker, &image, &mut table, &new));
                }
                (Some(old), None) => close(&mut table, old.id),
                (None, None) => {}
            }
        }
        broker.partitions.store(Arc::new(table));
        *shown = image;
    }
    for partition in opened {
        broker.groups.open(broker, partition);
    }
}

fn close(table: &mut crate::partition::table::PartitionTable, id: Uuid) {
    if let Some(topic) = table.remove(id) {
        topic.partitions.iter().for_each(|p| p.delete());
    }
}

/// Adds the partitions of a topic that the table lacks; gives those whose groups we now coordinate.
fn extend(
    broker: &Broker,
    image: &MetadataImage,
    table: &mut crate::partition::table::PartitionTable,
    topic: &TopicImage,
) -> Vec<Arc<Partition>> {
    let known = table.topic_by_id(topic.id).cloned();
    let config = match &known {
        Some(known) => known.config.clone(),
        None => Arc::new(ArcSwap::from_pointee(effective_config(broker, image, &topic.name))),
    };
    let mut partitions = known.map(|t| t.partitions.clone()).unwrap_or_default();
    let first_new = partitions.len();
    for (index, p) in topic.partitions.iter().enumerate().skip(first_new) {
        let at = (index as i32, p.stream);
        let opened = open_partition(broker, image, topic, at, config.clone(), StreamIndex::new(0), &[]);
        partitions.push(opened);
    }
    let new = partitions[first_new..].to_vec();
    table.insert(Arc::new(Topic { id: topic.id, name: topic.name.clone(), config, partitions }));
    if &*topic.name == OFFSETS_TOPIC { new } else { Vec::new() }
}

/// Opens one partition, `at` index and stream, on what its earlier epochs left: nothing, if it is new.
pub fn open_partition(
    broker: &Broker,
    image: &MetadataImage,
    topic: &TopicImage,
    at: (i32, StreamId),
    config: Arc<ArcSwap<TopicConfig>>,
    mut blocks: StreamIndex,
    attachments: &[AttachmentEntry],
) -> Arc<Partition> {
    let (index, stream) = at;
    let epoch = image.owner(stream).map(|(_, epoch)| epoch).unwrap_or_default();
    blocks.begin_epoch(epoch, broker.lane_ref);
    Partition::open(topic.name.clone(), topic.id, index, stream, epoch, config, blocks, attachments)
}

/// A topic's configuration as it takes effect.
pub fn effective_config(broker: &Broker, image: &MetadataImage, topic: &str) -> TopicConfig {
    let set = image.config(ConfigResource::Topic, topic);
    let overrides = set.iter().flat_map(|set| set.iter()).map(|(k, v)| (k.as_str(), v.as_str()));
    TopicConfig::read(&topic_keys::effective(&broker.config.values, overrides))
}

impl Broker {
    /// What stands in for -1 in a new topic.
    pub fn topic_defaults(&self) -> TopicDefaults {
        TopicDefaults {
            num_partitions: self.config.values.int("num.partitions"),
            replication_factor: self.config.values.int("default.replication.factor") as i16,
        }
    }

    /// A topic that a client asked for by name only.
    pub fn auto_created_topic(&self, name: &str) -> NewTopic {
        let compacted = name == OFFSETS_TOPIC;
        let v = &self.config.values;
        NewTopic {
            name: name.to_string(),
            num_partitions: if compacted { v.int("offsets.topic.num.partitions") } else { -1 },
            replication_factor: if compacted { v.int("offsets.topic.replication.factor") as i16 } else { -1 },
            assignments: Vec::new(),
            configs: if compacted {
                vec![("cleanup.policy".into(), Some("compact".into()))]
            } else {
                Vec::new()
            },
        }
    }
}
