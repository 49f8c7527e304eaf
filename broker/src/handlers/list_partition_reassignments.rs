//! ListPartitionReassignments (key 46), v0 (KIP-455).
//! Behavior: none is ever in progress: what AlterPartitionReassignments accepts is complete when it is answered. Topics that
//!   do not exist are no error (`ReplicationControlManager.listPartitionReassignments`).

use std::sync::Arc;

use protocol::codec::encode_list_partition_reassignments;
use protocol::error;
use protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    _broker: &Arc<Broker>,
    ctx: &RequestContext,
    _request: ListPartitionReassignmentsRequest,
) -> Result<Reply, Close> {
    let response = ListPartitionReassignmentsResponse::default()
        .with_error_code(error::NONE)
        .with_error_message(None)
        .with_topics(Vec::new());
    Ok(Reply::ready(encode_list_partition_reassignments(ctx.correlation_id, ctx.version, &response)?))
}
