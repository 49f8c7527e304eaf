//! Headers of any length, requests as slices of their frame, whole response frames.

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{RequestHeader as CodecHeader, TopicName};
use kafka_protocol::protocol::encode_request_header_into_buffer;
use proptest::prelude::*;

use super::*;

fn frame_of(key: ApiKey, version: i16, body: &impl Encodable) -> Bytes {
    let header = CodecHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("rdkafka")));
    let mut frame = BytesMut::new();
    encode_request_header_into_buffer(&mut frame, &header).unwrap();
    body.encode(&mut frame, version).unwrap();
    frame.freeze()
}

#[test]
fn produce_records_are_a_slice_of_the_frame() {
    let records = Bytes::from(vec![7u8; 1 << 20]);
    for version in 3..=13 {
        let partition = PartitionProduceData::default().with_index(1).with_records(Some(records.clone()));
        let mut topic = TopicProduceData::default().with_partition_data(vec![partition]);
        if version < 13 {
            topic = topic.with_name(TopicName(StrBytes::from_static_str("t")));
        }
        let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
        let frame = frame_of(ApiKey::Produce, version, &request);
        let inside = frame.as_ptr_range();
        let mut body = frame.clone();
        let header = decode_request_header(&mut body).unwrap();
        assert_eq!((header.correlation_id, header.client_id.as_deref()), (77, Some("rdkafka")));
        let decoded = decode_produce(body, version).unwrap();
        assert_eq!(decoded, request);
        let slice = decoded.topic_data[0].partition_data[0].records.clone().unwrap();
        assert!(inside.contains(&slice.as_ptr()), "v{version} copied the records");
    }
}

#[test]
fn a_client_may_name_itself_in_any_encoding() {
    let name = b"Z\xfcrich";
    let mut frame = BytesMut::new();
    frame.put_i16(ApiKey::Metadata as i16);
    frame.put_i16(1);
    frame.put_i32(77);
    frame.put_i16(name.len() as i16);
    frame.put_slice(name);
    frame.put_i32(0);
    let mut body = frame.freeze();
    let header = decode_request_header(&mut body).unwrap();
    assert_eq!(header.client_id.as_deref(), Some("Z\u{fffd}rich"));
    assert_eq!(body.len(), 4);
}

#[test]
fn versions_outside_the_table_are_refused_before_the_body_is_read() {
    for version in [-1, 0, 2, 14] {
        let refused = DecodeError::UnsupportedVersion { key: 0, version };
        assert_eq!(decode_produce(Bytes::new(), version), Err(refused));
    }
}

#[test]
fn headers_cut_short_are_refused_and_unknown_keys_named() {
    let frame = frame_of(ApiKey::Metadata, 9, &MetadataRequest::default());
    let header_bytes = 2 + 2 + 4 + 2 + "rdkafka".len() + 1;
    for end in 0..header_bytes {
        let mut cut = frame.slice(..end);
        let answer = decode_request_header(&mut cut);
        assert!(matches!(answer, Err(DecodeError::Truncated { .. })), "{end}: {answer:?}");
    }
    let mut unknown = Bytes::from_static(&[0x03, 0xe8, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    assert_eq!(decode_request_header(&mut unknown), Err(DecodeError::UnknownApi { key: 1000 }));
}

#[test]
fn header_tags_are_stepped_over() {
    let mut frame =
        Bytes::from_static(&[0, 18, 0, 9, 0, 0, 0, 5, 0xff, 0xff, 2, 0, 1, 0xaa, 9, 2, 0xbb, 0xbb, 0x42]);
    let header = decode_request_header(&mut frame).unwrap();
    assert_eq!(
        (header.api_key, header.api_version, header.correlation_id, header.client_id),
        (18, 9, 5, None)
    );
    assert_eq!(frame, [0x42].as_slice(), "the body is left");
}

#[test]
fn response_frames_carry_their_length_and_the_right_header() {
    for (version, header_bytes) in [(0, 4), (3, 4), (4, 5)] {
        let frame = encode_heartbeat(9, version, &HeartbeatResponse::default()).unwrap();
        assert_eq!(frame[..4], ((frame.len() - 4) as u32).to_be_bytes(), "v{version}");
        assert_eq!(frame[4..8], 9i32.to_be_bytes(), "v{version}");
        let mut body = frame.slice(4 + header_bytes..);
        assert_eq!(HeartbeatResponse::decode(&mut body, version).unwrap(), HeartbeatResponse::default());
        assert!(body.is_empty(), "v{version}");
    }
}

#[test]
fn a_field_the_version_lacks_is_a_refusal_that_names_the_api() {
    let response = FindCoordinatorResponse::default().with_coordinators(vec![Default::default()]);
    assert!(encode_find_coordinator(1, 4, &response).is_ok());
    let refused = encode_find_coordinator(1, 3, &response).unwrap_err();
    assert!(matches!(refused, EncodeError::Refused { api: "FindCoordinator", version: 3, .. }), "{refused}");
}

proptest! {
    #[test]
    fn random_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), key in 0i16..80) {
        let mut random = Bytes::from(bytes.clone());
        let _ = decode_request_header(&mut random);
        let mut known = key.to_be_bytes().to_vec();
        known.extend(bytes);
        let length = known.len();
        let mut frame = Bytes::from(known);
        if decode_request_header(&mut frame).is_ok() {
            prop_assert!(frame.len() <= length - 10);
        }
    }
}
