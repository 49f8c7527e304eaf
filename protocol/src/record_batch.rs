//! The record batch, format v2: a view of its 61-byte header, its CRC, and the two ways of stamping it.
//!
//! Owns: the header's fields and bits, cutting a concatenation into batches, the bytes to write in front of a
//! body when the log gives a batch its offsets. Does not own the records inside (`record.rs`), what a
//! producer may send (`validate.rs`) nor writing batches (`batch_builder.rs`).
//!
//! ```text
//! position 0            8      12              16    17   21         23                27             35
//!          base offset  length leader epoch    magic CRC  attributes last offset delta base timestamp max timestamp
//!          43          51             53            57           61
//!          producer id producer epoch base sequence record count records...
//! ```
//! `length` counts what follows it. The CRC covers attributes to the end, so base offset and leader epoch can
//! be given to a batch without touching its body: the log writes [`stamp`]'s 61 bytes, then the body as it
//! came. (Kafka: `DefaultRecordBatch`; KIP-98.)

use bytes::Bytes;
use thiserror::Error;

use crate::compression::{Compression, CompressionError};
use crate::error::ErrorCode;
use crate::record::{RecordFault, Records};

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before and including the length field, which it does not count.
pub const LENGTH_OVERHEAD: usize = 12;
/// The only format there is since Kafka 4.0 (KIP-724).
pub const MAGIC_V2: i8 = 2;
/// No timestamp (`RecordBatch.NO_TIMESTAMP`).
pub const NO_TIMESTAMP: i64 = -1;
/// No producer (`RecordBatch.NO_PRODUCER_ID`).
pub const NO_PRODUCER_ID: i64 = -1;
/// No producer epoch (`RecordBatch.NO_PRODUCER_EPOCH`).
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// No sequence (`RecordBatch.NO_SEQUENCE`).
pub const NO_SEQUENCE: i32 = -1;
/// No leader epoch (`RecordBatch.NO_PARTITION_LEADER_EPOCH`).
pub const NO_PARTITION_LEADER_EPOCH: i32 = -1;

const CRC_POSITION: usize = 17;
const ATTRIBUTES_POSITION: usize = 21;

const COMPRESSION_MASK: i16 = 0b0000_0111;
pub(crate) const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
pub(crate) const TRANSACTIONAL_BIT: i16 = 1 << 4;
pub(crate) const CONTROL_BIT: i16 = 1 << 5;
pub(crate) const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// Kafka's checksum of record batches: CRC-32C (Castagnoli).
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Whose clock a record's timestamp is: attributes bit 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's, record by record.
    CreateTime,
    /// The broker's, one for the batch: its max timestamp.
    LogAppendTime,
}

