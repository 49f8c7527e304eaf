//! An idempotent producer: numbered records over several partitions, exactly once and in order.
//!
//! Duplicates of lost answers are `kill_loop`'s subject; here the broker must accept what librdkafka sends with five
//! requests in flight per connection, from several producers at once.

use super::support::{Record, deliver, read_all, topic};

const PARTITIONS: i32 = 4;

#[test]
fn an_idempotent_producer_with_many_batches_in_flight_writes_once_and_in_order() {
    let topic = topic("idempotent", PARTITIONS, &[]);
    let records: Vec<Record> =
        (0..20_000).map(|i| Record { partition: i % PARTITIONS, ..Record::value(format!("{i}")) }).collect();
    // Small batches, so that sequences go through many requests.
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "20"), ("linger.ms", "0")];
    let offsets = deliver(&topic, &settings, &records);
    for partition in 0..PARTITIONS {
        let sent: Vec<(i64, &Record)> =
            offsets.iter().copied().zip(&records).filter(|(_, r)| r.partition == partition).collect();
        let read = read_all(&topic, partition);
        assert_eq!(read.len(), sent.len());
        for (read, (offset, sent)) in read.iter().zip(sent) {
            assert_eq!((read.offset, &read.record.value), (offset, &sent.value));
        }
    }
}

#[test]
fn idempotent_producers_on_one_partition_do_not_disturb_each_other() {
    let topic = topic("idempotent-many", 1, &[]);
    std::thread::scope(|scope| {
        for producer in 0..4 {
            let topic = &topic;
            scope.spawn(move || {
                let records: Vec<Record> =
                    (0..2000).map(|i| Record::value(format!("{producer} {i}"))).collect();
                deliver(topic, &[("enable.idempotence", "true"), ("batch.num.messages", "10")], &records);
            });
        }
    });
    let read = read_all(&topic, 0);
    assert_eq!(read.len(), 8000);
    for producer in 0..4 {
        let prefix = format!("{producer} ");
        let mine: Vec<String> = read
            .iter()
            .map(|r| String::from_utf8(r.record.value.clone().unwrap()).unwrap())
            .filter(|value| value.starts_with(&prefix))
            .collect();
        let expected: Vec<String> = (0..2000).map(|i| format!("{producer} {i}")).collect();
        assert!(mine == expected, "producer {producer}'s records are not once and in order");
    }
}
