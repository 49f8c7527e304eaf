//! Members, administrators, transactions and failovers in any order. The rig checks after every step that the replayed
//! log is the live hard state and that nobody is answered twice; here: what members may rely on, and that in the end
//! everybody is answered and every group is empty.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::*;
use super::rig::{Rig, subscription};

const SLOTS: usize = 6;

#[derive(Debug, Clone)]
enum Op {
    /// Slot, protocols (a choice), with the id that it knows or as a newcomer, version.
    Join(usize, usize, bool, i64),
    Sync(usize),
    Heartbeat(usize),
    Leave(usize),
    Commit(usize, i64),
    TxnCommit(i64, i64),
    Marker(i64, bool),
    Clock(i64),
    Expire,
    TopicDeleted,
    DeleteGroups,
    DeleteOffsets,
    MaxSize(usize),
    Reload(bool),
    /// A timer fires that was moved or cancelled.
    StaleTimer(usize),
    Postpone,
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    prop_oneof![
        8 => (slot(), 0..4usize, any::<bool>(), prop_oneof![Just(3), Just(5), Just(9)])
            .prop_map(|(slot, choice, known, version)| Op::Join(slot, choice, known, version)),
        8 => slot().prop_map(Op::Sync),
        4 => slot().prop_map(Op::Heartbeat),
        1 => slot().prop_map(Op::Leave),
        3 => (slot(), 0..3i64).prop_map(|(slot, offset)| Op::Commit(slot, offset)),
        1 => (0..2i64, 0..3i64).prop_map(|(producer_id, offset)| Op::TxnCommit(producer_id, offset)),
        1 => (0..2i64, any::<bool>()).prop_map(|(producer_id, committed)| Op::Marker(producer_id, committed)),
        4 => prop_oneof![Just(0), Just(3_000), Just(7_000), Just(60_000)].prop_map(Op::Clock),
        1 => Just(Op::Clock(8 * 24 * 60 * 60 * 1_000)),
        1 => Just(Op::Expire),
        1 => Just(Op::TopicDeleted),
        1 => Just(Op::DeleteGroups),
        1 => Just(Op::DeleteOffsets),
        1 => (1..6usize).prop_map(Op::MaxSize),
        1 => any::<bool>().prop_map(Op::Reload),
        2 => slot().prop_map(Op::StaleTimer),
        1 => Just(Op::Postpone),
    ]
}

/// What a member has learnt.
#[derive(Debug, Default, Clone)]
struct Known {
    member_id: String,
    generation_id: i32,
    members: Vec<String>,
}

struct Model {
    rig: Rig,
    slots: Vec<Known>,
    asked_by: BTreeMap<Token, usize>,
    /// (leader, protocol) that a generation was announced with, since the last load.
    announced: BTreeMap<i32, (String, Option<String>)>,
}

impl Model {
    fn new() -> Self {
        let config = GroupConfig { offsets_retention_ms: 1_000_000, ..GroupConfig::default() };
        Model {
            rig: Rig::new(config),
            slots: vec![Known::default(); SLOTS],
            asked_by: BTreeMap::new(),
            announced: BTreeMap::new(),
        }
    }

