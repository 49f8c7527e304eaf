//! The shell around group shards: one short mutex per shard, taken on the connection's task. A shard's records are appended
//! in the order it made them, at once; its answers leave when all it had appended by then is durable (SAFETY F12). There
//! is no rollback: a lane that ended takes its shards with it.
//!
//! LOCK ORDER: shard, then partition, then lane.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::batch_builder::BatchBuilder;
use protocol::error::ErrorCode;
use protocol::record_batch::Batch;
use s3stream::clock::Clock;
use s3stream::ids::LaneNumber;
use tokio::sync::{Notify, oneshot};
use tracing::{debug, warn};

use super::group::{
    Effect, GroupConfig, GroupRecord, GroupResponse, GroupShard, Outcome, Token, partition_for,
};
use super::timer::Timers;
use super::{OFFSETS_TOPIC, load};
use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::partition::{AppendContext, Partition};

/// A timer that fires so much too late means that this process did not run.
const LATE_MS: i64 = 2_000;
/// Of a record's room in a batch.
const BATCH_OVERHEAD_BYTES: usize = 512;
/// While a lane object is under way for so long, sessions stand still.
const STALLED: Duration = Duration::from_secs(2);

/// All shards of this broker.
pub struct Groups {
    shards: Mutex<HashMap<i32, Arc<Shard>>>,
    config: GroupConfig,
    expiry_interval_ms: i64,
    clock: CoordinatorClock,
}

/// One partition of `__consumer_offsets`.
pub struct Shard {
    partition: Arc<Partition>,
    inner: Mutex<Inner>,
    timers_changed: Notify,
}

struct Inner {
    state: State,
    waiting: HashMap<Token, oneshot::Sender<Answer>>,
    next_token: u64,
    timers: Timers,
    next_expiry_ms: i64,
    /// The last lane object that holds something of this shard.
    appended: Option<LaneNumber>,
}

enum State {
    Loading,
    Active(Box<GroupShard>),
    Ended,
}

/// What somebody who waits gets.
#[derive(Debug)]
pub struct Answer {
    /// The shard's answer.
    pub response: GroupResponse,
    /// It may leave when this is durable.
    pub at: Option<LaneNumber>,
}

/// Milliseconds that start at the wall clock and then run evenly: a wall clock that jumps expires nobody.
#[derive(Debug)]
struct CoordinatorClock {
    clock: Arc<dyn Clock>,
    wall_ms: i64,
    began: Duration,
}

impl CoordinatorClock {
    fn now_ms(&self) -> i64 {
        self.wall_ms + (self.clock.monotonic() - self.began).as_millis() as i64
    }
}

