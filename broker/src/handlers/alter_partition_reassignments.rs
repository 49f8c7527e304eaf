//! AlterPartitionReassignments (key 45), v0–v1 (KIP-455).
//! Behavior: legal replica lists are stored and reported verbatim; nothing has to be copied, so each is complete when it is
//!   answered. All that is legal takes effect together.
//! Versions: v1 the number of replicas may be held fixed (KIP-860).
//! Errors: per partition those of `controller::reassign::reassign`, REQUEST_TIMED_OUT.

use std::sync::Arc;

use protocol::codec::encode_alter_partition_reassignments;
use protocol::error;
use protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use super::text;
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::reassign::{Reassignment, reassign};
use crate::dispatch::{Close, RequestContext};
use crate::metadata::MetadataRecord;
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> Result<Reply, Close> {
    // A topic must not go, nor grow, between the judgement and the commit.
    let judging = broker.topic_changes.judging.lock().await;
    let mut records = Vec::new();
    let mut judged: Vec<Vec<Result<(), Refused>>> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let journal = broker.journal.image();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for p in &topic.partitions {
            let replicas: Option<Vec<i32>> =
                p.replicas.as_ref().map(|ids| ids.iter().map(|id| id.0).collect());
            let wanted = Reassignment {
                topic: &topic.name,
                index: p.partition_index,
                replicas: replicas.as_deref(),
                allow_replication_factor_change: request.allow_replication_factor_change,
            };
            partitions
                .push(reassign(&journal.inner, journal.level, wanted).map(|record| records.extend(record)));
        }
        judged.push(partitions);
    }
    let committed = commit(broker, records).await;
    drop(judging);
    let responses = request.topics.into_iter().zip(judged).map(|(topic, judged)| {
        let partitions = topic.partitions.iter().zip(judged).map(|(p, judged)| {
            let response = ReassignablePartitionResponse::default().with_partition_index(p.partition_index);
            match judged.and(committed.clone()) {
                Ok(()) => response.with_error_code(error::NONE).with_error_message(None),
                Err(refused) => response
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(&refused.message))),
            }
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    let response = AlterPartitionReassignmentsResponse::default()
        .with_error_code(error::NONE)
        .with_error_message(None)
        .with_responses(responses.collect());
    let response = if ctx.version >= 1 {
        response.with_allow_replication_factor_change(request.allow_replication_factor_change)
    } else {
        response
    };
    Ok(Reply::ready(encode_alter_partition_reassignments(ctx.correlation_id, ctx.version, &response)?))
}

/// As few mutations as hold it: one, but for very many partitions.
async fn commit(broker: &Broker, records: Vec<MetadataRecord>) -> Result<(), Refused> {
    const RECORDS_MAX: usize = 10_000;
    for part in records.chunks(RECORDS_MAX) {
        broker.propose(part.to_vec()).await?;
    }
    Ok(())
}
