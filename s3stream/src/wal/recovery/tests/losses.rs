//! What cannot be read, or is not there: which streams it blocks, and what `verify` writes down.

use super::*;

/// SAFETY F19: exactly the streams that the neighbours do not prove whole are blocked, until the loss is accepted by name.
#[tokio::test]
async fn an_unreadable_object_blocks_what_it_may_have_held() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    for stream in 0..6 {
        c.create(stream, l);
    }
    // 0: whole across the gap. 1: a part was in it. 2: its last records were, or not. 3: begins after it, at 0.
    // 4: never wrote. 5: sealed and moved away where it had ended before.
    for stream in [0, 1, 2, 5] {
        c.append(l, stream, 0, 10);
    }
    c.cut(l);
    c.move_stream(5, 10, 2, m);
    c.append(l, 1, 10, 20);
    let bad = c.cut(l);
    c.append(l, 0, 10, 20);
    c.append(l, 1, 20, 30);
    c.append(l, 3, 0, 10);
    c.cut(l);
    c.damage(l, bad);
    let third = c.join();
    c.fence(l, third);
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(blocked(&recovered), [(1, 1), (2, 1), (4, 1)]);
    assert_eq!(recovered.streams.keys().map(|stream| stream.0).collect::<Vec<u64>>(), [0, 3, 5]);
    assert!(!recovered.any_missing());
    let message = recovered.whole().unwrap_err().to_string();
    let key = lane_key(c.lane(l), LaneNumber(bad));
    assert!(message.contains(&key) && message.contains("blocks streams 1, 2, 4"), "{message}");
    // Accepted by name: what is left is opened, and what was lost is a gap, never reused.
    let incarnation = Incarnation { seq: l, index: 0 };
    c.apply(third, StorageRecord::LossAccepted { incarnation, number: LaneNumber(bad) });
    let read = c.read().await;
    assert_eq!(read[&1].1, "1/0:0-10;1/0:20-30;");
    assert_eq!(read[&1].0.lookup(15, 1).unwrap()[0].base, 20);
    assert_eq!((read[&1].0.end(), read[&2].0.end(), read[&4].0.end()), (30, 10, 0));
    // Uploaded up to the gap, which is below the trim now: it is excused still.
    let part = |stream| ObjectPart {
        stream: StreamId(stream),
        epoch: StreamEpoch(0),
        start: 0,
        end: 10,
        bytes: 8,
        max_timestamp: 0,
        checkpoint: false,
    };
    let id = ObjectId { incarnation: Incarnation { seq: third, index: 0 }, counter: 0 };
    let object = NewObject { id, store: StoreId(0), len: 24 };
    let (from, trim) = (LaneNumber(0), LaneNumber(bad + 1));
    let parts = [0, 1, 2].map(part).to_vec();
    c.apply(third, StorageRecord::LaneUploaded { incarnation, from, trim, object, parts });
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(blocked(&recovered), []);
    assert_eq!(recovered.streams[&StreamId(1)].index.end(), 30);
}

#[tokio::test]
async fn a_missing_object_blocks_and_says_that_it_is_missing() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    for number in 0..3 {
        c.append(l, 0, number * 10, number * 10 + 10);
        c.cut(l);
    }
    c.fence(l, m);
    c.store(l).delete(&lane_key(c.lane(l), LaneNumber(1))).await.unwrap();
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(blocked(&recovered), [(0, 1)]);
    assert!(recovered.any_missing());
}

#[tokio::test]
async fn a_hole_that_nothing_explains_blocks_its_stream_alone() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.create(1, l);
    c.append(l, 0, 0, 10);
    c.append(l, 1, 0, 10);
    c.cut(l);
    c.append(l, 0, 11, 20); // a hole
    c.append(l, 1, 10, 20);
    c.cut(l);
    c.fence(l, m);
    let (recovered, _) = c.recover().await.unwrap();
    let [Blocked::Contradiction { key, what }] = &recovered.blocked[&StreamId(0)][..] else {
        panic!("{recovered:?}")
    };
    assert!(what.contains("goes on at 11, it had ended at 10"), "{what}");
    assert_eq!(key, &lane_key(c.lane(l), LaneNumber(1)));
    assert_eq!(recovered.streams[&StreamId(1)].index.end(), 20);
    // A sealed epoch that does not reach its end, and two epochs that hold the same offset.
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.create(1, l);
    c.append(l, 0, 0, 10);
    c.append(l, 1, 0, 10);
    c.cut(l);
    c.move_stream(0, 20, 1, m);
    c.fence(l, m);
    c.append(m, 1, 5, 15);
    c.cut(m);
    let third = c.join();
    c.fence(m, third);
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(blocked(&recovered), [(0, 1), (1, 1)]);
}