impl Groups {
    /// No shards yet.
    pub fn new(config: &BrokerConfig, clock: Arc<dyn Clock>) -> Groups {
        let v = &config.values;
        let group = GroupConfig {
            session_timeout_ms_min: v.int("group.min.session.timeout.ms"),
            session_timeout_ms_max: v.int("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: v.int("group.initial.rebalance.delay.ms"),
            group_size_max: v.int("group.max.size") as usize,
            offset_metadata_size_max: v.int("offset.metadata.max.bytes") as usize,
            offsets_retention_ms: i64::from(v.int("offsets.retention.minutes")) * 60_000,
            ..GroupConfig::default()
        };
        let clock = CoordinatorClock { wall_ms: clock.wall_ms(), began: clock.monotonic(), clock };
        Groups {
            shards: Mutex::default(),
            config: group,
            expiry_interval_ms: v.long("offsets.retention.check.interval.ms"),
            clock,
        }
    }

    /// Starts to coordinate a partition: its state is rebuilt from its log in the background.
    pub fn open(&self, broker: &Arc<Broker>, partition: Arc<Partition>) {
        let inner = Inner {
            state: State::Loading,
            waiting: HashMap::new(),
            next_token: 0,
            timers: Timers::default(),
            next_expiry_ms: self.clock.now_ms() + self.expiry_interval_ms,
            appended: None,
        };
        let index = partition.index;
        let shard = Arc::new(Shard { partition, inner: Mutex::new(inner), timers_changed: Notify::new() });
        self.shards.lock().insert(index, shard.clone());
        broker.env.tasks.spawn("group-shard", run(broker.clone(), shard));
    }

    /// What shards decide by, now: what a record of `__consumer_offsets` may take is the topic's to say.
    fn config(&self, broker: &Broker) -> GroupConfig {
        let table = broker.partitions.load();
        let bytes_max = table.topic(OFFSETS_TOPIC).map(|topic| topic.config.load().max_message_bytes);
        let group_metadata_bytes_max = match bytes_max {
            Some(bytes) => (bytes.max(0) as usize).saturating_sub(BATCH_OVERHEAD_BYTES),
            None => self.config.group_metadata_bytes_max,
        };
        GroupConfig { group_metadata_bytes_max, ..self.config.clone() }
    }

    /// The configuration of `__consumer_offsets` has changed.
    pub fn reconfigure(&self, broker: &Broker) {
        let config = self.config(broker);
        let shards: Vec<_> = self.shards.lock().values().cloned().collect();
        for shard in shards {
            if let State::Active(group_shard) = &mut shard.inner.lock().state {
                group_shard.reconfigure(config.clone());
            }
        }
    }

    /// Does what `call` says on the shard of a group; the answer comes by the receiver.
    pub fn request(
        &self,
        broker: &Broker,
        group_id: &str,
        call: impl FnOnce(&mut GroupShard, i64, Token) -> Outcome,
    ) -> Result<oneshot::Receiver<Answer>, ErrorCode> {
        let shard = self.find(broker, group_id)?;
        let now = self.clock.now_ms();
        let mut inner = shard.inner.lock();
        let token = Token(inner.next_token);
        inner.next_token += 1;
        let State::Active(group_shard) = &mut inner.state else { return Err(inner.refusal()) };
        let outcome = call(group_shard, now, token);
        let (sender, receiver) = oneshot::channel();
        inner.waiting.insert(token, sender);
        inner.apply(broker, &shard, outcome);
        Ok(receiver)
    }

    /// Reads the shard of a group; what was read may be told when the number is durable.
    pub fn read<T>(
        &self,
        broker: &Broker,
        group_id: &str,
        read: impl FnOnce(&GroupShard) -> T,
    ) -> Result<(T, Option<LaneNumber>), ErrorCode> {
        let shard = self.find(broker, group_id)?;
        let inner = shard.inner.lock();
        match &inner.state {
            State::Active(group_shard) => Ok((read(group_shard), inner.appended)),
            _ => Err(inner.refusal()),
        }
    }

    /// Reads every shard of this broker, in the order of their partitions; each part may be told when its number is
    /// durable. One that is still loading refuses for all: its groups would be missing. One that has ended has none
    /// (`GroupCoordinatorService.listGroups`).
    pub fn read_all<T>(
        &self,
        broker: &Broker,
        read: impl Fn(&GroupShard) -> T,
    ) -> Result<Vec<(T, Option<LaneNumber>)>, ErrorCode> {
        let table = broker.partitions.load();
        let Some(topic) = table.topic(OFFSETS_TOPIC) else { return Ok(Vec::new()) };
        let mut parts = Vec::new();
        for index in 0..topic.partitions.len() as i32 {
            let Some(shard) = self.shards.lock().get(&index).cloned() else { continue };
            let inner = shard.inner.lock();
            match &inner.state {
                State::Active(group_shard) => parts.push((read(group_shard), inner.appended)),
                State::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
                State::Ended => {}
            }
        }
        Ok(parts)
    }

    /// A topic is gone, its committed offsets with it.
    pub fn topic_deleted(&self, broker: &Broker, topic: &str) {
        let now = self.clock.now_ms();
        let shards: Vec<_> = self.shards.lock().values().cloned().collect();
        for shard in shards {
            let mut inner = shard.inner.lock();
            if let State::Active(group_shard) = &mut inner.state {
                let outcome = group_shard.topic_deleted(now, topic);
                inner.apply(broker, &shard, outcome);
            }
        }
    }

    fn find(&self, broker: &Broker, group_id: &str) -> Result<Arc<Shard>, ErrorCode> {
        let table = broker.partitions.load();
        let topic = table.topic(OFFSETS_TOPIC).ok_or(ErrorCode::NotCoordinator)?;
        let index = partition_for(group_id, topic.partitions.len() as i32);
        self.shards.lock().get(&index).cloned().ok_or(ErrorCode::NotCoordinator)
    }
}

impl Inner {
    fn refusal(&self) -> ErrorCode {
        match self.state {
            State::Loading => ErrorCode::CoordinatorLoadInProgress,
            _ => ErrorCode::NotCoordinator,
        }
    }

