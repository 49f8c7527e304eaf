//! Produce (key 0), v3–v13; v0–v2 are advertised for old librdkafka's sake (KAFKA-18659) and refused on use.
//! Behavior: each batch is judged, given its offsets and pushed into the lane before the next request of the connection is
//!   read; the answer leaves when the last lane object it touched is durable. acks=1 means what acks=all means. acks=0
//!   gets no answer; if something failed, the connection is closed.
//! Versions: v8 record errors (KIP-467) · v10 current leader (KIP-951) · v13 topic ids (KIP-516).
//! Errors: INVALID_REQUIRED_ACKS, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_TOPIC_EXCEPTION (internal topics),
//!   those of `AppendError`, INVALID_TXN_STATE (transactions are not served).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::codec::encode_produce;
use protocol::error::{self, ErrorCode};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse,
    TopicProduceResponse,
};
use protocol::messages::{BrokerId, ProduceRequest, TopicName};
use s3stream::budget::Permit;
use s3stream::ids::LaneNumber;
use uuid::Uuid;

use super::text;
use crate::broker::Broker;
use crate::coordinator::is_internal;
use crate::dispatch::{Close, RequestContext};
use crate::error::append_error_code;
use crate::metadata::{LeaderHint, TopicRef, leader_hint};
use crate::partition::append::{AppendError, validate};
use crate::partition::table::Topic;
use crate::partition::{AppendContext, Appended, Partition};
use crate::server::reply_queue::{Frame, Reply};

/// The one client that may write internal topics (`KafkaApis.handleProduceRequest`, `AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// First version that tells who leads instead (KIP-951).
const CURRENT_LEADER_SINCE: i16 = 10;

struct TopicOutcome {
    name: TopicName,
    id: Uuid,
    partitions: Vec<(i32, Result<Appended, Refused>)>,
}

struct Refused {
    code: ErrorCode,
    message: Option<String>,
    records: Vec<(i32, String)>,
}

/// Serves the request; see the file header.
pub async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ProduceRequest,
    charge: Permit,
) -> Result<Reply, Close> {
    let acks = request.acks;
    let refusal = refuse_all(broker, &request).await;
    let mut charge = Some(charge);
    let mut outcomes = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let topic = find_topic(broker, ctx, &data);
        let (name, id) = (data.name, data.topic_id);
        let partitions = data
            .partition_data
            .into_iter()
            .map(|p| {
                let index = p.index;
                let outcome = match &refusal {
                    Some(code) => Err(refused(*code)),
                    None => match &topic {
                        Ok(topic) => append(broker, ctx, topic, p, &mut charge),
                        Err(code) => Err(refused(*code)),
                    },
                };
                (index, outcome)
            })
            .collect();
        outcomes.push(TopicOutcome { name, id, partitions });
    }
    if acks == 0 {
        let failed = outcomes.iter().any(|t| t.partitions.iter().any(|(_, o)| o.is_err()));
        return if failed { Err(Close::UnacknowledgedProduceFailed) } else { Ok(Reply::None) };
    }
    let (version, correlation_id) = (ctx.version, ctx.correlation_id);
    match last_lane_object(&outcomes) {
        None => Ok(Reply::Ready(respond(broker, &ctx.listener, correlation_id, version, outcomes)?)),
        Some(at) => {
            let (broker, listener) = (broker.clone(), ctx.listener.clone());
            Ok(Reply::Durable {
                at,
                frame: Box::new(move |durable| {
                    if let Err(ended) = durable {
                        not_durable(&mut outcomes, &AppendError::LaneEnded(ended));
                    }
                    respond(&broker, &listener, correlation_id, version, outcomes).ok()
                }),
            })
        }
    }
}

/// What holds for every partition of the request. Waits for room in the lane, within the request's time, before anything
/// is judged: a batch that was admitted must be pushed.
async fn refuse_all(broker: &Broker, request: &ProduceRequest) -> Option<ErrorCode> {
    if !matches!(request.acks, -1..=1) {
        return Some(ErrorCode::InvalidRequiredAcks);
    }
    if request.transactional_id.is_some() {
        return Some(ErrorCode::InvalidTxnState);
    }
    if broker.free_space.is_short() {
        return Some(append_error_code(&AppendError::NoSpace));
    }
    let bytes = request.topic_data.iter().flat_map(|t| &t.partition_data);
    let bytes: usize = bytes.filter_map(|p| p.records.as_ref()).map(|r| r.len()).sum();
    let patience = Duration::from_millis(request.timeout_ms.max(1) as u64);
    match tokio::time::timeout(patience, broker.lane.room(bytes as u64)).await {
        Ok(Ok(())) => None,
        Ok(Err(no_room)) => Some(crate::error::no_room_code(&no_room)),
        Err(_) => Some(append_error_code(&AppendError::TimedOut)),
    }
}

