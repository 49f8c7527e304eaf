//! ApiVersions (key 18), v0-v4: the one request that is answered whatever its version.
//!
//! Owns: the answer, from the table and the cluster's features. Behavior: read before authentication; a
//! version we do not know is answered in the shape of v0 with UNSUPPORTED_VERSION and our range of
//! ApiVersions itself, so that the client can ask again (KIP-511); the response header is v0 always.
//! Versions: v1 throttle time · v3 client software name and version, features (KIP-511, KIP-584) · v4
//! features may start at level 0 (KIP-1022; for v3 they are left out: older clients cannot read them,
//! KAFKA-17492). v5 (KIP-1242) is not served: behind one address for many brokers its node check breaks
//! clients.
//! Errors: UNSUPPORTED_VERSION, INVALID_REQUEST (software name or version that is not a plain word).
//! (Kafka: `ApiVersionsResponse`, `ApiVersionsRequest.isValid`.)

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::protocol::StrBytes;

use crate::api::{self, Api, ApiKey};
use crate::codec;
use crate::error::{DecodeError, ErrorCode, NONE};
use crate::frame::LENGTH_BYTES;

/// First version with a client's software and the broker's features.
const FEATURES_SINCE: i16 = 3;
/// First version whose clients can read a feature that starts at level 0.
const LEVEL_ZERO_SINCE: i16 = 4;

/// Levels of a feature that a broker can work at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedFeature {
    /// Its name, `transaction.version` for instance.
    pub name: &'static str,
    /// Lowest level.
    pub min: i16,
    /// Highest level.
    pub max: i16,
}

/// The level of a feature in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalizedFeature {
    /// Its name.
    pub name: &'static str,
    /// The level; 0 means that the feature is off.
    pub level: i16,
}

/// What a broker says of features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// What this broker can.
    pub supported: Vec<SupportedFeature>,
    /// What the cluster has agreed on.
    pub finalized: Vec<FinalizedFeature>,
    /// Grows with every change of `finalized`; clients heed `finalized` only when it is above the last they
    /// saw. -1: not known.
    pub finalized_epoch: i64,
}

impl Default for Features {
    fn default() -> Self {
        Features { supported: Vec::new(), finalized: Vec::new(), finalized_epoch: -1 }
    }
}

/// How a client names its software, from v3 on. Slices of the request: copy what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSoftware {
    /// For instance `apache-kafka-java`.
    pub name: StrBytes,
    /// For instance `4.1.0`.
    pub version: StrBytes,
}

/// The answer, and what was learnt of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The whole frame.
    pub frame: Bytes,
    /// The client's software, if it said so acceptably.
    pub client: Option<ClientSoftware>,
}

/// Answers an ApiVersions request of any version. `body` is what follows the request header; it is read only
/// if we know the version. `Err`: the body is malformed, close the connection.
pub fn answer(
    correlation_id: i32,
    version: i16,
    body: Bytes,
    features: &Features,
) -> Result<Answer, DecodeError> {
    let row = api::find(ApiKey::ApiVersions as i16).expect("ApiVersions has a row in the table");
    if !row.supports(version) {
        return Ok(Answer { frame: unsupported_version(correlation_id, row), client: None });
    }
    let request = codec::decode_api_versions(body, version)?;
    let client = (version >= FEATURES_SINCE).then_some(ClientSoftware {
        name: request.client_software_name,
        version: request.client_software_version,
    });
    if let Some(client) = &client
        && !(is_software_word(&client.name) && is_software_word(&client.version))
    {
        let refusal = ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
        return encode(correlation_id, version, &refusal, None);
    }
    encode(correlation_id, version, &response(version, features), client)
}

fn response(version: i16, features: &Features) -> ApiVersionsResponse {
    let api_keys = api::served().map(|api| {
        ApiVersion::default().with_api_key(api.key as i16).with_min_version(api.min).with_max_version(api.max)
    });
    let answer = ApiVersionsResponse::default().with_error_code(NONE).with_api_keys(api_keys.collect());
    if version < FEATURES_SINCE {
        return answer;
    }
    let supported =
        features.supported.iter().filter(|feature| feature.min > 0 || version >= LEVEL_ZERO_SINCE);
    let supported = supported.map(|feature| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(feature.name))
            .with_min_version(feature.min)
            .with_max_version(feature.max)
    });
    // Level 0 is the absence of a feature: it is left out of the finalized ones.
    let finalized = features.finalized.iter().filter(|feature| feature.level > 0);
    let finalized = finalized.map(|feature| {
        FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str(feature.name))
            .with_min_version_level(feature.level)
            .with_max_version_level(feature.level)
    });
    answer
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(features.finalized_epoch)
}

