//! Runs `testdata/*.txt`. A block is a command, `----`, and what came of it, up to an empty line. Requests name
//! themselves first (`join A …`), so that an answer, whenever it comes, reads `A <- …`. Words are `key=value`.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::super::*;
use super::rig::{Rig, subscription};

#[test]
fn scripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/coordinator/group/testdata");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 8, "scripts are missing in {folder}");
    let rewrite = std::env::var_os("REWRITE_SCRIPTS").is_some();
    let mut failed = Vec::new();
    for path in paths {
        let script = std::fs::read_to_string(&path).unwrap();
        let ran = run(&script);
        if rewrite {
            std::fs::write(&path, &ran).unwrap();
        } else if ran != script {
            let difference = script.lines().zip(ran.lines()).find(|(expected, got)| expected != got);
            failed.push(format!("{}: {difference:?}\n{ran}", path.display()));
        }
    }
    assert!(failed.is_empty(), "(expected, got):\n{}", failed.join("\n"));
}

/// The script with what really came of its commands.
fn run(script: &str) -> String {
    let mut runner = Runner { rig: Rig::new(GroupConfig::default()), names: BTreeMap::new() };
    let mut out = String::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(out, "{line}").unwrap();
            continue;
        }
        let expected: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert_eq!(expected.first(), Some(&"----"), "after {line:?}");
        let mut came = runner.command(line);
        if came.is_empty() {
            came.push("nothing".to_string());
        }
        writeln!(out, "{line}\n----\n{}\n", came.join("\n")).unwrap();
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

struct Runner {
    rig: Rig,
    names: BTreeMap<Token, String>,
}

/// The words of a command.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let mut words = Words { plain: Vec::new(), named: BTreeMap::new() };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) if !key.contains('/') => {
                    words.named.insert(key, value);
                }
                _ => words.plain.push(word),
            }
        }
        words
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.named.get(key).copied()
    }

    fn string(&self, key: &str, default: &str) -> String {
        self.get(key).unwrap_or(default).to_string()
    }

    fn number(&self, key: &str, default: i64) -> i64 {
        self.get(key).map_or(default, |value| value.parse().unwrap())
    }

    fn optional(&self, key: &str) -> Option<String> {
        self.get(key).map(str::to_string)
    }
}

impl Runner {
    fn command(&mut self, line: &str) -> Vec<String> {
        let words = Words::of(line);
        let now_ms = self.rig.now_ms;
        let group_id = words.string("group", "g");
        let (verb, rest) = words.plain.split_first().expect("a command has a verb");
        match *verb {
            "config" => {
                let config = &mut self.rig.config;
                config.group_size_max = words.number("group.max.size", config.group_size_max as i64) as usize;
                config.initial_rebalance_delay_ms =
                    words.number("delay", config.initial_rebalance_delay_ms.into()) as i32;
                config.group_metadata_bytes_max =
                    words.number("record.bytes", config.group_metadata_bytes_max as i64) as usize;
                self.rig.shard.reconfigure(self.rig.config.clone());
                Vec::new()
            }
            "clock" => self.clock(rest[0]),
            "reload" => {
                let outcome = self.rig.reload(rest == ["checkpoint"]);
                self.show(&outcome)
            }
            "postpone" => {
                let outcome = self.rig.shard.postpone_timers(rest[0].parse().unwrap());
                self.carry_out(outcome)
            }
            "unload" => {
                let outcome = self.rig.shard.unloaded(ResponseError::NotCoordinator);
                self.carry_out(outcome)
            }
            "expire" => {
                let outcome = self.rig.shard.expire_offsets(now_ms);
                self.carry_out(outcome)
            }
            "topic-deleted" => {
                let outcome = self.rig.shard.topic_deleted(now_ms, rest[0]);
                self.carry_out(outcome)
            }
            "marker" => {
                self.rig.marker(words.number("pid", 1), rest[0] == "commit");
                Vec::new()
            }
            "list" => {
                let asked = ListGroups {
                    states: words.get("state").map(str::to_string).into_iter().collect(),
                    types: words.get("type").map(str::to_string).into_iter().collect(),
                };
                let listed = self.rig.shard.list_groups(&asked);
                listed
                    .iter()
                    .map(|g| format!("{} {} {}", g.group_id, g.state.name(), or_dash(&g.protocol_type)))
                    .collect()
            }
            "describe" => self.describe(&group_id),
            "fetch" => self.fetch(&words, rest, group_id),
            _ => {
                let token = self.rig.token();
                self.names.insert(token, rest[0].to_string());
                let outcome = self.request(verb, token, &words, &rest[1..], group_id);
                self.carry_out(outcome)
            }
        }
    }

