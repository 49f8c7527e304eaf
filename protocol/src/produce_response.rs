//! The Produce answer, v3-v13, written by hand and before it may leave.
//!
//! An answer waits for the store, and what it is made of would wait with it: the topic's name is a slice of the request,
//! and holds all of its frame. So it is encoded at once, while all that is at hand, and can be taken back
//! ([`Encoded::revoke`]) if what it says does not become true.
//!
//! Owns: the bytes of the answer. Does not own what is in it. Equality with the codec's bytes is a property test over every
//! version. Fields that a version lacks are left out, not refused: callers fill in all they know. (v5 log start offset ·
//! v8 record errors (KIP-467) · v9 flexible · v10 current leader, node endpoints (KIP-951) · v13 topic ids (KIP-516).)

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::api::{self, ApiKey};
use crate::codec::put_response_header;
use crate::error::EncodeError;
use crate::frame::LENGTH_BYTES;
use crate::primitives::{
    LeaderIdAndEpoch, NodeEndpoint, put_array_length, put_leader_tag, put_no_tags, put_node_endpoints_tag,
    put_nullable_string, put_string,
};

const LOG_START_SINCE: i16 = 5;
const RECORD_ERRORS_SINCE: i16 = 8;
const LEADERS_SINCE: i16 = 10;
const TOPIC_IDS_SINCE: i16 = 13;

/// Most answers are shorter.
const ANSWER_BYTES: usize = 256;
/// Allocated at once for some of them.
const MEMORY_BYTES: usize = 4 << 10;

/// A Produce answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProduceResponse {
    /// In the order of the request.
    pub topics: Vec<ProducedTopic>,
    /// How long the client was or should be throttled, ms.
    pub throttle_time_ms: i32,
    /// Where the leaders named in `current_leader` are (v10+).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// The partitions of a topic in the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducedTopic {
    /// Its name (up to v12).
    pub name: StrBytes,
    /// Its id (v13+).
    pub topic_id: Uuid,
    /// In the order of the request.
    pub partitions: Vec<ProducedPartition>,
}

/// A partition in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducedPartition {
    /// Its index.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error_code: i16,
    /// Offset of the first record, -1 if none was appended.
    pub base_offset: i64,
    /// The append time where the topic keeps that, else -1.
    pub log_append_time_ms: i64,
    /// First offset retained, -1 if not known (v5+).
    pub log_start_offset: i64,
    /// What is wrong (v8+).
    pub failure: Option<Box<Failure>>,
    /// With NOT_LEADER_OR_FOLLOWER: who leads (v10+).
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// It is so only if what the answer waits for becomes durable.
    pub provisional: bool,
}

/// What is wrong with a partition's batch, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// Of the batch.
    pub message: Option<String>,
    /// Of its records: index in the batch, message.
    pub records: Vec<(i32, String)>,
}

impl ProducedPartition {
    /// A partition to which nothing was appended.
    pub fn error(index: i32, error_code: i16) -> ProducedPartition {
        ProducedPartition {
            index,
            error_code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            failure: None,
            current_leader: None,
            provisional: false,
        }
    }
}

/// The whole frame, its length included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    frame: BytesMut,
    /// Where the error codes of the provisional partitions are. Most producers send a batch at a time.
    provisional: SmallVec<[usize; 1]>,
    version: i16,
}

impl Encoded {
    /// Bytes of the frame.
    pub fn size(&self) -> usize {
        self.frame.len()
    }

    /// The frame: what it says is true.
    pub fn confirm(self) -> Bytes {
        self.frame.freeze()
    }

    /// The frame, in which nothing was appended: provisional partitions have `error_code` now.
    pub fn revoke(mut self, error_code: i16) -> Bytes {
        for at in self.provisional {
            let mut partition = &mut self.frame[at..];
            partition.put_i16(error_code);
            partition.put_i64(-1);
            partition.put_i64(-1);
            if self.version >= LOG_START_SINCE {
                partition.put_i64(-1);
            }
        }
        self.frame.freeze()
    }
}

/// Writes the answer of this version into `memory` and takes it out of there: answers lie one behind the other in memory that
/// is allocated once for many. What `memory` held before is gone.
pub fn encode(
    memory: &mut BytesMut,
    correlation_id: i32,
    version: i16,
    response: &ProduceResponse,
) -> Result<Encoded, EncodeError> {
    let api = api::find(ApiKey::Produce as i16).expect("Produce has a row in the table");
    if !api.supports(version) {
        let reason = "no such version".to_string();
        return Err(EncodeError::Refused { api: api.name, version, reason });
    }
    let flexible = api.is_flexible(version);
    // What is left of an answer that could not be written.
    memory.clear();
    if memory.capacity() < ANSWER_BYTES {
        memory.reserve(MEMORY_BYTES);
    }
    let mut provisional = SmallVec::new();
    put_response_header(memory, api, correlation_id, version);
    put_array_length(memory, flexible, Some(response.topics.len()))?;
    for topic in &response.topics {
        if version >= TOPIC_IDS_SINCE {
            memory.put_slice(topic.topic_id.as_bytes());
        } else {
            put_string(memory, flexible, &topic.name)?;
        }
        put_array_length(memory, flexible, Some(topic.partitions.len()))?;
        for partition in &topic.partitions {
            if partition.provisional {
                provisional.push(memory.len() + size_of_val(&partition.index));
            }
            put_partition(memory, version, flexible, partition)?;
        }
        put_no_tags(memory, flexible);
    }
    memory.put_i32(response.throttle_time_ms);
    if version >= LEADERS_SINCE && !response.node_endpoints.is_empty() {
        memory.put_u8(1);
        put_node_endpoints_tag(memory, 0, &response.node_endpoints)?;
    } else {
        put_no_tags(memory, flexible);
    }
    let bytes = memory.len() - LENGTH_BYTES;
    let length = i32::try_from(bytes).map_err(|_| EncodeError::TooLong { bytes })?;
    memory[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    let frame = memory.split();
    if bytes > MEMORY_BYTES {
        // `memory` would keep all of it for the next.
        *memory = BytesMut::new();
    }
    Ok(Encoded { frame, provisional, version })
}

fn put_partition(
    frame: &mut BytesMut,
    version: i16,
    flexible: bool,
    partition: &ProducedPartition,
) -> Result<(), EncodeError> {
    frame.put_i32(partition.index);
    frame.put_i16(partition.error_code);
    frame.put_i64(partition.base_offset);
    frame.put_i64(partition.log_append_time_ms);
    if version >= LOG_START_SINCE {
        frame.put_i64(partition.log_start_offset);
    }
    if version >= RECORD_ERRORS_SINCE {
        let failure = partition.failure.as_deref();
        let records = failure.map_or(&[][..], |failure| &failure.records);
        put_array_length(frame, flexible, Some(records.len()))?;
        for (index, message) in records {
            frame.put_i32(*index);
            put_nullable_string(frame, flexible, Some(message))?;
            put_no_tags(frame, flexible);
        }
        put_nullable_string(frame, flexible, failure.and_then(|failure| failure.message.as_deref()))?;
    }
    match partition.current_leader {
        Some(leader) if version >= LEADERS_SINCE => {
            frame.put_u8(1);
            put_leader_tag(frame, 0, leader);
        }
        _ => put_no_tags(frame, flexible),
    }
    Ok(())
}

#[cfg(test)]
#[path = "produce_response_tests.rs"]
mod tests;
