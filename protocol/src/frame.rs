//! Frame lengths: how much of a request a connection agrees to read, decided from its first eight bytes.
//!
//! Owns: the limits per API class and before authentication. Does not own reading (the connection's) nor what
//! is in the frame (`codec.rs`).
//!
//! A request is a 4-byte length, then a header that begins with API key and version. Those eight bytes are
//! read first, so that a frame is refused before memory is set aside for it: only Produce may be large, and a
//! stranger may send little. A refused frame closes the connection; there is no way to answer what was not
//! read.

use thiserror::Error;

use crate::api::{self, Api, FrameClass};

/// Bytes to read before [`FrameHead::parse`]: length, API key, API version.
pub const HEAD_BYTES: usize = 8;
/// Bytes of the length field, which it does not count.
pub const LENGTH_BYTES: usize = 4;
/// The shortest request: key, version, correlation id, null client id.
pub const BODY_BYTES_MIN: usize = 10;

/// Most bytes of a frame after its length field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Of a Produce request (`socket.request.max.bytes`).
    pub produce_bytes_max: u32,
    /// Of any other request.
    pub plain_bytes_max: u32,
    /// Of any request on a connection that must still authenticate.
    pub before_authentication_bytes_max: u32,
}

impl Default for FrameLimits {
    /// 100 MiB for Produce, as Kafka's `socket.request.max.bytes`; 4 MiB otherwise; 64 KiB before
    /// authentication.
    fn default() -> Self {
        FrameLimits {
            produce_bytes_max: 104_857_600,
            plain_bytes_max: 4 * 1024 * 1024,
            before_authentication_bytes_max: 64 * 1024,
        }
    }
}

/// What the first eight bytes of a request say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes after the length field; four of them (key and version) have been read.
    pub body_bytes: usize,
    /// The key, whether there is such an API or not.
    pub api_key: i16,
    /// The version, whether there is one or not.
    pub api_version: i16,
}

/// Why a frame is not read. The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Below zero, or too short for a request header.
    #[error("frame length {length}, at least {BODY_BYTES_MIN}")]
    TooShort {
        /// The length on the wire.
        length: i32,
    },
    /// Longer than its class may be.
    #[error("frame length {length}, at most {bytes_max} for api key {api_key}")]
    TooLong {
        /// The length on the wire.
        length: i32,
        /// The limit that holds.
        bytes_max: u32,
        /// The key on the wire.
        api_key: i16,
    },
    /// No such API, or one that is not served: Kafka closes the connection too.
    #[error("api key {api_key} is not served")]
    NotServed {
        /// The key on the wire.
        api_key: i16,
    },
    /// An API that must wait for authentication.
    #[error("api key {api_key} before authentication")]
    BeforeAuthentication {
        /// The key on the wire.
        api_key: i16,
    },
}

impl FrameHead {
    /// Judges a frame by its first eight bytes. `authenticated` is true on listeners that need no
    /// authentication.
    pub fn parse(
        first: &[u8; HEAD_BYTES],
        limits: &FrameLimits,
        authenticated: bool,
    ) -> Result<FrameHead, FrameError> {
        let [l0, l1, l2, l3, k0, k1, v0, v1] = *first;
        let length = i32::from_be_bytes([l0, l1, l2, l3]);
        let api_key = i16::from_be_bytes([k0, k1]);
        let api_version = i16::from_be_bytes([v0, v1]);
        let body_bytes = FrameHead::check_length([l0, l1, l2, l3])?;
        let api = api::find(api_key).filter(|api| api.served).ok_or(FrameError::NotServed { api_key })?;
        if !authenticated && !api.before_authentication {
            return Err(FrameError::BeforeAuthentication { api_key });
        }
        let bytes_max = limits.bytes_max(api, authenticated);
        if body_bytes > bytes_max as usize {
            return Err(FrameError::TooLong { length, bytes_max, api_key });
        }
        Ok(FrameHead { body_bytes, api_key, api_version })
    }

    /// The length that a frame's first four bytes state, if a request can be that short: what follows need not
    /// be waited for otherwise.
    pub fn check_length(first: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
        let length = i32::from_be_bytes(first);
        match usize::try_from(length) {
            Ok(bytes) if bytes >= BODY_BYTES_MIN => Ok(bytes),
            _ => Err(FrameError::TooShort { length }),
        }
    }

    /// The row of the table; frames that parsed have one.
    pub fn api(&self) -> Option<&'static Api> {
        api::find(self.api_key)
    }
}

impl FrameLimits {
    fn bytes_max(&self, api: &Api, authenticated: bool) -> u32 {
        let class = match api.frame_class {
            FrameClass::Produce => self.produce_bytes_max,
            FrameClass::Plain => self.plain_bytes_max,
        };
        if authenticated { class } else { class.min(self.before_authentication_bytes_max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: i32, api_key: i16) -> [u8; HEAD_BYTES] {
        let mut bytes = [0u8; HEAD_BYTES];
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..6].copy_from_slice(&api_key.to_be_bytes());
        bytes[6..].copy_from_slice(&3i16.to_be_bytes());
        bytes
    }

    #[test]
    fn limits_by_api_class_and_authentication() {
        let limits = FrameLimits::default();
        let (produce, metadata, api_versions) = (0, 3, 18);
        let mib = 1024 * 1024;
        let ok =
            |bytes: i32, key: i16| Ok(FrameHead { body_bytes: bytes as usize, api_key: key, api_version: 3 });
        let too_long = |length: i32, bytes_max: u32, api_key: i16| {
            Err(FrameError::TooLong { length, bytes_max, api_key })
        };
        for (length, key, authenticated, expected) in [
            (100 * mib, produce, true, ok(100 * mib, produce)),
            (100 * mib + 1, produce, true, too_long(100 * mib + 1, 100 * mib as u32, produce)),
            (4 * mib, metadata, true, ok(4 * mib, metadata)),
            (4 * mib + 1, metadata, true, too_long(4 * mib + 1, 4 * mib as u32, metadata)),
            (i32::MAX, api_versions, false, too_long(i32::MAX, 65_536, api_versions)),
            (65_536, api_versions, false, ok(65_536, api_versions)),
            (100, produce, false, Err(FrameError::BeforeAuthentication { api_key: produce })),
            (100, 1000, true, Err(FrameError::NotServed { api_key: 1000 })),
            (100, 4, true, Err(FrameError::NotServed { api_key: 4 })),
            (-1, metadata, true, Err(FrameError::TooShort { length: -1 })),
            (i32::MIN, metadata, true, Err(FrameError::TooShort { length: i32::MIN })),
            (9, metadata, true, Err(FrameError::TooShort { length: 9 })),
            (10, metadata, true, ok(10, metadata)),
        ] {
            assert_eq!(
                FrameHead::parse(&head(length, key), &limits, authenticated),
                expected,
                "{length} {key}"
            );
        }
    }
}
