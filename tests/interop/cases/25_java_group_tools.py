"""kafka-consumer-groups and kafka-groups: list, describe, reset-offsets, delete-offsets, delete; refusals of a live group."""

import datetime
import time

CLIENT = "Kafka tools"
FEATURES = ["kafka-consumer-groups: list, describe, reset and delete offsets, delete", "kafka-groups: list"]
GROUP, TOPIC, OTHER = "readers", "read", "read-too"
STORAGES = ("minio",)  # nothing here depends on the store; it is the slower one


def run(case):
    for topic in (TOPIC, OTHER):
        case.topic(topic, partitions=2)
        produce(case, topic, 10)
    member = case.kcat.consume_in_background(
        GROUP, TOPIC, case.path("member"), OTHER, "-X", "client.id=member", "-X", "auto.commit.interval.ms=100"
    )
    case.wait_until("everything is read", lambda: len(member.stdout().splitlines()) == 40)
    live(case)
    case.equal("exit code of the member", 0, member.terminate())
    empty(case)
    reset(case)
    delete(case)


def produce(case, topic, count):
    for partition in (0, 1):
        case.kcat.produce(topic, [(None, f"value {i}") for i in range(count)], "-p", partition)


def groups(case, *args, **kwargs):
    return case.table("consumer.group.ConsumerGroupCommand", *args, **kwargs)


def live(case):
    case.equal("groups", [[GROUP]], groups(case, "--list"))
    case.equal("their states", [[GROUP, "Stable"]], groups(case, "--list", "--state"))
    case.equal("their types", [[GROUP, "Classic"]], groups(case, "--list", "--type"))
    case.equal("empty groups", [], groups(case, "--list", "--state", "Empty"))
    case.equal("all groups", [[GROUP, "Classic", "consumer"]], case.table("GroupsCommand", "--list"))
    case.equal("consumer groups", [], case.table("GroupsCommand", "--list", "--group-type", "consumer"))

    members = groups(case, "--describe", "--group", GROUP, "--members", "--verbose")
    case.equal("members", 1, len(members))
    group, member_id, host, client_id, partitions, *assigned = members[0]
    case.equal("member", [GROUP, "/127.0.0.1", "member", "4"], [group, host, client_id, partitions])
    case.true(f"member id {member_id}", member_id.startswith("member-"))
    case.equal("assignment", ["-", f"{OTHER}:0,1;{TOPIC}:0,1", "-", "-"], [assigned[0], sorted_assignment(assigned[1]), *assigned[2:]])

    state = [[GROUP, case.broker.bootstrap, "(0)", "range", "Stable", "1"]]
    case.equal("state", state, groups(case, "--describe", "--group", GROUP, "--state"))
    place = lambda topic, p: [GROUP, topic, p, "10", "10", "0", member_id, "/127.0.0.1", "member"]
    offsets = [place(topic, p) for topic in (TOPIC, OTHER) for p in "01"]
    # The last commit may be on its way still.
    case.wait_until("offsets", lambda: sorted(groups(case, "--describe", "--all-groups", "--offsets")) == sorted(offsets))

    said = case.tool("consumer.group.ConsumerGroupCommand", "--reset-offsets", "--group", GROUP, "--to-earliest", "--all-topics", "--execute")
    case.true(f"no reset of a live group: {said}", "inactive, but the current state is Stable" in said)
    said = case.tool("consumer.group.ConsumerGroupCommand", "--delete", "--group", GROUP)
    case.true(f"no deletion of a live group: {said}", "GroupNotEmptyException" in said)
    said = case.tool("consumer.group.ConsumerGroupCommand", "--delete-offsets", "--group", GROUP, "--topic", TOPIC)
    case.equal(f"partitions whose offsets are in use ({said})", 2, said.count("GroupSubscribedToTopicException"))


def sorted_assignment(text):
    """The tool prints topics in the order of a hash set; between them is ';'."""
    return ";".join(sorted(text.split(";")))


