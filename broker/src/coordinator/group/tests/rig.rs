//! A shard with a clock, timers and a log: what the shell is to it, without IO. Checks after every step that replaying
//! the log gives the live hard state, and that every token is answered once.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

pub struct Rig {
    pub shard: GroupShard,
    pub config: GroupConfig,
    pub now_ms: i64,
    pub timers: BTreeMap<TimerKey, i64>,
    /// Every record appended, as bytes, with the producer of its transaction; markers as `Err`.
    log: Vec<Logged>,
    next_token: u64,
    pub waiting: BTreeSet<Token>,
    next_suffix: u32,
}

enum Logged {
    Record(Option<i64>, bytes::Bytes, Option<bytes::Bytes>),
    Marker(i64, bool),
}

impl Rig {
    pub fn new(config: GroupConfig) -> Self {
        Rig {
            shard: GroupShard::new(config.clone()),
            config,
            now_ms: 0,
            timers: BTreeMap::new(),
            log: Vec::new(),
            next_token: 0,
            waiting: BTreeSet::new(),
            next_suffix: 0,
        }
    }

    pub fn token(&mut self) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.waiting.insert(token);
        token
    }

    pub fn fresh_member_id(&mut self, client_id: &str, group_instance_id: Option<&str>) -> String {
        self.next_suffix += 1;
        new_member_id(client_id, group_instance_id, &self.next_suffix.to_string())
    }

    /// Carries an outcome out, as the shell would.
    pub fn carry_out(&mut self, outcome: &Outcome) {
        let producer_id = outcome.producer.map(|producer| producer.producer_id);
        for record in &outcome.records {
            let (key, value) = record.encode();
            let decoded = GroupRecord::decode(&key, value.as_deref()).expect("what is written is readable");
            assert_eq!(decoded.as_ref(), Some(record));
            self.log.push(Logged::Record(producer_id, key, value));
        }
        for effect in &outcome.effects {
            match effect {
                Effect::Reply(token, _) => {
                    assert!(self.waiting.remove(token), "{token:?} is answered twice, or was never given");
                }
                Effect::Schedule(key, deadline_ms) => {
                    assert!(*deadline_ms >= self.now_ms);
                    self.timers.insert(key.clone(), *deadline_ms);
                }
                Effect::Cancel(key) => {
                    self.timers.remove(key);
                }
            }
        }
        self.assert_replay_equals_live();
    }

    pub fn marker(&mut self, producer_id: i64, committed: bool) {
        self.log.push(Logged::Marker(producer_id, committed));
        self.shard.replay_marker(producer_id, committed);
        self.assert_replay_equals_live();
    }

    /// The timer that is due first, if it is due by `until_ms`; the clock moves to it.
    pub fn next_timer(&mut self, until_ms: i64) -> Option<(TimerKey, Outcome)> {
        let (key, deadline_ms) = self.timers.iter().min_by_key(|(_, deadline_ms)| **deadline_ms)?;
        let (key, deadline_ms) = (key.clone(), *deadline_ms);
        if deadline_ms > until_ms {
            return None;
        }
        self.timers.remove(&key);
        self.now_ms = self.now_ms.max(deadline_ms);
        let outcome = self.shard.timer_expired(self.now_ms, &key);
        self.carry_out(&outcome);
        Some((key, outcome))
    }

    /// The coordinator dies; another loads the log, or a checkpoint of it. Who waited waits no longer.
    pub fn reload(&mut self, from_checkpoint: bool) -> Outcome {
        self.shard = if from_checkpoint {
            let mut shard = GroupShard::new(self.config.clone());
            for (producer_id, record) in self.shard.checkpoint() {
                replay(&mut shard, producer_id, &record);
            }
            shard
        } else {
            self.replayed()
        };
        self.timers.clear();
        self.waiting.clear();
        let outcome = self.shard.loaded(self.now_ms);
        self.carry_out(&outcome);
        outcome
    }

    fn replayed(&self) -> GroupShard {
        let mut shard = GroupShard::new(self.config.clone());
        for logged in &self.log {
            match logged {
                Logged::Record(producer_id, key, value) => {
                    let record = GroupRecord::decode(key, value.as_deref()).unwrap().unwrap();
                    replay(&mut shard, *producer_id, &record);
                }
                Logged::Marker(producer_id, committed) => shard.replay_marker(*producer_id, *committed),
            }
        }
        shard
    }

    fn assert_replay_equals_live(&self) {
        let replayed = self.replayed();
        assert_eq!(replayed.checkpoint(), self.shard.checkpoint());
        let ids = |shard: &GroupShard| {
            let all = shard.list_groups(&ListGroups::default());
            all.into_iter().map(|group| group.group_id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&replayed), ids(&self.shard), "groups, simple ones too");
    }
}

fn replay(shard: &mut GroupShard, producer_id: Option<i64>, record: &GroupRecord) {
    match producer_id {
        Some(producer_id) => shard.replay_transactional(producer_id, record),
        None => shard.replay(record),
    }
}

/// ConsumerProtocolSubscription v0 of these topics.
pub fn subscription(topics: &[&str]) -> bytes::Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes.into()
}
