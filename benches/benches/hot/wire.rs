//! What every frame and every batch costs before anybody asks what it means.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse as CodecResponse, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use kafka_protocol::records::RecordBatchDecoder;
use protocol::compression::Compression;
use protocol::fetch_response::{self, FetchResponse, FetchedPartition, FetchedTopic};
use protocol::record_batch::{Batch, crc32c};
use protocol::{StrBytes, codec, guard};

use crate::{batch, random};

/// Versions whose topics have names: nothing else differs from the newest.
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const TOPIC: &str = "orders";

/// CRC32C of a batch; beside it the CRC of our own formats, and the copy of as many bytes.
pub fn crc(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc");
    for length in [1 << 10, 16 << 10, 1 << 20] {
        let bytes = random(length);
        let mut target = vec![0; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new("crc32c", length), |b| b.iter(|| crc32c(black_box(&bytes))));
        group.bench_function(BenchmarkId::new("crc32 of our formats", length), |b| {
            b.iter(|| crc32fast::hash(black_box(&bytes)))
        });
        group.bench_function(BenchmarkId::new("baseline: copy", length), |b| {
            b.iter(|| black_box(&mut target).copy_from_slice(black_box(&bytes)))
        });
    }
    group.finish();
}

/// The view over a batch's header, with and without its CRC; the crate's look at the same batch checks the CRC, too.
pub fn batch_view(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch view");
    for records in [1, 16, 1_000] {
        let bytes = batch(records, Compression::None);
        group.bench_function(BenchmarkId::new("parse", records), |b| {
            b.iter(|| Batch::parse(black_box(bytes.clone())).expect("a batch"))
        });
        group.bench_function(BenchmarkId::new("parse and CRC", records), |b| {
            b.iter(|| {
                Batch::parse(black_box(bytes.clone())).and_then(|batch| batch.check_crc()).expect("whole")
            })
        });
        group.bench_function(BenchmarkId::new("baseline: kafka-protocol", records), |b| {
            b.iter(|| RecordBatchDecoder::decode_batch_info(&mut black_box(bytes.clone())).expect("a batch"))
        });
    }
    group.finish();
}

/// The guard alone, the guarded decoding, and the crate's decoding, which believes every length.
pub fn guard(c: &mut Criterion) {
    let mut group = c.benchmark_group("guard");
    let produce = produce_request();
    group.bench_function("Produce, 1 partition: guard", |b| {
        b.iter(|| guard::decoded_size(ApiKey::Produce, PRODUCE_VERSION, black_box(&produce)))
    });
    group.bench_function("Produce, 1 partition: guarded decoding", |b| {
        b.iter(|| codec::decode_produce(black_box(produce.clone()), PRODUCE_VERSION).expect("a request"))
    });
    group.bench_function("Produce, 1 partition: baseline: kafka-protocol", |b| {
        b.iter(|| {
            ProduceRequest::decode(&mut black_box(produce.clone()), PRODUCE_VERSION).expect("a request")
        })
    });
    let fetch = fetch_request(1_000);
    group.bench_function("Fetch, 1,000 partitions: guard", |b| {
        b.iter(|| guard::decoded_size(ApiKey::Fetch, FETCH_VERSION, black_box(&fetch)))
    });
    group.bench_function("Fetch, 1,000 partitions: guarded decoding", |b| {
        b.iter(|| codec::decode_fetch(black_box(fetch.clone()), FETCH_VERSION).expect("a request"))
    });
    group.bench_function("Fetch, 1,000 partitions: baseline: kafka-protocol", |b| {
        b.iter(|| FetchRequest::decode(&mut black_box(fetch.clone()), FETCH_VERSION).expect("a request"))
    });
    group.finish();
}

/// Our vectored encoding, which keeps large slices by reference, and the crate's, which copies; both from a finished
/// struct to bytes that can be written.
pub fn fetch_response(c: &mut Criterion) {
    let mut group = c.benchmark_group("fetch response");
    for (partitions, length) in [(1, 1 << 20), (8, 1 << 20), (8, 64 << 10), (1_000, 1 << 10)] {
        let records = Bytes::from(random(length));
        let ours = response(partitions, &records);
        let theirs = codec_response(partitions, &records);
        let name = format!("{partitions} x {} KiB", length >> 10);
        group.bench_function(BenchmarkId::new("ours", &name), |b| {
            b.iter(|| fetch_response::encode(1, FETCH_VERSION, black_box(&ours)).expect("encodes"))
        });
        group.bench_function(BenchmarkId::new("baseline: kafka-protocol", &name), |b| {
            b.iter(|| codec::encode_fetch(1, FETCH_VERSION, black_box(&theirs)).expect("encodes"))
        });
    }
    group.finish();
}

fn topic() -> StrBytes {
    StrBytes::from_static_str(TOPIC)
}

fn produce_request() -> Bytes {
    let partition =
        PartitionProduceData::default().with_index(0).with_records(Some(batch(16, Compression::None)));
    let data = TopicProduceData::default().with_name(TopicName(topic())).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
    encoded(&request, PRODUCE_VERSION)
}

fn fetch_request(partitions: i32) -> Bytes {
    let partitions = (0..partitions).map(|p| {
        FetchPartition::default().with_partition(p).with_fetch_offset(100).with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default().with_topic(TopicName(topic())).with_partitions(partitions.collect());
    let request = FetchRequest::default().with_max_wait_ms(500).with_min_bytes(1).with_topics(vec![topic]);
    encoded(&request, FETCH_VERSION)
}

fn encoded(request: &impl Encodable, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("the codec takes its own request");
    body.freeze()
}

fn response(partitions: i32, records: &Bytes) -> FetchResponse {
    let partitions = (0..partitions)
        .map(|p| FetchedPartition {
            high_watermark: 100,
            last_stable_offset: 100,
            log_start_offset: 0,
            records: vec![records.clone()],
            ..FetchedPartition::error(p, 0)
        })
        .collect();
    FetchResponse {
        throttle_time_ms: 0,
        error_code: 0,
        session_id: 0,
        topics: vec![FetchedTopic { name: topic(), topic_id: Default::default(), partitions }],
        node_endpoints: vec![],
    }
}

fn codec_response(partitions: i32, records: &Bytes) -> CodecResponse {
    let partitions = (0..partitions).map(|p| {
        PartitionData::default()
            .with_partition_index(p)
            .with_high_watermark(100)
            .with_last_stable_offset(100)
            .with_log_start_offset(0)
            .with_records(Some(records.clone()))
    });
    let topic = FetchableTopicResponse::default()
        .with_topic(TopicName(topic()))
        .with_partitions(partitions.collect());
    CodecResponse::default().with_responses(vec![topic])
}
