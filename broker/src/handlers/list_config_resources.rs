//! ListConfigResources (key 74), v0–v1.
//! Behavior: the names of what can be configured: topics and brokers that there are, groups and subscriptions to client
//!   metrics that have a configuration. v0 is ListClientMetricsResources (KIP-1000): subscriptions only.
//! Versions: v1 by type, all types where none is named (KIP-1142).
//! Errors: UNSUPPORTED_VERSION (a type that is not known).

use std::sync::Arc;

use protocol::codec::encode_list_config_resources;
use protocol::error;
use protocol::messages::list_config_resources_response::ConfigResource as ListedResource;
use protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::text;
use crate::broker::Broker;
use crate::controller::configs::{BROKER_LOGGER, list_resources};
use crate::dispatch::{Close, RequestContext};
use crate::metadata::ConfigResource;
use crate::server::reply_queue::Reply;

/// What v1 lists where no type is named.
const ALL: &[i8] = &[
    ConfigResource::Topic as i8,
    ConfigResource::Broker as i8,
    BROKER_LOGGER,
    ConfigResource::ClientMetrics as i8,
    ConfigResource::Group as i8,
];

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ListConfigResourcesRequest,
) -> Result<Reply, Close> {
    let types = match (ctx.version, request.resource_types.as_slice()) {
        (0, _) => &[ConfigResource::ClientMetrics as i8],
        (_, []) => ALL,
        (_, named) => named,
    };
    let image = broker.journal.image();
    let response = match list_resources(&image.inner, types) {
        Err(refused) => ListConfigResourcesResponse::default().with_error_code(refused.code.code()),
        Ok(listed) => {
            let all = listed.into_iter().flat_map(|(code, names)| {
                names.into_iter().map(move |name| {
                    let resource = ListedResource::default().with_resource_name(text(&name));
                    if ctx.version >= 1 { resource.with_resource_type(code) } else { resource }
                })
            });
            ListConfigResourcesResponse::default()
                .with_error_code(error::NONE)
                .with_config_resources(all.collect())
        }
    };
    Ok(Reply::ready(encode_list_config_resources(ctx.correlation_id, ctx.version, &response)?))
}
