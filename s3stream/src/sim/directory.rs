//! A disk that remembers what was flushed, and forgets the rest when its power fails; under the real steps of a directory
//! store ([`crate::store::directory::steps`]). Owns what is visible and what is durable of names; bodies are flushed before
//! they get one.
//!
//! What a flush of a directory makes durable is what was visible when it *began*. A flush that fails makes nothing durable,
//! and later ones say Ok all the same, as Linux does after an error was reported once: what they missed stays lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::entropy::Entropy;
use crate::env::Env;
use crate::store::directory::steps::{Disk, Part, Steps};
use crate::store::{
    Listed, PutNew, PutPayload, Space, Store, StoreError, StoreTraits, Tail, slice_range, slice_tail,
};

/// One disk. Clones are the same disk; several processes may have stores on it.
#[derive(Clone)]
pub struct SimVolume(Arc<Volume>);

struct Volume {
    state: Mutex<State>,
    /// True while flushes of directories hang.
    held: watch::Sender<bool>,
}

struct State {
    visible: BTreeMap<String, Bytes>,
    durable: BTreeMap<String, Bytes>,
    /// Names whose flush failed: no later flush will make them durable.
    doomed: BTreeSet<String>,
    /// Flushes that still go well, then so many that fail.
    failing_flushes: (u32, u32),
    free: u64,
    dice: Entropy,
    flush: Duration,
}

impl SimVolume {
    /// An empty disk, whose flushes take about a millisecond.
    pub fn new(seed: u64) -> SimVolume {
        let state = State {
            visible: BTreeMap::new(),
            durable: BTreeMap::new(),
            doomed: BTreeSet::new(),
            failing_flushes: (0, 0),
            free: 1 << 40,
            dice: Entropy::seeded(seed),
            flush: Duration::from_millis(1),
        };
        SimVolume(Arc::new(Volume { state: Mutex::new(state), held: watch::Sender::new(false) }))
    }

    /// A store on this disk, as one process has it. Make a new one for a process that starts again.
    pub fn store(&self, env: &Env) -> Arc<SimDirectory> {
        let traits = StoreTraits {
            name: "file:///sim".into(),
            directory: true,
            puts_in_flight: 1,
            puts_per_second_max: Some(1000),
            hedge: false,
            deletes_at_once: 1,
            free_min: Some(1 << 30),
        };
        Arc::new(SimDirectory { steps: Steps::new(self.clone(), env.tasks.clone()), traits })
    }

    /// The power fails: names that were not flushed are gone, names that were removed but not flushed are back. Kill the
    /// processes first.
    pub fn power_loss(&self) {
        let mut state = self.0.state.lock();
        state.visible = state.durable.clone();
        state.doomed.clear();
    }

    /// The same, but each name that was not flushed may have made it, as the dice say.
    pub fn power_loss_in_part(&self) {
        let state = &mut *self.0.state.lock();
        let names: BTreeSet<String> = state.visible.keys().chain(state.durable.keys()).cloned().collect();
        for name in names {
            if state.visible.contains_key(&name) == state.durable.contains_key(&name)
                || state.dice.chance(0.5)
            {
                continue;
            }
            match state.visible.get(&name).cloned() {
                Some(body) if !state.doomed.contains(&name) => state.durable.insert(name, body),
                _ => state.durable.remove(&name),
            };
        }
        state.visible = state.durable.clone();
        state.doomed.clear();
    }

    /// After `good` more flushes, `times` fail. A create has two: its body's, then its directory's.
    pub fn fail_flushes(&self, good: u32, times: u32) {
        self.0.state.lock().failing_flushes = (good, times);
    }

    /// Flushes of directories hang until [`SimVolume::release_flushes`]: the moment between visible and durable, held.
    pub fn hold_flushes(&self) {
        self.0.held.send_replace(true);
    }

    /// They go on.
    pub fn release_flushes(&self) {
        self.0.held.send_replace(false);
    }

    /// Is the object visible, to anyone?
    pub fn is_visible(&self, key: &str) -> bool {
        self.0.state.lock().visible.contains_key(key)
    }

