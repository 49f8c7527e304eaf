//! One partition of `__consumer_offsets`: its groups and offsets, and who is asked what.
//!
//! **The discipline of replay.** A method that decides something replays its own records, one by one, through
//! [`GroupShard::replay`] (a group's through the same function of the group) *before* it returns them: when it returns,
//! the shard is what these records make it, and the next request may be decided. The shell appends the records in the
//! order of the outcomes and does not replay them. It releases replies when everything appended is durable. At boot and
//! failover it replays what the log holds, then calls [`GroupShard::loaded`]. So hard state -- the last metadata record
//! of each group and the offsets -- changes in `replay` and nowhere else; members that join, parked requests and timers
//! are soft and are lost with the shard, as they are in Kafka. A failed append discards the shard: nothing is undone.
//!
//! Timers may fire late, or when they were cancelled or moved: each has its deadline in the shard, and a firing before
//! it does nothing.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;

use super::classic::{ClassicGroup, offers_protocols};
use super::config::GroupConfig;
use super::message::{
    DeletedGroup, DescribedGroup, DescribedMember, Effect, GroupResponse, GroupState, Heartbeat, JoinGroup,
    JoinGroupAnswer, LeaveGroup, LeaveGroupAnswer, ListGroups, ListedGroup, Outcome, SyncGroup,
    SyncGroupAnswer, TimerKey, Token,
};
use super::offsets::Offsets;
use super::rebalance::Cx;
use super::record::{GroupMetadata, GroupRecord, OffsetKey, STRING_LEN_MAX};

/// The groups and offsets of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupShard {
    pub(super) config: GroupConfig,
    /// By id, so that every iteration is the same in every run.
    pub(super) groups: BTreeMap<String, ClassicGroup>,
    pub(super) offsets: Offsets,
}

/// Hard state.
impl GroupShard {
    /// A shard of an empty partition.
    pub fn new(config: GroupConfig) -> Self {
        GroupShard { config, groups: BTreeMap::new(), offsets: Offsets::default() }
    }

    /// Other values of configuration, from the next decision on.
    pub fn reconfigure(&mut self, config: GroupConfig) {
        self.config = config;
    }

    /// Folds in a record of a non-transactional batch, in the order of the log.
    pub fn replay(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::OffsetCommit { key, value } => {
                self.offsets.replay(None, key, value.as_ref());
                self.sync_simple_group(&key.group_id);
            }
            GroupRecord::GroupMetadata { group_id, value: Some(value) } => {
                let group =
                    self.groups.entry(group_id.clone()).or_insert_with(|| ClassicGroup::new(group_id));
                group.replay(value);
            }
            GroupRecord::GroupMetadata { group_id, value: None } => {
                self.groups.remove(group_id);
                self.sync_simple_group(group_id);
            }
        }
    }

    /// Folds in a record of a transactional batch: offsets are pending until the marker.
    pub fn replay_transactional(&mut self, producer_id: i64, record: &GroupRecord) {
        match record {
            GroupRecord::OffsetCommit { key, value: Some(value) } => {
                self.offsets.replay(Some(producer_id), key, Some(value));
                self.sync_simple_group(&key.group_id);
            }
            other => self.replay(other),
        }
    }

    /// Folds in a transaction's marker in this partition. Live, the shell calls it when it appends the marker.
    pub fn replay_marker(&mut self, producer_id: i64, committed: bool) {
        for group_id in self.offsets.replay_marker(producer_id, committed) {
            self.sync_simple_group(&group_id);
        }
    }

    /// Offsets without a group are a simple group: no members, no protocol, no record of its own; it is there as long
    /// as they are. (Kafka keeps it until the next expiry.) Members make a record first, so that this touches nothing
    /// that is soft.
    fn sync_simple_group(&mut self, group_id: &str) {
        let has_offsets = self.offsets.has_any(group_id);
        match self.groups.get(group_id) {
            None if has_offsets => {
                self.groups.insert(group_id.to_string(), ClassicGroup::new(group_id));
            }
            Some(group) if group.committed.is_none() && !has_offsets => {
                assert!(
                    group.members.is_empty() && group.pending_joins.is_empty(),
                    "{group_id} has no record"
                );
                self.groups.remove(group_id);
            }
            _ => {}
        }
    }

    /// Decided here: replays a record and hands it out to be appended.
    pub(super) fn apply(&mut self, record: GroupRecord, outcome: &mut Outcome) {
        self.replay(&record);
        outcome.records.push(record);
    }

    /// The hard state as records: (producer id of the transaction, record), to be replayed in this order into a new
    /// shard, then what the log holds after them. Deterministic, so that a checkpoint advanced by whoever is the same
    /// bytes.
    pub fn checkpoint(&self) -> Vec<(Option<i64>, GroupRecord)> {
        let groups = self.groups.values().filter_map(|group| {
            let value = Some(group.committed.clone()?);
            Some((None, GroupRecord::GroupMetadata { group_id: group.group_id.clone(), value }))
        });
        let offsets = self.offsets.in_log_order().into_iter().map(|(producer_id, key, value)| {
            (producer_id, GroupRecord::OffsetCommit { key, value: Some(value.clone()) })
        });
        groups.chain(offsets).collect()
    }

    /// After the last record of the log was replayed: every member has its whole session from now on, with its id and
    /// generation; a group above `group.max.size` rebalances. `GroupMetadataManager.onLoaded`.
    pub fn loaded(&mut self, now_ms: i64) -> Outcome {
        let mut outcome = Outcome::default();
        for group in self.groups.values_mut() {
            let mut cx = Cx { now_ms, config: &self.config, outcome: &mut outcome };
            let member_ids: Vec<String> = group.members.keys().cloned().collect();
            for member_id in &member_ids {
                group.renew_session(&mut cx, member_id);
            }
            if group.members.len() > cx.config.group_size_max {
                group.prepare_rebalance(&mut cx);
            }
        }
        outcome
    }

    /// This broker coordinates the partition no longer: answers all that is parked with `error` (NOT_COORDINATOR, at a
    /// planned move). The shard must not be used afterwards. `onUnloaded`.
    pub fn unloaded(&mut self, error: ResponseError) -> Outcome {
        let mut outcome = Outcome::default();
        for group in self.groups.values_mut() {
            let mut cx = Cx { now_ms: 0, config: &self.config, outcome: &mut outcome };
            group.refuse_all_parked(&mut cx, error);
        }
        outcome
    }
}

