//! The whole-broker simulation in `cargo test`: a bounded number of seeds, the proof that a seed repeats, and the situations
//! that have names (SAFETY.md §8). More seeds: `cargo sim --seeds N`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use broker::metadata::PartitionImage;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, FetchRequest, InitProducerIdRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol::batch_builder::BatchBuilder;
use s3stream::ids::lane_prefix;
use s3stream::sim::directory::SimVolume;
use s3stream::sim::s3::{FakeS3, Faults, Outage};
use tests::sim::consumer::Consumer;
use tests::sim::history::{KEYS, Reader};
use tests::sim::run::{Outcome, Rig, run};
use tests::sim::wire::Wire;
use tests::sim::world::{Life, Root, TOPIC, World};
use tokio::time::sleep;

fn assert_good(outcome: &Outcome) {
    assert!(
        outcome.violations.is_empty(),
        "seed {}: {:#?}\nrun it again with: cargo sim --seed {}",
        outcome.seed,
        &outcome.violations[..outcome.violations.len().min(10)],
        outcome.seed
    );
    assert!(outcome.acknowledged > 0 && outcome.read > 0, "seed {}: nothing happened", outcome.seed);
}

fn seeds(range: std::ops::Range<u64>) {
    let mut committed = 0;
    for seed in range.clone() {
        let outcome = run(seed);
        assert_good(&outcome);
        committed += outcome.committed;
    }
    // In some worlds no group ever comes together; in most one does.
    assert!(committed > 5 * range.count(), "{committed} offsets committed");
}

#[test]
fn seeds_0() {
    seeds(1..51);
}

#[test]
fn seeds_1() {
    seeds(51..101);
}

