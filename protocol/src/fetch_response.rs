//! The Fetch answer, v4-v18, written by hand so that records are not copied.
//!
//! Owns: the bytes of the answer as a list of segments for a vectored write. Does not own what is in it.
//!
//! The message codec copies records into its output, and wants them contiguous per partition; a partition's
//! records here are any number of slices of blocks. Slices of [`BY_REFERENCE_BYTES_MIN`] and more become
//! segments of their own, smaller ones are cheaper to copy than to hand to the kernel one by one. Everything
//! else is written into head buffers between them. Equality with the codec's bytes is a property test over
//! every version.
//!
//! Fields that a version lacks are left out, not refused: callers fill in all they know. (v5 log start offset
//! · v7 sessions (KIP-227) · v11 preferred replica (KIP-392) · v12 flexible, diverging epoch, current leader
//! (KIP-595) · v13 topic ids (KIP-516) · v16 node endpoints (KIP-951).)

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::{self, ApiKey};
use crate::codec::put_response_header;
use crate::error::EncodeError;
use crate::frame::LENGTH_BYTES;
use crate::primitives::{
    LeaderIdAndEpoch, NodeEndpoint, put_array_length, put_leader_tag, put_no_tags, put_node_endpoints_tag,
    put_string, put_tag, put_unsigned_varint,
};

/// Record slices of so many bytes go by reference.
pub const BY_REFERENCE_BYTES_MIN: usize = 16 * 1024;
/// No preferred read replica, no leader, no epoch.
pub const NONE_ID: i32 = -1;

const LOG_START_SINCE: i16 = 5;
const SESSIONS_SINCE: i16 = 7;
const PREFERRED_REPLICA_SINCE: i16 = 11;
const TOPIC_IDS_SINCE: i16 = 13;
const NODE_ENDPOINTS_SINCE: i16 = 16;

/// A Fetch answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchResponse {
    /// How long the client was or should be throttled, ms.
    pub throttle_time_ms: i32,
    /// Of the request as a whole (v7+).
    pub error_code: i16,
    /// The session, 0 for none (v7+).
    pub session_id: i32,
    /// In the order of the request.
    pub topics: Vec<FetchedTopic>,
    /// Where the leaders named in `current_leader` are (v16+).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// The partitions of a topic in the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Its name (up to v12).
    pub name: StrBytes,
    /// Its id (v13+).
    pub topic_id: Uuid,
    /// In the order of the request.
    pub partitions: Vec<FetchedPartition>,
}

/// A partition in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// Its index.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error_code: i16,
    /// Visible end, -1 if not known.
    pub high_watermark: i64,
    /// First offset of the earliest open transaction, else the high watermark; -1 if not known.
    pub last_stable_offset: i64,
    /// First offset retained, -1 if not known (v5+).
    pub log_start_offset: i64,
    /// Aborted transactions that overlap the records; `None` for read_uncommitted.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Who to read from instead, [`NONE_ID`] for nobody else (v11+).
    pub preferred_read_replica: i32,
    /// Where the reader's log and ours part (v12+).
    pub diverging_epoch: Option<EpochEndOffset>,
    /// With NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH: who leads (v12+).
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// Whole batches, in order, cut anywhere.
    pub records: Vec<Bytes>,
}

impl FetchedPartition {
    /// A partition that has nothing to give but an error code (`FetchResponse.partitionResponse`).
    pub fn error(index: i32, error_code: i16) -> FetchedPartition {
        FetchedPartition {
            index,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            preferred_read_replica: NONE_ID,
            diverging_epoch: None,
            current_leader: None,
            records: Vec::new(),
        }
    }

    /// Bytes of the records.
    pub fn records_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// An aborted transaction: its records from `first_offset` to its ABORT marker are not to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Its first offset in the partition.
    pub first_offset: i64,
}

/// The end of a leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The epoch.
    pub epoch: i32,
    /// The offset after its last record.
    pub end_offset: i64,
}

/// The frame as segments to be written in order; the first begins with the 4-byte length.
pub fn encode(
    correlation_id: i32,
    version: i16,
    response: &FetchResponse,
) -> Result<Vec<Bytes>, EncodeError> {
    let api = api::find(ApiKey::Fetch as i16).expect("Fetch has a row in the table");
    if !api.supports(version) {
        let reason = "no such version".to_string();
        return Err(EncodeError::Refused { api: api.name, version, reason });
    }
    let mut writer = Writer::new(version, api.is_flexible(version));
    put_response_header(&mut writer.head, api, correlation_id, version);
    writer.response(response)?;
    writer.finish()
}

