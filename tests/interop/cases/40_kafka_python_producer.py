"""kafka-python's own integration tests of its producer, from its source archive.

Left out: SASL and SSL, whose tests start brokers of their own.
"""

from rig.kafka_python import run_tests

CLIENT = "kafka-python"
SETTINGS = {"num.partitions": "4"}  # what its own brokers have
TESTS = {
    "produce with each codec, read back": ["test_end_to_end"],
    "offset and timestamp of each record sent": ["test_kafka_producer_proper_record_metadata"],
    "idempotent producer": ["test_idempotent_producer"],
    "idempotent producer with 1, 2, 5 requests in flight": ["test_idempotent_producer_max_in_flight"],
    "idempotent producer with many small batches": ["test_idempotent_producer_high_throughput"],
    "transactions": ["test_transactional_producer_messages", "test_transactional_producer_offsets"],
}
FEATURES = list(TESTS)
GAPS = {"transactions": "no transaction APIs"}


def run(case):
    run_tests(case, "test_producer_integration.py", TESTS)
