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

/// Strides and snapshots so small that releases happen all the time.
fn config() -> JournalConfig {
    JournalConfig { stride: 16, snapshot_commits: 12, ..JournalConfig::default() }
}

struct Process {
    journal: ToyJournal,
    env: Env,
    view: Arc<View>,
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
    bucket: Arc<Bucket>,
    entropy: Entropy,
    processes: Mutex<Vec<Arc<Process>>>,
    witness: Arc<Mutex<Witness>>,
    next_key: Mutex<u64>,
}

impl Fight {
    async fn start(self: &Arc<Self>, name: usize, life: u64) -> Arc<Process> {
        let (env, view) = (env(self.seed * 1000 + name as u64 * 100 + life), self.bucket.view());
        let journal =
            Journal::open(view.clone(), env.clone(), config(), Toy::with_level_max(1)).await.expect("opens");
        let process = Arc::new(Process { journal, env, view });
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
            match self.entropy.u64() % 4 {
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
                    *victim.view.down.lock() = true;
                    tokio::spawn(async move {
                        sleep(long).await;
                        *victim.view.down.lock() = false;
                    });
                }
            }
        }
    }
}

async fn fight(seed: u64, processes: usize, long: Duration) -> (u64, u64, u64) {
    let fight = Arc::new(Fight {
        seed,
        bucket: Bucket::new(seed, Weather::stormy()),
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
    *fight.bucket.weather.lock() = Weather::CALM;
    sleep(Duration::from_secs(90)).await;
    let (env, view) = (env(seed + 1_000_000), fight.bucket.view());
    let reader: ToyJournal = Journal::open(view, env, config(), Toy::with_level_max(1)).await.expect("opens");
    let image = reader.image();
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
    (witness.acknowledged.len() as u64, image.seq, fight.bucket.keys("meta/boundary/").len() as u64)
}

fn run(seed: u64, processes: usize, long: Duration) -> (u64, u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(fight(seed, processes, long))
}

#[test]
fn two_or_three_processes_over_one_root_never_disagree() {
    let (mut acknowledged, mut commits, mut strides) = (0, 0, 0);
    for seed in 0..200 {
        let (a, c, s) = run(seed, 2 + (seed % 2) as usize, Duration::from_secs(120));
        (acknowledged, commits, strides) = (acknowledged + a, commits + c, strides + s);
    }
    println!("{acknowledged} acknowledged, {commits} commits, {strides} strides released");
    assert!(
        acknowledged > 2_000 && strides > 100,
        "the fights were no fights: {acknowledged} {commits} {strides}"
    );
}

#[test]
fn the_same_seed_is_the_same_fight() {
    let long = Duration::from_secs(60);
    assert_eq!(run(42, 3, long), run(42, 3, long));
}
