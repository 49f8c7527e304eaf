//! A store for the tests of the lane: in memory, slow as told, and lying by omission by script or by seed.
//!
//! A request goes on when its caller has gone (a PUT on the wire does): it runs on the test's runtime, outside the gate
//! of any process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::entropy::Entropy;
use crate::ids::{Incarnation, LaneId, LaneNumber, Nonce, lane_key};
use crate::object::{BlockKind, parse_whole};
use crate::store::{Listed, PutNew, PutPayload, Space, Store, StoreError, StoreTraits, Tail};

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn lane_id(seq: u64) -> LaneId {
    LaneId { incarnation: Incarnation { seq, index: 0 }, nonce: Nonce(seq) }
}

/// What one PUT of a key does.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Lands, then answers, after so long.
    After(Duration),
    /// Lands after so long; the answer is lost.
    LostAnswer(Duration),
    /// Never lands; no answer until the deadline.
    Lost,
    /// 403.
    Refused,
    /// The directory is full.
    NoSpace,
    /// fsync fails.
    FsyncFailed,
}

/// Faults by seed.
#[derive(Clone, Debug)]
pub struct Chaos {
    pub entropy: Entropy,
    /// Longest time to land, and again to answer.
    pub latency: Duration,
    /// Probability that an answer is lost, that a request is, that it lands long after its deadline; of a failed read.
    pub fault: f64,
}

#[derive(Debug)]
pub struct RigStore {
    shared: Arc<Shared>,
    traits: StoreTraits,
    chaos: Option<Chaos>,
    pub latency: Duration,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    objects: Mutex<BTreeMap<String, Bytes>>,
    steps: Mutex<HashMap<String, VecDeque<Step>>>,
    trace: Mutex<Vec<String>>,
}

impl RigStore {
    pub fn new(puts_in_flight: usize) -> RigStore {
        let traits = StoreTraits {
            name: "rig".into(),
            directory: false,
            puts_in_flight,
            puts_per_second_max: None,
            hedge: true,
            deletes_at_once: 1,
            free_min: None,
        };
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            objects: Mutex::default(),
            steps: Mutex::default(),
            trace: Mutex::default(),
        });
        RigStore { shared, traits, chaos: None, latency: ms(10) }
    }

    pub fn with_chaos(puts_in_flight: usize, chaos: Chaos) -> RigStore {
        RigStore { chaos: Some(chaos), ..RigStore::new(puts_in_flight) }
    }

    /// The next PUTs of `key` do these; later ones are honest.
    pub fn script(&self, key: String, steps: impl IntoIterator<Item = Step>) {
        self.shared.steps.lock().entry(key).or_default().extend(steps);
    }

    /// The same for a number of a lane.
    pub fn script_lane(&self, lane: LaneId, number: u64, steps: impl IntoIterator<Item = Step>) {
        self.script(lane_key(lane, LaneNumber(number)), steps);
    }

    pub fn put(&self, key: String, bytes: Bytes) {
        self.shared.objects.lock().insert(key, bytes);
    }

    pub fn object(&self, lane: LaneId, number: u64) -> Option<Bytes> {
        self.shared.objects.lock().get(&lane_key(lane, LaneNumber(number))).cloned()
    }

    pub fn remove(&self, lane: LaneId, number: u64) {
        self.shared.objects.lock().remove(&lane_key(lane, LaneNumber(number)));
    }

    /// The payloads of a stream in lane objects 0..length, in order.
    pub fn payload(&self, lane: LaneId, length: u64, stream: u64) -> Vec<u8> {
        let mut payload = Vec::new();
        for number in 0..length {
            let bytes = self.object(lane, number).unwrap_or_else(|| panic!("no object {number}"));
            let whole = parse_whole(bytes).expect("whole");
            for entry in &whole.footer.entries {
                if entry.kind == BlockKind::Data && entry.stream.0 == stream {
                    payload.extend_from_slice(&whole.block(entry).expect("block"));
                }
            }
        }
        payload
    }

    /// What happened, in order, with its time.
    pub fn trace(&self) -> Vec<String> {
        self.shared.trace.lock().clone()
    }

    pub fn note(&self, what: impl Into<String>) {
        self.shared.note(what.into());
    }

    fn step(&self, key: &str) -> Step {
        if let Some(step) = self.shared.steps.lock().get_mut(key).and_then(VecDeque::pop_front) {
            return step;
        }
        let Some(chaos) = &self.chaos else { return Step::After(self.latency) };
        let late = chaos.entropy.chance(chaos.fault / 3.0).then(|| chaos.entropy.jitter(ms(8_000)));
        let landing = late.unwrap_or_else(|| chaos.entropy.jitter(chaos.latency));
        if chaos.entropy.chance(chaos.fault / 3.0) {
            Step::Lost
        } else if late.is_some() || chaos.entropy.chance(chaos.fault / 3.0) {
            Step::LostAnswer(landing)
        } else {
            Step::After(landing)
        }
    }

    async fn read_delay(&self) -> Result<(), StoreError> {
        let Some(chaos) = &self.chaos else {
            sleep(self.latency).await;
            return Ok(());
        };
        sleep(chaos.entropy.jitter(chaos.latency)).await;
        if chaos.entropy.chance(chaos.fault / 3.0) {
            return Err(StoreError::Transient("read failed".into()));
        }
        Ok(())
    }
}

