//! Requests that no library sends by itself: fetch sessions step by step, and what is refused, with its error.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, FetchResponse, InitProducerIdRequest, MetadataRequest, ProduceRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol::batch_builder::BatchBuilder;
use uuid::Uuid;

use super::support::{topic, unique, until};
use super::wire::ask;

const INVALID_RECORD: i16 = 87;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const INVALID_REQUEST: i16 = 42;
const SESSION_NOT_FOUND: i16 = 70;
const INVALID_SESSION_EPOCH: i16 = 71;
const UNKNOWN_TOPIC_ID: i16 = 100;
const SESSION_TOPIC_ID_ERROR: i16 = 106;

fn name(s: &str) -> TopicName {
    TopicName(StrBytes::from_string(s.to_owned()))
}

fn id_of(topic: &str) -> Uuid {
    let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
    until("the topic", || {
        let answer = ask(&request, 12).topics.remove(0);
        (answer.error_code == 0).then_some(answer.topic_id)
    })
}

#[test]
fn a_topic_that_metadata_creates_is_unknown_in_that_very_answer() {
    let wanted = MetadataRequestTopic::default().with_name(Some(name(&unique("auto-created"))));
    let request =
        MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    for version in [4, 12] {
        let asked = ask(&request, version).topics.remove(0);
        let created = until("the topic", || {
            let topic = ask(&request, version).topics.remove(0);
            (topic.error_code == 0).then_some(topic)
        });
        let expected = if version == 4 { UNKNOWN_TOPIC_OR_PARTITION } else { 0 };
        assert_eq!((asked.error_code, asked.partitions.is_empty()), (expected, expected != 0), "v{version}");
        assert!(!created.partitions.is_empty());
    }
}

/// What a request of a fetch session says.
struct Session {
    id: i32,
    epoch: i32,
}

/// Fetches without waiting; partitions of a topic by its id, or none.
fn fetch_by_id(session: &Session, topic: Uuid, partitions: &[i32], forgotten: &[i32]) -> FetchResponse {
    let wanted = partitions.iter().map(|p| {
        FetchPartition::default().with_partition(*p).with_fetch_offset(0).with_partition_max_bytes(1 << 20)
    });
    let topics = FetchTopic::default().with_topic_id(topic).with_partitions(wanted.collect());
    let gone = ForgottenTopic::default().with_topic_id(topic).with_partitions(forgotten.to_vec());
    let request = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_id(session.id)
        .with_session_epoch(session.epoch)
        .with_topics(if partitions.is_empty() { vec![] } else { vec![topics] })
        .with_forgotten_topics_data(if forgotten.is_empty() { vec![] } else { vec![gone] });
    ask(&request, 13)
}

/// Session errors and the partitions told, with their errors.
fn told(answer: &FetchResponse) -> (i16, Vec<(i32, i16)>) {
    let partitions = answer.responses.iter().flat_map(|t| &t.partitions);
    (answer.error_code, partitions.map(|p| (p.partition_index, p.error_code)).collect())
}

#[test]
fn a_fetch_session_tells_what_is_new_and_ends_with_its_last_partition() {
    let topic = id_of(&topic("session", 2, &[]));
    let first = fetch_by_id(&Session { id: 0, epoch: 0 }, topic, &[0, 1], &[]);
    assert_eq!(told(&first), (0, vec![(0, 0), (1, 0)]));
    let id = first.session_id;
    assert_ne!(id, 0);
    let at = |epoch| Session { id, epoch };
    assert_eq!(told(&fetch_by_id(&at(1), topic, &[], &[])), (0, vec![]), "nothing is new");
    assert_eq!(told(&fetch_by_id(&at(1), topic, &[], &[])), (INVALID_SESSION_EPOCH, vec![]));
    let names = FetchRequest::default().with_max_bytes(1).with_session_id(id);
    assert_eq!(ask(&names.clone().with_session_epoch(2), 12).error_code, SESSION_TOPIC_ID_ERROR);
    assert_eq!(ask(&names.with_session_epoch(9), 12).error_code, INVALID_SESSION_EPOCH);
    let fewer = fetch_by_id(&at(2), topic, &[], &[0]);
    assert_eq!((fewer.session_id, told(&fewer)), (id, (0, vec![])));
    let none = fetch_by_id(&at(3), topic, &[], &[1]);
    assert_eq!((none.session_id, told(&none)), (0, (0, vec![])), "it is over");
    assert_eq!(told(&fetch_by_id(&at(4), topic, &[], &[])), (SESSION_NOT_FOUND, vec![]));
}

#[test]
fn what_a_request_lists_and_forgets_is_forgotten() {
    let topic = id_of(&topic("forgotten", 2, &[]));
    let id = fetch_by_id(&Session { id: 0, epoch: 0 }, topic, &[1], &[]).session_id;
    let both = fetch_by_id(&Session { id, epoch: 1 }, topic, &[0], &[0]);
    assert_eq!((both.session_id, told(&both)), (id, (0, vec![])));
}

#[test]
fn a_fetch_session_may_begin_with_nothing() {
    let topic = id_of(&topic("empty-session", 1, &[]));
    let first = fetch_by_id(&Session { id: 0, epoch: 0 }, topic, &[], &[]);
    assert_ne!(first.session_id, 0);
    let next = fetch_by_id(&Session { id: first.session_id, epoch: 1 }, topic, &[0], &[]);
    assert_eq!((next.session_id, told(&next)), (first.session_id, (0, vec![(0, 0)])));
}

