//! A bucket in memory with the faults that the journal must bear, seeded: answers lost after the fact, PUTs that land long
//! after their deadline, 409s where nothing is, reads that fail, spikes of latency. Each process has its own view, so that
//! one can be cut off.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::env::Env;
use crate::store::{Listed, PutNew, PutPayload, Space, Store, StoreError, StoreTraits, Tail};
use crate::tasks::Tasks;

/// Tokio's paused time as a clock.
#[derive(Debug)]
pub struct TokioClock(Instant);

impl Clock for TokioClock {
    fn wall_ms(&self) -> i64 {
        1_700_000_000_000 + self.monotonic().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A process: its own tasks and dice, the common time.
pub fn env(seed: u64) -> Env {
    Env { clock: Arc::new(TokioClock(Instant::now())), entropy: Entropy::seeded(seed), tasks: Tasks::new() }
}

/// How a bucket behaves. Changed while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub latency: (Duration, Duration),
    /// Probability that an answer is lost: after the fact for half of the PUTs, before it for the other half.
    pub lost: f64,
    /// Probability that a PUT is told to have failed and lands up to a minute later.
    pub late: f64,
    /// Probability of a 409 for a key that is not there.
    pub conflict: f64,
    /// Nothing answers.
    pub down: bool,
}

impl Weather {
    pub const CALM: Weather = Weather {
        latency: (Duration::ZERO, Duration::ZERO),
        lost: 0.0,
        late: 0.0,
        conflict: 0.0,
        down: false,
    };

    pub fn slow(ms: u64) -> Weather {
        Weather { latency: (Duration::from_millis(ms / 2), Duration::from_millis(ms)), ..Weather::CALM }
    }

    pub fn stormy() -> Weather {
        Weather {
            latency: (Duration::from_millis(2), Duration::from_millis(80)),
            lost: 0.08,
            late: 0.04,
            conflict: 0.03,
            down: false,
        }
    }
}

/// What all processes share.
#[derive(Debug)]
pub struct Bucket {
    pub objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    entropy: Entropy,
    pub weather: Mutex<Weather>,
    /// Every body ever stored under a key: what was once there must never be followed by something else.
    pub history: Arc<Mutex<BTreeMap<String, Vec<Bytes>>>>,
}

impl Bucket {
    pub fn new(seed: u64, weather: Weather) -> Arc<Bucket> {
        Arc::new(Bucket {
            objects: Arc::default(),
            entropy: Entropy::seeded(seed ^ 0xb0c4e7),
            weather: Mutex::new(weather),
            history: Arc::default(),
        })
    }

    pub fn calm() -> Arc<Bucket> {
        Bucket::new(0, Weather::CALM)
    }

    /// A process's view.
    pub fn view(self: &Arc<Bucket>) -> Arc<View> {
        Arc::new(View {
            bucket: self.clone(),
            down: Mutex::new(false),
            stale_list: Mutex::new(None),
            hold: Mutex::new(None),
            traits: StoreTraits {
                name: "test".into(),
                directory: false,
                puts_in_flight: 8,
                puts_per_second_max: None,
                hedge: false,
                deletes_at_once: 1,
                free_min: None,
            },
        })
    }

    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.objects.lock().keys().filter(|k| k.starts_with(prefix)).cloned().collect()
    }

    fn insert(
        objects: &Mutex<BTreeMap<String, Bytes>>,
        history: &Mutex<BTreeMap<String, Vec<Bytes>>>,
        key: &str,
        body: &Bytes,
    ) -> bool {
        let mut objects = objects.lock();
        if objects.contains_key(key) {
            return false;
        }
        objects.insert(key.to_owned(), body.clone());
        history.lock().entry(key.to_owned()).or_default().push(body.clone());
        true
    }
}

