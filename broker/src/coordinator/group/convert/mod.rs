//! kafka-protocol's structs to and from the shapes of [`super::message`], one file per API or pair of APIs.
//!
//! Versions differ here and nowhere else: a request of any served version becomes the newest shape, an answer becomes
//! the struct that *its* version can carry (kafka-protocol refuses to encode a non-default field that a version lacks).
//! Strings and bytes that a group keeps are copied: a slice would keep the whole frame of its request alive.
//!
//! Not here: authorization, topic existence, throttle times (the handler sets `throttle_time_ms`).

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

pub mod delete_groups;
pub mod describe_groups;
pub mod heartbeat;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod sync_group;
pub mod txn_offset_commit;

#[cfg(test)]
mod tests;

fn code(error: Option<ResponseError>) -> i16 {
    protocol::error::code(error)
}

fn owned(s: &StrBytes) -> String {
    s.as_str().to_string()
}

fn owned_opt(s: &Option<StrBytes>) -> Option<String> {
    s.as_ref().map(owned)
}

fn owned_bytes(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn wire(s: String) -> StrBytes {
    StrBytes::from_string(s)
}

fn wire_opt(s: Option<String>) -> Option<StrBytes> {
    s.map(wire)
}

fn group_id(s: String) -> GroupId {
    GroupId(wire(s))
}

fn topic_name(s: String) -> TopicName {
    TopicName(wire(s))
}
