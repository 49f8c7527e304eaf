//! Topics and configuration: the shell around `controller`, and what of this process follows the image: the table of
//! partitions, what topics are configured to, the broker's own values in force.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::join_all;
use parking_lot::Mutex;
use protocol::error::ErrorCode;
use s3stream::journal::{Image, MutationPoint};
use uuid::Uuid;

use crate::broker::Broker;
use crate::config::live::{Layer, Live};
use crate::config::topic::TopicConfig;
use crate::config::{BrokerConfig, topic_keys};
use crate::controller::Refused;
use crate::controller::configs::{Alteration, Altered, Judge};
use crate::controller::partitions::{MorePartitions, add};
use crate::controller::topics::{CreatedTopic, NewTopic, TopicDefaults, check_total, create, delete};
use crate::coordinator::{OFFSETS_TOPIC, TRANSACTION_STATE_TOPIC};
use crate::metadata::{ConfigResource, MetadataImage, MetadataRecord, TopicImage};
use crate::partition::Partition;
use crate::partition::producer_state::ProducerStates;
use crate::partition::table::Topic;
use s3stream::ids::StreamId;
use s3stream::stream::StreamIndex;

/// Serializes changes of topics and configuration in this process, and remembers what the table of partitions was made from.
#[derive(Default)]
pub struct TopicChanges {
    /// Held from judging a change until it is in the image: stream ids are handed out meanwhile.
    pub judging: tokio::sync::Mutex<()>,
    /// The image that the table shows.
    pub shown: Mutex<MetadataImage>,
}

/// What comes before this in one request, folded in: each part is judged on what the ones before it leave, and all are
/// proposed at once, one commit for the lot.
struct Judging {
    image: MetadataImage,
    at: MutationPoint,
}

impl Judging {
    fn begin(broker: &Broker) -> Judging {
        let journal = broker.journal.image();
        let at = MutationPoint {
            seq: journal.seq + 1,
            index: 0,
            proposer: Some(broker.incarnation),
            level: journal.level,
        };
        Judging { image: journal.inner.clone(), at }
    }

    fn fold(&mut self, records: &[MetadataRecord]) -> Result<(), Refused> {
        self.image
            .apply(self.at, records)
            .map_err(|illegal| Refused::new(ErrorCode::UnknownServerError, illegal.message))
    }
}

/// Creates topics, each by itself; those that are told as created can be used at once.
pub async fn create_topics(
    broker: &Arc<Broker>,
    topics: Vec<NewTopic>,
    validate_only: bool,
) -> Vec<Result<CreatedTopic, Refused>> {
    if let Err(refused) = check_total(&topics, broker.topic_defaults()) {
        return topics.iter().map(|_| Err(refused.clone())).collect();
    }
    let lock = broker.topic_changes.judging.lock().await;
    let mut judging = Judging::begin(broker);
    let live = broker.live.load_full();
    let judged: Vec<Result<CreatedTopic, Refused>> = topics
        .iter()
        .map(|topic| {
            let (id, defaults) = (broker.random_uuid(), broker.topic_defaults());
            let created = create(&judging.image, topic, id, broker.incarnation, defaults, &live.values)?;
            judging.fold(&created.records)?;
            Ok(created)
        })
        .collect();
    if validate_only {
        return judged;
    }
    let proposed = join_all(judged.into_iter().map(|result| async {
        let created = result?;
        broker.propose(created.records.clone()).await.map(|()| created)
    }))
    .await;
    drop(lock);
    show(broker);
    proposed
}

/// Gives topics more partitions, each topic by itself; those that are told as created can be used at once.
pub async fn create_partitions(
    broker: &Arc<Broker>,
    requests: &[MorePartitions],
    validate_only: bool,
) -> Vec<Result<(), Refused>> {
    let lock = broker.topic_changes.judging.lock().await;
    let mut judging = Judging::begin(broker);
    let judged: Vec<Result<Vec<MetadataRecord>, Refused>> = requests
        .iter()
        .map(|request| {
            let records = add(&judging.image, request, broker.incarnation)?;
            judging.fold(&records)?;
            Ok(records)
        })
        .collect();
    if validate_only {
        return judged.into_iter().map(|result| result.map(drop)).collect();
    }
    let proposed = propose_all(broker, judged).await;
    drop(lock);
    show(broker);
    proposed
}

