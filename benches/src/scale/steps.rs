//! The measurements, in their order: create, produce, describe, rest; kill -9, connections, a consumer of everything,
//! SIGTERM.
//!
//! The broker is the only other process. Connections are counted before the consumer comes: what it leaves to the
//! allocator would hide what they cost. After each change of process every end offset is checked.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::wire::{Connection, one_record_batch};
use crate::client::{Acks, Counting, Payloads, STALL};
use crate::peers::{Broker, aquifer};
use crate::process::{cpu_time, poll_until, resident};
use crate::report::{Figure, figure};

/// How long a broker may take to have everything again.
const RESTART: Duration = Duration::from_secs(120);

/// How much is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Topics.
    pub topics: usize,
    /// Partitions of each.
    pub partitions: i32,
    /// Idle connections.
    pub connections: usize,
    /// How long CPU time is counted while nothing happens.
    pub idle: Duration,
    /// How long the broker is left alone before that.
    pub settle: Duration,
    /// `memory.budget.bytes` of the broker.
    pub budget: u64,
}

impl Plan {
    /// All partitions there are.
    pub fn all(&self) -> usize {
        self.topics * self.partitions as usize
    }

    fn names(&self) -> Vec<String> {
        (0..self.topics).map(|t| format!("scale-{t:03}")).collect()
    }
}

type Step = fn(&mut Rig<'_>) -> Result<()>;

/// What a run works with.
struct Rig<'a> {
    plan: &'a Plan,
    topics: Vec<String>,
    broker: Broker,
    /// Offset at which every partition ends.
    ends: Vec<i64>,
    peak: u64,
    figures: Vec<Figure>,
}

/// Starts a broker over an empty directory below `dir` and measures it; `say` is told what goes on.
///
/// Errors when the broker ends, or when a partition or a record is not there. Never because something took long, within
/// minutes.
pub fn run(dir: &Path, plan: &Plan, settings: &[String], say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    let log = dir.join("log");
    std::fs::create_dir_all(&log)?;
    let mut settings = settings.to_vec();
    settings.push(format!("memory.budget.bytes={}", plan.budget));
    let launch = aquifer::launch(&format!("file://{}", log.display()), &[], dir, &settings)?;
    let (broker, _) = Broker::start(launch)?;
    let ends = vec![0; plan.all()];
    let mut rig = Rig { plan, topics: plan.names(), broker, ends, peak: 0, figures: vec![] };
    let steps: [(&str, Step); 9] = [
        ("creating partitions", create),
        ("a record to every partition", produce),
        ("the same in one request per topic", produce_together),
        ("describing all", describe),
        ("nothing", rest),
        ("kill -9", kill),
        ("idle connections", connections),
        ("a consumer of everything", consume),
        ("SIGTERM", stop),
    ];
    for (name, step) in steps {
        say(name);
        let done = step(&mut rig);
        // A broker that is gone says more of itself than the client that lost it.
        rig.broker.check()?;
        done.context(name)?;
    }
    rig.note_peak()?;
    let over = rig.peak as f64 - plan.budget as f64;
    rig.add("memory.peak", "peak RSS of all of it", "MiB", mib(rig.peak as f64));
    rig.add("memory.over_budget", "peak RSS above memory.budget.bytes", "MiB", mib(over).max(0.0));
    Ok(rig.figures)
}

/// One CreateTopics request per topic, one after another, until Metadata names every partition with a leader.
fn create(rig: &mut Rig<'_>) -> Result<()> {
    let started = Instant::now();
    let mut connection = Connection::open(rig.broker.addr())?;
    for topic in &rig.topics {
        connection.create_topic(topic, rig.plan.partitions)?;
    }
    let answered = started.elapsed();
    poll_until("all partitions in Metadata", STALL, Duration::from_millis(5), || {
        Ok((rig.led(&mut connection)? == rig.plan.all()).then_some(()))
    })?;
    rig.add("create.answered", "create all partitions, to the last answer", "s", answered.as_secs_f64());
    rig.add("create.visible", "create all partitions, until Metadata has them", "s", seconds(started));
    let now = rig.resident()?;
    rig.add("memory.created", "RSS after creating them", "MiB", mib(now));
    Ok(())
}

/// One record to every partition, by librdkafka, which makes a request of each.
fn produce(rig: &mut Rig<'_>) -> Result<()> {
    let payloads = Payloads::new(1);
    let acks = Arc::new(Acks::default());
    let producer: ThreadedProducer<Counting> = ClientConfig::new()
        .set("bootstrap.servers", rig.broker.addr().to_string())
        .set("acks", "all")
        .create_with_context(Counting(acks.clone()))?;
    for topic in &rig.topics {
        producer.client().fetch_metadata(Some(topic), STALL).context("metadata")?;
    }
    let cpu = rig.cpu()?;
    let started = Instant::now();
    let mut sent = 0;
    for partition in 0..rig.plan.partitions {
        for topic in &rig.topics {
            let record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(payloads.get(sent));
            producer.send(record).map_err(|(e, _)| e)?;
            sent += 1;
        }
    }
    let mut acknowledged = 0;
    while acknowledged < sent {
        // However long all of it takes, something must move.
        let what = format!("more than {acknowledged} of {sent} acknowledgements");
        acknowledged = poll_until(&what, STALL, Duration::from_millis(1), || {
            acks.check()?;
            Ok(Some(acks.delivered()).filter(|delivered| *delivered > acknowledged))
        })?;
    }
    rig.add(
        "produce.acknowledged",
        "a record to every partition by librdkafka, acknowledged",
        "s",
        seconds(started),
    );
    rig.add("produce.cpu", "… broker CPU", "CPU·s", (rig.cpu()? - cpu).as_secs_f64());
    rig.ends.fill(1);
    rig.check_ends(&mut Connection::open(rig.broker.addr())?)
}

