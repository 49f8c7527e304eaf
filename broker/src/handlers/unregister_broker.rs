//! UnregisterBroker (key 64), v0.
//! Behavior: a registration whose broker has been fenced, or has left, is forgotten.
//! Errors: BROKER_ID_NOT_REGISTERED, INVALID_REQUEST (a live broker: it must be stopped first), UNSUPPORTED_VERSION (feature
//!   level), REQUEST_TIMED_OUT.

use std::sync::Arc;

use protocol::codec::encode_unregister_broker;
use protocol::error;
use protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::text;
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::registration::unregister;
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: UnregisterBrokerRequest,
) -> Result<Reply, Close> {
    let response = match forget(broker, request.broker_id.0).await {
        Ok(()) => UnregisterBrokerResponse::default().with_error_code(error::NONE).with_error_message(None),
        Err(refused) => UnregisterBrokerResponse::default()
            .with_error_code(refused.code.code())
            .with_error_message(Some(text(&refused.message))),
    };
    Ok(Reply::ready(encode_unregister_broker(ctx.correlation_id, ctx.version, &response)?))
}

async fn forget(broker: &Broker, node_id: i32) -> Result<(), Refused> {
    let journal = broker.journal.image();
    let record = unregister(&journal.inner, journal.level, node_id)?;
    broker.propose(vec![record]).await
}
