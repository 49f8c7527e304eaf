//! One suite for every store (DESIGN §10.2): what the trait promises, tried on each implementation.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::create::ATTEMPT_BASE;
use super::{Listed, PutNew, PutPayload, Store, open};
use crate::env::Env;

/// Tries everything on an empty store; `sequential` listings are compared whole.
async fn conforms(store: Arc<dyn Store>) {
    creates_once(&*store).await;
    bodies_come_back_whole(&*store).await;
    reads_parts(&*store).await;
    absence_is_an_answer(&*store).await;
    lists_sorted_by_prefix(&*store).await;
    deletes(&*store).await;
    races_have_one_winner(store.clone()).await;
}

async fn put(store: &dyn Store, key: &str, body: impl Into<PutPayload>) -> PutNew {
    store.put_new(key, body.into(), ATTEMPT_BASE).await
}

async fn creates_once(store: &dyn Store) {
    assert!(matches!(put(store, "once/k", "first").await, PutNew::Created));
    assert!(matches!(put(store, "once/k", "second").await, PutNew::Exists));
    assert!(matches!(put(store, "once/k", "first").await, PutNew::Exists), "the same body is no exception");
    assert_eq!(store.get("once/k").await.expect("get"), Some(Bytes::from("first")));
}

async fn bodies_come_back_whole(store: &dyn Store) {
    let parts: Vec<Bytes> = (0..300u32).map(|n| Bytes::from(vec![n as u8; n as usize * 11 % 997])).collect();
    let whole = parts.concat();
    assert!(matches!(put(store, "whole/parts", PutPayload::from_iter(parts)).await, PutNew::Created));
    assert_eq!(store.get("whole/parts").await.expect("get").as_deref(), Some(&whole[..]));
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    assert!(matches!(put(store, "whole/large", large.clone()).await, PutNew::Created));
    assert_eq!(store.get("whole/large").await.expect("get").as_deref(), Some(&large[..]));
}

async fn reads_parts(store: &dyn Store) {
    put(store, "part/k", "0123456789").await;
    let range = async |range| store.get_range("part/k", range).await.expect("range").expect("there");
    assert_eq!(range(2..5).await, "234");
    assert_eq!(range(0..10).await, "0123456789");
    assert_eq!(range(4..4).await, "");
    assert!(store.get_range("part/k", 5..11).await.is_err(), "beyond the end");
    assert!(store.get_range("part/k", 20..21).await.is_err(), "beyond the end");
    for (asked, got) in [(3, "789"), (10, "0123456789"), (1000, "0123456789")] {
        let tail = store.get_tail("part/k", asked).await.expect("tail").expect("there");
        assert_eq!((tail.bytes, tail.object_len), (Bytes::from(got), 10));
    }
    assert_eq!(store.head("part/k").await.expect("head"), Some(10));
    put(store, "part/empty", "").await;
    assert_eq!(store.get("part/empty").await.expect("get"), Some(Bytes::new()));
    let tail = store.get_tail("part/empty", 5).await.expect("tail").expect("there");
    assert_eq!((tail.bytes.len(), tail.object_len), (0, 0));
}

async fn absence_is_an_answer(store: &dyn Store) {
    assert_eq!(store.get("absent/k").await.expect("get"), None);
    assert_eq!(store.get_range("absent/k", 0..1).await.expect("range"), None);
    assert!(store.get_tail("absent/k", 1).await.expect("tail").is_none());
    assert_eq!(store.head("absent/k").await.expect("head"), None);
    assert_eq!(store.list("absent/").await.expect("list"), []);
    assert_eq!(store.head("once").await.expect("head"), None, "a prefix is not an object");
    assert_eq!(store.get("once/k/below").await.expect("get"), None, "nothing is below an object");
}

