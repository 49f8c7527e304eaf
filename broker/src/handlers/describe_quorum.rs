//! DescribeQuorum (key 55), v0–v2.
//! Behavior: the journal as Kafka's metadata log: the controller is its one voter, other live brokers observe. Offsets are
//!   commit numbers; the epoch is the commit in which the controller was registered. All that is told is durable.
//! Versions: v1 fetch and catch-up times (KIP-836) · v2 endpoints, directory ids (KIP-853; there are no directories: nil).
//! Errors: UNKNOWN_TOPIC_OR_PARTITION (another partition than `__cluster_metadata-0`; `DescribeQuorumRequest`).

use std::sync::Arc;

use protocol::codec::encode_describe_quorum;
use protocol::error::{self, ErrorCode};
use protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};

use super::{text, topic_name};
use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::metadata::BrokerRegistration;
use crate::server::reply_queue::Reply;

/// `Topic.CLUSTER_METADATA_TOPIC_NAME`.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeQuorumRequest,
) -> Result<Reply, Close> {
    let is_journal = match request.topics.as_slice() {
        [topic] if &*topic.topic_name.0 == METADATA_TOPIC => {
            matches!(topic.partitions.as_slice(), [partition] if partition.partition_index == 0)
        }
        _ => false,
    };
    let response = if is_journal { describe(broker, ctx.version) } else { unknown(request) };
    Ok(Reply::ready(encode_describe_quorum(ctx.correlation_id, ctx.version, &response)?))
}

fn unknown(request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|p| {
            PartitionData::default()
                .with_partition_index(p.partition_index)
                .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
        });
        TopicData::default().with_topic_name(topic.topic_name).with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_topics(topics.collect())
}

fn describe(broker: &Broker, version: i16) -> DescribeQuorumResponse {
    let journal = broker.journal.image();
    let now_ms = broker.env.clock.wall_ms();
    // The offset after the last: commits are numbered from 1.
    let end = journal.seq as i64 + 1;
    let replica = |node: &BrokerRegistration, is_leader: bool| {
        let state = ReplicaState::default()
            .with_replica_id(BrokerId(node.node_id))
            .with_log_end_offset(if is_leader { end } else { -1 });
        if version < 1 {
            return state;
        }
        let at = if is_leader { now_ms } else { -1 };
        state.with_last_fetch_timestamp(at).with_last_caught_up_timestamp(at)
    };
    let controller = journal.controller;
    let leader = controller.and_then(|c| journal.inner.broker(c));
    let others = journal.inner.live_brokers().filter(|(incarnation, _)| Some(*incarnation) != controller);
    let partition = PartitionData::default()
        .with_partition_index(0)
        .with_error_code(error::NONE)
        .with_leader_id(BrokerId(leader.map_or(-1, |l| l.node_id)))
        .with_leader_epoch(controller.map_or(-1, |c| i32::try_from(c.seq).unwrap_or(i32::MAX)))
        .with_high_watermark(end)
        .with_current_voters(leader.map(|l| replica(l, true)).into_iter().collect())
        .with_observers(others.map(|(_, b)| replica(b, false)).collect());
    let topic =
        TopicData::default().with_topic_name(topic_name(METADATA_TOPIC)).with_partitions(vec![partition]);
    let response = DescribeQuorumResponse::default().with_error_code(error::NONE).with_topics(vec![topic]);
    if version < 2 {
        return response;
    }
    response.with_nodes(leader.map(|l| node(l)).into_iter().collect())
}

fn node(registration: &BrokerRegistration) -> Node {
    let listeners = registration
        .endpoints
        .iter()
        .map(|e| Listener::default().with_name(text(&e.listener)).with_host(text(&e.host)).with_port(e.port));
    Node::default().with_node_id(BrokerId(registration.node_id)).with_listeners(listeners.collect())
}
