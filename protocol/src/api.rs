//! The table of APIs: the numbered index of what this broker speaks.
//!
//! Owns: one row per API, in key order: versions, the first flexible one, frame limit class, whether it may
//! be called before authentication, whether it is served. ApiVersions, dispatch, the decoder and the frame
//! limits all read it, so what is advertised is what works. Does not own the shape of messages (`schema.rs`).
//!
//! Turning an API on is one word in its row, `PREPARED` to `SERVED`, after its handler exists. Versions are
//! those of Kafka 4.1-4.3, as far as the message codec reads them. Two rows surprise:
//! - Produce is advertised from v0 and served from v3: librdkafka up to 2.10 silently stops compressing
//!   unless the range starts at 0 (KAFKA-18659, `ApiKeys.PRODUCE_API_VERSIONS_RESPONSE_MIN_VERSION`).
//! - JoinGroup starts at v0: old librdkafka and kafka-go need v0-1 (dropped in Kafka 4.0.0, put back in
//!   4.0.1).

pub use kafka_protocol::messages::ApiKey;

/// One API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// The key on the wire.
    pub key: ApiKey,
    /// Kafka's name, without `Request`.
    pub name: &'static str,
    /// Lowest version advertised.
    pub min: i16,
    /// Lowest version that can be read; differs from `min` for Produce alone.
    pub min_usable: i16,
    /// Highest version, advertised and usable.
    pub max: i16,
    /// First version with compact lengths and tagged fields (KIP-482), if any.
    pub flexible_from: Option<i16>,
    /// Which limit its frames have.
    pub frame_class: FrameClass,
    /// A client may call it before it has authenticated.
    pub before_authentication: bool,
    /// Advertised and dispatched. False: the row and its decoder are ready, the handler is not.
    pub served: bool,
}

/// How large a frame may be: see `frame::FrameLimits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameClass {
    /// Carries records.
    Produce,
    /// Everything else.
    Plain,
}

const SERVED: bool = true;
#[allow(dead_code, reason = "every API that has a row is served; the next one begins with this")]
const PREPARED: bool = false;
/// `flexible_from` of an API that never became flexible.
const NEVER: Option<i16> = None;

/// Every API with a row, in key order.
pub static APIS: &[Api] = &[
    row(ApiKey::Produce, "Produce", 0..=13, Some(9), SERVED).usable_from(3).carries_records(),
    row(ApiKey::Fetch, "Fetch", 4..=18, Some(12), SERVED),
    row(ApiKey::ListOffsets, "ListOffsets", 1..=10, Some(6), SERVED),
    row(ApiKey::Metadata, "Metadata", 0..=13, Some(9), SERVED),
    row(ApiKey::OffsetCommit, "OffsetCommit", 2..=9, Some(8), SERVED),
    row(ApiKey::OffsetFetch, "OffsetFetch", 1..=9, Some(6), SERVED),
    row(ApiKey::FindCoordinator, "FindCoordinator", 0..=6, Some(3), SERVED),
    row(ApiKey::JoinGroup, "JoinGroup", 0..=9, Some(6), SERVED),
    row(ApiKey::Heartbeat, "Heartbeat", 0..=4, Some(4), SERVED),
    row(ApiKey::LeaveGroup, "LeaveGroup", 0..=5, Some(4), SERVED),
    row(ApiKey::SyncGroup, "SyncGroup", 0..=5, Some(4), SERVED),
    row(ApiKey::DescribeGroups, "DescribeGroups", 0..=6, Some(5), SERVED),
    row(ApiKey::ListGroups, "ListGroups", 0..=5, Some(3), SERVED),
    row(ApiKey::ApiVersions, "ApiVersions", 0..=4, Some(3), SERVED).open(),
    row(ApiKey::CreateTopics, "CreateTopics", 2..=7, Some(5), SERVED),
    row(ApiKey::DeleteTopics, "DeleteTopics", 1..=6, Some(4), SERVED),
    row(ApiKey::DeleteRecords, "DeleteRecords", 0..=2, Some(2), SERVED),
    row(ApiKey::InitProducerId, "InitProducerId", 0..=5, Some(2), SERVED),
    row(ApiKey::OffsetForLeaderEpoch, "OffsetForLeaderEpoch", 2..=4, Some(4), SERVED),
    row(ApiKey::DescribeConfigs, "DescribeConfigs", 1..=4, Some(4), SERVED),
    row(ApiKey::AlterConfigs, "AlterConfigs", 0..=2, Some(2), SERVED),
    row(ApiKey::AlterReplicaLogDirs, "AlterReplicaLogDirs", 1..=2, Some(2), SERVED),
    row(ApiKey::DescribeLogDirs, "DescribeLogDirs", 1..=4, Some(2), SERVED),
    row(ApiKey::CreatePartitions, "CreatePartitions", 0..=3, Some(2), SERVED),
    row(ApiKey::DeleteGroups, "DeleteGroups", 0..=2, Some(2), SERVED),
    row(ApiKey::ElectLeaders, "ElectLeaders", 0..=2, Some(2), SERVED),
    row(ApiKey::IncrementalAlterConfigs, "IncrementalAlterConfigs", 0..=1, Some(1), SERVED),
    row(ApiKey::AlterPartitionReassignments, "AlterPartitionReassignments", 0..=1, Some(0), SERVED),
    row(ApiKey::ListPartitionReassignments, "ListPartitionReassignments", 0..=0, Some(0), SERVED),
    row(ApiKey::OffsetDelete, "OffsetDelete", 0..=0, NEVER, SERVED),
    row(ApiKey::DescribeClientQuotas, "DescribeClientQuotas", 0..=1, Some(1), SERVED),
    row(ApiKey::AlterClientQuotas, "AlterClientQuotas", 0..=1, Some(1), SERVED),
    row(ApiKey::DescribeUserScramCredentials, "DescribeUserScramCredentials", 0..=0, Some(0), SERVED),
    row(ApiKey::DescribeQuorum, "DescribeQuorum", 0..=2, Some(0), SERVED),
    row(ApiKey::UpdateFeatures, "UpdateFeatures", 0..=2, Some(0), SERVED),
    row(ApiKey::DescribeCluster, "DescribeCluster", 0..=2, Some(0), SERVED),
    row(ApiKey::DescribeProducers, "DescribeProducers", 0..=0, Some(0), SERVED),
    row(ApiKey::UnregisterBroker, "UnregisterBroker", 0..=0, Some(0), SERVED),
    row(ApiKey::ListConfigResources, "ListConfigResources", 0..=1, Some(0), SERVED),
    row(ApiKey::DescribeTopicPartitions, "DescribeTopicPartitions", 0..=0, Some(0), SERVED),
];