/// Members.
impl GroupShard {
    /// JoinGroup; may be parked. `fresh_member_id` is used if the member needs an id ([`super::new_member_id`]); it must
    /// be no other member's, ever. Errors: INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT, INVALID_REQUEST,
    /// MEMBER_ID_REQUIRED, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, INCONSISTENT_GROUP_PROTOCOL, GROUP_MAX_SIZE_REACHED,
    /// REBALANCE_IN_PROGRESS, UNKNOWN_SERVER_ERROR.
    pub fn join_group(
        &mut self,
        now_ms: i64,
        token: Token,
        fresh_member_id: &str,
        request: &JoinGroup,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err((member_id, error)) = self.admit_join(now_ms, request, &mut outcome) {
            let answer = GroupResponse::JoinGroup(JoinGroupAnswer::refused(member_id, error));
            outcome.effects.push(Effect::Reply(token, answer));
            return outcome;
        }
        let group = self.groups.get_mut(&request.group_id).expect("an admitted join has a group");
        let mut cx = Cx { now_ms, config: &self.config, outcome: &mut outcome };
        group.join(&mut cx, token, fresh_member_id, request);
        outcome
    }

    /// `GroupCoordinatorService.joinGroup`, and the group's creation: a first member without an id makes it, or makes a simple
    /// group more than that, by a record (`newEmptyGroupMetadataRecord`). Kafka creates it also for a join that it then refuses; here it does not exist.
    fn admit_join<'r>(
        &mut self,
        now_ms: i64,
        request: &'r JoinGroup,
        outcome: &mut Outcome,
    ) -> Result<(), (&'r str, ResponseError)> {
        let member_id = request.member_id.as_str();
        let group_id = &request.group_id;
        check_group_id(group_id).map_err(|error| (member_id, error))?;
        let timeouts = self.config.session_timeout_ms_min..=self.config.session_timeout_ms_max;
        if !timeouts.contains(&request.session_timeout_ms) {
            return Err((member_id, ResponseError::InvalidSessionTimeout));
        }
        if !fits_record(request) {
            return Err((member_id, ResponseError::InvalidRequest));
        }
        if self.groups.get(group_id).is_some_and(|group| group.committed.is_some()) {
            return Ok(());
        }
        if !member_id.is_empty() {
            return Err((member_id, ResponseError::UnknownMemberId));
        }
        if !offers_protocols(&request.protocol_type, &request.protocols) {
            return Err((member_id, ResponseError::InconsistentGroupProtocol));
        }
        let value = GroupMetadata {
            protocol_type: String::new(),
            generation_id: 0,
            protocol_name: None,
            leader: None,
            current_state_timestamp_ms: now_ms,
            members: Vec::new(),
        };
        let record = GroupRecord::GroupMetadata { group_id: group_id.clone(), value: Some(value) };
        self.apply(record, outcome);
        Ok(())
    }

    /// SyncGroup; may be parked. Errors: INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION,
    /// INCONSISTENT_GROUP_PROTOCOL, REBALANCE_IN_PROGRESS, UNKNOWN_SERVER_ERROR.
    pub fn sync_group(&mut self, now_ms: i64, token: Token, request: &SyncGroup) -> Outcome {
        let mut outcome = Outcome::default();
        match self.group_for(&request.group_id, ResponseError::UnknownMemberId) {
            Ok(()) => {
                let group = self.groups.get_mut(&request.group_id).expect("just looked up");
                let mut cx = Cx { now_ms, config: &self.config, outcome: &mut outcome };
                group.sync(&mut cx, token, request);
            }
            Err(error) => {
                let answer = GroupResponse::SyncGroup(SyncGroupAnswer::refused(error));
                outcome.effects.push(Effect::Reply(token, answer));
            }
        }
        outcome
    }

    /// Heartbeat. Errors: INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION,
    /// REBALANCE_IN_PROGRESS.
    pub fn heartbeat(&mut self, now_ms: i64, token: Token, request: &Heartbeat) -> Outcome {
        let mut outcome = Outcome::default();
        let result = self.group_for(&request.group_id, ResponseError::UnknownMemberId).and_then(|()| {
            let group = self.groups.get_mut(&request.group_id).expect("just looked up");
            let mut cx = Cx { now_ms, config: &self.config, outcome: &mut outcome };
            group.heartbeat(&mut cx, request)
        });
        outcome.effects.push(Effect::Reply(token, GroupResponse::Heartbeat(result.err())));
        outcome
    }

    /// LeaveGroup. Errors: INVALID_GROUP_ID; per member UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
    pub fn leave_group(&mut self, now_ms: i64, token: Token, request: &LeaveGroup) -> Outcome {
        let mut outcome = Outcome::default();
        let answer = match self.group_for(&request.group_id, ResponseError::UnknownMemberId) {
            Ok(()) => {
                let group = self.groups.get_mut(&request.group_id).expect("just looked up");
                let mut cx = Cx { now_ms, config: &self.config, outcome: &mut outcome };
                group.leave(&mut cx, request)
            }
            // `GroupCoordinatorService.leaveGroup`: no group means that none of them is in it.
            Err(error @ ResponseError::UnknownMemberId) => LeaveGroupAnswer {
                error: None,
                members: request.members.iter().map(|member| (member.clone(), Some(error))).collect(),
            },
            Err(error) => LeaveGroupAnswer { error: Some(error), members: Vec::new() },
        };
        outcome.effects.push(Effect::Reply(token, GroupResponse::LeaveGroup(answer)));
        outcome
    }

    /// A scheduled time has come. Harmless if the timer was cancelled or moved meanwhile.
    pub fn timer_expired(&mut self, now_ms: i64, key: &TimerKey) -> Outcome {
        let mut outcome = Outcome::default();
        let (TimerKey::Session { group_id, .. } | TimerKey::Join { group_id } | TimerKey::Sync { group_id }) =
            key;
        let Some(group) = self.groups.get_mut(group_id) else { return outcome };
        let deadline_ms = match key {
            TimerKey::Session { member_id, .. } => match group.members.get(member_id) {
                Some(member) => member.session_deadline_ms,
                None => group.pending_joins.get(member_id).copied(),
            },
            TimerKey::Join { .. } => group.join_deadline_ms,
            TimerKey::Sync { .. } => group.sync_deadline_ms,
        };
        if deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms) {
            return outcome;
        }
        let mut cx = Cx { now_ms, config: &self.config, outcome: &mut outcome };
        match key {
            TimerKey::Session { member_id, .. } => group.session_expired(&mut cx, member_id),
            TimerKey::Join { .. } => group.join_expired(&mut cx),
            TimerKey::Sync { .. } => group.sync_expired(&mut cx),
        }
        outcome
    }

    /// Moves every deadline: for so long (ms) nobody could be heard, because the broker did not read or its lane was
    /// stalled, and that is no member's fault.
    pub fn postpone_timers(&mut self, by_ms: i64) -> Outcome {
        let mut outcome = Outcome::default();
        for group in self.groups.values_mut() {
            group.postpone_timers(&mut outcome, by_ms);
        }
        outcome
    }

    fn group_for(&self, group_id: &str, absent: ResponseError) -> Result<(), ResponseError> {
        check_group_id(group_id)?;
        if self.groups.contains_key(group_id) { Ok(()) } else { Err(absent) }
    }
}