fn encode(
    correlation_id: i32,
    version: i16,
    response: &ApiVersionsResponse,
    client: Option<ClientSoftware>,
) -> Result<Answer, DecodeError> {
    // Every field set above exists in the version it is set for, so the codec has nothing to refuse.
    let frame = codec::encode_api_versions(correlation_id, version, response)
        .unwrap_or_else(|error| panic!("ApiVersions v{version}: {error}"));
    Ok(Answer { frame, client })
}

/// The shape of v0: error code, then an array of (key, min, max) that holds ApiVersions alone.
fn unsupported_version(correlation_id: i32, row: &Api) -> Bytes {
    let mut frame = BytesMut::with_capacity(20);
    frame.put_i32(0);
    frame.put_i32(correlation_id);
    frame.put_i16(ErrorCode::UnsupportedVersion.code());
    frame.put_i32(1);
    frame.put_i16(row.key as i16);
    frame.put_i16(row.min);
    frame.put_i16(row.max);
    let length = (frame.len() - LENGTH_BYTES) as i32;
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`: letters and digits, with dashes and dots between them.
fn is_software_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'.';
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(inner)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiVersionsRequest;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    fn body(name: &'static str, version: i16) -> Bytes {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request = request
                .with_client_software_name(StrBytes::from_static_str(name))
                .with_client_software_version(StrBytes::from_static_str("4.1.0"));
        }
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, version).unwrap();
        bytes.freeze()
    }

    fn decoded(mut frame: Bytes, version: i16) -> ApiVersionsResponse {
        let length = i32::from_be_bytes(frame.split_to(4)[..].try_into().unwrap());
        assert_eq!(length as usize, frame.len());
        assert_eq!(&frame.split_to(4)[..], 7i32.to_be_bytes(), "header v0: nothing but the correlation id");
        let response = ApiVersionsResponse::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty());
        response
    }

    fn features() -> Features {
        Features {
            supported: vec![
                SupportedFeature { name: "metadata.version", min: 7, max: 27 },
                SupportedFeature { name: "transaction.version", min: 0, max: 2 },
            ],
            finalized: vec![
                FinalizedFeature { name: "metadata.version", level: 27 },
                FinalizedFeature { name: "transaction.version", level: 0 },
            ],
            finalized_epoch: 5,
        }
    }

    #[test]
    fn a_version_we_do_not_know_is_answered_in_the_shape_of_v0_with_our_range() {
        for version in [5, 6, 100, i16::MAX, -1, i16::MIN] {
            let garbage = Bytes::from_static(&[0xff; 32]);
            let answer = answer(7, version, garbage, &features()).unwrap();
            let response = decoded(answer.frame, 0);
            assert_eq!(response.error_code, 35);
            let range = ApiVersion::default().with_api_key(18).with_min_version(0).with_max_version(4);
            assert_eq!(response.api_keys, [range]);
        }
    }

    #[test]
    fn every_version_lists_exactly_the_served_rows() {
        for version in 0..=4 {
            let answer = answer(7, version, body("librdkafka", version), &features()).unwrap();
            let response = decoded(answer.frame, version);
            assert_eq!(response.error_code, 0);
            let listed: Vec<_> =
                response.api_keys.iter().map(|row| (row.api_key, row.min_version, row.max_version)).collect();
            let served: Vec<_> = api::served().map(|api| (api.key as i16, api.min, api.max)).collect();
            assert_eq!(listed, served);
            assert_eq!(listed[0], (0, 0, 13), "KAFKA-18659");
        }
    }

    #[test]
    fn features_from_level_zero_are_for_v4_and_finalized_level_zero_is_left_out() {
        for (version, supported) in
            [(3, vec!["metadata.version"]), (4, vec!["metadata.version", "transaction.version"])]
        {
            let answer = answer(7, version, body("java", version), &features()).unwrap();
            let response = decoded(answer.frame, version);
            let names: Vec<_> = response.supported_features.iter().map(|f| f.name.as_str()).collect();
            assert_eq!(names, supported, "v{version}");
            assert_eq!(response.finalized_features.len(), 1);
            assert_eq!(response.finalized_features[0].max_version_level, 27);
            assert_eq!(response.finalized_features_epoch, 5);
        }
    }

    #[test]
    fn software_names_are_plain_words() {
        for (name, good) in [
            ("a", true),
            ("apache-kafka-java", true),
            ("x.1", true),
            ("", false),
            ("-x", false),
            ("x-", false),
            ("x y", false),
            ("é", false),
        ] {
            let answer = answer(7, 3, body(name, 3), &features()).unwrap();
            assert_eq!(answer.client.is_some(), good, "{name:?}");
            let expected = if good { 0 } else { ErrorCode::InvalidRequest.code() };
            assert_eq!(decoded(answer.frame, 3).error_code, expected, "{name:?}");
        }
    }
}
