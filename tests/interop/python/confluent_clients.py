"""confluent-kafka (librdkafka): producers and consumers."""

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from steps import equal, run, wait_until

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def make_topic(bootstrap, name, partitions=1):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(15)
    return name


def make_consumer(bootstrap, **settings):
    config = {"bootstrap.servers": bootstrap, "group.id": "none", "auto.offset.reset": "earliest", "check.crcs": True}
    config.update({"enable.auto.commit": False, "session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
    return Consumer({**config, **{key.replace("_", "."): value for key, value in settings.items()}})


def read(consumer, count, seconds=15):
    """`count` messages and not one more."""
    messages, deadline = [], time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < deadline:
        messages += good(consumer.consume(count - len(messages), 0.5))
    equal("messages", count, len(messages))
    equal("messages beyond", [], good(consumer.consume(1, 0.3)))
    return messages


def good(messages):
    for message in messages:
        if message.error():
            raise AssertionError(str(message.error()))
    return messages


def send(bootstrap, topic, records, **settings):
    """Sends (partition, key, value, headers, timestamp) and returns the (partition, offset) that each was acknowledged with."""
    acknowledged = []

    def on_delivery(error, message):
        if error:
            raise AssertionError(str(error))
        acknowledged.append((message.partition(), message.offset()))

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, **settings})
    for partition, key, value, headers, timestamp in records:
        producer.produce(topic, value, key, partition, on_delivery, timestamp=timestamp, headers=headers)
    equal("unsent", 0, producer.flush(20))
    equal("acknowledged", len(records), len(acknowledged))
    return acknowledged


def idempotent(bootstrap):
    """idempotent producer: keys, headers, every codec"""
    topic = make_topic(bootstrap, "codecs", len(CODECS))
    for partition, codec in enumerate(CODECS):
        headers = [("codec", codec.encode()), ("twice", b"1"), ("twice", b"\x00\xff"), ("null", None)]
        records = [(partition, f"k{i}", f"{codec} {i} " + "x" * 200, headers, 1_700_000_000_000 + i) for i in range(500)]
        acknowledged = send(bootstrap, topic, records, **{"compression.codec": codec, "batch.size": 20_000})
        equal("offsets", [(partition, i) for i in range(500)], acknowledged)
        consumer = make_consumer(bootstrap)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        found = [(m.partition(), m.key().decode(), m.value().decode(), m.headers(), m.timestamp()[1]) for m in read(consumer, 500)]
        consumer.close()
        equal(f"records with {codec}", records, found)


def seek(bootstrap):
    """offsets for times, seek, watermarks"""
    topic = make_topic(bootstrap, "times")
    send(bootstrap, topic, [(0, None, str(i), None, 1_700_000_000_000 + 1000 * i) for i in range(100)])
    consumer = make_consumer(bootstrap)
    equal("watermarks", (0, 100), consumer.get_watermark_offsets(TopicPartition(topic, 0), 10))
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    read(consumer, 100)
    (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, 1_700_000_041_500)], 10)
    equal("offset at a time between two records", 42, found.offset)
    consumer.seek(found)
    equal("records from there", [str(i) for i in range(42, 100)], [m.value().decode() for m in read(consumer, 58)])
    (beyond,) = consumer.offsets_for_times([TopicPartition(topic, 0, 1_800_000_000_000)], 10)
    equal("offset at a time beyond the end", -1, beyond.offset)
    consumer.close()


def cooperative(bootstrap):
    """group: cooperative-sticky, a second member joins and leaves"""
    topic = make_topic(bootstrap, "cooperative", 4)
    members = [Member(bootstrap, topic, "cooperative") for _ in range(2)]
    first, second = members
    first.join()
    wait_until("all with the first", lambda: first.poll().partitions == {0, 1, 2, 3})
    second.join()
    wait_until("two and two", lambda: [len(m.poll().partitions) for m in members] == [2, 2])
    equal("shared", {0, 1, 2, 3}, first.partitions | second.partitions)
    equal("what the first gave up went to the second", second.partitions, first.revoked)
    send(bootstrap, topic, [(i % 4, None, str(i), None, 0) for i in range(100)])
    wait_until("each record once", lambda: sum(len(m.poll().values) for m in members) >= 100)
    equal("values", sorted(map(str, range(100))), sorted(first.values + second.values))
    for member in members:
        member.consumer.commit(asynchronous=False)
    second.consumer.close()
    wait_until("all with the first again", lambda: first.poll().partitions == {0, 1, 2, 3})
    committed = first.consumer.committed([TopicPartition(topic, p) for p in range(4)], 10)
    equal("committed", [25] * 4, [partition.offset for partition in committed])
    first.consumer.close()


def static(bootstrap):
    """group: a static member returns without a rebalance, its double is fenced"""
    topic = make_topic(bootstrap, "static", 2)
    settings = {"group_instance_id": "a", "session_timeout_ms": 20000, "partition_assignment_strategy": "range"}
    stays = Member(bootstrap, topic, "static", **{**settings, "group_instance_id": "b"})
    leaves = Member(bootstrap, topic, "static", **settings)
    stays.join()
    leaves.join()
    wait_until("one and one", lambda: [len(m.poll().partitions) for m in (stays, leaves)] == [1, 1])
    held = set(leaves.partitions)
    moves = stays.moves
    leaves.consumer.close()
    returned = Member(bootstrap, topic, "static", **settings)
    returned.join()
    wait_until("the same partition again", lambda: stays.poll() and returned.poll().partitions == held)
    equal("assignments of the other meanwhile", moves, stays.moves)
    double = Member(bootstrap, topic, "static", **settings)
    double.join()
    wait_until("fenced", lambda: double.poll() and stays.poll() and "fenced" in returned.poll_error().lower())
    double.consumer.close()
    stays.consumer.close()
    returned.consumer.close()


class Member:
    """A consumer of one topic that keeps what it is assigned and what it reads."""

    def __init__(self, bootstrap, topic, group, **settings):
        defaults = {"partition_assignment_strategy": "cooperative-sticky", "group_id": group}
        self.consumer = make_consumer(bootstrap, **{**defaults, **settings})
        self.incremental = "partition_assignment_strategy" not in settings
        self.topic, self.partitions, self.revoked, self.values, self.moves = topic, set(), set(), [], 0

    def join(self):
        self.consumer.subscribe([self.topic], on_assign=self._assigned, on_revoke=self._revoked)

    def _assigned(self, consumer, partitions):
        self.moves += 1
        self.partitions |= {partition.partition for partition in partitions}
        (consumer.incremental_assign if self.incremental else consumer.assign)(partitions)

    def _revoked(self, consumer, partitions):
        self.moves += 1
        gone = {partition.partition for partition in partitions}
        self.revoked |= gone
        self.partitions -= gone
        if self.incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def poll(self):
        self.values += [message.value().decode() for message in good(self.consumer.consume(100, 0.05))]
        return self

    def poll_error(self):
        """What the next message complains of, or nothing."""
        message = self.consumer.poll(0.05)
        return str(message.error()) if message and message.error() else ""


run(idempotent, seek, cooperative, static)
