//! A few raw requests: what the broker says and keeps, where librdkafka hides it.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    DescribeConfigsRequest, FetchRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::support::{PATIENCE, bootstrap};

/// DescribeConfigs resource type of a topic (`ConfigResource.Type.TOPIC`).
const TOPIC: i8 = 2;

/// Sends one request to the broker under test, on its own connection, and decodes the answer.
pub fn ask<R: Request>(request: &R, version: i16) -> R::Response {
    ask_at(bootstrap(), request, version)
}

/// The same of any broker.
pub fn ask_at<R: Request>(address: &str, request: &R, version: i16) -> R::Response {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("raw")));
    let mut frame = BytesMut::new();
    header.encode(&mut frame, R::header_version(version)).unwrap();
    request.encode(&mut frame, version).unwrap();

    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(&frame).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();

    let mut answer = Bytes::from(answer);
    let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 7);
    R::Response::decode(&mut answer, version).unwrap()
}

/// The record batches of a partition from `offset` on, up to 16 MiB.
pub fn fetch(topic: &str, partition: i32, offset: i64) -> Bytes {
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(1000)
        .with_min_bytes(1)
        .with_max_bytes(16 << 20)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
                .with_partitions(vec![
                    FetchPartition::default()
                        .with_partition(partition)
                        .with_fetch_offset(offset)
                        .with_partition_max_bytes(16 << 20),
                ]),
        ]);
    // v11: the newest with topic names and without flexible fields.
    let response = ask(&request, 11);
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    partition.records.clone().unwrap_or_default()
}

/// The error code DescribeConfigs gives for a topic.
pub fn describe_configs_error(topic: &str) -> i16 {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    ask(&request, 4).results[0].error_code
}

/// The codec bits (attributes 0–2 of a v2 batch) of every whole batch in `records`.
pub fn codecs(records: &[u8]) -> Vec<u8> {
    let mut codecs = Vec::new();
    let mut rest = records;
    // base offset 8, length 4, leader epoch 4, magic 1, CRC 4, attributes 2
    while let Some(header) = rest.get(..23) {
        assert_eq!(header[16], 2, "magic");
        codecs.push(header[22] & 0x07);
        let length = u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
        rest = rest.get(12 + length..).unwrap_or_default();
    }
    codecs
}
