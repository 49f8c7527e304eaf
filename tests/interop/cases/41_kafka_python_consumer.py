"""kafka-python's own integration tests of its consumer, from its source archive."""

from rig.kafka_python import run_tests

CLIENT = "kafka-python"
SETTINGS = {"group.min.session.timeout.ms": "1000"}  # its sessions are of 3 s
TESTS = {
    "subscribe, assign, pause, metadata": ["test_consumer", "test_consumer_topics", "test_paused"],
    "the broker's version, inferred": ["test_kafka_version_infer"],
    "reads, blocks, refuses an unknown codec": [
        "test_kafka_consumer",
        "test_kafka_consumer_unsupported_encoding",
        "test_kafka_consumer__blocking",
    ],
    "fetch sizes of every kind": ["test_kafka_consumer_max_bytes_simple", "test_kafka_consumer_max_bytes_one_msg"],
    "committed offsets, seek to the end": [
        "test_kafka_consumer__offset_commit_resume",
        "test_kafka_consumer_position_after_seek_to_end",
    ],
    "offsets by timestamp": [
        "test_kafka_consumer_offsets_for_time",
        "test_kafka_consumer_offsets_search_many_partitions",
        "test_kafka_consumer_offsets_for_times_errors",
    ],
    "a group of four, heartbeats": ["test_group", "test_heartbeat_thread"],
}
FEATURES = list(TESTS)


def run(case):
    run_tests(case, "test_consumer_integration.py", TESTS)
