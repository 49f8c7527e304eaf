//! What a shard decides about offsets: OffsetCommit, TxnOffsetCommit, OffsetFetch, OffsetDelete, expiry, the end of a
//! topic. After `OffsetMetadataManager`.
//!
//! One thing Kafka does not do: an OffsetCommit that equals what is committed writes nothing. An idle consumer commits
//! the same offset every five seconds, and each record would keep a write-ahead lane busy. [`refreshes_nothing`] has the
//! cases in which the commit's *time* matters and is written all the same.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;

use super::classic::ClassicGroup;
use super::config::GroupConfig;
use super::message::{
    Effect, FetchedOffset, GroupResponse, GroupState, OffsetCommit, OffsetCommitAnswer, OffsetDelete,
    OffsetDeleteAnswer, OffsetFetch, OffsetFetchAnswer, Outcome, PartitionCommit, Token, TxnOffsetCommit,
};
use super::rebalance::Cx;
use super::record::{GroupRecord, OffsetAndMetadata, OffsetKey, STRING_LEN_MAX};
use super::shard::{GroupShard, check_group_id_fits};

impl GroupShard {
    /// OffsetCommit. Errors: INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION, FENCED_INSTANCE_ID,
    /// REBALANCE_IN_PROGRESS, GROUP_ID_NOT_FOUND (v9+), OFFSET_METADATA_TOO_LARGE per partition.
    pub fn offset_commit(&mut self, now_ms: i64, token: Token, request: &OffsetCommit) -> Outcome {
        let mut outcome = Outcome::default();
        let answer = match self.validate_commit(request) {
            Err(error) => refused(&request.topics, error),
            Ok(()) => {
                if let Some(group) = self.groups.get_mut(&request.group_id)
                    && matches!(group.state, GroupState::Stable | GroupState::PreparingRebalance)
                {
                    // A commit shows that the member lives.
                    let mut cx = Cx { now_ms, config: &self.config, outcome: &mut outcome };
                    group.renew_session(&mut cx, &request.member_id);
                }
                self.commit_partitions(now_ms, request, &mut outcome)
            }
        };
        outcome.effects.push(Effect::Reply(token, GroupResponse::OffsetCommit(answer)));
        outcome
    }

    /// `OffsetMetadataManager.validateOffsetCommit`.
    fn validate_commit(&self, request: &OffsetCommit) -> Result<(), ResponseError> {
        check_group_id_fits(&request.group_id)?;
        match self.groups.get(&request.group_id) {
            Some(group) => group.validate_offset_commit(
                &request.member_id,
                request.group_instance_id.as_deref(),
                request.generation_id,
                false,
            ),
            // The first record makes it a group without members, a simple one.
            None if request.generation_id < 0 => Ok(()),
            None if request.knows_group_id_not_found => Err(ResponseError::GroupIdNotFound),
            None => Err(ResponseError::IllegalGeneration),
        }
    }

    fn commit_partitions(
        &mut self,
        now_ms: i64,
        request: &OffsetCommit,
        outcome: &mut Outcome,
    ) -> OffsetCommitAnswer {
        let expire_timestamp_ms =
            request.retention_time_ms.map(|retention_ms| now_ms.saturating_add(retention_ms));
        let mut answer = OffsetCommitAnswer::default();
        for (topic, partitions) in &request.topics {
            let mut results = Vec::with_capacity(partitions.len());
            for commit in partitions {
                let result = check_commit(&self.config, topic, commit);
                results.push((commit.partition, result.err()));
                if result.is_err() {
                    continue;
                }
                let value = OffsetAndMetadata {
                    offset: commit.offset,
                    // The record's only version with an expiry has no leader epoch, nor have the requests.
                    leader_epoch: if expire_timestamp_ms.is_some() {
                        -1
                    } else {
                        commit.leader_epoch.max(-1)
                    },
                    metadata: commit.metadata.clone().unwrap_or_default(),
                    commit_timestamp_ms: now_ms,
                    expire_timestamp_ms,
                };
                if !self.writes_nothing(request, topic, commit.partition, &value) {
                    let key = offset_key(&request.group_id, topic, commit.partition);
                    self.apply(GroupRecord::OffsetCommit { key, value: Some(value) }, outcome);
                }
            }
            answer.topics.push((topic.clone(), results));
        }
        answer
    }

