//! What the answers that are written by hand are made of: Kafka's primitive types, and who leads instead (KIP-951).
//!
//! `flexible` is the version's: lengths as varints plus one, and tagged fields after each structure (KIP-482).

use bytes::{BufMut, BytesMut};

use crate::error::EncodeError;

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    /// Broker id.
    pub leader_id: i32,
    /// Leader epoch.
    pub leader_epoch: i32,
}

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// Broker id.
    pub node_id: i32,
    /// Host name of the listener that was asked.
    pub host: String,
    /// Port.
    pub port: i32,
    /// Rack, if it has one.
    pub rack: Option<String>,
}

/// The length of an array, or of bytes; `None` is null.
pub(crate) fn put_array_length(
    output: &mut BytesMut,
    flexible: bool,
    length: Option<usize>,
) -> Result<(), EncodeError> {
    let length = match length {
        None => -1,
        Some(length) => i32::try_from(length).map_err(|_| EncodeError::TooLong { bytes: length })?,
    };
    if flexible {
        put_unsigned_varint(output, (length as u32).wrapping_add(1));
    } else {
        output.put_i32(length);
    }
    Ok(())
}

pub(crate) fn put_string(output: &mut BytesMut, flexible: bool, text: &str) -> Result<(), EncodeError> {
    let length = i16::try_from(text.len()).map_err(|_| EncodeError::TooLong { bytes: text.len() })?;
    if flexible {
        put_unsigned_varint(output, length as u32 + 1);
    } else {
        output.put_i16(length);
    }
    output.put_slice(text.as_bytes());
    Ok(())
}

pub(crate) fn put_nullable_string(
    output: &mut BytesMut,
    flexible: bool,
    text: Option<&str>,
) -> Result<(), EncodeError> {
    match text {
        Some(text) => put_string(output, flexible, text)?,
        None if flexible => output.put_u8(0),
        None => output.put_i16(-1),
    }
    Ok(())
}

pub(crate) fn put_tag(output: &mut BytesMut, tag: u32, value: &[u8]) {
    put_unsigned_varint(output, tag);
    put_unsigned_varint(output, value.len() as u32);
    output.put_slice(value);
}

pub(crate) fn put_no_tags(output: &mut BytesMut, flexible: bool) {
    if flexible {
        output.put_u8(0);
    }
}

pub(crate) fn put_leader_tag(output: &mut BytesMut, tag: u32, leader: LeaderIdAndEpoch) {
    let mut value = BytesMut::with_capacity(9);
    value.put_i32(leader.leader_id);
    value.put_i32(leader.leader_epoch);
    value.put_u8(0);
    put_tag(output, tag, &value);
}

pub(crate) fn put_node_endpoints_tag(
    output: &mut BytesMut,
    tag: u32,
    endpoints: &[NodeEndpoint],
) -> Result<(), EncodeError> {
    let mut value = BytesMut::new();
    put_array_length(&mut value, true, Some(endpoints.len()))?;
    for endpoint in endpoints {
        value.put_i32(endpoint.node_id);
        put_string(&mut value, true, &endpoint.host)?;
        value.put_i32(endpoint.port);
        put_nullable_string(&mut value, true, endpoint.rack.as_deref())?;
        put_no_tags(&mut value, true);
    }
    put_tag(output, tag, &value);
    Ok(())
}

pub(crate) fn put_unsigned_varint(output: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        output.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    output.put_u8(value as u8);
}
