//! A consumer that tails every partition, with or without a fetch session, goes back to 0 at times, and asks where the log
//! ends; and the last reading of everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::record_batch::split_batches;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::history::{Event, Reader, RecordId};
use super::producer::ID_HEADER;
use super::wire::{Disconnected, Wire};
use super::world::{TOPIC, World};

/// Last version with topic names.
const FETCH_VERSION: i16 = 12;
/// `ListOffsetsRequest.LATEST_TIMESTAMP`.
const LATEST: i64 = -1;
const PATIENCE: Duration = Duration::from_secs(10);

/// One consumer.
pub struct Consumer {
    reader: Reader,
    world: Arc<World>,
    dice: StdRng,
    position: Vec<i64>,
}

/// A fetch session as the client keeps it (KIP-227).
struct Session {
    id: i32,
    epoch: i32,
    /// What the broker was told last.
    told: BTreeMap<i32, i64>,
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

impl Consumer {
    /// A consumer at the beginning of every partition.
    pub fn new(world: &Arc<World>, reader: Reader) -> Consumer {
        let salt = match reader {
            Reader::Tail(n) => 100 + u64::from(n),
            Reader::Final => 99,
        };
        let dice = StdRng::seed_from_u64(world.seed ^ salt << 40);
        Consumer { reader, world: world.clone(), dice, position: vec![0; world.partitions as usize] }
    }

