//! CreatePartitions (key 37), v0–v3.
//! Behavior: a topic gets as many partitions as are asked for in all; those that are told as created can be written and read at
//!   once. Each topic by itself.
//! Errors: UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST (a topic twice), INVALID_PARTITIONS, INVALID_REPLICA_ASSIGNMENT,
//!   POLICY_VIOLATION (too many): `controller::partitions`.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use protocol::codec::encode_create_partitions;
use protocol::error::{self, ErrorCode};
use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{text, topic_name};
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::partitions::MorePartitions;
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;
use crate::topics::create_partitions;

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: CreatePartitionsRequest,
) -> Result<Reply, Close> {
    let mut seen = HashSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        if !seen.insert(topic.name.0.to_string()) {
            twice.insert(topic.name.0.to_string());
        }
    }
    let wanted: Vec<MorePartitions> =
        request.topics.iter().map(more_partitions).filter(|t| !twice.contains(&t.topic)).collect();
    let results = create_partitions(broker, &wanted, request.validate_only).await;
    let results = wanted.iter().zip(results).map(|(wanted, result)| topic_result(&wanted.topic, result));
    // ControllerApis.createPartitions: told once, however often it was asked for.
    let refused = twice.iter().map(|name| {
        topic_result(name, Err(Refused::new(ErrorCode::InvalidRequest, "Duplicate topic name.")))
    });
    let response = CreatePartitionsResponse::default().with_results(refused.chain(results).collect());
    Ok(Reply::ready(encode_create_partitions(ctx.correlation_id, ctx.version, &response)?))
}

fn more_partitions(topic: &CreatePartitionsTopic) -> MorePartitions {
    let replicas = |a: &protocol::messages::create_partitions_request::CreatePartitionsAssignment| {
        a.broker_ids.iter().map(|id| id.0).collect()
    };
    MorePartitions {
        topic: topic.name.0.to_string(),
        count: topic.count,
        assignments: topic.assignments.as_ref().map(|all| all.iter().map(replicas).collect()),
    }
}

fn topic_result(topic: &str, result: Result<(), Refused>) -> CreatePartitionsTopicResult {
    let response = CreatePartitionsTopicResult::default().with_name(topic_name(topic));
    match result {
        Ok(()) => response.with_error_code(error::NONE).with_error_message(None),
        Err(refused) => {
            response.with_error_code(refused.code.code()).with_error_message(Some(text(&refused.message)))
        }
    }
}