    fn step(&mut self, op: &Op) {
        let now_ms = self.rig.now_ms;
        let group_id = || "g".to_string();
        match *op {
            Op::Join(slot, choice, known, version) => {
                let token = self.token(slot);
                // The last two slots are static members.
                let group_instance_id = (slot + 2 >= SLOTS && version >= 5).then(|| format!("i{slot}"));
                let member_id = if known { self.slots[slot].member_id.clone() } else { String::new() };
                let names: &[&str] =
                    [&["range"][..], &["range", "sticky"], &["sticky", "range"], &["sticky"]][choice];
                let protocols = names.iter().map(|name| MemberProtocol {
                    name: name.to_string(),
                    metadata: subscription(if choice % 2 == 0 { &["a"] } else { &["a", "b"] }),
                });
                let request = JoinGroup {
                    group_id: group_id(),
                    session_timeout_ms: 10_000,
                    rebalance_timeout_ms: 30_000,
                    member_id,
                    group_instance_id: group_instance_id.clone(),
                    protocol_type: "consumer".to_string(),
                    protocols: protocols.collect(),
                    client_id: "c".to_string(),
                    client_host: "/h".to_string(),
                    requires_known_member_id: version >= 4,
                    supports_skip_assignment: version >= 9,
                };
                let fresh = self.rig.fresh_member_id("c", group_instance_id.as_deref());
                let outcome = self.rig.shard.join_group(now_ms, token, &fresh, &request);
                self.carry_out(outcome);
            }
            Op::Sync(slot) => {
                let token = self.token(slot);
                let known = self.slots[slot].clone();
                let assigned = Bytes::from(known.generation_id.to_string());
                let request = SyncGroup {
                    group_id: group_id(),
                    generation_id: known.generation_id,
                    member_id: known.member_id,
                    group_instance_id: None,
                    protocol_type: None,
                    protocol_name: None,
                    assignments: known.members.into_iter().map(|id| (id, assigned.clone())).collect(),
                };
                let outcome = self.rig.shard.sync_group(now_ms, token, &request);
                self.carry_out(outcome);
            }
            Op::Heartbeat(slot) => {
                let token = self.token(slot);
                let request = Heartbeat {
                    group_id: group_id(),
                    generation_id: self.slots[slot].generation_id,
                    member_id: self.slots[slot].member_id.clone(),
                    group_instance_id: None,
                };
                let outcome = self.rig.shard.heartbeat(now_ms, token, &request);
                self.carry_out(outcome);
            }
            Op::Leave(slot) => {
                let token = self.token(slot);
                let member_id = self.slots[slot].member_id.clone();
                let members = vec![MemberIdentity { member_id, group_instance_id: None }];
                let request = LeaveGroup { group_id: group_id(), members };
                let outcome = self.rig.shard.leave_group(now_ms, token, &request);
                self.carry_out(outcome);
            }
            Op::Commit(slot, offset) => {
                let token = self.token(slot);
                let known = &self.slots[slot];
                let request = OffsetCommit {
                    group_id: group_id(),
                    generation_id: if known.member_id.is_empty() { -1 } else { known.generation_id },
                    member_id: known.member_id.clone(),
                    group_instance_id: None,
                    retention_time_ms: (offset == 2).then_some(50_000),
                    knows_group_id_not_found: true,
                    topics: one_commit("a", offset),
                };
                let outcome = self.rig.shard.offset_commit(now_ms, token, &request);
                self.carry_out(outcome);
            }
            Op::TxnCommit(producer_id, offset) => {
                let token = self.token(0);
                let request = TxnOffsetCommit {
                    group_id: group_id(),
                    producer: ProducerIdAndEpoch { producer_id, producer_epoch: 0 },
                    generation_id: -1,
                    member_id: String::new(),
                    group_instance_id: None,
                    topics: one_commit(if offset == 0 { "a" } else { "b" }, offset),
                };
                let outcome = self.rig.shard.txn_offset_commit(now_ms, token, &request);
                self.carry_out(outcome);
            }
            Op::Marker(producer_id, committed) => self.rig.marker(producer_id, committed),
            Op::Clock(by_ms) => {
                let until_ms = now_ms + by_ms;
                while let Some((_, outcome)) = self.rig.next_timer(until_ms) {
                    self.learn(&outcome);
                }
                self.rig.now_ms = until_ms;
            }
            Op::Expire => {
                let outcome = self.rig.shard.expire_offsets(now_ms);
                self.carry_out(outcome);
            }
            Op::TopicDeleted => {
                let outcome = self.rig.shard.topic_deleted(now_ms, "a");
                self.carry_out(outcome);
                let all = OffsetFetch { group_id: group_id(), topics: None, require_stable: false };
                let left = self.rig.shard.offset_fetch(&all);
                assert!(left.topics.iter().all(|(topic, _)| topic != "a"));
            }
            Op::DeleteGroups => {
                let token = self.token(0);
                let outcome = self.rig.shard.delete_groups(now_ms, token, &[group_id()]);
                if !outcome.records.is_empty() {
                    self.announced.clear();
                }
                self.carry_out(outcome);
            }
            Op::DeleteOffsets => {
                let token = self.token(0);
                let topics = vec![("a".to_string(), vec![0]), ("b".to_string(), vec![0])];
                let request = OffsetDelete { group_id: group_id(), topics };
                let outcome = self.rig.shard.delete_offsets(now_ms, token, &request);
                self.carry_out(outcome);
            }
            Op::MaxSize(group_size_max) => {
                self.rig.config.group_size_max = group_size_max;
                self.rig.shard.reconfigure(self.rig.config.clone());
            }
            Op::Reload(from_checkpoint) => {
                // Whatever generation was announced but is in no record may be announced again.
                self.announced.clear();
                let outcome = self.rig.reload(from_checkpoint);
                self.learn(&outcome);
            }
            Op::StaleTimer(slot) => {
                let member_id = self.slots[slot].member_id.clone();
                let session = TimerKey::Session { group_id: group_id(), member_id };
                let keys = [
                    session,
                    TimerKey::Join { group_id: group_id() },
                    TimerKey::Sync { group_id: group_id() },
                ];
                for key in keys {
                    if self.rig.timers.get(&key).is_none_or(|&deadline_ms| deadline_ms > now_ms) {
                        assert_eq!(self.rig.shard.timer_expired(now_ms, &key), Outcome::default(), "{key:?}");
                    }
                }
            }
            Op::Postpone => {
                let before = self.rig.timers.clone();
                let outcome = self.rig.shard.postpone_timers(1_000);
                self.carry_out(outcome);
                for (key, deadline_ms) in before {
                    assert_eq!(self.rig.timers[&key], deadline_ms + 1_000, "{key:?}");
                }
            }
        }
    }

