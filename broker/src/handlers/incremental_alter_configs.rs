//! IncrementalAlterConfigs (key 44), v0–v1.
//! Behavior: sets, deletes, adds to and takes from keys of topics, brokers (this one, or all by the empty name), groups,
//!   subscriptions to client metrics and loggers of this process; each resource by itself, whole or not at all. What is
//!   answered as changed is in force. Keys that a broker reads at its start only are refused.
//! Errors: INVALID_REQUEST, INVALID_CONFIG, UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION: `controller::configs`.

use std::sync::Arc;

use protocol::codec::encode_incremental_alter_configs;
use protocol::error::{self, ErrorCode};
use protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::text;
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::configs::{Alteration, Altered, KeyChange};
use crate::dispatch::{Close, RequestContext};
use crate::log_levels::loggers;
use crate::server::reply_queue::Reply;
use crate::topics::alter_configs;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> Result<Reply, Close> {
    let alterations: Vec<Alteration> = request.resources.iter().map(alteration).collect();
    let results = alter_configs(broker, &alterations, true, request.validate_only).await;
    let responses = alterations.iter().zip(results).map(|(alteration, result)| {
        let result = result.and_then(|altered| change_loggers(altered, request.validate_only));
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(alteration.resource)
            .with_resource_name(text(&alteration.name));
        match result {
            Ok(()) => response.with_error_code(error::NONE).with_error_message(None),
            Err(refused) => {
                response.with_error_code(refused.code.code()).with_error_message(Some(text(&refused.message)))
            }
        }
    });
    let response = IncrementalAlterConfigsResponse::default().with_responses(responses.collect());
    Ok(Reply::ready(encode_incremental_alter_configs(ctx.correlation_id, ctx.version, &response)?))
}

fn alteration(resource: &AlterConfigsResource) -> Alteration {
    let keys = resource.configs.iter().map(|c| KeyChange {
        name: c.name.to_string(),
        operation: c.config_operation,
        value: c.value.as_ref().map(|v| v.to_string()),
    });
    Alteration {
        resource: resource.resource_type,
        name: resource.resource_name.to_string(),
        keys: keys.collect(),
    }
}

fn change_loggers(altered: Altered, validate_only: bool) -> Result<(), Refused> {
    let Altered::Loggers(changes) = altered else { return Ok(()) };
    let none = || Refused::new(ErrorCode::InvalidRequest, "This process does not log.");
    loggers().ok_or_else(none)?.change(&changes, validate_only)
}
