//! How a group gets from one generation to the next: join, sync, heartbeat, leave, and what happens when somebody
//! does not. Decisions on one [`ClassicGroup`], after `GroupMetadataManager.classicGroup*`; the functions have its
//! names.
//!
//! A rebalance in order: somebody joins, leaves or fails (`prepare_rebalance`: parked syncs are refused, the join timer
//! starts) -> members see REBALANCE_IN_PROGRESS and join (parked) -> all joined, or the timer fired
//! (`complete_join`: who did not join is out, the next generation begins, joins are answered, the sync timer starts) ->
//! members sync (parked) -> the leader's sync brings the assignment, which becomes a record, and all are answered.
//!
//! Kafka answers syncs and the joins of replaced static members when the append succeeded, and undoes when it failed.
//! Here a record takes effect at once, every answer waits until it is durable, and nothing is undone. Every parked
//! request is answered once, also where Kafka forgets it: one that a later request of the same member replaces gets
//! REBALANCE_IN_PROGRESS, one whose member is removed UNKNOWN_MEMBER_ID.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::classic::{ClassicGroup, InitialDelay, Member};
use super::config::GroupConfig;
use super::message::{
    Effect, GroupResponse, GroupState, Heartbeat, JoinGroup, JoinGroupAnswer, LeaveGroup, LeaveGroupAnswer,
    MemberIdentity, Outcome, SyncGroup, SyncGroupAnswer, TimerKey, Token,
};
use super::record::GroupMetadata;

/// What a decision needs besides the group, and where its outcome goes.
pub(super) struct Cx<'a> {
    pub now_ms: i64,
    pub config: &'a GroupConfig,
    pub outcome: &'a mut Outcome,
}

impl Cx<'_> {
    pub(super) fn reply(&mut self, token: Token, response: GroupResponse) {
        self.outcome.effects.push(Effect::Reply(token, response));
    }

    fn reply_join(&mut self, token: Token, answer: JoinGroupAnswer) {
        self.reply(token, GroupResponse::JoinGroup(answer));
    }

    fn refuse_join(&mut self, token: Token, member_id: &str, error: ResponseError) {
        self.reply_join(token, JoinGroupAnswer::refused(member_id, error));
    }

    fn refuse_sync(&mut self, token: Token, error: ResponseError) {
        self.reply(token, GroupResponse::SyncGroup(SyncGroupAnswer::refused(error)));
    }

    fn schedule(&mut self, key: TimerKey, timeout_ms: i64) -> i64 {
        let deadline_ms = self.now_ms.saturating_add(timeout_ms);
        self.outcome.effects.push(Effect::Schedule(key, deadline_ms));
        deadline_ms
    }

    pub(super) fn cancel(&mut self, key: TimerKey) {
        self.outcome.effects.push(Effect::Cancel(key));
    }
}

/// JoinGroup.
impl ClassicGroup {
    /// `classicGroupJoinToClassicGroup`, for a group that exists.
    pub(super) fn join(&mut self, cx: &mut Cx<'_>, token: Token, fresh_member_id: &str, request: &JoinGroup) {
        if !self.accepts_joining_member(cx, &request.member_id) {
            self.drop_member(cx, &request.member_id, ResponseError::GroupMaxSizeReached);
            cx.refuse_join(token, "", ResponseError::GroupMaxSizeReached);
        } else if !self.supports_protocols(&request.protocol_type, &request.protocols) {
            cx.refuse_join(token, &request.member_id, ResponseError::InconsistentGroupProtocol);
        } else if !request.member_id.is_empty() {
            self.join_existing_member(cx, token, request);
        } else if let Some(instance_id) = &request.group_instance_id {
            match self.static_member_id(instance_id).map(str::to_string) {
                Some(old_id) => {
                    self.update_static_member(cx, token, instance_id, &old_id, fresh_member_id, request);
                }
                None => self.add_member(cx, token, fresh_member_id, request),
            }
        } else if request.requires_known_member_id {
            // KIP-394: else every retry of a join whose answer was lost would add one more dead member.
            let key = self.session_key(fresh_member_id);
            let deadline_ms = cx.schedule(key, i64::from(request.session_timeout_ms));
            self.pending_joins.insert(fresh_member_id.to_string(), deadline_ms);
            cx.refuse_join(token, fresh_member_id, ResponseError::MemberIdRequired);
        } else {
            self.add_member(cx, token, fresh_member_id, request);
        }
    }