/// Same seed, same history and same requests to the store, to the microsecond.
#[test]
fn a_seed_repeats_bit_for_bit() {
    for seed in [3, 4] {
        let (first, second) = (run(seed), run(seed));
        let differ = first.trace.lines().zip(second.trace.lines()).find(|(a, b)| a != b);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}

/// A world of two producers and two consumers on an S3 with `faults`; `script` disturbs it.
fn scenario(seed: u64, faults: Faults, script: impl AsyncFnOnce(&Rig, &FakeS3)) {
    let outcome = s3stream::sim::run(async {
        let s3 = FakeS3::new(seed, faults);
        let rig = Rig::new(seed, Root::S3(s3.clone()));
        sleep(Duration::from_secs(3)).await;
        script(&rig, &s3).await;
        rig.finish().await
    });
    assert_good(&outcome);
}

/// Answers are slow, connections are cut while batches are under way: retries meet their own batches, in order.
#[test]
fn retries_over_a_slow_store() {
    let slow = Faults { latency: Duration::from_millis(200), slow: 0.03, ..Faults::none() };
    scenario(1, slow, async |_, _| sleep(Duration::from_secs(30)).await);
}

/// A batch is sent again over another connection while the object that holds it is still on its way: neither is answered
/// before that is in the bucket, both are then, with the same offset, and the log holds it once.
#[test]
fn retry_joins_pending() {
    s3stream::sim::run(async {
        let (s3, world, life) = one_partition(1).await;
        let mut wire = world.connect_to(&life).expect("it serves");
        let id = prepare(&mut wire).await;
        s3.prefix_down("wal/", Outage::Silent);
        let again = world.connect_to(&life).expect("it serves");
        let answers = [wire, again].map(|mut wire| {
            tokio::spawn(async move {
                let answer = wire.ask(&produce(id), 9, Duration::from_secs(300)).await.expect("an answer");
                let told = &answer.responses[0].partition_responses[0];
                (told.error_code, told.base_offset, wire)
            })
        });
        sleep(Duration::from_secs(8)).await;
        assert!(answers.iter().all(|a| !a.is_finished()), "nothing is acknowledged before the bucket has it");
        s3.prefix_up("wal/");
        for answer in answers {
            let (error, base_offset, mut wire) = answer.await.expect("no panic");
            assert_eq!((error, base_offset), (0, 0));
            let end = Consumer::new(&world, Reader::Tail(0)).latest(&mut wire).await.expect("an answer");
            assert_eq!(end, [(0, 1)]);
        }
    });
}

/// A gap behind a batch that is not in the bucket yet is told when that is, and never if it does not come there: a final
/// error would then have been given for what never was (I5).
#[test]
fn no_sequence_is_refused_by_what_is_not_durable() {
    for fenced in [false, true] {
        s3stream::sim::run(async move {
            let (s3, world, life) = one_partition(1).await;
            let mut wire = world.connect_to(&life).expect("it serves");
            let mut other = world.connect_to(&life).expect("it serves");
            let id = prepare(&mut wire).await;
            s3.cut_off(&life.name());
            wire.send(&produce(id), 9).await.expect("sent");
            sleep(Duration::from_millis(100)).await;
            let gap = tokio::spawn(async move {
                let patience = Duration::from_secs(300);
                let told = other.ask(&produce_from(id, 7), 9, patience).await.ok()?;
                ResponseError::try_from_code(told.responses[0].partition_responses[0].error_code)
            });
            sleep(Duration::from_secs(1)).await;
            assert!(!gap.is_finished(), "the batch before it is not durable");
            if fenced {
                serving(&world.start()).await;
            }
            s3.reconnect(&life.name());
            let told = gap.await.expect("no panic");
            if fenced {
                assert!(matches!(told, None | Some(ResponseError::NotLeaderOrFollower)), "{told:?}");
            } else {
                assert_eq!(told, Some(ResponseError::OutOfOrderSequenceNumber));
            }
        });
    }
}

/// Makes the topic, gives a producer id.
async fn prepare(wire: &mut Wire) -> i64 {
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let patience = Duration::from_secs(15);
    assert_eq!(wire.ask(&request, 5, patience).await.expect("an answer").topics[0].error_code, 0);
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    wire.ask(&request, 4, patience).await.expect("an answer").producer_id.0
}

/// The first batch of a producer (-1: of none): one record.
fn produce(id: i64) -> ProduceRequest {
    produce_from(id, 0)
}

/// The same from sequence `first` on.
fn produce_from(id: i64, first: i32) -> ProduceRequest {
    let batch = BatchBuilder::new().append(1_700_000_000_000, None, Some(b"once"), &[]);
    let batch = if id >= 0 { batch.producer(id, 0, first) } else { batch };
    let data = PartitionProduceData::default().with_records(Some(batch.build()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_transactional_id(None).with_acks(-1);
    request.with_timeout_ms(10_000).with_topic_data(vec![topic])
}

/// A process stops, its successor acknowledges, and it wakes up: it may serve what it knew for as long as it takes to find
/// its lane sealed, and no client is told more or other than the log holds. That a client is not sent to it any more is the
/// business of several brokers' metadata: with one broker and one address, the successor has taken that.
#[test]
fn zombie_list_offsets() {
    scenario(2, Faults::none(), async |rig, _| {
        let zombie = rig.world.lives()[0].clone();
        rig.world.pause(&zombie);
        rig.world.start();
        sleep(Duration::from_secs(20)).await;
        rig.world.resume(&zombie);
        sleep(Duration::from_secs(10)).await;
    });
}

/// PUTs below `wal/` fail for a minute; the rest of the store works.
#[test]
fn lane_prefix_503() {
    scenario(3, Faults::none(), async |rig, s3| {
        s3.prefix_down("wal/", Outage::Unavailable);
        sleep(Duration::from_secs(60)).await;
        s3.prefix_up("wal/");
        let before = rig.world.events().len();
        sleep(Duration::from_secs(60)).await;
        assert!(rig.world.events().len() > before);
        assert_eq!(rig.world.lives().len(), 1, "an outage of the store ends nobody");
    });
}

/// Nobody ends, no class of memory goes past its size, and what waited in the lane for its upload is in history soon after.
#[test]
fn store_down_10min() {
    scenario(4, Faults::none(), async |rig, s3| {
        s3.down();
        sleep(Duration::from_secs(600)).await;
        s3.up();
        sleep(Duration::from_secs(30)).await;
        assert_caught_up(rig).await;
    });
}

/// PUTs of history fail for minutes: the lane takes what comes, until its bound; then produces are told to come again, and go
/// on when there is room. (Not for ten minutes: then producers whose records bear old times are forgotten, as Kafka does.)
#[test]
fn history_down_9min() {
    scenario(9, Faults::none(), async |rig, s3| {
        s3.prefix_down("data/", Outage::Unavailable);
        let trim = |rig: &Rig| lane_of(&rig.world.lives()[0]).0;
        sleep(Duration::from_secs(5)).await;
        let before = trim(rig);
        sleep(Duration::from_secs(540)).await;
        assert!(rig.world.notes().contains("RequestTimedOut"), "no produce was told to come again");
        assert_eq!(trim(rig), before, "nothing is trimmed that is not in history");
        s3.prefix_up("data/");
        sleep(Duration::from_secs(30)).await;
        assert_caught_up(rig).await;
    });
}

/// The trim of its lane, and its durable end.
fn lane_of(life: &Life) -> (u64, u64) {
    let broker = life.broker().expect("it serves");
    let image = broker.journal.image();
    let lane = image.inner.catalog.lane(broker.incarnation).expect("registered");
    (lane.trim.0, broker.lane.durable_below().0)
}

async fn assert_caught_up(rig: &Rig) {
    assert_eq!(rig.world.lives().len(), 1, "an outage of the store ends nobody");
    let life = rig.world.lives()[0].clone();
    let durable = lane_of(&life).1;
    let acknowledged = || -> i64 { (0..rig.world.partitions).map(|p| rig.world.acknowledged(p)).sum() };
    let before = acknowledged();
    sleep(Duration::from_secs(15)).await;
    let trim = lane_of(&life).0;
    // On the same lane: a successor's would be empty.
    assert!(durable > 0 && acknowledged() > before, "producers do not go on");
    assert!(trim >= durable, "the lane is trimmed to {trim}, {durable} was durable long before");
    for (class, usage) in life.broker().expect("it serves").budget.usage() {
        assert!(usage.peak <= usage.capacity, "{class:?}: {usage:?}");
    }
}

/// Uploads, merges, deleted records and log compaction go on while processes die and the store fails. What may be read is what
/// may be read of each partition; at the end there is a record of each key, and no other.
#[test]
fn compaction_races_all_that_moves_records() {
    for seed in [14, 15, 16] {
        let outcome = s3stream::sim::run(async {
            let s3 = FakeS3::new(seed, Faults { latency: Duration::from_millis(20), ..Faults::rough() });
            let rig = Rig::with(seed, Root::S3(s3.clone()), None, true);
            let mut cleaned = 0;
            for round in 0..12 {
                // At another moment of an upload, a merge or a compaction each time.
                sleep(Duration::from_millis(2_500 + 317 * round)).await;
                let life = rig.world.lives().pop();
                cleaned += life.as_deref().map_or(0, compacted);
                match round % 4 {
                    0 => s3.prefix_down("data/", Outage::Unavailable),
                    1 => s3.prefix_down("meta/", Outage::Silent),
                    2 => {}
                    _ => s3.cut_off(&life.map_or_else(String::new, |life| life.name())),
                }
                sleep(Duration::from_millis(150 * round)).await;
                rig.world.lives().iter().for_each(|life| rig.world.kill(life));
                ["data/", "meta/"].iter().for_each(|prefix| s3.prefix_up(prefix));
                rig.world.start();
            }
            assert!(cleaned > 3, "seed {seed}: {cleaned} partitions were found compacted");
            rig.finish().await
        });
        assert_good(&outcome);
        let keys = 2 * 3 * KEYS as usize;
        assert!((1..=keys).contains(&outcome.left), "seed {seed}: {} records of {keys} keys", outcome.left);
    }
}

/// Partitions of the topic that were compacted.
fn compacted(life: &Life) -> usize {
    let Some(broker) = life.broker() else { return 0 };
    let image = broker.journal.image();
    let Some(topic) = image.inner.topic(TOPIC) else { return 0 };
    let state = |partition: &PartitionImage| image.inner.catalog.stream(partition.stream).cloned();
    topic.partitions.iter().filter_map(state).filter(|state| state.cleaned > 0).count()
}

/// SAFETY F9 at the scale of brokers: two in a row die before anything of their lanes is in history.
#[test]
fn leader_dies_twice_before_upload() {
    scenario(10, Faults::none(), async |rig, s3| {
        s3.prefix_down("data/", Outage::Unavailable);
        for _ in 0..3 {
            rig.world.lives().iter().for_each(|life| rig.world.kill(life));
            rig.world.start();
            sleep(Duration::from_secs(6)).await;
            assert!(lane_of(&rig.world.lives()[0]).1 > 0, "it takes records");
        }
        let ended = |rig: &Rig| {
            let broker = rig.world.lives()[0].broker().expect("it serves");
            let image = broker.journal.image();
            image.inner.catalog.lanes().filter(|(_, lane)| !lane.is_open() && !lane.is_spent()).count()
        };
        assert!(ended(rig) >= 2, "{} ended lanes hold something", ended(rig));
        s3.prefix_up("data/");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(ended(rig), 0, "all ended lanes are uploaded");
        assert_caught_up(rig).await;
    });
}

/// SAFETY F6: a process stops between the PUT of an object of history and the commit that makes it count. Its successor
/// sweeps the object, and uploads from the lane what was in it; what the stopped one says later is refused.
#[test]
fn scrub_vs_paused_upload() {
    scenario(11, Faults::none(), async |rig, s3| {
        let zombie = rig.world.lives()[0].clone();
        let known = |life: &Life, key: &str| {
            let broker = life.broker().expect("it serves");
            let catalog = &broker.journal.image().inner.catalog;
            catalog.objects().any(|(object, _)| catalog.object_key(object) == key)
        };
        s3.prefix_down("meta/", Outage::Unavailable);
        let orphan = loop {
            sleep(Duration::from_millis(5)).await;
            let objects = s3.objects();
            let mut history = objects.keys().filter(|key| key.starts_with("data/"));
            if let Some(key) = history.find(|key| !known(&zombie, key)) {
                break key.clone();
            }
        };
        rig.world.pause(&zombie);
        s3.prefix_up("meta/");
        let successor = rig.world.start();
        sleep(Duration::from_secs(20)).await;
        assert!(successor.broker().is_some(), "{}", rig.world.notes());
        assert!(!s3.objects().contains_key(&orphan), "{orphan} was never introduced and is still there");
        rig.world.resume(&zombie);
        sleep(Duration::from_secs(10)).await;
        assert!(!known(&successor, &orphan), "{orphan} was introduced after it was swept");
        let broker = successor.broker().expect("it serves");
        let image = broker.journal.image();
        let mut lanes = image.inner.catalog.lanes();
        assert!(lanes.all(|(_, lane)| lane.is_open() || lane.is_spent()), "what was in it is not uploaded");
    });
}

/// A lane object that was adopted stays where it lies, though its lane is trimmed past it and its process is dead, as long as
/// the catalog refers to it. Merging writes anew what is in it, and then it goes.
#[test]
fn adopted_objects_die_by_their_references() {
    scenario(12, Faults::none(), async |rig, s3| {
        let first = loop {
            sleep(Duration::from_millis(100)).await;
            let found = rig.world.lives().last().map_or_else(BTreeSet::new, |life| adopted(life));
            if !found.is_empty() {
                break found;
            }
        };
        let (mut seen, mut most_below_a_trim) = (first, 0);
        for round in 0..4 {
            rig.world.lives().iter().for_each(|life| rig.world.kill(life));
            rig.world.start();
            for _ in 0..60 {
                sleep(Duration::from_millis(100)).await;
                let Some(life) = rig.world.lives().last().cloned() else { continue };
                let referred = adopted(&life);
                let there = s3.objects();
                for key in &referred {
                    assert!(there.contains_key(key), "round {round}: {key} is referred to and gone");
                }
                most_below_a_trim = most_below_a_trim.max(referred.len());
                seen.extend(referred);
            }
        }
        assert!(most_below_a_trim > 1, "{most_below_a_trim} adopted objects at most");
        // Longer than it takes to merge, to condemn and to delete.
        sleep(Duration::from_secs(30)).await;
        let referred = adopted(&rig.world.lives()[0]);
        let there = s3.objects();
        let left: Vec<_> =
            seen.iter().filter(|key| !referred.contains(*key) && there.contains_key(*key)).collect();
        assert!(left.is_empty(), "nothing refers to them: {left:?}");
        assert!(seen.len() > referred.len(), "none was merged away");
    });
}

/// Keys of lane objects that the catalog refers to where they lie.
fn adopted(life: &Life) -> BTreeSet<String> {
    let Some(broker) = life.broker() else { return BTreeSet::new() };
    let catalog = &broker.journal.image().inner.catalog;
    let objects = catalog.objects().filter(|(id, state)| id.lane_number().is_some() && !state.is_condemned());
    objects.map(|(id, _)| catalog.object_key(id)).collect()
}

/// A world of one partition, and its process when it serves.
async fn one_partition(seed: u64) -> (FakeS3, Arc<World>, Arc<Life>) {
    let s3 = FakeS3::new(seed, Faults::none());
    let world = World::new(seed, Root::S3(s3.clone()), None, 1);
    let life = world.start();
    serving(&life).await;
    (s3, world, life)
}

async fn serving(life: &Life) {
    while life.incarnation().is_none() {
        sleep(Duration::from_millis(100)).await;
    }
}

/// SAFETY F15: records go by retention, before and after their upload, and their lanes and objects with them. Their producer
/// is known all the same: what it sends again is not written again.
#[test]
fn checkpoint_outlives_retention() {
    for uploaded_first in [true, false] {
        s3stream::sim::run(async {
            let (s3, world, mut life) = one_partition(12).await;
            let mut wire = world.connect_to(&life).expect("it serves");
            let id = prepare(&mut wire).await;
            let patience = Duration::from_secs(20);
            for round in 0..3 {
                let answer = wire.ask(&produce(id), 9, patience).await.expect("an answer");
                let told = &answer.responses[0].partition_responses[0];
                assert_eq!((told.error_code, told.base_offset), (0, 0), "life {round}");
                if round == 0 {
                    if uploaded_first {
                        sleep(Duration::from_secs(5)).await;
                    }
                    let all = DeleteRecordsPartition::default().with_offset(-1);
                    let name = TopicName(StrBytes::from_static_str(TOPIC));
                    let topic = DeleteRecordsTopic::default().with_name(name).with_partitions(vec![all]);
                    let request =
                        DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
                    let answer = wire.ask(&request, 2, patience).await.expect("an answer");
                    assert_eq!(answer.topics[0].partitions[0].low_watermark, 1);
                }
                // Long enough for the upload, and for lane and objects to be deleted.
                sleep(Duration::from_secs(60)).await;
                let lane = lane_prefix(life.broker().expect("it serves").lane.id());
                assert!(!s3.objects().keys().any(|key| key.starts_with(&lane)), "life {round}: {lane}");
                world.kill(&life);
                life = world.start();
                serving(&life).await;
                wire = world.connect_to(&life).expect("it serves");
            }
            let end = Consumer::new(&world, Reader::Tail(0)).latest(&mut wire).await.expect("an answer");
            assert_eq!(end, [(0, 1)]);
        });
    }
}

/// An object of history that is gone while the journal still names it is an error that the client is told, not silence.
#[test]
fn a_reader_is_told_that_history_is_gone() {
    s3stream::sim::run(async {
        let (s3, world, life) = one_partition(13).await;
        let mut wire = world.connect_to(&life).expect("it serves");
        prepare(&mut wire).await;
        let patience = Duration::from_secs(60);
        // Without a producer: the object has no checkpoint that the next start would miss.
        wire.ask(&produce(-1), 9, patience).await.expect("an answer");
        sleep(Duration::from_secs(5)).await;
        world.kill(&life);
        let life = world.start();
        serving(&life).await;
        let history: Vec<String> = s3.objects().into_keys().filter(|key| key.starts_with("data/")).collect();
        assert_eq!(history.len(), 1, "{history:?}");
        history.iter().for_each(|key| s3.remove(key));
        let mut wire = world.connect_to(&life).expect("it serves");
        let partition = FetchPartition::default().with_fetch_offset(0).with_partition_max_bytes(1 << 20);
        let name = TopicName(StrBytes::from_static_str(TOPIC));
        let topic = FetchTopic::default().with_topic(name).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(20_000)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = wire.ask(&request, 12, patience).await.expect("an answer");
        let told = ResponseError::try_from_code(answer.responses[0].partitions[0].error_code);
        assert_eq!(told, Some(ResponseError::KafkaStorageError));
    });
}

/// One place, one process after another, faster than any lease.
#[test]
fn refence_same_process() {
    scenario(5, Faults::rough(), async |rig, _| {
        for _ in 0..8 {
            rig.world.lives().iter().for_each(|life| rig.world.kill(life));
            rig.world.start();
            sleep(Duration::from_millis(5000)).await;
        }
    });
}

/// Two processes with one node id on one root, both alive: one seal decides, the other ends.
#[test]
fn same_id_two_processes() {
    scenario(6, Faults::none(), async |rig, _| {
        for _ in 0..4 {
            rig.world.start();
            rig.world.start();
            // One that is written to learns of its successor with its next object; one that is not, from the journal,
            // where a sole controller looks once a minute.
            sleep(Duration::from_secs(90)).await;
            assert_eq!(rig.world.lives().len(), 1, "one of all stays:\n{}", rig.world.notes());
        }
    });
}

/// The same fight where a rename and a flush decide.
#[test]
fn same_id_two_processes_on_a_directory() {
    let outcome = s3stream::sim::run(async {
        let rig = Rig::new(7, Root::Directory(SimVolume::new(7)));
        for _ in 0..4 {
            sleep(Duration::from_secs(2)).await;
            rig.world.start();
            rig.world.start();
        }
        rig.finish().await
    });
    assert_good(&outcome);
}

/// The judge is awake: a store that loses an object it has confirmed is found out.
#[test]
fn a_store_that_loses_an_object_is_found_out() {
    let outcome = s3stream::sim::run(async {
        let s3 = FakeS3::new(8, Faults::none());
        let rig = Rig::new(8, Root::S3(s3.clone()));
        sleep(Duration::from_secs(5)).await;
        let objects = s3.objects();
        let (key, _) =
            objects.iter().find(|(key, _)| key.starts_with("data/")).expect("an object of history");
        s3.remove(key);
        rig.world.lives().iter().for_each(|life| rig.world.kill(life));
        rig.finish().await
    });
    assert!(!outcome.violations.is_empty());
}
