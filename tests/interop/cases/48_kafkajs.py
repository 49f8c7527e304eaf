"""kafkajs: produce with gzip, consume in a group, the admin client."""

CLIENT = "kafkajs"
FEATURES = [
    "create topics, fetch topic metadata",
    "produce with gzip",
    "consume in a group of two, commit",
    "fetch, set and reset offsets of a group",
    "describe configs",
    "alter configs",
    "list, describe and delete groups",
    "delete records",
    "create partitions",
    "delete topics",
]


def run(case):
    case.node("kafkajs.js")
