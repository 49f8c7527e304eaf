//! DescribeClientQuotas (key 48), v0–v1 (KIP-546).
//! Behavior: the quotas of the entities that a filter finds. They are kept and told, not enforced in this release.
//! Errors: those of `controller::quotas::describe`.

use std::sync::Arc;

use protocol::codec::encode_describe_client_quotas;
use protocol::error;
use protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use super::text;
use crate::broker::Broker;
use crate::controller::quotas::{Component, describe};
use crate::dispatch::{Close, RequestContext};
use crate::metadata::QuotaEntity;
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeClientQuotasRequest,
) -> Result<Reply, Close> {
    let journal = broker.journal.image();
    let components: Vec<Component<'_>> = request
        .components
        .iter()
        .map(|c| (c.entity_type.as_str(), c.match_type, c._match.as_deref()))
        .collect();
    let response = match describe(&journal.inner, &components, request.strict) {
        Ok(found) => {
            let entries = found.into_iter().map(|(entity, values)| {
                let values = values
                    .iter()
                    .map(|(key, value)| ValueData::default().with_key(text(key)).with_value(*value));
                EntryData::default().with_entity(parts(entity)).with_values(values.collect())
            });
            DescribeClientQuotasResponse::default()
                .with_error_code(error::NONE)
                .with_error_message(None)
                .with_entries(Some(entries.collect()))
        }
        Err(refused) => DescribeClientQuotasResponse::default()
            .with_error_code(refused.code.code())
            .with_error_message(Some(text(&refused.message)))
            .with_entries(None),
    };
    Ok(Reply::ready(encode_describe_client_quotas(ctx.correlation_id, ctx.version, &response)?))
}

fn parts(entity: &QuotaEntity) -> Vec<EntityData> {
    let parts = entity.parts().map(|(kind, name)| {
        EntityData::default().with_entity_type(text(kind.name())).with_entity_name(name.map(text))
    });
    parts.collect()
}
