//! The journal's named interleavings of SAFETY §8, each as a script.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::basics::{ToyJournal, add, register, same};
use super::bucket::{Bucket, View, Weather, env};
use super::toy::{Toy, ToyRecord};
use crate::env::Env;
use crate::ids::{Incarnation, Nonce, boundary_key, commit_key};
use crate::journal::commit::{Commit, Entry, Mutation};
use crate::journal::{
    Journal, JournalConfig, JournalImage, MutationId, ProposeError, Record, Stop, Times, snapshot,
};
use crate::store::Listed;

const STRIDE: u64 = 16;

async fn process(bucket: &Arc<Bucket>, seed: u64) -> (ToyJournal, Env, Arc<View>) {
    let (env, view) = (env(seed), bucket.view());
    let config = JournalConfig { stride: STRIDE, snapshot_commits: 12, ..JournalConfig::default() };
    let journal =
        Journal::open(view.clone(), env.clone(), config, Toy::with_level_max(1)).await.expect("opens");
    (journal, env, view)
}

/// The controller commits until the stride of `seq` is released.
async fn release_stride_of(bucket: &Arc<Bucket>, controller: &ToyJournal, seq: u64) {
    let boundary = boundary_key(seq / STRIDE);
    for key in 1_000_000 * (seq + 1).. {
        if bucket.keys("meta/boundary/").contains(&boundary) {
            break;
        }
        controller.propose(add(key)).await.expect("commits");
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_secs(1)).await;
    assert!(!bucket.keys("meta/log/").contains(&commit_key(seq)), "commit {seq} was deleted");
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// F1 a: a PUT of a stopped controller lands after its number was deleted, and is told Created.
#[tokio::test(start_paused = true)]
async fn zombie_controller_after_gc() {
    let bucket = Bucket::new(1, Weather::slow(5));
    let (a, _, view_a) = process(&bucket, 1).await;
    let first = a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, _, _) = process(&bucket, 2).await;
    let second = register(&a, &b, 2).await;
    let zombie_at = a.image().seq + 1;
    *view_a.hold.lock() = Some("meta/log/".into());
    let zombie = {
        let a = a.clone();
        tokio::spawn(async move { a.propose(add(66)).await })
    };
    sleep(Duration::from_millis(50)).await;
    assert_eq!(b.elect_now(vec![]).await, Ok(second));
    release_stride_of(&bucket, &b, zombie_at).await;

    *view_a.hold.lock() = None;
    assert_eq!(zombie.await.unwrap(), Err(ProposeError::Deposed(Some(second))));
    assert_eq!(a.stats().histories, 1, "Created, and then a look");
    assert_eq!(
        bucket.history.lock()[&commit_key(zombie_at)].len(),
        2,
        "its PUT did land, on a number that was deleted"
    );
    assert!(!bucket.keys("meta/log/").contains(&commit_key(zombie_at)), "and what it left is gone again");
    assert_eq!(a.office(), None);
    a.catch_up().await.unwrap();
    b.catch_up().await.unwrap();
    assert!(same(&a.image(), &b.image()));
    assert!(!b.image().inner.ever.contains(&66));
    assert_ne!(first, second);
}

/// F1 b: a listing from long ago shows a snapshot whose tail is gone; the first missing number is not the head.
#[tokio::test(start_paused = true)]
async fn boot_from_old_snapshot() {
    let bucket = Bucket::new(2, Weather::slow(5));
    let (a, _, _) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let old: Vec<(String, Bytes)> = {
        let objects = bucket.objects.lock();
        objects
            .iter()
            .filter(|(k, _)| k.starts_with("meta/snapshot/"))
            .map(|(k, b)| (k.clone(), b.clone()))
            .collect()
    };
    // More than a window of numbers after the old snapshot is gone: its tail looks like the head.
    release_stride_of(&bucket, &a, 80).await;
    for (key, body) in &old {
        assert!(!bucket.keys("meta/snapshot/").contains(key), "the old snapshot was deleted");
        bucket.objects.lock().insert(key.clone(), body.clone());
    }
    let stale: Vec<Listed> =
        old.iter().map(|(k, b)| Listed { key: k.clone(), len: b.len() as u64 }).collect();
    let view = bucket.view();
    *view.stale_list.lock() = Some(stale);
    let config = JournalConfig { stride: STRIDE, snapshot_commits: 12, ..JournalConfig::default() };
    let b: ToyJournal = Journal::open(view, env(2), config, Toy::with_level_max(1)).await.unwrap();
    assert!(b.stats().histories >= 1, "it read the old one, and looked");
    a.catch_up().await.unwrap();
    assert!(same(&a.image(), &b.image()));
}

