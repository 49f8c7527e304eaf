"""kill -9, then SIGTERM, of an idle broker: topics, records and a group's committed offsets are there after each start."""

from rig.clients import parse_json_records

CLIENT = "kcat (librdkafka)"
FEATURES = ["topics, records, committed offsets after kill -9 and SIGTERM"]


def run(case):
    topic = case.topic("kept", partitions=2, retention_ms="7200000")
    sent, group = [], Group(case, topic)
    for turn, end in enumerate(("kill", "stop", "kill")):
        batch = [(f"k{i}", f"turn {turn} record {i}") for i in range(100)]
        case.kcat.produce(topic, batch, "-p", 0, "-z", "gzip", "-H", f"turn={turn}")
        case.kcat.produce(topic, batch, "-p", 1, "-X", "enable.idempotence=true")
        sent += batch
        group.read(130)  # a part of what is there; committed when the member leaves

        getattr(case.broker, end)()
        case.broker.start()

        for partition in (0, 1):
            read = case.kcat.consume(topic, partition=partition)
            case.equal(f"partition {partition} after {end}", sent, [(r.key, r.value) for r in read])
            case.dense_from(0, read)
        case.equal(f"end offsets after {end}", [len(sent)] * 2, [case.end_offset(topic, p) for p in (0, 1)])
    group.read(2 * len(sent) - group.count)
    case.equal("what is left for the group", [], group.read_to_end())


class Group:
    """One balanced consumer at a time. `read_places` is all that the group has committed: nothing may come again."""

    def __init__(self, case, topic):
        self.case, self.topic, self.read_places = case, topic, set()

    @property
    def count(self):
        return len(self.read_places)

    def read(self, count):
        places = self._consume("-c", count)
        self.case.equal("records read by the group", count, len(places))
        self.case.equal("records read again", [], [place for place in places if place in self.read_places])
        self.read_places.update(places)

    def read_to_end(self):
        return self._consume("-e")

    def _consume(self, *until):
        done = self.case.kcat.run("-J", *until, "-X", "auto.offset.reset=earliest", "-G", "group", self.topic)
        return [(r.partition, r.offset) for r in parse_json_records(done.stdout.decode())]
