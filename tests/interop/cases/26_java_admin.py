"""Admin tools: features, quotas, reassignments verified, elections, quorum, log directories, producers, groups deleted.

What kafka-features, kafka-configs, kafka-reassign-partitions, kafka-leader-election, kafka-metadata-quorum, kafka-log-dirs,
kafka-transactions and kafka-consumer-groups read of the answers, after a restart too.
"""

import json
import re


def run(case):
    topic = case.topic("admin", partitions=2)
    case.kcat.produce(topic, [("k", "v")], "-p", 0, "-X", "enable.idempotence=true")
    features(case)
    node = cluster(case)
    reassign(case, topic, node)
    quotas(case)
    groups(case, topic)
    case.broker.kill()
    case.broker.start()
    verified(case, topic, node)
    described_quotas(case)


def features(case):
    said = case.tool("FeatureCommand", "describe")
    level = re.search(r"metadata.version\s.*FinalizedVersionLevel: (\S+)\s+Epoch: (\d+)", said)
    case.true(f"a known metadata.version and an epoch: {said}", level and not level[1].startswith("UNKNOWN"))
    refused = case.tool("FeatureCommand", "upgrade", "--feature", "no.such.feature=1", codes=(1,))
    case.true(f"an unknown feature is refused: {refused}", "does not support this feature" in refused)


def cluster(case):
    quorum = case.tool("MetadataQuorumCommand", "describe", "--status")
    node = int(re.search(r"LeaderId:\s+(\d+)", quorum)[1])
    case.true(f"one voter that follows itself: {quorum}", f'"id": {node}' in quorum and "MaxFollowerLag:         0" in quorum)
    case.tool("MetadataQuorumCommand", "describe", "--replication")
    elected = case.tool("LeaderElectionCommand", "--election-type", "preferred", "--all-topic-partitions")
    case.true(f"nothing to elect: {elected}", "Successfully completed" not in elected and "rror" not in elected)
    return node


def reassign(case, topic, node):
    plan = {"version": 1, "partitions": [{"topic": topic, "partition": p, "replicas": [node]} for p in (0, 1)]}
    with open(case.path("plan.json"), "w") as file:
        json.dump(plan, file)
    case.tool("reassign.ReassignPartitionsCommand", "--reassignment-json-file", case.path("plan.json"), "--execute")
    verified(case, topic, node)
    listed = case.tool("reassign.ReassignPartitionsCommand", "--list")
    case.true(f"none in progress: {listed}", "No partition reassignments found" in listed)

    sizes = case.tool("LogDirsCommand", "--describe", "--topic-list", topic)
    described = json.loads(sizes.splitlines()[-1])["brokers"][0]["logDirs"][0]
    by_partition = {p["partition"]: p["size"] for p in described["partitions"]}
    case.true(f"sizes {by_partition}", by_partition[f"{topic}-0"] > 0 and by_partition[f"{topic}-1"] == 0)
    producers = case.tool("TransactionsCommand", "describe-producers", "--topic", topic, "--partition", 0)
    case.true(f"one producer: {producers}", len(producers.splitlines()) == 2)


def verified(case, topic, node):
    plan = case.path("plan.json")
    said = case.tool(
        "reassign.ReassignPartitionsCommand", "--reassignment-json-file", plan, "--verify", "--preserve-throttles"
    )
    for partition in (0, 1):
        expected = f"Reassignment of partition {topic}-{partition} is completed."
        case.true(f"{expected} in {said}", expected in said)


def quotas(case):
    case.tool(
        "kafka.admin.ConfigCommand", "--alter", "--add-config", "producer_byte_rate=1024", "--entity-type", "clients",
        "--entity-name", "c1",
    )  # fmt: skip
    described_quotas(case)


def described_quotas(case):
    said = case.tool("kafka.admin.ConfigCommand", "--describe", "--entity-type", "clients")
    case.true(f"the quota is told: {said}", "client-id 'c1' are producer_byte_rate=1024.0" in said)


def groups(case, topic):
    case.tool(
        "consumer.group.ConsumerGroupCommand", "--group", "g", "--topic", topic, "--reset-offsets", "--to-latest", "--execute"
    )
    listed = case.tool("consumer.group.ConsumerGroupCommand", "--list", "--state")
    case.true(f"listed as empty: {listed}", re.search(r"^g\s+Empty", listed, re.M))
    described = case.tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", "g")
    case.true(f"described: {described}", re.search(rf"^g\s+{topic}\s+0\s+1\s+1\s+0", described, re.M))
    case.tool("consumer.group.ConsumerGroupCommand", "--delete-offsets", "--group", "g", "--topic", f"{topic}:0")
    deleted = case.tool("consumer.group.ConsumerGroupCommand", "--delete", "--group", "g")
    case.true(f"deleted: {deleted}", "was successful" in deleted)
    case.true("gone", "g" not in case.tool("consumer.group.ConsumerGroupCommand", "--list").split())
