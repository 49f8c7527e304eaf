//! How recovery reads: long indexes, stores that do not answer, what a real lane left.

use super::*;

#[tokio::test]
async fn long_indexes_and_far_attachments_are_read_too() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    // 2,000 blocks: an index of 106 KB.
    for stream in 0..2000 {
        c.create(stream, l);
        c.append(l, stream, 0, 10);
        c.attach(l, stream, 3, b"first");
        c.attach(l, stream, 7, b"second");
    }
    c.cut(l);
    // One stream with 300 KB of attachments: they begin far before the tail.
    for at in 0..1000 {
        c.append(l, 0, 10 + at, 11 + at);
        c.attach(l, 0, 10 + at, &[at as u8; 300]);
    }
    c.cut(l);
    c.fence(l, m);
    let (recovered, _) = c.recover().await.unwrap();
    let streams = recovered.whole().unwrap();
    assert_eq!(streams.len(), 2000);
    for (stream, recovered) in &streams {
        let first: Vec<(u64, &[u8])> =
            recovered.attachments[..2].iter().map(|a| (a.offset, &a.bytes[..])).collect();
        assert_eq!(first, [(3, &b"first"[..]), (7, b"second")], "{stream}");
    }
    let far = &streams[&StreamId(0)].attachments;
    assert_eq!((far.len(), far[1001].offset, &far[1001].bytes[..]), (1002, 1009, &[231_u8; 300][..]));
}

/// What the sinks of a real lane were told is what recovery finds.
#[tokio::test(start_paused = true)]
async fn recovery_finds_what_the_lane_told_its_sinks() {
    #[derive(Default)]
    struct Told(Mutex<Vec<BlockRef>>);
    impl StreamSink for Told {
        fn durable(&self, _: LaneNumber, blocks: &[BlockRef]) {
            self.0.lock().extend_from_slice(blocks);
        }
    }
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    let lanes = Arc::new(LaneTable::new());
    let lane_ref = lanes.intern(StoreId(0), c.lane(l));
    let tail = TailCache::new(&c.budget);
    let config = LaneConfig::for_store(c.stores[0].traits(), &c.budget);
    let lane = Lane::start(Arc::new(c.stores[0].clone()), &c.env, c.lane(l), lane_ref, config, tail.clone());
    let sinks: Vec<Arc<Told>> = (0..20).map(|_| Arc::default()).collect();
    let mut ends = [0; 20];
    let mut last = LaneNumber(0);
    for stream in 0..20 {
        c.create(stream, l);
    }
    for round in 0..200 {
        let stream = c.env.entropy.u64() % 20;
        let base = ends[stream as usize];
        let count = 1 + (c.env.entropy.u64() % 50) as u32;
        ends[stream as usize] += u64::from(count);
        let attachment = (round % 7 == 0).then(|| Attachment::new(&base.to_be_bytes()).unwrap());
        last = lane
            .push(Append {
                stream: StreamId(stream),
                epoch: StreamEpoch(0),
                base,
                count,
                max_timestamp: round,
                prefix: Prefix::new(&[round as u8; 12]).unwrap(),
                body: vec![round as u8; 100 + (c.env.entropy.u64() % 300_000) as usize].into(),
                attachment,
                sink: sinks[stream as usize].clone(),
                charge: None,
            })
            .unwrap();
        if round % 10 == 0 {
            lane.wait_durable(last).await.unwrap();
        }
    }
    lane.wait_durable(last).await.unwrap();
    assert!(lane.durable_below().0 > 10);
    c.env.tasks.kill();
    c.env = Env::seeded(8);
    c.fence(l, m);
    let plan = c.catalog.recovery((0..20).map(StreamId));
    let recovered = recover(&c.env, &c.stores(), &lanes, &c.budget, &plan).await.unwrap().whole().unwrap();
    let reader = Reader::new(c.env.clone(), c.stores(), lanes, tail, &c.budget, Arc::default());
    for stream in 0..20 {
        let told = sinks[stream as usize].0.lock().clone();
        let index = &recovered[&StreamId(stream)].index;
        assert_eq!(index.blocks().collect::<Vec<BlockRef>>(), told, "stream {stream}");
        assert_eq!(index.end(), ends[stream as usize]);
        reader.load(&told).await.unwrap();
        let attachments = &recovered[&StreamId(stream)].attachments;
        assert!(attachments.iter().all(|a| *a.bytes == a.offset.to_be_bytes()));
    }
    let attachments: usize = recovered.values().map(|stream| stream.attachments.len()).sum();
    assert_eq!(attachments, 200_usize.div_ceil(7));
}

#[tokio::test(start_paused = true)]
async fn transient_faults_are_waited_out_and_garbled_answers_asked_for_again() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    c.create(0, l);
    for number in 0..10 {
        c.append(l, 0, number * 10, number * 10 + 10);
        c.cut(l);
    }
    c.fence(l, m);
    let slow = Arc::new(SlowStore { memory: c.stores[0].clone(), ..SlowStore::default() });
    let stores = Stores::new().with(StoreId(0), slow.clone());
    let mut plan = c.catalog.recovery([StreamId(0)]);
    // Once with the faults in the way of the seal, once in the way of the objects.
    for _ in 0..2 {
        slow.fail.store(8, std::sync::atomic::Ordering::SeqCst);
        slow.garble.store(1, std::sync::atomic::Ordering::SeqCst);
        let recovered = recover(&c.env, &stores, &LaneTable::new(), &c.budget, &plan).await.unwrap();
        assert_eq!(recovered.whole().unwrap()[&StreamId(0)].index.end(), 100);
        plan.lanes[0].seal_nonce = None;
    }
    let elsewhere = Stores::new().with(StoreId(1), Arc::new(MemoryStore::new()));
    let error = recover(&c.env, &elsewhere, &LaneTable::new(), &c.budget, &plan).await.unwrap_err();
    assert!(matches!(error, RecoverError::UnknownStore { .. }), "{error}");
}
