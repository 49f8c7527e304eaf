//! CreateTopics (key 19), v2–v7.
//! Behavior: each topic by itself; a topic that is told as created can be written and read at once.
//! Versions: v4 -1 for the broker's defaults (KIP-464) · v5 configuration in the answer (KIP-525) · v7 topic ids.
//! Errors: INVALID_REQUEST (a name twice), and those of `controller::topics::create`.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::codec::encode_create_topics;
use protocol::error::{self, ErrorCode};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::{text, topic_name};
use crate::broker::Broker;
use crate::config::describe::Layers;
use crate::controller::Refused;
use crate::controller::topics::{CreatedTopic, NewTopic};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;
use crate::topics::create_topics;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: CreateTopicsRequest,
) -> Result<Reply, Close> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *seen.entry(topic.name.0.to_string()).or_default() += 1;
    }
    let wanted: Vec<NewTopic> = request.topics.iter().map(new_topic).collect();
    let unique: Vec<NewTopic> = wanted.iter().filter(|t| seen[&t.name] == 1).cloned().collect();
    let created = create_topics(broker, unique.clone(), request.validate_only).await;
    let mut results: Vec<CreatableTopicResult> = unique
        .iter()
        .zip(created)
        .map(|(topic, result)| topic_result(broker, ctx.version, topic, result))
        .collect();
    // ReplicationControlManager.createTopics: told once, however often it was asked for.
    let mut twice: Vec<String> = seen.into_iter().filter(|(_, n)| *n > 1).map(|(name, _)| name).collect();
    twice.sort();
    for name in twice {
        let refused = Refused::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
        let topic = NewTopic { name, ..NewTopic::default() };
        results.push(topic_result(broker, ctx.version, &topic, Err(refused)));
    }
    let response = CreateTopicsResponse::default().with_topics(results);
    Ok(Reply::ready(encode_create_topics(ctx.correlation_id, ctx.version, &response)?))
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.0.to_string(),
        num_partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|a| (a.partition_index, a.broker_ids.iter().map(|id| id.0).collect()))
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|c| (c.name.to_string(), c.value.as_ref().map(|v| v.to_string())))
            .collect(),
    }
}

fn topic_result(
    broker: &Broker,
    version: i16,
    topic: &NewTopic,
    result: Result<CreatedTopic, Refused>,
) -> CreatableTopicResult {
    let response = CreatableTopicResult::default().with_name(topic_name(&topic.name));
    let created = match result {
        Ok(created) => created,
        Err(refused) => {
            let response = response
                .with_error_code(refused.code.code())
                .with_error_message(Some(text(&refused.message)));
            return if version >= 5 {
                response.with_num_partitions(-1).with_replication_factor(-1).with_configs(Some(Vec::new()))
            } else {
                response
            };
        }
    };
    let response = response.with_error_code(error::NONE).with_error_message(None);
    if version < 5 {
        return response;
    }
    let own = topic.configs.iter().filter_map(|(k, v)| Some((k.clone(), v.clone()?))).collect();
    let (this, all) = broker.dynamic_layers(&broker.journal.image().inner);
    let layers = Layers { broker: &broker.config, dynamic_broker: &this, dynamic_default: &all };
    let configs = layers.topic(&broker.live.load().values, &own).into_iter().map(|c| {
        CreatableTopicConfigs::default()
            .with_name(text(&c.name))
            .with_value(c.value.as_deref().map(text))
            .with_read_only(c.read_only)
            .with_config_source(c.source as i8)
            .with_is_sensitive(c.sensitive)
    });
    let response = response
        .with_num_partitions(created.num_partitions)
        .with_replication_factor(created.replication_factor)
        .with_configs(Some(configs.collect()));
    if version >= 7 { response.with_topic_id(created.id) } else { response }
}
