"""Kafka Connect as it comes: a file to a topic to a file, over kill -9 of broker and worker, and all of its REST interface.

The worker has Connect's own settings for its topics, also three replicas, which an Aquifer broker alone accepts. Lines are
numbered: what arrives in the sink's file is every line, in order. Without exactly-once support a crash may bring a line
twice, as with Apache Kafka; an orderly end may not.
"""

import json
import os

from rig.connect import FILES, Worker

CLIENT = "Kafka Connect"
FEATURES = [
    "file source and sink over kill -9 of broker and worker",
    "REST interface: status, pause, resume, stop, restart, delete",
    "offsets of source and sink: show, set, delete",
]
SLOW = True
SOURCE, SINK, TOPIC = "lines-in", "lines-out", "lines"


def run(case):
    worker = Worker(case)
    worker.start()
    worker_as_it_is(case, worker)
    files = Files(case, worker)
    crashes(case, worker, files)
    life(case, worker, files)
    source_offsets(case, worker, files)
    sink_offsets(case, worker, files)
    deletion(case, worker, files)
    worker.stop()


class Files:
    """The source's file, the sink's file, and what must be in it: `expected`, all lines since the last `settle`."""

    def __init__(self, case, worker):
        self.case, self.source, self.sink, self.written, self.seen = case, case.path("in.txt"), case.path("out.txt"), [], 0
        self.append(500)
        worker.create(
            SOURCE, FILES + "SourceConnector", file=self.source, topic=TOPIC,
            topic_creation_default_replication_factor="-1", topic_creation_default_partitions="1",
        )  # fmt: skip
        worker.create(SINK, FILES + "SinkConnector", file=self.sink, topics=TOPIC)
        self.exactly(self.written)

    def append(self, count):
        """Lines of a hundred bytes: a file source of Connect keeps back what is left of its buffer of 1 KiB when a batch
        (of 2000 lines) is full and the file at its end, so that no count here comes near a multiple of that."""
        lines = [f"line {len(self.written) + i:06} {'-' * 87}" for i in range(count)]
        with open(self.source, "a", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in lines)
        self.written += lines
        return lines

    def sunk(self):
        """What has come since the last comparison."""
        if not os.path.exists(self.sink):
            return []
        with open(self.sink, encoding="utf-8") as f:
            return f.read().splitlines()[self.seen :]

    def exactly(self, lines):
        """Waits for these lines and no other."""
        self.case.wait_until(f"{len(lines)} lines in {self.sink}", lambda: len(self.sunk()) >= len(lines), 60)
        self.case.equal("lines that came", lines, self.sunk())
        self.seen += len(lines)

    def at_least(self, lines):
        """Waits for these lines in this order; a crash may have brought some twice. Returns how many came again."""
        self.case.wait_until(f"'{lines[-1]}' in {self.sink}", lambda: lines[-1] in self.sunk(), 90)
        came = self.sunk()
        known = set(self.written[: len(self.written) - len(lines)])
        self.case.equal("lines that came, each first time", lines, [line for line in dict.fromkeys(came) if line not in known])
        self.seen += len(came)
        return len(came) - len(lines)


def worker_as_it_is(case, worker):
    case.equal("version", "4.3.1", worker.ask("GET", "/")["version"])
    case.true("the cluster's id", worker.ask("GET", "/")["kafka_cluster_id"])
    case.equal("connectors", [], worker.ask("GET", "/connectors"))
    partitions = {"connect-configs": 1, "connect-offsets": 25, "connect-status": 5}
    case.equal("partitions", partitions, {topic: partition_count(case, topic) for topic in partitions})


def crashes(case, worker, files):
    for _ in range(2):
        lines = files.append(1000)
        case.wait_until("the source is midway", lambda: case.end_offset(TOPIC) > len(files.written) - len(lines))
        case.broker.kill()
        lines += files.append(500)
        case.broker.start()
        files.at_least(lines)
    case.equal("source after the broker's end", ["RUNNING"] * 2, worker.states(SOURCE))

    lines = files.append(1000)
    case.wait_until("the source is midway", lambda: case.end_offset(TOPIC) > len(files.written) - len(lines))
    worker.kill()
    lines += files.append(500)
    worker.start()
    files.at_least(lines)
    settle(case, worker, files)

    lines = files.append(500)
    orderly = worker.stop()
    lines += files.append(500)
    worker.start()
    if orderly:
        files.exactly(lines)
    else:
        files.at_least(lines)
        settle(case, worker, files)


def settle(case, worker, files):
    """Returns when source and sink have committed all that there is, and takes what a crash has brought twice as seen."""
    end = [({"filename": files.source}, {"position": os.path.getsize(files.source)})]
    case.wait_until("the source's offset is committed", lambda: worker.offsets(SOURCE) == end)
    case.wait_until("the sink's offset is committed", lambda: worker.offsets(SINK) == sink_offset(case.end_offset(TOPIC)))
    files.seen += len(files.sunk())


