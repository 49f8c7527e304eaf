//! Requests, answers and effects of a group shard, in one shape: the newest version's. `convert/` bends older
//! versions into it and back. An `error` of `None` is Kafka's NONE.
//!
//! `GenerationId` -1 and an empty member id mean "none", as on the wire.

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::record::GroupRecord;

/// Who waits for an answer; chosen by the shell, unique among those that wait on a shard. Every token that a shard
/// was given is answered exactly once: in the outcome of the same call, or of a later one if the request is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What a call decided.
///
/// `records` have *already been replayed* by the shard that returns them: the shell appends them, in order, before
/// those of any later outcome, and does not replay them again. Replies leave when all that the shard appended is
/// durable. A failed append ends the shard: there is no rollback.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// To append to the partition, in order.
    pub records: Vec<GroupRecord>,
    /// Set when `records` belong to a transaction: they are then appended in transactional batches of this producer.
    pub producer: Option<ProducerIdAndEpoch>,
    /// To carry out, in order.
    pub effects: Vec<Effect>,
}

/// The producer whose transaction a TxnOffsetCommit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdAndEpoch {
    /// Producer id, >= 0.
    pub producer_id: i64,
    /// Producer epoch, >= 0.
    pub producer_epoch: i16,
}

/// What the shell must do for a shard.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Answer who waits, when everything appended so far is durable.
    Reply(Token, GroupResponse),
    /// Call `timer_expired` with this key at this time (ms) or later; replaces an earlier deadline of the key.
    Schedule(TimerKey, i64),
    /// Forget the key. A firing that crosses a cancellation is harmless.
    Cancel(TimerKey),
}

/// Names a timer of a shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKey {
    /// The session of a member, or of a pending member that was given an id and has not come back with it.
    Session {
        /// The group.
        group_id: String,
        /// The member.
        member_id: String,
    },
    /// The end of a group's join phase: the initial delay, or the rebalance timeout.
    Join {
        /// The group.
        group_id: String,
    },
    /// Members must have sent SyncGroup by then.
    Sync {
        /// The group.
        group_id: String,
    },
}

/// An answer to one request.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum GroupResponse {
    JoinGroup(JoinGroupAnswer),
    SyncGroup(SyncGroupAnswer),
    Heartbeat(Option<ResponseError>),
    LeaveGroup(LeaveGroupAnswer),
    OffsetCommit(OffsetCommitAnswer),
    OffsetDelete(OffsetDeleteAnswer),
    DeleteGroups(Vec<DeletedGroup>),
}

/// A protocol that a member can speak and its opaque metadata for it; the broker looks inside only for type
/// `consumer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberProtocol {
    /// Name, e.g. an assignor's.
    pub name: String,
    /// Opaque.
    pub metadata: Bytes,
}

/// JoinGroup, v9 shape.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct JoinGroup {
    pub group_id: String,
    pub session_timeout_ms: i32,
    /// v0 has none: its session timeout.
    pub rebalance_timeout_ms: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<MemberProtocol>,
    /// From the request header.
    pub client_id: String,
    /// The peer's address as Kafka prints it: `/127.0.0.1`.
    pub client_host: String,
    /// v4+: a dynamic member without id gets one and must come back with it (KIP-394).
    pub requires_known_member_id: bool,
    /// v9: understands `skip_assignment` (KIP-814).
    pub supports_skip_assignment: bool,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct JoinedMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// For the selected protocol.
    pub metadata: Bytes,
}

/// Answer to JoinGroup, v9 shape.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct JoinGroupAnswer {
    pub error: Option<ResponseError>,
    pub generation_id: i32,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub leader: String,
    pub skip_assignment: bool,
    pub member_id: String,
    /// Only for the leader.
    pub members: Vec<JoinedMember>,
}

impl JoinGroupAnswer {
    /// A refusal.
    pub fn refused(member_id: &str, error: ResponseError) -> Self {
        JoinGroupAnswer {
            error: Some(error),
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_string(),
            members: Vec::new(),
        }
    }
}

/// SyncGroup, v5 shape.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct SyncGroup {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// v5; `None` is not checked (KIP-559).
    pub protocol_type: Option<String>,
    /// v5; `None` is not checked.
    pub protocol_name: Option<String>,
    /// From the leader: (member id, assignment).
    pub assignments: Vec<(String, Bytes)>,
}

/// Answer to SyncGroup, v5 shape.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct SyncGroupAnswer {
    pub error: Option<ResponseError>,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}

