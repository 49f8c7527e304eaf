//! DescribeCluster (key 60), v0–v2.
//! Behavior: cluster id, brokers and controller, by the listener that was asked.
//! Versions: v1 endpoint type (KIP-919) · v2 fenced brokers (KIP-1073).
//! Errors: MISMATCHED_ENDPOINT_TYPE (controllers have no endpoints of their own), UNSUPPORTED_ENDPOINT_TYPE
//!   (`AuthHelper.computeDescribeClusterResponse`).

use std::sync::Arc;

use protocol::codec::encode_describe_cluster;
use protocol::error::{self, ErrorCode};
use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{authorized_operations, text};
use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// `EndpointType`.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeClusterRequest,
) -> Result<Reply, Close> {
    let response = match request.endpoint_type {
        BROKERS => describe(broker, ctx, &request),
        CONTROLLERS => refused(
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
        ),
        other => refused(ErrorCode::UnsupportedEndpointType, &format!("Unsupported endpoint type {other}")),
    };
    Ok(Reply::ready(encode_describe_cluster(ctx.correlation_id, ctx.version, &response)?))
}

fn refused(code: ErrorCode, message: &str) -> DescribeClusterResponse {
    DescribeClusterResponse::default()
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
        .with_controller_id(BrokerId(-1))
        .with_cluster_authorized_operations(authorized_operations::OMITTED)
}

fn describe(
    broker: &Broker,
    ctx: &RequestContext,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    let journal = broker.journal.image();
    let image = &journal.inner;
    let with_fenced = ctx.version >= 2 && request.include_fenced_brokers;
    let brokers = image.brokers().filter_map(|(incarnation, b)| {
        let fenced = !image.catalog.is_live(incarnation);
        let endpoint = b.endpoints.iter().find(|e| *e.listener == *ctx.listener)?;
        let broker = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(b.node_id))
            .with_host(text(&endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(b.rack.as_deref().map(text))
            .with_is_fenced(fenced);
        (with_fenced || !fenced).then_some(broker)
    });
    let controller = journal.controller.and_then(|c| image.broker(c)).map_or(broker.node_id, |b| b.node_id);
    let operations = authorized_operations::if_asked(
        request.include_cluster_authorized_operations,
        authorized_operations::CLUSTER,
    );
    DescribeClusterResponse::default()
        .with_error_code(error::NONE)
        .with_endpoint_type(BROKERS)
        .with_cluster_id(text(&broker.cluster_id))
        .with_controller_id(BrokerId(controller))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(operations)
}
