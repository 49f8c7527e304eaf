//! What was changed is there after kill -9 and another start: configuration, partitions, log starts, and what was known of
//! producers whose records were deleted.

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DescribeConfigsRequest, FetchRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, ListOffsetsRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use protocol::batch_builder::BatchBuilder;

use super::wire::ask_at;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

pub(super) fn name() -> TopicName {
    TopicName(text("t"))
}

/// A client of a broker of its own, for the topic `t`.
pub(super) struct Client(pub(super) String);

impl Client {
    pub(super) fn ask<R: Request>(&self, request: &R, version: i16) -> R::Response {
        ask_at(&self.0, request, version)
    }

    pub(super) fn set(&self, resource: i8, resource_name: &str, key: &str, value: &str) {
        let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(resource)
            .with_resource_name(text(resource_name))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        assert_eq!(self.ask(&request, 1).responses[0].error_code, 0, "{key}={value}");
    }

    /// A producer id.
    pub(super) fn producer_id(&self) -> i64 {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        self.ask(&request, 1).producer_id.0
    }

    /// Creates `t`.
    pub(super) fn create(&self, partitions: i32) {
        let topic = CreatableTopic::default()
            .with_name(name())
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        assert_eq!(self.ask(&request, 4).topics[0].error_code, 0);
    }

    /// Value and source.
    fn described(&self, resource: i8, resource_name: &str, key: &str) -> (String, i8) {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(resource)
            .with_resource_name(text(resource_name))
            .with_configuration_keys(Some(vec![text(key)]));
        let answer = self.ask(&DescribeConfigsRequest::default().with_resources(vec![resource]), 4);
        let config = &answer.results[0].configs[0];
        (config.value.as_ref().expect("a value").to_string(), config.config_source)
    }

    /// Error code and base offset.
    pub(super) fn produce(&self, partition: i32, batch: Bytes) -> (i16, i64) {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let data = TopicProduceData::default().with_name(name()).with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
        let answer = self.ask(&request, 7).responses[0].partition_responses[0].clone();
        (answer.error_code, answer.base_offset)
    }

    /// Low watermarks and error codes by partition.
    pub(super) fn delete(&self, offsets: &[(i32, i64)]) -> Vec<(i32, i64, i16)> {
        let partitions = offsets.iter().map(|(partition, offset)| {
            DeleteRecordsPartition::default().with_partition_index(*partition).with_offset(*offset)
        });
        let topic = DeleteRecordsTopic::default().with_name(name()).with_partitions(partitions.collect());
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.ask(&request, 2).topics.remove(0);
        answer.partitions.iter().map(|p| (p.partition_index, p.low_watermark, p.error_code)).collect()
    }

    pub(super) fn offset(&self, partition: i32, timestamp: i64) -> i64 {
        let partition =
            ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = self.ask(&request, 1).topics[0].partitions[0].clone();
        assert_eq!(answer.error_code, 0);
        answer.offset
    }

    /// Timestamp and offset of a record by time.
    pub(super) fn by_time(&self, timestamp: i64) -> (i64, i64) {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = self.ask(&request, 7).topics[0].partitions[0].clone();
        assert_eq!(answer.error_code, 0);
        (answer.timestamp, answer.offset)
    }

    pub(super) fn watermarks(&self, partition: i32) -> (i64, i64) {
        (self.offset(partition, -2), self.offset(partition, -1))
    }

    /// Error code of a fetch, the log start that it tells, and how many bytes it brings.
    pub(super) fn fetch(&self, partition: i32, offset: i64) -> (i16, i64, usize) {
        let (code, start, records) = self.fetch_records(partition, offset);
        (code, start, records.len())
    }

    /// The same with the bytes.
    pub(super) fn fetch_records(&self, partition: i32, offset: i64) -> (i16, i64, Bytes) {
        let partition = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(name()).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(1_000)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic]);
        let answer = self.ask(&request, 11).responses[0].partitions[0].clone();
        (answer.error_code, answer.log_start_offset, answer.records.unwrap_or_default())
    }
}

pub(super) fn batch(producer_id: i64, first_sequence: i32, count: i32) -> Bytes {
    let mut batch = BatchBuilder::new().producer(producer_id, 0, first_sequence);
    for n in 0..count {
        batch = batch.append(1_000, None, Some(format!("{}", first_sequence + n).as_bytes()), &[]);
    }
    batch.build()
}

