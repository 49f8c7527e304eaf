//! Fetch (key 1), v4–v18.
//! Behavior: answers at once when there is enough (`min_bytes`), an error to tell, or nobody to wait for; else when data
//!   comes or `max_wait_ms` is over. Limits are soft: the first partition with data always gets one whole batch (KIP-74).
//! Versions: v7 sessions (KIP-227) · v9 leader epoch (KIP-320) · v11 rack (KIP-392) · v12 epoch of the last record
//!   fetched (replicas only) · v13 topic ids (KIP-516) · v15 replica state · v16 node endpoints (KIP-951).
//! Errors: FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR; per partition
//!   UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, OFFSET_OUT_OF_RANGE, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH,
//!   KAFKA_STORAGE_ERROR (the bucket did not answer: retriable).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::StrBytes;
use protocol::error::{self, ErrorCode};
use protocol::fetch_response::{self, FetchResponse, FetchedPartition, FetchedTopic};
use protocol::messages::FetchRequest;
use protocol::primitives::NodeEndpoint;
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use super::text;
use crate::broker::Broker;
use crate::dispatch::{Close, RequestContext};
use crate::fetch::gather::{Answer, Gathered, Limits, gather};
use crate::fetch::session::{
    ConnectionFetch, FetchKind, FetchSlots, INVALID_SESSION_ID, SessionRequest, TopicKey, Wanted,
};
use crate::metadata::{LeadersTold, TopicRef};
use crate::partition::table::PartitionTable;
use crate::server::reply_queue::{Frame, Reply};

/// `READ_COMMITTED` of `isolation_level`.
const READ_COMMITTED: i8 = 1;
/// First version whose clients know KAFKA_STORAGE_ERROR.
const STORAGE_ERROR_SINCE: i16 = 6;
/// First version that says where the leaders it names are.
const NODE_ENDPOINTS_SINCE: i16 = 16;

/// Serves the request; see the file header.
pub fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    connection: Arc<ConnectionFetch>,
    request: FetchRequest,
) -> Result<Reply, Close> {
    let (broker, ctx) = (broker.clone(), ctx.clone());
    Ok(Reply::Parked(Box::pin(async move { fetch(broker, ctx, connection, request).await })))
}

