"""confluent-kafka (librdkafka): AdminClient, what it changes and what it is refused."""

CLIENT = "confluent-kafka"
FEATURES = [
    "create and delete topics",
    "create partitions",
    "describe cluster and topics",
    "describe configs of topics and brokers",
    "incremental alter configs",
    "list, describe and delete groups",
    "list and alter offsets of groups",
    "delete records",
    "list offsets",
]


def run(case):
    case.python("confluent_admin.py")