    /// Carries out what the shard decided: append first, so that every answer waits for it.
    fn apply(&mut self, broker: &Broker, shard: &Shard, outcome: Outcome) {
        if !outcome.records.is_empty() {
            match append(broker, &shard.partition, &outcome.records) {
                Ok(at) => self.appended = at.or(self.appended),
                Err(reason) => return self.end(&reason),
            }
        }
        for effect in outcome.effects {
            match effect {
                Effect::Reply(token, response) => self.reply(token, response),
                Effect::Schedule(key, deadline) => {
                    self.timers.schedule(key, deadline);
                    shard.timers_changed.notify_one();
                }
                Effect::Cancel(key) => self.timers.cancel(&key),
            }
        }
    }

    fn reply(&mut self, token: Token, response: GroupResponse) {
        if let Some(waiting) = self.waiting.remove(&token) {
            // Whoever waited may have gone away.
            let _ = waiting.send(Answer { response, at: self.appended });
        }
    }

    /// Records could not be appended: what the shard knows is not what the log says.
    fn end(&mut self, reason: &str) {
        warn!(reason, "a group coordinator ends");
        if let State::Active(mut shard) = std::mem::replace(&mut self.state, State::Ended) {
            for effect in shard.unloaded(ErrorCode::NotCoordinator).effects {
                if let Effect::Reply(token, response) = effect {
                    self.reply(token, response);
                }
            }
        }
        // Whoever still waits learns it from the closed channel.
        self.waiting.clear();
    }
}

fn append(
    broker: &Broker,
    partition: &Arc<Partition>,
    records: &[GroupRecord],
) -> Result<Option<LaneNumber>, String> {
    let now_ms = broker.env.clock.wall_ms();
    let mut builder = BatchBuilder::new();
    for record in records {
        let (key, value) = record.encode();
        builder = builder.append(now_ms, Some(&key), value.as_deref(), &[]);
    }
    let batch = Batch::parse(builder.build()).map_err(|e| e.to_string())?;
    let context = AppendContext { lane: &broker.lane, now_ms, charge: None };
    partition.append(&batch, now_ms, context).map(|a| a.at).map_err(|e| e.to_string())
}

/// Loads the shard, then fires its timers for as long as it lives.
async fn run(broker: Arc<Broker>, shard: Arc<Shard>) {
    let group_shard = loop {
        match load::load(&broker, &shard.partition, GroupShard::new(broker.groups.config(&broker))).await {
            Ok(loaded) => break loaded,
            Err(error) => {
                warn!(partition = shard.partition.index, %error, "group state cannot be read yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    activate(&broker, &shard, group_shard);
    loop {
        let clock = &broker.groups.clock;
        let next = {
            let inner = shard.inner.lock();
            if matches!(inner.state, State::Ended) {
                return;
            }
            inner.timers.next().unwrap_or(i64::MAX).min(inner.next_expiry_ms)
        };
        let wait = Duration::from_millis((next - clock.now_ms()).max(0) as u64);
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => fire(&broker, &shard, next),
            () = shard.timers_changed.notified() => {}
        }
    }
}

fn activate(broker: &Broker, shard: &Arc<Shard>, mut group_shard: GroupShard) {
    let now = broker.groups.clock.now_ms();
    let mut inner = shard.inner.lock();
    // It may have changed while the shard was loaded.
    group_shard.reconfigure(broker.groups.config(broker));
    let outcome = group_shard.loaded(now);
    inner.state = State::Active(Box::new(group_shard));
    inner.apply(broker, shard, outcome);
    debug!(partition = shard.partition.index, "coordinates groups");
}

fn fire(broker: &Broker, shard: &Arc<Shard>, expected_ms: i64) {
    let now = broker.groups.clock.now_ms();
    let mut inner = shard.inner.lock();
    let late = now - expected_ms;
    // If we did not run, nobody could be heard; if the lane stands still, nobody can be answered.
    let still = match late > LATE_MS {
        true => late,
        false if broker.lane_stalled(STALLED) => LATE_MS,
        false => 0,
    };
    if still > 0 {
        inner.timers.postpone(still);
        inner.next_expiry_ms = inner.next_expiry_ms.max(now + LATE_MS);
        return;
    }
    while let Some(key) = inner.timers.expired(now) {
        let State::Active(group_shard) = &mut inner.state else { return };
        let outcome = group_shard.timer_expired(now, &key);
        inner.apply(broker, shard, outcome);
    }
    if inner.next_expiry_ms <= now {
        inner.next_expiry_ms = now + broker.groups.expiry_interval_ms;
        if let State::Active(group_shard) = &mut inner.state {
            let outcome = group_shard.expire_offsets(now);
            inner.apply(broker, shard, outcome);
        }
    }
}
