"""kafka-configs and kafka-client-metrics: describe, alter, delete for topics, brokers, groups, client metrics; refusals."""

import re

CLIENT = "Kafka tools"
FEATURES = ["kafka-configs: topics, brokers, their defaults, groups, client metrics", "kafka-client-metrics"]
CONFIGS = "kafka.admin.ConfigCommand"


def run(case):
    topics(case)
    refusals(case)
    brokers(case)
    named(case, "groups", "group", "readers", {"consumer.session.timeout.ms": "50000"})
    named(case, "client-metrics", "client-metric", "java", {"interval.ms": "1000", "metrics": "org.apache.kafka."})
    client_metrics(case)


def describe(case, *args):
    """{entity: {key: (value, synonyms)}}; synonyms as the tool shows them, "SOURCE:name=value"."""
    found, entity = {}, None
    for line in case.tool(CONFIGS, "--describe", *args).splitlines():
        if headed := re.match(r"(?:Dynamic|All|Default) configs for (.+) are:$", line):
            entity = found.setdefault(headed.group(1), {})
        elif shown := re.match(r"  (.+?)=(.*) sensitive=(?:true|false) synonyms=\{(.*)\}$", line):
            entity[shown.group(1)] = (shown.group(2), re.findall(r"[A-Z_]+:[\w.]+=[^ ]*?(?=, [A-Z_]+:|$)", shown.group(3)))
        else:
            case.true(f"a line of kafka-configs is understood: {line!r}", not line)
    return found


def values(described):
    return {key: value for key, (value, _) in described.items()}


def topics(case):
    topic = case.topic("configured", retention_ms="3600000")
    name = f"topic {topic}"
    case.equal("configs as created", {"retention.ms": "3600000"}, values(describe(case, "--topic", topic)[name]))

    changes = "max.message.bytes=2000000,cleanup.policy=[compact,delete]"
    said = case.tool(CONFIGS, "--alter", "--topic", topic, "--add-config", changes)
    case.equal("what the change says", f"Completed updating config for topic {topic}.\n", said)
    expected = {
        "cleanup.policy": ("compact,delete", ["DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete", "DEFAULT_CONFIG:log.cleanup.policy=delete"]),
        "max.message.bytes": ("2000000", ["DYNAMIC_TOPIC_CONFIG:max.message.bytes=2000000", "DEFAULT_CONFIG:message.max.bytes=1048588"]),
    }  # fmt: skip
    found = describe(case, "--entity-type", "topics", "--entity-name", topic)[name]
    case.equal("configs and synonyms", expected, {key: found[key] for key in expected})
    case.equal("value as it was", "3600000", found["retention.ms"][0])

    case.kcat.produce(topic, [("k", "x" * 1_200_000)], "-X", "message.max.bytes=1500000")  # obeyed, not only shown

    case.tool(CONFIGS, "--alter", "--topic", topic, "--delete-config", "max.message.bytes,retention.ms")
    case.equal("configs after a deletion", {name: {"cleanup.policy": "compact,delete"}}, {
        name: values(found) for name, found in describe(case, "--entity-type", "topics").items()
    })  # fmt: skip
    whole = values(describe(case, "--topic", topic, "--all")[name])
    defaults = {"retention.ms": "604800000", "max.message.bytes": "1048588", "min.insync.replicas": "1", "compression.type": "producer"}
    case.equal("defaults", defaults, {key: whole.get(key) for key in defaults})
    case.equal("number of a topic's keys", 33, len(whole))
    case.tool(CONFIGS, "--alter", "--topic", topic, "--delete-config", "segment.ms")  # not set: nothing to do


def refusals(case):
    topic = case.topic("refused")
    for args, expected in (
        (["--topic", topic, "--add-config", "no.such=1"], "InvalidConfigurationException: Unknown topic config name: no.such"),
        (["--topic", topic, "--add-config", "retention.ms=x"], "InvalidConfigurationException: Invalid value x for configuration retention.ms"),
        (["--topic", topic, "--add-config", "cleanup.policy=wipe"], "InvalidConfigurationException: Invalid value wipe for configuration cleanup.policy"),
        (["--topic", "missing", "--add-config", "retention.ms=1"], "UnknownTopicOrPartitionException"),
        (["--broker", 0, "--add-config", "broker.id=7"], "InvalidRequestException: Cannot update these configs dynamically: [broker.id]"),
        (["--broker", 0, "--add-config", "log.retention.ms=x"], "InvalidRequestException"),
    ):  # fmt: skip
        said = case.refused(CONFIGS, "--alter", *args)
        case.true(f"{args} is refused with {expected}: {said}", expected in said)
    case.equal("configs of the topic", {f"topic {topic}": {}}, describe(case, "--topic", topic))
    said = case.tool(CONFIGS, "--describe", "--topic", "missing")
    case.equal("a missing topic", "The topic 'missing' doesn't exist and doesn't have dynamic config.\n", said)


