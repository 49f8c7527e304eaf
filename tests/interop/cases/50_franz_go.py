"""franz-go (kgo, kadm): idempotent producer, fetch sessions, cooperative groups, the admin client."""

CLIENT = "franz-go"
PACKAGE = "github.com/twmb/franz-go"
FEATURES = [
    "idempotent producer: keys, headers, every codec",
    "fetch sessions",
    "group: cooperative rebalance, commit",
    "kadm: create and delete topics",
    "kadm: create partitions",
    "kadm: metadata, describe cluster",
    "kadm: describe configs",
    "kadm: incremental alter configs",
    "kadm: list, describe and delete groups",
    "kadm: fetch, commit and delete group offsets, lag",
    "kadm: list offsets",
    "kadm: delete records",
    "kadm: describe log directories",
    "kadm: describe producers",
]


def run(case):
    case.go("franz")
