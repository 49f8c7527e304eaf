//! The guard before the message codec: walks a request body and believes no length.
//!
//! Owns: the decision whether a body may be decoded, and how much memory its decoded form takes. Does not own
//! the shapes (`schema.rs`) nor decoding itself (`codec.rs`).
//!
//! Why it exists: kafka-protocol reserves a vector for the array length on the wire before it has read one
//! element, so that five bytes ask for 300 GB and abort the process. And a frame within its limit may still
//! decode into many times its size, since a two-byte element becomes a struct of 80. So every body is walked
//! first:
//! - every string, bytes and array length is compared with the bytes that are left, null allowed only where
//!   the version allows it;
//! - what the decoded structs will hold is added up, vectors and trees of unknown tagged fields alike, and
//!   may not pass [`decoded_bytes_max`];
//! - a tagged field takes exactly its stated size, what comes after the request is not looked at;
//! - nesting is that of the schema, so the walk's own depth is fixed.
//!
//! The walk allocates nothing and takes one look at each length; records are stepped over.

use kafka_protocol::messages::ApiKey;

use crate::api::{self, Api};
use crate::error::DecodeError;
use crate::schema::{self, Field, Kind};

/// Memory any request may take decoded, however small its frame.
const DECODED_BYTES_FREE: usize = 1024 * 1024;
/// Memory per byte of the frame beyond that.
const DECODED_BYTES_PER_FRAME_BYTE: usize = 8;
/// Memory no request may pass; frames of 100 MiB are records, which are not copied.
const DECODED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What an allocation costs beside its content.
const ALLOCATION_BYTES: usize = 32;
/// A leaf of the map of unknown tagged fields, allocated for the first: 11 keys, 11 values, links.
const FIRST_UNKNOWN_TAG_BYTES: usize = 448;
/// Each further one: leaves filled in order end up half full.
const UNKNOWN_TAG_BYTES: usize = 128;

/// Most bytes the decoded form of a body may take beside the frame itself: 1 MiB and 8 bytes per byte of the
/// frame, at most 32 MiB.
pub fn decoded_bytes_max(body_bytes: usize) -> usize {
    body_bytes
        .saturating_mul(DECODED_BYTES_PER_FRAME_BYTE)
        .saturating_add(DECODED_BYTES_FREE)
        .min(DECODED_BYTES_MAX)
}

/// Walks a request body. `Ok` means that decoding it allocates at most the bytes returned, beside the frame
/// it slices. The body is what follows the request header.
pub fn decoded_size(key: ApiKey, version: i16, body: &[u8]) -> Result<usize, DecodeError> {
    let number = key as i16;
    let row = api::find(number).ok_or(DecodeError::UnknownApi { key: number })?;
    if !row.supports(version) {
        return Err(DecodeError::UnsupportedVersion { key: number, version });
    }
    let fields = schema::request(key).ok_or(DecodeError::UnknownApi { key: number })?;
    let mut walk = Walk::new(row, version, body);
    walk.fields(fields)?;
    // What comes after the request is nobody's business: librdkafka's Metadata for all topics leaves three bytes there,
    // and Kafka's generated readers stop where the request ends.
    Ok(walk.memory)
}

/// A position in a body, and what was seen so far.
struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    body_bytes: usize,
    memory: usize,
    memory_max: usize,
}