    /// KIP-389. While members rejoin those who wait count, so that when the limit was lowered the last to rejoin are
    /// left out. `acceptJoiningMember`.
    fn accepts_joining_member(&self, cx: &Cx<'_>, member_id: &str) -> bool {
        let member = self.members.get(member_id);
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                member.is_some_and(Member::is_awaiting_join)
                    || self.num_awaiting_join() < cx.config.group_size_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members.len() < cx.config.group_size_max
            }
        }
    }

    /// `classicGroupJoinExistingMember`.
    fn join_existing_member(&mut self, cx: &mut Cx<'_>, token: Token, request: &JoinGroup) {
        let member_id = &request.member_id;
        if self.pending_joins.contains_key(member_id) {
            if request.group_instance_id.is_some() {
                // A pending member is dynamic by construction; Kafka throws IllegalStateException here.
                return cx.refuse_join(token, member_id, ResponseError::UnknownServerError);
            }
            return self.add_member(cx, token, member_id, request);
        }
        if let Err(error) = self.validate_member(member_id, request.group_instance_id.as_deref()) {
            return cx.refuse_join(token, member_id, error);
        }
        let same_protocols = self.members[member_id.as_str()].protocols == request.protocols;
        match self.state {
            GroupState::PreparingRebalance => self.rejoin(cx, token, request),
            // It did not get the first answer.
            GroupState::CompletingRebalance if same_protocols => {
                let answer = self.current_generation(member_id, self.is_leader(member_id));
                cx.reply_join(token, answer);
            }
            // A leader that joins asks for a rebalance: it saw a change that is in nobody's metadata.
            GroupState::Stable if same_protocols && !self.is_leader(member_id) => {
                let answer = self.current_generation(member_id, false);
                cx.reply_join(token, answer);
            }
            GroupState::CompletingRebalance | GroupState::Stable => self.rejoin(cx, token, request),
            GroupState::Empty | GroupState::Dead => {
                cx.refuse_join(token, member_id, ResponseError::UnknownMemberId);
            }
        }
    }

    /// `updateMemberThenRebalanceOrCompleteJoin`.
    fn rejoin(&mut self, cx: &mut Cx<'_>, token: Token, request: &JoinGroup) {
        self.update_member(&request.member_id, request);
        self.park_or_replace_join(cx, token, &request.member_id);
        self.maybe_prepare_rebalance_or_complete_join(cx);
    }

    /// `addMemberThenRebalanceOrCompleteJoin`.
    fn add_member(&mut self, cx: &mut Cx<'_>, token: Token, member_id: &str, request: &JoinGroup) {
        if self.state == GroupState::PreparingRebalance && self.previous_state == GroupState::Empty {
            self.new_member_added = true;
        }
        self.add(Member::new(member_id, request), &request.protocol_type, token);
        // A new member knows no id yet and cannot send heartbeats, and a parked connection is not read, so that its
        // end is not noticed: the join itself has a time limit.
        self.schedule_session(cx, member_id, cx.config.new_member_join_timeout_ms);
        self.maybe_prepare_rebalance_or_complete_join(cx);
    }

    /// A known static member comes back without its id (KIP-345): it gets a new one, and whoever used the old one is
    /// fenced. `updateStaticMemberThenRebalanceOrCompleteJoin`.
    fn update_static_member(
        &mut self,
        cx: &mut Cx<'_>,
        token: Token,
        instance_id: &str,
        old_id: &str,
        new_id: &str,
        request: &JoinGroup,
    ) {
        let leader_before = self.leader.clone();
        let mut old = self.replace_static_member(instance_id, old_id, request, new_id);
        cx.cancel(self.session_key(old_id));
        refuse_parked(cx, &mut old, old_id, ResponseError::FencedInstanceId);
        self.schedule_session(cx, new_id, request.session_timeout_ms);
        match self.state {
            GroupState::Stable if self.protocol_name.as_deref() == Some(self.select_protocol().as_str()) => {
                let record = self.metadata_record(self.state_timestamp_ms.unwrap_or(-1));
                if record.encoded_len() > cx.config.group_metadata_bytes_max {
                    // Kafka reverts to the old id when the append fails; nobody holds that id any more, so the member
                    // leaves instead and joins again.
                    cx.refuse_join(token, "", ResponseError::UnknownServerError);
                    self.drop_member(cx, new_id, ResponseError::UnknownServerError);
                    return self.maybe_prepare_rebalance_or_complete_join(cx);
                }
                let record = self.commit(record);
                cx.outcome.records.push(record);
                let is_leader = self.is_leader(new_id);
                let answer = if request.supports_skip_assignment {
                    // KIP-814: it is told that it leads, to watch for changes, and that there is nothing to assign.
                    JoinGroupAnswer {
                        skip_assignment: is_leader,
                        ..self.current_generation(new_id, is_leader)
                    }
                } else {
                    // Told the leader's old id it does not take itself for the leader and assigns nothing.
                    JoinGroupAnswer {
                        leader: leader_before.unwrap_or_default(),
                        ..self.current_generation(new_id, false)
                    }
                };
                cx.reply_join(token, answer);
            }
            GroupState::Stable => {
                self.park_or_replace_join(cx, token, new_id);
                self.maybe_prepare_rebalance_or_complete_join(cx);
            }
            // The leader may be assigning to the old id just now.
            GroupState::CompletingRebalance => {
                self.park_or_replace_join(cx, token, new_id);
                self.prepare_rebalance(cx);
            }
            GroupState::PreparingRebalance => {
                self.park_or_replace_join(cx, token, new_id);
                self.maybe_complete_join_phase(cx);
            }
            GroupState::Empty | GroupState::Dead => {
                panic!("group {} is {:?} but has static member {instance_id}", self.group_id, self.state)
            }
        }
    }

    fn current_generation(&self, member_id: &str, with_members: bool) -> JoinGroupAnswer {
        JoinGroupAnswer {
            error: None,
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.to_string(),
            members: if with_members { self.joined_members() } else { Vec::new() },
        }
    }

    fn park_or_replace_join(&mut self, cx: &mut Cx<'_>, token: Token, member_id: &str) {
        if let Some(replaced) = self.park_join(member_id, token) {
            cx.refuse_join(replaced, member_id, ResponseError::RebalanceInProgress);
        }
    }
}

