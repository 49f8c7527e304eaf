//! An idempotent producer as Kafka's Java client is one: up to five batches of a partition in flight, what failed sent again
//! in order under the same sequences, over another connection if need be, until it is acknowledged.
//!
//! Sequence numbers are record numbers: what was sent under one sequence is never sent under another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{CreateTopicsRequest, InitProducerIdRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use protocol::batch_builder::BatchBuilder;
use protocol::record_batch::crc32c;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::history::{Event, RecordId};
use super::wire::{Disconnected, Wire};
use super::world::{TOPIC, World};

/// `max.in.flight.requests.per.connection` of an idempotent producer.
const IN_FLIGHT: usize = 5;
/// The header that says which record it is, in a compacted topic.
pub const ID_HEADER: &str = "id";
/// Last version with topic names.
const PRODUCE_VERSION: i16 = 9;
/// Answers that say: the same again, later.
const RETRIABLE: [ResponseError; 5] = [
    ResponseError::NotLeaderOrFollower,
    ResponseError::KafkaStorageError,
    ResponseError::RequestTimedOut,
    ResponseError::UnknownTopicOrPartition,
    ResponseError::LeaderNotAvailable,
];

/// When a producer stops making records.
#[derive(Clone, Default)]
pub struct Stop(Arc<Mutex<bool>>);

impl Stop {
    /// No new records from now on; what was sent is still brought to its end.
    pub fn stop(&self) {
        *self.0.lock() = true;
    }

    fn is_stopped(&self) -> bool {
        *self.0.lock()
    }
}

/// A batch not yet acknowledged.
#[derive(Clone)]
struct Pending {
    first: i32,
    count: i32,
    padding: usize,
}

#[derive(Default)]
struct Lane {
    next: i32,
    /// Oldest first.
    pending: VecDeque<Pending>,
    /// How many of the oldest were sent on this connection since the last failure.
    sent: usize,
    /// How many answers are to come for it.
    in_flight: usize,
    /// Something failed: wait for all answers, then send all again.
    failed: bool,
}

fn compacted() -> CreatableTopicConfig {
    let (name, value) = ("cleanup.policy", "compact,delete");
    let config = CreatableTopicConfig::default().with_name(StrBytes::from_static_str(name));
    config.with_value(Some(StrBytes::from_static_str(value)))
}

/// The partitions of a request and the first sequence of each batch.
type Asked = Vec<(i32, i32)>;

/// One producer.
pub struct Producer {
    index: u32,
    world: Arc<World>,
    dice: StdRng,
    stop: Stop,
    id: i64,
    partitions: Vec<Lane>,
}

impl Producer {
    /// A producer that has no id yet.
    pub fn new(world: &Arc<World>, index: u32, stop: &Stop) -> Producer {
        let dice = StdRng::seed_from_u64(world.seed ^ (u64::from(index) + 1) << 32);
        let partitions = (0..world.partitions).map(|_| Lane::default()).collect();
        Producer { index, world: world.clone(), dice, stop: stop.clone(), id: -1, partitions }
    }

    /// Produces until told to stop, and ends when all of it is acknowledged.
    pub async fn run(mut self) {
        loop {
            if let Some(wire) = self.world.connect(&mut self.dice)
                && self.serve(wire).await.is_ok()
            {
                return;
            }
            // The connection is gone, and with it the answers.
            for lane in &mut self.partitions {
                (lane.sent, lane.in_flight, lane.failed) = (0, 0, false);
            }
            self.pause(20..200).await;
        }
    }

