"""confluent-kafka (librdkafka): AdminClient."""

from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicCollection
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic
from confluent_kafka.admin import OffsetSpec, ResourceType
from steps import equal, run, wait_until


def admin_of(bootstrap):
    return AdminClient({"bootstrap.servers": bootstrap})


def settle(futures):
    """Key -> result of a dictionary of futures."""
    return {key: future.result(15) for key, future in futures.items()}


def refusal(future):
    """The name of the error that a future ends with."""
    try:
        future.result(15)
    except KafkaException as raised:
        return raised.args[0].name()
    return "no error"


def make_topic(admin, name, partitions=1):
    settle(admin.create_topics([NewTopic(name, partitions, 1)]))
    return name


def send(bootstrap, topic, count, partition=0):
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for i in range(count):
        producer.produce(topic, str(i), partition=partition, timestamp=1_700_000_000_000 + i)
    equal("unsent", 0, producer.flush(15))


def commit(bootstrap, group, topic, offset):
    """A group that is left with one committed offset and no member."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def topics(bootstrap):
    """create and delete topics"""
    admin = admin_of(bootstrap)
    settle(admin.create_topics([NewTopic("made", 3, 1, config={"retention.ms": "7200000"}), NewTopic("other", 1, 1)]))
    equal("refused", "TOPIC_ALREADY_EXISTS", refusal(admin.create_topics([NewTopic("made", 1, 1)])["made"]))
    equal("refused", "TOPIC_EXCEPTION", refusal(admin.create_topics([NewTopic("a b", 1, 1)])["a b"]))
    settle(admin.create_topics([NewTopic("only-validated", 1, 1)], validate_only=True))
    listed = admin.list_topics(timeout=10).topics
    equal("listed", {"made": 3, "other": 1}, {name: len(topic.partitions) for name, topic in listed.items()})
    settle(admin.delete_topics(["other"]))
    wait_until("other is gone", lambda: set(admin.list_topics(timeout=10).topics) == {"made"})
    equal("refused", "UNKNOWN_TOPIC_OR_PART", refusal(admin.delete_topics(["other"])["other"]))


def partitions(bootstrap):
    """create partitions"""
    admin = admin_of(bootstrap)
    topic = make_topic(admin, "grows", 2)
    settle(admin.create_partitions([NewPartitions(topic, 5)]))
    wait_until("five partitions", lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 5)
    equal("refused", "INVALID_PARTITIONS", refusal(admin.create_partitions([NewPartitions(topic, 3)])[topic]))
    send(bootstrap, topic, 10, partition=4)


def cluster(bootstrap):
    """describe cluster and topics"""
    admin = admin_of(bootstrap)
    found = admin.describe_cluster().result(15)
    equal("node", bootstrap, f"{found.nodes[0].host}:{found.nodes[0].port}")
    equal("controller", found.nodes[0].id, found.controller.id)
    equal("cluster ids", admin.list_topics(timeout=10).cluster_id, found.cluster_id)
    topic = make_topic(admin, "described", 2)
    described = settle(admin.describe_topics(TopicCollection([topic])))[topic]
    equal("partitions", [(0, found.nodes[0].id), (1, found.nodes[0].id)], [(p.id, p.leader.id) for p in described.partitions])
    equal("internal", False, described.is_internal)
    missing = admin.describe_topics(TopicCollection(["missing"]))["missing"]
    equal("refused", "UNKNOWN_TOPIC_OR_PART", refusal(missing))


def describe_configs(bootstrap):
    """describe configs of topics and brokers"""
    admin = admin_of(bootstrap)
    settle(admin.create_topics([NewTopic("configured", 1, 1, config={"retention.ms": "7200000"})]))
    topic, broker = ConfigResource(ResourceType.TOPIC, "configured"), ConfigResource(ResourceType.BROKER, "0")
    found = settle(admin.describe_configs([topic, broker]))
    retention, policy = found[topic]["retention.ms"], found[topic]["cleanup.policy"]
    equal("set", ("7200000", False), (retention.value, retention.is_default))
    equal("by default", ("delete", True), (policy.value, policy.is_default))
    equal("listeners", True, bootstrap in found[broker]["advertised.listeners"].value)
    equal("refused", "UNKNOWN_TOPIC_OR_PART", refusal(*admin.describe_configs([ConfigResource(ResourceType.TOPIC, "no")]).values()))


def alter_configs(bootstrap):
    """incremental alter configs"""
    admin = admin_of(bootstrap)
    topic = ConfigResource(ResourceType.TOPIC, make_topic(admin, "altered"))

    def alter(*changes):
        entries = [ConfigEntry(name, value, incremental_operation=operation) for name, value, operation in changes]
        return admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)])

    def values(*names):
        configs = settle(admin.describe_configs([topic]))[topic]
        return [configs[name].value for name in names]

    settle(alter(("retention.ms", "3600000", AlterConfigOpType.SET), ("cleanup.policy", "compact", AlterConfigOpType.APPEND)))
    equal("after set and append", ["3600000", "delete,compact"], values("retention.ms", "cleanup.policy"))
    settle(alter(("retention.ms", None, AlterConfigOpType.DELETE), ("cleanup.policy", "compact", AlterConfigOpType.SUBTRACT)))
    equal("after delete and subtract", ["604800000", "delete"], values("retention.ms", "cleanup.policy"))
    equal("refused", "INVALID_CONFIG", refusal(*alter(("retention.ms", "soon", AlterConfigOpType.SET)).values()))


def groups(bootstrap):
    """list, describe and delete groups"""
    admin = admin_of(bootstrap)
    topic = make_topic(admin, "read-by-groups")
    commit(bootstrap, "left", topic, 0)
    member = Consumer({"bootstrap.servers": bootstrap, "group.id": "live", "client.id": "reader", "session.timeout.ms": 6000})
    member.subscribe([topic])
    wait_until("an assignment", lambda: member.poll(0.1) or member.assignment())
    listed = admin.list_consumer_groups().result(15)
    states = {group.group_id: group.state for group in listed.valid}
    equal("listed", {"left": ConsumerGroupState.EMPTY, "live": ConsumerGroupState.STABLE}, states)
    only_empty = admin.list_consumer_groups(states={ConsumerGroupState.EMPTY}).result(15)
    equal("listed by state", ["left"], [group.group_id for group in only_empty.valid])
    described = settle(admin.describe_consumer_groups(["live", "left"]))
    equal("members", [("reader", [(topic, 0)])], [
        (m.client_id, [(p.topic, p.partition) for p in m.assignment.topic_partitions]) for m in described["live"].members
    ])
    equal("members", [], described["left"].members)
    equal("refused", "NON_EMPTY_GROUP", refusal(admin.delete_consumer_groups(["live"])["live"]))
    settle(admin.delete_consumer_groups(["left"]))
    equal("refused", "GROUP_ID_NOT_FOUND", refusal(admin.delete_consumer_groups(["left"])["left"]))
    member.close()


def group_offsets(bootstrap):
    """list and alter offsets of groups"""
    admin = admin_of(bootstrap)
    topic = make_topic(admin, "committed", 2)
    commit(bootstrap, "offsets", topic, 7)

    def listed(partitions=None):
        request = ConsumerGroupTopicPartitions("offsets", partitions)
        found = settle(admin.list_consumer_group_offsets([request]))["offsets"].topic_partitions
        return sorted((p.partition, p.offset) for p in found)

    equal("all", [(0, 7)], listed())
    altered = ConsumerGroupTopicPartitions("offsets", [TopicPartition(topic, 0, 3), TopicPartition(topic, 1, 4)])
    settle(admin.alter_consumer_group_offsets([altered]))
    equal("altered", [(0, 3), (1, 4)], listed())
    equal("of one partition", [(1, 4)], listed([TopicPartition(topic, 1)]))


def delete_records(bootstrap):
    """delete records"""
    admin = admin_of(bootstrap)
    topic = make_topic(admin, "shortened")
    send(bootstrap, topic, 100)
    (deleted,) = settle(admin.delete_records([TopicPartition(topic, 0, 60)])).values()
    equal("low watermark", 60, deleted.low_watermark)
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "auto.offset.reset": "earliest"})
    equal("watermarks", (60, 100), reader.get_watermark_offsets(TopicPartition(topic, 0), 10))
    reader.assign([TopicPartition(topic, 0, 0)])
    message = wait_until("a message", lambda: reader.poll(0.5))
    equal("the first that is left", 60, message.offset())
    reader.close()
    refused = admin.delete_records([TopicPartition(topic, 0, 101)])
    equal("refused", "OFFSET_OUT_OF_RANGE", refusal(*refused.values()))


def list_offsets(bootstrap):
    """list offsets"""
    admin = admin_of(bootstrap)
    topic = make_topic(admin, "offsets")
    send(bootstrap, topic, 100)
    partition = TopicPartition(topic, 0)
    specs = {
        "earliest": (OffsetSpec.earliest(), 0),
        "latest": (OffsetSpec.latest(), 100),
        "max timestamp": (OffsetSpec.max_timestamp(), 99),
        "for a timestamp": (OffsetSpec.for_timestamp(1_700_000_000_042), 42),
    }
    for name, (spec, offset) in specs.items():
        (found,) = settle(admin.list_offsets({partition: spec})).values()
        equal(name, offset, found.offset)


run(topics, partitions, cluster, describe_configs, alter_configs, groups, group_offsets, delete_records, list_offsets)