    fn request(
        &mut self,
        verb: &str,
        token: Token,
        words: &Words<'_>,
        rest: &[&str],
        group_id: String,
    ) -> Outcome {
        let now_ms = self.rig.now_ms;
        let member_id = words.string("member", "");
        let group_instance_id = words.optional("instance");
        let generation_id = words.number("gen", -1) as i32;
        match verb {
            "join" => {
                let version = words.number("v", 9);
                let protocol_type = words.string("type", "consumer");
                let client_id = words.string("client", "c");
                let request = JoinGroup {
                    group_id,
                    session_timeout_ms: words.number("session", 10_000) as i32,
                    rebalance_timeout_ms: words.number("rebalance", 60_000) as i32,
                    member_id,
                    group_instance_id: group_instance_id.clone(),
                    protocols: protocols(&protocol_type, words.get("protocols").unwrap_or("range:a")),
                    protocol_type,
                    client_id: client_id.clone(),
                    client_host: "/127.0.0.1".to_string(),
                    requires_known_member_id: version >= 4,
                    supports_skip_assignment: version >= 9,
                };
                let fresh = self.rig.fresh_member_id(&client_id, group_instance_id.as_deref());
                self.rig.shard.join_group(now_ms, token, &fresh, &request)
            }
            "sync" => {
                let request = SyncGroup {
                    group_id,
                    generation_id,
                    member_id,
                    group_instance_id,
                    protocol_type: words.optional("type"),
                    protocol_name: words.optional("protocol"),
                    assignments: pairs(words.get("assign").unwrap_or(""))
                        .map(|(id, assignment)| {
                            (id.to_string(), Bytes::copy_from_slice(assignment.as_bytes()))
                        })
                        .collect(),
                };
                self.rig.shard.sync_group(now_ms, token, &request)
            }
            "heartbeat" => {
                let request = Heartbeat { group_id, generation_id, member_id, group_instance_id };
                self.rig.shard.heartbeat(now_ms, token, &request)
            }
            "leave" => {
                let identity = |word: &&str| match word.split_once('@') {
                    Some((member_id, instance_id)) => MemberIdentity {
                        member_id: member_id.to_string(),
                        group_instance_id: Some(instance_id.to_string()),
                    },
                    None => MemberIdentity { member_id: word.to_string(), group_instance_id: None },
                };
                let request = LeaveGroup { group_id, members: rest.iter().map(identity).collect() };
                self.rig.shard.leave_group(now_ms, token, &request)
            }
            "commit" => {
                let request = OffsetCommit {
                    group_id,
                    generation_id,
                    member_id,
                    group_instance_id,
                    retention_time_ms: words.get("retention").map(|ms| ms.parse().unwrap()),
                    knows_group_id_not_found: words.number("v", 9) >= 9,
                    topics: commits(rest, words.optional("metadata")),
                };
                self.rig.shard.offset_commit(now_ms, token, &request)
            }
            "txn-commit" => {
                let request = TxnOffsetCommit {
                    group_id,
                    producer: ProducerIdAndEpoch { producer_id: words.number("pid", 1), producer_epoch: 0 },
                    generation_id,
                    member_id,
                    group_instance_id,
                    topics: commits(rest, None),
                };
                self.rig.shard.txn_offset_commit(now_ms, token, &request)
            }
            "delete-offsets" => {
                let topics = rest.iter().map(|word| {
                    let (topic, partition) = word.split_once('/').unwrap();
                    (topic.to_string(), vec![partition.parse().unwrap()])
                });
                let request = OffsetDelete { group_id, topics: topics.collect() };
                self.rig.shard.delete_offsets(now_ms, token, &request)
            }
            "delete-groups" => {
                let group_ids: Vec<String> = rest.iter().map(|word| word.to_string()).collect();
                self.rig.shard.delete_groups(now_ms, token, &group_ids)
            }
            _ => panic!("no command {verb}"),
        }
    }

    fn clock(&mut self, by: &str) -> Vec<String> {
        let until_ms = self.rig.now_ms + by.parse::<i64>().unwrap();
        let mut came = Vec::new();
        while let Some((key, outcome)) = self.rig.next_timer(until_ms) {
            came.push(format!("{}: {} fires", self.rig.now_ms, timer(&key)));
            came.extend(self.show(&outcome));
        }
        self.rig.now_ms = until_ms;
        came
    }