fn find_topic(
    broker: &Broker,
    ctx: &RequestContext,
    data: &TopicProduceData,
) -> Result<Arc<Topic>, ErrorCode> {
    let table = broker.partitions.load();
    let topic = if ctx.version >= 13 {
        table.topic_by_id(data.topic_id).ok_or(ErrorCode::UnknownTopicId)?
    } else {
        table.topic(&data.name).ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    if is_internal(&topic.name) && ctx.client_id() != ADMIN_CLIENT_ID {
        return Err(ErrorCode::InvalidTopicException);
    }
    Ok(topic.clone())
}

fn append(
    broker: &Broker,
    ctx: &RequestContext,
    topic: &Topic,
    data: PartitionProduceData,
    charge: &mut Option<Permit>,
) -> Result<Appended, Refused> {
    let partition: &Arc<Partition> =
        topic.partition(data.index).ok_or_else(|| refused(ErrorCode::UnknownTopicOrPartition))?;
    let now_ms = broker.env.clock.wall_ms();
    let bytes = data.records.as_ref().map_or(0, |r| r.len());
    let limit = broker.decompressed_bytes_max();
    let validated =
        validate(data.records, ctx.version, &topic.config.load(), now_ms, limit).map_err(explain)?;
    if validated.batch.header().is_transactional() {
        return Err(refused(ErrorCode::InvalidTxnState));
    }
    // The frame stays in memory until the last of its batches was copied; each carries its part of the charge.
    let charge = charge.as_mut().map(|all| all.split(bytes as u64));
    let context = AppendContext { lane: &broker.lane, now_ms, charge };
    partition.append(&validated.batch, validated.max_timestamp, context).map_err(explain)
}

fn refused(code: ErrorCode) -> Refused {
    Refused { code, message: None, records: Vec::new() }
}

fn explain(error: AppendError) -> Refused {
    let (code, message) = (append_error_code(&error), Some(error.to_string()));
    let records = match error {
        AppendError::Records(_, errors) => errors.into_iter().map(|e| (e.batch_index, e.message)).collect(),
        _ => Vec::new(),
    };
    Refused { code, message, records }
}

fn last_lane_object(outcomes: &[TopicOutcome]) -> Option<LaneNumber> {
    let partitions = outcomes.iter().flat_map(|t| &t.partitions);
    partitions.filter_map(|(_, o)| o.as_ref().ok()?.at).max()
}

/// The lane ended first: nothing that this answer waited for is promised (I4: a retriable error).
fn not_durable(outcomes: &mut [TopicOutcome], error: &AppendError) {
    for (_, outcome) in outcomes.iter_mut().flat_map(|t| &mut t.partitions) {
        if outcome.as_ref().is_ok_and(|a| a.at.is_some()) {
            *outcome = Err(refused(append_error_code(error)));
        }
    }
}

fn respond(
    broker: &Broker,
    listener: &str,
    correlation_id: i32,
    version: i16,
    outcomes: Vec<TopicOutcome>,
) -> Result<Frame, Close> {
    let mut nodes: BTreeMap<i32, NodeEndpoint> = BTreeMap::new();
    let mut responses = Vec::with_capacity(outcomes.len());
    for t in outcomes {
        let mut partitions = Vec::with_capacity(t.partitions.len());
        for (index, outcome) in t.partitions {
            let moved = outcome.as_ref().is_err_and(|r| r.code == ErrorCode::NotLeaderOrFollower);
            let response = partition_response(version, index, outcome);
            partitions.push(if moved && version >= CURRENT_LEADER_SINCE {
                let topic = if version >= 13 { TopicRef::Id(t.id) } else { TopicRef::Name(&t.name) };
                let hint = leader_hint(&broker.journal.image().inner, listener, topic, index);
                nodes.extend(node_endpoint(&hint).map(|node| (hint.leader_id, node)));
                let leader = LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(hint.leader_id))
                    .with_leader_epoch(hint.leader_epoch);
                response.with_current_leader(leader)
            } else {
                response
            });
        }
        let topic = TopicProduceResponse::default().with_partition_responses(partitions);
        responses.push(if version >= 13 { topic.with_topic_id(t.id) } else { topic.with_name(t.name) });
    }
    let response = ProduceResponse::default()
        .with_responses(responses)
        .with_node_endpoints(nodes.into_values().collect());
    Ok(encode_produce(correlation_id, version, &response)?.into())
}

fn node_endpoint(hint: &LeaderHint) -> Option<NodeEndpoint> {
    let (endpoint, rack) = hint.node.as_ref()?;
    let node = NodeEndpoint::default()
        .with_node_id(BrokerId(hint.leader_id))
        .with_host(text(&endpoint.host))
        .with_port(i32::from(endpoint.port))
        .with_rack(rack.as_deref().map(text));
    Some(node)
}

fn partition_response(
    version: i16,
    index: i32,
    outcome: Result<Appended, Refused>,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match outcome {
        Ok(appended) => {
            let response = response
                .with_error_code(error::NONE)
                .with_base_offset(appended.base_offset)
                .with_log_append_time_ms(appended.log_append_time_ms);
            if version >= 5 { response.with_log_start_offset(appended.log_start_offset) } else { response }
        }
        Err(refused) => {
            let response = response
                .with_error_code(refused.code.code())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1);
            let response = if version >= 5 { response.with_log_start_offset(-1) } else { response };
            if version < 8 {
                return response;
            }
            let records = refused.records.into_iter().map(|(index, message)| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(index)
                    .with_batch_index_error_message(Some(text(&message)))
            });
            response
                .with_record_errors(records.collect())
                .with_error_message(refused.message.as_deref().map(text))
        }
    }
}
