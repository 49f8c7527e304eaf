//! Proves at each start that a store honours create-if-absent, on which everything rests (I2). Some servers ignore the
//! header, some check and then act: both would lose acknowledged records quietly.
//!
//! The order of things:
//! 1. HEAD of the record `proof/<release>-<endpoint>`.
//! 2. There: creating it again must meet Exists (one PUT; PRACTICE O3: a start has no time for more).
//! 3. Not there: the full race, many writers over a few keys under `proof/race/`: at most one Created per key, and it is the
//!    one whose body is there; a create of each existing key must meet Exists. Then the keys are deleted and the record is
//!    created.
//!
//! A race is a sample: it catches whoever ignores the header, not whoever errs once in a million. The foreign-object and
//! chain checks of lanes and journal stay on for life.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::create::{ATTEMPT_BASE, CreateOptions, create};
use super::retry::retry;
use super::{PutNew, PutPayload, Store, StoreError};
use crate::env::Env;

/// How a store was found to be sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By the full race, now.
    Raced,
    /// Raced earlier by this release; an existing key was refused just now.
    Recorded,
}

/// Why a store will not do.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Two creates of one key succeeded.
    #[error(
        "{store} does not honour create-if-absent ({evidence}). Records could be lost without a trace, so Aquifer does not \
         start on it. Use a store that does: Amazon S3, MinIO since October 2025, Google Cloud Storage, Azure Blob Storage, \
         or a directory (file:///path). If a proxy or gateway is in between, it must pass the If-None-Match header on."
    )]
    IgnoresConditions {
        /// The store's name.
        store: String,
        /// What was seen.
        evidence: String,
    },
    /// The store said no.
    #[error(
        "{store} refused: {why}. Check that the bucket exists and that the credentials may get, put, list and delete in it."
    )]
    Refused {
        /// The store's name.
        store: String,
        /// What it said.
        why: String,
    },
    /// The store did not answer for [`PATIENCE`].
    #[error(
        "{store} did not answer within {PATIENCE:?}: {why}. Check the endpoint, the network, the region, and that \
         credentials are given (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_*, AZURE_*)."
    )]
    Silent {
        /// The store's name.
        store: String,
        /// The last error.
        why: String,
    },
    /// The directory's disk.
    #[error("{store}: {why}")]
    Disk {
        /// The store's name.
        store: String,
        /// What failed.
        why: String,
    },
}

/// How long a start waits for answers.
pub const PATIENCE: Duration = Duration::from_secs(30);

const RACE_KEYS: usize = 8;
const RACE_WRITERS: usize = 8;

/// Proves `store` sound, or says by name why it is not. The race is run once per release and endpoint.
///
/// # Errors
/// [`ProofError`], each with its remedy.
pub async fn prove(store: &dyn Store, env: &Env) -> Result<Proof, ProofError> {
    match tokio::time::timeout(2 * PATIENCE, prove_in_time(store, env)).await {
        Ok(proof) => proof,
        Err(_) => Err(ProofError::Silent { store: name(store), why: "creates stay unresolved".into() }),
    }
}

async fn prove_in_time(store: &dyn Store, env: &Env) -> Result<Proof, ProofError> {
    let record = record_key(&store.traits().name);
    let known = retry(env, Some(PATIENCE), || store.head(&record)).await.map_err(|e| failed(store, e))?;
    if known.is_some() {
        must_exist(store, env, &record).await?;
        return Ok(Proof::Recorded);
    }
    race(store, env).await?;
    let body = PutPayload::from(format!("{} {:016x}\n", env!("CARGO_PKG_VERSION"), env.entropy.nonce().0));
    // Whoever else races at the same time may record it first: as good.
    create(store, env, &record, body, CreateOptions::default()).await.map_err(|e| failed(store, e))?;
    Ok(Proof::Raced)
}

/// A create of a key that is there must say so.
async fn must_exist(store: &dyn Store, env: &Env, key: &str) -> Result<(), ProofError> {
    let body = PutPayload::from(format!("overwritten {:016x}", env.entropy.nonce().0));
    retry(env, Some(PATIENCE), || async {
        match store.put_new(key, body.clone(), ATTEMPT_BASE).await {
            PutNew::Exists => Ok(Ok(())),
            PutNew::Created => Ok(Err(format!("an existing key, {key}, could be created again"))),
            PutNew::Unknown(error) => Err(error),
        }
    })
    .await
    .map_err(|error| failed(store, error))?
    .map_err(|evidence| ProofError::IgnoresConditions { store: name(store), evidence })
}

async fn race(store: &dyn Store, env: &Env) -> Result<(), ProofError> {
    let place = format!("proof/race/{:016x}", env.entropy.nonce().0);
    let keys: Vec<String> = (0..RACE_KEYS).map(|n| format!("{place}/{n:020}")).collect();
    let verdict = async {
        join_all(keys.iter().map(|key| race_for(store, env, key)))
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
        join_all(keys.iter().map(|key| must_exist(store, env, key))).await.into_iter().collect()
    };
    let verdict = verdict.await;
    // What stays behind after a fault lies under a prefix that nothing reads.
    let deletes = keys.iter().map(|key| retry(env, Some(Duration::from_secs(5)), || store.delete(key)));
    for deleted in join_all(deletes).await {
        if let Err(error) = deleted {
            tracing::warn!(%error, place, "could not clean up after the store's proof");
        }
    }
    verdict
}

