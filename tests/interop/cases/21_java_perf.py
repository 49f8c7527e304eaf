"""Java performance tools: every record of a producer under load is there, counted by end offsets and by a consumer."""

import re

CLIENT = "Java clients"
FEATURES = ["200,000 records by the performance tools"]
PARTITIONS = 3


def run(case):
    topic = case.topic("perf", partitions=PARTITIONS)
    count = 20_000 if case.quick else 200_000
    out = case.tool(
        "ProducerPerformance",
        *("--topic", topic, "--num-records", count, "--record-size", 500, "--throughput", -1),
        *("--command-property", "acks=all", "compression.type=lz4", "linger.ms=5"),
    )
    case.true(f"the last line counts all records: {out}", f"{count} records sent" in out.splitlines()[-1])
    ends = [case.end_offset(topic, p) for p in range(PARTITIONS)]
    case.equal("sum of end offsets", count, sum(ends))

    out = case.tool(
        "ConsumerPerformance", "--topic", topic, "--num-records", count, "--timeout", 30000, "--hide-header", "--group", "perf"
    )
    # start, end, MB, MB/s, records, …
    case.equal("records read", str(count), re.split(r",\s*", out.splitlines()[-1])[4])
