//! One classic group: its members, its state, who may do what, which protocol they agree on.
//!
//! **Hard state** is the last GroupMetadata record, kept as it was replayed (`committed`), and nothing else: a
//! generation that became stable or empty. **Soft state** is everything that a rebalance in progress adds -- joins and
//! syncs that are parked, members that have joined but are in no generation yet, deadlines, the generation being
//! completed. Kafka keeps it in memory likewise (`ClassicGroup`): after a failover members find the last committed
//! generation, and those in a later one are told ILLEGAL_GENERATION and join again.
//!
//! [`ClassicGroup::replay`] is the same at boot, at failover and live. Live, the record was computed from the working
//! members, so what they have beyond the record (parked requests, their other protocols, deadlines) is kept where it
//! agrees with the record. The decisions are in `rebalance.rs`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::message::{GroupState, JoinGroup, JoinedMember, MemberProtocol, Token};
use super::record::{GroupMetadata, GroupRecord, MemberMetadata};
use super::subscription;

/// The protocol type whose metadata the coordinator understands (`ConsumerProtocol.PROTOCOL_TYPE`).
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// A member (`ClassicGroupMember`).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// In order of preference. After a load only the selected one is known.
    pub protocols: Vec<MemberProtocol>,
    pub assignment: Bytes,
    /// A parked JoinGroup. Set and cleared by `ClassicGroup::park_join` and `unpark_join`, which count.
    awaiting_join: Option<Token>,
    /// A parked SyncGroup.
    pub awaiting_sync: Option<Token>,
    /// Has joined but is in no generation yet: it cannot send heartbeats, as it may not know its id.
    pub is_new: bool,
    /// When the session ends; `None` while nothing is expected of the member.
    pub session_deadline_ms: Option<i64>,
}

impl Member {
    pub(super) fn new(member_id: &str, request: &JoinGroup) -> Self {
        Member {
            member_id: member_id.to_string(),
            group_instance_id: request.group_instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols.clone(),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
            session_deadline_ms: None,
        }
    }

    pub(super) fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    pub(super) fn is_awaiting_join(&self) -> bool {
        self.awaiting_join.is_some()
    }

    /// Takes the parked join of a member that the group no longer counts.
    pub(super) fn take_parked_join(&mut self) -> Option<Token> {
        self.awaiting_join.take()
    }

    /// A member that waits for others is not expected to send heartbeats; a new one may be gone and is expired even
    /// while its join is parked (`ClassicGroupMember.hasSatisfiedHeartbeat`).
    pub(super) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// Its metadata for a protocol, if it speaks it.
    pub(super) fn metadata(&self, protocol_name: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|p| p.name == protocol_name).map(|p| &p.metadata)
    }
}

/// Whether a rebalance is the first of an empty group, which waits for more members before it completes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct InitialDelay {
    pub delay_ms: i64,
    pub remaining_ms: i64,
}

/// A group (`ClassicGroup`).
#[derive(Debug)]
pub(super) struct ClassicGroup {
    pub group_id: String,
    /// Hard state: the last record; `None` for a group that only offsets speak of (a simple group), which has no soft
    /// state either.
    pub committed: Option<GroupMetadata>,

    pub state: GroupState,
    pub previous_state: GroupState,
    pub state_timestamp_ms: Option<i64>,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub generation_id: i32,
    pub leader: Option<String>,
    /// By id, so that every iteration (replies, records, succession of a leader) is the same in every run.
    pub members: BTreeMap<String, Member>,
    static_members: BTreeMap<String, String>,
    /// Members that were given an id and are to come back with it, and when they are given up.
    pub pending_joins: BTreeMap<String, i64>,
    pub pending_syncs: BTreeSet<String>,
    num_awaiting_join: usize,
    /// How many members speak a protocol.
    supported_protocols: BTreeMap<String, usize>,
    /// Topics that members of a consumer group subscribe to; `None` if that is not known.
    subscribed_topics: Option<BTreeSet<String>>,
    /// A member joined since the initial delay was last extended.
    pub new_member_added: bool,
    pub initial_delay: Option<InitialDelay>,
    pub join_deadline_ms: Option<i64>,
    pub sync_deadline_ms: Option<i64>,
}

