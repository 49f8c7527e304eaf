//! The records of `__consumer_offsets`, byte for byte Kafka's: so that its tools read the topic, and so that a
//! checkpoint of a shard is a list of them.
//!
//! Owns the formats; knows nothing of groups. Written: OffsetCommitKey v1, OffsetCommitValue v3 (v1 with an explicit
//! expiry), GroupMetadataKey v2, GroupMetadataValue v3 -- what Kafka 4.x writes (`GroupCoordinatorRecordHelpers`;
//! `MetadataVersion.offsetCommitValueVersion`: the highest non-flexible version, KIP-915). Read: every version up to
//! the flexible 4. A key of an unknown version is *skipped*, not an error: a later release put it there, and what it
//! says belongs to a feature that this one does not have (`CoordinatorLoaderImpl` does the same). Decoding is bounded
//! by the bytes given: a count is checked against what is left before anything is reserved.

use bytes::{BufMut, Bytes, BytesMut};

/// A record of `__consumer_offsets`; `value: None` is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord {
    /// An offset that a group committed for a partition. Written by OffsetCommit; dies by OffsetDelete, expiry,
    /// deletion of the topic or of the group.
    OffsetCommit {
        /// Of what.
        key: OffsetKey,
        /// `None` removes it.
        value: Option<OffsetAndMetadata>,
    },
    /// A generation of a group. Written when a generation became stable or empty and when a static member was
    /// replaced; dies with the group.
    GroupMetadata {
        /// The group.
        group_id: String,
        /// `None` removes it.
        value: Option<GroupMetadata>,
    },
}

/// Key of a committed offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct OffsetKey {
    pub group_id: String,
    pub topic: String,
    pub partition: i32,
}

/// A committed offset (`OffsetCommitValue`, `OffsetAndMetadata`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OffsetAndMetadata {
    pub offset: i64,
    /// -1: unknown.
    pub leader_epoch: i32,
    pub metadata: String,
    pub commit_timestamp_ms: i64,
    /// Only from OffsetCommit v2-4 with an explicit retention.
    pub expire_timestamp_ms: Option<i64>,
}

/// A generation of a classic group (`GroupMetadataValue`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct GroupMetadata {
    /// Empty: none.
    pub protocol_type: String,
    pub generation_id: i32,
    pub protocol_name: Option<String>,
    pub leader: Option<String>,
    /// Since when the group is in its state; -1 in records older than v2.
    pub current_state_timestamp_ms: i64,
    pub members: Vec<MemberMetadata>,
}

/// A member in [`GroupMetadata`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MemberMetadata {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The member's metadata for the selected protocol.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the field does, or a count claims more than there is.
    #[error("truncated: {needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the field needs at least.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A length below zero where null is not allowed, or a varint beyond 32 bits.
    #[error("invalid length {0}")]
    InvalidLength(i64),
    /// Not UTF-8.
    #[error("a string is not UTF-8")]
    InvalidUtf8,
    /// Bytes follow the record.
    #[error("{0} bytes follow the record")]
    TrailingBytes(usize),
    /// The value of a known key is of a version that this release does not know.
    #[error("value version {0} is not known")]
    UnknownValueVersion(i16),
}

const OFFSET_COMMIT_KEY_VERSION: i16 = 1;
const GROUP_METADATA_KEY_VERSION: i16 = 2;

impl GroupRecord {
    /// The record's key and value; a value of `None` is a tombstone.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        match self {
            GroupRecord::OffsetCommit { key, value } => {
                let mut buf = BytesMut::new();
                buf.put_i16(OFFSET_COMMIT_KEY_VERSION);
                put_string(&mut buf, &key.group_id);
                put_string(&mut buf, &key.topic);
                buf.put_i32(key.partition);
                (buf.freeze(), value.as_ref().map(encode_offset))
            }
            GroupRecord::GroupMetadata { group_id, value } => {
                let mut buf = BytesMut::new();
                buf.put_i16(GROUP_METADATA_KEY_VERSION);
                put_string(&mut buf, group_id);
                (buf.freeze(), value.as_ref().map(encode_group))
            }
        }
    }

    /// The record in these bytes; `None` if its key is of a version that this release does not know.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<GroupRecord>, RecordError> {
        let mut key = Reader { bytes: key, flexible: false };
        let record = match key.i16()? {
            0 | OFFSET_COMMIT_KEY_VERSION => GroupRecord::OffsetCommit {
                key: OffsetKey { group_id: key.string()?, topic: key.string()?, partition: key.i32()? },
                value: value.map(decode_offset).transpose()?,
            },
            GROUP_METADATA_KEY_VERSION => GroupRecord::GroupMetadata {
                group_id: key.string()?,
                value: value.map(decode_group).transpose()?,
            },
            _ => return Ok(None),
        };
        key.end()?;
        Ok(Some(record))
    }
}