    /// Tails for ever.
    pub async fn run(mut self) {
        loop {
            if let Some(wire) = self.world.connect(&mut self.dice) {
                let Err(Disconnected) = self.serve(wire).await else { continue };
            }
            let pause = self.dice.random_range(20..300);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn serve(&mut self, mut wire: Wire) -> Result<(), Disconnected> {
        let mut session =
            self.dice.random_bool(0.5).then(|| Session { id: 0, epoch: 0, told: BTreeMap::new() });
        for _ in 0..self.dice.random_range(20..200) {
            match self.dice.random_range(0..400) {
                0 => self.seek_to_start(),
                1..20 => self.list_latest(&mut wire).await?,
                _ => {}
            }
            self.fetch(&mut wire, &mut session).await?;
            let pause = self.dice.random_range(1..400);
            sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }

    fn seek_to_start(&mut self) {
        for (partition, position) in self.position.iter_mut().enumerate() {
            *position = 0;
            let (reader, partition) = (self.reader, partition as i32);
            self.world.record(Event::Sought { reader, partition, offset: 0 });
        }
    }

    /// Where the log of every partition ends, asked of this process.
    pub async fn latest(&mut self, wire: &mut Wire) -> Result<Vec<(i32, i64)>, Disconnected> {
        let partitions = (0..self.world.partitions)
            .map(|p| ListOffsetsPartition::default().with_partition_index(p).with_timestamp(LATEST));
        let asked = ListOffsetsTopic::default().with_name(topic()).with_partitions(partitions.collect());
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
        let answer = wire.ask(&request, 7, PATIENCE).await?;
        let partitions = answer.topics.iter().flat_map(|t| &t.partitions).filter(|p| p.error_code == 0);
        Ok(partitions.map(|p| (p.partition_index, p.offset)).collect())
    }

    async fn list_latest(&mut self, wire: &mut Wire) -> Result<(), Disconnected> {
        let acknowledged: Vec<i64> = (0..self.world.partitions).map(|p| self.world.acknowledged(p)).collect();
        let newest_before = self.world.is_newest(&wire.life);
        for (partition, offset) in self.latest(wire).await? {
            let (life, connection) = (wire.life.number, wire.number);
            self.world.record(Event::HighWatermark { life, connection, partition, offset });
            if newest_before && self.world.is_newest(&wire.life) {
                let acknowledged = acknowledged[partition as usize];
                self.world.record(Event::ListedLatest { life, partition, offset, acknowledged });
            }
        }
        Ok(())
    }

    async fn fetch(&mut self, wire: &mut Wire, session: &mut Option<Session>) -> Result<(), Disconnected> {
        let fresh = session.as_ref().is_none_or(|s| s.epoch == 0);
        let told = session.as_ref().map(|s| s.told.clone()).unwrap_or_default();
        let listed = (0..self.world.partitions)
            .filter(|p| fresh || told.get(p) != Some(&self.position[*p as usize]))
            .map(|p| {
                FetchPartition::default()
                    .with_partition(p)
                    .with_fetch_offset(self.position[p as usize])
                    .with_partition_max_bytes(64 << 10)
            })
            .collect::<Vec<_>>();
        let topics = match listed.is_empty() {
            true => Vec::new(),
            false => vec![FetchTopic::default().with_topic(topic()).with_partitions(listed)],
        };
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(self.dice.random_range(0..500))
            .with_min_bytes(1)
            .with_max_bytes(256 << 10)
            .with_session_id(session.as_ref().map_or(0, |s| s.id))
            .with_session_epoch(session.as_ref().map_or(-1, |s| s.epoch))
            .with_topics(topics);
        let answer = wire.ask(&request, FETCH_VERSION, PATIENCE).await?;
        if answer.error_code != 0 {
            // A session that this process does not know: a new connection makes a new one.
            return Err(Disconnected);
        }
        if let Some(session) = session {
            session.id = answer.session_id;
            session.epoch = if answer.session_id == 0 { 0 } else { session.epoch + 1 };
            session.told = self.position.iter().enumerate().map(|(p, at)| (p as i32, *at)).collect();
        }
        for partition in answer.responses.iter().flat_map(|t| &t.partitions) {
            self.take(wire, partition)?;
        }
        Ok(())
    }

    fn take(&mut self, wire: &Wire, answer: &PartitionData) -> Result<(), Disconnected> {
        let partition = answer.partition_index;
        match ResponseError::try_from_code(answer.error_code) {
            None => {}
            Some(ResponseError::OffsetOutOfRange) => {
                // A process that was superseded may not know of what its successor gave us.
                let at = self.position[partition as usize];
                let trimmed = self.world.trimmed(partition);
                if at < trimmed {
                    self.position[partition as usize] = trimmed;
                    let reader = self.reader;
                    self.world.record(Event::Sought { reader, partition, offset: trimmed });
                    return Ok(());
                }
                if self.world.is_newest(&wire.life) {
                    let what = format!("{:?} partition {partition} offset {at}: out of range", self.reader);
                    self.world.record(Event::RefusedWrongly(what));
                }
                return Err(Disconnected);
            }
            Some(_) => return Err(Disconnected),
        }
        self.world.record(Event::HighWatermark {
            life: wire.life.number,
            connection: wire.number,
            partition,
            offset: answer.high_watermark,
        });
        let position = &mut self.position[partition as usize];
        for batch in split_batches(answer.records.clone().unwrap_or_default()) {
            let batch = batch.expect("whole batches");
            batch.check_crc().expect("a batch as it was sent");
            for record in batch.records(1 << 20).expect("records") {
                let record = record.expect("a record");
                if record.offset < *position {
                    continue;
                }
                *position = record.offset + 1;
                let named = record.headers.iter().find(|header| header.key == ID_HEADER.as_bytes());
                let named = named.map_or(record.value, |header| header.value);
                let value = named.as_deref().and_then(RecordId::parse);
                let (reader, offset) = (self.reader, record.offset);
                self.world.record(Event::Read { reader, partition, offset, value });
            }
            // Where log compaction left a batch with fewer records, or none.
            *position = (*position).max(batch.header().next_offset());
        }
        Ok(())
    }

    /// Reads everything there is, from this process.
    pub async fn read_all(&mut self, wire: &mut Wire) -> Result<(), Disconnected> {
        self.seek_to_start();
        let ends = self.latest(wire).await?;
        if ends.len() != self.world.partitions as usize {
            return Err(Disconnected);
        }
        while ends.iter().any(|(p, end)| self.position[*p as usize] < *end) {
            self.fetch(wire, &mut None).await?;
        }
        Ok(())
    }
}
