"""kcat: balanced consumers share a group's partitions, take over from each other, and commit where they were.

Two members get every record once between them; when one leaves the other reads all; when all have left, a new member
starts where the last one committed.
"""

import re

from rig.clients import parse_json_records

CLIENT = "kcat (librdkafka)"
FEATURES = ["group: two members share, take over, commit"]
PARTITIONS = 4


def run(case):
    topic = case.topic("shared", partitions=PARTITIONS)
    first = join(case, topic, "first", {0, 1, 2, 3})
    second = join(case, topic, "second")
    case.wait_until(
        "two and two partitions",
        lambda: len(assigned(first)) == len(assigned(second)) == 2 and assigned(first) | assigned(second) == {0, 1, 2, 3},
    )
    sent = produce(case, topic, "together")
    read = until_read(case, [first, second], sent)
    for partition in range(PARTITIONS):
        of_partition = [r for r in read if r.partition == partition]
        case.equal(f"order of partition {partition}", sorted(r.offset for r in of_partition), [r.offset for r in of_partition])
    for member in (first, second):
        partitions = {r.partition for r in parse_json_records(member.stdout())}
        case.equal(f"partitions read by {member.role}", assigned(member), partitions)

    case.equal("exit code of the leaving member", 0, second.terminate())
    case.wait_until("all four partitions again", lambda: assigned(first) == {0, 1, 2, 3})
    sent += produce(case, topic, "alone")
    until_read(case, [first, second], sent)

    case.equal("exit code of the last member", 0, first.terminate())
    late = produce(case, topic, "late")
    third = join(case, topic, "third", {0, 1, 2, 3})
    until_read(case, [third], late)
    case.equal("exit code of the new member", 0, third.terminate())
    case.equal("what the new member read", sorted(late), sorted(r.value for r in parse_json_records(third.stdout())))


def join(case, topic, role, partitions=None):
    member = case.kcat.consume_in_background("group", topic, case.path(role), "-X", "auto.commit.interval.ms=200")
    member.role = role
    if partitions:
        case.wait_until(f"{role} has {partitions}", lambda: assigned(member) == partitions)
    return member


def assigned(member):
    """The partitions of the member's newest assignment, from kcat's line `% Group … rebalanced (…): assigned: t [0], …`."""
    last = [line for line in member.log_text().splitlines() if " rebalanced (" in line][-1:]
    if not last or ": assigned: " not in last[0]:
        return set()
    return {int(number) for number in re.findall(r"\[(\d+)\]", last[0])}


def produce(case, topic, name):
    """50 records to each partition; the values."""
    values = []
    for partition in range(PARTITIONS):
        of_partition = [f"{name} {partition} {i}" for i in range(50)]
        case.kcat.produce(topic, [(None, value) for value in of_partition], "-p", partition)
        values += of_partition
    return values


def until_read(case, members, values):
    """Waits until the members have read as many records; they must be these, once each."""
    collect = lambda: [r for member in members for r in parse_json_records(member.stdout())]
    case.wait_until(f"{len(values)} records read", lambda: len(collect()) >= len(values))
    read = collect()
    case.equal("values read by the group", sorted(values), sorted(r.value for r in read))
    return read
