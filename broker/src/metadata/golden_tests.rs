//! A journal of feature level 1 as its release wrote it: two lives of a broker, topics with configuration and with assigned
//! replicas, one that was deleted, an idempotent producer. It replays for ever; the files stay as they are (DESIGN §3).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use s3stream::env::Env;
use s3stream::ids::{StoreId, commit_key, snapshot_key};
use s3stream::journal::commit::Commit;
use s3stream::journal::state::Folded;
use s3stream::journal::{Journal, JournalConfig, JournalImage, Stop};
use s3stream::store::{MemoryStore, PutNew, PutPayload, Store};

use super::*;
use crate::controller::registration::{Joiner, SealedPredecessor, level_to_raise_to, register};

type Cluster = JournalImage<MetadataImage>;

const COMMITS: u64 = 8;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/metadata/golden").join(name)
}

fn read(name: &str) -> Bytes {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).into()
}

fn replay() -> Cluster {
    let mut image = Cluster::decode(read("level1-0.chunk")).expect("the empty image of level 1");
    for seq in 1..=COMMITS {
        let bytes = read(&format!("level1-{seq}.commit"));
        let (commit, chain) = Commit::decode(bytes.clone()).expect("a commit");
        assert_eq!(commit.encode().0, bytes, "written as it was");
        match image.fold(&commit, chain, bytes.len()).expect("continues") {
            Folded::Next(next) => image = next,
            Folded::Void(_, why) => panic!("commit {seq} is void: {why}"),
        }
    }
    image
}

/// The bucket of that journal.
async fn bucket() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let mut objects = vec![
        (snapshot_key(0, "000000"), read("level1-0.chunk")),
        (snapshot_key(0, "manifest"), read("level1-0.manifest")),
    ];
    objects.extend((1..=COMMITS).map(|seq| (commit_key(seq), read(&format!("level1-{seq}.commit")))));
    for (key, body) in objects {
        let put = store.put_new(&key, PutPayload::from_bytes(body), Duration::from_secs(1)).await;
        assert!(matches!(put, PutNew::Created), "{key}");
    }
    store
}

async fn open(store: &Arc<MemoryStore>, seed: u64, level: u16) -> Result<Journal<MetadataImage>, Stop> {
    let config = JournalConfig { level_max: level, genesis_level: level, ..JournalConfig::default() };
    Journal::open(store.clone(), Env::seeded(seed), config, MetadataImage::default()).await
}

async fn join(journal: &Journal<MetadataImage>) {
    let image = journal.image();
    let joiner = Joiner {
        nonce: journal.nonce(),
        node_id: 0,
        endpoints: Vec::new(),
        peer_address: String::new(),
        rack: None,
        stores: vec![(StoreId(0), image.inner.catalog.store_url(StoreId(0)).unwrap_or("memory://").into())],
    };
    let sealed = |(incarnation, _)| SealedPredecessor {
        incarnation,
        length: Default::default(),
        seal_nonce: s3stream::ids::Nonce(1),
    };
    let before: Vec<_> = image.inner.live_brokers().map(sealed).collect();
    journal.elect_now(register(&image.inner, image.level, &joiner, &before)).await.expect("elected");
}

fn quota(value: Option<f64>) -> MetadataRecord {
    MetadataRecord::ClientQuotaSet {
        entity: QuotaEntity::new([(QuotaEntityType::User, None)]),
        key: "producer_byte_rate".into(),
        value,
    }
}

#[test]
fn a_journal_of_level_1_replays_as_ever() {
    let image = replay();
    assert_eq!((image.seq, image.level, image.voids), (COMMITS, 1, 0));
    let topics: Vec<_> = image.inner.topics().map(|t| (t.name.to_string(), t.partitions.len())).collect();
    assert_eq!(topics, [("orders".to_string(), 3), ("placed".to_string(), 2)]);
    let config = image.inner.config(ConfigResource::Topic, "orders").expect("configured");
    assert_eq!(config["retention.ms"], "3600000");
    let placed = image.inner.topic("placed").unwrap();
    assert_eq!(placed.partitions[1].replicas.as_deref(), Some(&[1, 0][..]));
    assert_eq!(image.inner.live_brokers().count(), 0, "it left");
    assert!(image.inner.next_producer_id() > 0);
    let bytes = image.encode();
    assert_eq!(bytes, read("level1.image"), "an image of level 1 has the bytes it always had");
    assert_eq!(Cluster::decode(bytes.clone()).expect("an image").encode(), bytes);
}

#[tokio::test(start_paused = true)]
async fn an_older_journal_holds_new_records_only_after_it_was_raised() {
    let store = bucket().await;
    let journal = open(&store, 1, LEVEL_MAX).await.expect("replays");
    assert_eq!(journal.image().encode(), replay().encode());
    join(&journal).await;
    let image = journal.image();
    assert_eq!(image.level, 1, "joining is no raise");
    assert!(image.inner.brokers().all(|(incarnation, _)| image.inner.levels_of(incarnation).is_none()));
    journal.propose(vec![quota(Some(5.0))]).await.expect_err("a record of level 2");
    assert_eq!(journal.image().seq, image.seq, "nothing was written");

    let level = level_to_raise_to(&image.inner, image.level).expect("it is alone");
    journal.raise_level(level).await.expect("raised");
    journal.propose(vec![quota(Some(5.0))]).await.expect("legal now");
    let raised = journal.image();
    assert_eq!((raised.level, raised.inner.quotas().count()), (LEVEL_MAX, 1));

    let again = open(&store, 2, LEVEL_MAX).await.expect("replays from level 1 to 2");
    assert_eq!(again.image().encode(), raised.encode());
    join(&again).await;
    let image = again.image();
    let stated: Vec<_> = image.inner.live_brokers().map(|(i, _)| image.inner.levels_of(i)).collect();
    assert_eq!(stated, [Some((LEVEL_MIN, LEVEL_MAX))]);
    assert_eq!(image.inner.quotas().count(), 1, "quotas survive");
    let old = open(&store, 3, 1).await.expect_err("a release that knows level 1 alone");
    assert!(matches!(&old, Stop::Upgrade(why) if why.contains("upgrade")), "{old:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_cluster_begins_at_the_highest_level() {
    let store = Arc::new(MemoryStore::new());
    let journal = open(&store, 1, LEVEL_MAX).await.expect("created");
    join(&journal).await;
    assert_eq!(journal.image().level, LEVEL_MAX);
    journal.propose(vec![quota(Some(5.0))]).await.expect("legal from the beginning");
    let old = open(&store, 2, 1).await.expect_err("a release that knows level 1 alone");
    assert!(matches!(old, Stop::Upgrade(_)), "{old:?}");
}

/// Run by hand when the files are made for a *new* level, never to make the tests above pass.
#[test]
#[ignore = "writes the file that another checks"]
fn write_golden_image() {
    std::fs::write(path("level1.image"), replay().encode()).expect("written");
}
