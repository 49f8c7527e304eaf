//! Deletes records of a partition from time to time, never all.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{DeleteRecordsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::history::Event;
use super::world::{TOPIC, World};

const PATIENCE: Duration = Duration::from_secs(15);

/// Who deletes.
pub struct Trimmer {
    world: Arc<World>,
    dice: StdRng,
}

impl Trimmer {
    /// Of the world's topic.
    pub fn new(world: &Arc<World>) -> Trimmer {
        Trimmer { world: world.clone(), dice: StdRng::seed_from_u64(world.seed ^ 77 << 40) }
    }

    /// For ever.
    pub async fn run(mut self) {
        loop {
            let pause = self.dice.random_range(2_000..9_000);
            sleep(Duration::from_millis(pause)).await;
            let partition = self.dice.random_range(0..self.world.partitions);
            let (from, to) = (self.world.trimmed(partition), self.world.acknowledged(partition));
            let Some(mut wire) = self.world.connect(&mut self.dice).filter(|_| from < to) else { continue };
            let below = from + self.dice.random_range(0..=(to - from) / 3);
            self.world.record(Event::TrimSent { partition, below });
            let of = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(below);
            let name = TopicName(StrBytes::from_static_str(TOPIC));
            let topic = DeleteRecordsTopic::default().with_name(name).with_partitions(vec![of]);
            let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
            // Refused or not answered: another time.
            let _ = wire.ask(&request, 2, PATIENCE).await;
        }
    }
}
