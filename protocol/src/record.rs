//! The records inside a batch, read in place.
//!
//! Owns: walking a (decompressed) body record by record and the headers of a record. Does not own what a
//! topic asks of its records (`validate.rs`).
//!
//! Every length is checked against the bytes that are there before it is used, and no count on the wire sizes
//! an allocation: keys, values and headers are slices, headers are read when asked for. Order of headers and
//! repeated header keys are kept; both mean something to users. (Kafka: `DefaultRecord.readFrom`; KIP-82.)

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use crate::compression;
use crate::record_batch::{Batch, BatchError, BatchHeader, TimestampType};

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordFault {
    /// The body ends inside the record, or its parts reach past its stated length.
    #[error("ends early")]
    EndsEarly,
    /// A length below zero where none is allowed.
    #[error("length {length}")]
    BadLength {
        /// The length on the wire.
        length: i32,
    },
    /// A variable-length integer that does not end, or has bits beyond its type.
    #[error("malformed variable-length integer")]
    BadVarint,
    /// The parts take fewer bytes than the record states.
    #[error("{unused} bytes of the record are not used")]
    UnusedBytes {
        /// Bytes left over.
        unused: usize,
    },
    /// Offset or timestamp leave the 64-bit range.
    #[error("offset or timestamp overflows")]
    Overflow,
}

/// A record. Its bytes are slices of the batch, or of the batch's decompressed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset, if the batch's base offset is final.
    pub offset: i64,
    /// Offset relative to the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp in ms since 1970, or -1: the record's own, or the batch's max timestamp for LogAppendTime.
    pub timestamp: i64,
    /// Key, or null.
    pub key: Option<Bytes>,
    /// Value, or null (a tombstone in a compacted topic).
    pub value: Option<Bytes>,
    /// Headers in order, repeated keys kept.
    pub headers: Headers,
}

/// A record read in place, for who reads many and keeps few: nothing is copied, nothing is counted up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Its offset, if the batch's base offset is final.
    pub offset: i64,
    /// Offset relative to the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp in ms since 1970, or -1: the record's own, or the batch's max timestamp for LogAppendTime.
    pub timestamp: i64,
    /// Key, or null.
    pub key: Option<&'a [u8]>,
    /// Value, or null (a tombstone in a compacted topic).
    pub value: Option<&'a [u8]>,
    /// What its timestamp is written relative to.
    pub(crate) base_timestamp: i64,
    /// Its bytes in the body, its length before them included.
    pub(crate) encoded: &'a [u8],
    /// Those of them that follow its timestamp.
    pub(crate) after_timestamp: &'a [u8],
}

/// The headers of a record, checked when the record was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    count: usize,
    bytes: Bytes,
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its key (UTF-8 by convention; not checked).
    pub key: Bytes,
    /// Its value, or null.
    pub value: Option<Bytes>,
}

impl Headers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Header> {
        let mut position = 0;
        (0..self.count).map_while(move |_| {
            let mut cursor = Cursor { bytes: &self.bytes, position };
            let key = cursor.header_key().ok()?;
            let value = cursor.nullable().ok()?;
            position = cursor.position;
            Some(Header { key: self.bytes.slice(key), value: value.map(|value| self.bytes.slice(value)) })
        })
    }
}

/// The records of a batch, in order. Ends after the first error, after the batch's count of records, and says so
/// if bytes are left then.
#[derive(Debug, Clone)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
    position: usize,
    read: i32,
    ended: bool,
}

impl Records {
    pub(crate) fn of(batch: &Batch, decompressed_bytes_max: usize) -> Result<Records, BatchError> {
        let header = *batch.header();
        if header.record_count < 0 {
            return Err(BatchError::BadCount { count: header.record_count });
        }
        let body = compression::decompress(header.compression()?, &batch.body(), decompressed_bytes_max)?;
        Ok(Records { header, body, position: 0, read: 0, ended: false })
    }

    /// Bytes of the decompressed body.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// The next record, borrowed from the body.
    pub fn next_view(&mut self) -> Option<Result<RecordView<'_>, BatchError>> {
        let outline = match self.next_outline()? {
            Ok(outline) => outline,
            Err(error) => return Some(Err(error)),
        };
        let body = &self.body[..];
        Some(Ok(RecordView {
            offset: outline.offset,
            offset_delta: outline.offset_delta,
            timestamp: outline.timestamp,
            key: outline.key.map(|range| &body[range]),
            value: outline.value.map(|range| &body[range]),
            base_timestamp: self.header.base_timestamp,
            encoded: &body[outline.start..outline.headers.end],
            after_timestamp: &body[outline.after_timestamp..outline.headers.end],
        }))
    }

    /// The next record without its bytes: for those who read every record and keep none.
    pub(crate) fn next_outline(&mut self) -> Option<Result<Outline, BatchError>> {
        if self.ended {
            return None;
        }
        if self.read == self.header.record_count {
            self.ended = true;
            let trailing = self.body.len() - self.position;
            return (trailing > 0).then_some(Err(BatchError::TrailingBytes { trailing, count: self.read }));
        }
        let index = self.read;
        self.read += 1;
        let mut cursor = Cursor { bytes: &self.body, position: self.position };
        let outline = cursor.record(&self.header);
        self.position = cursor.position;
        self.ended = outline.is_err();
        Some(outline.map_err(|fault| BatchError::Record { index, fault }))
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let outline = match self.next_outline()? {
            Ok(outline) => outline,
            Err(error) => return Some(Err(error)),
        };
        let slice = |range: Range<usize>| self.body.slice(range);
        Some(Ok(Record {
            offset: outline.offset,
            offset_delta: outline.offset_delta,
            timestamp: outline.timestamp,
            key: outline.key.map(slice),
            value: outline.value.map(slice),
            headers: Headers { count: outline.header_count, bytes: slice(outline.headers) },
        }))
    }
}

