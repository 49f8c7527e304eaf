//! Group requests that no library sends by itself: every version of them, step by step, and what is refused.

use std::thread::JoinHandle;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, SyncGroupResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::support::{topic, unique, until};
use super::wire::ask;

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(group: &str) -> GroupId {
    GroupId(s(group))
}

/// The name of an error code; empty for none.
fn name(code: i16) -> String {
    ResponseError::try_from_code(code).map_or(String::new(), |error| format!("{error:?}"))
}

/// A group name nobody else uses, when its coordinator answers.
fn group(label: &str) -> String {
    let group = unique(label);
    until("the coordinator", || {
        (ask(&FindCoordinatorRequest::default().with_key(s(&group)), 2).error_code == 0).then_some(())
    });
    until("the group's partition", || {
        let ready = ask(&heartbeat(&group, "nobody", 1, None), 0).error_code;
        (ready == ResponseError::UnknownMemberId.code()).then_some(())
    });
    group
}

/// A consumer's subscription, v0.
fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes.into()
}

/// Who joins, and as what.
#[derive(Clone)]
struct Join {
    group: String,
    member: String,
    instance: Option<String>,
    protocol_type: String,
    protocols: Vec<(String, Bytes)>,
    session_ms: i32,
    version: i16,
}

impl Join {
    fn new(group: &str, version: i16) -> Join {
        Join {
            group: group.into(),
            member: String::new(),
            instance: None,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), subscription(&["t"]))],
            session_ms: 30_000,
            version,
        }
    }

    fn member(&self, member: &str) -> Join {
        Join { member: member.into(), ..self.clone() }
    }

    fn instance(&self, instance: &str) -> Join {
        Join { instance: Some(instance.into()), ..self.clone() }
    }

    fn send(&self) -> JoinGroupResponse {
        let protocols = self
            .protocols
            .iter()
            .map(|(n, m)| JoinGroupRequestProtocol::default().with_name(s(n)).with_metadata(m.clone()));
        let mut request = JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(self.session_ms)
            .with_member_id(s(&self.member))
            .with_group_instance_id(self.instance.as_deref().map(s))
            .with_protocol_type(s(&self.protocol_type))
            .with_protocols(protocols.collect());
        if self.version >= 1 {
            request.rebalance_timeout_ms = 30_000;
        }
        ask(&request, self.version)
    }

    fn send_apart(&self) -> JoinHandle<JoinGroupResponse> {
        let join = self.clone();
        std::thread::spawn(move || join.send())
    }

    /// Joins whatever it takes: with the id that it is given.
    fn send_until_in(&self) -> JoinGroupResponse {
        let answer = self.send();
        match name(answer.error_code).as_str() {
            "" => answer,
            "MemberIdRequired" => self.member(&answer.member_id).send(),
            other => panic!("{other}"),
        }
    }
}

fn sync(
    group: &str,
    member: &str,
    generation: i32,
    version: i16,
    assignments: &[(&str, &str)],
) -> SyncGroupResponse {
    let assignments = assignments.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(s(member))
            .with_assignment(Bytes::from((*assignment).to_owned()))
    });
    let mut request = SyncGroupRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(generation)
        .with_member_id(s(member))
        .with_assignments(assignments.collect());
    if version >= 5 {
        request.protocol_type = Some(s("consumer"));
        request.protocol_name = Some(s("range"));
    }
    ask(&request, version)
}

fn heartbeat(group: &str, member: &str, generation: i32, instance: Option<&str>) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(generation)
        .with_member_id(s(member))
        .with_group_instance_id(instance.map(s))
}

fn beat(group: &str, member: &str, generation: i32) -> String {
    name(ask(&heartbeat(group, member, generation, None), 4).error_code)
}

fn leave(group: &str, version: i16, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
    let request = LeaveGroupRequest::default().with_group_id(group_id(group));
    let request = if version < 3 {
        request.with_member_id(s(members[0].0))
    } else {
        let members = members.iter().map(|(member, instance)| {
            MemberIdentity::default().with_member_id(s(member)).with_group_instance_id(instance.map(s))
        });
        request.with_members(members.collect())
    };
    ask(&request, version)
}

