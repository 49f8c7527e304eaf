"""Java consumers in groups: cooperative rebalances, a member that dies, static members that come back unnoticed.

VerifiableConsumer reports what it is assigned, reads and commits. Between two members every record is read once; a member
that is killed is missed after its session timeout; a static member (KIP-345) that returns in time moves no partition, and
one that takes over its name ends it.
"""

import json

from rig.processes import Child

CLIENT = "Java clients"
FEATURES = ["group: cooperative rebalances, a member that dies", "group: static members return or are fenced"]
PARTITIONS = 4
ALL = set(range(PARTITIONS))
COOPERATIVE = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"
SLOW = True


def run(case):
    cooperative(case)
    static(case)


def cooperative(case):
    topic = case.topic("cooperative", partitions=PARTITIONS)
    first = Member(case, topic, "first", session_ms=6000, strategy=COOPERATIVE)
    case.wait_until("all partitions with the first", lambda: first.assigned() == ALL)
    second = Member(case, topic, "second", session_ms=6000, strategy=COOPERATIVE)
    case.wait_until(
        "two and two partitions",
        lambda: len(first.assigned()) == len(second.assigned()) == 2 and first.assigned() | second.assigned() == ALL,
    )
    # KIP-429: what stays with a member is not taken from it meanwhile.
    case.equal("partitions that the first gave up", second.assigned(), first.revoked())
    produce(case, topic, "together")
    until_read(case, [first, second], 50)

    second.kill()
    case.wait_until("all partitions again", lambda: first.assigned() == ALL)
    case.equal("partitions that the first gave up", 2, len(first.revoked()))
    produce(case, topic, "alone")
    until_read(case, [first, second], 100)
    first.leave()


def static(case):
    topic = case.topic("static", partitions=PARTITIONS)
    stays = Member(case, topic, "stays", session_ms=25000, instance="stays")
    case.wait_until("all partitions with one", lambda: stays.assigned() == ALL)
    leaves = Member(case, topic, "leaves", session_ms=25000, instance="leaves")
    case.wait_until(
        "two and two partitions",
        lambda: len(stays.assigned()) == len(leaves.assigned()) == 2 and stays.assigned() | leaves.assigned() == ALL,
    )
    held, rebalances = stays.assigned(), stays.count("partitions_assigned")
    leaves.leave()
    produce(case, topic, "meanwhile")
    returned = Member(case, topic, "returned", session_ms=25000, instance="leaves")
    case.wait_until("the returned member has what it left", lambda: returned.assigned() == ALL - held)
    until_read(case, [stays, leaves, returned], 50)
    case.equal("rebalances of the one that stayed", rebalances, stays.count("partitions_assigned"))

    heir = Member(case, topic, "heir", session_ms=25000, instance="leaves")
    case.wait_until("the heir has the partitions", lambda: heir.assigned() == ALL - held)
    case.wait_until("the fenced member ends", lambda: not returned.running())
    case.true(f"why, in {returned.log}", "FencedInstanceId" in returned.log_text() + returned.stdout())
    produce(case, topic, "after")
    until_read(case, [stays, leaves, returned, heir], 100)
    for member in (stays, heir):
        member.leave()


class Member(Child):
    """A VerifiableConsumer; its events are lines of JSON."""

    def __init__(self, case, topic, role, session_ms, strategy=None, instance=None):
        args = ["--bootstrap-server", case.broker.bootstrap, "--topic", topic, "--group-id", f"{topic}-group"]
        args += ["--group-protocol", "classic", "--session-timeout", session_ms, "--reset-policy", "earliest"]
        args += ["--assignment-strategy", strategy] if strategy else []
        args += ["--group-instance-id", instance] if instance else []
        argv = case.java.argv("org.apache.kafka.tools.VerifiableConsumer", *args)
        self.case = case
        super().__init__(argv, case.path(role + ".log"), stdout=case.path(role + ".events"))

    def leave(self):
        """SIGTERM: a JVM closes its consumer and ends with 128 + 15."""
        self.case.equal("exit code", 143, self.terminate())
        self.case.equal("orderly ends", 1, self.count("shutdown_complete"))

    def events(self, name):
        text = self.stdout()
        events = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{")]
        return [event for event in events if event["name"] in name.split()]

    def count(self, name):
        return len(self.events(name))

    def assigned(self):
        held = set()
        for event in self.events("partitions_assigned partitions_revoked"):
            change = held.update if event["name"] == "partitions_assigned" else held.difference_update
            change(p["partition"] for p in event["partitions"])
        return held

    def revoked(self):
        return {p["partition"] for event in self.events("partitions_revoked") for p in event["partitions"]}

    def read(self):
        """(partition, offset) of everything read, in order."""
        ranges = [p for event in self.events("records_consumed") for p in event["partitions"]]
        return [(p["partition"], offset) for p in ranges for offset in range(p["minOffset"], p["maxOffset"] + 1)]


def produce(case, topic, name):
    """50 records to each partition."""
    for partition in range(PARTITIONS):
        case.kcat.produce(topic, [(None, f"{name} {i}") for i in range(50)], "-p", partition)


def until_read(case, members, end):
    """Waits until the members have read offsets 0 to `end` of each partition, each once."""
    collect = lambda: sorted(place for member in members for place in member.read())
    expected = [(partition, offset) for partition in range(PARTITIONS) for offset in range(end)]
    case.wait_until(f"{len(expected)} records read", lambda: len(collect()) >= len(expected))
    case.equal("places read by the group", expected, collect())
