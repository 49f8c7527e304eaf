//! Several processes fight over one root in bad weather: paused, killed, cut off, with answers lost and PUTs that land a
//! minute late. Whatever happens: no two images differ at a number, no acknowledged mutation is lost or moved, none that was
//! refused is there, and no commit is void.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::basics::ToyJournal;
use super::bucket::{Bucket, View, Weather, env};
use super::toy::{Toy, ToyRecord};
use crate::entropy::Entropy;
use crate::env::Env;
use crate::ids::Incarnation;
use crate::journal::{Committed, Journal, JournalConfig, MutationId, ProposeError, Refusal};
use crate::sim::directory::SimVolume;
use crate::sim::s3::{FakeS3, Faults};
use crate::store::Store;

/// Strides and snapshots so small that releases happen all the time.
fn config() -> JournalConfig {
    JournalConfig { stride: 16, snapshot_commits: 12, ..JournalConfig::default() }
}

struct Process {
    name: usize,
    journal: ToyJournal,
    env: Env,
}

/// Where they fight: the tests' own bucket, the real S3 client over a fake S3, a directory on a disk that may lose power.
enum World {
    Bucket(Arc<Bucket>, Mutex<BTreeMap<usize, Arc<View>>>),
    S3(FakeS3),
    Directory(SimVolume),
}

impl World {
    fn store(&self, name: usize, env: &Env) -> Arc<dyn Store> {
        match self {
            World::Bucket(bucket, views) => {
                let view = bucket.view();
                views.lock().insert(name, view.clone());
                view
            }
            World::S3(s3) => s3.client(&format!("p{name}")),
            World::Directory(volume) => volume.store(env),
        }
    }

    fn cut(&self, name: usize, cut: bool) {
        match self {
            World::Bucket(_, views) => {
                if let Some(view) = views.lock().get(&name) {
                    *view.down.lock() = cut;
                }
            }
            World::S3(s3) if cut => s3.cut_off(&format!("p{name}")),
            World::S3(s3) => s3.reconnect(&format!("p{name}")),
            World::Directory(volume) if cut => volume.hold_flushes(),
            World::Directory(volume) => volume.release_flushes(),
        }
    }

    fn calm(&self) {
        match self {
            World::Bucket(bucket, _) => *bucket.weather.lock() = Weather::CALM,
            World::S3(s3) => s3.set_faults(Faults::none()),
            World::Directory(volume) => volume.release_flushes(),
        }
    }
}

/// What everybody saw.
#[derive(Default)]
struct Witness {
    /// Chain by number: two may never differ.
    seen: BTreeMap<u64, u32>,
    acknowledged: BTreeMap<u64, Committed>,
    /// Known not to be in the log.
    refused: Vec<u64>,
    unknown: u64,
    /// What must not be, told by a task whose panic would end only itself.
    wrong: Option<String>,
}

struct Fight {
    seed: u64,
    world: World,
    entropy: Entropy,
    processes: Mutex<Vec<Arc<Process>>>,
    witness: Arc<Mutex<Witness>>,
    next_key: Mutex<u64>,
}

impl Fight {
    async fn start(self: &Arc<Self>, name: usize, life: u64) -> Arc<Process> {
        let env = env(self.seed * 1000 + name as u64 * 100 + life);
        let store = self.world.store(name, &env);
        let journal =
            Journal::open(store, env.clone(), config(), Toy::with_level_max(1)).await.expect("opens");
        let process = Arc::new(Process { name, journal, env });
        let (witness, journal, seed) = (self.witness.clone(), process.journal.clone(), self.seed);
        // Each published image, as far as a watcher sees it.
        process.env.tasks.spawn("witness", async move {
            let mut images = journal.subscribe();
            loop {
                let image = images.borrow_and_update().clone();
                {
                    let mut witness = witness.lock();
                    let before = *witness.seen.entry(image.seq).or_insert(image.chain);
                    if before != image.chain || image.voids > 0 {
                        witness.wrong =
                            Some(format!("seed {seed}: two logs at {}, or {} voids", image.seq, image.voids));
                    }
                }
                if images.changed().await.is_err() {
                    return;
                }
            }
        });
        let (fight, candidate) = (self.clone(), process.clone());
        process.env.tasks.spawn("candidate", async move { fight.stand(candidate, name).await });
        process
    }