impl SyncGroupAnswer {
    /// A refusal.
    pub fn refused(error: ResponseError) -> Self {
        SyncGroupAnswer {
            error: Some(error),
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}

/// Heartbeat, v4 shape.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Heartbeat {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

/// LeaveGroup, v5 shape: older versions name one member.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct LeaveGroup {
    pub group_id: String,
    pub members: Vec<MemberIdentity>,
}

/// A member that leaves or is removed; an administrator may name a static member by its instance id alone.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct MemberIdentity {
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

/// Answer to LeaveGroup.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct LeaveGroupAnswer {
    pub error: Option<ResponseError>,
    pub members: Vec<(MemberIdentity, Option<ResponseError>)>,
}

/// One partition of an OffsetCommit or TxnOffsetCommit.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct PartitionCommit {
    pub partition: i32,
    pub offset: i64,
    /// -1: unknown.
    pub leader_epoch: i32,
    pub metadata: Option<String>,
}

/// OffsetCommit, v9 shape with v2-4's retention. Topics are those that exist and that the caller may read: the
/// handler answers for the others (`KafkaApis.handleOffsetCommitRequest`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct OffsetCommit {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// v2-4: explicit retention (ms); `None` leaves it to the broker's.
    pub retention_time_ms: Option<i64>,
    /// v9+: an unknown group is GROUP_ID_NOT_FOUND, before it was ILLEGAL_GENERATION.
    pub knows_group_id_not_found: bool,
    pub topics: Vec<(String, Vec<PartitionCommit>)>,
}

/// TxnOffsetCommit, v5 shape. That the transaction is ongoing was verified before (KIP-890).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct TxnOffsetCommit {
    pub group_id: String,
    pub producer: ProducerIdAndEpoch,
    /// v3+ (KIP-447); before: -1.
    pub generation_id: i32,
    /// v3+; before: empty.
    pub member_id: String,
    /// v3+.
    pub group_instance_id: Option<String>,
    pub topics: Vec<(String, Vec<PartitionCommit>)>,
}

/// What became of each partition of a topic, in request order.
pub type PartitionResults = Vec<(i32, Option<ResponseError>)>;

/// Answer to OffsetCommit and TxnOffsetCommit: per topic and partition, in request order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OffsetCommitAnswer {
    /// By topic.
    pub topics: Vec<(String, PartitionResults)>,
}

/// One group of an OffsetFetch.
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetFetch {
    /// The group.
    pub group_id: String,
    /// (topic, partitions); `None` asks for all.
    pub topics: Option<Vec<(String, Vec<i32>)>>,
    /// v7+ (KIP-447): offsets that a transaction may still change get UNSTABLE_OFFSET_COMMIT.
    pub require_stable: bool,
}

/// One partition of the answer to OffsetFetch.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct FetchedOffset {
    pub partition: i32,
    /// -1: nothing committed.
    pub offset: i64,
    /// -1: unknown.
    pub leader_epoch: i32,
    pub metadata: String,
    pub error: Option<ResponseError>,
}

/// Answer for one group of an OffsetFetch.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct OffsetFetchAnswer {
    pub group_id: String,
    pub error: Option<ResponseError>,
    pub topics: Vec<(String, Vec<FetchedOffset>)>,
}

/// OffsetDelete, v0.
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetDelete {
    /// The group.
    pub group_id: String,
    /// (topic, partitions).
    pub topics: Vec<(String, Vec<i32>)>,
}

/// Answer to OffsetDelete.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct OffsetDeleteAnswer {
    pub error: Option<ResponseError>,
    /// By topic.
    pub topics: Vec<(String, PartitionResults)>,
}

/// Answer of DeleteGroups for one group.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct DeletedGroup {
    pub group_id: String,
    pub error: Option<ResponseError>,
}

/// A member as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct DescribedMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Only in state Stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A group as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct DescribedGroup {
    /// GROUP_ID_NOT_FOUND for a group that does not exist; versions before 6 say state Dead without an error.
    pub error: Option<ResponseError>,
    pub error_message: Option<String>,
    pub group_id: String,
    pub state: GroupState,
    /// Empty: none.
    pub protocol_type: String,
    /// The selected protocol, only in state Stable; else empty.
    pub protocol_data: String,
    pub members: Vec<DescribedMember>,
}

/// ListGroups, v5 shape. Names are compared without case; empty lists match all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListGroups {
    /// v4+ (KIP-518).
    pub states: Vec<String>,
    /// v5 (KIP-848).
    pub types: Vec<String>,
}

/// A group as ListGroups shows it; its type is `classic`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ListedGroup {
    pub group_id: String,
    /// Empty: none.
    pub protocol_type: String,
    pub state: GroupState,
}

/// The states of a classic group (`ClassicGroupState`). Dead is only ever shown for a group that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; lives while it has offsets.
    Empty,
    /// Joins are parked until all members rejoined or the rebalance timeout.
    PreparingRebalance,
    /// Joins are answered; the leader's assignment is awaited.
    CompletingRebalance,
    /// Assigned.
    Stable,
    /// Does not exist.
    Dead,
}

impl GroupState {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}
