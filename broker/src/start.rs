//! How a broker comes to be, serves, and goes (DESIGN §4). In this order, and why:
//!
//! 1. The stores are opened and proven: nothing is written to one that would lose it.
//! 2. The journal is read to its head.
//! 3. Sockets are bound: the registration names them.
//! 4. Whoever holds our place is asked whether it lives. If it does, we refuse to start; if it does not, its lane is
//!    sealed: from here on it can acknowledge nothing.
//! 5. One commit elects and registers us, fences it and takes over its streams; an older journal is raised to our level.
//! 6. Its lane is recovered. Only then is anything answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::TryFutureExt;
use s3stream::block_ref::LaneTable;
use s3stream::budget::{Budget, Class, default_budget_bytes};
use s3stream::buffers::BufferPool;
use s3stream::cache::{BlockCache, Reader, Stores, TailCache};
use s3stream::catalog::LaneEnd;
use s3stream::env::Env;
use s3stream::history::History;
use s3stream::ids::{Incarnation, LaneId, StoreId, StreamId};
use s3stream::journal::{Journal, JournalConfig};
use s3stream::store::create::{Create, CreateOptions, create};
use s3stream::store::{PutPayload, Store, proof, url};
use s3stream::wal::recovery::checkpoints::read_checkpoints;
use s3stream::wal::recovery::{Recovered, RecoveredStream, recover};
use s3stream::wal::{Lane, LaneConfig, LaneEnded, seal};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::cluster::identity::{self, Identity};
use crate::config::BrokerConfig;
use crate::controller::registration::{Joiner, SealedPredecessor, level_to_raise_to, register};
use crate::coordinator::OFFSETS_TOPIC;
use crate::coordinator::runtime::Groups;
use crate::fetch::session::SessionCache;
use crate::free_space::FreeSpace;
use crate::metadata::{Endpoint, LEVEL_MAX, MetadataImage, TopicImage};
use crate::partition::checkpoint;
use crate::partition::table::{PartitionTable, Topic};
use crate::producer_ids::ProducerIds;
use crate::retention;
use crate::server::connections::Connections;
use crate::server::listener;
use crate::server::receive_buffers::ReceiveBuffers;
use crate::storage_tasks::{self, StorageParts, upload_dials};
use crate::topics::{TopicChanges, effective_config, live, open_partition, show};

/// Formats of `<root>/cluster` that this release knows.
const CLUSTER_FORMAT: &str = "aquifer-cluster 1";
/// How long a leaving broker waits for its last objects.
const DRAIN: Duration = Duration::from_secs(20);

/// The stores a broker uses.
#[derive(Clone)]
pub struct OpenStores {
    /// `--storage`.
    pub main: Arc<dyn Store>,
    /// Its URL, without secrets.
    pub main_url: String,
    /// `--wal-storage`, where that is another.
    pub wal: Option<(Arc<dyn Store>, String)>,
}

/// Sockets that are bound and not yet accepted from.
pub struct Sockets {
    clients: Vec<(Arc<str>, TcpListener)>,
    endpoints: Vec<Endpoint>,
    peers: Option<TcpListener>,
    peer_address: String,
}

/// Runs a broker until it is told to stop, or must.
pub async fn run(config: BrokerConfig) -> anyhow::Result<()> {
    let env = Env::system();
    let stores = open_stores(&config, &env)?;
    let sockets = bind(&config).await?;
    let broker = start(env, config, stores, sockets).await?;
    greet(&broker);
    until_stopped(&broker).await
}

/// Opens what the configuration names.
pub fn open_stores(config: &BrokerConfig, env: &Env) -> anyhow::Result<OpenStores> {
    let main_url = config.values.string("storage").to_string();
    let main = url::open(&main_url, env)?;
    let wal_url = config.values.get("wal.storage").filter(|u| !u.is_empty() && *u != main_url);
    let wal = wal_url.map(|u| Ok::<_, url::OpenError>((url::open(u, env)?, u.to_string()))).transpose()?;
    Ok(OpenStores { main_url: main.traits().name.clone(), main, wal })
}

