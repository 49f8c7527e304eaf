//! Writing record batches: internal topics, control batches, log compaction's rewritten batches, tests, and those whose
//! topic asks for another codec than their producer's.
//!
//! Owns: the bytes of a batch from its records. Does not own a producer's batch on its way to the log, whose body is
//! otherwise never rewritten (`record_batch::stamp`).

use bytes::{BufMut, Bytes, BytesMut};

use crate::compression::{self, Compression};
use crate::record::{Record, RecordView, put_varint, varint_bytes};
use crate::record_batch::{
    BatchHeader, CONTROL_BIT, DELETE_HORIZON_BIT, HEADER_BYTES, LENGTH_OVERHEAD, LOG_APPEND_TIME_BIT,
    MAGIC_V2, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP,
    TRANSACTIONAL_BIT, TimestampType, seal_crc,
};

/// A header as [`BatchBuilder::append`] takes it.
pub type HeaderRef<'a> = (&'a str, Option<&'a [u8]>);

/// A batch being written. Records are appended in offset order.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    body: Vec<u8>,
    next_offset_delta: i32,
    base_timestamp: Option<i64>,
    last_offset_delta: Option<i32>,
    max_timestamp: Option<i64>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// An empty batch: base offset 0, no leader epoch, no producer, uncompressed, CreateTime.
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            header: BatchHeader {
                base_offset: 0,
                batch_length: 0,
                partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
                magic: MAGIC_V2,
                crc: 0,
                attributes: 0,
                last_offset_delta: -1,
                base_timestamp: NO_TIMESTAMP,
                max_timestamp: NO_TIMESTAMP,
                producer_id: NO_PRODUCER_ID,
                producer_epoch: NO_PRODUCER_EPOCH,
                base_sequence: NO_SEQUENCE,
                record_count: 0,
            },
            compression: Compression::None,
            body: Vec::new(),
            next_offset_delta: 0,
            base_timestamp: None,
            last_offset_delta: None,
            max_timestamp: None,
        }
    }

    /// A batch that keeps what log compaction must keep of another (`MemoryRecords.filterTo`): base offset,
    /// last offset delta, leader epoch, producer, attributes, base timestamp, and the max timestamp of
    /// LogAppendTime. Its records follow with [`BatchBuilder::append_view`] or [`BatchBuilder::append_record`];
    /// for a batch that keeps none see [`emptied`].
    pub fn like(header: &BatchHeader, compression: Compression) -> BatchBuilder {
        let log_append_time = header.timestamp_type() == TimestampType::LogAppendTime;
        BatchBuilder {
            header: BatchHeader { record_count: 0, ..*header },
            compression,
            body: Vec::new(),
            next_offset_delta: 0,
            base_timestamp: Some(header.base_timestamp),
            last_offset_delta: Some(header.last_offset_delta),
            max_timestamp: log_append_time.then_some(header.max_timestamp),
        }
    }

    /// Offset of the first record.
    pub fn base_offset(mut self, base_offset: i64) -> Self {
        self.header.base_offset = base_offset;
        self
    }

    /// Epoch of the appending leader.
    pub fn leader_epoch(mut self, partition_leader_epoch: i32) -> Self {
        self.header.partition_leader_epoch = partition_leader_epoch;
        self
    }

    /// Codec of the records.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Producer, its epoch, and the sequence of the first record.
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = producer_id;
        self.header.producer_epoch = producer_epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Part of a transaction.
    pub fn transactional(self, set: bool) -> Self {
        self.attribute(TRANSACTIONAL_BIT, set)
    }

    /// For clients to obey, not for users.
    pub fn control(self, set: bool) -> Self {
        self.attribute(CONTROL_BIT, set)
    }

    /// Whose clock the timestamps are.
    pub fn timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.attribute(LOG_APPEND_TIME_BIT, timestamp_type == TimestampType::LogAppendTime)
    }

    /// When tombstones and markers of this batch may go, ms since 1970 (KIP-534). Before the first record: it
    /// takes the place of the base timestamp.
    pub fn delete_horizon(mut self, delete_horizon_ms: i64) -> Self {
        assert_eq!(self.header.record_count, 0, "the base timestamp is fixed by the first record");
        self.base_timestamp = Some(delete_horizon_ms);
        self.attribute(DELETE_HORIZON_BIT, true)
    }

    /// Appends a record at the next offset.
    pub fn append(
        self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> Self {
        let offset_delta = self.next_offset_delta;
        self.append_at(offset_delta, timestamp, key, value, headers)
    }

    /// Appends a record at an offset relative to the base offset; not below the next one.
    pub fn append_at(
        mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> Self {
        let headers = headers.iter().map(|(key, value)| (key.as_bytes(), *value));
        self.put_record(offset_delta, timestamp, key, value, headers.len(), headers);
        self
    }

    /// Appends a record read from another batch, at its offset relative to that batch's base.
    pub fn append_record(mut self, record: &Record) -> Self {
        let headers: Vec<_> = record.headers.iter().collect();
        self.put_record(
            record.offset_delta,
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            headers.len(),
            headers.iter().map(|header| (&header.key[..], header.value.as_deref())),
        );
        self
    }

    /// Appends a record in place of another batch's body, as [`BatchBuilder::append_record`] does. Its bytes are
    /// taken as they are, but for its timestamp where the base of that is another (a delete horizon).
    pub fn append_view(mut self, record: &RecordView<'_>) -> Self {
        let base_timestamp = *self.base_timestamp.get_or_insert(record.timestamp);
        if base_timestamp == record.base_timestamp {
            self.body.extend_from_slice(record.encoded);
        } else {
            let delta = record.timestamp.wrapping_sub(base_timestamp);
            let length = 1 + varint_bytes(delta) + record.after_timestamp.len();
            put_varint(&mut self.body, length as i64);
            self.body.push(0);
            put_varint(&mut self.body, delta);
            self.body.extend_from_slice(record.after_timestamp);
        }
        self.count(record.offset_delta, record.timestamp);
        self
    }

    /// Records appended so far.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Bytes the batch would take uncompressed.
    pub fn uncompressed_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The batch.
    pub fn build(self) -> Bytes {
        let body = match self.compression {
            Compression::None => self.body,
            codec => compression::compress(codec, &self.body),
        };
        let batch_length = (HEADER_BYTES - LENGTH_OVERHEAD + body.len()) as i32;
        let header = BatchHeader {
            batch_length,
            attributes: (self.header.attributes & !0b111) | self.compression.id(),
            last_offset_delta: self.last_offset_delta.unwrap_or(self.next_offset_delta - 1),
            base_timestamp: self.base_timestamp.unwrap_or(NO_TIMESTAMP),
            max_timestamp: self.max_timestamp.unwrap_or(if self.header.record_count == 0 {
                NO_TIMESTAMP
            } else {
                self.header.max_timestamp
            }),
            ..self.header
        };
        let mut batch = BytesMut::with_capacity(HEADER_BYTES + body.len());
        batch.put_slice(&seal_crc(&header, &body));
        batch.put_slice(&body);
        batch.freeze()
    }

    fn attribute(mut self, bit: i16, set: bool) -> Self {
        if set {
            self.header.attributes |= bit;
        } else {
            self.header.attributes &= !bit;
        }
        self
    }

    fn put_record<'a>(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        header_count: usize,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) {
        let base_timestamp = *self.base_timestamp.get_or_insert(timestamp);
        let mut record = Vec::with_capacity(16 + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len));
        record.push(0);
        put_varint(&mut record, timestamp.wrapping_sub(base_timestamp));
        put_varint(&mut record, i64::from(offset_delta));
        put_nullable(&mut record, key);
        put_nullable(&mut record, value);
        put_varint(&mut record, header_count as i64);
        for (key, value) in headers {
            put_nullable(&mut record, Some(key));
            put_nullable(&mut record, value);
        }
        put_varint(&mut self.body, record.len() as i64);
        self.body.extend_from_slice(&record);
        self.count(offset_delta, timestamp);
    }

    /// Notes a record that was appended.
    fn count(&mut self, offset_delta: i32, timestamp: i64) {
        assert!(
            offset_delta >= self.next_offset_delta,
            "record at {offset_delta} after {}",
            self.next_offset_delta - 1
        );
        self.next_offset_delta = offset_delta + 1;
        self.header.max_timestamp =
            if self.header.record_count == 0 { timestamp } else { self.header.max_timestamp.max(timestamp) };
        self.header.record_count += 1;
    }
}

/// The batch without its records, as log compaction leaves it where offsets or sequences must not get lost
/// (`DefaultRecordBatch.writeEmptyHeader`): max timestamp kept, uncompressed, without base timestamp or delete horizon.
pub fn emptied(header: &BatchHeader) -> Bytes {
    let mut builder = BatchBuilder::like(header, Compression::None).attribute(DELETE_HORIZON_BIT, false);
    builder.base_timestamp = Some(NO_TIMESTAMP);
    builder.max_timestamp = Some(header.max_timestamp);
    builder.build()
}

fn put_nullable(output: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(output, -1),
        Some(bytes) => {
            put_varint(output, bytes.len() as i64);
            output.extend_from_slice(bytes);
        }
    }
}
