//! Decisions about the cluster's metadata: functions of an image and a request that give records, or Kafka's error. Pure.

pub mod registration;
pub mod topics;

use protocol::error::ErrorCode;

/// A refusal in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Kafka's code.
    pub code: ErrorCode,
    /// For the user.
    pub message: String,
}

impl Refused {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into() }
    }
}
