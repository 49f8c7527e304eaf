"""kcat: reading from the beginning, an offset, the end minus n, a timestamp; empty, null and binary values."""

import os
import time

CLIENT = "kcat (librdkafka)"
FEATURES = ["read from an offset, the end, a time; beyond the end", "null, empty and binary values"]


def run(case):
    by_offset(case)
    by_timestamp(case)
    odd_values(case)


def by_offset(case):
    topic = case.topic("offsets")
    values = [f"v{i}" for i in range(100)]
    case.kcat.produce(topic, [(None, value) for value in values])
    for offset, expected in [("beginning", values), (37, values[37:]), (-5, values[-5:]), (99, values[99:]), ("end", [])]:
        read = case.kcat.consume(topic, partition=0, offset=offset)
        case.equal(f"values from {offset}", expected, [r.value for r in read])
    # Offset 100 is the end, a legal place to wait; beyond it auto.offset.reset decides (OFFSET_OUT_OF_RANGE).
    reset = case.kcat.consume(topic, "-X", "topic.auto.offset.reset=earliest", partition=0, offset=1000)
    case.equal("values after a reset", values, [r.value for r in reset])


def by_timestamp(case):
    topic = case.topic("timestamps")
    for part in ("early", "late"):
        case.kcat.produce(topic, [(None, f"{part} {i}") for i in range(20)])
        time.sleep(0.05)
    stamps = [r.timestamp for r in case.kcat.consume(topic, partition=0)]
    case.equal("number of records", 40, len(stamps))
    case.true(f"early {stamps[:20]} before late {stamps[20:]}", max(stamps[:20]) < min(stamps[20:]))
    middle = max(stamps[:20]) + 1
    read = case.kcat.consume(topic, partition=0, offset=f"s@{middle}")
    case.equal(f"values from timestamp {middle}", [f"late {i}" for i in range(20)], [r.value for r in read])
    for timestamp, offset in [(stamps[0], 0), (middle, 20), (stamps[39] + 1000, -1), (-1, 40), (-2, 0)]:
        answer = case.kcat.run("-Q", "-t", f"{topic}:0:{timestamp}").stdout.decode().split()
        # librdkafka says -1 (its OFFSET_END) where no record is that late.
        case.equal(f"offset at {timestamp}", str(offset), answer[-1])


def odd_values(case):
    topic = case.topic("odd")
    case.kcat.run("-P", "-t", topic, "-Z", "-K", "|", stdin="tombstone|\n|no key\nboth|there\n")
    case.kcat.run("-P", "-t", topic, "-K", "|", stdin="empty|\n")
    expected = [("tombstone", None), (None, "no key"), ("both", "there"), ("empty", "")]
    case.equal("keys and values", expected, [(r.key, r.value) for r in case.kcat.consume(topic)])

    topic = case.topic("binary")
    bodies = [os.urandom(900_000), bytes(range(256)), b"\x00\n\r\n"]
    files = [case.path(f"binary-{i}") for i in range(len(bodies))]
    for file, body in zip(files, bodies):
        with open(file, "wb") as f:
            f.write(body)
    case.kcat.run("-P", "-t", topic, "-z", "zstd", *files)
    for offset, body in enumerate(bodies):
        read = case.kcat.run("-C", "-q", "-t", topic, "-p", 0, "-o", offset, "-c", 1, "-f", "%s").stdout
        case.equal(f"binary value {offset}", body, read)
