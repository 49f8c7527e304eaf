//! What recovery takes.

use super::*;

/// `cargo test --release -p aquifer-s3stream a_thousand_streams -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "it is a measurement")]
async fn a_thousand_streams_in_a_thousand_objects() {
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    for stream in 0..1000 {
        c.create(stream, l);
    }
    for number in 0..1000 {
        for stream in 0..1000 {
            c.append(l, stream, number, number + 1);
        }
        c.cut(l);
    }
    let begun = std::time::Instant::now();
    c.fence(l, m);
    println!("sealed and adopted in {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    let (recovered, _) = c.recover().await.unwrap();
    let streams = recovered.whole().unwrap();
    let memory: usize = streams.values().map(|stream| stream.index.memory()).sum();
    println!(
        "recovered {} streams, 1,000,000 blocks in {:?}, {memory} bytes",
        streams.len(),
        begun.elapsed()
    );
    assert!(streams.values().all(|stream| stream.index.end() == 1000));
}

/// 1 GiB of one dead lane in a directory: 128 objects of 8 MiB, of 16 streams.
#[tokio::test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "it is a measurement")]
async fn a_gibibyte_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut c = Cluster::new();
    let (l, m) = (c.join(), c.join());
    let store = crate::store::DirectoryStore::open(directory.path(), &c.env).unwrap();
    for stream in 0..16 {
        c.create(stream, l);
    }
    let lane = c.lane(l);
    for number in 0..128 {
        let body = |stream: u64| (stream, 0, number, number + 1, vec![number as u8; 512 << 10]);
        let mut writer = Writer { number, appends: (0..16).map(body).collect(), ..Writer::default() };
        let object = object_of(lane, &mut writer);
        let put = store.put_new(&lane_key(lane, LaneNumber(number)), object.put_payload(), PATIENCE).await;
        assert!(matches!(put, PutNew::Created), "{put:?}");
    }
    let begun = std::time::Instant::now();
    let sealed = seal(&store, &c.env, lane, LaneNumber(0), 1, b"").await.unwrap();
    println!("sealed in {:?}", begun.elapsed());
    let (length, seal_nonce) = (sealed.length, sealed.seal_nonce);
    let (from, heir) = (Incarnation { seq: l, index: 0 }, Some(Incarnation { seq: m, index: 0 }));
    c.apply(0, StorageRecord::LaneFenced { incarnation: from, length, seal_nonce, heir });
    c.apply(0, StorageRecord::StreamsAdopted { from, to: heir });
    let plan = c.catalog.recovery((0..16).map(StreamId));
    let (stores, lanes) = (Stores::new().with(StoreId(0), Arc::new(store)), Arc::new(LaneTable::new()));
    let begun = std::time::Instant::now();
    let recovered = recover(&c.env, &stores, &lanes, &c.budget, &plan).await.unwrap().whole().unwrap();
    println!("recovered in {:?}", begun.elapsed());
    assert!(recovered.values().all(|stream| stream.index.end() == 128));
    let reader =
        Reader::new(c.env.clone(), stores, lanes, TailCache::new(&c.budget), &c.budget, Arc::default());
    let begun = std::time::Instant::now();
    let mut bytes = 0;
    for stream in recovered.values() {
        for block in stream.index.blocks() {
            bytes += reader.load(&[block]).await.unwrap()[0].len();
        }
    }
    println!("read {bytes} bytes block by block in {:?}", begun.elapsed());
}