impl<'a> Walk<'a> {
    fn new(row: &Api, version: i16, body: &'a [u8]) -> Walk<'a> {
        Walk {
            rest: body,
            version,
            flexible: row.is_flexible(version),
            body_bytes: body.len(),
            memory: 0,
            memory_max: decoded_bytes_max(body.len()),
        }
    }

    fn fields(&mut self, fields: &'static [Field]) -> Result<(), DecodeError> {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(field)?;
            }
        }
        if self.flexible { self.tagged_fields(fields) } else { Ok(()) }
    }

    fn tagged_fields(&mut self, fields: &'static [Field]) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        let mut unknown_bytes = FIRST_UNKNOWN_TAG_BYTES;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            // Tags are numbers of 31 bits; the codec would keep this one as a negative that it cannot write.
            if tag > i32::MAX as u32 {
                return Err(DecodeError::BadVarint);
            }
            let size = self.unsigned_varint()? as usize;
            let known = fields.iter().find(|field| field.tag == Some(tag) && field.is_in(self.version));
            let Some(field) = known else {
                self.skip("tagged field", size)?;
                self.charge(unknown_bytes)?;
                unknown_bytes = UNKNOWN_TAG_BYTES;
                continue;
            };
            self.need("tagged field", size)?;
            let before = self.rest.len();
            self.value(field)?;
            // The codec ignores the size and reads on: a lie would let it read another field's bytes.
            let used = before - self.rest.len();
            if used != size {
                return Err(DecodeError::TaggedFieldSize { tag, size, used });
            }
        }
        Ok(())
    }

    fn value(&mut self, field: &Field) -> Result<(), DecodeError> {
        let nullable = field.is_nullable(self.version);
        match field.kind {
            Kind::String => {
                let length = if self.flexible { self.compact_length()? } else { self.length16()? };
                self.sized(field.name, length, nullable)
            }
            Kind::Bytes => {
                let length = self.array_length()?;
                self.sized(field.name, length, nullable)
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::OptionalStruct(fields) => match self.int8(field.name)? {
                1 => self.fields(fields),
                -1 => Ok(()),
                other => Err(DecodeError::BadLength { what: field.name, length: i64::from(other) }),
            },
            Kind::Structs(fields, element_bytes) => {
                for _ in 0..self.count(field.name, nullable, element_bytes)? {
                    self.fields(fields)?;
                }
                Ok(())
            }
            Kind::Scalars(element, element_bytes) => {
                let count = self.count(field.name, nullable, element_bytes)?;
                match scalar_bytes(element) {
                    Some(bytes) => self.skip(field.name, count.saturating_mul(bytes)),
                    None => {
                        for _ in 0..count {
                            let length =
                                if self.flexible { self.compact_length()? } else { self.length16()? };
                            self.sized(field.name, length, false)?;
                        }
                        Ok(())
                    }
                }
            }
            Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 | Kind::Float64 | Kind::Uuid => {
                let bytes = scalar_bytes(&field.kind).unwrap_or(0);
                self.skip(field.name, bytes)
            }
        }
    }

    /// Reads an array's length; every element takes a byte at least, and its memory is charged before any is
    /// read.
    fn count(
        &mut self,
        what: &'static str,
        nullable: bool,
        element_bytes: usize,
    ) -> Result<usize, DecodeError> {
        let length = self.array_length()?;
        let Some(count) = non_null(what, length, nullable)? else {
            return Ok(0);
        };
        if count > self.rest.len() {
            return Err(DecodeError::ArrayTooLong { count, remaining: self.rest.len() });
        }
        if count > 0 {
            self.charge(count.saturating_mul(element_bytes).saturating_add(ALLOCATION_BYTES))?;
        }
        Ok(count)
    }

    fn sized(&mut self, what: &'static str, length: i64, nullable: bool) -> Result<(), DecodeError> {
        match non_null(what, length, nullable)? {
            None => Ok(()),
            Some(bytes) => self.skip(what, bytes),
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > self.memory_max {
            return Err(DecodeError::TooMuchMemory { frame: self.body_bytes, limit: self.memory_max });
        }
        Ok(())
    }

    fn need(&self, what: &'static str, needed: usize) -> Result<(), DecodeError> {
        if needed > self.rest.len() {
            return Err(DecodeError::Truncated { what, needed, remaining: self.rest.len() });
        }
        Ok(())
    }

    fn skip(&mut self, what: &'static str, bytes: usize) -> Result<(), DecodeError> {
        self.need(what, bytes)?;
        self.rest = &self.rest[bytes..];
        Ok(())
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        self.need(what, N)?;
        let mut bytes = [0u8; N];
        let (taken, rest) = self.rest.split_at(N);
        bytes.copy_from_slice(taken);
        self.rest = rest;
        Ok(bytes)
    }

    fn int8(&mut self, what: &'static str) -> Result<i8, DecodeError> {
        self.take(what).map(i8::from_be_bytes)
    }

    /// Length of an array or of bytes; -1 is null.
    fn array_length(&mut self) -> Result<i64, DecodeError> {
        if self.flexible {
            return self.compact_length();
        }
        self.take("length").map(i32::from_be_bytes).map(i64::from)
    }

    /// Length of a string; -1 is null.
    fn length16(&mut self) -> Result<i64, DecodeError> {
        self.take("length").map(i16::from_be_bytes).map(i64::from)
    }

    /// Any length in a flexible version: one more than it is, 0 is null.
    fn compact_length(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from(self.unsigned_varint()?) - 1)
    }

    fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let (value, bytes) = unsigned_varint(self.rest)?;
        self.rest = &self.rest[bytes..];
        Ok(value)
    }
}

/// An unsigned variable-length integer at the start of `bytes`, and the bytes it takes. Stricter than the
/// codec, which drops bits beyond the 32nd.
pub(crate) fn unsigned_varint(bytes: &[u8]) -> Result<(u32, usize), DecodeError> {
    let mut value = 0u32;
    for i in 0..5 {
        let truncated =
            DecodeError::Truncated { what: "variable-length integer", needed: i + 1, remaining: i };
        let byte = *bytes.get(i).ok_or(truncated)?;
        if i == 4 && byte > 0x0f {
            return Err(DecodeError::BadVarint);
        }
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, i + 1));
        }
    }
    Err(DecodeError::BadVarint)
}

fn non_null(what: &'static str, length: i64, nullable: bool) -> Result<Option<usize>, DecodeError> {
    match length {
        -1 if nullable => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| DecodeError::BadLength { what, length }),
    }
}

pub(crate) fn scalar_bytes(kind: &Kind) -> Option<usize> {
    match kind {
        Kind::Int8 => Some(1),
        Kind::Int16 => Some(2),
        Kind::Int32 => Some(4),
        Kind::Int64 | Kind::Float64 => Some(8),
        Kind::Uuid => Some(16),
        Kind::String
        | Kind::Bytes
        | Kind::Struct(_)
        | Kind::OptionalStruct(_)
        | Kind::Structs(..)
        | Kind::Scalars(..) => None,
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
