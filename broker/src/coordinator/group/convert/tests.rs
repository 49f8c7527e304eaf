//! Every answer encodes in every served version, and every request of every version arrives whole.

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::super::message::*;
use super::*;

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// Encodes and decodes in a version: what a client of that version sees.
fn as_seen<T: Encodable + Decodable>(version: i16, message: &T) -> T {
    let mut buf = BytesMut::new();
    message.encode(&mut buf, version).unwrap_or_else(|error| panic!("v{version}: {error}"));
    T::decode(&mut buf.freeze(), version).unwrap_or_else(|error| panic!("v{version}: {error}"))
}

fn joined() -> JoinGroupAnswer {
    JoinGroupAnswer {
        error: None,
        generation_id: 3,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        leader: "m".into(),
        skip_assignment: true,
        member_id: "m".into(),
        members: vec![JoinedMember {
            member_id: "m".into(),
            group_instance_id: Some("i".into()),
            metadata: Bytes::from_static(b"meta"),
        }],
    }
}

#[test]
fn join_group_answers_encode_in_every_version() {
    for version in 0..=9 {
        let seen = as_seen(version, &join_group::response(version, joined()));
        assert_eq!(seen.protocol_name, Some(s("range")));
        assert_eq!(seen.protocol_type, (version >= 7).then(|| s("consumer")));
        assert_eq!(seen.skip_assignment, version >= 9);
        assert_eq!(seen.members[0].group_instance_id, (version >= 5).then(|| s("i")));
        assert_eq!(seen.members[0].metadata, Bytes::from_static(b"meta"));

        let refused = JoinGroupAnswer::refused("m", ResponseError::MemberIdRequired);
        let seen = as_seen(version, &join_group::response(version, refused));
        assert_eq!(
            (seen.error_code, seen.generation_id, seen.member_id.as_str()),
            (79, -1, "m"),
            "v{version}"
        );
        assert_eq!(seen.protocol_name, (version < 7).then(|| s("")), "v{version}: null is unknown before v7");
    }
}

#[test]
fn join_group_requests_of_v0_have_their_session_timeout_twice() {
    let wire = JoinGroupRequest::default()
        .with_group_id(GroupId(s("g")))
        .with_session_timeout_ms(10_000)
        .with_protocol_type(s("connect"));
    let v0 = join_group::request(0, "c", "/127.0.0.1", &as_seen(0, &wire));
    assert_eq!((v0.rebalance_timeout_ms, v0.requires_known_member_id), (10_000, false));
    let wire = wire.with_rebalance_timeout_ms(60_000);
    let v4 = join_group::request(4, "c", "/127.0.0.1", &as_seen(4, &wire));
    assert_eq!((v4.rebalance_timeout_ms, v4.requires_known_member_id), (60_000, true));
    assert!(!join_group::request(8, "c", "/127.0.0.1", &wire).supports_skip_assignment);
    assert!(join_group::request(9, "c", "/127.0.0.1", &wire).supports_skip_assignment);
}

#[test]
fn sync_and_heartbeat_answers_encode_in_every_version() {
    for version in 0..=5 {
        let answer = SyncGroupAnswer {
            error: None,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignment: Bytes::from_static(b"a"),
        };
        let seen = as_seen(version, &sync_group::response(version, answer));
        assert_eq!(seen.assignment, Bytes::from_static(b"a"));
        assert_eq!(seen.protocol_name, (version >= 5).then(|| s("range")));
        let bare = SyncGroupRequest::default();
        assert_eq!(sync_group::has_mandatory_protocol(version, &bare), version < 5);
    }
    for version in 0..=4 {
        let seen = as_seen(version, &heartbeat::response(Some(ResponseError::RebalanceInProgress)));
        assert_eq!(seen.error_code, 27);
    }
}

#[test]
fn leave_group_of_one_member_before_v3_has_the_error_at_the_top() {
    let one = LeaveGroupRequest::default().with_group_id(GroupId(s("g"))).with_member_id(s("m"));
    let identity = MemberIdentity { member_id: "m".into(), group_instance_id: None };
    for version in 0..=5 {
        if version < 3 {
            let request = leave_group::request(version, &as_seen(version, &one));
            assert_eq!(request.members, vec![identity.clone()]);
        }
        let answer = LeaveGroupAnswer {
            error: None,
            members: vec![(identity.clone(), Some(ResponseError::UnknownMemberId))],
        };
        let seen = as_seen(version, &leave_group::response(version, answer));
        let codes = (seen.error_code, seen.members.first().map(|m| m.error_code));
        assert_eq!(codes, if version < 3 { (25, None) } else { (0, Some(25)) }, "v{version}");
    }
}

#[test]
fn offset_commits_of_every_version_arrive_whole() {
    for version in 2..=9 {
        let mut partition = offset_commit_request::OffsetCommitRequestPartition::default()
            .with_partition_index(1)
            .with_committed_offset(42)
            .with_committed_metadata(Some(s("m")));
        if version >= 6 {
            partition.committed_leader_epoch = 5;
        }
        let topic = offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(TopicName(s("t")))
            .with_partitions(vec![partition]);
        let mut wire = OffsetCommitRequest::default()
            .with_group_id(GroupId(s("g")))
            .with_generation_id_or_member_epoch(7)
            .with_member_id(s("m"))
            .with_topics(vec![topic]);
        if version <= 4 {
            wire.retention_time_ms = 1_000;
        }
        let request = offset_commit::request(version, &as_seen(version, &wire));
        assert_eq!(request.retention_time_ms, (version <= 4).then_some(1_000));
        assert_eq!(request.knows_group_id_not_found, version >= 9);
        let leader_epoch = if version >= 6 { 5 } else { -1 };
        let commit = PartitionCommit { partition: 1, offset: 42, leader_epoch, metadata: Some("m".into()) };
        assert_eq!(request.topics, [("t".to_string(), vec![commit])]);

        let answer = OffsetCommitAnswer { topics: vec![("t".into(), vec![(1, None)])] };
        assert_eq!(as_seen(version, &offset_commit::response(answer)).topics[0].name.as_str(), "t");
    }
    let forever = OffsetCommitRequest::default().with_retention_time_ms(-1);
    assert_eq!(offset_commit::request(2, &forever).retention_time_ms, None);
}

