//! A fetch that waits for more than there is: what it has it has once, however often it looks, and others are answered meanwhile.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::batch_builder::BatchBuilder;

use super::survives::{Client, name};

const MIB: i32 = 1 << 20;
/// What one waits for: more than is in partition 0.
const MIN_BYTES: i32 = 1_000_000;
/// Of a record of partition 0; there is one at first.
const THERE: usize = 900_000;

fn record(bytes: usize) -> Bytes {
    BatchBuilder::new().append(1_000, None, Some(&vec![b'x'; bytes]), &[]).build()
}

/// Bytes that a fetch of both partitions from their beginnings brings, by partition.
fn fetch(client: &Client, min_bytes: i32, max_wait: Duration) -> Vec<usize> {
    let partition = |index| {
        FetchPartition::default().with_partition(index).with_fetch_offset(0).with_partition_max_bytes(8 * MIB)
    };
    let topic = FetchTopic::default().with_topic(name()).with_partitions(vec![partition(0), partition(1)]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(max_wait.as_millis() as i32)
        .with_min_bytes(min_bytes)
        .with_max_bytes(8 * MIB)
        .with_topics(vec![topic]);
    let answer = client.ask(&request, 11);
    let partitions = answer.responses[0].partitions.iter();
    partitions
        .map(|partition| {
            assert_eq!(partition.error_code, 0);
            partition.records.as_ref().map_or(0, Bytes::len)
        })
        .collect()
}

/// Room for the answers of all is 12 MiB. One look of this fetch takes nearly one of it, and it looks a hundred times.
#[test]
fn who_waits_for_more_takes_no_more_room_with_every_look() {
    let settings = ["memory.budget.bytes=134217728".to_owned()];
    let broker = tests::server::own("waits", &settings);
    let client = Client(broker.addr().to_string());
    client.create(2);
    assert_eq!(client.produce(0, record(THERE)).0, 0);
    let begun = Instant::now();
    let waiting = std::thread::spawn({
        let client = Client(client.0.clone());
        move || fetch(&client, MIN_BYTES, Duration::from_secs(60))
    });
    for _ in 0..100 {
        assert_eq!(client.produce(1, record(1)).0, 0);
        std::thread::sleep(Duration::from_millis(15));
    }
    assert!(!waiting.is_finished(), "there is less than it waits for");
    let others = Instant::now();
    for _ in 0..20 {
        let [large, small] = fetch(&client, 1, Duration::from_secs(60))[..] else { panic!("two partitions") };
        assert!(large > THERE && small > 100, "{large} {small}");
    }
    assert!(others.elapsed() < Duration::from_secs(20), "{:?}", others.elapsed());
    // One more record, and it has enough: all that is there, what it held for a while with it.
    assert_eq!(client.produce(1, record(MIN_BYTES as usize)).0, 0);
    let [large, small] = waiting.join().unwrap()[..] else { panic!("two partitions") };
    assert!(large > THERE && small > MIN_BYTES as usize, "{large} {small}");
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
}

/// Who gives up waiting gets what there is.
#[test]
fn what_there_is_is_answered_when_time_is_up() {
    let broker = tests::server::own("waits-for-time", &[]);
    let client = Client(broker.addr().to_string());
    client.create(2);
    assert_eq!(client.produce(0, record(THERE)).0, 0);
    let begun = Instant::now();
    let answer = fetch(&client, MIN_BYTES, Duration::from_millis(700));
    assert!(answer[0] > THERE && answer[1] == 0, "{answer:?}");
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
}
