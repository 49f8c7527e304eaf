//! DescribeConfigs (key 32), v1–v4.
//! Behavior: every key of a topic or of this broker, with value, source, synonyms, type and documentation.
//! Versions: v3 type and documentation (KIP-569).
//! Errors: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_REQUEST (another broker, another resource type).

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::codec::encode_describe_configs;
use protocol::error::{self, ErrorCode};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::text;
use crate::broker::Broker;
use crate::config::describe::{DescribedConfig, describe_broker, describe_topic};
use crate::controller::Refused;
use crate::controller::topics::check_name;
use crate::dispatch::{Close, RequestContext};
use crate::metadata::ConfigResource;
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeConfigsRequest,
) -> Result<Reply, Close> {
    let shape = Shape {
        version: ctx.version,
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let results = request.resources.into_iter().map(|r| shape.result(&r, describe(broker, &r))).collect();
    let response = DescribeConfigsResponse::default().with_results(results);
    Ok(Reply::ready(encode_describe_configs(ctx.correlation_id, ctx.version, &response)?))
}

fn describe(broker: &Broker, resource: &DescribeConfigsResource) -> Result<Vec<DescribedConfig>, Refused> {
    let name = resource.resource_name.as_str();
    match ConfigResource::from_code(resource.resource_type) {
        Some(ConfigResource::Topic) => {
            check_name(name)?;
            let journal = broker.journal.image();
            if journal.inner.topic(name).is_none() {
                return Err(Refused::new(
                    ErrorCode::UnknownTopicOrPartition,
                    "This server does not host this topic-partition.",
                ));
            }
            let none = BTreeMap::new();
            let set = journal.inner.config(ConfigResource::Topic, name).map_or(&none, |set| set);
            Ok(describe_topic(&broker.config, set))
        }
        // The empty name is the cluster-wide default: nothing dynamic is set there.
        Some(ConfigResource::Broker) if name.is_empty() => Ok(Vec::new()),
        Some(ConfigResource::Broker) if name == broker.node_id.to_string() => {
            Ok(describe_broker(&broker.config))
        }
        Some(ConfigResource::Broker) => Err(Refused::new(
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected {} or empty string, but received {name}", broker.node_id),
        )),
        _ => Err(Refused::new(
            ErrorCode::InvalidRequest,
            format!("Unsupported resource type: {}", resource.resource_type),
        )),
    }
}

struct Shape {
    version: i16,
    synonyms: bool,
    documentation: bool,
}

impl Shape {
    fn result(
        &self,
        resource: &DescribeConfigsResource,
        described: Result<Vec<DescribedConfig>, Refused>,
    ) -> DescribeConfigsResult {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let described = match described {
            Ok(described) => described,
            Err(refused) => {
                return result
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(&refused.message)));
            }
        };
        let wanted = |c: &DescribedConfig| match &resource.configuration_keys {
            Some(keys) if !keys.is_empty() => keys.iter().any(|k| k.as_str() == c.name),
            _ => true,
        };
        let configs = described.into_iter().filter(wanted).map(|c| self.config(c)).collect();
        result.with_error_code(error::NONE).with_configs(configs)
    }

    fn config(&self, c: DescribedConfig) -> DescribeConfigsResourceResult {
        let synonyms = if self.synonyms { c.synonyms } else { Vec::new() };
        let synonyms = synonyms.into_iter().map(|s| {
            DescribeConfigsSynonym::default()
                .with_name(text(s.name))
                .with_value(s.value.as_deref().map(text))
                .with_source(s.source as i8)
        });
        let result = DescribeConfigsResourceResult::default()
            .with_name(text(c.name))
            .with_value(c.value.as_deref().map(text))
            .with_read_only(c.read_only)
            .with_config_source(c.source as i8)
            .with_is_sensitive(c.sensitive)
            .with_synonyms(synonyms.collect());
        if self.version < 3 {
            return result;
        }
        let documentation = self.documentation.then(|| text(c.documentation));
        result.with_config_type(c.kind as i8).with_documentation(documentation)
    }
}