async fn lists_sorted_by_prefix(store: &dyn Store) {
    for n in (0..250).rev() {
        put(store, &format!("list/a/{n:020}"), "x").await;
    }
    for key in ["list/b", "list/a.b", "list/ab/1", "listing"] {
        put(store, key, "body").await;
    }
    let keys = async |prefix: &str| -> Vec<String> {
        store.list(prefix).await.expect("list").into_iter().map(|listed| listed.key).collect()
    };
    assert_eq!(keys("list/a/").await, (0..250).map(|n| format!("list/a/{n:020}")).collect::<Vec<_>>());
    assert_eq!(keys("list/a/0000000000000000024").await.len(), 10, "a prefix may end within a name");
    assert_eq!(keys("list/ab").await, ["list/ab/1"]);
    let all = keys("list").await;
    assert_eq!(all.len(), 254);
    assert!(all.is_sorted());
    assert_eq!(store.list("list/b").await.expect("list"), [Listed { key: "list/b".into(), len: 4 }]);
}

async fn deletes(store: &dyn Store) {
    put(store, "delete/k", "x").await;
    store.delete("delete/k").await.expect("delete");
    store.delete("delete/k").await.expect("absent is fine");
    store.delete("delete/never/was").await.expect("absent is fine");
    assert_eq!(store.get("delete/k").await.expect("get"), None);
    assert!(matches!(put(store, "delete/k", "y").await, PutNew::Created));

    let keys: Vec<String> = (0..50).map(|n| format!("delete/many/{n}")).collect();
    for key in keys.iter().step_by(3) {
        put(store, key, "x").await;
    }
    put(store, "delete/other", "stays").await;
    for keys in keys.chunks(store.traits().deletes_at_once) {
        let answers = store.delete_all(keys).await;
        assert!(answers.len() == keys.len() && answers.iter().all(Result::is_ok), "{answers:?}");
    }
    let left: Vec<String> = store.list("delete/").await.expect("list").into_iter().map(|l| l.key).collect();
    assert_eq!(left, ["delete/k", "delete/other"]);
}

async fn races_have_one_winner(store: Arc<dyn Store>) {
    for round in 0..20 {
        let key = format!("race/{round}");
        let puts = (0..8).map(|n| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move { put(&*store, &key, format!("writer {n}")).await })
        });
        let told: Vec<PutNew> = join_all(puts).await.into_iter().map(|put| put.expect("joined")).collect();
        let winners: Vec<usize> = (0..8).filter(|n| matches!(told[*n], PutNew::Created)).collect();
        assert_eq!(winners.len(), 1, "{told:?}");
        assert!(told.iter().all(|put| !matches!(put, PutNew::Unknown(_))), "{told:?}");
        assert_eq!(store.get(&key).await.expect("get"), Some(Bytes::from(format!("writer {}", winners[0]))));
    }
}

#[tokio::test(start_paused = true)]
async fn memory_conforms() {
    conforms(open("memory://", &Env::seeded(1)).expect("opens")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directory_conforms() {
    let root = tempfile::tempdir().expect("tempdir");
    let url = format!("file://{}", root.path().display());
    conforms(open(&url, &Env::system()).expect("opens")).await;
}

#[tokio::test(start_paused = true)]
async fn simulated_directory_conforms() {
    conforms(crate::sim::directory::SimVolume::new(1).store(&Env::seeded(1))).await;
}

#[cfg(feature = "aws")]
#[tokio::test(start_paused = true)]
async fn s3_client_over_the_fake_conforms() {
    use crate::sim::s3::{FakeS3, Faults};
    conforms(FakeS3::new(1, Faults::none()).client("a")).await;
}

/// A real server: `AQUIFER_TEST_STORAGE=s3://bucket/root?endpoint=http://127.0.0.1:9000`, credentials in `AWS_*`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a store: set AQUIFER_TEST_STORAGE"]
async fn real_store_conforms() {
    let url = std::env::var("AQUIFER_TEST_STORAGE").expect("AQUIFER_TEST_STORAGE is set");
    let env = Env::system();
    let (place, parameters) =
        url.split_once('?').map_or((url.as_str(), String::new()), |(a, b)| (a, format!("?{b}")));
    let store = open(&format!("{place}/{:016x}{parameters}", env.entropy.nonce().0), &env).expect("opens");
    use super::proof::{Proof, prove};
    assert_eq!(prove(&*store, &env).await.expect("sound"), Proof::Raced);
    assert_eq!(prove(&*store, &env).await.expect("sound"), Proof::Recorded);
    conforms(store).await;
}