impl Shared {
    fn note(&self, what: String) {
        self.trace.lock().push(format!("{:?} {what}", self.begun.elapsed()));
    }

    fn land(&self, key: &str, body: &PutPayload) -> bool {
        let mut objects = self.objects.lock();
        let absent = !objects.contains_key(key);
        if absent {
            let bytes: Vec<u8> = body.iter().flat_map(|part| part.to_vec()).collect();
            objects.insert(key.into(), bytes.into());
        }
        drop(objects);
        self.note(format!("{key} {}", if absent { "created" } else { "exists" }));
        absent
    }
}

#[async_trait]
impl Store for RigStore {
    async fn put_new(&self, key: &str, body: PutPayload, timeout: Duration) -> PutNew {
        let lost = || PutNew::Unknown(StoreError::Transient("no answer".into()));
        let (landing, answered) = match self.step(key) {
            Step::After(landing) => (landing, true),
            Step::LostAnswer(landing) => (landing, false),
            Step::Lost => {
                sleep(timeout).await;
                return lost();
            }
            Step::Refused => return PutNew::Unknown(StoreError::Refused("403".into())),
            Step::NoSpace => return PutNew::Unknown(StoreError::NoSpace("rig".into())),
            Step::FsyncFailed => return PutNew::Unknown(StoreError::FsyncFailed("EIO".into())),
        };
        let (shared, key) = (self.shared.clone(), key.to_string());
        let request = tokio::spawn(async move {
            sleep(landing).await;
            shared.land(&key, &body)
        });
        let answer = async {
            let created = request.await.expect("lands");
            match (answered, created) {
                (false, _) => std::future::pending().await,
                (true, true) => PutNew::Created,
                (true, false) => PutNew::Exists,
            }
        };
        tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| lost())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.read_delay().await?;
        Ok(self.shared.objects.lock().get(key).cloned())
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        let bytes = self.get(key).await?;
        Ok(bytes.map(|bytes| bytes.slice(range.start as usize..range.end as usize)))
    }

    async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError> {
        let bytes = self.get(key).await?;
        Ok(bytes.map(|bytes| {
            let object_len = bytes.len() as u64;
            Tail { bytes: bytes.slice(bytes.len() - len.min(object_len) as usize..), object_len }
        }))
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.get(key).await?.map(|bytes| bytes.len() as u64))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let objects = self.shared.objects.lock();
        let under = objects.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(under.map(|(key, bytes)| Listed { key: key.clone(), len: bytes.len() as u64 }).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.shared.objects.lock().remove(key);
        Ok(())
    }

    async fn space(&self) -> Result<Option<Space>, StoreError> {
        Ok(None)
    }

    fn traits(&self) -> &StoreTraits {
        &self.traits
    }
}
