//! Decisions about the cluster's metadata: functions of an image and a request that give records, or Kafka's error. Pure.

pub mod assignment;
pub mod configs;
pub mod deletion;
pub mod elections;
pub mod features;
pub mod partitions;
pub mod quotas;
pub mod reassign;
pub mod registration;
#[cfg(test)]
mod rig;
pub mod topics;

use protocol::error::ErrorCode;

use crate::metadata::MetadataRecord;

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

/// A change that the journal's feature level cannot hold yet is refused with the remedy.
pub fn check_level(record: &MetadataRecord, level: u16) -> Result<(), Refused> {
    if record.level() <= level {
        return Ok(());
    }
    let (feature, needed) = (features::AQUIFER_VERSION, record.level());
    Err(Refused::new(
        ErrorCode::UnsupportedVersion,
        format!(
            "The cluster is at {feature} {level}, this needs {needed}: \
             kafka-features upgrade --feature {feature}={needed}"
        ),
    ))
}