def brokers(case):
    """The cluster's defaults, then one broker's own; a topic without the setting takes it."""
    topic = case.topic("follows")
    everywhere, here = "brokers in the cluster", "broker 0"
    case.tool(CONFIGS, "--alter", "--broker-defaults", "--add-config", "log.retention.ms=7200000")
    case.equal("the default", "7200000", values(describe(case, "--broker-defaults")[everywhere])["log.retention.ms"])
    default, own = "DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=7200000", "DYNAMIC_BROKER_CONFIG:log.retention.ms=3600000"

    def shown(described):
        """The value and where it comes from, without what is below the dynamic levels."""
        value, synonyms = described
        return value, [synonym for synonym in synonyms if synonym.startswith("DYNAMIC_")]

    retention = lambda: shown(describe(case, "--topic", topic, "--all")[f"topic {topic}"]["retention.ms"])
    case.equal("the topic follows", ("7200000", [default]), retention())

    case.tool(CONFIGS, "--alter", "--entity-type", "brokers", "--entity-name", 0, "--add-config", "log.retention.ms=3600000")
    case.equal("the broker's own", ("3600000", [own, default]), shown(describe(case, "--broker", 0)[here]["log.retention.ms"]))
    case.equal("the topic follows", ("3600000", [own, default]), retention())

    case.broker.kill()
    case.broker.start()
    case.equal("after the broker's end", ("3600000", [own, default]), shown(describe(case, "--broker", 0)[here]["log.retention.ms"]))

    case.tool(CONFIGS, "--alter", "--broker", 0, "--delete-config", "log.retention.ms")
    case.tool(CONFIGS, "--alter", "--broker-defaults", "--delete-config", "log.retention.ms")
    case.equal("nothing is left", {}, describe(case, "--broker", 0)[here])
    case.true("nor in the defaults", "log.retention.ms" not in describe(case, "--broker-defaults")[everywhere])
    case.equal("the topic follows", ("604800000", []), retention())
    whole = values(describe(case, "--broker", 0, "--all")["broker 0"])
    case.equal("a static value", "0", whole.get("node.id"))
    case.true("passwords are not shown", not any("password" in key and value != "null" for key, value in whole.items()))


def named(case, kind, title, name, configs):
    """Entities that exist by having configs."""
    said = case.tool(CONFIGS, "--describe", "--entity-type", kind, "--entity-name", name)
    case.equal("before", f"The {title} '{name}' doesn't exist and doesn't have dynamic config.\n", said)
    # Commas part configs, unless in brackets.
    changes = ",".join(f"{key}=[{value}]" for key, value in configs.items())
    case.tool(CONFIGS, "--alter", "--entity-type", kind, "--entity-name", name, "--add-config", changes)
    for which in (["--entity-name", name], []):
        found = {entity: values(found) for entity, found in describe(case, "--entity-type", kind, *which).items()}
        case.equal(f"{kind} {which}", {f"{title} {name}": configs}, found)
    case.tool(CONFIGS, "--alter", "--entity-type", kind, "--entity-name", name, "--delete-config", ",".join(configs))
    case.equal(f"{kind} after the deletion", {}, {k: v for k, v in describe(case, "--entity-type", kind).items() if v})
    said = case.refused(CONFIGS, "--alter", "--entity-type", kind, "--entity-name", name, "--add-config", "no.such=1")
    case.true(f"unknown keys of {kind} are refused: {said}", "no.such" in said and "org.apache.kafka.common.errors.Invalid" in said)


def client_metrics(case):
    tool = "ClientMetricsCommand"
    case.tool(tool, "--alter", "--name", "watch", "--metrics", "org.apache.kafka.consumer.", "--interval", 5000, "--match", "client_id=x")
    lines = ["Client metrics configs for watch are:", "  interval.ms=5000", "  match=client_id=x", "  metrics=org.apache.kafka.consumer."]
    case.equal("described", lines, case.tool(tool, "--describe").splitlines())
    case.equal("listed", "watch\n", case.tool(tool, "--list"))
    case.tool(tool, "--delete", "--name", "watch")
    case.equal("listed after the deletion", "", case.tool(tool, "--list").strip())
