//! The seal, one interleaving after the other (SAFETY F5, L3, F19); the names are those of SAFETY §8.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::chunk::ChunkPool;
use super::lane::{Lane, LaneConfig, LaneEnded};
use super::open_object::tests::append;
use super::rig::{RigStore, Step, lane_id, ms};
use super::seal::{SealError, Sealed, seal, seal_object};
use crate::block_ref::LaneRef;
use crate::budget::Budget;
use crate::cache::tail::TailCache;
use crate::env::Env;
use crate::ids::{LaneId, LaneNumber, Nonce, StreamEpoch, StreamId, lane_key};
use crate::object::{ObjectBuilder, ObjectHeader, ObjectKind};
use crate::store::Store;

fn id() -> LaneId {
    lane_id(7)
}

fn wal_object(lane: LaneId, number: u64) -> Bytes {
    let header = ObjectHeader::new(ObjectKind::Wal, lane, number, Nonce(number));
    let mut builder = ObjectBuilder::new(header, ChunkPool::new(0), 8, 1);
    builder.append(StreamId(1), StreamEpoch(0), number, number + 1, 0, &[b"record"]);
    builder.finish().payload.concat().into()
}

/// A store in which the owner of the lane put these numbers.
fn store_with(numbers: impl IntoIterator<Item = u64>) -> RigStore {
    let store = RigStore::new(4);
    for number in numbers {
        store.put(lane_key(id(), LaneNumber(number)), wal_object(id(), number));
    }
    store
}

async fn seal_from(store: &RigStore, trim: u64, window: usize) -> Sealed {
    seal(store, &Env::seeded(trim), id(), LaneNumber(trim), window, b"note").await.expect("sealed")
}

#[tokio::test(start_paused = true)]
async fn a_dead_lane_is_sealed_at_its_end_and_everybody_finds_the_same_seal() {
    for length in [0, 1, 63, 64, 65, 200] {
        let store = store_with(0..length);
        let sealed = seal_from(&store, 0, 4).await;
        assert_eq!((sealed.length.0, &sealed.note[..], sealed.unreadable.len()), (length, &b"note"[..], 0));
        let again = seal(&store, &Env::seeded(9), id(), LaneNumber(0), 4, b"other").await.expect("sealed");
        assert_eq!(again, sealed, "whoever's seal it is, it is the seal");
    }
}

/// F5 (i): A seals and dies before it says so. Behind its seal lies what the owner had in flight, then nothing. B must
/// not seal there.
#[tokio::test(start_paused = true)]
async fn seal_passes_seal() {
    let store = store_with([0, 1, 3]);
    let a = seal_from(&store, 0, 1).await;
    assert_eq!(a.length, LaneNumber(2));
    store.put(lane_key(id(), LaneNumber(4)), wal_object(id(), 4));
    let b = seal(&store, &Env::seeded(1), id(), LaneNumber(0), 4, b"b").await.expect("sealed");
    assert_eq!(b, a);
}

/// F5 (ii): the sealer's trim point is older than what was deleted. Its length lies below the trim, which the journal
/// refuses; from the new trim point it finds the true one, past its own useless seal.
#[tokio::test(start_paused = true)]
async fn seal_below_trim() {
    let store = store_with(80..95);
    let stale = seal_from(&store, 50, 8).await;
    assert!(stale.length < LaneNumber(80), "refused by whoever knows the trim");
    let sealed = seal_from(&store, 80, 8).await;
    assert_eq!(sealed.length, LaneNumber(95));
}

/// A sealer dies after it sealed ahead and before it sealed the hole. The next one seals the hole first, if the owner
/// does not fill it; if it does, the lane ends at the dead sealer's seal.
#[tokio::test(start_paused = true)]
async fn seal_ahead_crash() {
    for owner_fills in [false, true] {
        let store = store_with([0, 1]);
        for number in [3, 4] {
            let seal = seal_object(id(), LaneNumber(number), Nonce(number), b"");
            store.put(lane_key(id(), LaneNumber(number)), seal.payload.concat().into());
        }
        if owner_fills {
            store.put(lane_key(id(), LaneNumber(2)), wal_object(id(), 2));
        }
        let sealed = seal_from(&store, 0, 4).await;
        let expected = if owner_fills { (3, Nonce(3)) } else { (2, sealed.seal_nonce) };
        assert_eq!((sealed.length.0, sealed.seal_nonce), expected);
    }
}