/// From one generation to the next.
impl ClassicGroup {
    /// `maybePrepareRebalanceOrCompleteJoin`.
    fn maybe_prepare_rebalance_or_complete_join(&mut self, cx: &mut Cx<'_>) {
        match self.state {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare_rebalance(cx);
            }
            GroupState::PreparingRebalance | GroupState::Dead => self.maybe_complete_join_phase(cx),
        }
    }

    /// `prepareRebalance`.
    pub(super) fn prepare_rebalance(&mut self, cx: &mut Cx<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.refuse_syncs(cx, ResponseError::RebalanceInProgress);
        }
        self.pending_syncs.clear();
        self.cancel_sync_timer(cx);
        let is_initial = self.state == GroupState::Empty;
        self.transition(cx, GroupState::PreparingRebalance);
        if is_initial {
            let delay_ms = i64::from(cx.config.initial_rebalance_delay_ms);
            let remaining_ms = (i64::from(self.rebalance_timeout_ms()) - delay_ms).max(0);
            self.new_member_added = false;
            self.initial_delay = Some(InitialDelay { delay_ms, remaining_ms });
            self.join_deadline_ms = Some(cx.schedule(self.join_key(), delay_ms));
        } else if self.has_all_members_joined() {
            self.complete_join(cx);
        } else {
            self.schedule_join(cx);
        }
    }

    /// `maybeCompleteJoinPhase`: an initial rebalance waits for its delay whoever has joined.
    fn maybe_complete_join_phase(&mut self, cx: &mut Cx<'_>) {
        if self.state == GroupState::PreparingRebalance
            && self.previous_state != GroupState::Empty
            && self.has_all_members_joined()
        {
            self.complete_join(cx);
        }
    }

    /// The join timer fired. `tryCompleteInitialRebalanceElseSchedule`, `completeClassicGroupJoin`.
    pub(super) fn join_expired(&mut self, cx: &mut Cx<'_>) {
        self.join_deadline_ms = None;
        match self.initial_delay {
            Some(InitialDelay { delay_ms, remaining_ms }) if self.new_member_added && remaining_ms != 0 => {
                // Somebody came during the delay: wait for more, at most for the rebalance timeout in all.
                self.new_member_added = false;
                let next_ms = i64::from(cx.config.initial_rebalance_delay_ms).min(remaining_ms);
                let remaining_ms = (remaining_ms - delay_ms).max(0);
                self.initial_delay = Some(InitialDelay { delay_ms: next_ms, remaining_ms });
                self.join_deadline_ms = Some(cx.schedule(self.join_key(), next_ms));
            }
            _ => self.complete_join(cx),
        }
    }

    /// Ends the join phase: members that did not rejoin are out, except static ones, whose session decides.
    /// `completeClassicGroupJoin`.
    fn complete_join(&mut self, cx: &mut Cx<'_>) {
        self.cancel_join_timer(cx);
        let not_rejoined = |m: &&Member| !m.is_awaiting_join() && !m.is_static();
        let gone: Vec<String> =
            self.members.values().filter(not_rejoined).map(|m| m.member_id.clone()).collect();
        for member_id in &gone {
            self.drop_member(cx, member_id, ResponseError::UnknownMemberId);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Only static members, and none of them is back: until their sessions end there is nothing to complete.
            return self.schedule_join(cx);
        }
        let generation_id = self.generation_id.checked_add(1).unwrap_or(0);
        if self.members.is_empty() {
            let record = GroupMetadata {
                protocol_type: self.protocol_type.clone().unwrap_or_default(),
                generation_id,
                protocol_name: None,
                leader: None,
                current_state_timestamp_ms: cx.now_ms,
                members: Vec::new(),
            };
            let record = self.commit(record);
            cx.outcome.records.push(record);
            return;
        }
        self.generation_id = generation_id;
        self.protocol_name = Some(self.select_protocol());
        self.refresh_subscribed_topics();
        self.transition(cx, GroupState::CompletingRebalance);
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in &member_ids {
            if let Some(token) = self.unpark_join(member_id) {
                let answer = self.current_generation(member_id, self.is_leader(member_id));
                cx.reply_join(token, answer);
            }
            let member = self.members.get_mut(member_id).expect("ids were just read");
            member.is_new = false;
            let session_timeout_ms = member.session_timeout_ms;
            self.schedule_session(cx, member_id, session_timeout_ms);
        }
        self.pending_syncs = member_ids.into_iter().collect();
        self.sync_deadline_ms = Some(cx.schedule(self.sync_key(), i64::from(self.rebalance_timeout_ms())));
    }

    fn transition(&mut self, cx: &Cx<'_>, to: GroupState) {
        let legal = match to {
            GroupState::PreparingRebalance => {
                matches!(self.state, GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable)
            }
            GroupState::CompletingRebalance => self.state == GroupState::PreparingRebalance,
            // By records alone, in `replay`.
            GroupState::Empty | GroupState::Stable | GroupState::Dead => false,
        };
        assert!(legal, "group {} may not go from {:?} to {to:?}", self.group_id, self.state);
        self.previous_state = self.state;
        self.state = to;
        self.state_timestamp_ms = Some(cx.now_ms);
    }
}

