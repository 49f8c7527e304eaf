"""kafka-broker-api-versions and kafka-get-offsets: what clients need is usable, offsets are where the records are."""

import re

CLIENT = "Kafka tools"
FEATURES = ["kafka-broker-api-versions", "kafka-get-offsets: earliest, latest"]
# What producers, consumers and Connect ask for first (Kafka's names, without versions).
NEEDED = """Produce Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup Heartbeat LeaveGroup
    SyncGroup ApiVersions CreateTopics DeleteTopics InitProducerId DescribeConfigs DescribeCluster""".split()


def run(case):
    api_versions(case)
    offsets(case)


def api_versions(case):
    lines = case.tool("BrokerApiVersionsCommand").splitlines()
    case.true(f"the broker is named: {lines[:1]}", lines[0].startswith(f"{case.broker.bootstrap} (id: 0 "))
    usable = {found.group(1) for line in lines if (found := re.match(r"\s+(\w+)\(\d+\): .*\[usable: \d+\]", line))}
    case.equal("APIs that the Java client cannot use", [], [name for name in NEEDED if name not in usable])


def offsets(case):
    topic = case.topic("counted", partitions=3)
    for partition, count in enumerate((0, 5, 12)):
        case.kcat.produce(topic, [(None, f"v{i}") for i in range(count)], "-p", partition)
    get = lambda time: case.tool("GetOffsetShell", "--topic-partitions", topic, "--time", time).splitlines()
    case.equal("latest", [f"{topic}:0:0", f"{topic}:1:5", f"{topic}:2:12"], sorted(get("latest")))
    case.equal("earliest", [f"{topic}:{p}:0" for p in range(3)], sorted(get("earliest")))