/// The row of a key on the wire, served or not.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.binary_search_by_key(&key, |api| api.key as i16).ok().map(|index| &APIS[index])
}

/// The rows that are advertised and dispatched, in key order.
pub fn served() -> impl Iterator<Item = &'static Api> {
    APIS.iter().filter(|api| api.served)
}

impl Api {
    /// Whether a request of this version can be read and, if served, is answered.
    pub fn supports(&self, version: i16) -> bool {
        (self.min_usable..=self.max).contains(&version)
    }

    /// Whether this version has compact lengths and tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|from| version >= from)
    }

    /// Version of the request header: 2 if flexible, else 1 (v0, of ControlledShutdown v0 alone, is gone).
    pub fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the response header: 1 if flexible, else 0; ApiVersions is always 0, so that a client can
    /// read the answer to a version the broker does not know (KIP-511).
    pub fn response_header_version(&self, version: i16) -> i16 {
        if self.key != ApiKey::ApiVersions && self.is_flexible(version) { 1 } else { 0 }
    }

    const fn usable_from(mut self, min_usable: i16) -> Api {
        self.min_usable = min_usable;
        self
    }

    const fn carries_records(mut self) -> Api {
        self.frame_class = FrameClass::Produce;
        self
    }

    const fn open(mut self) -> Api {
        self.before_authentication = true;
        self
    }
}

const fn row(
    key: ApiKey,
    name: &'static str,
    versions: std::ops::RangeInclusive<i16>,
    flexible_from: Option<i16>,
    served: bool,
) -> Api {
    Api {
        key,
        name,
        min: *versions.start(),
        min_usable: *versions.start(),
        max: *versions.end(),
        flexible_from,
        frame_class: FrameClass::Plain,
        before_authentication: false,
        served,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_key_order_and_are_found_by_key() {
        assert!(APIS.is_sorted_by(|a, b| (a.key as i16) < (b.key as i16)));
        for api in APIS {
            assert_eq!(find(api.key as i16), Some(api));
        }
        assert_eq!(find(-1), None);
        assert_eq!(find(4), None, "LeaderAndIsr is gone");
    }

    #[test]
    fn versions_and_headers_are_those_of_the_message_codec() {
        for api in APIS {
            let codec = api.key.valid_versions();
            assert!(codec.min <= api.min_usable && api.max <= codec.max, "{}: {codec}", api.name);
            for version in api.min_usable..=api.max {
                let name = api.name;
                let request = api.key.request_header_version(version);
                assert_eq!(api.request_header_version(version), request, "{name} v{version}");
                let response = api.key.response_header_version(version);
                assert_eq!(api.response_header_version(version), response, "{name} v{version}");
            }
        }
    }

    #[test]
    fn only_api_versions_is_open_before_authentication_until_sasl_is_served() {
        let open: Vec<_> = served().filter(|api| api.before_authentication).map(|api| api.name).collect();
        assert_eq!(open, ["ApiVersions"]);
    }

    #[test]
    fn produce_is_advertised_from_zero_and_usable_from_three() {
        let produce = find(0).unwrap();
        assert_eq!(produce.min, 0);
        assert!(!produce.supports(2));
        assert!(produce.supports(3));
        assert!(!produce.supports(14));
    }
}
