//! FindCoordinator (key 10), v0–v6.
//! Behavior: the leader of the partition of `__consumer_offsets` that a group falls into; the topic is created when it is
//!   asked for first (`KafkaApis.handleFindCoordinatorRequest`). Transactional ids get this broker: InitProducerId says
//!   there that transactions are not served.
//! Versions: v1 key type · v4 many keys (KIP-699) · v6 share groups.
//! Errors: INVALID_REQUEST (key type), INVALID_GROUP_ID, COORDINATOR_NOT_AVAILABLE.

use std::sync::Arc;

use protocol::StrBytes;
use protocol::codec::encode_find_coordinator;
use protocol::error::{self, ErrorCode};
use protocol::messages::find_coordinator_response::Coordinator;
use protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use super::text;
use crate::broker::Broker;
use crate::controller::Refused;
use crate::coordinator::OFFSETS_TOPIC;
use crate::dispatch::{Close, RequestContext};
use crate::metadata::Endpoint;
use crate::server::reply_queue::Reply;
use crate::topics::create_topics;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: FindCoordinatorRequest,
) -> Result<Reply, Close> {
    let key_type = if ctx.version >= 1 { request.key_type } else { GROUP };
    let keys = if ctx.version >= 4 { request.coordinator_keys } else { vec![request.key] };
    let found = find(broker, ctx, key_type).await;
    let coordinators = keys.into_iter().map(|key| answer(broker, key, &found)).collect();
    let response = shape(ctx.version, coordinators);
    Ok(Reply::ready(encode_find_coordinator(ctx.correlation_id, ctx.version, &response)?))
}

/// Before v4 the one that was asked for stands at the top, and success has a message, too: its name
/// (`FindCoordinatorResponse.prepareOldResponse`).
fn shape(version: i16, mut coordinators: Vec<Coordinator>) -> FindCoordinatorResponse {
    if version >= 4 {
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let one = coordinators.pop().unwrap_or_default();
    let response = FindCoordinatorResponse::default()
        .with_error_code(one.error_code)
        .with_node_id(one.node_id)
        .with_host(one.host)
        .with_port(one.port);
    match (version, one.error_code) {
        (0, _) => response,
        (_, error::NONE) => response.with_error_message(Some(text("NONE"))),
        _ => response.with_error_message(one.error_message),
    }
}

async fn find(broker: &Arc<Broker>, ctx: &RequestContext, key_type: i8) -> Result<Endpoint, Refused> {
    match key_type {
        GROUP => ensure_offsets_topic(broker).await?,
        TRANSACTION => {}
        other => {
            return Err(Refused::new(
                ErrorCode::InvalidRequest,
                format!("coordinator key type {other} is not served"),
            ));
        }
    }
    Ok(broker.endpoint(&ctx.listener))
}

async fn ensure_offsets_topic(broker: &Arc<Broker>) -> Result<(), Refused> {
    if broker.partitions.load().topic(OFFSETS_TOPIC).is_some() {
        return Ok(());
    }
    let topic = broker.auto_created_topic(OFFSETS_TOPIC);
    match create_topics(broker, vec![topic], false).await.pop() {
        Some(Err(refused)) if refused.code != ErrorCode::TopicAlreadyExists => {
            Err(Refused::new(ErrorCode::CoordinatorNotAvailable, refused.message))
        }
        _ => Ok(()),
    }
}

fn answer(broker: &Broker, key: StrBytes, found: &Result<Endpoint, Refused>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    match found {
        Ok(endpoint) => coordinator
            .with_error_code(error::NONE)
            .with_node_id(BrokerId(broker.node_id))
            .with_host(text(&endpoint.host))
            .with_port(i32::from(endpoint.port)),
        Err(refused) => coordinator
            .with_error_code(refused.code.code())
            .with_error_message(Some(text(&refused.message)))
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_has_a_message_before_v4() {
        let found = || vec![Coordinator::default().with_node_id(BrokerId(3)).with_host(text("h"))];
        for version in 1..=3 {
            let response = shape(version, found());
            assert_eq!(response.error_message.as_deref(), Some("NONE"), "v{version}");
            assert_eq!((response.node_id, response.host.as_str()), (BrokerId(3), "h"));
            let refused = found().remove(0).with_error_code(15).with_error_message(Some(text("no")));
            assert_eq!(shape(version, vec![refused]).error_message.as_deref(), Some("no"));
        }
        assert_eq!(shape(4, found()).coordinators[0].error_message.as_deref(), Some(""));
    }
}