/// Groups.
impl GroupShard {
    /// DescribeGroups, one of them. `GroupMetadataManager.describeGroups`; since v6 an absent group is GROUP_ID_NOT_FOUND
    /// (KIP-1043).
    pub fn describe_group(&self, group_id: &str) -> DescribedGroup {
        let Some(group) = self.groups.get(group_id) else {
            return DescribedGroup {
                error: Some(ResponseError::GroupIdNotFound),
                error_message: Some(format!("Group {group_id} not found.")),
                group_id: group_id.to_string(),
                state: GroupState::Dead,
                protocol_type: String::new(),
                protocol_data: String::new(),
                members: Vec::new(),
            };
        };
        let stable = group.state == GroupState::Stable;
        let describe = |member: &super::classic::Member| DescribedMember {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { group.selected_metadata(member) } else { Default::default() },
            assignment: member.assignment.clone(),
        };
        DescribedGroup {
            error: None,
            error_message: None,
            group_id: group_id.to_string(),
            state: group.state,
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            protocol_data: group.protocol_name.clone().filter(|_| stable).unwrap_or_default(),
            members: group.members.values().map(describe).collect(),
        }
    }

    /// ListGroups: those of this partition. `GroupMetadataManager.listGroups`.
    pub fn list_groups(&self, request: &ListGroups) -> Vec<ListedGroup> {
        let named = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|asked| asked.trim().eq_ignore_ascii_case(name))
        };
        if !named(&request.types, "classic") {
            return Vec::new();
        }
        let listed = self.groups.values().filter(|group| named(&request.states, group.state.name()));
        listed
            .map(|group| ListedGroup {
                group_id: group.group_id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state,
            })
            .collect()
    }

    /// DeleteGroups with all their offsets. Per group: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP.
    /// `GroupCoordinatorShard.deleteGroups`.
    pub fn delete_groups(&mut self, now_ms: i64, token: Token, group_ids: &[String]) -> Outcome {
        let mut outcome = Outcome::default();
        let mut deleted = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let error = self.delete_group(now_ms, group_id, &mut outcome).err();
            deleted.push(DeletedGroup { group_id: group_id.clone(), error });
        }
        outcome.effects.push(Effect::Reply(token, GroupResponse::DeleteGroups(deleted)));
        outcome
    }

    fn delete_group(
        &mut self,
        now_ms: i64,
        group_id: &str,
        outcome: &mut Outcome,
    ) -> Result<(), ResponseError> {
        let group = self.groups.get(group_id).ok_or(ResponseError::GroupIdNotFound)?;
        if group.state != GroupState::Empty {
            return Err(ResponseError::NonEmptyGroup);
        }
        let mut cx = Cx { now_ms, config: &self.config, outcome };
        for member_id in group.pending_joins.keys() {
            cx.cancel(group.session_key(member_id));
        }
        for (topic, partition) in self.offsets.keys_of(group_id) {
            let key = OffsetKey { group_id: group_id.to_string(), topic, partition };
            self.apply(GroupRecord::OffsetCommit { key, value: None }, outcome);
        }
        self.delete_group_record(group_id, outcome);
        Ok(())
    }
}