/// SyncGroup and Heartbeat.
impl ClassicGroup {
    /// `classicGroupSyncToClassicGroup`.
    pub(super) fn sync(&mut self, cx: &mut Cx<'_>, token: Token, request: &SyncGroup) {
        if let Err(error) = self.validate_sync(request) {
            return cx.refuse_sync(token, error);
        }
        let member_id = &request.member_id;
        match self.state {
            GroupState::Empty => cx.refuse_sync(token, ResponseError::UnknownMemberId),
            GroupState::Dead => cx.refuse_sync(token, ResponseError::CoordinatorNotAvailable),
            GroupState::PreparingRebalance => cx.refuse_sync(token, ResponseError::RebalanceInProgress),
            GroupState::CompletingRebalance => {
                let member = self.members.get_mut(member_id).expect("validated");
                if let Some(replaced) = member.awaiting_sync.replace(token) {
                    cx.refuse_sync(replaced, ResponseError::RebalanceInProgress);
                }
                self.remove_pending_sync(cx, member_id);
                if self.is_leader(member_id) {
                    self.assign(cx, request);
                }
            }
            GroupState::Stable => {
                self.remove_pending_sync(cx, member_id);
                let answer = self.assignment_of(&self.members[member_id.as_str()]);
                cx.reply(token, GroupResponse::SyncGroup(answer));
            }
        }
    }

