"""kill -9 under a group, twice: its consumers find the group again, share it as before, and read every record that is sent.

What was read but not committed may come again (at least once, as with Kafka); no record may be missed, and no partition may
stay without an owner.
"""

from rig.clients import parse_json_records

CLIENT = "kcat (librdkafka)"
FEATURES = ["group over kill -9"]
PARTITIONS = 4
SLOW = True


def run(case):
    topic = case.topic("watched", partitions=PARTITIONS)
    members = [join(case, topic, role) for role in ("first", "second")]
    sent = produce(case, topic, "before")
    until_read(case, members, sent)
    for turn in range(2):
        case.broker.kill()
        case.broker.start()
        sent += produce(case, topic, f"after {turn}")
        until_read(case, members, sent)
    late = join(case, topic, "late")
    for member in members:
        case.equal(f"exit code of {member.role}", 0, member.terminate())
    # All that was read was committed on leaving: the one that is left goes on there.
    sent += produce(case, topic, "late")
    until_read(case, [*members, late], sent)
    case.equal("exit code of the late one", 0, late.terminate())
    read = {value for _, value in places([late])}
    case.true("the late one read what was sent last", {value for value in sent if value.startswith("late ")} <= read)


def join(case, topic, role):
    settings = ["session.timeout.ms=10000", "heartbeat.interval.ms=500", "auto.commit.interval.ms=200"]
    # -E: kcat would end where every broker it knows is down.
    args = ["-E", *(arg for setting in settings for arg in ("-X", setting))]
    member = case.kcat.consume_in_background("watchers", topic, case.path(role), *args)
    member.role = role
    case.wait_until(f"{role} is in the group", lambda: ": assigned: " in member.log_text())
    return member


def produce(case, topic, name):
    """50 records to each partition; the values."""
    values = []
    for partition in range(PARTITIONS):
        of_partition = [f"{name} {partition} {i}" for i in range(50)]
        case.kcat.produce(topic, [(None, value) for value in of_partition], "-p", partition)
        values += of_partition
    return values


def until_read(case, members, values):
    """Waits until the members have read all values; nothing else is read, and each offset has one value."""
    case.wait_until(f"{len(values)} values read", lambda: len({v for _, v in places(members)}) >= len(values), 60)
    read = set(places(members))
    case.equal("values read by the group", sorted(values), sorted(value for _, value in read))
    case.equal("places", len(values), len({place for place, _ in read}))


def places(members):
    return [((r.partition, r.offset), r.value) for member in members for r in parse_json_records(member.stdout())]
