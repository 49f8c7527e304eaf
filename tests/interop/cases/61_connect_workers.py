"""Kafka Connect with two workers: they share connectors and tasks, one is killed, the other takes over, and gives back.

The workers are a group of their own protocol (KIP-415): the broker does not know what they tell each other. Every line of two
files goes through two topics into two files, whoever carries it.
"""

import os

from rig.connect import FILES, Worker

CLIENT = "Kafka Connect"
FEATURES = ["two workers share, take over, hand on"]
SLOW = True
NAMES = ("red", "blue")


def run(case):
    workers = [Worker(case, name) for name in ("first", "second")]
    workers[0].start()
    written = {name: [] for name in NAMES}
    for name in NAMES:
        append(case, name, written, 100)
        topic = dict(topic_creation_default_replication_factor="-1", topic_creation_default_partitions="1")
        workers[0].create(name + "-in", FILES + "SourceConnector", file=source(case, name), topic=name, **topic)
        workers[0].create(name + "-out", FILES + "SinkConnector", file=sink(case, name), topics=name)
    case.wait_until("all lines, by one worker", lambda: arrived(case, written))

    workers[1].start()
    case.wait_until("work is shared", lambda: places(workers[0]) == evenly(workers), 60)
    case.equal("what the second says", places(workers[0]), places(workers[1]))
    carry_more(case, written)
    exact(case, written)

    # A follower hands on what only the leader may do.
    for worker in workers:
        name = f"extra-{worker.port}"
        worker.create(name, FILES + "SinkConnector", file=case.path(name), topics="red")
        for asked in workers:
            case.true(f"{name} is known", name in asked.ask("GET", "/connectors"))
        worker.ask("DELETE", f"/connectors/{name}", status=204)
    case.wait_until("work is shared", lambda: places(workers[0]) == evenly(workers), 60)

    for name in NAMES:
        append(case, name, written, 500)
    workers[0].kill()
    case.wait_until("the second has all", lambda: places(workers[1]) == {address(workers[1]): 8}, 60)
    carry_more(case, written)

    workers[0].start()
    case.wait_until("work is shared", lambda: places(workers[1]) == evenly(workers), 60)
    workers[1].stop()
    case.wait_until("the first has all", lambda: places(workers[0]) == {address(workers[0]): 8}, 60)
    carry_more(case, written)
    workers[0].stop()


def source(case, name):
    return case.path(name + "-in.txt")


def sink(case, name):
    return case.path(name + "-out.txt")


def append(case, name, written, count):
    lines = [f"{name} {len(written[name]) + i:06} {'-' * 87}" for i in range(count)]
    with open(source(case, name), "a", encoding="utf-8") as f:
        f.writelines(line + "\n" for line in lines)
    written[name] += lines


def carry_more(case, written):
    for name in NAMES:
        append(case, name, written, 200)
    case.wait_until("all lines", lambda: arrived(case, written), 60)
    for name in NAMES:
        case.equal(f"lines of {name}, each first time", written[name], list(dict.fromkeys(sunk(case, name))))


def exact(case, written):
    """Before anything was killed: a rebalance alone brings no line twice."""
    for name in NAMES:
        case.equal(f"lines of {name}", written[name], sunk(case, name))


def arrived(case, written):
    return all(written[name][-1] in sunk(case, name) for name in NAMES)


def sunk(case, name):
    if not os.path.exists(sink(case, name)):
        return []
    with open(sink(case, name), encoding="utf-8") as f:
        return f.read().splitlines()


def address(worker):
    return f"127.0.0.1:{worker.port}"


def evenly(workers):
    return {address(worker): 4 for worker in workers}


def places(worker):
    """How many connectors and tasks run on which worker; None while one does not run."""
    status, said = worker.call("GET", "/connectors?expand=status")
    if status != 200 or len(said) != 2 * len(NAMES):
        return None
    parts = [part for c in said.values() for part in (c["status"]["connector"], *c["status"]["tasks"])]
    if any(part["state"] != "RUNNING" for part in parts):
        return None
    return {p["worker_id"]: sum(q["worker_id"] == p["worker_id"] for q in parts) for p in parts}