def sink_offset(offset):
    return [({"kafka_topic": TOPIC, "kafka_partition": 0}, {"kafka_offset": offset})]


def life(case, worker, files):
    worker.put(SINK, "pause", "PAUSED")
    worker.put(SOURCE, "pause", "PAUSED")
    end = case.end_offset(TOPIC)
    lines = files.append(100)
    worker.put(SINK, "resume", "RUNNING")
    case.equal("records while the source pauses", end, case.end_offset(TOPIC))
    worker.put(SOURCE, "resume", "RUNNING")
    files.exactly(lines)

    for name in (SOURCE, SINK):
        settle(case, worker, files)
        said = worker.ask("POST", f"/connectors/{name}/restart?includeTasks=true", status=202)
        case.equal("restarting", ["RESTARTING"] * 2, [said["connector"]["state"], said["tasks"][0]["state"]])
        worker.until(name, "RUNNING")
        worker.ask("POST", f"/connectors/{name}/tasks/0/restart", status=204)
        files.exactly(files.append(50))
        worker.until(name, "RUNNING")
    case.equal("topics of the sink", {SINK: {"topics": [TOPIC]}}, worker.ask("GET", f"/connectors/{SINK}/topics"))


def source_offsets(case, worker, files):
    """KIP-875. An offset of a file source is the position in its file."""
    path, size = f"/connectors/{SOURCE}/offsets", os.path.getsize(files.source)
    at = lambda position: {"offsets": [{"partition": {"filename": files.source}, "offset": {"position": position}}]}
    case.true("no change while it runs", "STOPPED" in worker.ask("PATCH", path, at(0), 400)["message"])
    worker.put(SOURCE, "stop", "STOPPED", tasks=0)
    case.equal("offset of the stopped source", at(size)["offsets"], worker.ask("GET", path)["offsets"])

    line_length = len(files.written[0]) + 1
    worker.ask("PATCH", path, at(size - 70 * line_length))
    case.equal("offset set back", at(size - 70 * line_length)["offsets"], worker.ask("GET", path)["offsets"])
    worker.put(SOURCE, "resume", "RUNNING")
    files.exactly(files.written[-70:])

    worker.put(SOURCE, "stop", "STOPPED", tasks=0)
    worker.ask("DELETE", path)
    case.equal("offsets after their deletion", [], worker.offsets(SOURCE))
    worker.put(SOURCE, "resume", "RUNNING")
    files.exactly(files.written)


def sink_offsets(case, worker, files):
    """KIP-875. A sink's offsets are those of its consumer group."""
    path, end = f"/connectors/{SINK}/offsets", case.end_offset(TOPIC)
    set_to = lambda offset: {"offsets": [{"partition": place, "offset": at} for place, at in sink_offset(offset)]}
    case.true("no change while it runs", "STOPPED" in worker.ask("PATCH", path, set_to(0), 400)["message"])
    worker.put(SINK, "stop", "STOPPED", tasks=0)
    case.equal("offset of the stopped sink", sink_offset(end), worker.offsets(SINK))

    worker.ask("PATCH", path, set_to(end - 70))
    case.equal("offset set back", sink_offset(end - 70), worker.offsets(SINK))
    worker.put(SINK, "resume", "RUNNING")
    files.exactly(files.written[-70:])

    worker.put(SINK, "stop", "STOPPED", tasks=0)
    before = records(case)
    worker.ask("DELETE", path)
    case.equal("offsets after their deletion", [], worker.offsets(SINK))
    worker.put(SINK, "resume", "RUNNING")
    files.exactly(before)


def deletion(case, worker, files):
    """What is deleted stays so over an orderly restart, what is not goes on."""
    worker.ask("DELETE", f"/connectors/{SINK}", status=204)
    worker.ask("GET", f"/connectors/{SINK}", status=404)
    case.equal("connectors", [SOURCE], worker.ask("GET", "/connectors"))
    worker.stop()
    worker.start()
    case.equal("connectors after a restart", [SOURCE], worker.ask("GET", "/connectors"))
    worker.until(SOURCE, "RUNNING")
    end, lines = case.end_offset(TOPIC), files.append(20)
    case.wait_until("the source goes on", lambda: case.end_offset(TOPIC) >= end + len(lines))
    case.equal("the last records", lines, records(case)[end:])


def partition_count(case, topic):
    return len(json.loads(case.kcat.run("-L", "-J", "-t", topic).stdout)["topics"][0]["partitions"])


def records(case):
    return [r.value for r in case.kcat.consume(TOPIC, partition=0)]
