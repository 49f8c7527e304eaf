"""kill -9 under load, twice: every acknowledged record is there once, at its offset, in order; the producer goes on.

An idempotent Java producer (VerifiableProducer) reports every acknowledgement with its offset while the broker dies and
comes back. What was acknowledged must be read exactly there (I1, I3), and nothing stands twice, acknowledged or not.
"""

import json
import time

from rig.processes import Child

CLIENT = "Java clients"
FEATURES = ["idempotent producer over kill -9"]
PARTITIONS = 3
SLOW = True


def run(case):
    topic = case.topic("load", partitions=PARTITIONS)
    count = 24_000
    producer = start_producer(case, topic, count, throughput=2000)
    for turn in range(2):
        already = len(acknowledged(producer))
        case.wait_until("3000 more acknowledgements", lambda: len(acknowledged(producer)) >= already + 3000, 60)
        case.broker.kill()
        case.true("the producer was still sending", producer.running())
        time.sleep(1)
        case.broker.start()
    case.equal("exit code of the producer", 0, producer.wait(120, "finish"))
    acks = acknowledged(producer)
    case.equal("acknowledged records", count, len(acks))

    stored = {}
    for partition in range(PARTITIONS):
        records = case.kcat.consume(topic, partition=partition)
        case.dense_from(0, records)
        stored.update({(partition, r.offset): r.value for r in records})
        values = [int(r.value) for r in records]
        case.equal(f"order of partition {partition}", sorted(values), values)
    wrong = [(place, value, stored.get(place)) for place, value in acks.items() if stored.get(place) != value]
    case.equal("acknowledged records that are not where they were acknowledged", [], wrong)
    case.equal("records", sorted(range(count)), sorted(int(value) for value in stored.values()))


def start_producer(case, topic, count, throughput):
    properties = case.path("producer.properties")
    with open(properties, "w", encoding="utf-8") as f:
        # The tool sets retries=0 to be told of every failure; here the producer shall hide the crash, as applications do.
        f.write("retries=2147483647\nenable.idempotence=true\nlinger.ms=5\ndelivery.timeout.ms=90000\nrequest.timeout.ms=5000\n")
    argv = case.java.argv(
        "org.apache.kafka.tools.VerifiableProducer",
        *("--bootstrap-server", case.broker.bootstrap, "--topic", topic, "--max-messages", count),
        *("--throughput", throughput, "--acks", "-1", "--command-config", properties),
    )
    return Child(argv, case.path("producer.log"), stdout=case.path("producer.acks"))


def acknowledged(producer):
    """(partition, offset) -> value of every acknowledgement so far."""
    text = producer.stdout()
    events = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return {(e["partition"], e["offset"]): e["value"] for e in events if e["name"] == "producer_send_success"}
