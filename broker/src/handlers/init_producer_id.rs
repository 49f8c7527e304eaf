//! InitProducerId (key 22), v0–v5.
//! Behavior: without a transactional id, a fresh producer id with epoch 0, always. With one: transactions are not served by
//!   this release, and the client is told so in a way that it takes as final.
//! Versions: v3 id and epoch of before (KIP-360) · v5 (KIP-890).
//! Errors: INVALID_REQUEST (an empty transactional id; a producer id without an epoch, or an epoch without an id),
//!   UNSUPPORTED_FOR_MESSAGE_FORMAT (transactions), COORDINATOR_NOT_AVAILABLE.

use std::sync::Arc;

use protocol::codec::encode_init_producer_id;
use protocol::error::{self, ErrorCode};
use protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// `RecordBatch.NO_PRODUCER_ID`, and `NO_PRODUCER_EPOCH`.
const NONE: i64 = -1;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: InitProducerIdRequest,
) -> Result<Reply, Close> {
    // `KafkaApis.handleInitProducerIdRequest`; both are -1 before v3.
    let half_known = (request.producer_id.0 == NONE) != (i64::from(request.producer_epoch) == NONE);
    let id = match request.transactional_id.as_ref().map(|id| id.0.as_str()) {
        _ if half_known => Err(ErrorCode::InvalidRequest),
        None => broker.producer_ids.next(broker).await,
        // TransactionCoordinator.handleInitProducerId
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::UnsupportedForMessageFormat),
    };
    let response = match id {
        Ok(id) => InitProducerIdResponse::default()
            .with_error_code(error::NONE)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Err(code) => InitProducerIdResponse::default()
            .with_error_code(code.code())
            .with_producer_id(ProducerId(NONE))
            .with_producer_epoch(-1),
    };
    Ok(Reply::ready(encode_init_producer_id(ctx.correlation_id, ctx.version, &response)?))
}