/// F1 c: a follower that slept reads a number that a zombie brought back.
#[tokio::test(start_paused = true)]
async fn follower_reads_resurrected() {
    let bucket = Bucket::new(3, Weather::slow(5));
    let (a, _, _) = process(&bucket, 1).await;
    let first = a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (c, env_c, _) = process(&bucket, 3).await;
    let held = c.image();
    env_c.tasks.pause();
    release_stride_of(&bucket, &a, held.seq + 1).await;

    let mut record = bytes::BytesMut::new();
    ToyRecord::Add(666).encode(&mut record);
    let resurrected = Commit {
        level: held.level,
        seq: held.seq + 1,
        writer: Some(first),
        nonce: Nonce(666),
        prev_chain: held.chain,
        idle_ms: 750,
        p99_ms: 0,
        mutations: vec![Mutation {
            id: MutationId::Of { incarnation: first, counter: 1 },
            entries: vec![Entry::User(record.freeze())],
        }],
    };
    bucket.objects.lock().insert(commit_key(held.seq + 1), resurrected.encode().0);
    let mut images = c.subscribe();
    env_c.tasks.resume();
    until("it catches up", || c.image().seq > held.seq).await;
    assert!(!images.borrow_and_update().inner.ever.contains(&666));
    c.catch_up().await.unwrap();
    assert!(same(&a.image(), &c.image()));
    assert!(!c.image().inner.ever.contains(&666));
    assert!(c.stats().histories >= 1, "it read the number, and looked");
}

/// F2: three that start together land in one commit, and are three.
#[tokio::test(start_paused = true)]
async fn three_registrations_one_commit() {
    let bucket = Bucket::new(4, Weather::slow(60));
    let (a, _, _) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let busy = {
        let a = a.clone();
        tokio::spawn(async move { a.propose(add(1)).await })
    };
    sleep(Duration::from_millis(5)).await;
    let join = |name: u64| {
        let a = a.clone();
        let id = MutationId::Registration { nonce: Nonce(name) };
        async move { a.submit(id, vec![ToyRecord::Register(name as u32)]).await.unwrap() }
    };
    // One of them asks twice: it is the same.
    let (x, y, z, again) = tokio::join!(join(2), join(3), join(4), join(3));
    busy.await.unwrap().unwrap();
    assert_eq!((x.seq, y.seq), (y.seq, z.seq), "one commit");
    assert_eq!(BTreeSet::from([x, y, z]).len(), 3, "three incarnations");
    assert_eq!(again, y);
    assert_eq!(join(3).await, y, "and later too");
    assert_eq!(a.image().live_members(), 4);
}

/// F20: committed, the controller dies before it answers, the proposer repeats at the next one.
#[tokio::test(start_paused = true)]
async fn mutation_repeat_next_controller() {
    let bucket = Bucket::new(5, Weather::slow(40));
    let (a, env_a, _) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, _, _) = process(&bucket, 2).await;
    let second = register(&a, &b, 2).await;
    let id = b.next_id().unwrap();
    let at = commit_key(a.image().seq + 1);
    let lost = {
        let a = a.clone();
        tokio::spawn(async move { a.submit(id, add(7)).await })
    };
    until("the commit is stored", || bucket.keys("meta/log/").contains(&at)).await;
    env_a.tasks.kill();
    assert!(matches!(lost.await.unwrap(), Err(ProposeError::Stopped(_))), "no answer");
    assert_eq!(b.elect_now(vec![]).await, Ok(second));
    let committed = b.submit(id, add(7)).await.expect("its own creation is no conflict");
    assert_eq!(commit_key(committed.seq), at);
    // A new mutation for the same key is one.
    assert!(matches!(b.propose(add(7)).await, Err(ProposeError::Refused(_))));
}

/// F12: a refusal that rests on a commit which then loses its number is never told.
#[tokio::test(start_paused = true)]
async fn refusal_from_lost_commit() {
    let bucket = Bucket::new(6, Weather::slow(5));
    let (a, _, view_a) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, _, _) = process(&bucket, 2).await;
    let second = register(&a, &b, 2).await;
    *view_a.hold.lock() = Some("meta/log/".into());
    let ask = |key| {
        let a = a.clone();
        tokio::spawn(async move { a.propose(add(key)).await })
    };
    let (created, refused) = (ask(7), ask(7));
    sleep(Duration::from_millis(50)).await;
    assert!(!created.is_finished() && !refused.is_finished(), "neither is told before it is durable");
    b.elect_now(vec![]).await.unwrap();
    *view_a.hold.lock() = None;
    assert_eq!(created.await.unwrap(), Err(ProposeError::Deposed(Some(second))));
    assert_eq!(refused.await.unwrap(), Err(ProposeError::Deposed(Some(second))));
    assert_eq!(a.stats().numbers_lost, 1);
    assert!(b.propose(add(7)).await.is_ok(), "the key never was");
}