impl ClassicGroup {
    /// An empty group at generation 0, as a first record or a first committed offset makes it.
    pub(super) fn new(group_id: &str) -> Self {
        ClassicGroup {
            group_id: group_id.to_string(),
            committed: None,
            state: GroupState::Empty,
            previous_state: GroupState::Dead,
            state_timestamp_ms: None,
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeMap::new(),
            pending_syncs: BTreeSet::new(),
            num_awaiting_join: 0,
            supported_protocols: BTreeMap::new(),
            subscribed_topics: None,
            new_member_added: false,
            initial_delay: None,
            join_deadline_ms: None,
            sync_deadline_ms: None,
        }
    }

    /// Makes a record the hard state, and the working state agree with it. `GroupMetadataManager.replay`.
    pub(super) fn replay(&mut self, value: &GroupMetadata) {
        self.committed = Some(value.clone());
        let mut known = std::mem::take(&mut self.members);
        self.static_members.clear();
        self.supported_protocols.clear();
        for record in &value.members {
            let member = match known.remove(&record.member_id) {
                Some(working) => working.agreeing_with(record, value.protocol_name.as_deref()),
                None => Member::of(record, value.protocol_name.as_deref()),
            };
            if let Some(instance_id) = &member.group_instance_id {
                self.static_members.insert(instance_id.clone(), member.member_id.clone());
            }
            self.pending_joins.remove(&member.member_id);
            self.count_protocols(&member, 1);
            if let Some(twice) = self.members.insert(member.member_id.clone(), member) {
                self.count_protocols(&twice, -1);
            }
        }
        assert!(
            known.values().all(|m| m.awaiting_join.is_none() && m.awaiting_sync.is_none()),
            "a record of group {} drops a member whose request is parked",
            self.group_id
        );
        self.num_awaiting_join = self.members.values().filter(|m| m.is_awaiting_join()).count();
        self.pending_syncs.retain(|id| self.members.contains_key(id));
        self.protocol_type = Some(value.protocol_type.clone()).filter(|t| !t.is_empty());
        self.protocol_name = value.protocol_name.clone();
        self.generation_id = value.generation_id;
        self.leader = value.leader.clone().or_else(|| self.members.keys().next().cloned());
        self.previous_state = self.state;
        self.state = if self.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        self.state_timestamp_ms =
            Some(value.current_state_timestamp_ms).filter(|&timestamp_ms| timestamp_ms != -1);
        self.subscribed_topics = self.compute_subscribed_topics();
    }