impl GroupShard {
    /// Ends a group that has no offsets any more; a simple one has ended with them.
    pub(super) fn delete_group_record(&mut self, group_id: &str, outcome: &mut Outcome) {
        if self.groups.contains_key(group_id) {
            self.apply(GroupRecord::GroupMetadata { group_id: group_id.to_string(), value: None }, outcome);
        }
    }
}

/// `GroupCoordinatorService.isGroupIdNotEmpty`.
fn check_group_id(group_id: &str) -> Result<(), ResponseError> {
    if group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    check_group_id_fits(group_id)
}

/// The empty group id is legal for commits, for old clients; one that no record can hold is not.
pub(super) fn check_group_id_fits(group_id: &str) -> Result<(), ResponseError> {
    if group_id.len() > STRING_LEN_MAX { Err(ResponseError::InvalidGroupId) } else { Ok(()) }
}

/// Whether a member's strings fit the record that it will be written to, its id included, which begins with the client
/// or instance id. Flexible versions allow longer ones on the wire.
fn fits_record(request: &JoinGroup) -> bool {
    const SUFFIX_LEN_MAX: usize = 64;
    let instance_id_len = request.group_instance_id.as_ref().map_or(0, String::len);
    request.client_id.len() + SUFFIX_LEN_MAX <= STRING_LEN_MAX
        && instance_id_len + SUFFIX_LEN_MAX <= STRING_LEN_MAX
        && request.client_host.len() <= STRING_LEN_MAX
        && request.protocol_type.len() <= STRING_LEN_MAX
        && request.protocols.iter().all(|p| p.name.len() <= STRING_LEN_MAX)
}