fn state(group: &str) -> String {
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    ask(&request, 5).groups[0].group_state.to_string()
}

/// Commits for partition 0, and for those that are named besides; errors by partition.
fn commit(
    group: &str,
    (member, generation): (&str, i32),
    version: i16,
    topic: &str,
    partitions: &[(i32, &str)],
) -> Vec<String> {
    let partitions = partitions.iter().map(|(partition, metadata)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(7)
            .with_committed_metadata(Some(s(metadata)))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(s(topic)))
        .with_partitions(partitions.collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(s(member))
        .with_topics(vec![topic]);
    let mut results: Vec<_> = ask(&request, version).topics.remove(0).partitions;
    results.sort_by_key(|p| p.partition_index);
    results.iter().map(|p| name(p.error_code)).collect()
}

#[test]
fn joins_and_syncs_step_by_step() {
    let group = group("join-versions");
    // Those that differ: every first join waits for `group.initial.rebalance.delay.ms`.
    for version in [0, 5, 7, 9] {
        let first = Join::new(&group, version);
        let mut joined = first.send();
        if version >= 4 {
            assert_eq!(name(joined.error_code), "MemberIdRequired");
            assert_eq!((joined.generation_id, joined.leader.as_str(), joined.members.len()), (-1, "", 0));
            assert_eq!(joined.protocol_name.as_deref(), (version < 7).then_some(""));
            joined = first.member(&joined.member_id).send();
        }
        let member = joined.member_id.to_string();
        assert!(member.starts_with("raw-"), "{member}");
        assert_eq!((joined.error_code, joined.leader.as_str()), (0, member.as_str()), "v{version}");
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        assert_eq!(joined.members.len(), 1);
        assert_eq!(joined.members[0].metadata, subscription(&["t"]));
        assert!(!joined.skip_assignment);

        let generation = joined.generation_id;
        assert_eq!(state(&group), "CompletingRebalance");
        assert_eq!(beat(&group, &member, generation), "");
        // The same again: the answer may have been lost.
        let again = first.member(&member).send();
        assert_eq!((again.error_code, again.generation_id, again.members.len()), (0, generation, 1));
        let sync_version = version.min(5);
        let synced = sync(&group, &member, generation, sync_version, &[(&member, "mine")]);
        assert_eq!((synced.error_code, &*synced.assignment), (0, &b"mine"[..]));
        assert_eq!(synced.protocol_type.as_deref(), (sync_version >= 5).then_some("consumer"));
        assert_eq!(synced.protocol_name.as_deref(), (sync_version >= 5).then_some("range"));
        let again = sync(&group, &member, generation, sync_version, &[]);
        assert_eq!((again.error_code, &*again.assignment), (0, &b"mine"[..]));
        assert_eq!(state(&group), "Stable");
        assert_eq!(beat(&group, &member, generation), "");
        assert_eq!(beat(&group, &member, generation - 1), "IllegalGeneration");

        let left = leave(&group, version.min(5), &[(&member, None)]);
        assert_eq!(left.error_code, 0);
        assert_eq!(state(&group), "Empty");
        assert_eq!(beat(&group, &member, generation), "UnknownMemberId");
    }
}

#[test]
fn joins_that_are_refused() {
    let group = group("join-refused");
    let stable = Join::new(&group, 3).send();
    let member = stable.member_id.to_string();
    let synced = sync(&group, &member, stable.generation_id, 0, &[(&member, "a")]);
    assert_eq!(synced.error_code, 0);
    for version in 0..=9 {
        let join = Join::new(&group, version);
        let refused = |join: &Join| {
            let answer = join.send();
            assert_eq!((answer.generation_id, answer.members.len()), (-1, 0), "v{version}");
            assert_eq!(answer.protocol_name.as_deref(), (version < 7).then_some(""), "v{version}");
            (name(answer.error_code), answer.member_id.to_string())
        };
        let of = |error: &str, member: &str| (error.to_string(), member.to_string());
        assert_eq!(refused(&join.member("who")), of("UnknownMemberId", "who"));
        let elsewhere = Join { group: unique("nowhere"), ..join.clone() };
        assert_eq!(refused(&elsewhere.member("who")), of("UnknownMemberId", "who"));
        let nameless = Join { group: String::new(), ..join.clone() };
        assert_eq!(refused(&nameless), of("InvalidGroupId", ""));
        for session_ms in [0, 5_999, 1_800_001] {
            let join = Join { session_ms, ..join.member("who") };
            assert_eq!(refused(&join), of("InvalidSessionTimeout", "who"));
        }
        let other_type = Join { protocol_type: "connect".into(), ..join.clone() };
        assert_eq!(refused(&other_type), of("InconsistentGroupProtocol", ""));
        assert_eq!(refused(&other_type.member(&member)), of("InconsistentGroupProtocol", &member));
        let others = Join { protocols: vec![("sticky".into(), Bytes::new())], ..join.clone() };
        assert_eq!(refused(&others), of("InconsistentGroupProtocol", ""));
        assert_eq!(refused(&Join { protocols: vec![], ..join.clone() }), of("InconsistentGroupProtocol", ""));
        if version >= 5 {
            let with_instance = join.member(&member).instance("nobody's");
            assert_eq!(refused(&with_instance), of("UnknownMemberId", &member));
        }
    }
    // Nobody was disturbed.
    assert_eq!(beat(&group, &member, stable.generation_id), "");
    assert_eq!(state(&group), "Stable");
}

#[test]
fn syncs_heartbeats_and_leaves_that_are_refused() {
    let group = group("refused");
    let member = Join::new(&group, 3).send().member_id.to_string();
    let nowhere = unique("nowhere");
    for version in 0..=5 {
        let refused = |group: &str, member: &str, generation: i32| {
            let answer = sync(group, member, generation, version, &[]);
            assert_eq!((answer.protocol_type, answer.assignment.len()), (None, 0));
            name(answer.error_code)
        };
        assert_eq!(refused("", &member, 1), "InvalidGroupId");
        assert_eq!(refused(&nowhere, &member, 1), "UnknownMemberId");
        assert_eq!(refused(&group, "who", 1), "UnknownMemberId");
        assert_eq!(refused(&group, &member, 2), "IllegalGeneration");
        assert_eq!(refused(&group, &member, -1), "IllegalGeneration");
    }
    let unnamed = SyncGroupRequest::default()
        .with_group_id(group_id(&group))
        .with_generation_id(1)
        .with_member_id(s(&member));
    let named = |protocol_type: &str, protocol_name: &str| {
        let request = unnamed.clone().with_protocol_type(Some(s(protocol_type)));
        name(ask(&request.with_protocol_name(Some(s(protocol_name))), 5).error_code)
    };
    assert_eq!(name(ask(&unnamed, 5).error_code), "InconsistentGroupProtocol");
    assert_eq!(named("connect", "range"), "InconsistentGroupProtocol");
    assert_eq!(named("consumer", "sticky"), "InconsistentGroupProtocol");

    for version in 0..=4 {
        let beat = |group: &str, member: &str, generation: i32, instance: Option<&str>| {
            name(ask(&heartbeat(group, member, generation, instance), version).error_code)
        };
        assert_eq!(beat("", &member, 1, None), "InvalidGroupId");
        assert_eq!(beat(&nowhere, &member, 1, None), "UnknownMemberId");
        assert_eq!(beat(&group, "who", 1, None), "UnknownMemberId");
        assert_eq!(beat(&group, &member, 2, None), "IllegalGeneration");
        if version >= 3 {
            assert_eq!(beat(&group, &member, 1, Some("nobody's")), "UnknownMemberId");
        }
    }
    for version in 0..=5 {
        let left = |group: &str, members: &[(&str, Option<&str>)]| {
            let answer = leave(group, version, members);
            let of_members = answer.members.iter().map(|m| name(m.error_code)).collect::<Vec<_>>().join(",");
            (name(answer.error_code), of_members)
        };
        let of = |top: &str, members: &str| {
            // Before v3 there is one member, and its error is the answer's.
            let top = if version < 3 && top.is_empty() { members.split(',').next().unwrap() } else { top };
            (top.to_string(), if version < 3 { String::new() } else { members.to_string() })
        };
        assert_eq!(left("", &[("who", None)]), of("InvalidGroupId", ""));
        assert_eq!(left(&nowhere, &[("who", None), ("", None)]), of("", "UnknownMemberId,UnknownMemberId"));
        let who = [("who", None), ("", Some("nobody's")), (&*member, Some("nobody's"))];
        assert_eq!(left(&group, &who), of("", "UnknownMemberId,UnknownMemberId,UnknownMemberId"));
    }
    assert_eq!(leave(&group, 5, &[]).error_code, 0);
    assert_eq!(state(&group), "CompletingRebalance");
}

#[test]
fn static_members_come_back_and_who_they_were_is_fenced() {
    for version in [5, 9] {
        let group = group("static");
        let join = Join::new(&group, version).instance("i");
        let first = join.send();
        let member = first.member_id.to_string();
        assert!(member.starts_with("i-"), "{member}");
        assert_eq!(first.members[0].group_instance_id.as_deref(), Some("i"));
        let generation = first.generation_id;
        let synced = sync(&group, &member, generation, 5, &[(&member, "mine")]);
        assert_eq!(synced.error_code, 0);

        // In a stable group: a new id, the same generation and assignment.
        let back = join.send();
        let returned = back.member_id.to_string();
        assert_eq!((back.error_code, back.generation_id), (0, generation), "v{version}");
        assert_ne!(returned, member);
        assert_eq!(back.skip_assignment, version >= 9);
        // Who cannot skip the assignment is not told that it leads.
        assert_eq!(back.leader.as_str(), if version >= 9 { &returned } else { &member });
        assert_eq!(back.members.len(), usize::from(version >= 9));
        assert_eq!(&*sync(&group, &returned, generation, 5, &[]).assignment, b"mine");
        assert_eq!(state(&group), "Stable");

        let fenced = |code: i16| assert_eq!(name(code), "FencedInstanceId", "v{version}");
        fenced(ask(&heartbeat(&group, &member, generation, Some("i")), 4).error_code);
        fenced(join.member(&member).send().error_code);
        fenced(leave(&group, 5, &[(&member, Some("i"))]).members[0].error_code);
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&group))
            .with_generation_id(generation)
            .with_member_id(s(&member))
            .with_group_instance_id(Some(s("i")));
        fenced(ask(&request, 4).error_code);
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(&group))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(s(&member))
            .with_group_instance_id(Some(s("i")));
        assert!(ask(&request, 7).topics.is_empty(), "nothing to commit, nothing refused");
        // Without its instance the old id is simply unknown.
        assert_eq!(beat(&group, &member, generation), "UnknownMemberId");

        // Another one, and back while that is under way: the rebalance starts over with the new id.
        let other = Join::new(&group, version).instance("j").send_apart();
        until("the rebalance", || (state(&group) == "PreparingRebalance").then_some(()));
        assert_eq!(beat(&group, &returned, generation), "RebalanceInProgress");
        let again = join.send_apart();
        let (other, again) = (other.join().unwrap(), again.join().unwrap());
        assert_eq!((other.error_code, again.error_code), (0, 0));
        assert_eq!((other.generation_id, again.generation_id), (generation + 1, generation + 1));
        // An administrator removes them by their instances.
        let left = leave(&group, 5, &[("", Some("i")), ("", Some("j")), ("", Some("k"))]);
        let errors: Vec<_> = left.members.iter().map(|m| name(m.error_code)).collect();
        assert_eq!(errors, ["", "", "UnknownMemberId"]);
        assert_eq!(state(&group), "Empty");
    }
}