#[test]
fn offset_fetch_has_one_group_before_v8_and_many_since() {
    for version in 1..=9 {
        let answer = OffsetFetchAnswer {
            group_id: "g".into(),
            error: (version >= 2).then_some(ResponseError::NotCoordinator),
            topics: vec![(
                "t".into(),
                vec![FetchedOffset {
                    partition: 0,
                    offset: 5,
                    leader_epoch: 2,
                    metadata: "m".into(),
                    error: None,
                }],
            )],
        };
        let seen = as_seen(version, &offset_fetch::response(version, vec![answer]));
        if version >= 8 {
            let group = &seen.groups[0];
            let partition = &group.topics[0].partitions[0];
            assert_eq!((group.error_code, partition.committed_offset), (16, 5));
            assert_eq!(partition.committed_leader_epoch, 2);
        } else {
            let partition = &seen.topics[0].partitions[0];
            assert_eq!((seen.error_code, partition.committed_offset), (if version >= 2 { 16 } else { 0 }, 5));
            assert_eq!(partition.committed_leader_epoch, if version >= 5 { 2 } else { -1 });
        }
    }
    let all = OffsetFetchRequest::default().with_group_id(GroupId(s("g"))).with_topics(None);
    let requests = offset_fetch::requests(2, &as_seen(2, &all));
    assert_eq!(requests, [OffsetFetch { group_id: "g".into(), topics: None, require_stable: false }]);
    let group =
        |name| offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(GroupId(s(name)));
    let many =
        OffsetFetchRequest::default().with_groups(vec![group("a"), group("b")]).with_require_stable(true);
    let requests = offset_fetch::requests(9, &as_seen(9, &many));
    assert_eq!(requests.iter().map(|r| r.group_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(requests.iter().all(|r| r.require_stable));
}

#[test]
fn describe_groups_hides_and_shows_what_a_version_knows() {
    let absent = || DescribedGroup {
        error: Some(ResponseError::GroupIdNotFound),
        error_message: Some("Group g not found.".into()),
        group_id: "g".into(),
        state: GroupState::Dead,
        protocol_type: String::new(),
        protocol_data: String::new(),
        members: vec![DescribedMember {
            member_id: "m".into(),
            group_instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            metadata: Bytes::from_static(b"x"),
            assignment: Bytes::from_static(b"y"),
        }],
    };
    for version in 0..=6 {
        let group = describe_groups::group(version, absent(), Some(0b1000));
        let seen = as_seen(version, &describe_groups::response(vec![group])).groups.remove(0);
        assert_eq!(seen.error_code, if version >= 6 { 69 } else { 0 });
        assert_eq!(seen.error_message.is_some(), version >= 6);
        assert_eq!(seen.group_state.as_str(), "Dead");
        let without_error = (3..6).contains(&version);
        assert_eq!(seen.authorized_operations, if without_error { 0b1000 } else { i32::MIN });
        assert_eq!(seen.members[0].group_instance_id.is_some(), version >= 4);
    }
}

#[test]
fn lists_and_deletes_encode_in_every_version() {
    for version in 0..=5 {
        let listed =
            ListedGroup { group_id: "g".into(), protocol_type: "connect".into(), state: GroupState::Stable };
        let seen = as_seen(version, &list_groups::response(version, None, vec![listed])).groups.remove(0);
        assert_eq!(seen.group_state.as_str(), if version >= 4 { "Stable" } else { "" });
        assert_eq!(seen.group_type.as_str(), if version >= 5 { "classic" } else { "" });
    }
    for version in 0..=2 {
        let deleted = DeletedGroup { group_id: "g".into(), error: Some(ResponseError::NonEmptyGroup) };
        let seen = as_seen(version, &delete_groups::response(vec![deleted]));
        assert_eq!(seen.results[0].error_code, 68);
    }
    let twice = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(s("g")), GroupId(s("g"))]);
    assert_eq!(delete_groups::request(&twice), ["g"]);
    let answer = OffsetDeleteAnswer {
        error: None,
        topics: vec![("t".into(), vec![(0, Some(ResponseError::GroupSubscribedToTopic))])],
    };
    assert_eq!(as_seen(0, &offset_delete::response(answer)).topics[0].partitions[0].error_code, 86);
    for version in 0..=5 {
        let wire = TxnOffsetCommitRequest::default().with_producer_id(ProducerId(9)).with_producer_epoch(1);
        let request = txn_offset_commit::request(version, &as_seen(version, &wire));
        assert_eq!(request.producer, ProducerIdAndEpoch { producer_id: 9, producer_epoch: 1 });
        assert_eq!(request.generation_id, -1);
        let answer = OffsetCommitAnswer { topics: vec![("t".into(), vec![(1, None)])] };
        assert_eq!(as_seen(version, &txn_offset_commit::response(answer)).topics.len(), 1);
    }
}
