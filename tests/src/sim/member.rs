//! A member of a classic group as a client's consumer is one: it joins, syncs (the leader deals out the partitions), heartbeats,
//! and commits ever higher offsets of what it was given; it leaves at times, and comes back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::history::Event;
use super::wire::{Disconnected, Wire};
use super::world::{TOPIC, World};

const SESSION_TIMEOUT_MS: i32 = 10_000;
const REBALANCE_TIMEOUT_MS: i32 = 15_000;
/// Longer than any join is held.
const PATIENCE: Duration = Duration::from_secs(25);

/// One member.
pub struct Member {
    index: u32,
    world: Arc<World>,
    dice: StdRng,
    id: StrBytes,
}

/// Why a member starts over.
enum Again {
    /// On another connection.
    Disconnected,
    /// By joining.
    Join,
}

impl From<Disconnected> for Again {
    fn from(_: Disconnected) -> Again {
        Again::Disconnected
    }
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("sim-group"))
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

impl Member {
    /// A member that has no id yet.
    pub fn new(world: &Arc<World>, index: u32) -> Member {
        let dice = StdRng::seed_from_u64(world.seed ^ (u64::from(index) + 201) << 40);
        Member { index, world: world.clone(), dice, id: StrBytes::default() }
    }

    /// Is a member for ever.
    pub async fn run(mut self) {
        loop {
            if let Some(mut wire) = self.world.connect(&mut self.dice)
                && self.find_coordinator(&mut wire).await.is_ok()
            {
                while let Err(Again::Join) = self.belong(&mut wire).await {
                    self.pause(20..500).await;
                }
            }
            self.pause(50..500).await;
        }
    }