#[test]
fn a_second_member_rebalances_and_followers_do_not() {
    for version in [0, 9] {
        let group = group("second");
        let join = Join::new(&group, version);
        let first = join.send_until_in();
        let leader = first.member_id.to_string();
        assert_eq!(sync(&group, &leader, first.generation_id, 3, &[(&leader, "all")]).error_code, 0);

        let second = join.clone();
        let second = std::thread::spawn(move || second.send_until_in());
        until("the rebalance", || (state(&group) == "PreparingRebalance").then_some(()));
        assert_eq!(beat(&group, &leader, first.generation_id), "RebalanceInProgress");
        let mid = sync(&group, &leader, first.generation_id, 3, &[(&leader, "all")]);
        assert_eq!(name(mid.error_code), "RebalanceInProgress");
        let again = join.member(&leader).send();
        let second = second.join().unwrap();
        let follower = second.member_id.to_string();
        let generation = first.generation_id + 1;
        assert_eq!((again.generation_id, second.generation_id), (generation, generation));
        assert_eq!((again.leader.as_str(), second.leader.as_str()), (leader.as_str(), leader.as_str()));
        assert_eq!((again.members.len(), second.members.len()), (2, 0));

        // The follower syncs first and waits for the leader, which forgets it.
        let waiting = {
            let (group, follower) = (group.clone(), follower.clone());
            std::thread::spawn(move || sync(&group, &follower, generation, 3, &[]))
        };
        assert_eq!(&*sync(&group, &leader, generation, 3, &[(&leader, "a")]).assignment, b"a");
        let synced = waiting.join().unwrap();
        assert_eq!((synced.error_code, synced.assignment.len()), (0, 0));

        // A follower that joins as it is changes nothing, a leader that does wants another generation.
        let same = join.member(&follower).send();
        assert_eq!((same.error_code, same.generation_id, same.members.len()), (0, generation, 0));
        assert_eq!(state(&group), "Stable");
        let waiting = join.member(&leader).send_apart();
        until("the rebalance", || (state(&group) == "PreparingRebalance").then_some(()));
        // Who waits alone goes on as soon as the other has left.
        assert_eq!(leave(&group, 0, &[(&follower, None)]).error_code, 0);
        let alone = waiting.join().unwrap();
        assert_eq!((alone.error_code, alone.generation_id, alone.members.len()), (0, generation + 1, 1));
        // A member that leaves while its sync is awaited takes the generation with it.
        assert_eq!(leave(&group, 1, &[(&leader, None)]).error_code, 0);
        assert_eq!(state(&group), "Empty");
    }
}