/// L2: a controller stops for 20 s. Nothing it holds looks fresh when it wakes, and its first act shows it who governs.
#[tokio::test(start_paused = true)]
async fn controller_pause_20s() {
    let bucket = Bucket::new(7, Weather::slow(20));
    let (a, env_a, _) = process(&bucket, 1).await;
    let first = a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, env_b, _) = process(&bucket, 2).await;
    let second = register(&a, &b, 2).await;
    // Alone in its pause: it stays controller, with a proof as old as the pause, until it commits again.
    env_a.tasks.pause();
    sleep(Duration::from_secs(20)).await;
    let office = a.office().unwrap();
    assert!(env_a.clock.monotonic() - office.proof_began >= Duration::from_secs(20));
    env_a.tasks.resume();
    until("it proves its office again", || a.office().is_some_and(|o| o.proof_began > office.proof_began))
        .await;
    assert_eq!(a.office().map(|o| (o.incarnation, o.elected_at)), Some((first, office.elected_at)));

    // With a candidate: that one is elected after the lease, once, and its own time begins then.
    let candidate = {
        let b = b.clone();
        tokio::spawn(async move { b.elect(vec![]).await })
    };
    sleep(Duration::from_secs(5)).await;
    env_a.tasks.pause();
    let paused = env_b.clock.monotonic();
    assert_eq!(timeout(Duration::from_secs(15), candidate).await.unwrap().unwrap(), Ok(second));
    assert!(b.office().unwrap().elected_at > paused);
    sleep(Duration::from_secs(10)).await;
    env_a.tasks.resume();
    assert_eq!(a.propose(add(1)).await, Err(ProposeError::Deposed(Some(second))));
    assert_eq!(a.office(), None);
    b.propose(add(1)).await.unwrap();
    assert_eq!(b.image().voids, 0);
}