    fn writes_nothing(
        &self,
        request: &OffsetCommit,
        topic: &str,
        partition: i32,
        value: &OffsetAndMetadata,
    ) -> bool {
        let committed = self.offsets.committed(&request.group_id, topic, partition);
        let group = self.groups.get(&request.group_id);
        match (committed, group) {
            (Some(committed), Some(group)) => {
                request.generation_id >= 0
                    // Which of the two counts is decided by their order in the log.
                    && !self.offsets.is_pending(&request.group_id, topic, partition)
                    && refreshes_nothing(&self.config, group, topic, committed, value)
            }
            _ => false,
        }
    }

    /// TxnOffsetCommit: pending until the transaction's marker. The records are for a transactional batch of
    /// `outcome.producer`. Errors as OffsetCommit, but an unknown group is ILLEGAL_GENERATION.
    /// `OffsetMetadataManager.commitTransactionalOffset`.
    pub fn txn_offset_commit(&mut self, now_ms: i64, token: Token, request: &TxnOffsetCommit) -> Outcome {
        let mut outcome = Outcome::default();
        let answer = match self.validate_txn_commit(request) {
            Err(error) => refused(&request.topics, error),
            Ok(()) => {
                let mut answer = OffsetCommitAnswer::default();
                for (topic, partitions) in &request.topics {
                    let mut results = Vec::with_capacity(partitions.len());
                    for commit in partitions {
                        let result = check_commit(&self.config, topic, commit);
                        results.push((commit.partition, result.err()));
                        if result.is_err() {
                            continue;
                        }
                        let key = offset_key(&request.group_id, topic, commit.partition);
                        let value = OffsetAndMetadata {
                            offset: commit.offset,
                            leader_epoch: commit.leader_epoch.max(-1),
                            metadata: commit.metadata.clone().unwrap_or_default(),
                            commit_timestamp_ms: now_ms,
                            expire_timestamp_ms: None,
                        };
                        let record = GroupRecord::OffsetCommit { key, value: Some(value) };
                        self.replay_transactional(request.producer.producer_id, &record);
                        outcome.records.push(record);
                    }
                    answer.topics.push((topic.clone(), results));
                }
                answer
            }
        };
        outcome.producer = Some(request.producer).filter(|_| !outcome.records.is_empty());
        outcome.effects.push(Effect::Reply(token, GroupResponse::OffsetCommit(answer)));
        outcome
    }

    fn validate_txn_commit(&self, request: &TxnOffsetCommit) -> Result<(), ResponseError> {
        if request.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        check_group_id_fits(&request.group_id)?;
        match self.groups.get(&request.group_id) {
            Some(group) => group.validate_offset_commit(
                &request.member_id,
                request.group_instance_id.as_deref(),
                request.generation_id,
                true,
            ),
            None if request.generation_id < 0 => Ok(()),
            None => Err(ResponseError::IllegalGeneration),
        }
    }

