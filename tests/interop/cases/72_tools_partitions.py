"""Tools on partitions: more of them, offsets of every kind, deleted records, sizes, leaders, reassignments; refusals."""

import json
import re

CLIENT = "Kafka tools"
FEATURES = [
    "kafka-topics: more partitions, manual assignment",
    "kafka-get-offsets: every kind",
    "kafka-delete-records",
    "kafka-log-dirs",
    "kafka-leader-election",
    "kafka-reassign-partitions: generate, execute, verify, list, cancel",
]
DELETE, ELECT, LOG_DIRS, OFFSETS = "DeleteRecordsCommand", "LeaderElectionCommand", "LogDirsCommand", "GetOffsetShell"
REASSIGN = "reassign.ReassignPartitionsCommand"


def run(case):
    creation(case)
    topic = case.topic("parts", partitions=2)
    more_partitions(case, topic)
    offsets(case, topic)
    delete_records(case, topic)
    sizes(case, topic)
    elections(case, topic)
    reassignments(case, topic)


def says(case, expected, main_class, *args):
    said = case.refused(main_class, *args)
    case.true(f"{main_class} {args} is refused with {expected}: {said}", expected in said)


def json_file(case, name, content):
    path = case.path(name + ".json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(content, f)
    return path


def creation(case):
    create = ["--create", "--topic"]
    for args, expected in (
        ([*create, "bad/name"], "InvalidTopicException"),
        ([*create, "odd", "--config", "no.such=1"], "InvalidConfigurationException: Unknown topic config name: no.such"),
    ):
        says(case, expected, "TopicCommand", *args)
    if case.broker.counts_replicas:
        says(case, "InvalidReplicationFactorException", "TopicCommand", *create, "three", "--replication-factor", 3)
    case.tool("TopicCommand", *create, "assigned", "--replica-assignment", "0,0,0")
    case.equal("partitions as assigned", 3, len(partitions(case, "assigned")))
    case.tool("TopicCommand", *create, "assigned", "--if-not-exists")
    case.tool("TopicCommand", "--delete", "--topic", "missing", "--if-exists")
    case.tool("TopicCommand", "--delete", "--topic", "assigned")
    case.equal("topics", [], case.tool("TopicCommand", "--list", "--exclude-internal").split())


def partitions(case, topic):
    """(partition, leader, replicas, isr)"""
    lines = case.tool("TopicCommand", "--describe", "--topic", topic).splitlines()[1:]
    return [re.search(r"Partition: (\d+)\s+Leader: (\d+)\s+Replicas: (\S+)\s+Isr: (\S+)", line).groups() for line in lines]


def more_partitions(case, topic):
    alter = ["--alter", "--topic", topic, "--partitions"]
    case.tool("TopicCommand", *alter, 4)
    case.equal("partitions", [(str(p), "0", "0", "0") for p in range(4)], partitions(case, topic))
    says(case, f"The topic {topic} currently has 4 partition(s); 3 would not be an increase.", "TopicCommand", *alter, 3)
    says(case, "Topic already has 4 partition(s).", "TopicCommand", *alter, 4)
    says(case, "'missing' does not exist", "TopicCommand", "--alter", "--topic", "missing", "--partitions", 4)
    for what in ("under-replicated", "unavailable", "under-min-isr"):
        case.equal(f"{what} partitions", "", case.tool("TopicCommand", "--describe", f"--{what}-partitions").strip())


def offsets(case, topic):
    for i in range(10):  # one batch each: the one with the largest timestamp is not the last
        case.kcat.produce(topic, [(None, f"v{i}")], "-p", 0)
    case.kcat.produce(topic, [(None, f"v{i}") for i in range(4)], "-p", 3)
    stamps = [r.timestamp for r in case.kcat.consume(topic, partition=0)]
    shown = lambda *args: dict(line.rsplit(":", 1) for line in case.tool(OFFSETS, *args).splitlines() if line)
    at = lambda *pairs: {f"{topic}:{p}": str(offset) for p, offset in pairs}
    case.equal("latest", at((0, 10), (1, 0), (2, 0), (3, 4)), shown("--topic", topic))
    case.equal("earliest", at((0, 0), (1, 0), (2, 0), (3, 0)), shown("--topic", topic, "--time", "earliest"))
    case.equal("of partitions 1 to 3", at((1, 0), (2, 0), (3, 4)), shown("--topic-partitions", f"{topic}:1-4", "--time", -1))
    case.equal("of the largest timestamp", str(stamps.index(max(stamps))), shown("--topic", topic, "--time", "max-timestamp")[f"{topic}:0"])
    # The first record that is not older.
    for moment in (stamps[0], stamps[6], stamps[6] - 1):
        first = next(i for i, stamp in enumerate(stamps) if stamp >= moment)
        case.equal(f"at {moment}", at((0, first)), shown("--topic-partitions", f"{topic}:0", "--time", moment))
    case.equal("in the future", {}, shown("--topic-partitions", f"{topic}:0", "--time", stamps[-1] + 10**9))
    case.equal("of all topics", at((0, 10), (1, 0), (2, 0), (3, 4)), shown("--exclude-internal-topics"))
    case.equal("local", at((0, 0), (1, 0), (2, 0), (3, 0)), shown("--topic", topic, "--time", "earliest-local"))
    says(case, "Could not match any topic-partitions", OFFSETS, "--topic", "missing")


def delete_records(case, topic):
    def delete(*pairs):
        places = [{"topic": topic, "partition": p, "offset": offset} for p, offset in pairs]
        path = json_file(case, "delete", {"version": 1, "partitions": places})
        lines = case.tool(DELETE, "--offset-json-file", path).splitlines()
        return dict(re.findall(rf"partition: {topic}-(\d+)\t(.+)", "\n".join(lines)))

    case.equal("low watermarks", {"0": "low_watermark: 3", "1": "low_watermark: 0"}, delete((0, 3), (1, -1)))
    case.equal("what is left", [f"v{i}" for i in range(3, 10)], [r.value for r in case.kcat.consume(topic, partition=0)])
    earliest = lambda p: case.tool(OFFSETS, "--topic-partitions", f"{topic}:{p}", "--time", "earliest").strip()
    case.equal("earliest", f"{topic}:0:3", earliest(0))
    case.equal("below what is left: nothing to do", {"0": "low_watermark: 3"}, delete((0, 1)))
    found = delete((0, 99))["0"]
    case.true(f"beyond the end: {found}", "OffsetOutOfRangeException" in found)
    case.equal("to the end", {"3": "low_watermark: 4"}, delete((3, -1)))
    case.equal("nothing is left", [], case.kcat.consume(topic, partition=3))
    if case.broker.deletions_survive_kill:
        case.broker.kill()
    else:
        case.broker.stop()
    case.broker.start()
    case.equal("earliest after the broker's end", [f"{topic}:0:3", f"{topic}:3:4"], [earliest(0), earliest(3)])
    case.kcat.produce(topic, [(None, "next")], "-p", 3)
    case.equal("the next record", [(4, "next")], [(r.offset, r.value) for r in case.kcat.consume(topic, partition=3)])


def sizes(case, topic):
    large = case.topic("large")
    case.kcat.produce(large, [(None, "x" * 200_000) for _ in range(5)])
    out = case.tool(LOG_DIRS, "--describe", "--topic-list", f"{topic},{large}")
    (broker,) = json.loads(out.splitlines()[-1])["brokers"]
    case.equal("broker", 0, broker["broker"])
    case.equal("errors", [None], [directory["error"] for directory in broker["logDirs"]])
    found = {p["partition"]: p for directory in broker["logDirs"] for p in directory["partitions"]}
    case.equal("partitions", sorted([f"{topic}-{p}" for p in range(4)] + [f"{large}-0"]), sorted(found))
    case.equal("lags", {(0, False)}, {(p["offsetLag"], p["isFuture"]) for p in found.values()})
    case.true(f"size of what is large: {found[f'{large}-0']}", 1_000_000 <= found[f"{large}-0"]["size"] < 1_010_000)
    case.equal("size of what is empty", 0, found[f"{topic}-1"]["size"])
    says(case, "do not exist from --broker-list: 3", LOG_DIRS, "--describe", "--broker-list", "0,3")


def elections(case, topic):
    case.tool(ELECT, "--election-type", "preferred", "--all-topic-partitions")
    said = case.tool(ELECT, "--election-type", "preferred", "--topic", topic, "--partition", 1)
    case.equal("preferred", f"Valid replica already elected for partitions {topic}-1\n", said)
    path = json_file(case, "elect", {"partitions": [{"topic": topic, "partition": 2}]})
    said = case.tool(ELECT, "--election-type", "unclean", "--path-to-json-file", path)
    case.equal("unclean", f"Valid replica already elected for partitions {topic}-2\n", said)
    says(case, "UnknownTopicOrPartitionException", ELECT, "--election-type", "preferred", "--topic", "missing", "--partition", 0)


def reassignments(case, topic):
    path = json_file(case, "topics", {"version": 1, "topics": [{"topic": topic}]})
    out = case.tool(REASSIGN, "--generate", "--topics-to-move-json-file", path, "--broker-list", "0")
    current, proposed = (json.loads(line) for line in out.splitlines() if line.startswith("{"))
    places = lambda plan: [(p["partition"], p["replicas"]) for p in plan["partitions"]]
    case.equal("current and proposed", [[(p, [0]) for p in range(4)]] * 2, [places(current), places(proposed)])

    plan = ["--reassignment-json-file", json_file(case, "plan", proposed)]
    out = case.tool(REASSIGN, "--execute", *plan)
    case.true(f"started: {out}", f"Successfully started partition reassignments for {topic}-0" in out)
    completed = [f"Reassignment of partition {topic}-{p} is completed." for p in range(4)]
    case.equal("completed", completed, [line for line in case.tool(REASSIGN, "--verify", *plan).splitlines() if " is " in line])
    case.equal("in progress", "No partition reassignments found.", case.tool(REASSIGN, "--list").strip())
    out = case.tool(REASSIGN, "--cancel", *plan)
    case.true(f"nothing to cancel: {out}", "None of the specified partition reassignments are active." in out)
    case.equal("partitions", [(str(p), "0", "0", "0") for p in range(4)], partitions(case, topic))

    proposed["partitions"][0]["replicas"], proposed["partitions"][0]["log_dirs"] = [9], ["any"]
    wrong = json_file(case, "wrong", proposed)
    says(case, "Unknown broker id 9", REASSIGN, "--execute", "--reassignment-json-file", wrong)