impl GroupMetadata {
    /// The bytes of its value, without encoding it.
    pub fn encoded_len(&self) -> usize {
        let string = |s: &str| 2 + s.len();
        let optional = |s: &Option<String>| 2 + s.as_ref().map_or(0, String::len);
        let members: usize = self
            .members
            .iter()
            .map(|m| {
                string(&m.member_id)
                    + optional(&m.group_instance_id)
                    + string(&m.client_id)
                    + string(&m.client_host)
                    + 4
                    + 4
                    + 4
                    + m.subscription.len()
                    + 4
                    + m.assignment.len()
            })
            .sum();
        2 + string(&self.protocol_type)
            + 4
            + optional(&self.protocol_name)
            + optional(&self.leader)
            + 8
            + 4
            + members
    }
}

fn encode_offset(value: &OffsetAndMetadata) -> Bytes {
    let mut buf = BytesMut::new();
    match value.expire_timestamp_ms {
        // Version 1 alone has the expiry; what it lacks is the leader epoch (`offsetCommitValueVersion(true)`).
        Some(expire_timestamp_ms) => {
            buf.put_i16(1);
            buf.put_i64(value.offset);
            put_string(&mut buf, &value.metadata);
            buf.put_i64(value.commit_timestamp_ms);
            buf.put_i64(expire_timestamp_ms);
        }
        None => {
            buf.put_i16(3);
            buf.put_i64(value.offset);
            buf.put_i32(value.leader_epoch);
            put_string(&mut buf, &value.metadata);
            buf.put_i64(value.commit_timestamp_ms);
        }
    }
    buf.freeze()
}

fn decode_offset(bytes: &[u8]) -> Result<OffsetAndMetadata, RecordError> {
    let (mut r, version) = Reader::versioned(bytes)?;
    let offset = r.i64()?;
    let leader_epoch = if version >= 3 { r.i32()? } else { -1 };
    let metadata = r.string()?;
    let commit_timestamp_ms = r.i64()?;
    let expire_timestamp_ms = if version == 1 { Some(r.i64()?).filter(|&t| t != -1) } else { None };
    r.tagged_fields()?;
    r.end()?;
    Ok(OffsetAndMetadata { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms })
}

fn encode_group(value: &GroupMetadata) -> Bytes {
    let mut buf = BytesMut::with_capacity(value.encoded_len());
    buf.put_i16(3);
    put_string(&mut buf, &value.protocol_type);
    buf.put_i32(value.generation_id);
    put_optional(&mut buf, value.protocol_name.as_deref());
    put_optional(&mut buf, value.leader.as_deref());
    buf.put_i64(value.current_state_timestamp_ms);
    buf.put_i32(i32::try_from(value.members.len()).expect("members fit a frame"));
    for member in &value.members {
        put_string(&mut buf, &member.member_id);
        put_optional(&mut buf, member.group_instance_id.as_deref());
        put_string(&mut buf, &member.client_id);
        put_string(&mut buf, &member.client_host);
        buf.put_i32(member.rebalance_timeout_ms);
        buf.put_i32(member.session_timeout_ms);
        put_bytes(&mut buf, &member.subscription);
        put_bytes(&mut buf, &member.assignment);
    }
    debug_assert_eq!(buf.len(), value.encoded_len());
    buf.freeze()
}

fn decode_group(bytes: &[u8]) -> Result<GroupMetadata, RecordError> {
    let (mut r, version) = Reader::versioned(bytes)?;
    let protocol_type = r.string()?;
    let generation_id = r.i32()?;
    let protocol_name = r.optional_string()?;
    let leader = r.optional_string()?;
    let current_state_timestamp_ms = if version >= 2 { r.i64()? } else { -1 };
    let count = r.count()?;
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let member_id = r.string()?;
        let group_instance_id = if version >= 3 { r.optional_string()? } else { None };
        let client_id = r.string()?;
        let client_host = r.string()?;
        let rebalance_timeout_ms = if version >= 1 { r.i32()? } else { -1 };
        let session_timeout_ms = r.i32()?;
        members.push(MemberMetadata {
            member_id,
            group_instance_id,
            client_id,
            client_host,
            // Before v1 the session timeout was both (`GroupMetadataManager.replay`).
            rebalance_timeout_ms: if rebalance_timeout_ms == -1 {
                session_timeout_ms
            } else {
                rebalance_timeout_ms
            },
            session_timeout_ms,
            subscription: r.bytes()?,
            assignment: r.bytes()?,
        });
        r.tagged_fields()?;
    }
    r.tagged_fields()?;
    r.end()?;
    Ok(GroupMetadata {
        protocol_type,
        generation_id,
        protocol_name,
        leader,
        current_state_timestamp_ms,
        members,
    })
}