/// Everybody creates `key` at once, once. An Unknown tells nothing, for or against.
async fn race_for(store: &dyn Store, env: &Env, key: &str) -> Result<(), ProofError> {
    let bodies: Vec<Bytes> = (0..RACE_WRITERS)
        .map(|n| Bytes::from(format!("writer {n} {:016x}", env.entropy.nonce().0)))
        .collect();
    let puts = bodies.iter().map(|body| store.put_new(key, body.clone().into(), ATTEMPT_BASE));
    let told = join_all(puts).await;
    let winners: Vec<usize> =
        told.iter().enumerate().filter(|(_, put)| matches!(put, PutNew::Created)).map(|(n, _)| n).collect();
    if winners.len() > 1 {
        let evidence = format!("{} of {RACE_WRITERS} racing creates of {key} succeeded", winners.len());
        return Err(ProofError::IgnoresConditions { store: name(store), evidence });
    }
    for put in told {
        if let PutNew::Unknown(error @ (StoreError::Refused(_) | StoreError::NoSpace(_))) = put {
            return Err(failed(store, error));
        }
    }
    if winners.is_empty() {
        // Faults hid the winner; there must be one for what follows.
        let own = PutPayload::from(bodies[0].clone());
        create(store, env, key, own, CreateOptions::default()).await.map_err(|e| failed(store, e))?;
        return Ok(());
    }
    let there = retry(env, Some(PATIENCE), || store.get(key)).await.map_err(|e| failed(store, e))?;
    if there.as_ref() != Some(&bodies[winners[0]]) {
        let evidence = format!("{key} does not hold what its only successful create wrote");
        return Err(ProofError::IgnoresConditions { store: name(store), evidence });
    }
    Ok(())
}

/// Where it is recorded that this release has raced on the store of that name.
fn record_key(store: &str) -> String {
    // FNV-1a: a name in a key, not a secret.
    let hash =
        store.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("proof/{}-{hash:016x}", env!("CARGO_PKG_VERSION"))
}

fn name(store: &dyn Store) -> String {
    store.traits().name.clone()
}

fn failed(store: &dyn Store, error: StoreError) -> ProofError {
    let store = name(store);
    match error {
        StoreError::Transient(why) => ProofError::Silent { store, why },
        StoreError::Refused(why) => ProofError::Refused { store, why },
        error @ (StoreError::NoSpace(_) | StoreError::FsyncFailed(_)) => {
            ProofError::Disk { store, why: error.to_string() }
        }
    }
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use super::*;
    use crate::sim::s3::{FakeS3, Faults};
    use crate::store::MemoryStore;
    use crate::store::metrics::{CountedStore, Op};

    #[tokio::test(start_paused = true)]
    async fn a_sound_store_is_raced_once_and_then_asked_one_create() {
        let env = Env::seeded(1);
        let (store, counts) = CountedStore::new(std::sync::Arc::new(MemoryStore::new()));
        assert_eq!(prove(&*store, &env).await.expect("sound"), Proof::Raced);
        assert_eq!(store.list("proof/race/").await.expect("list"), [], "cleaned up");
        let before = counts.of(Op::Put).calls;
        assert_eq!(prove(&*store, &env).await.expect("sound"), Proof::Recorded);
        assert_eq!(counts.of(Op::Put).calls - before, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_ignores_the_header_is_refused_by_name_with_the_remedy() {
        let fake = FakeS3::new(1, Faults::none());
        fake.ignore_conditions(true);
        let error = prove(&*fake.client("a"), &Env::seeded(1)).await.expect_err("refused").to_string();
        assert!(error.contains("s3://sim") && error.contains("8 of 8 racing creates"), "{error}");
        assert!(error.contains("If-None-Match") && error.contains("MinIO"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_was_sound_and_ignores_the_header_now_is_refused() {
        let fake = FakeS3::new(1, Faults::none());
        let store = fake.client("a");
        assert_eq!(prove(&*store, &Env::seeded(1)).await.expect("sound"), Proof::Raced);
        fake.ignore_conditions(true);
        let error = prove(&*store, &Env::seeded(2)).await.expect_err("refused");
        assert!(error.to_string().contains("could be created again"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn faults_neither_refuse_a_sound_store_nor_pass_for_a_proof() {
        for seed in 0..20 {
            let fake = FakeS3::new(seed, Faults::rough());
            prove(&*fake.client("a"), &Env::seeded(seed)).await.expect("sound behind faults");
        }
        let fake = FakeS3::new(1, Faults::none());
        fake.down();
        let error = prove(&*fake.client("a"), &Env::seeded(1)).await.expect_err("silent");
        assert!(matches!(error, ProofError::Silent { .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_bucket_is_named() {
        let fake = FakeS3::new(1, Faults::none());
        fake.remove_bucket();
        let error = prove(&*fake.client("a"), &Env::seeded(1)).await.expect_err("refused");
        assert!(matches!(error, ProofError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("bucket exists"), "{error}");
    }
}
