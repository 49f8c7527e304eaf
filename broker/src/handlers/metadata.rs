//! Metadata (key 3), v0–v13.
//! Behavior: brokers, and topics by name, by id, or all. A topic that is not there is created if both the client (v4 and
//!   later) and `auto.create.topics.enable` allow it, and is unknown in this answer all the same: whoever has just deleted a
//!   topic and looks whether it is gone would else be told of the new one.
//! Versions: v1 no topics = none (v0: all) · v4 allow_auto_topic_creation · v5 offline replicas · v7 leader epoch ·
//!   v8–v10 authorized operations · v10 topic ids · v12 by topic id · v13 top-level error.
//! Errors: INVALID_TOPIC_EXCEPTION, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, LEADER_NOT_AVAILABLE,
//!   LISTENER_NOT_FOUND (v6 and later), INVALID_REQUEST (an id, or no name, before v12). At the top level, of v13, nothing
//!   but NONE (`KafkaApis.handleTopicMetadataRequest`, `KRaftMetadataCache`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use protocol::codec::encode_metadata;
use protocol::error::{self, ErrorCode};
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::{BrokerId, MetadataRequest, MetadataResponse};
use uuid::Uuid;

use super::{authorized_operations, text, topic_name};
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::topics::{NewTopic, check_name};
use crate::coordinator::is_internal;
use crate::dispatch::{Close, RequestContext};
use crate::metadata::{MetadataImage, PartitionImage, Places, TopicImage};
use crate::server::reply_queue::Reply;
use crate::topics::create_topics;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: MetadataRequest,
) -> Result<Reply, Close> {
    if is_invalid(ctx.version, &request) {
        let response = invalid(ctx.version, request);
        return Ok(Reply::ready(encode_metadata(ctx.correlation_id, ctx.version, &response)?));
    }
    let asked = Asked::of(ctx.version, &request);
    // As it was before anything is created (`DefaultAutoTopicCreationManager.sendCreateTopicRequest`).
    let journal = broker.journal.image();
    let refused = match &asked {
        Asked::Some(topics) if may_create(broker, ctx.version, &request) => {
            create_missing(broker, &journal.inner, topics).await
        }
        _ => HashMap::new(),
    };
    let image = &journal.inner;
    let shape = Shape {
        ctx,
        image,
        places: Places::new(image),
        operations: authorized_operations::if_asked(
            request.include_topic_authorized_operations,
            authorized_operations::TOPIC,
        ),
    };
    let topics = match asked {
        Asked::All => image.topics().map(|t| shape.known(t)).collect(),
        Asked::Some(topics) => topics.into_iter().map(|t| shape.one(&t, &refused)).collect(),
    };
    let cluster_operations = authorized_operations::if_asked(
        request.include_cluster_authorized_operations,
        authorized_operations::CLUSTER,
    );
    let response = MetadataResponse::default()
        .with_brokers(brokers(ctx, image))
        .with_cluster_id(Some(text(&broker.cluster_id)))
        .with_controller_id(BrokerId(controller_id(broker, image, journal.controller)))
        .with_topics(topics)
        .with_cluster_authorized_operations(cluster_operations);
    let response = if ctx.version >= 2 { response } else { response.with_cluster_id(None) };
    Ok(Reply::ready(encode_metadata(ctx.correlation_id, ctx.version, &response)?))
}

/// Names only until v12 (`MetadataRequest`: topic ids of v10 and v11 are in the answer alone).
fn is_invalid(version: i16, request: &MetadataRequest) -> bool {
    let topics = request.topics.iter().flatten();
    version < 12 && topics.into_iter().any(|t| t.name.is_none() || !t.topic_id.is_nil())
}

/// `MetadataRequest.getErrorResponse`.
fn invalid(version: i16, request: MetadataRequest) -> MetadataResponse {
    let topics = request.topics.unwrap_or_default().into_iter().map(|t| {
        let topic = absent(ErrorCode::InvalidRequest).with_name(Some(t.name.unwrap_or_default()));
        if version >= 10 { topic.with_topic_id(t.topic_id) } else { topic }
    });
    MetadataResponse::default()
        .with_controller_id(BrokerId(-1))
        .with_cluster_authorized_operations(authorized_operations::OMITTED)
        .with_topics(topics.collect())
}

enum Asked {
    All,
    Some(Vec<Wanted>),
}

#[derive(PartialEq, Eq, Hash, Clone)]
enum Wanted {
    Name(String),
    Id(Uuid),
}

impl Asked {
    fn of(version: i16, request: &MetadataRequest) -> Asked {
        match &request.topics {
            None => Asked::All,
            Some(topics) if version == 0 && topics.is_empty() => Asked::All,
            Some(topics) => {
                // Where an id is given names do not count (`KafkaApis.handleTopicMetadataRequest`).
                let by_id = topics.iter().any(|t| !t.topic_id.is_nil());
                let wanted = topics.iter().filter_map(|t| match (&t.name, t.topic_id.is_nil()) {
                    (_, false) => Some(Wanted::Id(t.topic_id)),
                    (Some(_), true) if by_id => None,
                    (Some(name), true) => Some(Wanted::Name(name.0.to_string())),
                    (None, true) => Some(Wanted::Id(t.topic_id)),
                });
                let mut seen = HashSet::new();
                Asked::Some(wanted.filter(|w| seen.insert(w.clone())).collect())
            }
        }
    }
}