/// Binds all listeners; ports of 0 become known here.
pub async fn bind(config: &BrokerConfig) -> anyhow::Result<Sockets> {
    let mut clients = Vec::new();
    let mut endpoints = Vec::new();
    for l in &config.listeners {
        let host = if l.host.is_empty() { "0.0.0.0" } else { &l.host };
        let (socket, bound) = listener::bind(&address(host, l.port)).await.with_context(|| {
            format!("cannot listen on {}://{host}:{}; choose another with --listeners", l.name, l.port)
        })?;
        let advertised = config.advertised.iter().find(|a| a.name == l.name);
        let endpoint = match advertised {
            Some(a) => Endpoint {
                listener: l.name.clone(),
                host: a.host.clone(),
                port: if a.port == 0 { bound.port() } else { a.port },
            },
            None => Endpoint { listener: l.name.clone(), host: reachable(host), port: bound.port() },
        };
        endpoints.push(endpoint);
        clients.push((Arc::from(l.name.as_str()), socket));
    }
    let peer = config.values.string("peer.listener");
    let (peers, bound) = listener::bind(peer)
        .await
        .with_context(|| format!("cannot listen for peers on {peer}; choose another with peer.listener"))?;
    Ok(Sockets { clients, endpoints, peers: Some(peers), peer_address: bound.to_string() })
}

impl Sockets {
    /// No sockets: for the simulation, whose clients call in another way.
    pub fn none(listener: &str) -> Sockets {
        let endpoint = Endpoint { listener: listener.into(), host: "localhost".into(), port: 1 };
        Sockets { clients: Vec::new(), endpoints: vec![endpoint], peers: None, peer_address: String::new() }
    }
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A bound host as clients may use it: one that stands for all becomes this machine's name.
fn reachable(host: &str) -> String {
    if host == "0.0.0.0" || host == "::" {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        host.to_string()
    }
}

/// Steps 1 to 6 of the header. The broker serves when this returns.
pub async fn start(
    env: Env,
    config: BrokerConfig,
    stores: OpenStores,
    sockets: Sockets,
) -> anyhow::Result<Arc<Broker>> {
    proof::prove(&*stores.main, &env).await?;
    if let Some((wal, _)) = &stores.wal {
        proof::prove(&**wal, &env).await?;
    }
    let cluster_id = cluster_id(&*stores.main, &env).await?;
    let genesis = MetadataImage::default();
    let levels = JournalConfig { level_max: LEVEL_MAX, genesis_level: LEVEL_MAX, ..JournalConfig::default() };
    let journal = Journal::open(stores.main.clone(), env.clone(), levels, genesis).await?;
    let incarnation = join(&env, &config, &stores, &sockets, &journal).await?;
    raise_level(&journal).await?;
    let budget = Budget::new(match config.values.long("memory.budget.bytes") {
        0 => default_budget_bytes(),
        bytes => bytes as u64,
    });
    let (lane_store_id, lane_store) = match &stores.wal {
        Some((wal, _)) => (StoreId(1), wal.clone()),
        None => (StoreId(0), stores.main.clone()),
    };
    let mut all = Stores::new().with(StoreId(0), stores.main.clone());
    if let Some((wal, _)) = &stores.wal {
        all = all.with(StoreId(1), wal.clone());
    }
    let read_memory = BlockCache::read_memory(&budget) as usize;
    match &stores.wal {
        None => stores.main.keep_read_memory(read_memory),
        Some((wal, _)) => {
            [&stores.main, wal].iter().for_each(|store| store.keep_read_memory(read_memory / 2))
        }
    }
    let lanes = Arc::new(LaneTable::new());
    let tail = TailCache::new(&budget);
    let lane_id = LaneId { incarnation, nonce: journal.nonce() };
    let lane_ref = lanes.intern(lane_store_id, lane_id);
    let lane_config = lane_config(&config, &*lane_store, &budget);
    let lane = Lane::start(lane_store.clone(), &env, lane_id, lane_ref, lane_config, tail.clone());
    let reader =
        Reader::new(env.clone(), all.clone(), lanes.clone(), tail.clone(), &budget, lane.cold_reads());
    let history = History::new(env.clone(), all.clone(), lanes.clone(), &budget);
    let (recovered, checkpoints) =
        recover_streams(&env, &all, &lanes, &budget, &journal, incarnation).await?;

    let live = ArcSwap::from_pointee(live(&config, &journal.image().inner, config.node_id()));
    let broker = Arc::new(Broker {
        groups: Groups::new(&config, env.clock.clone()),
        node_id: config.node_id(),
        env: env.clone(),
        receive_buffers: ReceiveBuffers::new(frame_buffers_max(&budget) / RECEIVE_PART),
        frame_buffers: BufferPool::new(frame_buffers_max(&budget)),
        budget,
        cluster_id,
        store: stores.main.clone(),
        incarnation,
        endpoints: sockets.endpoints.clone(),
        journal,
        lane,
        lane_ref,
        reader,
        history,
        partitions: ArcSwap::from_pointee(PartitionTable::default()),
        topic_changes: TopicChanges::default(),
        sessions: SessionCache::new(config.values.int("max.incremental.fetch.session.cache.slots") as usize),
        producer_ids: ProducerIds::default(),
        free_space: Arc::new(FreeSpace::default()),
        live,
        connections: Connections::default(),
        config,
    });
    open_partitions(&broker, recovered, &checkpoints)?;
    let lane_in_directory = lane_store.traits().directory;
    let parts = StorageParts { stores: all, tables: lanes, tail, lane_ref, lane_in_directory, checkpoints };
    storage_tasks::spawn(&broker, parts);
    spawn_tasks(&broker, lane_store, sockets);
    Ok(broker)
}

/// Of what is kept for the next frames so much more is kept for the small ones.
const RECEIVE_PART: usize = 8;

/// What is kept for the next frames: what a busy broker has between the socket and the cut, a few objects' worth.
fn frame_buffers_max(budget: &Budget) -> usize {
    (budget.class(Class::Ingress).capacity() / 8).min(32 << 20) as usize
}

/// `<root>/cluster`: made once, by whoever comes first.
async fn cluster_id(store: &dyn Store, env: &Env) -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    env.entropy.fill(&mut bytes);
    // Kafka's form (Uuid.toString): 22 characters of URL-safe base64.
    let fresh = base64_url(&bytes);
    let body = Bytes::from(format!("{CLUSTER_FORMAT}\n{fresh}\n"));
    let made = match store.get("cluster").await {
        Ok(Some(found)) => Create::Foreign(found),
        _ => create(store, env, "cluster", PutPayload::from(body), CreateOptions::default()).await?,
    };
    match made {
        Create::Mine => Ok(fresh),
        Create::Foreign(found) => read_cluster_id(&found).map_err(|why| {
            anyhow!("{}: {why}; use the release that made it, or another root", store.traits().name)
        }),
    }
}

