//! AlterConfigs (key 33), v0–v2; superseded by IncrementalAlterConfigs (KIP-339), still sent by clients that are not Java.
//! Behavior: what is given replaces all that was set for the resource; else as IncrementalAlterConfigs, but for loggers, which
//!   it does not know.
//! Errors: INVALID_REQUEST, INVALID_CONFIG, UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION: `controller::configs`.

use std::sync::Arc;

use protocol::codec::encode_alter_configs;
use protocol::error;
use protocol::messages::alter_configs_request::AlterConfigsResource;
use protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::text;
use crate::broker::Broker;
use crate::controller::configs::{Alteration, KeyChange, Operation};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;
use crate::topics::alter_configs;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: AlterConfigsRequest,
) -> Result<Reply, Close> {
    let alterations: Vec<Alteration> = request.resources.iter().map(alteration).collect();
    let results = alter_configs(broker, &alterations, false, request.validate_only).await;
    let responses = alterations.iter().zip(results).map(|(alteration, result)| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(alteration.resource)
            .with_resource_name(text(&alteration.name));
        match result {
            Ok(_) => response.with_error_code(error::NONE).with_error_message(None),
            Err(refused) => {
                response.with_error_code(refused.code.code()).with_error_message(Some(text(&refused.message)))
            }
        }
    });
    let response = AlterConfigsResponse::default().with_responses(responses.collect());
    Ok(Reply::ready(encode_alter_configs(ctx.correlation_id, ctx.version, &response)?))
}

fn alteration(resource: &AlterConfigsResource) -> Alteration {
    let keys = resource.configs.iter().map(|c| KeyChange {
        name: c.name.to_string(),
        operation: Operation::Set as i8,
        value: c.value.as_ref().map(|v| v.to_string()),
    });
    Alteration {
        resource: resource.resource_type,
        name: resource.resource_name.to_string(),
        keys: keys.collect(),
    }
}