#[test]
fn commits_that_are_refused_and_those_that_are_not() {
    let topic = topic("commits", 2, &[]);
    let group = group("commits");
    let joined = Join::new(&group, 3).send();
    let member = joined.member_id.to_string();
    let generation = joined.generation_id;
    let one = [(0, "")];
    assert_eq!(commit(&group, (&member, generation), 8, &topic, &one), ["RebalanceInProgress"]);
    assert_eq!(sync(&group, &member, generation, 3, &[(&member, "a")]).error_code, 0);
    let nowhere = unique("nowhere");
    for version in 2..=9 {
        let commit = |group: &str, who: (&str, i32), partitions: &[(i32, &str)]| {
            commit(group, who, version, &topic, partitions)
        };
        assert_eq!(commit(&group, (&member, generation), &one), [""]);
        let absent = if version >= 9 { "GroupIdNotFound" } else { "IllegalGeneration" };
        assert_eq!(commit(&nowhere, (&member, 1), &one), [absent]);
        assert_eq!(commit("", (&member, 1), &one), [absent]);
        assert_eq!(commit(&group, ("", generation), &one), ["UnknownMemberId"]);
        assert_eq!(commit(&group, ("who", generation), &one), ["UnknownMemberId"]);
        assert_eq!(commit(&group, (&member, generation + 1), &one), ["IllegalGeneration"]);
        assert_eq!(commit(&group, (&member, -1), &one), ["IllegalGeneration"]);
        assert_eq!(commit(&group, ("", -1), &one), ["UnknownMemberId"]);
        let long = "x".repeat(4_097);
        let mixed = [(0, &*long), (1, &long[1..]), (2, "")];
        let expected = ["OffsetMetadataTooLarge", "", "UnknownTopicOrPartition"];
        assert_eq!(commit(&group, (&member, generation), &mixed), expected);
        let all_refused = ["IllegalGeneration", "IllegalGeneration", "UnknownTopicOrPartition"];
        assert_eq!(commit(&group, (&member, generation + 1), &mixed), all_refused);
        // Nobody's member: a group of its own, without members.
        let simple = unique("simple");
        assert_eq!(commit(&simple, ("", -1), &one), [""]);
        assert_eq!(commit(&simple, ("anybody", -1), &one), [""]);
        assert_eq!(commit(&simple, ("anybody", 0), &one), ["UnknownMemberId"]);
        assert_eq!(state(&simple), "Empty");
    }
}