/// The cluster id in the bytes of `<root>/cluster`.
///
/// # Errors
/// A sentence, where the format is another or the id is no word of base64's letters.
pub fn read_cluster_id(bytes: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let (format, id) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if format != CLUSTER_FORMAT {
        return Err(format!("a cluster of format {format:?}, this release knows {CLUSTER_FORMAT:?}"));
    }
    // What stands there goes to every client.
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err(format!("{id:?} is no cluster id"));
    }
    Ok(id.to_string())
}

fn base64_url(bytes: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = u128::from_be_bytes(*bytes);
    // 128 bits are 21 digits of 6 bits and one of the last 2, at the top of its digit.
    (0..22)
        .map(|i| {
            let shift = 122 - 6 * i;
            let digit = if shift >= 0 { number >> shift } else { number << -shift };
            char::from(ALPHABET[(digit & 63) as usize])
        })
        .collect()
}

/// Steps 4 and 5: takes our place in the cluster, or says who holds it.
async fn join(
    env: &Env,
    config: &BrokerConfig,
    stores: &OpenStores,
    sockets: &Sockets,
    journal: &Journal<MetadataImage>,
) -> anyhow::Result<Incarnation> {
    let mut urls = vec![(StoreId(0), stores.main_url.clone())];
    urls.extend(stores.wal.as_ref().map(|(store, _)| (StoreId(1), store.traits().name.clone())));
    let joiner = Joiner {
        nonce: journal.nonce(),
        node_id: config.node_id(),
        endpoints: sockets.endpoints.clone(),
        peer_address: sockets.peer_address.clone(),
        rack: config.values.get("broker.rack").map(str::to_string),
        stores: urls,
    };
    loop {
        let image = journal.image();
        let mut sealed = Vec::new();
        for (incarnation, broker) in image.inner.live_brokers() {
            ensure_gone(journal, config, incarnation, &broker.peer_address, broker.node_id).await?;
            sealed.push(seal_lane(env, stores, &image.inner, incarnation, config).await?);
        }
        let records = register(&image.inner, image.level, &joiner, &sealed);
        match journal.elect_now(records).await {
            Ok(incarnation) => return Ok(incarnation),
            Err(s3stream::journal::ElectError::LostTo(other)) => {
                info!(%other, "another process was first; looking again");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The journal of an earlier release is raised to our feature level, if no other broker could be left behind.
async fn raise_level(journal: &Journal<MetadataImage>) -> anyhow::Result<()> {
    let image = journal.image();
    if let Some(level) = level_to_raise_to(&image.inner, image.level) {
        journal.raise_level(level).await?;
        info!(from = image.level, to = level, "raised the feature level: earlier releases cannot read on");
    }
    Ok(())
}

/// Is whoever holds the place really gone? Refusing is always safe; taking over is, too (the seal decides): this decides
/// which of two is the better answer to a person.
async fn ensure_gone(
    journal: &Journal<MetadataImage>,
    config: &BrokerConfig,
    incarnation: Incarnation,
    address: &str,
    node_id: i32,
) -> anyhow::Result<()> {
    if address.is_empty() {
        return Ok(());
    }
    match identity::ask(address).await {
        Identity::Nobody => Ok(()),
        Identity::Is(other) if other != incarnation => Ok(()),
        Identity::Is(_) if node_id == config.node_id() => bail!(
            "node.id {node_id} is running at {address} on this storage; stop it, or use another --storage"
        ),
        Identity::Is(_) => bail!(
            "node {node_id} is running at {address} on this storage; this release serves a storage by one broker: stop \
             it, or use another --storage"
        ),
        Identity::Silent => {
            warn!(
                node_id,
                address, "the broker that holds this storage does not answer; watching the journal"
            );
            let began = journal.catch_up().await?;
            let patience = journal.image().effective_lease();
            tokio::time::sleep(patience).await;
            if journal.catch_up().await? > began {
                bail!(
                    "node {node_id} ({address}) does not answer here but writes to this storage; stop it, or make its \
                     peer.listener reachable"
                );
            }
            Ok(())
        }
    }
}

async fn seal_lane(
    env: &Env,
    stores: &OpenStores,
    image: &MetadataImage,
    incarnation: Incarnation,
    config: &BrokerConfig,
) -> anyhow::Result<SealedPredecessor> {
    let lane = image.catalog.lane(incarnation).context("a live broker has a lane")?;
    debug_assert_eq!(lane.end, LaneEnd::Open);
    let store = lane_store(stores, lane.store)?;
    let note = format!("node {}", config.node_id());
    // As many seals at once as its owner may have PUTs under way: it is configured as we are.
    let window = store.traits().puts_in_flight;
    let sealed = seal(&*store, env, lane.id, lane.trim, window, note.as_bytes()).await?;
    info!(lane = %lane.id, length = %sealed.length, "sealed the lane of an earlier incarnation");
    Ok(SealedPredecessor { incarnation, length: sealed.length, seal_nonce: sealed.seal_nonce })
}

fn lane_store(stores: &OpenStores, id: StoreId) -> anyhow::Result<Arc<dyn Store>> {
    match id {
        StoreId(0) => Ok(stores.main.clone()),
        _ => match &stores.wal {
            Some((wal, _)) => Ok(wal.clone()),
            None => bail!("lanes of this cluster lie in a second store; name it with --wal-storage"),
        },
    }
}

fn lane_config(config: &BrokerConfig, store: &dyn Store, budget: &Budget) -> LaneConfig {
    let v = &config.values;
    let mut lane = LaneConfig::for_store(store.traits(), budget);
    let number = |key: &str| v.get(key).and_then(|text| text.parse::<u32>().ok());
    if let Some(ms) = number("wal.linger.ms") {
        lane.linger = Duration::from_millis(u64::from(ms));
    }
    if let Some(bytes) = number("wal.full.bytes") {
        lane.full_bytes = u64::from(bytes);
    }
    if let Some(cap) = number("wal.puts.per.second.max") {
        lane.puts_per_second_max = (cap > 0).then_some(cap);
    }
    lane.cold_reads_min = v.long("cold.read.bytes.per.second.min") as u64;
    // Four times what an upload is begun at (DESIGN §5 "Bounds").
    lane.backlog_bytes_max =
        4 * upload_dials(config, store.traits().directory, budget).bytes.max(lane.full_bytes);
    lane
}

/// Step 6: what our streams hold in the lanes of those before us.
async fn recover_streams(
    env: &Env,
    stores: &Stores,
    lanes: &LaneTable,
    budget: &Budget,
    journal: &Journal<MetadataImage>,
    me: Incarnation,
) -> anyhow::Result<(Recovered, BTreeMap<StreamId, Bytes>)> {
    loop {
        let image = journal.image();
        let streams: Vec<StreamId> = image.inner.catalog.streams_of(me).map(|(id, _)| id).collect();
        let plan = image.inner.catalog.recovery(streams.iter().copied());
        let checkpoints = read_checkpoints(env, stores, &image.inner.catalog, streams);
        let (recovered, checkpoints) = tokio::try_join!(
            recover(env, stores, lanes, budget, &plan).map_err(anyhow::Error::from),
            checkpoints.map_err(anyhow::Error::from)
        )?;
        if recovered.any_missing() && journal.catch_up().await? > image.seq {
            continue;
        }
        for (stream, reasons) in &recovered.blocked {
            for reason in reasons {
                tracing::error!(%stream, %reason, "a partition stays closed: acknowledged records cannot be read");
            }
        }
        return Ok((recovered, checkpoints));
    }
}

/// Opens every partition that was there before, with what recovery found.
fn open_partitions(
    broker: &Arc<Broker>,
    mut recovered: Recovered,
    checkpoints: &BTreeMap<StreamId, Bytes>,
) -> anyhow::Result<()> {
    let image = broker.journal.image().inner.clone();
    broker.live.store(Arc::new(live(&broker.config, &image, broker.node_id)));
    let mut table = PartitionTable::default();
    let mut coordinated = Vec::new();
    for topic in image.topics() {
        let opened = open_topic(broker, &image, topic, &mut recovered, checkpoints)?;
        if &*topic.name == OFFSETS_TOPIC {
            coordinated = opened.partitions.clone();
        }
        table.insert(Arc::new(opened));
    }
    broker.partitions.store(Arc::new(table));
    *broker.topic_changes.shown.lock() = image;
    show(broker);
    for partition in coordinated {
        broker.groups.open(broker, partition);
    }
    Ok(())
}

fn open_topic(
    broker: &Broker,
    image: &MetadataImage,
    topic: &TopicImage,
    recovered: &mut Recovered,
    checkpoints: &BTreeMap<StreamId, Bytes>,
) -> anyhow::Result<Topic> {
    let config = Arc::new(ArcSwap::from_pointee(effective_config(broker, image, &topic.name)));
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for (index, p) in topic.partitions.iter().enumerate() {
        let (blocks, attachments) = match recovered.streams.remove(&p.stream) {
            Some(RecoveredStream { index, attachments }) => (index, attachments),
            None => (s3stream::stream::StreamIndex::new(0), Vec::new()),
        };
        let at = (index as i32, p.stream);
        let mut producers = checkpoint::decode(checkpoints.get(&p.stream))
            .with_context(|| format!("the producers of {}-{index} cannot be known", topic.name))?;
        checkpoint::replay(&mut producers, &attachments);
        let uploaded = blocks.floor();
        let partition = open_partition(broker, image, topic, at, config.clone(), blocks, producers);
        partition.uploaded(uploaded, |block| broker.reader.in_tail(block));
        if recovered.blocked.contains_key(&p.stream) {
            partition.block();
        }
        partitions.push(partition);
    }
    Ok(Topic { id: topic.id, name: topic.name.clone(), config, partitions })
}

fn spawn_tasks(broker: &Arc<Broker>, lane_store: Arc<dyn Store>, sockets: Sockets) {
    let tasks = &broker.env.tasks;
    if let Some(peers) = sockets.peers {
        tasks.spawn("peers", identity::answer(peers, broker.incarnation));
    }
    for (name, socket) in sockets.clients {
        tasks.spawn("listener", listener::accept(broker.clone(), name, socket));
    }
    let floor = broker.config.values.long("storage.directory.free.min.bytes") as u64;
    tasks.spawn("free-space", broker.free_space.clone().watch(lane_store, floor));
    tasks.spawn("producer-expiry", expire_producers(broker.clone()));
    tasks.spawn("retention", retention::task::run(broker.clone()));
    tasks.spawn("fenced", end_when_fenced(broker.clone()));
}

/// The lane tells us that we were superseded when we next write. A process that nobody writes to learns it here, from the
/// journal, and must end as well: its partitions have another owner, and clients would wait on it for ever.
async fn end_when_fenced(broker: Arc<Broker>) {
    let mut images = broker.journal.subscribe();
    loop {
        let image = images.borrow_and_update().clone();
        let lane = image.inner.catalog.lane(broker.incarnation);
        if lane.is_none_or(|lane| matches!(lane.end, LaneEnd::Fenced { .. })) {
            return broker.env.tasks.fatal(format!(
                "another process has taken over this storage (incarnation {} is fenced). Nothing that was acknowledged is \
                 lost; start this one again if it should be the one that serves",
                broker.incarnation
            ));
        }
        if images.changed().await.is_err() {
            return;
        }
    }
}

async fn expire_producers(broker: Arc<Broker>) {
    let interval = broker.config.values.int("producer.id.expiration.check.interval.ms") as u64;
    loop {
        tokio::time::sleep(Duration::from_millis(interval)).await;
        let expiration = i64::from(broker.live.load().values.int("producer.id.expiration.ms"));
        let (now, durable) = (broker.env.clock.wall_ms(), broker.lane.durable_below());
        for topic in broker.partitions.load().topics() {
            topic.partitions.iter().for_each(|p| p.expire_producers(now, expiration, durable));
        }
    }
}

/// What a person wants to know first.
fn greet(broker: &Broker) {
    let endpoint = broker.endpoint("");
    let bootstrap = address(&endpoint.host, endpoint.port);
    let mib = broker.budget.total() >> 20;
    println!("aquifer {} serves Kafka clients at {bootstrap}", env!("CARGO_PKG_VERSION"));
    println!("  storage  {}", broker.config.values.string("storage"));
    println!("  cluster  {}, node {}", broker.cluster_id, broker.node_id);
    println!("  memory   {mib} MiB for data (memory.budget.bytes)");
    println!(
        "  try      echo hello | kcat -b {bootstrap} -P -t greetings; kcat -b {bootstrap} -C -t greetings -e"
    );
}

/// Serves until SIGTERM or SIGINT, or until this incarnation is over.
async fn until_stopped(broker: &Arc<Broker>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => leave(broker).await,
        _ = tokio::signal::ctrl_c() => leave(broker).await,
        reason = broker.env.tasks.fatal_reason() => bail!("{reason}"),
        ended = broker.lane.wait_ended() => bail!("{}", explain(&ended)),
    }
}

fn explain(ended: &LaneEnded) -> String {
    match ended {
        LaneEnded::Fenced { .. } => format!(
            "{ended}: another process has taken over this storage. Nothing that was acknowledged is lost; this process \
             must not go on. Start it again if it should be the one that serves."
        ),
        _ => ended.to_string(),
    }
}

/// A clean leave: the lane is flushed and sealed by ourselves, and the journal says so, so that the next start waits for
/// nobody and reads nothing twice.
async fn leave(broker: &Arc<Broker>) -> anyhow::Result<()> {
    info!("stopping");
    let left = tokio::time::timeout(DRAIN, async {
        let sealed = broker.lane.close().await?;
        let record = s3stream::catalog::StorageRecord::LaneLeft {
            incarnation: broker.incarnation,
            length: sealed.length,
            seal_nonce: sealed.seal_nonce,
        };
        broker.journal.propose(vec![crate::metadata::MetadataRecord::Storage(record)]).await?;
        anyhow::Ok(())
    });
    match left.await {
        Ok(Ok(())) => info!("left"),
        Ok(Err(error)) => warn!(%error, "stopped without leaving; the next start takes over"),
        Err(_) => warn!("the storage did not answer in time; the next start takes over"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_file_names_one_word_or_is_refused() {
        let id = |text: &str| read_cluster_id(text.as_bytes());
        assert_eq!(id("aquifer-cluster 1\nAbc-_9\n"), Ok("Abc-_9".into()));
        assert!(id("aquifer-cluster 2\nA\n").unwrap_err().contains("aquifer-cluster 2"));
        for damaged in ["", "aquifer-cluster 1", "aquifer-cluster 1\n\n", "aquifer-cluster 1\nA\r\r\n"] {
            assert!(id(damaged).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn cluster_ids_are_kafkas_base64() {
        assert_eq!(base64_url(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(base64_url(&[0xff; 16]), "_____________________w");
        let mut bytes = [0; 16];
        bytes[15] = 1;
        assert_eq!(base64_url(&bytes), "AAAAAAAAAAAAAAAAAAAAAQ");
    }
}