    /// `validateSyncGroup`; protocol type and name since v5 (KIP-559).
    fn validate_sync(&self, request: &SyncGroup) -> Result<(), ResponseError> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs =
            |asked: &Option<String>, has: &Option<String>| asked.is_some() && has.is_some() && asked != has;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// The leader's assignment becomes the generation's record; members that it forgot get an empty one.
    fn assign(&mut self, cx: &mut Cx<'_>, request: &SyncGroup) {
        let assignments: BTreeMap<&str, &Bytes> =
            request.assignments.iter().map(|(id, assignment)| (id.as_str(), assignment)).collect();
        let mut record = self.metadata_record(cx.now_ms);
        for member in &mut record.members {
            member.assignment =
                assignments.get(member.member_id.as_str()).map(|&a| a.clone()).unwrap_or_default();
        }
        if record.encoded_len() > cx.config.group_metadata_bytes_max {
            // `appendGroupMetadataErrorToResponseError`: a record that is too large is an UNKNOWN_SERVER_ERROR.
            self.refuse_syncs(cx, ResponseError::UnknownServerError);
            return self.prepare_rebalance(cx);
        }
        let record = self.commit(record);
        cx.outcome.records.push(record);
        let waiting: Vec<String> = self
            .members
            .values()
            .filter(|m| m.awaiting_sync.is_some())
            .map(|m| m.member_id.clone())
            .collect();
        for member_id in &waiting {
            let member = self.members.get_mut(member_id).expect("ids were just read");
            let token = member.awaiting_sync.take().expect("it was just seen");
            let session_timeout_ms = member.session_timeout_ms;
            let answer = self.assignment_of(&self.members[member_id.as_str()]);
            cx.reply(token, GroupResponse::SyncGroup(answer));
            // A session that ended while the sync was parked was ignored: from here on heartbeats are expected.
            self.schedule_session(cx, member_id, session_timeout_ms);
        }
    }

    fn assignment_of(&self, member: &Member) -> SyncGroupAnswer {
        SyncGroupAnswer {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: member.assignment.clone(),
        }
    }

    /// `resetAndPropagateAssignmentWithError`.
    fn refuse_syncs(&mut self, cx: &mut Cx<'_>, error: ResponseError) {
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in &member_ids {
            let member = self.members.get_mut(member_id).expect("ids were just read");
            member.assignment = Bytes::new();
            let session_timeout_ms = member.session_timeout_ms;
            if let Some(token) = member.awaiting_sync.take() {
                cx.refuse_sync(token, error);
                self.schedule_session(cx, member_id, session_timeout_ms);
            }
        }
    }

    fn remove_pending_sync(&mut self, cx: &mut Cx<'_>, member_id: &str) {
        if self.pending_syncs.remove(member_id) && self.pending_syncs.is_empty() {
            self.cancel_sync_timer(cx);
        }
    }

