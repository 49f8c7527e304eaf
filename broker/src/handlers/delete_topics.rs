//! DeleteTopics (key 20), v1–v6.
//! Behavior: the topic, its configuration and its committed offsets are gone when it is answered; a topic of the same name
//!   created later is another one.
//! Versions: v5 error messages · v6 by id.
//! Errors: UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_REQUEST (neither name nor id, or both).

use std::sync::Arc;

use protocol::codec::encode_delete_topics;
use protocol::error::{self, ErrorCode};
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use uuid::Uuid;

use super::{text, topic_name};
use crate::broker::Broker;
use crate::controller::Refused;
use crate::dispatch::{Close, RequestContext};
use crate::metadata::TopicImage;
use crate::server::reply_queue::Reply;
use crate::topics::delete_topic;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DeleteTopicsRequest,
) -> Result<Reply, Close> {
    let asked: Vec<(Option<String>, Uuid)> = if ctx.version >= 6 {
        request.topics.into_iter().map(|t| (t.name.map(|n| n.0.to_string()), t.topic_id)).collect()
    } else {
        request.topic_names.into_iter().map(|n| (Some(n.0.to_string()), Uuid::nil())).collect()
    };
    let mut responses = Vec::with_capacity(asked.len());
    for (name, id) in asked {
        let result = match find(broker, name.as_deref(), id) {
            Ok(topic) => delete_topic(broker, &topic).await.map(|()| topic),
            Err(refused) => Err(refused),
        };
        responses.push(topic_result(ctx.version, name, id, result));
    }
    let response = DeleteTopicsResponse::default().with_responses(responses);
    Ok(Reply::ready(encode_delete_topics(ctx.correlation_id, ctx.version, &response)?))
}

fn find(broker: &Broker, name: Option<&str>, id: Uuid) -> Result<Arc<TopicImage>, Refused> {
    let journal = broker.journal.image();
    match (name, id.is_nil()) {
        (Some(name), true) => journal.inner.topic(name).cloned().ok_or_else(|| {
            Refused::new(
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic-partition.",
            )
        }),
        (None, false) => journal.inner.topic_by_id(id).cloned().ok_or_else(|| {
            Refused::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID.")
        }),
        (None, true) => {
            Err(Refused::new(ErrorCode::InvalidRequest, "Neither topic name nor id were specified."))
        }
        (Some(_), false) => {
            Err(Refused::new(ErrorCode::InvalidRequest, "Topic name and id must not both be specified."))
        }
    }
}

fn topic_result(
    version: i16,
    name: Option<String>,
    id: Uuid,
    result: Result<Arc<TopicImage>, Refused>,
) -> DeletableTopicResult {
    let (name, id) = match &result {
        Ok(topic) => (Some(topic.name.to_string()), topic.id),
        Err(_) => (name, id),
    };
    let response = DeletableTopicResult::default().with_name(name.as_deref().map(topic_name));
    let response = if version >= 6 { response.with_topic_id(id) } else { response };
    match result {
        Ok(_) => response.with_error_code(error::NONE),
        Err(refused) => {
            let response = response.with_error_code(refused.code.code());
            if version >= 5 { response.with_error_message(Some(text(&refused.message))) } else { response }
        }
    }
}
