//! Opening, electing, proposing: one process, then two, in calm weather.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::bucket::{Bucket, View, Weather, env};
use super::toy::{Toy, ToyRecord};
use crate::env::Env;
use crate::ids::Incarnation;
use crate::journal::commit::Commit;
use crate::journal::{
    ElectError, Journal, JournalConfig, JournalImage, MutationId, ProposeError, Refusal, Stop, Times,
};
use crate::store::{PutPayload, Store};

pub type ToyJournal = Journal<Toy>;

pub async fn open(view: &Arc<View>, env: &Env) -> ToyJournal {
    try_open(view, env).await.expect("opens")
}

pub async fn try_open(view: &Arc<View>, env: &Env) -> Result<ToyJournal, Stop> {
    Journal::open(view.clone(), env.clone(), JournalConfig::default(), Toy::with_level_max(1)).await
}

/// A fresh process with a journal.
pub async fn process(bucket: &Arc<Bucket>, seed: u64) -> (ToyJournal, Env, Arc<View>) {
    let (env, view) = (env(seed), bucket.view());
    (open(&view, &env).await, env, view)
}

pub fn add(key: u64) -> Vec<ToyRecord> {
    vec![ToyRecord::Add(key)]
}

/// Everything but the bytes of `inner`, which `encode` covers.
pub fn same(a: &JournalImage<Toy>, b: &JournalImage<Toy>) -> bool {
    a.encode() == b.encode()
}

/// Registers another process through the controller's journal, as a peer request would.
pub async fn register(controller: &ToyJournal, joiner: &ToyJournal, name: u32) -> Incarnation {
    let id = MutationId::Registration { nonce: joiner.nonce() };
    let at = controller.submit(id, vec![ToyRecord::Register(name)]).await.expect("registered");
    joiner.catch_up().await.expect("catches up");
    let incarnation = Incarnation { seq: at.seq, index: at.index };
    assert_eq!(joiner.incarnation(), Some(incarnation));
    incarnation
}

#[tokio::test(start_paused = true)]
async fn a_fresh_root_elects_its_first_process_at_once_and_commits() {
    let bucket = Bucket::calm();
    let (journal, _, _) = process(&bucket, 1).await;
    let me = journal.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    assert_eq!(me, Incarnation { seq: 1, index: 0 });
    assert_eq!(journal.incarnation(), Some(me));
    let committed = journal.propose(add(7)).await.unwrap();
    assert_eq!(committed.seq, 2);
    let image = journal.image();
    assert_eq!((image.seq, image.controller), (2, Some(me)));
    assert!(image.inner.added.contains_key(&7));
    let keys = bucket.keys("meta/");
    assert_eq!(keys.len(), 4, "two commits, the empty snapshot's chunk and manifest: {keys:?}");

    // A second process finds the same image.
    let (other, _, _) = process(&bucket, 2).await;
    assert!(same(&other.image(), &image));
    assert_eq!(other.propose(add(8)).await, Err(ProposeError::NotController(Some(me))));
}

