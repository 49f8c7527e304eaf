//! Kafka's error codes and this crate's own errors.
//!
//! Owns: [`ErrorCode`], the numbers on the wire, and why a frame could not be read or written. Does not own
//! what is wrong with a record batch (`record_batch::BatchError`) nor which answer a failed append gets: that
//! is the broker's `error.rs`.

use thiserror::Error;

pub use kafka_protocol::ResponseError as ErrorCode;

/// The error code field of an answer without an error (Kafka: `Errors.NONE`).
pub const NONE: i16 = 0;

/// The number an answer carries for this error, 0 for none.
pub fn code(error: Option<ErrorCode>) -> i16 {
    match error {
        None => NONE,
        Some(error) => error.code(),
    }
}

/// The number an answer carries for this result, 0 for `Ok`.
pub fn code_of<T>(result: &Result<T, ErrorCode>) -> i16 {
    match result {
        Ok(_) => NONE,
        Err(error) => error.code(),
    }
}

/// Why the bytes of a request are not a request. The connection that sent them is closed, as Kafka's
/// `SocketServer.processException` does: nothing after a malformed frame can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The frame ends inside the named part.
    #[error("frame ends inside {what}: {needed} bytes needed, {remaining} left")]
    Truncated {
        /// The part that was being read.
        what: &'static str,
        /// Bytes the part needs.
        needed: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// No row of the table has this key.
    #[error("unknown api key {key}")]
    UnknownApi {
        /// The key on the wire.
        key: i16,
    },
    /// The table has the key, but this version cannot be read.
    #[error("api key {key} has no version {version}")]
    UnsupportedVersion {
        /// The key on the wire.
        key: i16,
        /// The version on the wire.
        version: i16,
    },
    /// A length below -1, or a null where the version allows none.
    #[error("{what} has length {length}")]
    BadLength {
        /// The kind of value.
        what: &'static str,
        /// The length on the wire.
        length: i64,
    },
    /// A variable-length integer of more than five bytes or more than 32 bits.
    #[error("variable-length integer does not end within 32 bits")]
    BadVarint,
    /// An array states more elements than the rest of the frame can hold.
    #[error("array of {count} elements in {remaining} bytes")]
    ArrayTooLong {
        /// Elements stated.
        count: usize,
        /// Bytes left in the frame.
        remaining: usize,
    },
    /// The decoded request would take more memory than a frame of this size may.
    #[error("request of {frame} bytes decodes to more than {limit} bytes")]
    TooMuchMemory {
        /// Bytes of the request body.
        frame: usize,
        /// Most bytes its decoded form may take.
        limit: usize,
    },
    /// A tagged field whose value is longer or shorter than its stated size.
    #[error("tagged field {tag}: {used} bytes used of {size}")]
    TaggedFieldSize {
        /// The tag.
        tag: u32,
        /// Bytes stated.
        size: usize,
        /// Bytes its value takes.
        used: usize,
    },
    /// The walk accepted the body but the message codec did not (text that is not UTF-8, for instance).
    #[error("malformed request: {reason}")]
    Malformed {
        /// The codec's words.
        reason: String,
    },
}

/// Why an answer could not be written. A bug of ours: a field was set that the version lacks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The message codec refused.
    #[error("cannot encode {api} v{version}: {reason}")]
    Refused {
        /// The API's name.
        api: &'static str,
        /// The version asked for.
        version: i16,
        /// The codec's words.
        reason: String,
    },
    /// The answer is longer than a frame can say.
    #[error("answer of {bytes} bytes does not fit a frame")]
    TooLong {
        /// Bytes of the answer.
        bytes: usize,
    },
}