    /// Would it survive a power cut?
    pub fn is_durable(&self, key: &str) -> bool {
        self.0.state.lock().durable.contains_key(key)
    }

    /// Sets how much room is left, in bytes.
    pub fn set_free(&self, bytes: u64) {
        self.0.state.lock().free = bytes;
    }

    async fn flush_takes(&self) {
        let takes = {
            let state = self.0.state.lock();
            state.flush / 2 + state.dice.jitter(state.flush)
        };
        sleep(takes).await;
    }

    /// Consumes an injected failure.
    fn flush_fails(&self) -> bool {
        let mut state = self.0.state.lock();
        match &mut state.failing_flushes {
            (0, 0) => false,
            (0, times) => {
                *times -= 1;
                true
            }
            (good, _) => {
                *good -= 1;
                false
            }
        }
    }
}

impl fmt::Debug for SimVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        write!(f, "disk with {} objects, {} durable", state.visible.len(), state.durable.len())
    }
}

impl Disk for SimVolume {
    type Staged = Bytes;

    async fn stage(&self, _key: &str, body: &PutPayload) -> Result<Bytes, StoreError> {
        {
            let mut state = self.0.state.lock();
            let bytes = body.content_length() as u64;
            if state.free < bytes {
                return Err(StoreError::NoSpace("sim".into()));
            }
            state.free -= bytes;
        }
        self.flush_takes().await;
        if self.flush_fails() {
            return Err(StoreError::FsyncFailed("staged body".into()));
        }
        Ok(Bytes::from(body.clone()))
    }

    async fn publish(&self, staged: Bytes, key: &str) -> Result<bool, StoreError> {
        tokio::task::yield_now().await;
        let mut state = self.0.state.lock();
        if state.visible.contains_key(key) {
            return Ok(false);
        }
        state.visible.insert(key.to_owned(), staged);
        Ok(true)
    }

    async fn sync_entry(&self, key: &str) -> Result<(), StoreError> {
        let directory = key.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("{directory}/"));
        let (seen, gone) = {
            let state = self.0.state.lock();
            let within = |name: &&String| name.starts_with(&directory);
            let seen: Vec<String> = state.visible.keys().filter(within).cloned().collect();
            let gone: Vec<String> = state
                .durable
                .keys()
                .filter(within)
                .filter(|k| !state.visible.contains_key(*k))
                .cloned()
                .collect();
            (seen, gone)
        };
        let mut held = self.0.held.subscribe();
        // The sender lives in the volume: waiting cannot fail while we hold it.
        let _ = held.wait_for(|held| !held).await;
        self.flush_takes().await;
        let fails = self.flush_fails();
        let state = &mut *self.0.state.lock();
        if fails {
            let lost = seen.into_iter().filter(|name| !state.durable.contains_key(name));
            state.doomed.extend(lost);
            return Err(StoreError::FsyncFailed(format!("directory {directory}")));
        }
        for name in seen.into_iter().filter(|name| !state.doomed.contains(name)) {
            if let Some(body) = state.visible.get(&name) {
                state.durable.insert(name, body.clone());
            }
        }
        for name in gone.into_iter().filter(|name| !state.visible.contains_key(name)) {
            state.durable.remove(&name);
        }
        Ok(())
    }

    async fn read(&self, key: &str, part: &Part) -> Result<Option<Tail>, StoreError> {
        tokio::task::yield_now().await;
        let Some(body) = self.0.state.lock().visible.get(key).cloned() else { return Ok(None) };
        let object_len = body.len() as u64;
        let bytes = match part {
            Part::Whole => body,
            Part::Range(range) | Part::Once(range) => slice_range(key, &body, range.clone())?,
            Part::Tail(len) => slice_tail(&body, *len).bytes,
            Part::Length => Bytes::new(),
        };
        Ok(Some(Tail { bytes, object_len }))
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let mut state = self.0.state.lock();
        let freed = state.visible.remove(key).map_or(0, |body| body.len() as u64);
        state.free += freed;
        Ok(())
    }
}