    fn carry_out(&mut self, outcome: Outcome) -> Vec<String> {
        self.rig.carry_out(&outcome);
        self.show(&outcome)
    }

    fn describe(&self, group_id: &str) -> Vec<String> {
        let group = self.rig.shard.describe_group(group_id);
        let mut came = vec![format!(
            "{} {} type={} protocol={}{}",
            group.group_id,
            group.state.name(),
            or_dash(&group.protocol_type),
            or_dash(&group.protocol_data),
            error(group.error),
        )];
        for member in group.members {
            came.push(format!(
                "  {}{} client={} host={} metadata={} assignment={}",
                member.member_id,
                instance(&member.group_instance_id),
                member.client_id,
                member.client_host,
                metadata(&member.metadata),
                text(&member.assignment),
            ));
        }
        came
    }

    fn fetch(&self, words: &Words<'_>, rest: &[&str], group_id: String) -> Vec<String> {
        let topics = (rest != ["all"]).then(|| {
            let one = |word: &&str| {
                let (topic, partition) = word.split_once('/').unwrap();
                (topic.to_string(), vec![partition.parse().unwrap()])
            };
            rest.iter().map(one).collect()
        });
        let request = OffsetFetch { group_id, topics, require_stable: words.get("stable") == Some("true") };
        let answer = self.rig.shard.offset_fetch(&request);
        let mut came = Vec::new();
        for (topic, offsets) in answer.topics {
            for fetched in offsets {
                came.push(format!(
                    "{topic}/{} offset={} epoch={} metadata={}{}",
                    fetched.partition,
                    fetched.offset,
                    fetched.leader_epoch,
                    or_dash(&fetched.metadata),
                    error(fetched.error)
                ));
            }
        }
        came
    }

    fn show(&self, outcome: &Outcome) -> Vec<String> {
        let transactional = if outcome.producer.is_some() { "pending " } else { "" };
        let records = outcome.records.iter().map(|r| format!("{transactional}{}", record(r)));
        let effects = outcome.effects.iter().map(|effect| match effect {
            Effect::Reply(token, response) => format!("{} <- {}", self.names[token], answer(response)),
            Effect::Schedule(key, at_ms) => format!("{} at {at_ms}", timer(key)),
            Effect::Cancel(key) => format!("{} cancelled", timer(key)),
        });
        records.chain(effects).collect()
    }
}

fn protocols(protocol_type: &str, words: &str) -> Vec<MemberProtocol> {
    let metadata = |value: &str| match protocol_type {
        "consumer" => subscription(&value.split('+').collect::<Vec<_>>()),
        _ => Bytes::copy_from_slice(value.as_bytes()),
    };
    pairs(words)
        .map(|(name, value)| MemberProtocol { name: name.to_string(), metadata: metadata(value) })
        .collect()
}

fn pairs(words: &str) -> impl Iterator<Item = (&str, &str)> {
    words.split(',').filter(|word| !word.is_empty()).map(|word| word.split_once(':').unwrap())
}

fn commits(rest: &[&str], metadata: Option<String>) -> Vec<(String, Vec<PartitionCommit>)> {
    let commit = |word: &&str| {
        let (place, offset) = word.split_once('=').unwrap();
        let (topic, partition) = place.split_once('/').unwrap();
        let commit = PartitionCommit {
            partition: partition.parse().unwrap(),
            offset: offset.parse().unwrap(),
            leader_epoch: 0,
            metadata: metadata.clone(),
        };
        (topic.to_string(), vec![commit])
    };
    rest.iter().map(commit).collect()
}

