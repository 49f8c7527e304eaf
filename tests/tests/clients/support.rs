//! What the tests share: names, a producer that keeps its delivery reports, readers, admin calls.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The address of the broker under test.
pub fn bootstrap() -> &'static str {
    &tests::server::shared().bootstrap
}

/// A topic or group name nobody else uses, also when the broker outlives the run.
pub fn unique(name: &str) -> String {
    format!("{name}-{:016x}", StdRng::from_os_rng().next_u64())
}

/// A client configuration for the broker under test.
pub fn config(settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap());
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

/// A record to send, or one that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds; `None` lets the client choose.
    pub timestamp: Option<i64>,
}

impl Record {
    /// A record with a value alone, for partition 0.
    pub fn value(value: impl Into<Vec<u8>>) -> Record {
        Record { value: Some(value.into()), ..Record::default() }
    }

    fn to_base<'a>(&'a self, topic: &'a str, index: usize) -> BaseRecord<'a, [u8], [u8], usize> {
        let mut base = BaseRecord::with_opaque_to(topic, index).partition(self.partition);
        base.key = self.key.as_deref();
        base.payload = self.value.as_deref();
        base.timestamp = self.timestamp;
        if !self.headers.is_empty() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &self.headers {
                headers = headers.insert(rdkafka::message::Header { key, value: value.as_deref() });
            }
            base.headers = Some(headers);
        }
        base
    }
}

/// A record with the offset it was read at.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub offset: i64,
    pub record: Record,
}

/// What became of a record: its offset, or why it was not delivered.
pub type Outcome = Result<i64, KafkaError>;

/// Delivery reports by index of the record sent.
#[derive(Clone, Default)]
pub struct Reports(Arc<Mutex<Vec<(usize, Outcome)>>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().unwrap().push((index, outcome));
    }
}

/// Sends records in order with one producer, waits for all reports, and returns them in the order of sending.
pub fn send(topic: &str, settings: &[(&str, &str)], records: &[Record]) -> Vec<Outcome> {
    let reports = Reports::default();
    let producer: ThreadedProducer<Reports> =
        config(settings).create_with_context(reports.clone()).expect("valid settings");
    for (index, record) in records.iter().enumerate() {
        let mut base = record.to_base(topic, index);
        let deadline = Instant::now() + PATIENCE;
        while let Err((error, back)) = producer.send(base) {
            // A record the client itself refuses gets its report here.
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                reports.0.lock().unwrap().push((index, Err(error)));
                break;
            }
            assert!(Instant::now() < deadline, "the producer's queue stays full");
            producer.poll(Duration::from_millis(5));
            base = back;
        }
    }
    producer.flush(PATIENCE).expect("flush");
    let mut reports = std::mem::take(&mut *reports.0.lock().unwrap());
    assert_eq!(reports.len(), records.len(), "a report per record");
    reports.sort_by_key(|(index, _)| *index);
    reports.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Sends records that must all be delivered; returns their offsets.
pub fn deliver(topic: &str, settings: &[(&str, &str)], records: &[Record]) -> Vec<i64> {
    send(topic, settings, records).into_iter().map(|outcome| outcome.expect("delivered")).collect()
}

/// A consumer assigned to one partition.
pub fn assigned(topic: &str, partition: i32, from: Offset, settings: &[(&str, &str)]) -> BaseConsumer {
    let consumer: BaseConsumer = config(settings)
        // Never joined with assign, but rdkafka wants a name.
        .set("group.id", "clients-suite")
        .set("enable.auto.commit", "false")
        .create()
        .expect("valid settings");
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, from).unwrap();
    consumer.assign(&assignment).unwrap();
    consumer
}

/// The next `count` records a consumer gets.
pub fn take(consumer: &BaseConsumer, count: usize) -> Vec<Read> {
    let deadline = Instant::now() + PATIENCE;
    let mut reads = Vec::new();
    while reads.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records after {PATIENCE:?}", reads.len());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            reads.push(to_read(&message.expect("consume")));
        }
    }
    reads
}

/// All of a partition: the records below its high watermark, read from its beginning by a fresh consumer.
pub fn read_all(topic: &str, partition: i32) -> Vec<Read> {
    let consumer = assigned(topic, partition, Offset::Beginning, &[]);
    let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("watermarks");
    take(&consumer, (high - low) as usize)
}

/// A message as a value.
pub fn to_read<M: Message>(message: &M) -> Read {
    let headers = message.headers().map_or(Vec::new(), |headers| {
        headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
    });
    Read {
        offset: message.offset(),
        record: Record {
            partition: message.partition(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            timestamp: message.timestamp().to_millis(),
        },
    }
}

/// Runs an admin call to its end.
pub fn wait<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(call)
}

/// An admin client.
pub fn admin() -> AdminClient<DefaultClientContext> {
    config(&[]).create().expect("admin client")
}

/// Options that let the broker finish before it answers.
pub fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

/// Creates a topic of one's own and waits for its leaders; returns its name.
pub fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
    let name = unique(name);
    let mut new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    for (key, value) in configs {
        new = new.set(key, value);
    }
    let admin = admin();
    let outcome = wait(admin.create_topics([&new], &admin_options())).expect("create topics");
    assert_eq!(outcome, [Ok(name.clone())]);
    until(&format!("leaders of {name}"), || {
        let metadata = admin.inner().fetch_metadata(Some(&name), PATIENCE).ok()?;
        let led = metadata.topics().first()?.partitions().iter().filter(|p| p.leader() >= 0).count();
        (led == partitions as usize).then_some(())
    });
    name
}

/// Asks until there is an answer; fails at the deadline.
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