/// L8: commits take up to ten seconds. The lease that is published grows with them, so that nobody is elected over a
/// controller that is only slow.
#[tokio::test(start_paused = true)]
async fn ten_second_spikes() {
    let bucket = Bucket::new(8, Weather::slow(20));
    let (a, _, _) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, _, _) = process(&bucket, 2).await;
    register(&a, &b, 2).await;
    let campaigns: Vec<_> = [&a, &b]
        .map(|j| {
            let j = j.clone();
            tokio::spawn(async move {
                loop {
                    let _ = j.elect(vec![]).await;
                    sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .into();
    let mut committed = 0;
    for round in 0..120u64 {
        // A spike of half a minute, every two minutes.
        *bucket.weather.lock() = if round % 12 < 3 {
            Weather { latency: (Duration::from_secs(1), Duration::from_secs(5)), ..Weather::CALM }
        } else {
            Weather::slow(20)
        };
        for j in [&a, &b] {
            if j.office().is_some()
                && timeout(Duration::from_secs(60), j.propose(add(round))).await.is_ok_and(|r| r.is_ok())
            {
                committed += 1;
            }
        }
        sleep(Duration::from_secs(10)).await;
    }
    let elections = a.stats().elections + b.stats().elections;
    println!("{elections} elections, {committed} committed, lease {:?}", a.image().effective_lease());
    assert!(elections <= 4, "{elections} elections in twenty minutes of spikes");
    assert!(committed >= 100, "{committed} of 120 were committed");
    // Five calm minutes later the lease is what it was configured to be.
    sleep(Duration::from_secs(330)).await;
    assert_eq!(a.image().effective_lease(), Duration::from_millis(u64::from(Times::default().lease_ms)));
    for campaign in campaigns {
        campaign.abort();
    }
}

/// SAFETY §4, the journal's part: ten minutes of nothing end nobody and lose nothing.
#[tokio::test(start_paused = true)]
async fn store_down_10min() {
    let bucket = Bucket::new(9, Weather::slow(20));
    let (a, _, _) = process(&bucket, 1).await;
    let first = a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, _, _) = process(&bucket, 2).await;
    register(&a, &b, 2).await;
    let candidate = {
        let b = b.clone();
        tokio::spawn(async move { b.elect(vec![]).await })
    };
    sleep(Duration::from_secs(5)).await;
    bucket.weather.lock().down = true;
    let waiting = {
        let a = a.clone();
        tokio::spawn(async move { a.propose(add(1)).await })
    };
    sleep(Duration::from_secs(600)).await;
    assert!(!waiting.is_finished() && !candidate.is_finished());
    assert_eq!((a.image().controller, b.image().controller), (Some(first), Some(first)));
    bucket.weather.lock().down = false;
    let answer = timeout(Duration::from_secs(60), waiting).await.expect("an answer").unwrap();
    b.catch_up().await.unwrap();
    match answer {
        Ok(_) => assert!(b.image().inner.added.contains_key(&1)),
        Err(ProposeError::Deposed(Some(_))) => assert!(!b.image().inner.added.contains_key(&1)),
        other => panic!("{other:?}"),
    }
    assert_eq!((a.stats().voids, b.stats().voids), (0, 0));
    assert_eq!((a.stopped(), b.stopped()), (None, None));
}

/// F10: a commit that cannot be read and stays so stops the journal with the repair; one that is restored does not.
#[tokio::test(start_paused = true)]
async fn damage_that_stays_stops_with_the_repair_and_damage_that_goes_does_not() {
    let bucket = Bucket::new(10, Weather::slow(5));
    let (a, _, _) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    for lasting in [false, true] {
        let (c, env_c, _) = process(&bucket, 20 + u64::from(lasting)).await;
        env_c.tasks.pause();
        a.propose(add(1 + u64::from(lasting))).await.unwrap();
        let key = commit_key(a.image().seq);
        let whole = bucket.objects.lock()[&key].clone();
        let mut damaged = whole.to_vec();
        damaged[40] ^= 4;
        bucket.objects.lock().insert(key.clone(), damaged.into());
        env_c.tasks.resume();
        sleep(Duration::from_secs(2)).await;
        if lasting {
            until("it stops", || c.stopped().is_some()).await;
            assert!(matches!(c.stopped(), Some(Stop::Repair(why)) if why.contains("crc")));
            assert!(matches!(c.propose(add(9)).await, Err(ProposeError::Stopped(Stop::Repair(_)))));
        } else {
            bucket.objects.lock().insert(key, whole);
            until("it reads on", || same(&c.image(), &a.image())).await;
            assert_eq!(c.stopped(), None);
        }
    }
}

/// F18: another process commits under this one's incarnation. It can only be a clone; one of them must end.
#[tokio::test(start_paused = true)]
async fn a_clone_of_the_machine_is_noticed_at_the_first_number() {
    let bucket = Bucket::new(11, Weather::slow(5));
    let (a, env_a, _) = process(&bucket, 1).await;
    let me = a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let image = a.image();
    let by_clone = Commit {
        level: image.level,
        seq: image.seq + 1,
        writer: Some(me),
        nonce: Nonce(5),
        prev_chain: image.chain,
        idle_ms: 60_000,
        p99_ms: 0,
        mutations: vec![],
    };
    bucket.objects.lock().insert(commit_key(image.seq + 1), by_clone.encode().0);
    assert_eq!(a.propose(add(1)).await, Err(ProposeError::Stopped(Stop::Cloned(me))));
    assert!(env_a.tasks.is_fatal().is_some());
}

/// Half a snapshot, and a whole one that no commit names, are passed over at boot.
#[tokio::test(start_paused = true)]
async fn a_snapshot_counts_only_when_a_commit_names_it() {
    let bucket = Bucket::new(12, Weather::slow(5));
    let (a, env_a, view_a) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    // Its snapshot is written, and the commit that would name it is not.
    for key in 0.. {
        if bucket
            .keys("meta/snapshot/")
            .iter()
            .any(|k| k.ends_with("manifest") && !k.contains("/00000000000000000000/"))
        {
            break;
        }
        let last = bucket.keys("meta/snapshot/").len() > 2;
        if last {
            *view_a.hold.lock() = Some("meta/log/".into());
            sleep(Duration::from_millis(100)).await;
        } else {
            a.propose(add(key)).await.unwrap();
        }
    }
    env_a.tasks.kill();
    let held = a.image();
    assert!(held.snapshots.is_empty());
    let (b, _, _) = process(&bucket, 2).await;
    assert!(b.image().seq >= held.seq);
    assert!(b.image().snapshots.is_empty());
    assert_eq!(b.image().inner.ever, held.inner.ever);
    assert_eq!(
        b.elect_now(vec![ToyRecord::Register(1)]).await.unwrap(),
        Incarnation { seq: b.image().seq, index: 0 }
    );
}

/// A complete snapshot that is ahead of the log, or of another log, is nobody's word.
#[tokio::test(start_paused = true)]
async fn a_snapshot_that_nobody_named_is_passed_over() {
    let bucket = Bucket::new(13, Weather::slow(5));
    let (a, env_a, view_a) = process(&bucket, 1).await;
    a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let mut other = (*a.image()).clone();
    other.seq += 40;
    other.inner.ever.insert(666);
    snapshot::write(&*view_a, &env_a, &other, other.encode(), true).await.expect("written");
    let (b, _, _) = process(&bucket, 2).await;
    assert!(same(&b.image(), &a.image()));
}

/// F10: a commit that is not its writer's to write uses up its number, and that is all: the controller reads on and commits
/// behind it.
#[tokio::test(start_paused = true)]
async fn a_void_commit_takes_a_number_and_nothing_else() {
    let bucket = Bucket::new(14, Weather::slow(5));
    let (a, _, _) = process(&bucket, 1).await;
    let me = a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let image = a.image();
    let stranger = Incarnation { seq: 99, index: 9 };
    let void = Commit {
        level: image.level,
        seq: image.seq + 1,
        writer: Some(stranger),
        nonce: Nonce(5),
        prev_chain: image.chain,
        idle_ms: 1,
        p99_ms: 60_000,
        mutations: vec![],
    };
    bucket.objects.lock().insert(commit_key(image.seq + 1), void.encode().0);
    let committed = a.propose(add(1)).await.expect("is controller still");
    assert_eq!(committed.seq, image.seq + 2);
    assert_eq!((a.image().controller, a.image().voids), (Some(me), 1));
    assert_eq!(a.stats().voids, 1);
    let (b, _, _) = process(&bucket, 2).await;
    assert!(same(&a.image(), &b.image()));
}

/// Several chunks come back as one image; one that is damaged, short or gone makes the snapshot none.
#[tokio::test(start_paused = true)]
async fn a_snapshot_of_several_chunks_is_whole_or_nothing() {
    let bucket = Bucket::calm();
    let (env, view) = (env(1), bucket.view());
    let mut toy = Toy::with_level_max(1);
    toy.ever.extend(0..80_000u64);
    let image = JournalImage::genesis(toy, 1, Times::default());
    let named = snapshot::write(&*view, &env, &image, image.encode(), true).await.expect("written");
    let chunks: Vec<String> =
        bucket.keys("meta/snapshot/").into_iter().filter(|k| !k.ends_with("manifest")).collect();
    assert_eq!(chunks.len(), 3);
    let (again, crc) = snapshot::read::<Toy>(&*view, &env, 0, 1).await.unwrap().expect("complete");
    assert_eq!(crc, named.manifest_crc);
    assert!(same(&again, &image));
    // The same bytes once more are the same snapshot; others are nobody's.
    assert_eq!(snapshot::write(&*view, &env, &image, image.encode(), true).await.expect("the same"), named);
    let other = JournalImage::genesis(Toy::with_level_max(7), 1, Times::default());
    assert!(snapshot::write(&*view, &env, &other, other.encode(), true).await.is_err());
    let whole = bucket.objects.lock()[&chunks[1]].clone();
    let mut flipped = whole.to_vec();
    flipped[77] ^= 1;
    for damaged in [Some(Bytes::from(flipped)), Some(whole.slice(1..)), None] {
        match damaged {
            Some(body) => bucket.objects.lock().insert(chunks[1].clone(), body),
            None => bucket.objects.lock().remove(&chunks[1]),
        };
        assert!(snapshot::read::<Toy>(&*view, &env, 0, 1).await.unwrap().is_none());
    }
}

/// Dropping the call withdraws: nobody is elected who does not want to be any more.
#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_dropped_does_not_stand() {
    let bucket = Bucket::new(15, Weather::slow(5));
    let (a, env_a, _) = process(&bucket, 1).await;
    let first = a.elect(vec![ToyRecord::Register(1)]).await.unwrap();
    let (b, _, _) = process(&bucket, 2).await;
    register(&a, &b, 2).await;
    assert!(timeout(Duration::from_secs(3), b.elect(vec![])).await.is_err());
    env_a.tasks.kill();
    sleep(Duration::from_secs(120)).await;
    b.catch_up().await.unwrap();
    assert_eq!(b.image().controller, Some(first));
    assert!(b.head().still > b.head().effective_lease, "it sees that it could");
}
