//! The well-behaved client whose answers are timed, and the watch on the broker's memory.
//!
//! Three threads: one produces a record after another and waits for each acknowledgement, one asks for metadata over
//! librdkafka's own connection, one opens a fresh connection for each Metadata. A call that has not ended when a
//! phase ends counts with its age.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use benches::client::{self, Acks, Counting};
use benches::{probe, process};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// How long a call may take before it counts as an error; what is tolerated is less, and not decided here.
const GIVE_UP: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Slowest answers of a phase, and calls that failed.
#[derive(Clone, Debug, Default)]
pub struct Noticed {
    /// Slowest acknowledgement.
    pub produce: Duration,
    /// Slowest Metadata over an open connection.
    pub metadata: Duration,
    /// Slowest Metadata over a fresh connection.
    pub fresh: Duration,
    /// Calls that ended.
    pub calls: u64,
    /// Calls that failed.
    pub errors: Vec<String>,
}

impl Noticed {
    /// What is wrong with it, if answers may take `answer`.
    pub fn complaints(&self, answer: Duration) -> Vec<String> {
        let mut complaints = Vec::new();
        for (name, slowest) in [("produce", self.produce), ("metadata", self.metadata), ("fresh", self.fresh)]
        {
            if slowest > answer {
                complaints.push(format!("{name} took {:.1} s", slowest.as_secs_f64()));
            }
        }
        if let Some(first) = self.errors.first() {
            complaints.push(format!("{} calls of the victim failed, first: {first}", self.errors.len()));
        }
        if self.calls == 0 {
            complaints.push("no call of the victim ended".into());
        }
        complaints
    }
}

#[derive(Clone, Copy)]
enum Call {
    Produce,
    Metadata,
    Fresh,
}

const CALLS: [Call; 3] = [Call::Produce, Call::Metadata, Call::Fresh];

#[derive(Default)]
struct Diary {
    noticed: Noticed,
    /// When the call under way began, per kind.
    under_way: [Option<Instant>; 3],
}

impl Diary {
    fn slowest(&mut self, call: Call) -> &mut Duration {
        match call {
            Call::Produce => &mut self.noticed.produce,
            Call::Metadata => &mut self.noticed.metadata,
            Call::Fresh => &mut self.noticed.fresh,
        }
    }

    fn note(&mut self, call: Call, took: Duration) {
        let slowest = self.slowest(call);
        *slowest = (*slowest).max(took);
    }
}

/// The client; dropping it stops its threads.
pub struct Victim {
    diary: Arc<Mutex<Diary>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Victim {
    /// Creates its topic and starts calling.
    pub fn start(addr: SocketAddr) -> Result<Victim> {
        let bootstrap = addr.to_string();
        let topic = format!("victim-{}", std::process::id());
        client::create_topic(&bootstrap, &topic, 1)?;
        let acks = Arc::new(Acks::default());
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &bootstrap).set("acks", "all").set("linger.ms", "0");
        config.set("message.timeout.ms", "30000");
        let producer: BaseProducer<Counting> = config.create_with_context(Counting(acks.clone()))?;
        let asker: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create()?;

        let diary = Arc::new(Mutex::new(Diary::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let produce = {
            let topic = topic.clone();
            move || produce_one(&producer, &acks, &topic)
        };
        let metadata = move || -> Result<()> {
            asker.client().fetch_metadata(Some(&topic), GIVE_UP)?;
            Ok(())
        };
        let fresh = move || probe::brokers(addr).map(drop);
        let threads = vec![
            keep_calling(Call::Produce, diary.clone(), stop.clone(), produce),
            keep_calling(Call::Metadata, diary.clone(), stop.clone(), metadata),
            keep_calling(Call::Fresh, diary.clone(), stop.clone(), fresh),
        ];
        Ok(Victim { diary, stop, threads })
    }

    /// Forgets what was noticed before.
    pub fn begin_phase(&self) {
        self.diary.lock().expect("no holder panics").noticed = Noticed::default();
    }

    /// What was noticed since; calls under way included.
    pub fn end_phase(&self) -> Noticed {
        let mut diary = self.diary.lock().expect("no holder panics");
        for call in CALLS {
            if let Some(since) = diary.under_way[call as usize] {
                diary.note(call, since.elapsed());
            }
        }
        diary.noticed.clone()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn keep_calling(
    kind: Call,
    diary: Arc<Mutex<Diary>>,
    stop: Arc<AtomicBool>,
    call: impl Fn() -> Result<()> + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            diary.lock().expect("no holder panics").under_way[kind as usize] = Some(began);
            let outcome = call();
            let mut noted = diary.lock().expect("no holder panics");
            noted.under_way[kind as usize] = None;
            noted.note(kind, began.elapsed());
            noted.noticed.calls += 1;
            if let Err(error) = outcome {
                noted.noticed.errors.push(format!("{error:#}"));
            }
            drop(noted);
            std::thread::sleep(PAUSE);
        }
    })
}

fn produce_one(producer: &BaseProducer<Counting>, acks: &Acks, topic: &str) -> Result<()> {
    let (delivered, failed) = (acks.delivered(), acks.failed());
    let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic).partition(0).payload(&b"well behaved"[..]);
    producer.send(record).map_err(|(error, _)| error)?;
    let deadline = Instant::now() + GIVE_UP;
    while acks.delivered() == delivered {
        if acks.failed() > failed {
            return Err(anyhow!("a record was not delivered"));
        }
        if Instant::now() > deadline {
            return Err(anyhow!("no delivery report in {GIVE_UP:?}"));
        }
        producer.poll(Duration::from_millis(1));
    }
    Ok(())
}

/// The broker's resident memory, looked at every 5 ms.
pub struct Memory {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Memory {
    /// Starts looking.
    pub fn start(pid: u32) -> Memory {
        let (peak, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, ended) = (peak.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                if let Ok(resident) = process::resident(pid) {
                    seen.fetch_max(resident.now, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Memory { peak, stop, thread: Some(thread) }
    }

    /// Forgets the peak so far.
    pub fn begin_phase(&self) {
        self.peak.store(0, Ordering::Relaxed);
    }

    /// The most that was resident since.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