/// One record to every partition, a request per topic: clients that put all partitions of a broker into one request, as
/// Kafka's own does, and no client library's bookkeeping.
fn produce_together(rig: &mut Rig<'_>) -> Result<()> {
    let batch = one_record_batch();
    let mut connection = Connection::open(rig.broker.addr())?;
    let started = Instant::now();
    for (topic, ends) in rig.topics.iter().zip(rig.ends.chunks_mut(rig.plan.partitions as usize)) {
        let bases = connection.produce(topic, rig.plan.partitions, &batch)?;
        ensure!(bases == ends, "a record got an offset of another");
        ends.iter_mut().for_each(|end| *end += 1);
    }
    rig.add("produce.together", "… a request per topic, one after another", "s", seconds(started));
    rig.check_ends(&mut connection)
}

/// Metadata of all topics, then ListOffsets of all partitions in one request.
fn describe(rig: &mut Rig<'_>) -> Result<()> {
    let mut connection = Connection::open(rig.broker.addr())?;
    let started = Instant::now();
    let led = rig.led(&mut connection)?;
    ensure!(led == rig.plan.all(), "Metadata names {led} partitions");
    let metadata = seconds(started);
    rig.check_ends(&mut connection)?;
    rig.add("describe.metadata", "Metadata of all", "s", metadata);
    rig.add("describe.all", "Metadata and ListOffsets of all", "s", seconds(started));
    Ok(())
}

/// With no client at all.
fn rest(rig: &mut Rig<'_>) -> Result<()> {
    std::thread::sleep(rig.plan.settle);
    let share = rig.idle_cpu(|| Ok(()))?;
    let now = rig.resident()?;
    rig.add("idle.cpu", "CPU without any client", "% of a core", share);
    rig.add("memory.idle", "RSS idle, two records in every partition", "MiB", mib(now));
    Ok(())
}

fn kill(rig: &mut Rig<'_>) -> Result<()> {
    rig.note_peak()?;
    rig.broker.kill()?;
    restarted(rig, "kill", "restart after kill -9")
}

/// A clean stop, whose own time is told apart.
fn stop(rig: &mut Rig<'_>) -> Result<()> {
    rig.note_peak()?;
    let started = Instant::now();
    ensure!(rig.broker.stop(RESTART)?, "SIGTERM was not enough");
    rig.add("stop.took", "SIGTERM until the process is gone", "s", seconds(started));
    restarted(rig, "stop", "restart after SIGTERM")
}

/// Starts the broker again and waits for Metadata, then for the right end of every partition.
fn restarted(rig: &mut Rig<'_>, key: &str, label: &str) -> Result<()> {
    let (from, metadata) = rig.broker.start_again()?;
    let mut last = None;
    let recovered = poll_until("all end offsets", RESTART, Duration::from_millis(1), || {
        match Connection::open(rig.broker.addr()).and_then(|mut c| rig.check_ends(&mut c)) {
            Ok(()) => Ok(Some(from.elapsed())),
            Err(error) => {
                last = Some(error);
                Ok(None)
            }
        }
    });
    let recovered = match (recovered, last) {
        (Ok(recovered), _) => recovered,
        (Err(error), None) => return Err(error),
        (Err(error), Some(last)) => return Err(last.context(error)),
    };
    let led = rig.led(&mut Connection::open(rig.broker.addr())?)?;
    ensure!(led == rig.plan.all(), "Metadata names {led} partitions");
    rig.add(
        &format!("restart.{key}.metadata"),
        &format!("{label}, to Metadata"),
        "s",
        metadata.as_secs_f64(),
    );
    let label = format!("{label}, to every end offset");
    rig.add(&format!("restart.{key}.recovered"), &label, "s", recovered.as_secs_f64());
    std::thread::sleep(rig.plan.settle);
    let now = rig.resident()?;
    rig.add(&format!("memory.{key}"), "… RSS idle after it", "MiB", mib(now));
    Ok(())
}