/// The same with a live owner: its PUT of the hole is on the wire while the second sealer works. One of them gets it, and
/// what the owner acknowledged is below the length.
#[tokio::test(start_paused = true)]
async fn seal_ahead_crash_with_a_live_owner() {
    for landing in [1, 15, 25, 35, 200] {
        let store = Arc::new(store_with([]));
        let seal = seal_object(id(), LaneNumber(1), Nonce(1), b"");
        store.put(lane_key(id(), LaneNumber(1)), seal.payload.concat().into());
        store.script_lane(id(), 0, [Step::After(ms(landing))]);
        let lane = owner(&store);
        lane.push(append(1, 0, b"record")).expect("lives");
        sleep(ms(1)).await;
        let sealed = seal_from(&store, 0, 4).await;
        let outcome = lane.wait_durable(LaneNumber(0)).await;
        assert_eq!(
            outcome.is_ok(),
            sealed.length.0 == 1,
            "landing after {landing} ms: {outcome:?}, {sealed:?}"
        );
    }
}

fn owner(store: &Arc<RigStore>) -> Lane {
    let budget = Budget::new(64 << 20);
    let config = LaneConfig::for_store(store.traits(), &budget);
    Lane::start(store.clone(), &Env::seeded(3), id(), LaneRef(0), config, TailCache::new(&budget))
}

/// L3: an owner that is always there first. Sealing ahead overtakes it.
#[tokio::test(start_paused = true)]
async fn a_fast_owner_cannot_starve_its_sealer() {
    let mut store = RigStore::new(8);
    store.latency = ms(2);
    let store = Arc::new(store);
    let lane = owner(&store);
    let pusher = lane.clone();
    let pushing = tokio::spawn(async move {
        let mut base = 0;
        while pusher.push(append(1, base, b"record")).is_ok() {
            base += 1;
            sleep(ms(1)).await;
        }
    });
    sleep(ms(100)).await;
    let sealed = timeout(ms(500), seal_from(&store, 0, 1)).await.expect("overtakes it");
    let ended = lane.wait_ended().await;
    assert!(matches!(&ended, LaneEnded::Fenced { at, .. } if *at >= sealed.length), "{ended}");
    assert!(lane.durable_below() <= sealed.length);
    pushing.await.expect("ends");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_loses_answers_is_waited_for() {
    let store = store_with([0]);
    let key = lane_key(id(), LaneNumber(1));
    store.script(key, [Step::Lost, Step::LostAnswer(ms(10))]);
    assert_eq!(seal_from(&store, 0, 2).await.length, LaneNumber(1));
}

/// F19: the seal does not depend on what can be read below it; what cannot is named.
#[tokio::test(start_paused = true)]
async fn an_unreadable_object_is_named_and_does_not_stop_the_seal() {
    let store = store_with([0, 2]);
    let torn = wal_object(id(), 1);
    store.put(lane_key(id(), LaneNumber(1)), torn.slice(..torn.len() - 3));
    let sealed = seal_from(&store, 0, 2).await;
    assert_eq!((sealed.length.0, sealed.unreadable), (3, vec![LaneNumber(1)]));
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_object_in_the_lane_is_an_error_with_its_key() {
    let strangers = [wal_object(lane_id(8), 1), wal_object(id(), 2), {
        let header = ObjectHeader::new(ObjectKind::Merged, id(), 1, Nonce(1));
        ObjectBuilder::new(header, ChunkPool::new(0), 0, 0).finish().payload.concat().into()
    }];
    for stranger in strangers {
        let store = store_with([0]);
        store.put(lane_key(id(), LaneNumber(1)), stranger);
        let error = seal(&store, &Env::seeded(1), id(), LaneNumber(0), 2, b"").await.expect_err("refused");
        assert!(
            matches!(&error, SealError::Foreign { key, .. } if *key == lane_key(id(), LaneNumber(1))),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_a_later_release_is_not_taken_for_damage() {
    let mut header = ObjectHeader::new(ObjectKind::Wal, id(), 0, Nonce(1));
    header.version = 2;
    let store = RigStore::new(1);
    let later = ObjectBuilder::new(header, ChunkPool::new(0), 0, 0).finish();
    store.put(lane_key(id(), LaneNumber(0)), later.payload.concat().into());
    let error = seal(&store, &Env::seeded(1), id(), LaneNumber(0), 2, b"").await.expect_err("refused");
    assert!(error.to_string().contains("upgrade"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_says_so() {
    let store = store_with([0]);
    store.script_lane(id(), 1, [Step::Refused]);
    let error = seal(&store, &Env::seeded(1), id(), LaneNumber(0), 2, b"").await.expect_err("refused");
    assert!(error.to_string().contains("403"), "{error}");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(seal_from(&store, 0, 2).await.length, LaneNumber(1), "and it may be tried again");
}
