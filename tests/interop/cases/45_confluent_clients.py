"""confluent-kafka (librdkafka): idempotent producer, seeking by time, cooperative and static group members."""

CLIENT = "confluent-kafka"
FEATURES = [
    "idempotent producer: keys, headers, every codec",
    "offsets for times, seek, watermarks",
    "group: cooperative-sticky, a second member joins and leaves",
    "group: a static member returns without a rebalance, its double is fenced",
]


def run(case):
    case.python("confluent_clients.py")
