//! Metadata (key 3), v0–v13.
//! Behavior: brokers, and topics by name, by id, or all; a topic that is not there is created if both the client (v4 and
//!   later) and `auto.create.topics.enable` allow it, and told at once.
//! Versions: v1 no topics = none (v0: all) · v4 allow_auto_topic_creation · v5 offline replicas · v7 leader epoch ·
//!   v8–v10 authorized operations · v10 topic ids · v12 by topic id · v13 top-level error.
//! Errors: INVALID_TOPIC_EXCEPTION, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, LEADER_NOT_AVAILABLE.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::codec::encode_metadata;
use protocol::error::{self, ErrorCode};
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use uuid::Uuid;

use super::{AUTHORIZED_OPERATIONS_OMITTED, text, topic_name};
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::topics::{NewTopic, check_name};
use crate::coordinator::is_internal;
use crate::dispatch::{Close, RequestContext};
use crate::metadata::{MetadataImage, TopicImage};
use crate::server::reply_queue::Reply;
use crate::topics::create_topics;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: MetadataRequest,
) -> Result<Reply, Close> {
    let asked = Asked::of(ctx.version, &request);
    let refused = match &asked {
        Asked::Some(topics) if may_create(broker, ctx.version, &request) => {
            create_missing(broker, topics).await
        }
        _ => HashMap::new(),
    };
    let journal = broker.journal.image();
    let image = &journal.inner;
    let topics = match asked {
        Asked::All => image.topics().map(|t| known(ctx.version, image, t)).collect(),
        Asked::Some(topics) => topics.into_iter().map(|t| one(ctx.version, image, &t, &refused)).collect(),
    };
    let response = MetadataResponse::default()
        .with_brokers(brokers(ctx, image))
        .with_cluster_id(Some(text(&broker.cluster_id)))
        .with_controller_id(BrokerId(controller_id(broker, image, journal.controller)))
        .with_topics(topics)
        .with_cluster_authorized_operations(AUTHORIZED_OPERATIONS_OMITTED);
    let response = if ctx.version >= 2 { response } else { response.with_cluster_id(None) };
    Ok(Reply::ready(encode_metadata(ctx.correlation_id, ctx.version, &response)?))
}

enum Asked {
    All,
    Some(Vec<Wanted>),
}

enum Wanted {
    Name(String),
    Id(Uuid),
}

impl Asked {
    fn of(version: i16, request: &MetadataRequest) -> Asked {
        match &request.topics {
            None => Asked::All,
            Some(topics) if version == 0 && topics.is_empty() => Asked::All,
            Some(topics) => Asked::Some(
                topics
                    .iter()
                    .map(|t| match &t.name {
                        Some(name) => Wanted::Name(name.0.to_string()),
                        None => Wanted::Id(t.topic_id),
                    })
                    .collect(),
            ),
        }
    }
}

fn may_create(broker: &Broker, version: i16, request: &MetadataRequest) -> bool {
    let client_allows = version < 4 || request.allow_auto_topic_creation;
    client_allows && broker.config.values.boolean("auto.create.topics.enable")
}

async fn create_missing(broker: &Arc<Broker>, topics: &[Wanted]) -> HashMap<String, Refused> {
    let journal = broker.journal.image();
    let missing: Vec<NewTopic> = topics
        .iter()
        .filter_map(|t| match t {
            Wanted::Name(name) if journal.inner.topic(name).is_none() && check_name(name).is_ok() => {
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

fn one(
    version: i16,
    image: &MetadataImage,
    wanted: &Wanted,
    refused: &HashMap<String, Refused>,
) -> MetadataResponseTopic {
    match wanted {
        Wanted::Name(name) => match image.topic(name) {
            Some(topic) => known(version, image, topic),
            None => {
                let code = match (check_name(name), refused.get(name)) {
                    (Err(invalid), _) => invalid.code,
                    (_, Some(refused)) => refused.code,
                    _ => ErrorCode::UnknownTopicOrPartition,
                };
                absent(code).with_name(Some(topic_name(name)))
            }
        },
        Wanted::Id(id) => match image.topic_by_id(*id) {
            Some(topic) => known(version, image, topic),
            None => {
                let name = if version >= 12 { None } else { Some(TopicName::default()) };
                absent(ErrorCode::UnknownTopicId).with_topic_id(*id).with_name(name)
            }
        },
    }
}

fn absent(code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_topic_authorized_operations(AUTHORIZED_OPERATIONS_OMITTED)
}

fn known(version: i16, image: &MetadataImage, topic: &TopicImage) -> MetadataResponseTopic {
    let live: Vec<i32> = image.live_brokers().map(|(_, b)| b.node_id).collect();
    let partitions = topic.partitions.iter().enumerate().map(|(index, p)| {
        let owner = image.owner(p.stream).filter(|(i, _)| image.catalog.is_live(*i));
        let leader = owner.and_then(|(i, epoch)| Some((image.broker(i)?.node_id, epoch)));
        let replicas: Vec<i32> = match (&p.replicas, leader) {
            (Some(assigned), _) => assigned.to_vec(),
            (None, Some((leader, _))) => vec![leader],
            (None, None) => Vec::new(),
        };
        let ids = |list: Vec<i32>| list.into_iter().map(BrokerId).collect::<Vec<_>>();
        let (isr, offline): (Vec<i32>, Vec<i32>) = replicas.iter().partition(|r| live.contains(r));
        let isr = match leader {
            // The bucket replicates: whoever leads is in sync, listed or not.
            Some((leader, _)) if isr.is_empty() => vec![leader],
            _ => isr,
        };
        let response = MetadataResponsePartition::default()
            .with_error_code(if leader.is_some() {
                error::NONE
            } else {
                ErrorCode::LeaderNotAvailable.code()
            })
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(leader.map_or(-1, |(id, _)| id)))
            .with_replica_nodes(ids(replicas))
            .with_isr_nodes(ids(isr));
        let response = if version >= 5 { response.with_offline_replicas(ids(offline)) } else { response };
        if version >= 7 {
            response.with_leader_epoch(leader.map_or(-1, |(_, epoch)| epoch.0 as i32))
        } else {
            response
        }
    });
    let response = MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_is_internal(version >= 1 && is_internal(&topic.name))
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(AUTHORIZED_OPERATIONS_OMITTED);
    if version >= 10 { response.with_topic_id(topic.id) } else { response }
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