    /// OffsetFetch of one group; a group or partition of which nothing is known has offset -1 and no error.
    /// UNSTABLE_OFFSET_COMMIT per partition if `require_stable` (KIP-447).
    pub fn offset_fetch(&self, request: &OffsetFetch) -> OffsetFetchAnswer {
        let group_id = request.group_id.as_str();
        let fetch = |topic: &str, partition: i32| {
            if request.require_stable && self.offsets.is_pending(group_id, topic, partition) {
                return no_offset(partition, Some(ResponseError::UnstableOffsetCommit));
            }
            match self.offsets.committed(group_id, topic, partition) {
                Some(committed) => FetchedOffset {
                    partition,
                    offset: committed.offset,
                    leader_epoch: committed.leader_epoch,
                    metadata: committed.metadata.clone(),
                    error: None,
                },
                None => no_offset(partition, None),
            }
        };
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|(topic, partitions)| {
                    (topic.clone(), partitions.iter().map(|&partition| fetch(topic, partition)).collect())
                })
                .collect(),
            None => {
                let mut topics: BTreeMap<&str, Vec<FetchedOffset>> = BTreeMap::new();
                for (topic, partition, _) in self.offsets.committed_of(group_id) {
                    topics.entry(topic).or_default().push(fetch(topic, partition));
                }
                topics.into_iter().map(|(topic, offsets)| (topic.to_string(), offsets)).collect()
            }
        };
        OffsetFetchAnswer { group_id: request.group_id.clone(), error: None, topics }
    }

    /// OffsetDelete (KIP-496). Errors: INVALID_GROUP_ID, GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP (of a group that is not
    /// of type `consumer`), GROUP_SUBSCRIBED_TO_TOPIC per partition.
    pub fn delete_offsets(&mut self, _now_ms: i64, token: Token, request: &OffsetDelete) -> Outcome {
        let mut outcome = Outcome::default();
        let answer = match self.validate_offset_delete(&request.group_id) {
            Err(error) => OffsetDeleteAnswer { error: Some(error), topics: Vec::new() },
            Ok(()) => {
                let mut topics = Vec::with_capacity(request.topics.len());
                for (topic, partitions) in &request.topics {
                    let subscribed =
                        self.groups.get(&request.group_id).is_some_and(|group| group.is_subscribed_to(topic));
                    let error = subscribed.then_some(ResponseError::GroupSubscribedToTopic);
                    for &partition in partitions.iter().filter(|_| !subscribed) {
                        let exists = self.offsets.committed(&request.group_id, topic, partition).is_some()
                            || self.offsets.is_pending(&request.group_id, topic, partition);
                        if exists {
                            let key = offset_key(&request.group_id, topic, partition);
                            self.apply(GroupRecord::OffsetCommit { key, value: None }, &mut outcome);
                        }
                    }
                    topics.push((topic.clone(), partitions.iter().map(|&p| (p, error)).collect()));
                }
                OffsetDeleteAnswer { error: None, topics }
            }
        };
        outcome.effects.push(Effect::Reply(token, GroupResponse::OffsetDelete(answer)));
        outcome
    }

    /// `ClassicGroup.validateOffsetDelete`.
    fn validate_offset_delete(&self, group_id: &str) -> Result<(), ResponseError> {
        if group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let group = self.groups.get(group_id).ok_or(ResponseError::GroupIdNotFound)?;
        match group.state {
            GroupState::Empty | GroupState::Dead => Ok(()),
            _ if group.uses_consumer_protocol() => Ok(()),
            _ => Err(ResponseError::NonEmptyGroup),
        }
    }

    /// Removes expired offsets, and empty groups that have none left; to be called every
    /// `offsets.retention.check.interval.ms`. `GroupCoordinatorShard.cleanupGroupMetadata`.
    pub fn expire_offsets(&mut self, now_ms: i64) -> Outcome {
        let mut outcome = Outcome::default();
        let group_ids: Vec<String> = self.groups.keys().cloned().collect();
        for group_id in &group_ids {
            let group = &self.groups[group_id];
            let mut expired = Vec::new();
            let mut all_expired = true;
            for (topic, partition, committed) in self.offsets.committed_of(group_id) {
                if is_expired(&self.config, now_ms, group, topic, committed)
                    && !self.offsets.is_pending(group_id, topic, partition)
                {
                    expired.push(offset_key(group_id, topic, partition));
                } else {
                    all_expired = false;
                }
            }
            // Kafka deletes an empty group from under members that were just given an id; they only have to start
            // anew. Here the group waits for them: they come back or expire within a session timeout.
            let deletable = group.state == GroupState::Empty
                && group.pending_joins.is_empty()
                && all_expired
                && !self.offsets.has_open_transactions(group_id);
            for key in expired {
                self.apply(GroupRecord::OffsetCommit { key, value: None }, &mut outcome);
            }
            if deletable {
                self.delete_group_record(group_id, &mut outcome);
            }
        }
        outcome
    }

    /// Removes the offsets of a topic that exists no more, pending ones too. `onPartitionsDeleted`.
    pub fn topic_deleted(&mut self, _now_ms: i64, topic: &str) -> Outcome {
        let mut outcome = Outcome::default();
        for key in self.offsets.keys_of_topic(topic) {
            self.apply(GroupRecord::OffsetCommit { key, value: None }, &mut outcome);
        }
        outcome
    }
}