    /// Registers with the controller or elects itself, and stands again whenever it is not controller.
    async fn stand(self: Arc<Self>, process: Arc<Process>, name: usize) {
        let journal = &process.journal;
        let registration = vec![ToyRecord::Register(name as u32)];
        loop {
            let image = journal.image();
            let me = journal.incarnation();
            let live = me.is_some_and(|me| image.inner.live.contains_key(&me));
            if me.is_some() && !live {
                return;
            }
            match image.controller.and_then(|c| self.process_of(c)) {
                Some(controller) if !live && !Arc::ptr_eq(&controller, &process) => {
                    let id = MutationId::Registration { nonce: journal.nonce() };
                    let _ =
                        timeout(Duration::from_secs(5), controller.journal.submit(id, registration.clone()))
                            .await;
                    let _ = timeout(Duration::from_secs(5), journal.catch_up()).await;
                }
                _ => {}
            }
            let now = self.entropy.chance(0.1);
            let elected = timeout(Duration::from_secs(20), async {
                match now {
                    true => journal.elect_now(registration.clone()).await,
                    false => journal.elect(registration.clone()).await,
                }
            });
            let _ = elected.await;
            sleep(self.entropy.jitter(Duration::from_secs(1))).await;
        }
    }

    fn process_of(&self, incarnation: Incarnation) -> Option<Arc<Process>> {
        let processes = self.processes.lock();
        processes
            .iter()
            .find(|p| p.journal.incarnation() == Some(incarnation) && !p.env.tasks.is_killed())
            .cloned()
    }

    /// One client: adds keys, at whoever is controller by somebody's image; repeats under the same id where the outcome is
    /// open, at the next controller too.
    async fn client(self: Arc<Self>, n: usize) {
        loop {
            sleep(self.entropy.jitter(Duration::from_millis(400))).await;
            let key = {
                let mut next = self.next_key.lock();
                *next += 1;
                *next
            };
            let origin = {
                let processes = self.processes.lock();
                processes[self.entropy.u64() as usize % processes.len()].clone()
            };
            if n == 0 {
                let answer =
                    timeout(Duration::from_secs(15), origin.journal.propose(vec![ToyRecord::Add(key)])).await;
                self.note(key, answer.ok());
                continue;
            }
            let Some(id) = origin.journal.next_id() else { continue };
            let mut last = None;
            for _ in 0..4 {
                let controller = origin.journal.image().controller.and_then(|c| self.process_of(c));
                let Some(controller) = controller else {
                    sleep(Duration::from_secs(2)).await;
                    continue;
                };
                let sent =
                    timeout(Duration::from_secs(6), controller.journal.submit(id, vec![ToyRecord::Add(key)]));
                match sent.await {
                    Ok(answer @ Ok(_)) => {
                        last = Some(answer);
                        break;
                    }
                    // Some earlier attempt may be in a log: a later refusal proves nothing but by its own id.
                    Ok(Err(_)) | Err(_) => sleep(Duration::from_secs(1)).await,
                }
            }
            self.note(key, last);
        }
    }

    fn note(&self, key: u64, answer: Option<Result<Committed, ProposeError>>) {
        let mut witness = self.witness.lock();
        match answer {
            Some(Ok(at)) => {
                witness.acknowledged.insert(key, at);
            }
            Some(Err(ProposeError::NotController(_) | ProposeError::Deposed(_))) => witness.refused.push(key),
            Some(Err(ProposeError::Refused(Refusal::NotLive(_)))) => witness.refused.push(key),
            Some(Err(ProposeError::Refused(other))) => panic!("seed {}: key {key}: {other}", self.seed),
            _ => witness.unknown += 1,
        }
    }

    async fn chaos(self: Arc<Self>) {
        let mut life = 1;
        loop {
            sleep(Duration::from_millis(500) + self.entropy.jitter(Duration::from_secs(8))).await;
            let i = self.entropy.u64() as usize % self.processes.lock().len();
            let victim = self.processes.lock()[i].clone();
            match self.entropy.u64() % 5 {
                // Everybody at once, and what a disk had not flushed.
                4 => {
                    let World::Directory(volume) = &self.world else { continue };
                    for process in self.processes.lock().iter() {
                        process.env.tasks.kill();
                    }
                    volume.release_flushes();
                    volume.power_loss();
                    life += 1;
                    let names = self.processes.lock().len();
                    for name in 0..names {
                        let next = self.start(name, life).await;
                        self.processes.lock()[name] = next;
                    }
                }
                0 => {
                    victim.env.tasks.kill();
                    sleep(self.entropy.jitter(Duration::from_secs(3))).await;
                    life += 1;
                    let next = self.start(i, life).await;
                    self.processes.lock()[i] = next;
                }
                1 | 2 => {
                    let long = self.entropy.jitter(Duration::from_secs(40));
                    victim.env.tasks.pause();
                    tokio::spawn(async move {
                        sleep(long).await;
                        victim.env.tasks.resume();
                    });
                }
                _ => {
                    let long = self.entropy.jitter(Duration::from_secs(15));
                    self.world.cut(victim.name, true);
                    let fight = self.clone();
                    tokio::spawn(async move {
                        sleep(long).await;
                        fight.world.cut(victim.name, false);
                    });
                }
            }
        }
    }
}

