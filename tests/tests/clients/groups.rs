//! Classic consumer groups: assignment, a member that leaves, committed offsets.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::support::{PATIENCE, Record, config, deliver, take, to_read, topic, unique, until};

const PARTITIONS: i32 = 4;

fn member(group: &str, topic: &str) -> BaseConsumer {
    let consumer: BaseConsumer =
        config(&[("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")])
            .set("group.id", group)
            .create()
            .expect("valid settings");
    consumer.subscribe(&[topic]).expect("subscribe");
    consumer
}

fn assignment(consumer: &BaseConsumer) -> BTreeSet<i32> {
    consumer.assignment().expect("assignment").elements().iter().map(|e| e.partition()).collect()
}

/// `PARTITIONS` × `each` records; values are `<partition> <i>`.
fn fill(topic: &str, each: i32) -> Vec<String> {
    let mut values = Vec::new();
    let records: Vec<Record> = (0..PARTITIONS * each)
        .map(|i| {
            let value = format!("{} {}", i % PARTITIONS, i / PARTITIONS);
            values.push(value.clone());
            Record { partition: i % PARTITIONS, ..Record::value(value) }
        })
        .collect();
    deliver(topic, &[], &records);
    values.sort();
    values
}

/// Polls, keeps what comes.
fn poll_into(consumer: &BaseConsumer, values: &mut Vec<String>) {
    if let Some(message) = consumer.poll(Duration::from_millis(20)) {
        let read = to_read(&message.expect("consume"));
        values.push(String::from_utf8(read.record.value.unwrap()).unwrap());
    }
}

#[test]
fn two_members_share_the_partitions_and_the_one_that_stays_gets_all() {
    let topic = topic("group-of-two", PARTITIONS, &[]);
    let group = unique("group-of-two");
    let (first, second) = (member(&group, &topic), member(&group, &topic));

    let all: BTreeSet<i32> = (0..PARTITIONS).collect();
    let mut got = Vec::new();
    until("two partitions each", || {
        poll_into(&first, &mut got);
        poll_into(&second, &mut got);
        let (a, b) = (assignment(&first), assignment(&second));
        (a.len() == 2 && b.len() == 2 && &a | &b == all).then_some(())
    });
    assert!(got.is_empty());

    let sent = fill(&topic, 25);
    until("every record once, over both members", || {
        poll_into(&first, &mut got);
        poll_into(&second, &mut got);
        (got.len() >= sent.len()).then_some(())
    });
    got.sort();
    assert_eq!(got, sent);
    for consumer in [&first, &second] {
        consumer.commit_consumer_state(CommitMode::Sync).expect("commit");
    }

    // Leaving is immediate (LeaveGroup), not a session that times out.
    drop(second);
    got.clear();
    until("all partitions with the first member", || {
        poll_into(&first, &mut got);
        (assignment(&first) == all).then_some(())
    });
    assert!(got.is_empty(), "committed records came again: {got:?}");
    let sent = fill(&topic, 10);
    until("every record with the first member", || {
        poll_into(&first, &mut got);
        (got.len() >= sent.len()).then_some(())
    });
    got.sort();
    assert_eq!(got, sent);
}

#[test]
fn a_group_resumes_where_it_committed() {
    let topic = topic("resume", 1, &[]);
    let group = unique("resume");
    let records: Vec<Record> = (0..100).map(|i| Record::value(format!("{i}"))).collect();
    deliver(&topic, &[], &records);

    let before = member(&group, &topic);
    assert_eq!(take(&before, 60).last().unwrap().offset, 59);
    let mut position = TopicPartitionList::new();
    position.add_partition_offset(&topic, 0, Offset::Offset(60)).unwrap();
    before.commit(&position, CommitMode::Sync).expect("commit");
    drop(before);

    let after = member(&group, &topic);
    let rest = take(&after, 40);
    assert_eq!(rest.iter().map(|r| r.offset).collect::<Vec<_>>(), (60..100).collect::<Vec<_>>());
}

#[test]
fn committed_offsets_come_back_with_their_metadata_and_absent_ones_as_none() {
    let topic = topic("committed", 2, &[]);
    let group = unique("committed");
    let consumer: BaseConsumer =
        config(&[("enable.auto.commit", "false")]).set("group.id", &group).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&topic, 0, Offset::Offset(17)).unwrap();
    offsets.set_partition_offset(&topic, 0, Offset::Offset(17)).unwrap();
    // A commit without membership: a simple consumer, generation -1.
    consumer.commit(&offsets, CommitMode::Sync).expect("commit");

    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(&topic, 0, 1);
    let found = consumer.committed_offsets(asked, PATIENCE).expect("committed offsets");
    assert_eq!(found.find_partition(&topic, 0).unwrap().offset(), Offset::Offset(17));
    assert_eq!(found.find_partition(&topic, 1).unwrap().offset(), Offset::Invalid);
}

#[test]
fn groups_do_not_see_each_others_offsets() {
    let topic = topic("two-groups", 1, &[]);
    let records: Vec<Record> = (0..10).map(|i| Record::value(format!("{i}"))).collect();
    deliver(&topic, &[], &records);
    let one = member(&unique("one"), &topic);
    assert_eq!(take(&one, 10).len(), 10);
    one.commit_consumer_state(CommitMode::Sync).expect("commit");
    let other = member(&unique("other"), &topic);
    assert_eq!(take(&other, 10)[0].offset, 0);
}