/// SAFETY F3: who opens by way of a fence reads that seal first.
#[tokio::test]
async fn nothing_is_opened_without_the_seal_that_the_journal_names() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.cut(l);
    c.fence(l, m);
    let key = lane_key(c.lane(l), LaneNumber(1));
    let seal = c.store(l).get(&key).await.unwrap().unwrap();
    c.store(l).delete(&key).await.unwrap();
    let error = c.recover().await.unwrap_err();
    assert!(matches!(&error, RecoverError::NotTheSeal { found, .. } if found == "nothing"), "{error}");
    // Another seal, or the owner's own object in its place.
    let other = ObjectBuilder::new(
        ObjectHeader::new(ObjectKind::Seal, c.lane(l), 1, Nonce(99)),
        ChunkPool::new(0),
        0,
        0,
    )
    .finish();
    c.store(l).overwrite(&key, bytes_of(&other));
    assert!(matches!(c.recover().await, Err(RecoverError::NotTheSeal { .. })));
    c.append(l, 0, 10, 20);
    c.store(l).delete(&key).await.unwrap();
    c.cut(l);
    assert!(matches!(c.recover().await, Err(RecoverError::NotTheSeal { .. })));
    c.store(l).overwrite(&key, seal);
    assert_eq!(c.read().await[&0].0.end(), 10);
}

#[tokio::test]
async fn verify_reads_everything_and_writes_down_what_is_wrong() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    for number in 0..5 {
        c.append(l, 0, number * 10, number * 10 + 10);
        c.attach(l, 0, number * 10, b"x");
        c.cut(l);
    }
    async fn verify(c: &Cluster, l: u64, below: Option<u64>) -> LaneReport {
        let mut told = 0;
        let report =
            verify_lane(&c.env, c.store(l), c.lane(l), LaneNumber(0), below.map(LaneNumber), |_| told += 1);
        let report = report.await.unwrap();
        assert!(told >= report.objects);
        report
    }
    let report = verify(&c, l, None).await;
    assert_eq!((report.objects, report.blocks, report.end), (5, 10, (LaneNumber(5), LaneEndFound::Nothing)));
    c.fence(l, m);
    let report = verify(&c, l, None).await;
    assert!(report.is_clean() && matches!(report.end, (LaneNumber(5), LaneEndFound::Seal(_))), "{report:?}");
    assert_eq!(report.streams[&StreamId(0)], (StreamEpoch(0), 50));
    assert!(verify(&c, l, Some(5)).await.is_clean());
    // A flipped bit in a block, a missing object, another lane's object, a hole.
    let key = |c: &Cluster, number| lane_key(c.lane(l), LaneNumber(number));
    let mut bytes = c.store(l).get(&key(&c, 1)).await.unwrap().unwrap().to_vec();
    bytes[crate::object::format::HEADER_LEN] ^= 1;
    c.store(l).overwrite(&key(&c, 1), bytes.into());
    c.store(l).delete(&key(&c, 2)).await.unwrap();
    let mut foreign = Writer { number: 3, ..Writer::default() };
    let foreign = object_of(c.lane(m), &mut foreign);
    c.store(l).overwrite(&key(&c, 3), bytes_of(&foreign));
    let mut hole = Writer {
        number: 4,
        appends: vec![(0, 0, 40, 50, vec![1]), (1, 0, 0, 1, vec![1])],
        ..Writer::default()
    };
    hole.appends[0].2 = 41;
    c.store(l).overwrite(&key(&c, 4), bytes_of(&object_of(c.lane(l), &mut hole)));
    let report = verify(&c, l, Some(6)).await;
    let problems: Vec<&str> = report.problems.iter().map(|problem| problem.what.as_str()).collect();
    let expected = ["CRC of the block", "Nothing below", "object 3 of lane", "Seal("];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem} / {expected}");
    }
    let honest_until_hole = verify(&c, l, None).await;
    assert_eq!(honest_until_hole.end, (LaneNumber(2), LaneEndFound::Nothing));
}