/// (topic, partition, offset, metadata, error) of one group.
type Fetched = Vec<(String, i32, i64, String, String)>;

/// Partitions by topic; `None`: all there are.
type Asked<'a> = Option<&'a [(&'a str, &'a [i32])]>;

fn fetch(version: i16, group: &str, topics: Asked<'_>) -> (String, Fetched) {
    if version >= 8 {
        return fetch_many(version, &[(group, topics)]).remove(0);
    }
    let topics = topics.map(|topics| {
        let of = |(topic, partitions): &(&str, &[i32])| {
            OffsetFetchRequestTopic::default()
                .with_name(TopicName(s(topic)))
                .with_partition_indexes(partitions.to_vec())
        };
        topics.iter().map(of).collect()
    });
    let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(topics);
    let answer = ask(&request, version);
    let rows = answer.topics.iter().flat_map(|t| {
        t.partitions.iter().map(|p| {
            let metadata = p.metadata.as_deref().unwrap_or("null").to_string();
            (t.name.to_string(), p.partition_index, p.committed_offset, metadata, name(p.error_code))
        })
    });
    let mut rows: Fetched = rows.collect();
    rows.sort();
    (name(answer.error_code), rows)
}

fn fetch_many(version: i16, groups: &[(&str, Asked<'_>)]) -> Vec<(String, Fetched)> {
    let groups = groups.iter().map(|(group, topics)| {
        let topics = topics.map(|topics| {
            let of = |(topic, partitions): &(&str, &[i32])| {
                OffsetFetchRequestTopics::default()
                    .with_name(TopicName(s(topic)))
                    .with_partition_indexes(partitions.to_vec())
            };
            topics.iter().map(of).collect()
        });
        OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(topics)
    });
    let request = OffsetFetchRequest::default().with_groups(groups.collect());
    let answer = ask(&request, version);
    let groups = answer.groups.iter().map(|g| {
        let rows = g.topics.iter().flat_map(|t| {
            t.partitions.iter().map(|p| {
                let metadata = p.metadata.as_deref().unwrap_or("null").to_string();
                (t.name.to_string(), p.partition_index, p.committed_offset, metadata, name(p.error_code))
            })
        });
        let mut rows: Fetched = rows.collect();
        rows.sort();
        (name(g.error_code), rows)
    });
    groups.collect()
}

#[test]
fn offsets_are_fetched_in_every_version() {
    let topic = topic("fetched", 2, &[]);
    let (group, nowhere) = (group("fetched"), unique("nowhere"));
    assert_eq!(commit(&group, ("", -1), 6, &topic, &[(0, "m"), (1, "")]), ["", ""]);
    let row = |topic: &str, partition: i32, offset: i64, metadata: &str| {
        (topic.to_string(), partition, offset, metadata.to_string(), String::new())
    };
    let missing = unique("missing");
    for version in 1..=9 {
        let asked: &[(&str, &[i32])] = &[(&topic, &[0, 1, 9]), (&missing, &[0])];
        let mut expected = vec![
            row(&topic, 0, 7, "m"),
            row(&topic, 1, 7, ""),
            row(&topic, 9, -1, ""),
            row(&missing, 0, -1, ""),
        ];
        expected.sort();
        assert_eq!(fetch(version, &group, Some(asked)), (String::new(), expected), "v{version}");
        let mut expected: Fetched =
            [(&*topic, 0), (&topic, 1), (&topic, 9), (&missing, 0)].map(|(t, p)| row(t, p, -1, "")).into();
        expected.sort();
        assert_eq!(fetch(version, &nowhere, Some(asked)), (String::new(), expected), "v{version}");
        assert_eq!(fetch(version, &group, Some(&[])), (String::new(), vec![]), "v{version}");
        if version >= 2 {
            let all = vec![row(&topic, 0, 7, "m"), row(&topic, 1, 7, "")];
            assert_eq!(fetch(version, &group, None), (String::new(), all), "v{version}");
            assert_eq!(fetch(version, &nowhere, None), (String::new(), vec![]), "v{version}");
        }
    }
    for version in 8..=9 {
        let one: &[(&str, &[i32])] = &[(&topic, &[1])];
        let many = fetch_many(version, &[(&group, Some(one)), (&nowhere, None), (&group, None), ("", None)]);
        assert_eq!(
            many.iter().map(|(e, rows)| (e.as_str(), rows.len())).collect::<Vec<_>>(),
            [("", 1), ("", 0), ("", 2), ("", 0)]
        );
    }
}

#[test]
fn groups_without_members_are_listed_described_and_deleted() {
    let topic = topic("without", 1, &[]);
    let simple = group("without");
    assert_eq!(commit(&simple, ("", -1), 6, &topic, &[(0, "")]), [""]);
    let listed = |version: i16| {
        let answer = ask(&ListGroupsRequest::default(), version);
        answer.groups.into_iter().find(|g| g.group_id.as_str() == simple)
    };
    for version in 0..=5 {
        let found = listed(version).expect("the group");
        assert_eq!(found.protocol_type.as_str(), "");
        assert_eq!(found.group_state.as_str(), if version >= 4 { "Empty" } else { "" });
        assert_eq!(found.group_type.as_str(), if version >= 5 { "classic" } else { "" });
    }
    let describe = DescribeGroupsRequest::default().with_groups(vec![group_id(&simple), group_id("")]);
    for version in 0..=6 {
        let answer = ask(&describe, version);
        let by_name = |g: &str| answer.groups.iter().find(|d| d.group_id.as_str() == g).unwrap();
        let found = by_name(&simple);
        assert_eq!((found.error_code, found.group_state.as_str()), (0, "Empty"));
        assert_eq!((found.protocol_type.as_str(), found.protocol_data.as_str()), ("", ""));
        let nameless = by_name("");
        assert_eq!(name(nameless.error_code), if version >= 6 { "GroupIdNotFound" } else { "" });
        assert_eq!(nameless.group_state.as_str(), "Dead");
    }
    // It does not know who joins.
    let unknown = Join::new(&simple, 5).member("who").send();
    assert_eq!(name(unknown.error_code), "UnknownMemberId");
    let removed = ask(&OffsetDeleteRequest::default(), 0);
    assert_eq!((name(removed.error_code), removed.topics.len()), ("InvalidGroupId".to_string(), 0));
    for version in 0..=2 {
        let names = vec![group_id(&simple), group_id("")];
        let answer = ask(&DeleteGroupsRequest::default().with_groups_names(names), version);
        let code =
            |g: &str| name(answer.results.iter().find(|r| r.group_id.as_str() == g).unwrap().error_code);
        assert_eq!(code(""), "GroupIdNotFound");
        assert_eq!(code(&simple), if version == 0 { "" } else { "GroupIdNotFound" });
    }
    assert!(listed(5).is_none());
    assert_eq!(fetch(5, &simple, None), (String::new(), vec![]));
}