#[test]
fn changes_are_there_after_kill_and_start() {
    let mut broker = tests::server::own("survives", &[]);
    let client = Client(broker.addr().to_string());
    client.create(2);
    client.set(TOPIC, "t", "max.message.bytes", "3000");
    // In force when it is answered: 10 is MESSAGE_TOO_LARGE.
    let large = || BatchBuilder::new().append(1_000, None, Some(&[b'x'; 3_500]), &[]).build();
    assert_eq!(client.produce(1, large()).0, 10);
    client.set(TOPIC, "t", "max.message.bytes", "4000");
    assert_eq!(client.produce(1, large()), (0, 0));
    client.set(TOPIC, "t", "max.message.bytes", "3000");
    client.set(BROKER, "", "message.max.bytes", "4000");
    client.set(BROKER, "0", "message.max.bytes", "5000");
    client.set(GROUP, "g", "consumer.session.timeout.ms", "50000");
    let more = CreatePartitionsTopic::default().with_name(name()).with_count(3).with_assignments(None);
    let more = CreatePartitionsRequest::default().with_topics(vec![more]).with_timeout_ms(30_000);
    assert_eq!(client.ask(&more, 3).results[0].error_code, 0);

    let producer_id = client.producer_id();
    for (first, expected) in [(0, 0), (4, 4), (8, 8)] {
        assert_eq!(client.produce(2, batch(producer_id, first, 4)), (0, expected));
        assert_eq!(client.produce(0, batch(producer_id, first, 4)), (0, expected));
    }
    // In the middle of a batch, at the end, of one that does not exist.
    assert_eq!(client.delete(&[(0, -1), (2, 6), (9, 0)]), [(0, 12, 0), (2, 6, 0), (9, -1, 3)]);

    for life in 0..3 {
        broker.kill().expect("kill");
        broker.start_again().expect("start again");
        assert_eq!(client.described(TOPIC, "t", "max.message.bytes"), ("3000".into(), 1));
        assert_eq!(client.described(BROKER, "0", "message.max.bytes"), ("5000".into(), 2));
        assert_eq!(client.described(BROKER, "", "message.max.bytes"), ("4000".into(), 3));
        assert_eq!(client.described(GROUP, "g", "consumer.session.timeout.ms"), ("50000".into(), 8));
        assert_eq!(client.watermarks(0), (12, 12), "life {life}");
        assert_eq!(client.watermarks(2), (6, 12), "life {life}");
        let (code, start, bytes) = client.fetch(2, 6);
        assert_eq!((code, start), (0, 6));
        assert!(bytes > 0);
        assert_eq!(client.fetch(2, 5).0, 1, "OFFSET_OUT_OF_RANGE");
        // Repeats of deleted batches are recognised: their producer is not forgotten (nothing is appended).
        assert_eq!(client.produce(0, batch(producer_id, 8, 4)), (0, 8));
        assert_eq!(client.produce(2, batch(producer_id, 4, 4)), (0, 4));
        assert_eq!(client.watermarks(0), (12, 12));
        // A log start never goes back.
        assert_eq!(client.delete(&[(2, 3)]), [(2, 6, 0)]);
    }
    assert_eq!(client.produce(0, batch(producer_id, 12, 1)), (0, 12));
    assert_eq!(client.watermarks(0), (12, 13));
    assert!(broker.stop(std::time::Duration::from_secs(30)).expect("stop"), "it leaves by itself");
    broker.start_again().expect("start again");
    assert_eq!((client.watermarks(0), client.watermarks(2)), ((12, 13), (6, 12)));
    broker.kill().expect("kill");
}

/// Apache Kafka's MAX_TIMESTAMP may name a record below the log start (`UnifiedLog.fetchOffsetByTimestamp`); ours never does.
#[test]
fn only_records_that_are_kept_are_found_by_time() {
    const MAX_TIMESTAMP: i64 = -3;
    let mut broker = tests::server::own("by-time", &[]);
    let client = Client(broker.addr().to_string());
    let topic = CreatableTopic::default().with_name(name()).with_num_partitions(1).with_replication_factor(1);
    client.ask(&CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000), 4);
    let batch = |times: &[i64]| {
        let batch = BatchBuilder::new();
        times.iter().fold(batch, |batch, time| batch.append(*time, None, Some(b"v"), &[])).build()
    };
    assert_eq!(client.produce(0, batch(&[1_000, 9_000, 2_000, 6_000, 3_000])), (0, 0));
    assert_eq!(client.produce(0, batch(&[5_000])), (0, 5));
    assert_eq!((client.by_time(MAX_TIMESTAMP), client.by_time(7_000)), ((9_000, 1), (9_000, 1)));
    // The log start lies in the batch: its latest record is gone, then all of it that is later than the next batch.
    for (start, latest, from_4_000) in
        [(2, (6_000, 3), (6_000, 3)), (4, (5_000, 5), (5_000, 5)), (6, (-1, -1), (-1, -1))]
    {
        assert_eq!(client.delete(&[(0, start)]), [(0, start, 0)]);
        for life in ["before", "after"] {
            assert_eq!(client.by_time(MAX_TIMESTAMP), latest, "from {start}, {life} kill -9");
            assert_eq!(client.by_time(4_000), from_4_000, "from {start}, {life} kill -9");
            assert_eq!(client.by_time(8_000), (-1, -1), "from {start}, {life} kill -9");
            if life == "before" {
                broker.kill().expect("kill");
                broker.start_again().expect("start again");
            }
        }
    }
    broker.kill().expect("kill");
}

#[test]
fn a_broker_that_may_not_delete_topics_says_so() {
    use kafka_protocol::messages::DeleteTopicsRequest;
    let mut broker = tests::server::own("limits", &["delete.topic.enable=false".to_string()]);
    let client = Client(broker.addr().to_string());
    for (version, code) in [(1, 42), (3, 73), (5, 73)] {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name()]).with_timeout_ms(1_000);
        assert_eq!(client.ask(&request, version).responses[0].error_code, code, "v{version}");
    }
    broker.kill().expect("kill");
}

#[test]
fn a_limit_of_connections_is_in_force_when_it_is_answered() {
    let mut broker = tests::server::own("connections", &[]);
    let client = Client(broker.addr().to_string());
    client.set(BROKER, "0", "max.connections.per.ip", "2");
    let connect = || std::net::TcpStream::connect(broker.addr()).unwrap();
    let is_closed = |stream: &std::net::TcpStream| {
        use std::io::Read;
        stream.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let mut stream = stream;
        matches!(stream.read(&mut [0; 1]), Ok(0))
    };
    // Who asked may still be counted for a moment.
    let two = || {
        let (first, second) = (connect(), connect());
        (!is_closed(&first) && !is_closed(&second)).then_some((first, second))
    };
    let (first, second) = super::support::until("two places", two);
    assert!(is_closed(&connect()));
    drop(first);
    super::support::until("a place", || (!is_closed(&connect())).then_some(()));
    drop(second);
    broker.kill().expect("kill");
}
