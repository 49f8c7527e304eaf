//! The Kafka wire protocol: frames, bounded decoding, record batches. No IO, no clock, no threads.
//!
//! Hostile bytes cost nothing here: every length is checked before it is believed, and nothing is allocated
//! because a number on the wire says so. Kafka's meaning (what a request does) is the broker's.
//!
//! The life of a request, as files:
//! - `frame`: eight bytes are read; is this frame one we read on? (uses `api`, THE table)
//! - `codec`: header and body become a request struct, after
//! - `guard` has walked the body along `schema` and found every length true and the memory bounded
//! - `api_versions`: the one request answered whatever its version
//! - `codec` again: a response struct becomes a frame; `fetch_response` (vectored) and `produce_response`: those
//!   of the hot path, written by hand out of `primitives`
//!
//! The life of a record batch:
//! - `validate`: what a producer may send, in Kafka's order of checks
//! - `record_batch`: header, CRC, stamping offsets, cutting a log range into batches
//! - `compression`, `record`: the records inside, bounded, in place
//! - `batch_builder`, `control_batch`: batches the broker writes itself
//!
//! `error`: Kafka's error codes; why bytes were refused.

#![forbid(unsafe_code)]

pub mod api;
pub mod api_versions;
pub mod batch_builder;
pub mod codec;
pub mod compression;
pub mod control_batch;
pub mod error;
pub mod fetch_response;
pub mod frame;
pub mod guard;
pub mod primitives;
pub mod produce_response;
pub mod record;
pub mod record_batch;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod schema;
pub mod validate;

pub use api::ApiKey;
pub use error::ErrorCode;
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::StrBytes;