/// Deletes topics, with their configuration, their committed offsets and their streams.
pub async fn delete_topics(broker: &Arc<Broker>, topics: &[Arc<TopicImage>]) -> Vec<Result<(), Refused>> {
    let lock = broker.topic_changes.judging.lock().await;
    let image = broker.journal.image();
    let judged = topics.iter().map(|topic| match image.inner.topic_by_id(topic.id) {
        Some(topic) => Ok(delete(topic)),
        None => Err(Refused::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID.")),
    });
    let proposed = propose_all(broker, judged.collect()).await;
    drop(lock);
    show(broker);
    for (topic, _) in topics.iter().zip(&proposed).filter(|(_, result)| result.is_ok()) {
        broker.groups.topic_deleted(broker, &topic.name);
    }
    proposed
}

/// Changes configurations, each resource by itself; what is told as changed is in force. `incremental` changes keys, else
/// what is given replaces all. Levels of loggers come back as they are: they are not stored.
pub async fn alter_configs(
    broker: &Arc<Broker>,
    alterations: &[Alteration],
    incremental: bool,
    validate_only: bool,
) -> Vec<Result<Altered, Refused>> {
    let lock = broker.topic_changes.judging.lock().await;
    let live = broker.live.load_full();
    let image = broker.journal.image();
    let judge = Judge { image: &image.inner, node_id: broker.node_id, values: &live.values };
    let judged = if incremental { judge.incremental(alterations) } else { judge.legacy(alterations) };
    if validate_only {
        return judged;
    }
    let proposed = join_all(judged.into_iter().map(|result| async {
        let altered = result?;
        if let Altered::Stored(records) = &altered
            && !records.is_empty()
        {
            broker.propose(records.clone()).await?;
        }
        Ok(altered)
    }))
    .await;
    drop(lock);
    show(broker);
    proposed
}

async fn propose_all(
    broker: &Broker,
    judged: Vec<Result<Vec<MetadataRecord>, Refused>>,
) -> Vec<Result<(), Refused>> {
    join_all(judged.into_iter().map(|records| async { broker.propose(records?).await })).await
}

/// Brings this process up to its image: the broker's values, the table of partitions, what topics are configured to. New
/// partitions are empty: what held records was opened at start.
pub fn show(broker: &Arc<Broker>) {
    let mut opened = Vec::new();
    let mut offsets_reconfigured = false;
    {
        let mut shown = broker.topic_changes.shown.lock();
        let image = broker.journal.image().inner.clone();
        let configured = image.configs_since(&shown);
        let own = |(resource, name): &(ConfigResource, Arc<str>)| {
            *resource == ConfigResource::Broker && (name.is_empty() || **name == *broker.node_id.to_string())
        };
        let all_topics = configured.iter().any(own);
        if all_topics {
            broker.live.store(Arc::new(live(&broker.config, &image, broker.node_id)));
            broker.connections.limits_changed();
        }
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
        let changed = |topic: &Topic| {
            let of_topic =
                |(r, name): &(ConfigResource, Arc<str>)| *r == ConfigResource::Topic && *name == topic.name;
            all_topics || configured.iter().any(of_topic)
        };
        for topic in table.topics().filter(|topic| changed(topic)) {
            topic.config.store(Arc::new(effective_config(broker, &image, &topic.name)));
            offsets_reconfigured |= &*topic.name == OFFSETS_TOPIC;
        }
        broker.partitions.store(Arc::new(table));
        *shown = image;
    }
    for partition in opened {
        broker.groups.open(broker, partition);
    }
    if offsets_reconfigured {
        broker.groups.reconfigure(broker);
    }
}

/// The broker's values in force by an image.
pub fn live(config: &BrokerConfig, image: &MetadataImage, node_id: i32) -> Live {
    let layer = |name: &str| image.config(ConfigResource::Broker, name).cloned().unwrap_or_default();
    Live::new(config, &layer(""), &layer(&node_id.to_string()))
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
        let (blocks, producers) = (StreamIndex::new(0), ProducerStates::default());
        let opened = open_partition(broker, image, topic, at, config.clone(), blocks, producers);
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
    producers: ProducerStates,
) -> Arc<Partition> {
    let (index, stream) = at;
    let epoch = image.owner(stream).map(|(_, epoch)| epoch).unwrap_or_default();
    blocks.begin_epoch(epoch, broker.lane_ref);
    Partition::open(topic.name.clone(), topic.id, index, stream, epoch, config, blocks, producers)
}

/// A topic's configuration as it takes effect.
pub fn effective_config(broker: &Broker, image: &MetadataImage, topic: &str) -> TopicConfig {
    let set = image.config(ConfigResource::Topic, topic);
    let overrides = set.iter().flat_map(|set| set.iter()).map(|(k, v)| (k.as_str(), v.as_str()));
    TopicConfig::read(&topic_keys::effective(&broker.live.load().values, overrides))
}

impl Broker {
    /// What stands in for -1 in a new topic.
    pub fn topic_defaults(&self) -> TopicDefaults {
        TopicDefaults {
            num_partitions: self.config.values.int("num.partitions"),
            replication_factor: self.config.values.int("default.replication.factor") as i16,
        }
    }

    /// What was set while the broker ran: for it alone, and for all.
    pub fn dynamic_layers(&self, image: &MetadataImage) -> (Layer, Layer) {
        let layer = |name: &str| {
            image.config(ConfigResource::Broker, name).map(|set| (**set).clone()).unwrap_or_default()
        };
        (layer(&self.node_id.to_string()), layer(""))
    }

    /// A topic that a client asked for by name only; internal ones have settings of their own
    /// (`AutoTopicCreationManager.creatableTopic`).
    pub fn auto_created_topic(&self, name: &str) -> NewTopic {
        let v = &self.config.values;
        let of = |partitions: &str, replication: &str, configs: &[(&str, &str)]| NewTopic {
            name: name.to_string(),
            num_partitions: v.int(partitions),
            replication_factor: v.int(replication) as i16,
            assignments: Vec::new(),
            configs: configs.iter().map(|(k, v)| (k.to_string(), Some(v.to_string()))).collect(),
        };
        match name {
            OFFSETS_TOPIC => of(
                "offsets.topic.num.partitions",
                "offsets.topic.replication.factor",
                &[
                    ("cleanup.policy", "compact"),
                    ("compression.type", "producer"),
                    ("segment.bytes", v.string("offsets.topic.segment.bytes")),
                ],
            ),
            TRANSACTION_STATE_TOPIC => of(
                "transaction.state.log.num.partitions",
                "transaction.state.log.replication.factor",
                &[
                    ("cleanup.policy", "compact"),
                    ("compression.type", "uncompressed"),
                    ("min.insync.replicas", v.string("transaction.state.log.min.isr")),
                    ("segment.bytes", v.string("transaction.state.log.segment.bytes")),
                    ("unclean.leader.election.enable", "false"),
                ],
            ),
            _ => NewTopic {
                name: name.to_string(),
                num_partitions: -1,
                replication_factor: -1,
                ..NewTopic::default()
            },
        }
    }
}