/// One process's store on a [`SimVolume`].
pub struct SimDirectory {
    steps: Steps<SimVolume>,
    traits: StoreTraits,
}

#[async_trait]
impl Store for SimDirectory {
    async fn put_new(&self, key: &str, body: PutPayload, deadline: Duration) -> PutNew {
        match timeout(deadline, self.steps.put_new(key, &body)).await {
            Ok(put) => put,
            Err(_) => PutNew::Unknown(StoreError::Transient(format!("{key}: no answer from the disk"))),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.steps.read(key, &Part::Whole).await?.map(|read| read.bytes))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        Ok(self.steps.read(key, &Part::Range(range)).await?.map(|read| read.bytes))
    }

    async fn get_tail(&self, key: &str, len: u64) -> Result<Option<Tail>, StoreError> {
        self.steps.read(key, &Part::Tail(len)).await
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.steps.read(key, &Part::Length).await?.map(|read| read.object_len))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let state = self.steps.disk.0.state.lock();
        let under = state.visible.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(under.map(|(key, body)| Listed { key: key.clone(), len: body.len() as u64 }).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.steps.remove(key).await
    }

    async fn space(&self) -> Result<Option<Space>, StoreError> {
        let state = self.steps.disk.0.state.lock();
        let used: u64 = state.visible.values().map(|body| body.len() as u64).sum();
        Ok(Some(Space { free: state.free, total: state.free + used }))
    }

    fn traits(&self) -> &StoreTraits {
        &self.traits
    }
}

