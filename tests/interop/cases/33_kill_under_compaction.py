"""kill -9 while a topic is compacted: the last value of each key, each at its offset, and no more left than Apache Kafka leaves.

50 versions of 20,000 keys. The same is sent to Apache Kafka with the same settings, and what either leaves is counted.
"""

import os
import time

from rig.broker import ApacheKafka, Aquifer
from rig.processes import Child

CLIENT = "kcat (librdkafka)"
FEATURES = ["a compacted topic over kill -9: the last of each key, as little else as Kafka leaves"]
SLOW = True
# Both look often. The second is Aquifer's: Apache Kafka warns of a key that it does not know.
SETTINGS = {"log.cleaner.backoff.ms": "200", "wal.upload.interval.ms": "500"}


def run(case):
    keys, versions = (2_000, 20) if case.quick else (20_000, 50)
    left = compacted(case, keys, versions, kill=True)
    if not isinstance(case.broker, Aquifer):
        return
    case.equal("records left", keys, left)
    aquifer = case.broker, case.kcat
    os.makedirs(case.path("kafka"))
    case.start_broker(lambda directory, store, java, settings: ApacheKafka(case.path("kafka"), java, settings), SETTINGS)
    theirs = compacted(case, keys, versions, kill=False)
    case.broker.stop()
    case.broker, case.kcat = aquifer
    case.true(f"{left} records are left, Apache Kafka leaves {theirs}", left <= theirs)


def compacted(case, keys, versions, kill):
    """Sends all versions of all keys; how many records are left when nothing changes any more."""
    config = {"cleanup_policy": "compact", "min_cleanable_dirty_ratio": "0.01", "segment_bytes": "1048576", "segment_ms": "1000"}
    topic = case.topic("compacted", **config)
    half = versions // 2
    send(case, topic, keys, range(half)).wait(120, "send")
    producer = send(case, topic, keys, range(half, versions))
    if kill:
        case.wait_until("some of the second half", lambda: case.end_offset(topic) > keys * (half + 2), 60)
        case.broker.kill()
        case.true("the producer was still sending", producer.running())
        time.sleep(1)
        case.broker.start()
    case.equal("exit code of the producer", 0, producer.wait(180, "finish"))
    case.equal("end offset", keys * versions, case.end_offset(topic))
    counts = []

    def nothing_changes():
        time.sleep(1)
        counts.append(check(case, topic, keys, versions))
        return counts[-1] < keys * versions // 2 and counts[-4:] == [counts[-1]] * 4

    case.wait_until("the same records four times", nothing_changes, 180)
    return counts[-1]


def value(key, version):
    return f"{key} {version} {'x' * 60}"


def send(case, topic, keys, versions):
    name = case.path(f"versions-{versions.start}")
    with open(name, "w", encoding="utf-8") as f:
        f.writelines(f"k{key}|{value(key, version)}\n" for version in versions for key in range(keys))
    sent = ["-P", "-E", "-t", topic, "-p", 0, "-K", "|", "-X", "enable.idempotence=true", "-X", "message.timeout.ms=120000", "-l", name]
    return Child(case.kcat.argv(*sent), name + ".log")


def check(case, topic, keys, versions):
    """Reads all that is there, which ends although offsets are missing; how much it is."""
    records = case.kcat.consume(topic, partition=0)
    offsets = [r.offset for r in records]
    case.equal("order of offsets", sorted(set(offsets)), offsets)
    wrong = [r for r in records if r.key != f"k{r.offset % keys}" or r.value != value(r.offset % keys, r.offset // keys)]
    case.equal("records that are not as they were sent", [], wrong)
    last = (versions - 1) * keys
    case.equal("the last of each key", list(range(last, last + keys)), [offset for offset in offsets if offset >= last])
    return len(records)