/// Connections that have asked for ApiVersions and are silent since.
fn connections(rig: &mut Rig<'_>) -> Result<()> {
    let before = rig.resident()?;
    let mut open = Vec::with_capacity(rig.plan.connections);
    for _ in 0..rig.plan.connections {
        let mut connection = Connection::open(rig.broker.addr())?;
        ensure!(connection.api_versions()? > 0, "ApiVersions names nothing");
        open.push(connection);
    }
    std::thread::sleep(rig.plan.settle);
    let each = (rig.resident()? - before) / rig.plan.connections as f64 / 1024.0;
    rig.add("connections.memory", "RSS per idle connection", "KiB", each);
    let share = rig.idle_cpu(|| Ok(()))?;
    rig.add("connections.cpu", "CPU while they are idle", "% of a core", share);
    Ok(())
}

/// A librdkafka consumer of every partition at its end: what it costs while nothing comes, and that it hears what does.
///
/// librdkafka has no fetch sessions (KIP-227): each of its Fetch requests names every partition, twice a second
/// (fetch.wait.max.ms).
fn consume(rig: &mut Rig<'_>) -> Result<()> {
    let bootstrap = rig.broker.addr().to_string();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("group.id", "scale")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut assignment = TopicPartitionList::with_capacity(rig.plan.all());
    for (topic, ends) in rig.topics.iter().zip(rig.ends.chunks(rig.plan.partitions as usize)) {
        for (partition, end) in ends.iter().enumerate() {
            assignment.add_partition_offset(topic, partition as i32, Offset::Offset(*end))?;
        }
    }
    consumer.assign(&assignment)?;
    let nothing = || match consumer.poll(Duration::from_millis(100)) {
        None => Ok(()),
        Some(Ok(message)) => bail!("{}-{} was read again", message.topic(), message.partition()),
        Some(Err(error)) => Err(error).context("consume"),
    };
    // Metadata, connections and the first requests belong to the consumer's start.
    let settled = Instant::now() + rig.plan.settle.max(Duration::from_secs(5));
    while Instant::now() < settled {
        nothing()?;
    }
    let share = rig.idle_cpu(nothing)?;
    rig.add("consumer.cpu", "CPU with a consumer of all partitions, nothing arrives", "% of a core", share);

    let producer: ThreadedProducer<Counting> = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("linger.ms", "0")
        .create_with_context(Counting::default())?;
    producer.client().fetch_metadata(Some(&rig.topics[0]), STALL).context("metadata")?;
    let started = Instant::now();
    let record = BaseRecord::<(), [u8]>::to(&rig.topics[0]).partition(0).payload(b"news");
    producer.send(record).map_err(|(e, _)| e)?;
    let heard = poll_until("the record", STALL, Duration::ZERO, || {
        match consumer.poll(Duration::from_millis(100)).transpose().context("consume")? {
            Some(message) => Ok(Some((message.offset(), message.payload().map(<[u8]>::to_vec)))),
            None => Ok(None),
        }
    })?;
    rig.add("consumer.news", "a record to that consumer", "s", seconds(started));
    ensure!(heard == (rig.ends[0], Some(b"news".to_vec())), "another record was heard: {heard:?}");
    producer.flush(STALL).map_err(|e: KafkaError| e)?;
    producer.context().0.check()?;
    rig.ends[0] += 1;
    Ok(())
}

impl Rig<'_> {
    fn add(&mut self, key: &str, label: &str, unit: &'static str, value: f64) {
        self.figures.push(figure(key, label, unit, value));
    }

    fn pid(&self) -> Result<u32> {
        self.broker.pid().context("the broker is not running")
    }

    fn cpu(&self) -> Result<Duration> {
        cpu_time(self.pid()?)
    }

    /// Bytes resident now.
    fn resident(&self) -> Result<f64> {
        Ok(resident(self.pid()?)?.now as f64)
    }

    /// A process takes its peak with it.
    fn note_peak(&mut self) -> Result<()> {
        self.peak = self.peak.max(resident(self.pid()?)?.peak);
        Ok(())
    }

    /// CPU time over the plan's idle time, in percent of one core; `meanwhile` is called again and again and may wait.
    fn idle_cpu(&self, mut meanwhile: impl FnMut() -> Result<()>) -> Result<f64> {
        let before = self.cpu()?;
        let started = Instant::now();
        while let Some(left) = self.plan.idle.checked_sub(started.elapsed()) {
            std::thread::sleep(left.min(Duration::from_millis(100)));
            meanwhile()?;
        }
        let took = started.elapsed();
        Ok((self.cpu()? - before).as_secs_f64() / took.as_secs_f64() * 100.0)
    }

    /// How many of our partitions Metadata names with a leader.
    fn led(&self, connection: &mut Connection) -> Result<usize> {
        let all = connection.led_partitions()?;
        Ok(all.iter().filter(|(name, _)| self.topics.contains(name)).map(|(_, led)| led).sum())
    }

    /// Fails unless every partition ends where it must.
    fn check_ends(&self, connection: &mut Connection) -> Result<()> {
        let found = connection.end_offsets(&self.topics, self.plan.partitions)?;
        let wrong = found.iter().zip(&self.ends).filter(|(found, end)| found != end).count();
        ensure!(wrong == 0, "{wrong} of {} partitions end elsewhere", found.len());
        Ok(())
    }
}

fn seconds(from: Instant) -> f64 {
    from.elapsed().as_secs_f64()
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