    /// The record that makes the working state hard, as of `timestamp_ms`. Every member must speak the selected
    /// protocol. `GroupCoordinatorRecordHelpers.newGroupMetadataRecord`.
    pub(super) fn metadata_record(&self, timestamp_ms: i64) -> GroupMetadata {
        let member_record = |member: &Member| MemberMetadata {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: self.selected_metadata(member),
            assignment: member.assignment.clone(),
        };
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation_id: self.generation_id,
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            current_state_timestamp_ms: timestamp_ms,
            members: self.members.values().map(member_record).collect(),
        }
    }

    /// Replays a record that this group decided, and returns it to be appended.
    pub(super) fn commit(&mut self, value: GroupMetadata) -> GroupRecord {
        self.replay(&value);
        GroupRecord::GroupMetadata { group_id: self.group_id.clone(), value: Some(value) }
    }

    /// A member's metadata for the selected protocol.
    pub(super) fn selected_metadata(&self, member: &Member) -> Bytes {
        let name = self.protocol_name.as_deref().unwrap_or_default();
        match member.metadata(name) {
            Some(metadata) => metadata.clone(),
            None => panic!("member {} of group {} does not speak {name}", member.member_id, self.group_id),
        }
    }

    // ---- members ----

    /// Adds a member, which becomes the leader if there is none. `ClassicGroup.add`.
    pub(super) fn add(&mut self, member: Member, protocol_type: &str, token: Token) {
        if let Some(instance_id) = &member.group_instance_id {
            let before = self.static_members.insert(instance_id.clone(), member.member_id.clone());
            assert!(before.is_none(), "static member {instance_id} is already in group {}", self.group_id);
        }
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_string());
        }
        let member_id = member.member_id.clone();
        self.leader.get_or_insert_with(|| member_id.clone());
        self.count_protocols(&member, 1);
        self.pending_joins.remove(&member_id);
        self.members.insert(member_id.clone(), member);
        let replaced = self.park_join(&member_id, token);
        assert!(replaced.is_none(), "a new member cannot have a parked join");
    }

    /// Removes a member or pending member; the leader is succeeded by the first that is left. `ClassicGroup.remove`.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let removed = self.members.remove(member_id);
        if let Some(member) = &removed {
            self.count_protocols(member, -1);
            if member.is_awaiting_join() {
                self.num_awaiting_join -= 1;
            }
            if let Some(instance_id) = &member.group_instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_joins.remove(member_id);
        self.pending_syncs.remove(member_id);
        removed
    }

    /// Gives a static member a new id, with its protocols, timeouts and assignment; what the old one had parked is
    /// in the returned old member. `ClassicGroup.replaceStaticMember`.
    pub(super) fn replace_static_member(
        &mut self,
        instance_id: &str,
        old_id: &str,
        request: &JoinGroup,
        new_id: &str,
    ) -> Member {
        let old = self.members.remove(old_id).expect("a mapped static member is a member");
        if old.is_awaiting_join() {
            self.num_awaiting_join -= 1;
        }
        self.count_protocols(&old, -1);
        let new = Member {
            member_id: new_id.to_string(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols.clone(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            session_deadline_ms: None,
            ..old.clone()
        };
        self.count_protocols(&new, 1);
        self.members.insert(new_id.to_string(), new);
        self.static_members.insert(instance_id.to_string(), new_id.to_string());
        self.pending_syncs.remove(old_id);
        if self.is_leader(old_id) {
            self.leader = Some(new_id.to_string());
        }
        old
    }

    /// Takes over what a member says about itself when it joins again. `ClassicGroup.updateMember`.
    pub(super) fn update_member(&mut self, member_id: &str, request: &JoinGroup) {
        let mut member = self.members.remove(member_id).expect("a member that rejoins is a member");
        self.count_protocols(&member, -1);
        member.protocols = request.protocols.clone();
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        self.count_protocols(&member, 1);
        self.members.insert(member_id.to_string(), member);
    }

    /// Parks a join; the one that it replaces must be answered.
    #[must_use]
    pub(super) fn park_join(&mut self, member_id: &str, token: Token) -> Option<Token> {
        let member = self.members.get_mut(member_id).expect("who joins is a member");
        let replaced = member.awaiting_join.replace(token);
        if replaced.is_none() {
            self.num_awaiting_join += 1;
        }
        replaced
    }

    /// Takes a parked join, to answer it.
    pub(super) fn unpark_join(&mut self, member_id: &str) -> Option<Token> {
        let token = self.members.get_mut(member_id)?.awaiting_join.take()?;
        self.num_awaiting_join -= 1;
        Some(token)
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn static_member_id(&self, instance_id: &str) -> Option<&str> {
        self.static_members.get(instance_id).map(String::as_str)
    }

    pub(super) fn num_awaiting_join(&self) -> usize {
        self.num_awaiting_join
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.num_awaiting_join && self.pending_joins.is_empty()
    }

    /// The longest that any member asks for.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|m| m.rebalance_timeout_ms).max().unwrap_or(0).max(0)
    }

    /// If the leader has not rejoined, another that has leads. False if nobody has. `maybeElectNewJoinedLeader`.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(Member::is_awaiting_join) {
            return true;
        }
        match self.members.values().find(|m| m.is_awaiting_join()) {
            Some(joined) => {
                self.leader = Some(joined.member_id.clone());
                true
            }
            None => false,
        }
    }

    /// What the leader is told about the members.
    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let joined = |member: &Member| JoinedMember {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            metadata: self.selected_metadata(member),
        };
        self.members.values().map(joined).collect()
    }

    // ---- validation ----

    /// `ClassicGroup.validateMember`.
    pub(super) fn validate_member(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
    ) -> Result<(), ResponseError> {
        if let Some(instance_id) = group_instance_id {
            match self.static_member_id(instance_id) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(existing) if existing != member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }

    /// `ClassicGroup.validateOffsetCommit`.
    pub(super) fn validate_offset_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
        generation_id: i32,
        is_transactional: bool,
    ) -> Result<(), ResponseError> {
        if generation_id < 0 && self.state == GroupState::Empty {
            // An administrator, or a consumer that manages its partitions itself.
            return Ok(());
        }
        if generation_id >= 0 || !member_id.is_empty() || group_instance_id.is_some() {
            self.validate_member(member_id, group_instance_id)?;
            if generation_id != self.generation_id {
                return Err(ResponseError::IllegalGeneration);
            }
        } else if !is_transactional && self.state != GroupState::Empty {
            // Old TxnOffsetCommits name no member; other commits without one need an empty group.
            return Err(ResponseError::UnknownMemberId);
        }
        if !is_transactional && self.state == GroupState::CompletingRebalance {
            // The member knows the new generation but has no assignment in it: it may not commit for it yet.
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether a joining member has a protocol that all speak. `ClassicGroup.supportsProtocols`.
    pub(super) fn supports_protocols(&self, protocol_type: &str, protocols: &[MemberProtocol]) -> bool {
        if self.state == GroupState::Empty {
            return offers_protocols(protocol_type, protocols);
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|p| self.supported_protocols.get(&p.name).copied().unwrap_or(0) == self.members.len())
    }

    // ---- protocols ----

    /// The protocol that most members prefer among those that all speak; of equal ones the first by name (Kafka's
    /// choice among equals depends on a hash). The group must have members. `ClassicGroup.selectProtocol`.
    pub(super) fn select_protocol(&self) -> String {
        let spoken_by_all = |p: &&MemberProtocol| self.supported_protocols[&p.name] == self.members.len();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            match member.protocols.iter().find(spoken_by_all) {
                Some(vote) => *votes.entry(&vote.name).or_default() += 1,
                None => {
                    panic!("member {} of group {} speaks no common protocol", member.member_id, self.group_id)
                }
            }
        }
        let mut best: Option<(&str, usize)> = None;
        for (name, count) in votes {
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((name, count));
            }
        }
        best.expect("an empty group selects no protocol").0.to_string()
    }

    /// A protocol that a member names twice counts twice in Kafka, which then never selects it; here once.
    fn count_protocols(&mut self, member: &Member, by: isize) {
        for (i, protocol) in member.protocols.iter().enumerate() {
            if member.protocols[..i].iter().any(|earlier| earlier.name == protocol.name) {
                continue;
            }
            let count = self.supported_protocols.entry(protocol.name.clone()).or_default();
            *count = count.checked_add_signed(by).expect("protocols are counted once in and once out");
            if *count == 0 {
                self.supported_protocols.remove(&protocol.name);
            }
        }
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether the topics that members subscribe to are known.
    pub(super) fn knows_subscribed_topics(&self) -> bool {
        self.subscribed_topics.is_some()
    }

    /// Whether a member may still consume the topic; if that is not known, a consumer group may.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// After the selected protocol or the members changed. `ClassicGroup.computeSubscribedTopics`.
    pub(super) fn refresh_subscribed_topics(&mut self) {
        self.subscribed_topics = self.compute_subscribed_topics();
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol_name = self.protocol_name.as_deref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            all.extend(subscription::topics(member.metadata(protocol_name)?).ok()?);
        }
        Some(all)
    }
}

