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
GAPS = {
    "create partitions": "not served yet",
    "incremental alter configs": "not served yet",
    "delete records": "not served yet",
}


def run(case):
    case.python("confluent_admin.py")