async fn fight(world: World, seed: u64, processes: usize, long: Duration) -> (u64, u64, u64) {
    let fight = Arc::new(Fight {
        seed,
        world,
        entropy: Entropy::seeded(seed ^ 0xf16),
        processes: Mutex::default(),
        witness: Arc::default(),
        next_key: Mutex::new(0),
    });
    for name in 0..processes {
        let process = fight.start(name, 0).await;
        fight.processes.lock().push(process);
    }
    let mut running: Vec<_> = (0..3).map(|n| tokio::spawn(fight.clone().client(n))).collect();
    running.push(tokio::spawn(fight.clone().chaos()));
    sleep(long).await;
    for task in &running {
        // A panic in a client is the test's.
        if task.is_finished() {
            panic!("seed {seed}: a client or the chaos ended");
        }
        task.abort();
    }
    for process in fight.processes.lock().iter() {
        process.env.tasks.kill();
    }
    // What was under way may land yet.
    fight.world.calm();
    sleep(Duration::from_secs(90)).await;
    let env = env(seed + 1_000_000);
    let store = fight.world.store(99, &env);
    let reader: ToyJournal =
        Journal::open(store.clone(), env, config(), Toy::with_level_max(1)).await.expect("opens");
    let image = reader.image();
    let strides = store.list("meta/boundary/").await.expect("lists").len() as u64;
    let witness = fight.witness.lock();
    assert_eq!(witness.wrong, None);
    assert_eq!(image.voids, 0, "seed {seed}");
    let newest = witness.seen.last_key_value().map_or(0, |(seq, _)| *seq);
    assert!(image.seq >= newest, "seed {seed}: the log ends at {}, somebody saw {newest}", image.seq);
    if let Some(chain) = witness.seen.get(&image.seq) {
        assert_eq!(*chain, image.chain, "seed {seed}");
    }
    for (key, at) in &witness.acknowledged {
        let found = image.inner.added.get(key);
        let expected = Incarnation { seq: at.seq, index: at.index };
        assert_eq!(found, Some(&expected), "seed {seed}: key {key} acknowledged at {at:?}");
    }
    for key in &witness.refused {
        assert!(!image.inner.ever.contains(key), "seed {seed}: key {key} was refused and is there");
    }
    (witness.acknowledged.len() as u64, image.seq, strides)
}

/// Fights over `worlds`, one per seed; what was acknowledged, committed and released in all of them.
fn fights(seeds: std::ops::Range<u64>, long: Duration, world: fn(u64) -> World) -> (u64, u64, u64) {
    let (mut acknowledged, mut commits, mut strides) = (0, 0, 0);
    for seed in seeds {
        let (a, c, s) =
            crate::sim::run(async move { fight(world(seed), seed, 2 + (seed % 2) as usize, long).await });
        (acknowledged, commits, strides) = (acknowledged + a, commits + c, strides + s);
    }
    println!("{acknowledged} acknowledged, {commits} commits, {strides} strides released");
    (acknowledged, commits, strides)
}

fn stormy_bucket(seed: u64) -> World {
    World::Bucket(Bucket::new(seed, Weather::stormy()), Mutex::default())
}

#[test]
fn two_or_three_processes_over_one_root_never_disagree() {
    let (acknowledged, _, strides) = fights(0..200, Duration::from_secs(120), stormy_bucket);
    assert!(acknowledged > 2_000 && strides > 100, "the fights were no fights");
}

#[test]
fn nor_with_the_real_s3_client_over_a_rough_s3() {
    let rough_s3 = |seed| World::S3(FakeS3::new(seed, Faults::rough()));
    let (acknowledged, _, strides) = fights(0..25, Duration::from_secs(90), rough_s3);
    assert!(acknowledged > 250 && strides > 10, "the fights were no fights");
}

#[test]
fn nor_in_a_directory_that_loses_power() {
    let directory = |seed| World::Directory(SimVolume::new(seed));
    let (acknowledged, _, strides) = fights(0..60, Duration::from_secs(120), directory);
    assert!(acknowledged > 600 && strides > 30, "the fights were no fights");
}

#[test]
fn the_same_seed_is_the_same_fight() {
    let long = Duration::from_secs(60);
    assert_eq!(fights(42..45, long, stormy_bucket), fights(42..45, long, stormy_bucket));
}