#[tokio::test(start_paused = true)]
async fn what_is_illegal_never_enters_the_log() {
    let bucket = Bucket::calm();
    let (journal, _, _) = process(&bucket, 1).await;
    journal.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    journal.propose(add(7)).await.unwrap();
    let before = journal.image().seq;
    let refused = journal.propose(add(7)).await;
    assert!(
        matches!(&refused, Err(ProposeError::Refused(Refusal::Illegal(i))) if i.code == 2),
        "{refused:?}"
    );
    assert_eq!(journal.image().seq, before);
    let huge = journal.propose(vec![ToyRecord::Ballast(1 << 20)]).await;
    assert_eq!(huge, Err(ProposeError::TooLarge));
    assert_eq!(journal.stats().voids, 0);
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_a_put_is_in_flight_goes_into_the_next() {
    let bucket = Bucket::new(1, Weather::slow(60));
    let (journal, _, _) = process(&bucket, 1).await;
    journal.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let proposals: Vec<_> = (0..100)
        .map(|key| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.propose(add(key)).await })
        })
        .collect();
    let mut seqs = Vec::new();
    for proposal in proposals {
        seqs.push(proposal.await.unwrap().unwrap().seq);
    }
    seqs.sort_unstable();
    seqs.dedup();
    assert!(seqs.len() <= 3, "100 proposals took commits {seqs:?}");
    assert_eq!(journal.image().inner.added.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn large_mutations_are_spread_over_commits_in_order() {
    let bucket = Bucket::new(1, Weather::slow(10));
    let (journal, _, _) = process(&bucket, 1).await;
    journal.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let proposals: Vec<_> = (0..6u64)
        .map(|key| {
            let journal = journal.clone();
            tokio::spawn(async move {
                journal.propose(vec![ToyRecord::Add(key), ToyRecord::Ballast(400 << 10)]).await
            })
        })
        .collect();
    let mut at = Vec::new();
    for proposal in proposals {
        at.push(proposal.await.unwrap().unwrap());
    }
    assert!(at.is_sorted(), "{at:?}");
    assert!(at.last().unwrap().seq - at[0].seq >= 2, "two of 400 KiB fit into a commit: {at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sole_member_commits_once_a_minute_and_a_second_member_ends_that() {
    let bucket = Bucket::calm();
    let (journal, _, _) = process(&bucket, 1).await;
    journal.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    assert_eq!(journal.image().idle_ms, 60_000);
    let before = journal.image().seq;
    sleep(Duration::from_secs(600)).await;
    let idle = journal.image().seq - before;
    assert!((10..=12).contains(&idle), "{idle} idle commits in ten minutes");

    let (joiner, _, _) = process(&bucket, 2).await;
    register(&journal, &joiner, 2).await;
    assert_eq!(journal.image().idle_ms, Times::default().lease_ms / 3);
    let before = journal.image().seq;
    sleep(Duration::from_secs(60)).await;
    assert!(journal.image().seq - before >= 60, "a commit each third of the lease");
    assert_eq!(journal.image().voids, 0);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_waits_for_the_head_to_stand_still_and_then_takes_over() {
    let bucket = Bucket::new(3, Weather::slow(30));
    let (a, env_a, _) = process(&bucket, 1).await;
    let first = a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, env_b, _) = process(&bucket, 2).await;
    let second = register(&a, &b, 2).await;
    let candidate = {
        let b = b.clone();
        tokio::spawn(async move { b.elect(vec![]).await })
    };
    sleep(Duration::from_secs(30)).await;
    assert!(!candidate.is_finished(), "the controller lives");
    assert_eq!(b.image().controller, Some(first));

    let died = env_b.clock.monotonic();
    env_a.tasks.kill();
    assert_eq!(candidate.await.unwrap(), Ok(second));
    let took = env_b.clock.monotonic() - died;
    let lease = Duration::from_millis(2250);
    assert!(took >= lease / 2 && took < lease * 2, "took {took:?}");
    let office = b.office().unwrap();
    assert_eq!(office.incarnation, second);
    b.propose(add(1)).await.unwrap();
    assert!(b.image().voids == 0);
}

#[tokio::test(start_paused = true)]
async fn a_proven_hint_elects_at_once_with_registration_and_fence_in_one_commit() {
    let bucket = Bucket::new(3, Weather::slow(30));
    let (a, env_a, _) = process(&bucket, 1).await;
    let first = a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    a.propose(add(5)).await.unwrap();
    env_a.tasks.kill();

    let (b, env_b, _) = process(&bucket, 2).await;
    let before = env_b.clock.monotonic();
    let second = b.elect_now(vec![ToyRecord::Fence(first), ToyRecord::Register(1)]).await.unwrap();
    assert!(env_b.clock.monotonic() - before < Duration::from_millis(500));
    assert_eq!(b.image().inner.live.len(), 1);
    assert!(b.image().inner.live.contains_key(&second));
    assert!(b.image().inner.added.contains_key(&5));
}

#[tokio::test(start_paused = true)]
async fn a_resignation_is_taken_up_at_once() {
    let bucket = Bucket::new(3, Weather::slow(30));
    let (a, _, _) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, env_b, _) = process(&bucket, 2).await;
    let second = register(&a, &b, 2).await;
    let candidate = {
        let b = b.clone();
        tokio::spawn(async move { b.elect(vec![]).await })
    };
    sleep(Duration::from_secs(5)).await;
    let before = env_b.clock.monotonic();
    a.resign().await.unwrap();
    assert_eq!(a.office(), None);
    assert_eq!(candidate.await.unwrap(), Ok(second));
    assert!(env_b.clock.monotonic() - before < Duration::from_secs(1));
    a.catch_up().await.unwrap();
    assert_eq!(a.propose(add(1)).await, Err(ProposeError::NotController(Some(second))));
    // Not being controller any more is fine.
    a.resign().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_that_stand_together_one_wins_and_the_other_is_told_who() {
    for seed in 0..20 {
        let bucket = Bucket::new(seed, Weather::slow(20));
        let (a, _, _) = process(&bucket, seed * 2).await;
        let (b, _, _) = process(&bucket, seed * 2 + 1).await;
        let (x, y) =
            tokio::join!(a.elect(vec![ToyRecord::Register(1)]), b.elect(vec![ToyRecord::Register(2)]));
        match (x, y) {
            (Ok(won), Err(ElectError::LostTo(to))) | (Err(ElectError::LostTo(to)), Ok(won)) => {
                assert_eq!(won, to)
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pushed_entry_is_folded_and_one_that_does_not_fit_is_not() {
    let bucket = Bucket::calm();
    let (a, _, _) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, _, view) = process(&bucket, 2).await;
    // From here on only pushes can reach it.
    *view.down.lock() = true;
    let mut pushes = a.subscribe_entries();
    a.propose(add(1)).await.unwrap();
    a.propose(add(2)).await.unwrap();
    let (first, second) = (pushes.recv().await.unwrap(), pushes.recv().await.unwrap());
    sleep(Duration::from_secs(1)).await;
    *view.down.lock() = false;
    b.offer(second.1.clone());
    b.offer(first.1);
    b.offer(second.1.clone());
    let second_bytes = second.1;
    b.wait_for(second.0).await.unwrap();
    assert!(same(&a.image(), &b.image()));
    b.offer(bytes::Bytes::from_static(b"nonsense"));
    // Void, and of a later release: neither shouts nor stops; the bucket knows better.
    let mut forged = Commit::decode(second_bytes).unwrap().0;
    (forged.seq, forged.prev_chain, forged.writer) = (a.image().seq + 1, a.image().chain, None);
    b.offer(forged.encode().0);
    (forged.writer, forged.level) = (a.incarnation(), 9);
    b.offer(forged.encode().0);
    a.propose(add(3)).await.unwrap();
    b.wait_for(4).await.unwrap();
    assert!(same(&a.image(), &b.image()));
    assert_eq!((b.stopped(), b.stats().voids), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_level_above_what_the_process_knows_stops_it_with_the_remedy() {
    let bucket = Bucket::calm();
    let config = JournalConfig { level_max: 3, ..JournalConfig::default() };
    let env1 = env(1);
    let a = Journal::open(bucket.view(), env1, config, Toy::with_level_max(2)).await.unwrap();
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (old, _, _) = process(&bucket, 2).await;
    assert!(matches!(a.raise_level(3).await, Err(ProposeError::Refused(Refusal::Illegal(_)))));
    assert!(matches!(a.raise_level(4).await, Err(ProposeError::Refused(Refusal::Own(_)))));
    a.raise_level(2).await.unwrap();
    a.propose(add(1)).await.unwrap();
    let stopped = old.catch_up().await.unwrap_err();
    assert!(matches!(&stopped, Stop::Upgrade(why) if why.contains("upgrade")), "{stopped:?}");
    assert!(matches!(try_open(&bucket.view(), &env(3)).await, Err(Stop::Upgrade(_))));
}

#[tokio::test(start_paused = true)]
async fn session_and_lease_are_lowered_in_two_steps() {
    let bucket = Bucket::calm();
    let (a, _, _) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let both = Times { lease_ms: 500, session_granted_ms: 3_000, session_fencing_ms: 3_000 };
    assert!(a.set_times(both).await.is_err(), "what fences may not fall below what was granted");
    a.set_times(Times { session_fencing_ms: 9_000, ..both }).await.unwrap();
    a.set_times(both).await.unwrap();
    assert_eq!(a.image().times, both);
    assert!(a.set_times(Times { lease_ms: 800, ..both }).await.is_err(), "the lease is at most a quarter");
}

#[tokio::test(start_paused = true)]
async fn snapshots_come_and_go_and_a_newcomer_starts_from_the_newest() {
    let bucket = Bucket::calm();
    let (a, _, _) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    for key in 0..1200 {
        a.propose(add(key)).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    let image = a.image();
    assert_eq!(image.snapshots.len(), 2);
    assert!(image.snapshots[0].seq > image.snapshots[1].seq);
    let kept: std::collections::BTreeSet<String> =
        bucket.keys("meta/snapshot/").iter().map(|k| k[14..34].to_owned()).collect();
    let named: std::collections::BTreeSet<String> =
        image.snapshots.iter().map(|s| format!("{:020}", s.seq)).collect();
    assert_eq!(kept, named);
    assert_eq!(bucket.keys("meta/boundary/").len(), 0, "no stride lies below the older snapshot");
    let (b, _, _) = process(&bucket, 2).await;
    assert!(same(&b.image(), &image));
}

/// What a metadata change costs in a directory: a durable create and a look.
#[tokio::test]
#[ignore = "measures; run by hand, in release"]
async fn latency_of_an_idle_propose_in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::seeded(1);
    let store = Arc::new(crate::store::directory::DirectoryStore::open(dir.path(), &env).unwrap());
    let began = env.clock.monotonic();
    let journal =
        Journal::open(store.clone(), env.clone(), JournalConfig::default(), Toy::default()).await.unwrap();
    journal.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    println!("fresh root, open and elect: {:?}", env.clock.monotonic() - began);
    let mut times = Vec::new();
    for key in 0..2000 {
        let began = env.clock.monotonic();
        journal.propose(add(key)).await.unwrap();
        times.push(env.clock.monotonic() - began);
    }
    times.sort();
    println!("propose: p50 {:?} p99 {:?} max {:?}", times[1000], times[1980], times[1999]);
    let mut times = Vec::new();
    for n in 0..1000 {
        let body = PutPayload::from_static(&[7; 120]);
        let began = env.clock.monotonic();
        store.put_new(&format!("raw/{n}"), body, Duration::from_secs(3)).await;
        times.push(env.clock.monotonic() - began);
    }
    times.sort();
    println!("the store's create alone: p50 {:?} p99 {:?}", times[500], times[990]);
    let began = env.clock.monotonic();
    let at_once = (10_000..20_000).map(|key| {
        let journal = journal.clone();
        tokio::spawn(async move { journal.propose(add(key)).await })
    });
    for proposal in at_once.collect::<Vec<_>>() {
        proposal.await.unwrap().unwrap();
    }
    println!("10,000 proposals at once: {:?}, {:?}", env.clock.monotonic() - began, journal.stats());
    let other = Env::seeded(2);
    let began = other.clock.monotonic();
    let again = Journal::open(store, other.clone(), JournalConfig::default(), Toy::default()).await.unwrap();
    println!("open again at commit {}: {:?}", again.image().seq, other.clock.monotonic() - began);
    assert!(same(&again.image(), &journal.image()));
}