fn may_create(broker: &Broker, version: i16, request: &MetadataRequest) -> bool {
    let client_allows = version < 4 || request.allow_auto_topic_creation;
    client_allows && broker.config.values.boolean("auto.create.topics.enable")
}

async fn create_missing(
    broker: &Arc<Broker>,
    image: &MetadataImage,
    topics: &[Wanted],
) -> HashMap<String, Refused> {
    let missing: Vec<NewTopic> = topics
        .iter()
        .filter_map(|t| match t {
            Wanted::Name(name) if image.topic(name).is_none() && check_name(name).is_ok() => {
                Some(broker.auto_created_topic(name))
            }
            _ => None,
        })
        .collect();
    if missing.is_empty() {
        return HashMap::new();
    }
    let names: Vec<String> = missing.iter().map(|t| t.name.clone()).collect();
    let results = create_topics(broker, missing, false).await;
    let refused = names.into_iter().zip(results).filter_map(|(name, result)| Some((name, result.err()?)));
    refused.filter(|(_, r)| r.code != ErrorCode::TopicAlreadyExists).collect()
}

/// How topics are told in this answer.
struct Shape<'a> {
    ctx: &'a RequestContext,
    image: &'a MetadataImage,
    places: Places<'a>,
    operations: i32,
}

impl Shape<'_> {
    fn one(&self, wanted: &Wanted, refused: &HashMap<String, Refused>) -> MetadataResponseTopic {
        match wanted {
            Wanted::Name(name) => match self.image.topic(name) {
                Some(topic) => self.known(topic),
                None => {
                    let code = match (check_name(name), refused.get(name)) {
                        (Err(invalid), _) => invalid.code,
                        (_, Some(refused)) => refused.code,
                        _ => ErrorCode::UnknownTopicOrPartition,
                    };
                    absent(code)
                        .with_name(Some(topic_name(name)))
                        .with_is_internal(self.ctx.version >= 1 && is_internal(name))
                        .with_topic_authorized_operations(self.operations)
                }
            },
            Wanted::Id(id) => match self.image.topic_by_id(*id) {
                Some(topic) => self.known(topic),
                None => absent(ErrorCode::UnknownTopicId).with_topic_id(*id).with_name(None),
            },
        }
    }

    fn known(&self, topic: &TopicImage) -> MetadataResponseTopic {
        let version = self.ctx.version;
        let partitions =
            topic.partitions.iter().enumerate().map(|(index, p)| self.partition(index as i32, p));
        let response = MetadataResponseTopic::default()
            .with_name(Some(topic_name(&topic.name)))
            .with_is_internal(version >= 1 && is_internal(&topic.name))
            .with_partitions(partitions.collect())
            .with_topic_authorized_operations(self.operations);
        if version >= 10 { response.with_topic_id(topic.id) } else { response }
    }

    fn partition(&self, index: i32, partition: &PartitionImage) -> MetadataResponsePartition {
        let version = self.ctx.version;
        let place = self.places.of(partition);
        let reached = place.leader.filter(|leader| self.places.listens(*leader, &self.ctx.listener));
        let code = match (place.leader, reached) {
            (_, Some(_)) => error::NONE,
            (Some(_), None) if version >= 6 => ErrorCode::ListenerNotFound.code(),
            _ => ErrorCode::LeaderNotAvailable.code(),
        };
        let ids = |list: Vec<i32>| list.into_iter().map(BrokerId).collect::<Vec<_>>();
        let response = MetadataResponsePartition::default()
            .with_error_code(code)
            .with_partition_index(index)
            .with_leader_id(BrokerId(reached.unwrap_or(-1)))
            .with_replica_nodes(ids(place.replicas))
            .with_isr_nodes(ids(place.isr));
        let response =
            if version >= 5 { response.with_offline_replicas(ids(place.offline)) } else { response };
        if version >= 7 { response.with_leader_epoch(place.leader_epoch) } else { response }
    }
}

fn absent(code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_topic_authorized_operations(authorized_operations::OMITTED)
}

fn brokers(ctx: &RequestContext, image: &MetadataImage) -> Vec<MetadataResponseBroker> {
    let reachable = image.live_brokers().filter_map(|(_, b)| {
        let endpoint = b.endpoints.iter().find(|e| *e.listener == *ctx.listener)?;
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(b.node_id))
            .with_host(text(&endpoint.host))
            .with_port(i32::from(endpoint.port));
        Some(if ctx.version >= 1 { broker.with_rack(b.rack.as_deref().map(text)) } else { broker })
    });
    reachable.collect()
}

/// Any broker takes what a controller takes; the one that is says so.
fn controller_id(
    broker: &Broker,
    image: &MetadataImage,
    controller: Option<s3stream::ids::Incarnation>,
) -> i32 {
    controller.and_then(|c| image.broker(c)).map_or(broker.node_id, |b| b.node_id)
}
