"""kafka-configs: client quotas of users, clients, both, addresses and their defaults, kept over kill -9; refusals.

That they are told as they were set, not that they are obeyed: this release enforces none. Describing users alone, the tool asks for their SCRAM credentials, too: that part waits for a broker that has these.
"""

import re

CLIENT = "Kafka tools"
FEATURES = ["kafka-configs: quotas of users, clients, addresses (told, not enforced)"]
CONFIGS = "kafka.admin.ConfigCommand"


def run(case):
    entities(case)
    refusals(case)


def usable_apis(case):
    return set(re.findall(r"^\s+(\w+)\(\d+\): .*\[usable: \d+\]", case.tool("BrokerApiVersionsCommand"), re.MULTILINE))


def described(case, *args):
    return sorted(line for line in case.tool(CONFIGS, "--describe", *args).splitlines() if line)


def alter(case, *args):
    return case.tool(CONFIGS, "--alter", *args)


def entities(case):
    alter(case, "--entity-type", "users", "--entity-name", "ada", "--add-config", "producer_byte_rate=1024,request_percentage=25.5")
    alter(case, "--entity-type", "users", "--entity-default", "--add-config", "request_percentage=50")
    alter(case, "--entity-type", "clients", "--entity-name", "app", "--add-config", "consumer_byte_rate=2048")
    alter(case, "--user", "ada", "--client", "app", "--add-config", "producer_byte_rate=77")
    alter(case, "--user-defaults", "--client-defaults", "--add-config", "controller_mutation_rate=5")
    alter(case, "--entity-type", "ips", "--entity-name", "127.0.0.9", "--add-config", "connection_creation_rate=100")

    expected = {
        ("--entity-type", "users"): [
            "Quota configs for the default user-principal are request_percentage=50.0",
            "Quota configs for user-principal 'ada' are producer_byte_rate=1024.0, request_percentage=25.5",
        ],
        ("--entity-type", "clients"): ["Quota configs for client-id 'app' are consumer_byte_rate=2048.0"],
        ("--entity-type", "users", "--entity-type", "clients"): [
            "Quota configs for the default user-principal, the default client-id are controller_mutation_rate=5.0",
            "Quota configs for user-principal 'ada', client-id 'app' are producer_byte_rate=77.0",
        ],
        ("--user", "ada"): ["Quota configs for user-principal 'ada' are producer_byte_rate=1024.0, request_percentage=25.5"],
        ("--user", "ada", "--client", "app"): ["Quota configs for user-principal 'ada', client-id 'app' are producer_byte_rate=77.0"],
        ("--user-defaults",): ["Quota configs for the default user-principal are request_percentage=50.0"],
        ("--user", "nobody"): [],
        ("--entity-type", "ips"): ["Quota configs for ip '127.0.0.9' are connection_creation_rate=100.0"],
    }
    if "DescribeUserScramCredentials" not in usable_apis(case):
        expected = {args: lines for args, lines in expected.items() if args[-1] not in ("users", "ada", "nobody")}
    show = lambda: {args: [in_order(line) for line in described(case, *args)] for args in expected}
    case.equal("quotas", {args: sorted(lines) for args, lines in expected.items()}, show())

    case.broker.kill()
    case.broker.start()
    case.equal("quotas after the broker's end", {args: sorted(lines) for args, lines in expected.items()}, show())

    alter(case, "--user", "ada", "--add-config", "producer_byte_rate=2048", "--delete-config", "request_percentage")
    if ("--user", "ada") in expected:
        changed = ["Quota configs for user-principal 'ada' are producer_byte_rate=2048.0"]
        case.equal("changed", changed, described(case, "--user", "ada"))
    for entity, keys in (
        (["--user", "ada"], "producer_byte_rate"),
        (["--user-defaults"], "request_percentage"),
        (["--client", "app"], "consumer_byte_rate"),
        (["--user", "ada", "--client", "app"], "producer_byte_rate"),
        (["--user-defaults", "--client-defaults"], "controller_mutation_rate"),
        (["--entity-type", "ips", "--entity-name", "127.0.0.9"], "connection_creation_rate"),
    ):
        alter(case, *entity, "--delete-config", keys)
    for args in expected:
        case.equal(f"quotas of {args} after their deletion", [], described(case, *args))


def in_order(line):
    """The tool prints an entity's quotas in the order of a hash map."""
    entity, _, quotas = line.partition(" are ")
    return f"{entity} are {', '.join(sorted(quotas.split(', ')))}"


def refusals(case):
    said = case.refused(CONFIGS, "--alter", "--client", "app", "--add-config", "no_such=1")
    case.true(f"an unknown quota: {said}", "no_such" in said)
    said = case.refused(CONFIGS, "--alter", "--client", "app", "--add-config", "producer_byte_rate=-1")
    case.true(f"a quota below zero: {said}", "InvalidRequestException" in said or "ConfigException" in said)
    case.equal("quotas", [], described(case, "--entity-type", "clients"))