async fn fetch(
    broker: Arc<Broker>,
    ctx: RequestContext,
    connection: Arc<ConnectionFetch>,
    request: FetchRequest,
) -> Option<Frame> {
    let session = SessionRequest {
        id: request.session_id,
        epoch: if ctx.version >= 7 { request.session_epoch } else { -1 },
        by_id: ctx.version >= 13,
        partitions: request.topics.iter().map(|t| t.partitions.len()).sum(),
    };
    let fresh_id = || (broker.env.entropy.u64() >> 33) as i32;
    let kind = match broker.sessions.enter(session, broker.env.clock.monotonic(), fresh_id) {
        Ok(kind) => kind,
        Err(code) => return encode(&ctx, failed(code), None),
    };
    match kind {
        FetchKind::Sessionless => {
            answer(&broker, &ctx, &connection.slots, INVALID_SESSION_ID, Scope::All, request).await
        }
        FetchKind::Full(session) => {
            answer(&broker, &ctx, &session.slots, session.id, Scope::All, request).await
        }
        FetchKind::Incremental(session) => {
            answer(&broker, &ctx, &session.slots, session.id, Scope::Changed, request).await
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Every partition asked for.
    All,
    /// Those with news.
    Changed,
}

async fn answer(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    slots: &AsyncMutex<FetchSlots>,
    session_id: i32,
    scope: Scope,
    request: FetchRequest,
) -> Option<Frame> {
    let mut slots = slots.lock().await;
    let max_bytes = request.max_bytes.min(broker.config.values.int("fetch.max.bytes"));
    let limits = Limits {
        max_wait: Duration::from_millis(request.max_wait_ms.max(0) as u64),
        // `KafkaApis.handleFetchRequest`: no more can be waited for than can be answered.
        min_bytes: request.min_bytes.min(max_bytes).max(0) as usize,
        max_bytes: max_bytes.max(0) as usize,
    };
    let read_committed = request.isolation_level == READ_COMMITTED;
    let listed = take_request(broker, ctx, &mut slots, scope, request);
    if scope == Scope::All {
        slots.retain(&listed);
    }
    let session_id = match scope {
        Scope::All => session_id,
        Scope::Changed => broker.sessions.resized(session_id, slots.len()),
    };
    let mut gathered = gather(broker, &mut slots, limits).await;
    let charge = gathered.charge.take();
    let order = match scope {
        Scope::All => listed,
        Scope::Changed => changed(&slots, &gathered),
    };
    let told = Told { version: ctx.version, read_committed, table: &broker.partitions.load() };
    let mut topics = shape(&mut slots, gathered, order, &told);
    let node_endpoints =
        if ctx.version >= NODE_ENDPOINTS_SINCE { tell_leaders(broker, ctx, &mut topics) } else { Vec::new() };
    let response =
        FetchResponse { throttle_time_ms: 0, error_code: error::NONE, session_id, topics, node_endpoints };
    encode(ctx, response, charge)
}

/// Folds the request into the slots; gives the slots it listed, in order, of which a session may have forgotten some.
fn take_request(
    broker: &Broker,
    ctx: &RequestContext,
    slots: &mut FetchSlots,
    scope: Scope,
    request: FetchRequest,
) -> Vec<u32> {
    let table = broker.partitions.load();
    let mut listed = Vec::new();
    for topic in request.topics {
        let key = topic_key(ctx, &topic.topic.0, topic.topic_id);
        for p in topic.partitions {
            let wanted = Wanted {
                topic: key.clone(),
                index: p.partition,
                offset: p.fetch_offset,
                max_bytes: p.partition_max_bytes,
                // Any epoch below zero is none (`FetchRequest.optionalEpoch`).
                leader_epoch: if ctx.version >= 9 { p.current_leader_epoch.max(-1) } else { -1 },
            };
            listed.push(slots.update(wanted, &table));
        }
    }
    // Last (`FetchSession.update`), and of a session alone: what is listed in full is all there is.
    if scope == Scope::Changed {
        for topic in request.forgotten_topics_data {
            let key = topic_key(ctx, &topic.topic.0, topic.topic_id);
            topic.partitions.iter().for_each(|index| slots.remove(&key, *index));
        }
    }
    listed
}

fn topic_key(ctx: &RequestContext, name: &StrBytes, id: Uuid) -> TopicKey {
    if ctx.version >= 13 { TopicKey::Id(id) } else { TopicKey::Name(Arc::from(name.as_str())) }
}

/// What an incremental answer tells: data, errors, and offsets that moved (`FetchSession.maybeUpdateResponseData`).
fn changed(slots: &FetchSlots, answer: &Answer) -> Vec<u32> {
    let is_news = |slot: u32, g: &Gathered| {
        let now = (g.offsets.high_watermark, g.offsets.log_start, g.error);
        !g.records.is_empty() || g.error != error::NONE || slots.get(slot).told != Some(now)
    };
    let mut all: Vec<u32> = answer.slots.iter().filter(|(s, g)| is_news(**s, g)).map(|(s, _)| *s).collect();
    all.sort_by_key(|slot| slots.get(*slot).turn);
    all
}

/// What an answer tells depends on.
struct Told<'a> {
    version: i16,
    read_committed: bool,
    table: &'a PartitionTable,
}

fn shape(slots: &mut FetchSlots, mut answer: Answer, order: Vec<u32>, told: &Told<'_>) -> Vec<FetchedTopic> {
    let mut topics: Vec<FetchedTopic> = Vec::new();
    let mut places: HashMap<TopicKey, usize> = HashMap::new();
    for slot in order {
        let gathered = answer.slots.remove(&slot).unwrap_or_else(|| untouched(slots, slot, told.table));
        let s = slots.get_mut(slot);
        s.told = Some((gathered.offsets.high_watermark, gathered.offsets.log_start, gathered.error));
        let place = *places.entry(s.wanted.topic.clone()).or_insert_with(|| {
            let (name, topic_id) = match &s.wanted.topic {
                TopicKey::Name(name) => (text(name), Uuid::nil()),
                TopicKey::Id(id) => (StrBytes::default(), *id),
            };
            topics.push(FetchedTopic { name, topic_id, partitions: Vec::new() });
            topics.len() - 1
        });
        let known = gathered.error == error::NONE;
        topics[place].partitions.push(FetchedPartition {
            index: s.wanted.index,
            error_code: error_code(told.version, gathered.error),
            high_watermark: gathered.offsets.high_watermark,
            // No transaction is ever open: the last stable offset is the high watermark.
            last_stable_offset: gathered.offsets.high_watermark,
            log_start_offset: gathered.offsets.log_start,
            aborted_transactions: (told.read_committed && known).then(Vec::new),
            preferred_read_replica: -1,
            diverging_epoch: None,
            current_leader: None,
            records: gathered.records,
        });
    }
    topics
}

/// Who leads what is not led here, or not in the epoch the client knows (KIP-951).
fn tell_leaders(broker: &Broker, ctx: &RequestContext, topics: &mut [FetchedTopic]) -> Vec<NodeEndpoint> {
    let (not_leader, fenced) = (ErrorCode::NotLeaderOrFollower.code(), ErrorCode::FencedLeaderEpoch.code());
    let mut leaders = LeadersTold::default();
    for topic in topics {
        let named = TopicRef::of(ctx.version, &topic.name, topic.topic_id);
        let moved = |p: &&mut FetchedPartition| p.error_code == not_leader || p.error_code == fenced;
        for p in topic.partitions.iter_mut().filter(moved) {
            let image = broker.journal.image();
            p.current_leader = Some(leaders.tell(&image.inner, &ctx.listener, named, p.index));
        }
    }
    leaders.endpoints()
}

/// A slot that had no news: nothing but its offsets.
fn untouched(slots: &FetchSlots, slot: u32, table: &PartitionTable) -> Gathered {
    match &slots.get(slot).partition {
        Some(p) => Gathered::empty(p.offsets()),
        None => Gathered::unknown(&slots.get(slot).wanted.topic, table),
    }
}

/// Clients of these versions know no KAFKA_STORAGE_ERROR: it would be an unknown error to them, and final
/// (`KafkaApis.handleFetchRequest`, `maybeDownConvertStorageError`).
fn error_code(version: i16, code: i16) -> i16 {
    if version < STORAGE_ERROR_SINCE && code == ErrorCode::KafkaStorageError.code() {
        ErrorCode::NotLeaderOrFollower.code()
    } else {
        code
    }
}

fn failed(code: ErrorCode) -> FetchResponse {
    FetchResponse {
        throttle_time_ms: 0,
        error_code: code.code(),
        session_id: INVALID_SESSION_ID,
        topics: Vec::new(),
        node_endpoints: Vec::new(),
    }
}

fn encode(
    ctx: &RequestContext,
    response: FetchResponse,
    charge: Option<s3stream::budget::Permit>,
) -> Option<Frame> {
    match fetch_response::encode(ctx.correlation_id, ctx.version, &response) {
        Ok(parts) => Some(Frame { parts: parts.into(), charge }),
        Err(error) => {
            tracing::error!(%error, version = ctx.version, "a fetch answer could not be encoded");
            None
        }
    }
}
