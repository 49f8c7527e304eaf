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
    let answers = keys.into_iter().map(|key| answer(broker, key, &found));
    let response = if ctx.version >= 4 {
        FindCoordinatorResponse::default().with_coordinators(answers.collect())
    } else {
        let one = answers.last().unwrap_or_default();
        let response = FindCoordinatorResponse::default()
            .with_error_code(one.error_code)
            .with_node_id(one.node_id)
            .with_host(one.host)
            .with_port(one.port);
        if ctx.version >= 1 { response.with_error_message(one.error_message) } else { response }
    };
    Ok(Reply::ready(encode_find_coordinator(ctx.correlation_id, ctx.version, &response)?))
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