#[test]
fn a_topic_id_that_is_known_has_no_such_partition() {
    let topic = id_of(&topic("by-id", 1, &[]));
    let alone = Session { id: 0, epoch: -1 };
    let answer = fetch_by_id(&alone, topic, &[0, 7], &[]);
    let (_, mut partitions) = told(&answer);
    partitions.sort();
    assert_eq!(partitions, [(0, 0), (7, UNKNOWN_TOPIC_OR_PARTITION)]);
    let unknown = fetch_by_id(&alone, Uuid::from_u128(7), &[0], &[]);
    assert_eq!(told(&unknown), (0, vec![(0, UNKNOWN_TOPIC_ID)]));
}

fn produce(topic: &str, records: Bytes) -> PartitionProduceResponse {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let data = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
    ask(&request, 9).responses.remove(0).partition_responses.remove(0)
}

#[test]
fn a_torn_batch_is_no_batch_and_one_of_an_unknown_format_is_corrupt() {
    let topic = topic("torn", 1, &[]);
    let whole = BatchBuilder::new().append(1_000, None, Some(b"v"), &[]).build();
    assert_eq!(produce(&topic, whole.slice(..whole.len() - 1)).error_code, INVALID_RECORD);
    let magic = |magic: u8| {
        let mut bytes = whole.to_vec();
        bytes[16] = magic;
        produce(&topic, bytes.into()).error_code
    };
    assert_eq!((magic(1), magic(3)), (INVALID_RECORD, CORRUPT_MESSAGE));
    let mut flipped = whole.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(produce(&topic, flipped.into()).error_code, CORRUPT_MESSAGE);
    assert_eq!(produce(&topic, whole).error_code, 0);
}

#[test]
fn refused_records_are_named_with_the_reason() {
    let compacted = topic("keyless", 1, &[("cleanup.policy", "compact")]);
    let batch = BatchBuilder::new().append(1, Some(b"k"), None, &[]).append(2, None, None, &[]).build();
    let answer = produce(&compacted, batch);
    let message = answer.error_message.unwrap().to_string();
    assert_eq!(answer.error_code, INVALID_RECORD);
    let begins = "One or more records have been rejected due to 1 record errors in total, and only showing the first \
                  three errors at most: [RecordError(batchIndex=1, message='Compacted topic cannot accept message \
                  without key";
    assert!(message.starts_with(begins), "{message}");
    let indexes: Vec<i32> = answer.record_errors.iter().map(|e| e.batch_index).collect();
    assert_eq!(indexes, [1]);

    let bounded = topic("early", 1, &[("message.timestamp.before.max.ms", "1000")]);
    let answer = produce(&bounded, BatchBuilder::new().append(5, None, None, &[]).build());
    let record = answer.record_errors[0].batch_index_error_message.clone().unwrap().to_string();
    let begins = "Timestamp 5 of message with offset 0 is out of range. The timestamp should be within [";
    assert!(record.starts_with(begins), "{record}");
    let whole = answer.error_message.unwrap().to_string();
    assert_eq!(whole, "One or more records have been rejected due to invalid timestamp");
}

#[test]
fn nobody_but_kafkas_own_tools_writes_internal_topics() {
    let internal = CreatableTopic::default()
        .with_name(name("__transaction_state"))
        .with_num_partitions(1)
        .with_replication_factor(1);
    // It may be there already.
    ask(&CreateTopicsRequest::default().with_topics(vec![internal]).with_timeout_ms(30_000), 4);
    id_of("__transaction_state");
    let batch = BatchBuilder::new().append(1_000, Some(b"k"), Some(b"v"), &[]).build();
    assert_eq!(produce("__transaction_state", batch).error_code, INVALID_TOPIC);
}

#[test]
fn a_producer_that_knows_half_of_itself_gets_no_id() {
    let asked = |id: i64, epoch: i16| {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(id.into())
            .with_producer_epoch(epoch);
        let answer = ask(&request, 3);
        (answer.error_code, answer.producer_id.0 >= 0)
    };
    assert_eq!(asked(-1, -1), (0, true));
    assert_eq!(asked(5, 0), (0, true));
    assert_eq!(asked(5, -1), (INVALID_REQUEST, false));
    assert_eq!(asked(-1, 0), (INVALID_REQUEST, false));
}

#[test]
fn where_there_is_no_error_there_are_no_words() {
    let wanted = CreatableTopic::default()
        .with_name(name(&unique("wordless")))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    let created = ask(&request, 5).topics.remove(0);
    assert_eq!((created.error_code, created.error_message), (0, None));
}

#[test]
fn a_topic_is_who_its_id_says() {
    let known = topic("who", 1, &[]);
    let id = id_of(&known);
    let wanted = [
        MetadataRequestTopic::default().with_name(Some(name("another"))).with_topic_id(id),
        MetadataRequestTopic::default().with_name(Some(name("nosuch"))),
    ];
    let request = MetadataRequest::default().with_topics(Some(wanted.to_vec()));
    let told: Vec<_> = ask(&request, 12).topics.into_iter().map(|t| (t.error_code, t.name)).collect();
    assert_eq!(told, [(0, Some(name(&known)))], "and names do not count beside ids");
}
