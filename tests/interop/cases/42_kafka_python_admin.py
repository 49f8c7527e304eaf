"""kafka-python's own integration tests of its admin client, from its source archive."""

from rig.kafka_python import run_tests

CLIENT = "kafka-python"
TESTS = {
    "create and delete topics": ["test_create_delete_topics"],
    "create partitions": ["test_create_partitions"],
    "describe configs of brokers and topics": [
        "test_describe_configs_broker_resource_returns_configs",
        "test_describe_configs_topic_resource_returns_configs",
        "test_describe_configs_mixed_resources_returns_configs",
        "test_describe_configs_invalid_broker_id_raises",
    ],
    "describe groups": ["test_describe_group_exists"],
    "list and delete groups": ["test_delete_groups", "test_delete_groups_with_errors"],
    "delete records": ["test_delete_records", "test_delete_records_with_errors"],
    "list offsets": ["test_list_partition_offsets"],
    "describe topic partitions, paged": ["test_describe_topic_partitions", "test_describe_topic_partitions_pagination"],
    "elect leaders, reassign partitions": [
        "test_elect_leaders",
        "test_alter_partition_reassignments",
        "test_list_partition_reassignments",
    ],
    "describe log directories": ["test_describe_log_dirs"],
    "move a replica to where it is": ["test_alter_replica_log_dirs"],
    "describe the metadata quorum": ["test_describe_metadata_quorum"],
    "list config resources": ["test_list_config_resources"],
}
FEATURES = list(TESTS)
LEFT_OUT = {"test_create_describe_delete_acls"}  # wants a broker with an authorizer


def run(case):
    run_tests(case, "test_admin_integration.py", TESTS, LEFT_OUT)