impl Member {
    /// From a record alone.
    fn of(record: &MemberMetadata, protocol_name: Option<&str>) -> Self {
        Member {
            member_id: record.member_id.clone(),
            group_instance_id: record.group_instance_id.clone(),
            client_id: record.client_id.clone(),
            client_host: record.client_host.clone(),
            rebalance_timeout_ms: record.rebalance_timeout_ms,
            session_timeout_ms: record.session_timeout_ms,
            protocols: selected_protocol(record, protocol_name),
            assignment: record.assignment.clone(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            session_deadline_ms: None,
        }
    }

    /// The record's, with what this one knows beyond it.
    fn agreeing_with(self, record: &MemberMetadata, protocol_name: Option<&str>) -> Self {
        let agrees = protocol_name.is_some_and(|name| self.metadata(name) == Some(&record.subscription));
        Member {
            protocols: if agrees { self.protocols } else { selected_protocol(record, protocol_name) },
            awaiting_join: self.awaiting_join,
            awaiting_sync: self.awaiting_sync,
            is_new: self.is_new,
            session_deadline_ms: self.session_deadline_ms,
            ..Member::of(record, protocol_name)
        }
    }
}

fn selected_protocol(record: &MemberMetadata, protocol_name: Option<&str>) -> Vec<MemberProtocol> {
    let name = protocol_name.unwrap_or_default().to_string();
    vec![MemberProtocol { name, metadata: record.subscription.clone() }]
}

/// Whether a JoinGroup names a protocol type and a protocol at all.
pub(super) fn offers_protocols(protocol_type: &str, protocols: &[MemberProtocol]) -> bool {
    !protocol_type.is_empty() && !protocols.is_empty()
}
