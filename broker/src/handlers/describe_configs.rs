//! DescribeConfigs (key 32), v1–v4.
//! Behavior: every key of a topic, of this broker, of a group or of a subscription to client metrics, with value, source,
//!   synonyms, type and documentation; of all brokers (the empty name) what is set; of loggers their level.
//! Versions: v3 type and documentation (KIP-569).
//! Errors: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_REQUEST (another broker, no name, another resource
//!   type).

use std::borrow::Cow;
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
use crate::config::Kind;
use crate::config::describe::{ConfigSource, DescribedConfig, Layers, describe_metrics};
use crate::config::live::Layer;
use crate::controller::Refused;
use crate::controller::configs::BROKER_LOGGER;
use crate::controller::topics::check_name;
use crate::dispatch::{Close, RequestContext};
use crate::log_levels::loggers;
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
    let journal = broker.journal.image();
    let image = &journal.inner;
    let (this, all) = broker.dynamic_layers(image);
    let layers = Layers { broker: &broker.config, dynamic_broker: &this, dynamic_default: &all };
    let set = |resource| image.config(resource, name).map(|set| (**set).clone()).unwrap_or_default();
    match ConfigResource::from_code(resource.resource_type) {
        Some(ConfigResource::Topic) => {
            check_name(name)?;
            if image.topic(name).is_none() {
                return Err(Refused::new(
                    ErrorCode::UnknownTopicOrPartition,
                    "This server does not host this topic-partition.",
                ));
            }
            let own: Layer = set(ConfigResource::Topic);
            Ok(layers.topic(&broker.live.load().values, &own))
        }
        Some(ConfigResource::Broker) if name.is_empty() => Ok(layers.broker_default()),
        Some(ConfigResource::Broker) => {
            check_node_id(broker, name, " or empty string,")?;
            Ok(layers.broker())
        }
        Some(ConfigResource::Group) if name.is_empty() => Err(invalid("Group name must not be empty")),
        Some(ConfigResource::Group) => Ok(layers.group(&set(ConfigResource::Group))),
        Some(ConfigResource::ClientMetrics) if name.is_empty() => {
            Err(invalid("Client metrics subscription name must not be empty"))
        }
        Some(ConfigResource::ClientMetrics) => Ok(describe_metrics(&set(ConfigResource::ClientMetrics))),
        None if resource.resource_type == BROKER_LOGGER => describe_loggers(broker, name),
        None => Err(invalid(format!("Unsupported resource type: {}", resource.resource_type))),
    }
}

fn describe_loggers(broker: &Broker, name: &str) -> Result<Vec<DescribedConfig>, Refused> {
    if name.is_empty() {
        return Err(invalid("Broker id must not be empty"));
    }
    check_node_id(broker, name, "")?;
    let loggers = loggers().ok_or_else(|| invalid("This process does not log."))?;
    let described = loggers.all().into_iter().map(|(logger, level)| DescribedConfig {
        name: Cow::Owned(logger),
        value: Some(level),
        read_only: false,
        source: ConfigSource::Logger,
        sensitive: false,
        synonyms: Vec::new(),
        kind: Kind::Unknown,
        documentation: String::new(),
    });
    Ok(described.collect())
}

fn check_node_id(broker: &Broker, name: &str, or: &str) -> Result<(), Refused> {
    match name.parse::<i32>() {
        Ok(id) if id == broker.node_id => Ok(()),
        Ok(_) => {
            Err(invalid(format!("Unexpected broker id, expected {}{or} but received {name}", broker.node_id)))
        }
        Err(_) => Err(invalid(format!("Broker id must be an integer, but it is: {name}"))),
    }
}

fn invalid(why: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidRequest, why)
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
                .with_name(text(&s.name))
                .with_value(s.value.as_deref().map(text))
                .with_source(s.source as i8)
        });
        let result = DescribeConfigsResourceResult::default()
            .with_name(text(&c.name))
            .with_value(c.value.as_deref().map(text))
            .with_read_only(c.read_only)
            .with_config_source(c.source as i8)
            .with_is_sensitive(c.sensitive)
            .with_synonyms(synonyms.collect());
        if self.version < 3 {
            return result;
        }
        let documentation = self.documentation.then(|| text(&c.documentation));
        result.with_config_type(c.kind as i8).with_documentation(documentation)
    }
}
