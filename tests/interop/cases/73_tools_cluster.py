"""Tools on the cluster: its id, endpoints, API versions, feature levels, quorum, producers; refusals."""

import re
import time

CLIENT = "Kafka tools"
FEATURES = [
    "kafka-cluster: id, endpoints, unregister",
    "kafka-features: describe, upgrade",
    "kafka-metadata-quorum: status, replication",
    "kafka-transactions: describe-producers",
]
CLUSTER, FEATURE, QUORUM, TRANSACTIONS = "ClusterTool", "FeatureCommand", "MetadataQuorumCommand", "TransactionsCommand"


def run(case):
    identity(case)
    features(case)
    quorum(case)
    producers(case)


def cluster(case, subcommand, *args):
    return case.tool(CLUSTER, subcommand, "--bootstrap-server", case.broker.bootstrap, *args)


def cluster_id(case):
    said = cluster(case, "cluster-id")
    found = re.fullmatch(r"Cluster ID: ([\w-]{22})\n", said)
    case.true(f"an id: {said!r}", found)
    return found.group(1)


def identity(case):
    before = cluster_id(case)
    host, port = case.broker.bootstrap.split(":")
    head, *rows = [line.split() for line in cluster(case, "list-endpoints").splitlines()]
    case.equal("head", ["ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE"], head)
    case.equal("endpoints", [["0", host, port, "null", "unfenced", "broker"]], rows)
    said = case.refused(CLUSTER, "unregister", "--bootstrap-server", case.broker.bootstrap, "--id", 7)
    case.true(f"an unknown broker is not unregistered: {said}", "BrokerIdNotRegisteredException" in said)

    case.broker.kill()
    case.broker.start()
    case.equal("the id after the broker's end", before, cluster_id(case))

    lines = case.tool("BrokerApiVersionsCommand").splitlines()
    unknown = [line for line in lines if "UNKNOWN" in line]
    case.equal("APIs that the tool does not know", [], unknown)


def features(case):
    pattern = r"Feature: (\S+)\s+SupportedMinVersion: (\S+)\s+SupportedMaxVersion: (\S+)\s+FinalizedVersionLevel: (\S+)\s+Epoch: (\d+)"
    lines = case.tool(FEATURE, "describe").splitlines()
    case.true(f"every line is a feature: {lines}", lines and all(re.fullmatch(pattern, line.strip()) for line in lines))
    found = {name: levels for name, *levels in re.findall(pattern, "\n".join(lines))}
    case.true(f"metadata.version is one: {sorted(found)}", "metadata.version" in found)
    epochs = {levels[-1] for levels in found.values()}
    case.equal("one epoch", 1, len(epochs))
    for name, (low, high, level, _) in found.items():
        if all(word.isdigit() for word in (low, high, level)):
            case.true(f"{name}: {low} <= {level} <= {high}", level == "0" or int(low) <= int(level) <= int(high))

    said = case.tool(FEATURE, "upgrade", "--feature", "no.such=2", codes=(1,))
    case.true(f"an unknown feature: {said}", "Could not upgrade no.such to 2." in said)
    name, level = next((name, levels[2]) for name, levels in found.items() if levels[2].isdigit() and levels[2] != "0")
    said = case.tool(FEATURE, "upgrade", "--feature", f"{name}={level}", "--dry-run")
    case.equal("a dry run", f"{name} can be upgraded to {level}.\n", said)
    again = {name: levels[:3] for name, *levels in re.findall(pattern, case.tool(FEATURE, "describe"))}
    case.equal("levels after it", {name: levels[:3] for name, levels in found.items()}, again)


def quorum(case):
    status = lambda: dict(re.findall(r"(\w+):\s+(.*)", case.tool(QUORUM, "describe", "--status")))
    before = status()
    case.equal("cluster id", cluster_id(case), before["ClusterId"])
    case.equal("leader", "0", before["LeaderId"])
    case.equal("lag", "0", before["MaxFollowerLag"])
    case.true(f"voters: {before['CurrentVoters']}", re.search(r'"?id"?: 0|^\[0\]$', before["CurrentVoters"]))
    case.topic("one-more")
    after = status()
    case.true(f"a topic moves the high watermark: {before}, {after}", int(before["HighWatermark"]) < int(after["HighWatermark"]))

    head, *rows = case.tool(QUORUM, "describe", "--replication").splitlines()
    case.equal("columns", ["NodeId", "DirectoryId", "LogEndOffset", "Lag", "LastFetchTimestamp", "LastCaughtUpTimestamp", "Status"], head.split())
    case.equal("replicas", 1, len(rows))
    node, _, end, lag, fetched, caught_up, role = rows[0].split()
    case.equal("node, lag, status", ["0", "0", "Leader"], [node, lag, role])
    case.true(f"end {end}", int(end) >= int(after["HighWatermark"]))
    now = time.time() * 1000
    case.true(f"times {fetched} {caught_up}", all(abs(int(stamp) - now) < 60_000 for stamp in (fetched, caught_up)))


def producers(case):
    """One idempotent producer is shown with its last sequence; nothing is a transaction."""
    topic = case.topic("produced")
    describe = lambda: [line.split() for line in case.tool(TRANSACTIONS, "describe-producers", "--topic", topic, "--partition", 0).splitlines()]
    head = ["ProducerId", "ProducerEpoch", "LatestCoordinatorEpoch", "LastSequence", "LastTimestamp", "CurrentTransactionStartOffset"]
    case.equal("nobody", [head], describe())
    case.kcat.produce(topic, [(None, f"v{i}") for i in range(7)], "-X", "enable.idempotence=true")
    (batch,) = {batch.producer_id for batch in case.batches(topic)}
    stamp = str(max(batch.max_timestamp for batch in case.batches(topic)))
    case.equal("the producer", [head, [str(batch), "0", "-1", "6", stamp, "None"]], describe())
    case.broker.kill()
    case.broker.start()
    case.equal("the producer after the broker's end", [head, [str(batch), "0", "-1", "6", stamp, "None"]], describe())