    /// The sync timer fired: who has not synced is out. `expirePendingSync`.
    pub(super) fn sync_expired(&mut self, cx: &mut Cx<'_>) {
        self.sync_deadline_ms = None;
        if !matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) {
            return;
        }
        let missing = std::mem::take(&mut self.pending_syncs);
        if missing.is_empty() {
            return;
        }
        for member_id in &missing {
            self.drop_member(cx, member_id, ResponseError::UnknownMemberId);
        }
        self.prepare_rebalance(cx);
    }

    /// `classicGroupHeartbeatToClassicGroup`.
    pub(super) fn heartbeat(&mut self, cx: &mut Cx<'_>, request: &Heartbeat) -> Result<(), ResponseError> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ResponseError::IllegalGeneration);
        }
        match self.state {
            GroupState::Empty => Err(ResponseError::UnknownMemberId),
            GroupState::Dead => Err(ResponseError::CoordinatorNotAvailable),
            GroupState::PreparingRebalance => {
                self.renew_session(cx, &request.member_id);
                Err(ResponseError::RebalanceInProgress)
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.renew_session(cx, &request.member_id);
                Ok(())
            }
        }
    }
}

/// How members go.
impl ClassicGroup {
    /// `classicGroupLeaveToClassicGroup`.
    pub(super) fn leave(&mut self, cx: &mut Cx<'_>, request: &LeaveGroup) -> LeaveGroupAnswer {
        let members: Vec<(MemberIdentity, Option<ResponseError>)> = request
            .members
            .iter()
            .map(|identity| (identity.clone(), self.leave_one(cx, identity).err()))
            .collect();
        if members.iter().any(|(_, error)| error.is_none()) {
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(cx),
                GroupState::PreparingRebalance => self.maybe_complete_join_phase(cx),
                GroupState::Empty | GroupState::Dead => {}
            }
        }
        LeaveGroupAnswer { error: None, members }
    }

    fn leave_one(&mut self, cx: &mut Cx<'_>, identity: &MemberIdentity) -> Result<(), ResponseError> {
        let instance_id = identity.group_instance_id.as_deref();
        let member_id = if identity.member_id.is_empty() {
            // An administrator names a static member by its instance id alone (KIP-345).
            let by_instance = instance_id.and_then(|id| self.static_member_id(id));
            by_instance.ok_or(ResponseError::UnknownMemberId)?.to_string()
        } else {
            if !self.pending_joins.contains_key(&identity.member_id) {
                self.validate_member(&identity.member_id, instance_id)?;
            }
            identity.member_id.clone()
        };
        self.drop_member(cx, &member_id, ResponseError::UnknownMemberId);
        Ok(())
    }

    /// A session ended, or a pending member did not come back. `expireClassicGroupMemberHeartbeat`.
    pub(super) fn session_expired(&mut self, cx: &mut Cx<'_>, member_id: &str) {
        if self.pending_joins.contains_key(member_id) {
            self.drop_member(cx, member_id, ResponseError::UnknownMemberId);
            if self.state == GroupState::PreparingRebalance && self.has_all_members_joined() {
                self.complete_join(cx);
            }
            return;
        }
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.session_deadline_ms = None;
        if member.has_satisfied_heartbeat() {
            return;
        }
        self.drop_member(cx, member_id, ResponseError::UnknownMemberId);
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(cx),
            GroupState::PreparingRebalance if self.has_all_members_joined() => self.complete_join(cx),
            _ => {}
        }
    }

    /// Removes a member or pending member with its timer, and answers what it has parked.
    fn drop_member(&mut self, cx: &mut Cx<'_>, member_id: &str, error: ResponseError) {
        let was_pending = self.pending_joins.contains_key(member_id);
        let removed = self.remove(member_id);
        if was_pending || removed.is_some() {
            cx.cancel(self.session_key(member_id));
        }
        if let Some(mut member) = removed {
            // The join's answer names no member, so that who is still there joins anew.
            refuse_parked(cx, &mut member, "", error);
        }
    }

    /// Answers everything that is parked: this shard coordinates no longer. `onUnloaded`.
    pub(super) fn refuse_all_parked(&mut self, cx: &mut Cx<'_>, error: ResponseError) {
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in &member_ids {
            if let Some(token) = self.unpark_join(member_id) {
                cx.refuse_join(token, member_id, error);
            }
            let member = self.members.get_mut(member_id).expect("ids were just read");
            if let Some(token) = member.awaiting_sync.take() {
                cx.refuse_sync(token, error);
            }
        }
    }
}

