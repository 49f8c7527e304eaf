//! Produce (key 0), v3–v13; v0–v2 are advertised for old librdkafka's sake (KAFKA-18659) and refused on use.
//! Behavior: each batch is judged, given its offsets and pushed into the lane before the next request of the connection is
//!   read; the answer leaves when the last lane object it touched is durable. acks=1 means what acks=all means. acks=0
//!   gets no answer; if something failed, the connection is closed. A sequence is refused when what it was judged by is
//!   durable: else that may never have been (I5).
//! Versions: v8 record errors (KIP-467) · v10 current leader (KIP-951) · v13 topic ids (KIP-516).
//! Errors: INVALID_REQUIRED_ACKS, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_TOPIC_EXCEPTION (internal topics),
//!   those of `AppendError`, INVALID_TXN_STATE (transactions are not served).

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use protocol::error::{self, ErrorCode};
use protocol::messages::ProduceRequest;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::produce_response::{self, Encoded, Failure, ProduceResponse, ProducedPartition, ProducedTopic};
use s3stream::budget::Permit;
use s3stream::ids::LaneNumber;

use crate::broker::Broker;
use crate::coordinator::is_internal;
use crate::dispatch::{Close, RequestContext};
use crate::error::append_error_code;
use crate::metadata::{LeadersTold, TopicRef};
use crate::partition::append::{AppendError, validate};
use crate::partition::table::Topic;
use crate::partition::{AppendContext, Appended, Partition};
use crate::server::reply_queue::Reply;

/// The one client that may write internal topics (`KafkaApis.handleProduceRequest`, `AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// Why nothing was appended.
struct Refused {
    code: ErrorCode,
    failure: Option<Box<Failure>>,
    /// The lane object that the judgement rests on: it is no final one before that is durable (I5).
    at: Option<LaneNumber>,
}

/// Serves the request; see the file header. The answer is written into `memory`.
pub async fn handle(
    broker: &Broker,
    ctx: &RequestContext,
    memory: &mut BytesMut,
    request: ProduceRequest,
    charge: Permit,
) -> Result<Reply, Close> {
    let acks = request.acks;
    let refusal = refuse_all(broker, &request).await;
    // The frame stays in memory until the last of its batches was copied, and is charged for all of it until then.
    let charge = Arc::new(charge);
    let mut at: Option<LaneNumber> = None;
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let topic = refusal.map_or_else(|| find_topic(broker, ctx, &data), Err);
        let partition = |p: PartitionProduceData| {
            let index = p.index;
            let outcome = match &topic {
                Ok(topic) => append(broker, ctx, topic, p, charge.clone()),
                Err(code) => Err(refused(*code)),
            };
            at = at.max(outcome.as_ref().map_or_else(|refused| refused.at, |appended| appended.at));
            produced(index, outcome)
        };
        let partitions = data.partition_data.into_iter().map(partition).collect();
        topics.push(ProducedTopic { name: data.name.0, topic_id: data.topic_id, partitions });
    }
    let response = ProduceResponse { topics, ..ProduceResponse::default() };
    if acks == 0 {
        let failed = response.topics.iter().flat_map(|t| &t.partitions).any(|p| p.error_code != error::NONE);
        return if failed { Err(Close::UnacknowledgedProduceFailed) } else { Ok(Reply::None) };
    }
    let answer = encode(broker, ctx, memory, response)?;
    Ok(match at {
        Some(at) => Reply::Durable { at, answer },
        None => Reply::ready(answer.confirm()),
    })
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
    charge: Arc<Permit>,
) -> Result<Appended, Refused> {
    let partition: &Arc<Partition> =
        topic.partition(data.index).ok_or_else(|| refused(ErrorCode::UnknownTopicOrPartition))?;
    let now_ms = broker.env.clock.wall_ms();
    let limit = broker.decompressed_bytes_max();
    let validated =
        validate(data.records, ctx.version, &topic.config.load(), now_ms, limit).map_err(explain)?;
    if validated.batch.header().is_transactional() {
        return Err(refused(ErrorCode::InvalidTxnState));
    }
    let context = AppendContext { lane: &broker.lane, now_ms, charge: Some(charge) };
    partition.append(&validated.batch, validated.max_timestamp, context).map_err(explain)
}

fn refused(code: ErrorCode) -> Refused {
    Refused { code, failure: None, at: None }
}

fn explain(error: AppendError) -> Refused {
    let code = append_error_code(&error);
    if let AppendError::Sequence(error) = error {
        // Its words would be wrong beside the code that it may be revoked with; Kafka has none here, too.
        return Refused { code, failure: None, at: error.rests_on() };
    }
    let message = Some(error.to_string());
    let records = match error {
        AppendError::Records(_, errors) => errors.into_iter().map(|e| (e.batch_index, e.message)).collect(),
        _ => Vec::new(),
    };
    Refused { code, failure: Some(Box::new(Failure { message, records })), at: None }
}

fn produced(index: i32, outcome: Result<Appended, Refused>) -> ProducedPartition {
    match outcome {
        Ok(appended) => ProducedPartition {
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start_offset,
            provisional: true,
            ..ProducedPartition::error(index, error::NONE)
        },
        Err(Refused { code, failure, at }) => {
            let error = ProducedPartition::error(index, code.code());
            ProducedPartition { failure, provisional: at.is_some(), ..error }
        }
    }
}

fn encode(
    broker: &Broker,
    ctx: &RequestContext,
    memory: &mut BytesMut,
    mut response: ProduceResponse,
) -> Result<Encoded, Close> {
    let moved = ErrorCode::NotLeaderOrFollower.code();
    let mut leaders = LeadersTold::default();
    for topic in &mut response.topics {
        let named = TopicRef::of(ctx.version, &topic.name, topic.topic_id);
        for partition in topic.partitions.iter_mut().filter(|p| p.error_code == moved) {
            let image = broker.journal.image();
            partition.current_leader =
                Some(leaders.tell(&image.inner, &ctx.listener, named, partition.index));
        }
    }
    response.node_endpoints = leaders.endpoints();
    Ok(produce_response::encode(memory, ctx.correlation_id, ctx.version, &response)?)
}
