//! DeleteTopics (key 20), v1–v6.
//! Behavior: the topic, its configuration and its committed offsets are gone when it is answered; a topic of the same name
//!   created later is another one. Who is named twice is not deleted.
//! Versions: v3 TOPIC_DELETION_DISABLED · v5 error messages · v6 by id.
//! Errors: UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_REQUEST (`controller::deletion`), TOPIC_DELETION_DISABLED
//!   (delete.topic.enable=false; INVALID_REQUEST before v3).

use std::sync::Arc;

use protocol::codec::encode_delete_topics;
use protocol::error::{self, ErrorCode};
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use uuid::Uuid;

use super::{text, topic_name};
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::deletion::{Named, resolve};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;
use crate::topics::delete_topics;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DeleteTopicsRequest,
) -> Result<Reply, Close> {
    let asked: Vec<Named> = if ctx.version >= 6 {
        request.topics.into_iter().map(|t| (t.name.map(|n| n.0.to_string()), t.topic_id)).collect()
    } else {
        request.topic_names.into_iter().map(|n| (Some(n.0.to_string()), Uuid::nil())).collect()
    };
    let responses = if broker.config.values.boolean("delete.topic.enable") {
        delete(broker, ctx.version, &asked).await
    } else {
        let code = if ctx.version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
        let disabled = Refused::new(code, "Topic deletion is disabled.");
        asked.into_iter().map(|named| topic_result(ctx.version, named, Err(disabled.clone()))).collect()
    };
    let response = DeleteTopicsResponse::default().with_responses(responses);
    Ok(Reply::ready(encode_delete_topics(ctx.correlation_id, ctx.version, &response)?))
}

async fn delete(broker: &Arc<Broker>, version: i16, asked: &[Named]) -> Vec<DeletableTopicResult> {
    let deletions = resolve(&broker.journal.image().inner, asked);
    let deleted = delete_topics(broker, &deletions.topics).await;
    let mut responses = Vec::with_capacity(asked.len());
    for (named, refused) in deletions.refused {
        responses.push(topic_result(version, named, Err(refused)));
    }
    for (topic, result) in deletions.topics.iter().zip(deleted) {
        responses.push(topic_result(version, (Some(topic.name.to_string()), topic.id), result));
    }
    responses
}

fn topic_result(version: i16, (name, id): Named, result: Result<(), Refused>) -> DeletableTopicResult {
    let response = DeletableTopicResult::default().with_name(name.as_deref().map(topic_name));
    let response = if version >= 6 { response.with_topic_id(id) } else { response };
    match result {
        Ok(()) => response.with_error_code(error::NONE),
        Err(refused) => {
            let response = response.with_error_code(refused.code.code());
            if version >= 5 { response.with_error_message(Some(text(&refused.message))) } else { response }
        }
    }
}
