//! DescribeCluster (key 60), v0–v2.
//! Behavior: cluster id, brokers and controller, by the listener that was asked.
//! Versions: v1 endpoint type (KIP-919) · v2 fenced brokers (KIP-1073).
//! Errors: UNSUPPORTED_ENDPOINT_TYPE (controllers have no endpoints of their own).

use std::sync::Arc;

use protocol::codec::encode_describe_cluster;
use protocol::error::{self, ErrorCode};
use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{AUTHORIZED_OPERATIONS_OMITTED, text};
use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// `EndpointType.BROKER`.
const BROKERS: i8 = 1;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeClusterRequest,
) -> Result<Reply, Close> {
    let response =
        DescribeClusterResponse::default().with_cluster_authorized_operations(AUTHORIZED_OPERATIONS_OMITTED);
    let response = if ctx.version >= 1 && request.endpoint_type != BROKERS {
        response
            .with_error_code(ErrorCode::UnsupportedEndpointType.code())
            .with_error_message(Some(text(
                "The endpoint type must be brokers: controllers are brokers here.",
            )))
            .with_endpoint_type(BROKERS)
    } else {
        describe(broker, ctx, response)
    };
    Ok(Reply::ready(encode_describe_cluster(ctx.correlation_id, ctx.version, &response)?))
}

fn describe(
    broker: &Broker,
    ctx: &RequestContext,
    response: DescribeClusterResponse,
) -> DescribeClusterResponse {
    let journal = broker.journal.image();
    let image = &journal.inner;
    let brokers = image.live_brokers().filter_map(|(_, b)| {
        let endpoint = b.endpoints.iter().find(|e| *e.listener == *ctx.listener)?;
        let broker = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(b.node_id))
            .with_host(text(&endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(b.rack.as_deref().map(text));
        Some(broker)
    });
    let controller = journal.controller.and_then(|c| image.broker(c)).map_or(broker.node_id, |b| b.node_id);
    response
        .with_error_code(error::NONE)
        .with_endpoint_type(BROKERS)
        .with_cluster_id(text(&broker.cluster_id))
        .with_controller_id(BrokerId(controller))
        .with_brokers(brokers.collect())
}