def empty(case):
    case.equal("state", [[GROUP, "Empty"]], groups(case, "--list", "--state", "Empty"))
    place = lambda topic, p: [GROUP, topic, p, "10", "10", "0", "-", "-", "-"]
    case.equal("offsets without members", sorted(place(t, p) for t in (TOPIC, OTHER) for p in "01"), described(case))


def described(case):
    return sorted(row for row in groups(case, "--describe", "--group", GROUP) if row[0] == GROUP)


def reset(case):
    before = int(time.time() * 1000) + 5
    case.wait_until("a later millisecond", lambda: time.time() * 1000 > before + 5)
    produce(case, TOPIC, 5)
    moment = datetime.datetime.fromtimestamp(before / 1000, datetime.timezone.utc).isoformat(timespec="milliseconds")
    both = ["--topic", TOPIC]
    for args, expected in (
        ([*both, "--to-earliest"], [0, 0]),
        ([*both, "--to-offset", 4], [4, 4]),
        ([f"--topic={TOPIC}:1", "--shift-by", 7], [4, 11]),
        ([*both, "--shift-by", -5], [0, 6]),
        ([*both, "--to-datetime", moment.replace("+00:00", "Z")], [10, 10]),
        ([*both, "--to-latest"], [15, 15]),
        ([*both, "--to-offset", 99], [15, 15]),
    ):
        shown = groups(case, "--reset-offsets", "--group", GROUP, *args, "--execute")
        shown = sorted(row for row in shown if row[0] == GROUP)
        wanted = [[GROUP, TOPIC, str(p), str(offset)] for p, offset in enumerate(expected)]
        case.equal(f"offsets by {args}", [row for row in wanted if len(shown) == 2 or row[2] == "1"], shown)
        if args[-1] in (-5, 99):
            committed = [[*row, "15", str(15 - int(row[3])), "-", "-", "-"] for row in wanted]
            case.equal(f"offsets after {args}", committed, [row for row in described(case) if row[1] == TOPIC])

    dry = groups(case, "--reset-offsets", "--group", GROUP, *both, "--to-earliest", "--dry-run")
    case.equal("offsets of a dry run", [[GROUP, TOPIC, p, "0"] for p in "01"], sorted(dry))
    case.equal("offsets after it", ["15", "15"], [row[3] for row in described(case) if row[1] == TOPIC])
    anew = groups(case, "--reset-offsets", "--group", "planned", *both, "--to-offset", 3, "--execute")
    case.equal("offsets of a group made by a reset", [["planned", TOPIC, p, "3"] for p in "01"], sorted(anew))
    args = ["-X", "auto.offset.reset=earliest", "-f", "%p %o\n", "-c", 24, "-G", "planned", TOPIC]
    read = case.kcat.run(*args).stdout.decode().splitlines()
    case.equal("places that it reads", [f"{p} {offset}" for p in (0, 1) for offset in range(3, 15)], sorted(read, key=as_numbers))


def as_numbers(line):
    return [int(word) for word in line.split()]


def delete(case):
    deleted = groups(case, "--delete-offsets", "--group", GROUP, "--topic", f"{TOPIC}:1", "--topic", OTHER)
    expected = [[TOPIC, "1", "Successful"], [OTHER, "0", "Successful"], [OTHER, "1", "Successful"]]
    case.equal("offsets deleted", sorted(expected), sorted(row for row in deleted if row[0] in (TOPIC, OTHER)))
    case.equal("offsets that are left", [[TOPIC, "0", "15"]], [row[1:4] for row in described(case)])

    said = case.tool("consumer.group.ConsumerGroupCommand", "--delete", "--group", GROUP, "--group", "planned", "--group", "missing")
    case.true(f"the missing group is said: {said}", "'missing' could not be deleted" in said and "GroupIdNotFound" in said)
    case.equal("groups", [], groups(case, "--list"))
    said = case.tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", GROUP)
    case.true(f"the deleted group is not found: {said}", f"Group {GROUP} not found" in said)
