"""kcat: the metadata listing names the broker, its advertised address, topics, partitions, leaders; nothing unasked."""

import json

from rig.broker import NODE_ID

CLIENT = "kcat (librdkafka)"
FEATURES = ["brokers, topics, partitions; topics made by naming them"]


def run(case):
    case.topic("one")
    case.topic("seven", partitions=7)
    listing = json.loads(case.kcat.run("-L", "-J").stdout)
    case.equal("brokers", [{"id": NODE_ID, "name": case.broker.bootstrap}], listing["brokers"])
    found = {topic["topic"]: topic["partitions"] for topic in listing["topics"] if not topic["topic"].startswith("__")}
    case.equal("topics", ["one", "seven"], sorted(found))
    for topic, count in (("one", 1), ("seven", 7)):
        partitions = sorted(found[topic], key=lambda p: p["partition"])
        expected = [
            {"partition": i, "leader": NODE_ID, "replicas": [{"id": NODE_ID}], "isrs": [{"id": NODE_ID}]} for i in range(count)
        ]
        case.equal(f"partitions of {topic}", expected, partitions)

    # A consumer never creates a topic (librdkafka: allow.auto.create.topics=false).
    missing = case.kcat.run("-C", "-e", "-t", "missing", codes=(1,))
    case.true(f"unknown topic is said: {missing.stderr}", "Unknown topic" in missing.stderr)
    listing = json.loads(case.kcat.run("-L", "-J").stdout)
    case.true("the missing topic was not created", "missing" not in {t["topic"] for t in listing["topics"]})

    # A produce request to an unknown topic does create it (auto.create.topics.enable).
    case.kcat.produce("made-by-produce", [("k", "v")])
    case.equal("record", [("k", "v")], [(r.key, r.value) for r in case.kcat.consume("made-by-produce")])