/// Segments written so far, and the head buffer that the next small things go into.
struct Writer {
    version: i16,
    flexible: bool,
    /// The first segment stays writable until the length is known.
    first: Option<BytesMut>,
    /// The segments after the first.
    rest: Vec<Bytes>,
    head: BytesMut,
}

impl Writer {
    fn new(version: i16, flexible: bool) -> Writer {
        Writer { version, flexible, first: None, rest: Vec::new(), head: BytesMut::with_capacity(1024) }
    }

    fn response(&mut self, response: &FetchResponse) -> Result<(), EncodeError> {
        self.head.put_i32(response.throttle_time_ms);
        if self.version >= SESSIONS_SINCE {
            self.head.put_i16(response.error_code);
            self.head.put_i32(response.session_id);
        }
        put_array_length(&mut self.head, self.flexible, Some(response.topics.len()))?;
        for topic in &response.topics {
            if self.version >= TOPIC_IDS_SINCE {
                self.head.put_slice(topic.topic_id.as_bytes());
            } else {
                put_string(&mut self.head, self.flexible, &topic.name)?;
            }
            put_array_length(&mut self.head, self.flexible, Some(topic.partitions.len()))?;
            for partition in &topic.partitions {
                self.partition(partition)?;
            }
            put_no_tags(&mut self.head, self.flexible);
        }
        if self.version >= NODE_ENDPOINTS_SINCE && !response.node_endpoints.is_empty() {
            self.head.put_u8(1);
            put_node_endpoints_tag(&mut self.head, 0, &response.node_endpoints)?;
        } else {
            put_no_tags(&mut self.head, self.flexible);
        }
        Ok(())
    }

    fn partition(&mut self, partition: &FetchedPartition) -> Result<(), EncodeError> {
        self.head.put_i32(partition.index);
        self.head.put_i16(partition.error_code);
        self.head.put_i64(partition.high_watermark);
        self.head.put_i64(partition.last_stable_offset);
        if self.version >= LOG_START_SINCE {
            self.head.put_i64(partition.log_start_offset);
        }
        put_array_length(
            &mut self.head,
            self.flexible,
            partition.aborted_transactions.as_ref().map(Vec::len),
        )?;
        for aborted in partition.aborted_transactions.iter().flatten() {
            self.head.put_i64(aborted.producer_id);
            self.head.put_i64(aborted.first_offset);
            put_no_tags(&mut self.head, self.flexible);
        }
        if self.version >= PREFERRED_REPLICA_SINCE {
            self.head.put_i32(partition.preferred_read_replica);
        }
        put_array_length(&mut self.head, self.flexible, Some(partition.records_bytes()))?;
        for slice in &partition.records {
            self.records(slice);
        }
        if self.flexible {
            self.partition_tags(partition);
        }
        Ok(())
    }

    /// Tagged fields are written when they say something, in the order of their tags.
    fn partition_tags(&mut self, partition: &FetchedPartition) {
        let count = partition.diverging_epoch.iter().len() + partition.current_leader.iter().len();
        put_unsigned_varint(&mut self.head, count as u32);
        if let Some(diverging) = partition.diverging_epoch {
            let mut value = BytesMut::with_capacity(13);
            value.put_i32(diverging.epoch);
            value.put_i64(diverging.end_offset);
            value.put_u8(0);
            put_tag(&mut self.head, 0, &value);
        }
        if let Some(leader) = partition.current_leader {
            put_leader_tag(&mut self.head, 1, leader);
        }
    }

    fn records(&mut self, slice: &Bytes) {
        if slice.len() < BY_REFERENCE_BYTES_MIN {
            self.head.put_slice(slice);
            return;
        }
        self.cut();
        self.rest.push(slice.clone());
    }

    /// Ends the head buffer; what is written next begins another one.
    fn cut(&mut self) {
        if self.head.is_empty() {
            return;
        }
        let head = self.head.split();
        if self.first.is_none() {
            self.first = Some(head);
        } else {
            self.rest.push(head.freeze());
        }
    }

    fn finish(mut self) -> Result<Vec<Bytes>, EncodeError> {
        self.cut();
        let mut first = self.first.expect("the header was written first");
        let bytes = first.len() - LENGTH_BYTES + self.rest.iter().map(Bytes::len).sum::<usize>();
        let length = i32::try_from(bytes).map_err(|_| EncodeError::TooLong { bytes })?;
        first[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        let mut segments = Vec::with_capacity(1 + self.rest.len());
        segments.push(first.freeze());
        segments.append(&mut self.rest);
        Ok(segments)
    }
}

#[cfg(test)]
#[path = "fetch_response_tests.rs"]
mod tests;