/// A record as positions in the body.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    /// Where its length stands.
    pub start: usize,
    /// Where its timestamp ends.
    pub after_timestamp: usize,
    pub offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
    pub key: Option<Range<usize>>,
    pub value: Option<Range<usize>>,
    pub header_count: usize,
    pub headers: Range<usize>,
}

/// A reading position in a body.
struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Cursor<'_> {
    fn record(&mut self, header: &BatchHeader) -> Result<Outline, RecordFault> {
        let start = self.position;
        let length = self.varint()?;
        if length < 0 {
            return Err(RecordFault::BadLength { length });
        }
        if length as usize > self.bytes.len() - self.position {
            return Err(RecordFault::EndsEarly);
        }
        let end = self.position + length as usize;
        // The record's own attributes: none is defined.
        self.take(1)?;
        let timestamp_delta = self.varlong()?;
        let after_timestamp = self.position;
        let offset_delta = self.varint()?;
        let key = self.nullable()?;
        let value = self.nullable()?;
        let (header_count, headers) = self.headers()?;
        if self.position > end {
            return Err(RecordFault::EndsEarly);
        }
        if self.position < end {
            return Err(RecordFault::UnusedBytes { unused: end - self.position });
        }
        let offset = header.base_offset.checked_add(i64::from(offset_delta)).ok_or(RecordFault::Overflow)?;
        let timestamp = match header.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => {
                header.base_timestamp.checked_add(timestamp_delta).ok_or(RecordFault::Overflow)?
            }
        };
        Ok(Outline {
            start,
            after_timestamp,
            offset,
            offset_delta,
            timestamp,
            key,
            value,
            header_count,
            headers,
        })
    }

    fn headers(&mut self) -> Result<(usize, Range<usize>), RecordFault> {
        let count = self.varint()?;
        if count < 0 {
            return Err(RecordFault::BadLength { length: count });
        }
        let start = self.position;
        for _ in 0..count {
            self.header_key()?;
            self.nullable()?;
        }
        Ok((count as usize, start..self.position))
    }

    fn header_key(&mut self) -> Result<Range<usize>, RecordFault> {
        let length = self.varint()?;
        if length < 0 {
            return Err(RecordFault::BadLength { length });
        }
        self.take(length as usize)
    }

    /// Java's `Utils.readBytes` takes every negative length for null, so do we.
    fn nullable(&mut self) -> Result<Option<Range<usize>>, RecordFault> {
        let length = self.varint()?;
        if length < 0 {
            return Ok(None);
        }
        self.take(length as usize).map(Some)
    }

    fn take(&mut self, length: usize) -> Result<Range<usize>, RecordFault> {
        if length > self.bytes.len() - self.position {
            return Err(RecordFault::EndsEarly);
        }
        let start = self.position;
        self.position += length;
        Ok(start..self.position)
    }

    /// Zigzag, 32 bits (`ByteUtils.readVarint`).
    fn varint(&mut self) -> Result<i32, RecordFault> {
        let raw = self.unsigned_varint(5)?;
        let raw = u32::try_from(raw).map_err(|_| RecordFault::BadVarint)?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// Zigzag, 64 bits (`ByteUtils.readVarlong`).
    fn varlong(&mut self) -> Result<i64, RecordFault> {
        let raw = self.unsigned_varint(10)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    #[inline]
    fn unsigned_varint(&mut self, bytes_max: usize) -> Result<u64, RecordFault> {
        // Most are of one byte: deltas, absent keys, counts of headers.
        match self.bytes.get(self.position) {
            Some(&byte) if byte < 0x80 => {
                self.position += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(bytes_max),
        }
    }

    fn long_varint(&mut self, bytes_max: usize) -> Result<u64, RecordFault> {
        let mut value = 0u64;
        for i in 0..bytes_max {
            let byte = *self.bytes.get(self.position).ok_or(RecordFault::EndsEarly)?;
            self.position += 1;
            let bits = u64::from(byte & 0x7f);
            if i == 9 && bits > 1 {
                return Err(RecordFault::BadVarint);
            }
            value |= bits << (7 * i);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordFault::BadVarint)
    }
}

/// Bytes that [`put_varint`] appends, from 1 to 10.
pub(crate) fn varint_bytes(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a zigzag variable-length integer; 32-bit values are written as their 64-bit equals, byte for byte
/// the same.
pub(crate) fn put_varint(output: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        output.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    output.push(raw as u8);
}
