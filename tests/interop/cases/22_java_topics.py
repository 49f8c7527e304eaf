"""kafka-topics: create, list, describe with configs, add nothing twice, delete; a topic of the same name starts anew."""

import re

CLIENT = "Kafka tools"
FEATURES = ["kafka-topics: create, list, describe, delete"]


def run(case):
    create = ["--create", "--topic", "orders", "--partitions", 3, "--replication-factor", 1]
    case.tool("TopicCommand", *create, "--config", "retention.ms=3600000", "--config", "cleanup.policy=compact")
    case.tool("TopicCommand", "--create", "--topic", "plain")
    again = fails(case, *create)
    case.true(f"creating it again says it exists: {again}", "already exists" in again)

    case.equal("topics", ["orders", "plain"], listed(case))

    described = case.tool("TopicCommand", "--describe", "--topic", "orders").splitlines()
    summary = dict(re.findall(r"(\w+): ?(\S*)", described[0]))
    case.equal("partitions", "3", summary["PartitionCount"])
    case.equal("replication factor", "1", summary["ReplicationFactor"])
    configs = set(summary["Configs"].split(","))
    case.true(f"configs {configs}", {"retention.ms=3600000", "cleanup.policy=compact"} <= configs)
    leaders = [re.search(r"Partition: (\d+)\s+Leader: (\d+)\s+Replicas: (\S+)\s+Isr: (\S+)", line) for line in described[1:]]
    case.equal("partitions' leader, replicas, isr", [(str(i), "0", "0", "0") for i in range(3)], [m.groups() for m in leaders])

    missing = fails(case, "--describe", "--topic", "missing")
    case.true(f"a missing topic is said: {missing}", "does not exist" in missing)

    case.kcat.produce("plain", [("k", "old")])
    case.tool("TopicCommand", "--delete", "--topic", "plain")
    case.equal("topics after the deletion", ["orders"], listed(case))
    case.tool("TopicCommand", "--create", "--topic", "plain")
    case.kcat.produce("plain", [("k", "new")])
    case.equal("records of the new topic", [(0, "new")], [(r.offset, r.value) for r in case.kcat.consume("plain", partition=0)])


def listed(case):
    return sorted(name for name in case.tool("TopicCommand", "--list").splitlines() if not name.startswith("__"))


def fails(case, *args):
    """What the tool says when it ends with exit code 1."""
    return case.tool("TopicCommand", *args, codes=(1,))
