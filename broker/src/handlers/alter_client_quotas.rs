//! AlterClientQuotas (key 49), v0–v1 (KIP-546).
//! Behavior: each entity by itself; what is legal takes effect together, and is told from then on. Not enforced in this release.
//! Errors: those of `controller::quotas::alter` per entity, REQUEST_TIMED_OUT.

use std::collections::HashSet;
use std::sync::Arc;

use protocol::codec::encode_alter_client_quotas;
use protocol::error;
use protocol::messages::alter_client_quotas_request;
use protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use super::text;
use crate::broker::Broker;
use crate::controller::quotas::{QuotaAlteration, alter};
use crate::dispatch::{Close, RequestContext};
use crate::metadata::QuotaEntityType;
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: AlterClientQuotasRequest,
) -> Result<Reply, Close> {
    let wanted: Vec<QuotaAlteration> = request.entries.iter().map(alteration).collect();
    let addresses = addresses(&wanted).await;
    let journal = broker.journal.image();
    let mut judged = alter(&journal.inner, journal.level, &wanted, |ip| addresses.contains(ip));
    if !request.validate_only {
        let records: Vec<_> = judged.iter().flatten().flatten().cloned().collect();
        if !records.is_empty()
            && let Err(refused) = broker.propose(records).await
        {
            judged.iter_mut().filter(|j| j.is_ok()).for_each(|j| *j = Err(refused.clone()));
        }
    }
    let entries = wanted.iter().zip(judged).map(|(wanted, judged)| {
        let entity = wanted.entity.iter().map(|(kind, name)| {
            EntityData::default().with_entity_type(text(kind)).with_entity_name(name.as_deref().map(text))
        });
        let entry = EntryData::default().with_entity(entity.collect());
        match judged {
            Ok(_) => entry.with_error_code(error::NONE).with_error_message(None),
            Err(refused) => {
                entry.with_error_code(refused.code.code()).with_error_message(Some(text(&refused.message)))
            }
        }
    });
    let response = AlterClientQuotasResponse::default().with_entries(entries.collect());
    Ok(Reply::ready(encode_alter_client_quotas(ctx.correlation_id, ctx.version, &response)?))
}

fn alteration(entry: &alter_client_quotas_request::EntryData) -> QuotaAlteration {
    let entity = entry
        .entity
        .iter()
        .map(|part| (part.entity_type.to_string(), part.entity_name.as_ref().map(|name| name.to_string())));
    let ops = entry.ops.iter().map(|op| (op.key.to_string(), (!op.remove).then_some(op.value)));
    QuotaAlteration { entity: entity.collect(), ops: ops.collect() }
}

/// Which of the names of addresses are one, or a host that has one (`InetAddress.getByName`).
async fn addresses(wanted: &[QuotaAlteration]) -> HashSet<String> {
    let ip = QuotaEntityType::Ip.name();
    let names = wanted.iter().flat_map(|w| &w.entity).filter(|(kind, _)| kind == ip);
    let mut found = HashSet::new();
    for name in names.filter_map(|(_, name)| name.as_ref()) {
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        if is_address || tokio::net::lookup_host((name.as_str(), 0)).await.is_ok() {
            found.insert(name.clone());
        }
    }
    found
}