    async fn pause(&mut self, ms: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.dice.random_range(ms))).await;
    }

    /// Asking for it is what creates the topic of offsets.
    async fn find_coordinator(&mut self, wire: &mut Wire) -> Result<(), Disconnected> {
        let request = FindCoordinatorRequest::default().with_key(group().0);
        match wire.ask(&request, 3, PATIENCE).await?.error_code {
            0 => Ok(()),
            _ => Err(Disconnected),
        }
    }

    /// One generation, from its join to whatever ends it.
    async fn belong(&mut self, wire: &mut Wire) -> Result<(), Again> {
        let joined = self.join(wire).await?;
        let generation = joined.generation_id;
        let newest = self.world.is_newest(&wire.life);
        let assignments = if joined.leader == joined.member_id { self.deal(&joined) } else { Vec::new() };
        let request = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(generation)
            .with_member_id(self.id.clone())
            .with_assignments(assignments);
        let synced = wire.ask(&request, 3, PATIENCE).await?;
        self.judge(synced.error_code)?;
        if newest && self.world.is_newest(&wire.life) {
            self.world.record(Event::Generation { member: self.index, generation });
        }
        let mine: Vec<i32> = synced.assignment.iter().map(|p| i32::from(*p)).collect();
        let mut committed = self.fetch_offsets(wire, &mine).await?;
        for _ in 0..self.dice.random_range(3..30) {
            self.pause(100..2_000).await;
            let request = HeartbeatRequest::default()
                .with_group_id(group())
                .with_generation_id(generation)
                .with_member_id(self.id.clone());
            let answer = wire.ask(&request, 3, PATIENCE).await?;
            self.judge(answer.error_code)?;
            self.commit(wire, generation, &mine, &mut committed).await?;
        }
        if self.dice.random_bool(0.3) {
            let me = MemberIdentity::default().with_member_id(self.id.clone());
            let request = LeaveGroupRequest::default().with_group_id(group()).with_members(vec![me]);
            wire.ask(&request, 3, PATIENCE).await?;
            self.id = StrBytes::default();
        }
        Err(Again::Join)
    }

    async fn join(&mut self, wire: &mut Wire) -> Result<JoinGroupResponse, Again> {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("deal"))
            .with_metadata(Bytes::from_static(b"any"));
        let request = JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(self.id.clone())
            .with_protocol_type(StrBytes::from_static_str("sim"))
            .with_protocols(vec![protocol]);
        let answer = wire.ask(&request, 5, PATIENCE).await?;
        if answer.error_code == ResponseError::MemberIdRequired.code() {
            self.id = answer.member_id;
            return Err(Again::Join);
        }
        self.judge(answer.error_code)?;
        self.id = answer.member_id.clone();
        Ok(answer)
    }

    /// Any error ends the generation; some end the member's id with it.
    fn judge(&mut self, code: i16) -> Result<(), Again> {
        let Some(error) = ResponseError::try_from_code(code) else { return Ok(()) };
        match error {
            ResponseError::UnknownMemberId => self.id = StrBytes::default(),
            ResponseError::IllegalGeneration
            | ResponseError::RebalanceInProgress
            | ResponseError::NotCoordinator
            | ResponseError::CoordinatorNotAvailable
            | ResponseError::CoordinatorLoadInProgress => {}
            other => {
                let what = format!("member {}: {other:?}", self.index);
                self.world.record(Event::RefusedWrongly(what));
            }
        }
        Err(Again::Join)
    }

    /// Deals the partitions out, one after the other: a byte each.
    fn deal(&self, joined: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
        let count = joined.members.len();
        let dealt = joined.members.iter().enumerate().map(|(n, member)| {
            let mine = (0..self.world.partitions as u8).filter(|p| *p as usize % count == n);
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(mine.collect::<Vec<u8>>().into())
        });
        dealt.collect()
    }

    async fn commit(
        &mut self,
        wire: &mut Wire,
        generation: i32,
        mine: &[i32],
        committed: &mut [i64],
    ) -> Result<(), Again> {
        let partitions = mine.iter().zip(&*committed).map(|(&partition, at)| {
            self.world.record(Event::CommitSent { partition, offset: at + 1 });
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(at + 1)
        });
        let topic =
            OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(self.id.clone())
            .with_topics(vec![topic]);
        let answer = wire.ask(&request, 6, PATIENCE).await?;
        for told in answer.topics.iter().flat_map(|t| &t.partitions) {
            // The topic may not be there yet.
            if told.error_code == ResponseError::UnknownTopicOrPartition.code() {
                continue;
            }
            self.judge(told.error_code)?;
            let partition = told.partition_index;
            let at = mine.iter().position(|p| *p == partition).expect("an answer to what was asked");
            committed[at] += 1;
            self.world.record(Event::CommitAcknowledged { partition, offset: committed[at] });
        }
        Ok(())
    }

    /// What is committed of these partitions, from this process; judged if it is the newest.
    pub async fn fetch_offsets(
        &mut self,
        wire: &mut Wire,
        partitions: &[i32],
    ) -> Result<Vec<i64>, Disconnected> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let acknowledged: Vec<i64> = partitions.iter().map(|p| self.world.committed(*p)).collect();
        let newest = self.world.is_newest(&wire.life);
        let topic =
            OffsetFetchRequestTopic::default().with_name(topic()).with_partition_indexes(partitions.to_vec());
        let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]));
        let answer = wire.ask(&request, 5, PATIENCE).await?;
        if answer.error_code != 0 {
            return Err(Disconnected);
        }
        let mut found = Vec::with_capacity(partitions.len());
        for (&partition, acknowledged) in partitions.iter().zip(acknowledged) {
            let told = answer.topics.iter().flat_map(|t| &t.partitions);
            let offset = told
                .filter(|p| p.partition_index == partition && p.error_code == 0)
                .map(|p| p.committed_offset)
                .next()
                .ok_or(Disconnected)?;
            if newest && self.world.is_newest(&wire.life) {
                self.world.record(Event::OffsetFetched { partition, offset, acknowledged });
            }
            found.push(offset);
        }
        Ok(found)
    }
}