/// Answers the requests that a member which is no longer in the group has parked.
fn refuse_parked(cx: &mut Cx<'_>, member: &mut Member, answered_member_id: &str, error: ResponseError) {
    if let Some(token) = member.take_parked_join() {
        cx.refuse_join(token, answered_member_id, error);
    }
    if let Some(token) = member.awaiting_sync.take() {
        cx.refuse_sync(token, error);
    }
}

/// Timers.
impl ClassicGroup {
    /// Gives a member its whole session again. `rescheduleClassicGroupMemberHeartbeat`.
    pub(super) fn renew_session(&mut self, cx: &mut Cx<'_>, member_id: &str) {
        if let Some(member) = self.members.get(member_id) {
            self.schedule_session(cx, member_id, member.session_timeout_ms);
        }
    }

    fn schedule_session(&mut self, cx: &mut Cx<'_>, member_id: &str, timeout_ms: i32) {
        let deadline_ms = cx.schedule(self.session_key(member_id), i64::from(timeout_ms));
        if let Some(member) = self.members.get_mut(member_id) {
            member.session_deadline_ms = Some(deadline_ms);
        }
    }

    /// Every deadline, later.
    pub(super) fn postpone_timers(&mut self, outcome: &mut Outcome, by_ms: i64) {
        let mut moved = Vec::new();
        for (member_id, deadline_ms) in &mut self.pending_joins {
            *deadline_ms = deadline_ms.saturating_add(by_ms);
            moved.push((
                TimerKey::Session { group_id: self.group_id.clone(), member_id: member_id.clone() },
                *deadline_ms,
            ));
        }
        for member in self.members.values_mut() {
            if let Some(deadline_ms) = &mut member.session_deadline_ms {
                *deadline_ms = deadline_ms.saturating_add(by_ms);
                let member_id = member.member_id.clone();
                moved.push((TimerKey::Session { group_id: self.group_id.clone(), member_id }, *deadline_ms));
            }
        }
        let (join_key, sync_key) = (self.join_key(), self.sync_key());
        for (key, deadline_ms) in
            [(join_key, &mut self.join_deadline_ms), (sync_key, &mut self.sync_deadline_ms)]
        {
            if let Some(deadline_ms) = deadline_ms {
                *deadline_ms = deadline_ms.saturating_add(by_ms);
                moved.push((key, *deadline_ms));
            }
        }
        outcome
            .effects
            .extend(moved.into_iter().map(|(key, deadline_ms)| Effect::Schedule(key, deadline_ms)));
    }

    fn schedule_join(&mut self, cx: &mut Cx<'_>) {
        self.initial_delay = None;
        self.join_deadline_ms = Some(cx.schedule(self.join_key(), i64::from(self.rebalance_timeout_ms())));
    }

    fn cancel_join_timer(&mut self, cx: &mut Cx<'_>) {
        self.initial_delay = None;
        self.new_member_added = false;
        if self.join_deadline_ms.take().is_some() {
            cx.cancel(self.join_key());
        }
    }

    fn cancel_sync_timer(&mut self, cx: &mut Cx<'_>) {
        if self.sync_deadline_ms.take().is_some() {
            cx.cancel(self.sync_key());
        }
    }

    pub(super) fn session_key(&self, member_id: &str) -> TimerKey {
        TimerKey::Session { group_id: self.group_id.clone(), member_id: member_id.to_string() }
    }

    fn join_key(&self) -> TimerKey {
        TimerKey::Join { group_id: self.group_id.clone() }
    }

    fn sync_key(&self) -> TimerKey {
        TimerKey::Sync { group_id: self.group_id.clone() }
    }
}
