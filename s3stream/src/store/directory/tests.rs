//! What is particular to the real directory; the rest is in the conformance suite and in `sim::directory`.

use std::time::SystemTime;

use super::*;
use crate::store::create::ATTEMPT_BASE;

fn open(root: &Path) -> DirectoryStore {
    DirectoryStore::open(root, &Env::system()).expect("opens")
}

async fn put(store: &DirectoryStore, key: &str, body: &'static str) -> PutNew {
    store.put_new(key, body.into(), ATTEMPT_BASE).await
}

#[tokio::test]
async fn what_one_process_creates_another_sees_and_cannot_create() {
    let root = tempfile::tempdir().expect("tempdir");
    let (a, b) = (open(&root.path().join("deep/er")), open(&root.path().join("deep/er")));
    assert!(matches!(put(&a, "meta/log/1", "one").await, PutNew::Created));
    assert!(matches!(put(&b, "meta/log/1", "two").await, PutNew::Exists));
    assert_eq!(b.get("meta/log/1").await.expect("get"), Some(Bytes::from("one")));
    assert!(std::fs::read_dir(root.path().join("deep/er/.staging")).expect("staging").next().is_none());
}

#[tokio::test]
async fn a_body_of_many_parts_and_empty_ones_is_written_whole() {
    let root = tempfile::tempdir().expect("tempdir");
    let store = open(root.path());
    let parts: Vec<Bytes> = (0..5000u32).map(|n| Bytes::from(vec![n as u8; (n % 7) as usize])).collect();
    let whole: Vec<u8> = parts.concat();
    let made = store.put_new("wal/x/0", parts.into_iter().collect(), ATTEMPT_BASE).await;
    assert!(matches!(made, PutNew::Created), "{made:?}");
    assert_eq!(store.get("wal/x/0").await.expect("get").as_deref(), Some(&whole[..]));
}

#[tokio::test]
async fn a_directory_swept_away_under_an_open_store_is_made_again() {
    let root = tempfile::tempdir().expect("tempdir");
    let (a, b) = (open(root.path()), open(root.path()));
    assert!(matches!(put(&a, "data/x/1", "one").await, PutNew::Created));
    a.delete("data/x/1").await.expect("delete");
    // What another process's sweep does.
    std::fs::remove_dir(root.path().join("data/x")).expect("empty");
    assert!(matches!(put(&a, "data/x/1", "two").await, PutNew::Created));
    assert_eq!(b.head("data/x/1").await.expect("head"), Some(3));
}

#[tokio::test]
async fn only_old_leftovers_are_swept() {
    let root = tempfile::tempdir().expect("tempdir");
    drop(open(root.path()));
    let file = |name: &str| root.path().join(".staging").join(name);
    for name in ["old", "young"] {
        std::fs::write(file(name), "half").expect("write");
    }
    std::fs::create_dir_all(root.path().join("data/empty/er")).expect("mkdir");
    std::fs::create_dir_all(root.path().join("data/young")).expect("mkdir");
    std::fs::write(root.path().join("data/kept"), "object").expect("write");
    let two_hours_ago = SystemTime::UNIX_EPOCH
        + Duration::from_millis(Env::system().clock.wall_ms() as u64).saturating_sub(2 * SWEEP_AFTER);
    for old in [file("old"), root.path().join("data/empty/er"), root.path().join("data/empty")] {
        std::fs::File::open(old).expect("open").set_modified(two_hours_ago).expect("touch");
    }
    let store = DirectoryStore::open(root.path(), &Env::system()).expect("opens");
    assert!(!file("old").exists() && file("young").exists());
    assert!(!root.path().join("data/empty/er").exists(), "old and empty");
    assert!(root.path().join("data/young").exists());
    let keys: Vec<_> = store.list("").await.expect("list").into_iter().map(|l| l.key).collect();
    assert_eq!(keys, ["data/kept"]);
}

#[tokio::test]
async fn no_key_leads_out_of_the_root_or_to_hidden_files() {
    let root = tempfile::tempdir().expect("tempdir");
    let store = open(root.path());
    for key in ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".staging/x", "a/.b", "a\0b"] {
        let put = put(&store, key, "x").await;
        assert!(matches!(put, PutNew::Unknown(StoreError::Refused(_))), "{key:?}: {put:?}");
        assert!(matches!(store.get(key).await, Err(StoreError::Refused(_))), "{key:?}");
    }
}

#[tokio::test]
async fn there_is_ballast_and_a_floor() {
    let root = tempfile::tempdir().expect("tempdir");
    let store = open(root.path());
    let space = store.space().await.expect("statfs").expect("a directory");
    assert!(space.free > 0 && space.total >= space.free);
    assert_eq!(std::fs::metadata(root.path().join(".ballast")).expect("ballast").len(), 16 << 20);
    assert_eq!(free_min(10 << 30), 1 << 30);
    assert_eq!(free_min(1000 << 30), (1000 << 30) / 100 * 2);
}