impl fmt::Debug for SimDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traits.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimProcess;
    use crate::store::create::ATTEMPT_BASE;
    use crate::store::{Create, CreateOptions, create};

    async fn put(store: &SimDirectory, key: &str) -> PutNew {
        store.put_new(key, PutPayload::from(key.to_owned()), ATTEMPT_BASE).await
    }

    /// SAFETY F17 (i): A publishes commit 2 and is stopped before its flush. B sees it, acts on it in another directory, and
    /// the power fails. What B acted on must still be there.
    #[tokio::test(start_paused = true)]
    async fn dir_power_loss_after_link() {
        for observes_by in ["get", "tail", "head", "range", "exists", "nothing"] {
            let volume = SimVolume::new(1);
            let (a, b) = (SimProcess::new(1), SimProcess::new(2));
            let (store_a, store_b) = (volume.store(&a.env), volume.store(&b.env));
            assert!(matches!(put(&store_a, "meta/log/1").await, PutNew::Created));

            volume.hold_flushes();
            a.env.tasks.spawn("commit", async move {
                put(&store_a, "meta/log/2").await;
            });
            sleep(Duration::from_millis(100)).await;
            assert!(volume.is_visible("meta/log/2") && !volume.is_durable("meta/log/2"));
            a.env.tasks.pause();
            volume.release_flushes();

            let acted = match observes_by {
                "get" => store_b.get("meta/log/2").await.expect("get").is_some(),
                "tail" => store_b.get_tail("meta/log/2", 4).await.expect("tail").is_some(),
                "head" => store_b.head("meta/log/2").await.expect("head").is_some(),
                "range" => store_b.get_range("meta/log/2", 0..4).await.expect("range").is_some(),
                "exists" => matches!(put(&store_b, "meta/log/2").await, PutNew::Exists),
                _ => false,
            };
            if acted {
                assert!(matches!(put(&store_b, "wal/b/0").await, PutNew::Created));
            }
            a.kill();
            b.kill();
            volume.power_loss();
            assert_eq!(volume.is_visible("wal/b/0"), acted, "{observes_by}");
            // The last round shows that without an observer it is lost: the rule does something.
            assert_eq!(volume.is_visible("meta/log/2"), acted, "{observes_by}");
            assert!(volume.is_visible("meta/log/1"));
        }
    }

    /// SAFETY F17 (ii): the flush after the link fails. Proposing again meets Exists, whose body is ours; it must not pass
    /// for Created, since the next flush says Ok over lost data.
    #[tokio::test(start_paused = true)]
    async fn fsync_error_then_exists() {
        let volume = SimVolume::new(1);
        let process = SimProcess::new(1);
        let store = volume.store(&process.env);
        assert!(matches!(put(&store, "wal/a/0").await, PutNew::Created));

        volume.fail_flushes(1, 1);
        let body = PutPayload::from("batch");
        for attempt in 0..3 {
            let options = CreateOptions { patient: true, ..CreateOptions::default() };
            let told = create(&*store, &process.env, "wal/a/1", body.clone(), options).await;
            assert!(matches!(told, Err(StoreError::FsyncFailed(_))), "attempt {attempt}: {told:?}");
            assert!(matches!(store.get("wal/a/1").await, Err(StoreError::FsyncFailed(_))));
            assert!(matches!(put(&store, "wal/a/2").await, PutNew::Unknown(StoreError::FsyncFailed(_))));
        }
        assert!(process.env.tasks.is_fatal().expect("ends the process").contains("fsync failed"));

        // What would have been lost: another flush of that directory goes well, the name is still gone.
        volume.sync_entry("wal/a/1").await.expect("says Ok");
        volume.power_loss();
        assert!(!volume.is_visible("wal/a/1") && volume.is_visible("wal/a/0"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_of_the_body_that_fails_publishes_nothing() {
        let volume = SimVolume::new(1);
        let process = SimProcess::new(1);
        let store = volume.store(&process.env);
        volume.fail_flushes(0, 1);
        assert!(matches!(put(&store, "k").await, PutNew::Unknown(StoreError::FsyncFailed(_))));
        assert!(!volume.is_visible("k") && process.env.tasks.is_fatal().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_says_so_and_takes_up_work_when_there_is_room() {
        let volume = SimVolume::new(1);
        let process = SimProcess::new(1);
        let store = volume.store(&process.env);
        volume.set_free(3);
        let body = PutPayload::from("batch");
        let told = create(&*store, &process.env, "k", body.clone(), CreateOptions::default()).await;
        assert!(matches!(told, Err(StoreError::NoSpace(_))));
        let patient = CreateOptions { patient: true, ..CreateOptions::default() };
        let waiting = create(&*store, &process.env, "k", body, patient);
        let freeing = async {
            sleep(Duration::from_secs(20)).await;
            volume.set_free(100);
        };
        let (told, ()) = tokio::join!(waiting, freeing);
        assert_eq!(told.expect("room now"), Create::Mine);
    }

    /// Processes race over one directory, are killed, and the power fails in part: whatever anybody was told is there stays.
    #[test]
    fn what_was_told_survives_every_power_loss() {
        for seed in 0..50 {
            crate::sim::run(async {
                let volume = SimVolume::new(seed);
                let told: Arc<Mutex<BTreeMap<String, Bytes>>> = Arc::default();
                let processes: Vec<SimProcess> = (0..3).map(|n| SimProcess::new(seed * 10 + n)).collect();
                for (n, process) in processes.iter().enumerate() {
                    let (store, env, told) = (volume.store(&process.env), process.env.clone(), told.clone());
                    process.env.tasks.spawn("writer", async move {
                        for seq in 0..1000 {
                            let key = format!("log/{seq:020}");
                            let body = format!("{n} {seq}");
                            let got =
                                create(&*store, &env, &key, body.clone().into(), CreateOptions::default());
                            let there = match got.await.expect("resolves") {
                                Create::Mine => Bytes::from(body),
                                Create::Foreign(other) => other,
                            };
                            let before = told.lock().insert(key, there.clone());
                            assert!(before.is_none_or(|before| before == there));
                        }
                    });
                }
                sleep(Duration::from_millis(20 + seed)).await;
                for process in &processes {
                    process.kill();
                }
                volume.power_loss_in_part();
                let told = told.lock().clone();
                assert!(told.len() > 3, "something happened");
                let survivor = SimProcess::new(99);
                let store = volume.store(&survivor.env);
                for (key, body) in told.iter() {
                    assert_eq!(store.get(key).await.expect("get").as_ref(), Some(body), "seed {seed}: {key}");
                }
            });
        }
    }
}