    fn token(&mut self, slot: usize) -> Token {
        let token = self.rig.token();
        self.asked_by.insert(token, slot);
        token
    }

    fn carry_out(&mut self, outcome: Outcome) {
        self.rig.carry_out(&outcome);
        self.learn(&outcome);
    }

    fn learn(&mut self, outcome: &Outcome) {
        if outcome.records.iter().any(|r| matches!(r, GroupRecord::GroupMetadata { value: None, .. })) {
            self.announced.clear();
        }
        for effect in &outcome.effects {
            let Effect::Reply(token, response) = effect else { continue };
            let slot = self.asked_by[token];
            match response {
                GroupResponse::JoinGroup(JoinGroupAnswer { error: Some(_), member_id, .. }) => {
                    self.slots[slot].member_id = member_id.clone();
                }
                GroupResponse::JoinGroup(answer) => {
                    let members: Vec<String> = answer.members.iter().map(|m| m.member_id.clone()).collect();
                    assert_eq!(
                        members.is_empty(),
                        answer.leader != answer.member_id,
                        "the leader alone sees all"
                    );
                    assert!(members.is_empty() || members.contains(&answer.member_id));
                    if !answer.skip_assignment {
                        let now = (answer.leader.clone(), answer.protocol_name.clone());
                        let first = self.announced.entry(answer.generation_id).or_insert_with(|| now.clone());
                        assert_eq!(first.1, now.1, "one protocol per generation");
                    }
                    self.slots[slot] = Known {
                        member_id: answer.member_id.clone(),
                        generation_id: answer.generation_id,
                        members,
                    };
                }
                GroupResponse::SyncGroup(SyncGroupAnswer { error: None, assignment, .. }) => {
                    let generation_id = self.slots[slot].generation_id.to_string();
                    assert!(
                        assignment.is_empty() || *assignment == generation_id.as_bytes(),
                        "slot {slot} of generation {generation_id} was given {assignment:?}"
                    );
                }
                _ => {}
            }
        }
    }
}

fn one_commit(topic: &str, offset: i64) -> Vec<(String, Vec<PartitionCommit>)> {
    let commit = PartitionCommit { partition: 0, offset, leader_epoch: -1, metadata: None };
    vec![(topic.to_string(), vec![commit])]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everybody_is_answered_once_and_the_log_is_the_state(ops in proptest::collection::vec(op(), 1..120)) {
        let mut model = Model::new();
        for op in &ops {
            model.step(op);
        }
        // Everybody falls silent.
        let mut fired = 0;
        while let Some((_, outcome)) = model.rig.next_timer(i64::MAX) {
            model.learn(&outcome);
            fired += 1;
            assert!(fired < 1_000, "timers never end: {:?}", model.rig.timers);
        }
        assert!(model.rig.waiting.is_empty(), "never answered: {:?}", model.rig.waiting);
        for group in model.rig.shard.list_groups(&ListGroups::default()) {
            assert_eq!(group.state, GroupState::Empty);
        }
    }
}
