"""Load tools: kafka-e2e-latency compares each record with what it sent; kafka-verifiable-producer and -consumer agree."""

import json
import re

CLIENT = "Kafka tools"
FEATURES = ["kafka-e2e-latency", "kafka-verifiable-producer and -consumer"]
LATENCY, PRODUCER, CONSUMER = "EndToEndLatency", "org.apache.kafka.tools.VerifiableProducer", "VerifiableConsumer"


def run(case):
    latency(case)
    verifiable(case)


def latency(case):
    topic = case.topic("latency")
    count = 100
    shape = ["--record-key-size", 8, "--num-headers", 2, "--record-header-key-size", 4, "--record-header-size", 5]
    for acks, extra in (("all", []), ("1", shape)):
        out = case.tool(LATENCY, "--topic", topic, "--num-records", count, "--producer-acks", acks, "--record-size", 64, *extra)
        found = re.search(r"Percentiles: 50th = (\d+), 99th = (\d+), 99\.9th = (\d+)", out)
        case.true(f"the tool measured with acks={acks}: {out}", found and int(found.group(1)) <= int(found.group(3)))
    records = case.kcat.consume(topic, partition=0)
    case.dense_from(0, records)
    case.equal("records", 2 * count, len(records))
    shapes = [(len(r.value), len(r.key), [(len(name), len(value)) for name, value in r.headers]) for r in records]
    case.equal("shapes", [(64, 0, [])] * count + [(64, 8, [(4, 5)] * 2)] * count, shapes)


def verifiable(case):
    topic = case.topic("verifiable", partitions=2)
    count = 500
    args = ["--topic", topic, "--max-messages", count, "--acks", -1, "--value-prefix", 7, "--repeating-keys", 5]
    # In a JVM of its own: it writes its last lines while it exits.
    out = case.java.run(PRODUCER, "--bootstrap-server", case.broker.bootstrap, *args).stdout.decode()
    acked = [event for event in events(out) if event["name"] == "producer_send_success"]
    expected = [(str(i % 5), f"7.{i}") for i in range(count)]
    case.equal("acknowledged", sorted(expected), sorted((e["key"], e["value"]) for e in acked))
    data = next(event for event in events(out) if event["name"] == "tool_data")
    case.equal("what the producer counts", [count, count], [data["sent"], data["acked"]])
    stored = {(r.partition, r.offset): (r.key, r.value) for r in case.kcat.consume(topic)}
    case.equal("each where it was acknowledged", {(e["partition"], e["offset"]): (e["key"], e["value"]) for e in acked}, stored)

    args = ["--topic", topic, "--group-id", "verifiers", "--max-messages", count, "--reset-policy", "earliest"]
    out = case.tool(CONSUMER, *args, "--group-protocol", "classic", "--verbose")
    read = {(e["partition"], e["offset"]): (e["key"], e["value"]) for e in events(out) if e["name"] == "record_data"}
    case.equal("read", stored, read)
    ends = {(o["partition"], o["offset"]) for e in events(out) if e["name"] == "offsets_committed" for o in e["offsets"]}
    case.true(f"the ends are committed: {ends}", {(p, case.end_offset(topic, p)) for p in (0, 1)} <= ends)


def events(out):
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]
