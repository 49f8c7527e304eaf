//! Which records count, and in which order: epochs, what the image gives, what was uploaded, log starts.

use super::*;

/// SAFETY F9, seed leader-dies-twice-before-upload.
#[tokio::test]
async fn leader_dies_twice_before_upload() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join_in(1)); // the second lane lies in the other store
    c.create(0, l);
    c.append(l, 0, 0, 30);
    c.cut(l);
    c.append(l, 0, 30, 50);
    c.cut(l);
    c.fence(l, m);
    let read = c.read().await;
    assert_eq!((read[&0].0.end(), read[&0].1.as_str()), (50, "0/0:0-30;0/0:30-50;"));
    c.append(m, 0, 50, 150);
    c.cut(m);
    let third = c.join();
    c.fence(m, third);
    let read = c.read().await;
    assert_eq!(read[&0].1, "0/0:0-30;0/0:30-50;0/1:50-150;");
    assert_eq!((epochs(&read[&0].0), read[&0].0.end()), (vec![(0, 0), (1, 50)], 150));
    // The third dies with nothing written, before it uploaded either: its epoch has an end, too.
    let fourth = c.join();
    c.fence(third, fourth);
    let read = c.read().await;
    assert_eq!(read[&0].0.end_offset_for_epoch(StreamEpoch(0)), Some((StreamEpoch(0), 50)));
    assert_eq!(read[&0].0.end(), 150);
}

/// SAFETY F4, seed move-with-stuck-put: what a former owner's lane holds at or above the end it stated is void, wherever it
/// landed.
#[tokio::test]
async fn records_count_only_inside_what_the_image_gives() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.create(1, l);
    c.append(l, 0, 0, 10);
    c.append(l, 1, 0, 10);
    c.cut(l);
    c.append_in(l, 0, 0, 10, 20); // stuck when the stream was sealed at 10, landed later
    c.append(l, 1, 10, 20);
    c.move_stream(0, 10, 1, m);
    c.cut(l);
    c.append(m, 0, 10, 15);
    c.cut(m);
    // The lane of l goes on: only what stream 0 needs of it is read.
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(recovered.streams[&StreamId(0)].index.end(), 10);
    assert!(recovered.streams[&StreamId(1)].index.is_empty(), "its owner has it in memory");
    c.fence(m, l);
    let third = c.join();
    c.fence(l, third);
    let read = c.read().await;
    assert_eq!(read[&0].1, "0/0:0-10;0/1:10-15;");
    assert_eq!(read[&1].1, "1/0:0-10;1/0:10-20;");
    // An end inside a block: the block ends there, its bytes go on.
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.append(l, 0, 10, 20);
    c.cut(l);
    c.move_stream(0, 10, 1, m);
    c.append(m, 0, 10, 12);
    c.cut(m);
    c.fence(m, l);
    let (recovered, _) = c.recover().await.unwrap();
    let blocks: Vec<(u64, u64)> =
        recovered.streams[&StreamId(0)].index.blocks().map(|b| (b.base, b.end)).collect();
    assert_eq!(blocks, [(0, 10), (10, 12)]);
}

#[tokio::test]
async fn a_stream_that_went_and_came_back_is_in_epoch_order() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.attach(l, 0, 3, b"a");
    c.cut(l);
    c.move_stream(0, 10, 1, m);
    c.append(m, 0, 10, 20);
    c.attach(m, 0, 13, b"b");
    c.cut(m);
    c.move_stream(0, 20, 1, l);
    c.append(l, 0, 20, 30);
    c.attach(l, 0, 23, b"c");
    c.cut(l);
    let third = c.join();
    c.fence(l, third);
    c.fence(m, third);
    let (recovered, _) = c.recover().await.unwrap();
    let stream = &recovered.streams[&StreamId(0)];
    assert_eq!(epochs(&stream.index), [(0, 0), (1, 10), (2, 20)]);
    let attached: Vec<(u64, &[u8])> = stream.attachments.iter().map(|a| (a.offset, &a.bytes[..])).collect();
    assert_eq!(attached, [(3, &b"a"[..]), (13, b"b"), (23, b"c")]);
    assert_eq!(c.read().await[&0].1, "0/0:0-10;0/1:10-20;0/2:20-30;");
}

/// An upload of several objects trims with the last: a process that ends in between leaves in its lane what the checkpoint
/// has already. Replayed again it would take the place of older batches, and their retries would not be known.
#[tokio::test]
async fn what_was_uploaded_is_not_replayed_again_though_the_lane_was_not_trimmed() {
    let mut c = Cluster::new();
    let l = c.join();
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.attach(l, 0, 3, b"a");
    c.attach(l, 0, 7, b"b");
    c.cut(l);
    c.append(l, 0, 10, 20);
    c.attach(l, 0, 13, b"c");
    c.cut(l);
    let incarnation = Incarnation { seq: l, index: 0 };
    let (stream, epoch) = (StreamId(0), StreamEpoch(0));
    let (start, end, bytes, max_timestamp) = (0, 10, 8, -1);
    let parts = vec![ObjectPart { stream, epoch, start, end, bytes, max_timestamp, checkpoint: true }];
    let object = NewObject { id: ObjectId { incarnation, counter: 0 }, store: StoreId(0), len: 100 };
    let (from, trim) = (LaneNumber(0), LaneNumber(0));
    c.apply(l, StorageRecord::LaneUploaded { incarnation, from, trim, object, parts });
    let m = c.join();
    c.fence(l, m);
    let (recovered, _) = c.recover().await.unwrap();
    let recovered = &recovered.streams[&stream];
    let attached: Vec<u64> = recovered.attachments.iter().map(|attachment| attachment.offset).collect();
    let blocks: Vec<u64> = recovered.index.blocks().map(|block| block.base).collect();
    assert_eq!((attached, blocks), (vec![13], vec![10]));
}

#[tokio::test]
async fn what_is_below_the_log_start_is_neither_read_nor_missed() {
    let mut c = Cluster::new();
    let l = c.join();
    c.create(0, l);
    for number in 0..4 {
        c.append(l, 0, number * 10, number * 10 + 10);
        c.attach(l, 0, number * 10 + 5, b"x");
        c.cut(l);
    }
    c.trim(0, 25);
    // Objects 0 and 1 hold nothing that counts: trimmed and deleted.
    let incarnation = Incarnation { seq: l, index: 0 };
    c.apply(l, StorageRecord::LaneTrimmed { incarnation, trim: LaneNumber(2) });
    for number in 0..2 {
        c.store(l).delete(&lane_key(c.lane(l), LaneNumber(number))).await.unwrap();
    }
    let m = c.join();
    c.fence(l, m);
    let read = c.read().await;
    assert_eq!(read[&0].1, "0/0:20-30;0/0:30-40;");
    assert_eq!((read[&0].0.start(), read[&0].0.end()), (25, 40));
    let (recovered, _) = c.recover().await.unwrap();
    let attached = recovered.streams[&StreamId(0)].attachments.iter().map(|a| a.offset);
    assert_eq!(attached.collect::<Vec<u64>>(), [25, 35]);
    // Nothing is left above the log start: the next epoch begins there.
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    c.append(l, 0, 0, 10);
    c.attach(l, 0, 3, b"a dead record's");
    c.cut(l);
    c.trim(0, 10);
    c.fence(l, m);
    assert_eq!(c.read().await[&0].0.end(), 10);
    // Its state is still needed (SAFETY F15).
    let (recovered, _) = c.recover().await.unwrap();
    assert_eq!(recovered.streams[&StreamId(0)].attachments[0].offset, 3);
}