/// What a batch or its records are found to be wrong in, with the facts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// No batch at all (null or empty records).
    #[error("no record batch")]
    Empty,
    /// The bytes end before the batch does.
    #[error("batch of {needed} bytes in {have}")]
    Truncated {
        /// Bytes the batch needs.
        needed: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The length field is smaller than a header or overflows.
    #[error("batch length {length}")]
    BadLength {
        /// The length on the wire.
        length: i32,
    },
    /// A format other than v2.
    #[error("magic {magic}")]
    BadMagic {
        /// The magic on the wire.
        magic: i8,
    },
    /// More bytes than one batch (`ProduceRequest.validateRecords`).
    #[error("{trailing} bytes after the first batch")]
    MoreThanOneBatch {
        /// Bytes after the first batch.
        trailing: usize,
    },
    /// Attribute bits 0-2 name no codec.
    #[error("unknown compression {id}")]
    UnknownCompression {
        /// The bits.
        id: i16,
    },
    /// zstd before Produce v7 (KIP-110).
    #[error("zstd in produce v{version}")]
    ZstdTooOld {
        /// The request's version.
        version: i16,
    },
    /// The producer must leave offsets to the broker (`UnifiedLog.analyzeAndValidateRecords`).
    #[error("base offset {base_offset} from a client, must be 0")]
    BaseOffsetFromClient {
        /// The offset in the header.
        base_offset: i64,
    },
    /// Larger than `max.message.bytes`.
    #[error("batch of {bytes} bytes, at most {bytes_max}")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The CRC does not match.
    #[error("batch CRC {stored:08x} stored, {computed:08x} computed")]
    BadCrc {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A count of zero or less.
    #[error("record count {count}")]
    BadCount {
        /// The count in the header.
        count: i32,
    },
    /// The offsets spanned are not as many as the records.
    #[error("last offset delta {last_offset_delta} with {count} records")]
    CountMismatch {
        /// In the header.
        last_offset_delta: i32,
        /// In the header.
        count: i32,
    },
    /// Only brokers write control batches.
    #[error("control batch from a client")]
    ControlFromClient,
    /// An idempotent batch without a sequence.
    #[error("base sequence {base_sequence} with producer id {producer_id}")]
    SequenceMissing {
        /// The producer.
        producer_id: i64,
        /// The sequence in the header.
        base_sequence: i32,
    },
    /// A transactional batch that names no producer: nothing could ever end its transaction.
    #[error("transactional batch without a producer id")]
    TransactionalWithoutProducer,
    /// Only brokers set LogAppendTime.
    #[error("timestamp type LogAppendTime from a client")]
    LogAppendTimeFromClient,
    /// The records cannot be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// A record is malformed.
    #[error("record {index}: {fault}")]
    Record {
        /// Its place in the batch, from 0.
        index: i32,
        /// What is wrong.
        fault: RecordFault,
    },
    /// Bytes are left after the stated number of records.
    #[error("{trailing} bytes after {count} records")]
    TrailingBytes {
        /// Bytes left.
        trailing: usize,
        /// Records read.
        count: i32,
    },
}

impl BatchError {
    /// What Kafka answers (the classes named at the variants, and `LogValidator`).
    pub fn error_code(&self) -> ErrorCode {
        match self {
            // What is not there whole is no batch (`ByteBufferLogInputStream.nextBatch`).
            BatchError::Empty
            | BatchError::Truncated { .. }
            | BatchError::BadMagic { magic: 0..=MAGIC_V2 }
            | BatchError::MoreThanOneBatch { .. }
            | BatchError::BaseOffsetFromClient { .. }
            | BatchError::BadCount { .. }
            | BatchError::CountMismatch { .. }
            | BatchError::ControlFromClient
            | BatchError::SequenceMissing { .. }
            | BatchError::TransactionalWithoutProducer
            | BatchError::Record { .. }
            | BatchError::TrailingBytes { .. } => ErrorCode::InvalidRecord,
            BatchError::BadMagic { .. } | BatchError::BadLength { .. } | BatchError::BadCrc { .. } => {
                ErrorCode::CorruptMessage
            }
            BatchError::UnknownCompression { .. } => ErrorCode::CorruptMessage,
            BatchError::ZstdTooOld { .. } => ErrorCode::UnsupportedCompressionType,
            BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            BatchError::LogAppendTimeFromClient => ErrorCode::InvalidTimestamp,
            BatchError::Compression(CompressionError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
            // Kafka lets a KafkaException escape here, which answers UNKNOWN_SERVER_ERROR; the CRC was right,
            // so sending it again cannot help: say that the record is invalid.
            BatchError::Compression(CompressionError::Malformed { .. }) => ErrorCode::InvalidRecord,
        }
    }
}

impl From<&BatchError> for ErrorCode {
    fn from(error: &BatchError) -> ErrorCode {
        error.error_code()
    }
}

/// The fields of a batch's header, in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (before log compaction removed any).
    pub base_offset: i64,
    /// Bytes after this field: the batch is 12 bytes longer.
    pub batch_length: i32,
    /// Epoch of the leader that appended it.
    pub partition_leader_epoch: i32,
    /// Format, 2.
    pub magic: i8,
    /// CRC-32C of attributes to the end.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control, delete horizon.
    pub attributes: i16,
    /// Offset of the last record minus `base_offset`.
    pub last_offset_delta: i32,
    /// What timestamps of records are relative to, ms; the delete horizon if that bit is set (KIP-534).
    pub base_timestamp: i64,
    /// Largest timestamp, ms, or [`NO_TIMESTAMP`].
    pub max_timestamp: i64,
    /// Producer, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence of the first record, or [`NO_SEQUENCE`].
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes` and checks that its length and magic are possible. The rest
    /// of the batch need not be there.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let truncated = BatchError::Truncated { needed: HEADER_BYTES, have: bytes.len() };
        // The magic stands at one place in all formats: an old batch shorter than our header is called old.
        if let Some(&magic) = bytes.get(16)
            && magic as i8 != MAGIC_V2
        {
            return Err(BatchError::BadMagic { magic: magic as i8 });
        }
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(truncated)?;
        let parsed = BatchHeader {
            base_offset: i64::from_be_bytes(field(header, 0)),
            batch_length: i32::from_be_bytes(field(header, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(header, 12)),
            magic: i8::from_be_bytes(field(header, 16)),
            crc: u32::from_be_bytes(field(header, CRC_POSITION)),
            attributes: i16::from_be_bytes(field(header, ATTRIBUTES_POSITION)),
            last_offset_delta: i32::from_be_bytes(field(header, 23)),
            base_timestamp: i64::from_be_bytes(field(header, 27)),
            max_timestamp: i64::from_be_bytes(field(header, 35)),
            producer_id: i64::from_be_bytes(field(header, 43)),
            producer_epoch: i16::from_be_bytes(field(header, 51)),
            base_sequence: i32::from_be_bytes(field(header, 53)),
            record_count: i32::from_be_bytes(field(header, 57)),
        };
        if parsed.batch_length < (HEADER_BYTES - LENGTH_OVERHEAD) as i32 {
            return Err(BatchError::BadLength { length: parsed.batch_length });
        }
        Ok(parsed)
    }

    /// The header as it stands on the wire.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0u8; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        bytes[16..17].copy_from_slice(&self.magic.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch, header included.
    pub fn size(&self) -> usize {
        LENGTH_OVERHEAD + self.batch_length as usize
    }

    /// Offset of the last record (of the last one there was, after log compaction).
    pub fn last_offset(&self) -> i64 {
        // Saturating: a header is looked at before it is judged.
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Is there a record at each of its offsets? Always where it was produced; log compaction leaves others.
    pub fn is_dense(&self) -> bool {
        i64::from(self.record_count) == i64::from(self.last_offset_delta) + 1
    }

    /// Sequence of the last record; sequences wrap from `i32::MAX` to 0
    /// (`DefaultRecordBatch.incrementSequence`). [`NO_SEQUENCE`] if the batch has none.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// The codec of the records.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let id = self.attributes & COMPRESSION_MASK;
        Compression::from_id(id).ok_or(BatchError::UnknownCompression { id })
    }

    /// Whose clock the timestamps are.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME_BIT != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Part of a transaction (data or its end marker).
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Written by a broker for clients to obey, not to hand to users.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// When tombstones and markers of this batch may go, ms since 1970 (KIP-534); it then stands in the place
    /// of the base timestamp.
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON_BIT != 0).then_some(self.base_timestamp)
    }

    /// Sent by an idempotent or transactional producer.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }
}

/// The sequence `increment` after `sequence`, wrapping from `i32::MAX` to 0.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(increment);
    (sum & i64::from(i32::MAX)) as i32
}

/// One whole batch. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Takes bytes that are exactly one batch. The CRC is not checked: see [`Batch::check_crc`].
    pub fn parse(bytes: Bytes) -> Result<Batch, BatchError> {
        if bytes.is_empty() {
            return Err(BatchError::Empty);
        }
        let header = BatchHeader::parse(&bytes)?;
        if header.size() > bytes.len() {
            return Err(BatchError::Truncated { needed: header.size(), have: bytes.len() });
        }
        if header.size() < bytes.len() {
            return Err(BatchError::MoreThanOneBatch { trailing: bytes.len() - header.size() });
        }
        Ok(Batch { header, bytes })
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Header and body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records as they stand on the wire, compressed or not.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// Compares the stored CRC with the bytes.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c(&self.bytes[ATTRIBUTES_POSITION..]);
        if computed != self.header.crc {
            return Err(BatchError::BadCrc { stored: self.header.crc, computed });
        }
        Ok(())
    }

    /// The records in order. A compressed body is decompressed whole, into at most `decompressed_bytes_max`
    /// bytes; an uncompressed one is read in place, whatever its size.
    pub fn records(&self, decompressed_bytes_max: usize) -> Result<Records, BatchError> {
        Records::of(self, decompressed_bytes_max)
    }
}

/// The batches of a concatenation, as the log stores and a fetch returns them.
pub fn split_batches(bytes: Bytes) -> SplitBatches {
    SplitBatches { rest: bytes }
}

/// See [`split_batches`]. Ends after the first error.
#[derive(Debug, Clone)]
pub struct SplitBatches {
    rest: Bytes,
}

impl Iterator for SplitBatches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = BatchHeader::parse(&self.rest).and_then(|header| {
            if header.size() > self.rest.len() {
                return Err(BatchError::Truncated { needed: header.size(), have: self.rest.len() });
            }
            Ok(Batch { header, bytes: self.rest.split_to(header.size()) })
        });
        if batch.is_err() {
            self.rest.clear();
        }
        Some(batch)
    }
}

/// The header to write in front of the batch's body once the log has given it its place. Nothing the CRC
/// covers changes.
pub fn stamp(header: &BatchHeader, base_offset: i64, partition_leader_epoch: i32) -> [u8; HEADER_BYTES] {
    BatchHeader { base_offset, partition_leader_epoch, ..*header }.to_bytes()
}

/// As [`stamp`], for a topic with `message.timestamp.type=LogAppendTime`: the batch's max timestamp becomes
/// `append_time_ms`, which readers take as every record's timestamp, and the CRC is computed anew over header
/// and body.
pub fn stamp_log_append_time(
    batch: &Batch,
    base_offset: i64,
    partition_leader_epoch: i32,
    append_time_ms: i64,
) -> [u8; HEADER_BYTES] {
    let stamped = BatchHeader {
        base_offset,
        partition_leader_epoch,
        attributes: batch.header.attributes | LOG_APPEND_TIME_BIT,
        max_timestamp: append_time_ms,
        ..batch.header
    };
    seal_crc(&stamped, &batch.bytes[HEADER_BYTES..])
}

/// As [`stamp`], with another max timestamp: for a producer whose header does not say the maximum of its
/// records (`LogValidator` rewrites it too). The CRC is computed anew.
pub fn stamp_max_timestamp(
    batch: &Batch,
    base_offset: i64,
    partition_leader_epoch: i32,
    max_timestamp: i64,
) -> [u8; HEADER_BYTES] {
    let stamped = BatchHeader { base_offset, partition_leader_epoch, max_timestamp, ..batch.header };
    seal_crc(&stamped, &batch.bytes[HEADER_BYTES..])
}

/// The header's bytes with the CRC of its own fields and this body.
pub(crate) fn seal_crc(header: &BatchHeader, body: &[u8]) -> [u8; HEADER_BYTES] {
    let mut bytes = header.to_bytes();
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&bytes[ATTRIBUTES_POSITION..]);
    digest.update(body);
    let crc = digest.finalize() as u32;
    bytes[CRC_POSITION..ATTRIBUTES_POSITION].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], position: usize) -> [u8; N] {
    let mut bytes = [0u8; N];
    bytes.copy_from_slice(&header[position..position + N]);
    bytes
}

#[cfg(test)]
#[path = "record_batch_tests.rs"]
mod tests;