#[tokio::test]
async fn a_file_where_a_directory_should_be_is_named_in_the_error() {
    let root = tempfile::tempdir().expect("tempdir");
    let file = root.path().join("file");
    std::fs::write(&file, "x").expect("write");
    let error = DirectoryStore::open(&file, &Env::seeded(1)).expect_err("not a directory").to_string();
    assert!(error.contains(file.to_str().expect("utf-8")), "{error}");
}

/// p50 of one durable create after another, beside object_store's own directory store, which flushes too.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run alone, in release"]
async fn measure_put_new() {
    use object_store::{ObjectStore, PutMode, PutOptions};
    let root = tempfile::tempdir_in(std::env::var("AQUIFER_BENCH_DIR").unwrap_or_else(|_| ".".into()))
        .expect("tempdir");
    let ours = open(&root.path().join("ours"));
    std::fs::create_dir(root.path().join("theirs")).expect("mkdir");
    let theirs = object_store::local::LocalFileSystem::new_with_prefix(root.path().join("theirs"))
        .expect("opens")
        .with_fsync(true);
    for (bytes, rounds) in [(1 << 10, 2000), (64 << 10, 1000), (8 << 20, 60)] {
        let parts = (bytes / (512 << 10)).max(1);
        let body: PutPayload = (0..parts).map(|_| Bytes::from(vec![7u8; bytes / parts])).collect();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        // In turns of their own: a flush also pays for what the one before left in the file system's journal.
        for n in 0..rounds {
            let begun = tokio::time::Instant::now();
            let made = ours.put_new(&format!("wal/x{bytes}/{n:020}"), body.clone(), ATTEMPT_BASE).await;
            a.push(begun.elapsed());
            assert!(matches!(made, PutNew::Created));
        }
        for n in 0..rounds {
            let begun = tokio::time::Instant::now();
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let path = object_store::path::Path::from(format!("wal/x{bytes}/{n:020}"));
            theirs.put_opts(&path, body.clone(), options).await.expect("created");
            b.push(begun.elapsed());
        }
        a.sort();
        b.sort();
        let at = |v: &[Duration], q: usize| v[v.len() * q / 100].as_micros();
        println!(
            "{bytes:>8} bytes: ours p50 {} µs p99 {} µs, object_store p50 {} µs p99 {} µs",
            at(&a, 50),
            at(&a, 99),
            at(&b, 50),
            at(&b, 99)
        );
    }
}

/// How long another process takes to read the ends of 128 objects it has never seen, flushes included: what recovery does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run alone, in release"]
async fn measure_observing() {
    use futures::StreamExt;
    let root = tempfile::tempdir_in(std::env::var("AQUIFER_BENCH_DIR").unwrap_or_else(|_| ".".into()))
        .expect("tempdir");
    let (owner, heir) = (open(root.path()), open(root.path()));
    let body = Bytes::from(vec![7u8; 8 << 20]);
    for n in 0..128 {
        let made =
            owner.put_new(&format!("wal/x/{n:020}"), body.clone().into(), Duration::from_secs(60)).await;
        assert!(matches!(made, PutNew::Created));
    }
    let begun = tokio::time::Instant::now();
    let reads = futures::stream::iter(0..128).map(|n| {
        let heir = &heir;
        async move { heir.get_tail(&format!("wal/x/{n:020}"), 64 << 10).await.expect("read").expect("there") }
    });
    let tails: Vec<Tail> = reads.buffered(64).collect().await;
    println!("{} ends of 8 MiB objects in {:?}", tails.len(), begun.elapsed());
}

/// Past the page cache the first time, through it when read again, and the same wherever a read begins and ends.
#[tokio::test]
async fn what_is_read_does_not_depend_on_how() {
    let root = tempfile::tempdir().expect("a directory");
    let store = DirectoryStore::open(root.path(), &Env::system()).expect("opens");
    let content: Vec<u8> = (0..(9 << 20) + 12_345).map(|at: u32| (at / 7) as u8).collect();
    let put = store.put_new("data/x", Bytes::from(content.clone()).into(), ATTEMPT_BASE).await;
    assert!(matches!(put, PutNew::Created), "{put:?}");
    let end = content.len() as u64;
    for start in [0, 1, 4095, 4096, (5 << 20) + 7] {
        for until in [start + (256 << 10), start + (4 << 20) + 1, end - 1, end] {
            let range = start..until.min(end);
            let expected = &content[range.start as usize..range.end as usize];
            for time in ["first", "second"] {
                let read = store.get_range("data/x", range.clone()).await.expect("read").expect("is there");
                assert!(read == expected, "{range:?}, the {time} time");
            }
            let read = store.get_range_once("data/x", range.clone()).await.expect("read").expect("is there");
            assert!(read == expected, "{range:?}, once");
        }
    }
    assert!(store.get("data/x").await.expect("read").expect("is there") == content);
    store.get_range("data/x", end - 1..end + (1 << 20)).await.expect_err("past its end");
}