    async fn pause(&mut self, ms: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.dice.random_range(ms))).await;
    }

    /// Ok: all done.
    async fn serve(&mut self, mut wire: Wire) -> Result<(), Disconnected> {
        if self.id < 0 {
            self.prepare(&mut wire).await?;
        }
        let mut asked: VecDeque<Asked> = VecDeque::new();
        loop {
            if self.stop.is_stopped() && self.partitions.iter().all(|lane| lane.pending.is_empty()) {
                return Ok(());
            }
            self.make_records();
            while asked.len() < IN_FLIGHT && self.send_one(&mut wire, &mut asked).await? {}
            let Some(oldest) = asked.pop_front() else {
                self.pause(5..300).await;
                continue;
            };
            // Shorter than some pauses of the world, longer than others.
            let patience = Duration::from_millis(self.dice.random_range(2_000..15_000));
            let answer = wire.receive::<ProduceRequest>(PRODUCE_VERSION, patience).await?;
            let failed = self.take(&wire, &oldest, &answer.responses[0].partition_responses);
            if failed {
                self.pause(50..250).await;
            } else if self.dice.random_bool(0.5) {
                // What a run costs is what its clients send.
                self.pause(1..800).await;
            }
        }
    }

    /// The topic and the id.
    async fn prepare(&mut self, wire: &mut Wire) -> Result<(), Disconnected> {
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
            .with_num_partitions(self.world.partitions)
            .with_replication_factor(1)
            .with_configs(self.world.compacted.then(compacted).into_iter().collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let patience = Duration::from_secs(15);
        let made = wire.ask(&request, 5, patience).await?.topics[0].error_code;
        if made != 0 && made != ResponseError::TopicAlreadyExists.code() {
            return Err(Disconnected);
        }
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let answer = wire.ask(&request, 4, patience).await?;
        if answer.error_code != 0 {
            return Err(Disconnected);
        }
        self.id = answer.producer_id.0;
        self.world.note(format!("producer {} has id {}", self.index, self.id));
        Ok(())
    }

    fn make_records(&mut self) {
        if self.stop.is_stopped() {
            return;
        }
        for partition in 0..self.world.partitions {
            let lane = &mut self.partitions[partition as usize];
            while lane.pending.len() < IN_FLIGHT && self.dice.random_bool(0.4) {
                let count = self.dice.random_range(1..=4);
                let padding =
                    if self.dice.random_bool(0.05) { 20_000 } else { self.dice.random_range(0..200) };
                let first = lane.next;
                lane.pending.push_back(Pending { first, count, padding });
                lane.next += count;
                for number in first..first + count {
                    self.world.record(Event::Sent(RecordId { producer: self.index, partition, number }));
                }
            }
        }
    }

    /// One request with the next batch of every partition that has one; false if there is none.
    async fn send_one(&mut self, wire: &mut Wire, asked: &mut VecDeque<Asked>) -> Result<bool, Disconnected> {
        let mut data = Vec::new();
        let mut batches = Vec::new();
        for partition in 0..self.world.partitions {
            let lane = &mut self.partitions[partition as usize];
            if lane.failed || lane.in_flight >= IN_FLIGHT || self.dice.random_bool(0.2) {
                continue;
            }
            let Some(batch) = lane.pending.get(lane.sent).cloned() else { continue };
            lane.sent += 1;
            lane.in_flight += 1;
            let records = self.encode(partition, &batch);
            batches.push((partition, batch.first));
            data.push(PartitionProduceData::default().with_index(partition).with_records(Some(records)));
        }
        if data.is_empty() {
            return Ok(false);
        }
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
            .with_partition_data(data);
        let request = ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        asked.push_back(batches);
        wire.send(&request, PRODUCE_VERSION).await?;
        Ok(true)
    }

    fn encode(&self, partition: i32, batch: &Pending) -> bytes::Bytes {
        // Timestamps near the epoch of the simulated clock do not matter: the topic takes any.
        let mut builder = BatchBuilder::new().producer(self.id, 0, batch.first);
        for number in batch.first..batch.first + batch.count {
            let id = RecordId { producer: self.index, partition, number };
            let value = id.value(batch.padding);
            let time = 1_700_000_000_000 + i64::from(number);
            builder = match self.world.compacted {
                false => builder.append(time, Some(&crc32c(&value).to_be_bytes()), Some(&value), &[]),
                true => {
                    // What a tombstone is, is in a header.
                    let named = id.value(0);
                    let value = (!id.is_tombstone()).then_some(&value[..]);
                    builder.append(time, Some(&id.key()), value, &[(ID_HEADER, Some(&named))])
                }
            };
        }
        builder.build()
    }

    /// Judges an answer; true if something failed.
    fn take(
        &mut self,
        wire: &Wire,
        asked: &Asked,
        answers: &[kafka_protocol::messages::produce_response::PartitionProduceResponse],
    ) -> bool {
        let mut any_failed = false;
        for &(partition, first) in asked {
            let answer = answers.iter().find(|a| a.index == partition).expect("an answer for each partition");
            let lane = &mut self.partitions[partition as usize];
            lane.in_flight -= 1;
            let at = lane.pending.iter().position(|b| b.first == first);
            match ResponseError::try_from_code(answer.error_code) {
                None | Some(ResponseError::DuplicateSequenceNumber) => {
                    if let Some(batch) = at.and_then(|at| lane.pending.remove(at)) {
                        lane.sent = lane.sent.saturating_sub(1);
                        let base_offset = (answer.error_code == 0).then_some(answer.base_offset);
                        let first = RecordId { producer: self.index, partition, number: first };
                        self.world.record(Event::Acknowledged { first, count: batch.count, base_offset });
                    }
                }
                Some(error) => {
                    let in_doubt = !lane.failed && at == Some(0);
                    (lane.failed, any_failed) = (true, true);
                    let told = format!("producer {} partition {partition} sequence {first}", self.index);
                    self.world.note(format!("{told}: {error:?} by {}", wire.life.number));
                    if RETRIABLE.contains(&error) {
                        // Again, later.
                    } else if error == ResponseError::OutOfOrderSequenceNumber {
                        // The oldest without an answer follows what was acknowledged: whoever does not know of that has
                        // lost it, or is a zombie.
                        if in_doubt && self.world.is_newest(&wire.life) {
                            let what =
                                format!("producer {} partition {partition} sequence {first}", self.index);
                            self.world.record(Event::RefusedWrongly(format!("{what}: out of order")));
                        }
                    } else {
                        let what = format!("producer {} partition {partition}: {error:?}", self.index);
                        self.world.record(Event::RefusedWrongly(what));
                    }
                }
            }
            let lane = &mut self.partitions[partition as usize];
            if lane.failed && lane.in_flight == 0 {
                (lane.failed, lane.sent) = (false, 0);
            }
        }
        any_failed
    }
}
