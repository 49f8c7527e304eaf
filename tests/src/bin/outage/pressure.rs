//! Raw producers that come anew all the time: what a well-behaved client never does, a crowd of them does.
//!
//! An idempotent librdkafka producer has five requests in flight, a few MiB, and waits: it alone never fills a broker. Here
//! every connection sends one batch without a producer id and waits for its answer. What the broker took stays open as long
//! as the store is away; what it has no room for must be answered with a retriable error when the request's own time is up.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use protocol::batch_builder::BatchBuilder;
use protocol::error::ErrorCode;

/// Where they write; nobody reads it.
pub const TOPIC: &str = "outage-pressure";
/// Bytes of a batch.
const BATCH_BYTES: usize = 768 << 10;
/// `timeout.ms` of a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// By then its refusal must be there: `request.timeout.ms` of clients. A frame for which there is no room is not read, and
/// waits for those before it, so that this is more than the time in the request.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// Time between two that come.
const PAUSE: Duration = Duration::from_millis(50);
/// Those that wait for an answer at once: more than the budget's part for what is not durable.
const WAITING_MAX: usize = 120;
const VERSION: i16 = 7;
/// What a producer tries again by itself (`RetriableException` in Kafka's clients).
const RETRIABLE: &[ErrorCode] =
    &[ErrorCode::RequestTimedOut, ErrorCode::NotLeaderOrFollower, ErrorCode::KafkaStorageError];

/// What those were told who came while the store was away.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Batches sent.
    pub pushed: u64,
    /// Refused.
    pub refused: u64,
    /// Error codes seen.
    pub codes: BTreeSet<i16>,
    /// The longest that a refusal took.
    pub slowest: Duration,
    /// Connections that were closed without an answer, and other surprises.
    pub surprises: Vec<String>,
}

impl Told {
    /// What is wrong with it.
    pub fn wrong(&self) -> impl Iterator<Item = String> {
        let retriable: BTreeSet<i16> = RETRIABLE.iter().map(|code| code.code()).collect();
        let codes: Vec<String> = self
            .codes
            .difference(&retriable)
            .map(|code| format!("error {code} is not one that a producer tries again"))
            .collect();
        let late = (self.slowest > GIVEN_UP)
            .then(|| format!("a refusal took {:.1} s: clients had given up", self.slowest.as_secs_f64()));
        let surprise =
            self.surprises.first().map(|first| format!("{} surprises, first: {first}", self.surprises.len()));
        codes.into_iter().chain(late).chain(surprise)
    }
}

/// A crowd at work.
pub struct Pressure {
    told: Arc<Mutex<Told>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

struct Waiting {
    stream: TcpStream,
    since: Instant,
    answer: Vec<u8>,
}

impl Pressure {
    /// Starts pushing.
    pub fn start(addr: SocketAddr) -> Pressure {
        let (told, stop) = (Arc::new(Mutex::new(Told::default())), Arc::new(AtomicBool::new(false)));
        let (diary, ended) = (told.clone(), stop.clone());
        let thread = std::thread::spawn(move || push(addr, &diary, &ended));
        Pressure { told, stop, thread }
    }

    /// The store is about to be back: nobody comes anew from now on.
    pub fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until everybody has an answer; gives what all were told, those that waited until the store was back among them.
    pub fn finish(self, patience: Duration) -> Result<Told> {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            ensure!(begun.elapsed() < patience, "batches that were pushed are not answered");
            std::thread::sleep(PAUSE);
        }
        self.thread.join().expect("the crowd does not panic");
        Ok(self.told.lock().expect("no holder panics").clone())
    }
}

fn push(addr: SocketAddr, told: &Mutex<Told>, stop: &AtomicBool) {
    let frame = frame();
    let mut waiting: Vec<Waiting> = Vec::new();
    loop {
        let stopped = stop.load(Ordering::Relaxed);
        if stopped && waiting.is_empty() {
            return;
        }
        if !stopped && waiting.len() < WAITING_MAX {
            match come(addr, &frame) {
                Ok(one) => {
                    told.lock().expect("no holder panics").pushed += 1;
                    waiting.push(one);
                }
                Err(error) => surprise(told, &error),
            }
        }
        waiting.retain_mut(|one| match one.look() {
            Ok(None) => true,
            Ok(Some(code)) => {
                let mut told = told.lock().expect("no holder panics");
                if code != 0 {
                    told.refused += 1;
                    told.codes.insert(code);
                    told.slowest = told.slowest.max(one.since.elapsed());
                }
                false
            }
            Err(error) => {
                surprise(told, &error);
                false
            }
        });
        std::thread::sleep(PAUSE);
    }
}

fn surprise(told: &Mutex<Told>, error: &anyhow::Error) {
    told.lock().expect("no holder panics").surprises.push(format!("{error:#}"));
}

/// One that connects and sends its batch. A broker that has no room for the frame does not read it: then it is written as
/// far as the socket takes it, and the rest with the looks for an answer.
fn come(addr: SocketAddr, frame: &Bytes) -> Result<Waiting> {
    let since = Instant::now();
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1)).context("connect")?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(frame).context("send a batch")?;
    stream.set_nonblocking(true)?;
    Ok(Waiting { stream, since, answer: Vec::new() })
}

impl Waiting {
    /// The error code, once the answer is there.
    fn look(&mut self) -> Result<Option<i16>> {
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("closed without an answer after {:.1?}", self.since.elapsed()),
            Ok(read) => self.answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("read an answer"),
        }
        let Some((length, body)) = self.answer.split_first_chunk::<4>() else { return Ok(None) };
        if body.len() < u32::from_be_bytes(*length) as usize {
            return Ok(None);
        }
        let mut body = Bytes::copy_from_slice(body);
        ResponseHeader::decode(&mut body, ProduceResponse::header_version(VERSION))?;
        let answer = ProduceResponse::decode(&mut body, VERSION)?;
        let topic = answer.responses.first().context("an answer without the topic")?;
        let partition = topic.partition_responses.first().context("an answer without the partition")?;
        Ok(Some(partition.error_code))
    }
}

/// A Produce request with one batch, length and all.
fn frame() -> Bytes {
    let value = vec![0x55; BATCH_BYTES];
    let batch = BatchBuilder::new().append(-1, None, Some(&value), &[]).build();
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(TIMEOUT.as_millis() as i32)
        .with_topic_data(vec![topic]);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Produce as i16)
        .with_request_api_version(VERSION)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("pressure")));
    let mut bytes = BytesMut::from(&[0; 4][..]);
    header.encode(&mut bytes, ProduceRequest::header_version(VERSION)).expect("a header can be encoded");
    request.encode(&mut bytes, VERSION).expect("a request can be encoded");
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_producer_tries_again_is_right() {
        let mut told = Told { pushed: 3, refused: 2, codes: BTreeSet::from([7, 56]), ..Told::default() };
        assert_eq!(told.wrong().count(), 0);
        told.codes.insert(ErrorCode::InvalidRecord.code());
        told.slowest = Duration::from_secs(31);
        told.surprises.push("closed".into());
        assert_eq!(told.wrong().count(), 3);
    }
}
