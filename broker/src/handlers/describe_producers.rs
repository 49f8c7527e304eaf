//! DescribeProducers (key 61), v0 (KIP-664).
//! Behavior: the idempotent producers that a partition remembers; leaves when what they appended is durable. There are no
//!   transactions in this release: coordinator epoch and first offset of an open one are -1.
//! Errors: INVALID_TOPIC_EXCEPTION, UNKNOWN_TOPIC_OR_PARTITION, KAFKA_STORAGE_ERROR (a closed partition), NOT_LEADER_OR_FOLLOWER
//!   (the lane ended).

use std::sync::Arc;

use protocol::codec::encode_describe_producers;
use protocol::error::{self, ErrorCode};
use protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use s3stream::ids::LaneNumber;

use super::group_reply::encoded;
use super::text;
use crate::broker::Broker;
use crate::controller::Refused;
use crate::controller::topics::check_name;
use crate::dispatch::{Close, RequestContext};
use crate::error::read_error_code;
use crate::partition::producer_state::ActiveProducer;
use crate::server::reply_queue::Reply;

type Found = Result<(Vec<ActiveProducer>, Option<LaneNumber>), Refused>;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeProducersRequest,
) -> Result<Reply, Close> {
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    let topics: Vec<_> = request
        .topics
        .into_iter()
        .map(|topic| {
            let find = |index: i32| (index, active(broker, &topic.name, index));
            let partitions: Vec<(i32, Found)> =
                topic.partition_indexes.iter().map(|index| find(*index)).collect();
            (topic.name, partitions)
        })
        .collect();
    let all = topics.iter().flat_map(|(_, partitions)| partitions);
    let at = all.filter_map(|(_, found)| found.as_ref().ok()?.1).max();
    let broker = broker.clone();
    Ok(Reply::Parked(Box::pin(async move {
        let durable = match at {
            Some(at) => broker.lane.wait_durable(at).await.is_ok(),
            None => true,
        };
        let topics = topics.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, found)| {
                let lost =
                    || Refused::new(ErrorCode::NotLeaderOrFollower, "The lane of this broker has ended.");
                let found =
                    found.and_then(|(all, at)| if durable || at.is_none() { Ok(all) } else { Err(lost()) });
                partition_response(index, found)
            });
            TopicResponse::default().with_name(name).with_partitions(partitions.collect())
        });
        let response = DescribeProducersResponse::default().with_topics(topics.collect());
        encoded(encode_describe_producers(correlation_id, version, &response))
    })))
}

fn active(broker: &Broker, topic: &str, index: i32) -> Found {
    check_name(topic)?;
    let table = broker.partitions.load();
    let partition = table.topic(topic).and_then(|t| t.partition(index)).ok_or_else(|| {
        Refused::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
    })?;
    partition
        .check_epoch(-1)
        .map_err(|refused| Refused::new(read_error_code(&refused), refused.to_string()))?;
    Ok(partition.active_producers())
}

fn partition_response(index: i32, found: Result<Vec<ActiveProducer>, Refused>) -> PartitionResponse {
    let response = PartitionResponse::default().with_partition_index(index);
    match found {
        Err(refused) => {
            response.with_error_code(refused.code.code()).with_error_message(Some(text(&refused.message)))
        }
        Ok(producers) => {
            let producers = producers.into_iter().map(|p| {
                ProducerState::default()
                    .with_producer_id(ProducerId(p.producer_id))
                    .with_producer_epoch(i32::from(p.epoch))
                    .with_last_sequence(p.last_sequence)
                    .with_last_timestamp(p.last_timestamp)
                    .with_coordinator_epoch(-1)
                    .with_current_txn_start_offset(-1)
            });
            response.with_error_code(error::NONE).with_active_producers(producers.collect())
        }
    }
}
