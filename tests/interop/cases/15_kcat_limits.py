"""kcat: acks of 0 and 1, records that are refused (too large, keyless in a compacted topic), timestamps of the broker."""

import os
import time

CLIENT = "kcat (librdkafka)"
FEATURES = ["acks of 0 and 1", "records refused: too large, without a key", "timestamps of the broker"]


def run(case):
    acks(case)
    too_large(case)
    keyless(case)
    append_time(case)


def acks(case):
    topic = case.topic("acks")
    for level in (0, 1):
        case.kcat.produce(topic, [(None, f"acks {level}: {i}") for i in range(20)], "-X", f"acks={level}")
        # acks=0 says nothing: what was sent last is there when the end says so.
        case.wait_until(f"the records of acks={level}", lambda: case.end_offset(topic) == 20 * (level + 1))
    expected = [f"acks {level}: {i}" for level in (0, 1) for i in range(20)]
    case.equal("values", expected, [r.value for r in case.kcat.consume(topic)])


def too_large(case):
    """The limit of the topic, 1 MiB and 12 bytes where it says none; one batch too large leaves no trace."""
    for topic, limit in ((case.topic("usual"), 1024 * 1024 + 12), (case.topic("small", max_message_bytes="2000"), 2000)):
        sizes = (limit - 200, limit + 1)
        for size in sizes:
            with open(case.path(f"{topic}-{size}"), "wb") as f:
                f.write(os.urandom(size))
        fits, not_quite = (case.path(f"{topic}-{size}") for size in sizes)
        case.kcat.run("-P", "-t", topic, "-X", "message.max.bytes=5000000", fits)
        refused = case.kcat.run("-P", "-t", topic, "-X", "message.max.bytes=5000000", not_quite, codes=(1,))
        case.true(f"the reason is said: {refused.stderr}", "Message size too large" in refused.stderr)
        case.equal(f"end of {topic}", 1, case.end_offset(topic))


def keyless(case):
    """A compacted topic takes no record without a key (INVALID_RECORD); those with one go on being taken."""
    topic = case.topic("compacted", cleanup_policy="compact")
    case.kcat.produce(topic, [("k", "v1")])
    refused = case.kcat.run("-P", "-t", topic, stdin="no key\n", codes=(1,))
    case.true(f"the reason is said: {refused.stderr}", "failed to validate record" in refused.stderr)
    case.kcat.produce(topic, [("k", "v2")])
    case.equal("records", [("k", "v1"), ("k", "v2")], [(r.key, r.value) for r in case.kcat.consume(topic)])


def append_time(case):
    """With LogAppendTime all records of a batch have the broker's time, compressed or not; reads by time use it."""
    topic = case.topic("append-time", message_timestamp_type="LogAppendTime")
    before = time.time_ns() // 1_000_000
    for codec in ("none", "zstd"):
        case.kcat.produce(topic, [(None, f"{codec} {i}") for i in range(10)], "-z", codec, "-X", "linger.ms=500")
        time.sleep(0.05)
    after = time.time_ns() // 1_000_000
    records = case.kcat.consume(topic)
    stamps = [r.timestamp for r in records]
    case.equal("values", [f"{codec} {i}" for codec in ("none", "zstd") for i in range(10)], [r.value for r in records])
    case.true(f"{before} <= {stamps} <= {after}", all(before <= stamp <= after for stamp in stamps))
    case.equal("one time for each batch", [stamps[0]] * 10 + [stamps[10]] * 10, stamps)
    case.true("the second batch is later", stamps[0] < stamps[10])
    late = case.kcat.consume(topic, partition=0, offset=f"s@{stamps[0] + 1}")
    case.equal("values after the first batch", [f"zstd {i}" for i in range(10)], [r.value for r in late])