/// One process's way to the bucket.
#[derive(Debug)]
pub struct View {
    pub bucket: Arc<Bucket>,
    /// This process is cut off.
    pub down: Mutex<bool>,
    /// What a listing says, if not the truth: once.
    pub stale_list: Mutex<Option<Vec<Listed>>>,
    /// A PUT of a key with this prefix is held back until told: the sender's body, for the test to land.
    pub hold: Mutex<Option<String>>,
    traits: StoreTraits,
}

impl View {
    /// The way there, and back.
    async fn travel(&self) -> Result<(), StoreError> {
        let weather = *self.bucket.weather.lock();
        let (least, most) = weather.latency;
        let pause = least + self.bucket.entropy.jitter(most.saturating_sub(least));
        if pause > Duration::ZERO {
            sleep(pause).await;
        }
        if weather.down || *self.down.lock() {
            sleep(Duration::from_secs(1)).await;
            return Err(StoreError::Transient("down".into()));
        }
        match self.bucket.entropy.chance(weather.lost / 2.0) {
            true => Err(StoreError::Transient("lost".into())),
            false => Ok(()),
        }
    }

    fn lookup(&self, key: &str) -> Option<Bytes> {
        self.bucket.objects.lock().get(key).cloned()
    }
}

#[async_trait]
impl Store for View {
    async fn put_new(&self, key: &str, body: PutPayload, deadline: Duration) -> PutNew {
        let body = Bytes::from(body);
        let weather = *self.bucket.weather.lock();
        let held = self.hold.lock().as_ref().is_some_and(|prefix| key.starts_with(prefix.as_str()));
        if held {
            // Sent, and stuck: it is as if the process were stopped between sending and hearing.
            loop {
                sleep(Duration::from_millis(1)).await;
                if self.hold.lock().is_none() {
                    break;
                }
            }
        }
        if self.bucket.entropy.chance(weather.late) {
            let (objects, history) = (self.bucket.objects.clone(), self.bucket.history.clone());
            let (key, body) = (key.to_owned(), body.clone());
            let late = self.bucket.entropy.jitter(Duration::from_secs(60));
            tokio::spawn(async move {
                sleep(late).await;
                Bucket::insert(&objects, &history, &key, &body);
            });
            return PutNew::Unknown(StoreError::Transient("timed out".into()));
        }
        if self.bucket.entropy.chance(weather.conflict) {
            return PutNew::Exists;
        }
        match timeout(deadline, self.travel()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return PutNew::Unknown(error),
            Err(_) => return PutNew::Unknown(StoreError::Transient("timed out".into())),
        }
        let created = Bucket::insert(&self.bucket.objects, &self.bucket.history, key, &body);
        match self.travel().await {
            Err(error) => PutNew::Unknown(error),
            Ok(()) if created => PutNew::Created,
            Ok(()) => PutNew::Exists,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.travel().await?;
        let found = self.lookup(key);
        self.travel().await?;
        Ok(found)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get(key).await?.map(|b| b.slice(range.start as usize..range.end as usize)))
    }

    async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError> {
        Ok(self.get(key).await?.map(|b| Tail {
            bytes: b.slice(b.len().saturating_sub(len as usize)..),
            object_len: b.len() as u64,
        }))
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        self.travel().await?;
        let found = self.lookup(key).map(|b| b.len() as u64);
        self.travel().await?;
        Ok(found)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.travel().await?;
        if prefix == "meta/snapshot/"
            && let Some(stale) = self.stale_list.lock().take()
        {
            return Ok(stale);
        }
        let objects = self.bucket.objects.lock();
        let matching = objects.iter().filter(|(k, _)| k.starts_with(prefix));
        Ok(matching.map(|(k, b)| Listed { key: k.clone(), len: b.len() as u64 }).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.travel().await?;
        self.bucket.objects.lock().remove(key);
        Ok(())
    }

    async fn space(&self) -> Result<Option<Space>, StoreError> {
        Ok(None)
    }

    fn traits(&self) -> &StoreTraits {
        &self.traits
    }
}