fn record(record: &GroupRecord) -> String {
    match record {
        GroupRecord::OffsetCommit { key, value: None } => {
            format!("tombstone {} {}/{}", key.group_id, key.topic, key.partition)
        }
        GroupRecord::OffsetCommit { key, value: Some(value) } => format!(
            "record {} {}/{} offset={} metadata={} at={}{}",
            key.group_id,
            key.topic,
            key.partition,
            value.offset,
            or_dash(&value.metadata),
            value.commit_timestamp_ms,
            value.expire_timestamp_ms.map_or(String::new(), |ms| format!(" expires={ms}")),
        ),
        GroupRecord::GroupMetadata { group_id, value: None } => format!("tombstone {group_id}"),
        GroupRecord::GroupMetadata { group_id, value: Some(value) } => {
            let members: Vec<String> = value
                .members
                .iter()
                .map(|m| {
                    format!(" {}{}={}", m.member_id, instance(&m.group_instance_id), text(&m.assignment))
                })
                .collect();
            format!(
                "record {group_id} generation={} type={} protocol={} leader={} since={} members:{}",
                value.generation_id,
                or_dash(&value.protocol_type),
                value.protocol_name.as_deref().unwrap_or("-"),
                value.leader.as_deref().unwrap_or("-"),
                value.current_state_timestamp_ms,
                members.concat()
            )
        }
    }
}

fn answer(response: &GroupResponse) -> String {
    match response {
        GroupResponse::JoinGroup(JoinGroupAnswer { error: Some(error), member_id, .. }) => {
            format!("{error:?} member={}", or_dash(member_id))
        }
        GroupResponse::JoinGroup(answer) => {
            let members: Vec<String> = answer
                .members
                .iter()
                .map(|m| {
                    format!(" {}{}({})", m.member_id, instance(&m.group_instance_id), metadata(&m.metadata))
                })
                .collect();
            format!(
                "generation={} protocol={} leader={} member={}{}{}",
                answer.generation_id,
                answer.protocol_name.as_deref().unwrap_or("-"),
                answer.leader,
                answer.member_id,
                if answer.skip_assignment { " skip-assignment" } else { "" },
                if members.is_empty() { String::new() } else { format!(" members:{}", members.concat()) },
            )
        }
        GroupResponse::SyncGroup(SyncGroupAnswer { error: Some(error), .. }) => format!("{error:?}"),
        GroupResponse::SyncGroup(answer) => format!("assignment={}", text(&answer.assignment)),
        GroupResponse::Heartbeat(result) => result.map_or("ok".to_string(), |error| format!("{error:?}")),
        GroupResponse::LeaveGroup(LeaveGroupAnswer { error: Some(error), .. }) => format!("{error:?}"),
        GroupResponse::LeaveGroup(answer) => {
            let one = |(id, result): &(MemberIdentity, Option<ResponseError>)| {
                format!("{}{}:{}", id.member_id, instance(&id.group_instance_id), result_name(*result))
            };
            answer.members.iter().map(one).collect::<Vec<_>>().join(" ")
        }
        GroupResponse::OffsetCommit(answer) => by_partition(&answer.topics),
        GroupResponse::OffsetDelete(OffsetDeleteAnswer { error: Some(error), .. }) => format!("{error:?}"),
        GroupResponse::OffsetDelete(answer) => by_partition(&answer.topics),
        GroupResponse::DeleteGroups(deleted) => {
            let one = |group: &DeletedGroup| format!("{}:{}", group.group_id, result_name(group.error));
            deleted.iter().map(one).collect::<Vec<_>>().join(" ")
        }
    }
}

fn by_partition(topics: &[(String, PartitionResults)]) -> String {
    let mut shown = Vec::new();
    for (topic, partitions) in topics {
        for (partition, result) in partitions {
            shown.push(format!("{topic}/{partition}:{}", result_name(*result)));
        }
    }
    shown.join(" ")
}

fn timer(key: &TimerKey) -> String {
    match key {
        TimerKey::Session { member_id, .. } => format!("session of {member_id}"),
        TimerKey::Join { .. } => "join timer".to_string(),
        TimerKey::Sync { .. } => "sync timer".to_string(),
    }
}

fn result_name(error: Option<ResponseError>) -> String {
    error.map_or("ok".to_string(), |error| format!("{error:?}"))
}

fn error(error: Option<ResponseError>) -> String {
    error.map_or(String::new(), |error| format!(" {error:?}"))
}

fn instance(group_instance_id: &Option<String>) -> String {
    group_instance_id.as_ref().map_or(String::new(), |id| format!("@{id}"))
}

fn or_dash(s: &str) -> &str {
    if s.is_empty() { "-" } else { s }
}

fn text(bytes: &Bytes) -> String {
    or_dash(&String::from_utf8_lossy(bytes)).to_string()
}

/// Topics of a subscription, or the bytes as text.
fn metadata(bytes: &Bytes) -> String {
    match super::super::subscription::topics(bytes) {
        Ok(topics) => topics.join("+"),
        Err(_) => text(bytes),
    }
}