/// The longest string these formats hold; requests are checked against it before they reach a record.
pub(super) const STRING_LEN_MAX: usize = i16::MAX as usize;

fn put_string(buf: &mut BytesMut, s: &str) {
    assert!(s.len() <= STRING_LEN_MAX, "a string of {} bytes reached a record", s.len());
    buf.put_i16(s.len() as i16);
    buf.put_slice(s.as_bytes());
}

fn put_optional(buf: &mut BytesMut, s: Option<&str>) {
    match s {
        Some(s) => put_string(buf, s),
        None => buf.put_i16(-1),
    }
}

fn put_bytes(buf: &mut BytesMut, bytes: &Bytes) {
    buf.put_i32(i32::try_from(bytes.len()).expect("bytes fit a frame"));
    buf.put_slice(bytes);
}

/// Reads Kafka's primitive types, plain or flexible (KIP-482), from bytes that may be anything.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// Over plain (non-flexible) bytes.
    pub(super) fn plain(bytes: &'a [u8]) -> Self {
        Reader { bytes, flexible: false }
    }

    /// Over a value that begins with its version, 0 to 4; 4 is flexible.
    fn versioned(bytes: &'a [u8]) -> Result<(Self, i16), RecordError> {
        let mut r = Reader::plain(bytes);
        let version = r.i16()?;
        if !(0..=4).contains(&version) {
            return Err(RecordError::UnknownValueVersion(version));
        }
        r.flexible = version >= 4;
        Ok((r, version))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        if self.bytes.len() < len {
            return Err(RecordError::Truncated { needed: len, left: self.bytes.len() });
        }
        let (head, tail) = self.bytes.split_at(len);
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn i16(&mut self) -> Result<i16, RecordError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn uvarint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.array::<1>()?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| RecordError::InvalidLength(value as i64));
            }
        }
        Err(RecordError::InvalidLength(value as i64))
    }

    /// A length; -1 for null.
    fn len(&mut self, plain: fn(&mut Self) -> Result<i64, RecordError>) -> Result<i64, RecordError> {
        if self.flexible { Ok(i64::from(self.uvarint()?) - 1) } else { plain(self) }
    }

    fn sized(&mut self, len: i64) -> Result<&'a [u8], RecordError> {
        self.take(usize::try_from(len).map_err(|_| RecordError::InvalidLength(len))?)
    }

    /// The count of an array whose elements take two bytes or more each, so that a count that cannot be true reserves
    /// nothing.
    pub(super) fn count(&mut self) -> Result<usize, RecordError> {
        let len = self.len(|r| r.i32().map(i64::from))?;
        let count = usize::try_from(len).map_err(|_| RecordError::InvalidLength(len))?;
        let needed = count.saturating_mul(2);
        if needed > self.bytes.len() {
            return Err(RecordError::Truncated { needed, left: self.bytes.len() });
        }
        Ok(count)
    }

    pub(super) fn string(&mut self) -> Result<String, RecordError> {
        let len = self.len(|r| r.i16().map(i64::from))?;
        self.text(len)
    }

    fn optional_string(&mut self) -> Result<Option<String>, RecordError> {
        match self.len(|r| r.i16().map(i64::from))? {
            -1 => Ok(None),
            len => Ok(Some(self.text(len)?)),
        }
    }

    /// A string of this length. A flexible one may state more than the versions that are written can hold: nobody writes
    /// such, and the shard would have to write it again.
    fn text(&mut self, len: i64) -> Result<String, RecordError> {
        if len > STRING_LEN_MAX as i64 {
            return Err(RecordError::InvalidLength(len));
        }
        let bytes = self.sized(len)?;
        Ok(std::str::from_utf8(bytes).map_err(|_| RecordError::InvalidUtf8)?.to_string())
    }

    fn bytes(&mut self) -> Result<Bytes, RecordError> {
        let len = self.len(|r| r.i32().map(i64::from))?;
        Ok(Bytes::copy_from_slice(self.sized(len)?))
    }

    fn tagged_fields(&mut self) -> Result<(), RecordError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let len = self.uvarint()?;
            self.take(len as usize)?;
        }
        Ok(())
    }

    fn end(&self) -> Result<(), RecordError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(RecordError::TrailingBytes(self.bytes.len())) }
    }
}