fn offset_key(group_id: &str, topic: &str, partition: i32) -> OffsetKey {
    OffsetKey { group_id: group_id.to_string(), topic: topic.to_string(), partition }
}

fn no_offset(partition: i32, error: Option<ResponseError>) -> FetchedOffset {
    FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: String::new(), error }
}

/// The same error for every partition (`OffsetCommitRequest.getErrorResponse`).
fn refused(topics: &[(String, Vec<PartitionCommit>)], error: ResponseError) -> OffsetCommitAnswer {
    let all =
        |partitions: &[PartitionCommit]| partitions.iter().map(|p| (p.partition, Some(error))).collect();
    OffsetCommitAnswer {
        topics: topics.iter().map(|(topic, partitions)| (topic.clone(), all(partitions))).collect(),
    }
}

/// Kafka counts the metadata's UTF-16 units, whatever the name of the configuration says (`isMetadataInvalid`).
fn check_commit(config: &GroupConfig, topic: &str, commit: &PartitionCommit) -> Result<(), ResponseError> {
    if topic.len() > STRING_LEN_MAX {
        return Err(ResponseError::InvalidTopicException);
    }
    let metadata = commit.metadata.as_deref().unwrap_or_default();
    if metadata.len() > STRING_LEN_MAX || metadata.encode_utf16().count() > config.offset_metadata_size_max {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(())
}

/// Whether a member's commit equals the committed offset *and* its time cannot matter. The time of a commit counts for
/// the expiry of topics that a group does not, or not any more, subscribe to ([`is_expired`]): such are written, and
/// all others at least every seventh of the retention, so that no offset expires by more than that too early. Commits
/// by nobody's member (simple groups, whose offsets expire by commit time) are always written.
fn refreshes_nothing(
    config: &GroupConfig,
    group: &ClassicGroup,
    topic: &str,
    committed: &OffsetAndMetadata,
    value: &OffsetAndMetadata,
) -> bool {
    let age_ms = value.commit_timestamp_ms.saturating_sub(committed.commit_timestamp_ms);
    committed.offset == value.offset
        && committed.leader_epoch == value.leader_epoch
        && committed.metadata == value.metadata
        && committed.expire_timestamp_ms.is_none()
        && value.expire_timestamp_ms.is_none()
        && (0..config.offsets_retention_ms / 7).contains(&age_ms)
        && (group.is_subscribed_to(topic) || !group.uses_consumer_protocol())
}

/// KIP-211. `ClassicGroup.offsetExpirationCondition`, `OffsetExpirationConditionImpl`: a group with a protocol keeps
/// its offsets while it has members, and for the retention after it became empty; a consumer group that is stable
/// loses those of topics that it does not subscribe to, by their age; a group without a protocol (simple) by age.
fn is_expired(
    config: &GroupConfig,
    now_ms: i64,
    group: &ClassicGroup,
    topic: &str,
    committed: &OffsetAndMetadata,
) -> bool {
    if group.is_subscribed_to(topic) {
        return false;
    }
    let since_ms = if group.protocol_type.is_none() {
        committed.commit_timestamp_ms
    } else if group.state == GroupState::Empty {
        group.state_timestamp_ms.unwrap_or(committed.commit_timestamp_ms)
    } else if group.state == GroupState::Stable
        && group.uses_consumer_protocol()
        && group.knows_subscribed_topics()
    {
        committed.commit_timestamp_ms
    } else {
        return false;
    };
    match committed.expire_timestamp_ms {
        Some(expire_timestamp_ms) => now_ms >= expire_timestamp_ms,
        None => now_ms.saturating_sub(since_ms) >= config.offsets_retention_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::group::record::GroupMetadata;

    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

    /// A group of one consumer of topic `a`, or whatever the type; empty since day 2 if `empty`.
    fn group(protocol_type: &str, empty: bool) -> ClassicGroup {
        let mut group = ClassicGroup::new("g");
        let member = crate::coordinator::group::MemberMetadata {
            member_id: "m".into(),
            group_instance_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout_ms: 1,
            session_timeout_ms: 1,
            subscription: bytes::Bytes::from_static(b"\0\0\0\0\0\x01\0\x01a"),
            assignment: bytes::Bytes::new(),
        };
        group.replay(&GroupMetadata {
            protocol_type: protocol_type.into(),
            generation_id: 1,
            protocol_name: (!empty).then(|| "range".into()),
            leader: None,
            current_state_timestamp_ms: 2 * DAY_MS,
            members: if empty { Vec::new() } else { vec![member] },
        });
        group
    }

    fn offset(commit_timestamp_ms: i64, expire_timestamp_ms: Option<i64>) -> OffsetAndMetadata {
        OffsetAndMetadata {
            offset: 1,
            leader_epoch: 0,
            metadata: String::new(),
            commit_timestamp_ms,
            expire_timestamp_ms,
        }
    }

    #[test]
    fn offsets_expire_by_what_their_group_is() {
        let config = GroupConfig::default();
        // (group, topic, committed on day 1, explicit expiry; expires at, if ever)
        let rows = [
            (group("consumer", false), "a", None, None),
            (group("consumer", false), "other", None, Some(8 * DAY_MS)),
            (group("consumer", false), "a", Some(3 * DAY_MS), None),
            (group("consumer", false), "other", Some(3 * DAY_MS), Some(3 * DAY_MS)),
            (group("consumer", true), "a", None, Some(9 * DAY_MS)),
            (group("connect", false), "a", None, None),
            (group("connect", true), "a", None, Some(9 * DAY_MS)),
            (group("", true), "a", None, Some(8 * DAY_MS)),
            (ClassicGroup::new("simple"), "a", None, Some(8 * DAY_MS)),
        ];
        for (i, (group, topic, expiry, expires_at)) in rows.iter().enumerate() {
            let committed = offset(DAY_MS, *expiry);
            let expired = |at_ms| is_expired(&config, at_ms, group, topic, &committed);
            match expires_at {
                None => assert!(!expired(1_000 * DAY_MS), "row {i}"),
                Some(at_ms) => assert_eq!((expired(at_ms - 1), expired(*at_ms)), (false, true), "row {i}"),
            }
        }
    }

    #[test]
    fn an_equal_commit_is_written_only_where_its_time_matters() {
        let config = GroupConfig::default();
        let committed = offset(DAY_MS, None);
        let again = |at_ms| offset(at_ms, None);
        let other = OffsetAndMetadata { metadata: "m".into(), ..again(DAY_MS) };
        let consumer = group("consumer", false);
        let rows = [
            (&consumer, "a", &committed, again(2 * DAY_MS - 1), true),
            (&consumer, "a", &committed, again(2 * DAY_MS), false),
            // A clock that went back.
            (&consumer, "a", &committed, again(DAY_MS - 1), false),
            (&consumer, "other", &committed, again(DAY_MS), false),
            (&group("connect", false), "other", &committed, again(DAY_MS), true),
            (&consumer, "a", &committed, other, false),
            (&consumer, "a", &committed, OffsetAndMetadata { leader_epoch: 1, ..again(DAY_MS) }, false),
            (&consumer, "a", &committed, OffsetAndMetadata { offset: 2, ..again(DAY_MS) }, false),
            (&consumer, "a", &committed, offset(DAY_MS, Some(9 * DAY_MS)), false),
            (&consumer, "a", &offset(DAY_MS, Some(9 * DAY_MS)), again(DAY_MS), false),
        ];
        for (i, (group, topic, committed, value, expected)) in rows.iter().enumerate() {
            assert_eq!(refreshes_nothing(&config, group, topic, committed, value), *expected, "row {i}");
        }
    }
}
