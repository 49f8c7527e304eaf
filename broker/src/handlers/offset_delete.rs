//! OffsetDelete (key 47), v0 (KIP-496).
//! Behavior: committed offsets of the partitions named are gone when it is answered; one without an offset is fine.
//! Errors: INVALID_GROUP_ID, GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS for all;
//!   UNKNOWN_TOPIC_OR_PARTITION, GROUP_SUBSCRIBED_TO_TOPIC per partition (`KafkaApis.handleOffsetDeleteRequest`).

use std::sync::Arc;

use protocol::codec::encode_offset_delete;
use protocol::messages::OffsetDeleteRequest;

use super::group_reply::{Shape, in_request_order, park};
use crate::broker::Broker;
use crate::coordinator::group::{GroupResponse, OffsetDeleteAnswer, convert};
use crate::dispatch::{Close, RequestContext};
use crate::server::reply_queue::Reply;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: OffsetDeleteRequest,
) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let mut delete = convert::offset_delete::request(&request);
    let asked_for = delete.topics.clone();
    delete.topics = known(broker, std::mem::take(&mut delete.topics));
    let asked = broker
        .groups
        .request(broker, &delete.group_id, |shard, now, token| shard.delete_offsets(now, token, &delete));
    Ok(park(broker, asked, move |answer| {
        let answer = match answer {
            Ok(GroupResponse::OffsetDelete(answer)) => answer,
            Ok(other) => unreachable!("a deletion of offsets was answered with {other:?}"),
            Err(code) => OffsetDeleteAnswer { error: Some(code), topics: Vec::new() },
        };
        // What is refused as a whole says nothing of partitions (`OffsetDeleteResponse.Builder.merge`).
        let topics =
            if answer.error.is_some() { Vec::new() } else { in_request_order(asked_for, answer.topics) };
        let answer = OffsetDeleteAnswer { topics, ..answer };
        encode_offset_delete(correlation_id, version, &convert::offset_delete::response(answer))
    }))
}

fn known(broker: &Broker, topics: Shape) -> Shape {
    let table = broker.partitions.load();
    let topics = topics.into_iter().filter_map(|(name, mut partitions)| {
        let topic = table.topic(&name)?;
        partitions.retain(|index| topic.partition(*index).is_some());
        (!partitions.is_empty()).then_some((name, partitions))
    });
    topics.collect()
}
