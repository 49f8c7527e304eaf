"""kafka-python's own integration tests against the broker of a case. A test says what it shows only by its name: the cases
map features to tests, and every test that the file has must belong to one."""

import os
import shutil
import xml.etree.ElementTree

from . import packages
from .clients import run_command

# Of brokers that are older than any here.
SKIPPED = {"test_kafka_consumer_offsets_for_time_old"}

# What a race inside kafka-python 3.0.12 looks like. A consumer that subscribes while its bootstrap's metadata request is on the way
# forgets that it needs another one: the answer to the first clears `ClusterMetadata._need_update` (cluster.py, the "TODO:
# handle future when old metadata request is currently in-flight" of set_topics), so it never asks for its topic, and gets
# nothing until metadata_max_age_ms of five minutes. A test that failed in this way, and in no other, is run once more.
CLIENT_RACE = "assert set() == {"


def run_tests(case, file, tests, left_out=()):
    """Runs one file of tests and notes each feature of `tests` (feature -> test functions)."""
    copy = case.path("kafka-python")
    shutil.copytree(packages.ensure_kafka_python_tests(), copy)
    report = case.path("kafka-python.xml")
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "--timeout=60", f"--junitxml={report}"]
    env = dict(os.environ, KAFKA_URI=f"kafka://{case.broker.bootstrap}", KAFKA_VERSION=case.broker.api_versions)
    # KAFKA_ROOT only has to exist: no broker is started from it.
    env.update(PYTHONPATH=copy, KAFKA_ROOT=copy)
    argv = [packages.ensure_python(), "-B", *pytest, f"--rootdir={copy}", os.path.join(copy, "test", "integration", file)]
    for name in left_out:
        argv += ["--deselect", f"test/integration/{file}::{name}"]
    run_command(argv, case.transcript, seconds=240, codes=(0, 1), env=env)
    results = _results(report)
    raced = [name for name, errors in results.items() if any(error and CLIENT_RACE in error for error in errors)]
    if raced:
        print(f"  once more, for a race in the client: {', '.join(raced)}")
        run_command([*argv, "-k", " or ".join(raced)], case.transcript, seconds=240, codes=(0, 1), env=env)
        results.update(_results(report))
    case.equal("tests of the archive and of the case", sorted(sum(tests.values(), [])), sorted(set(results) - SKIPPED))
    for feature, names in tests.items():
        errors = [error for name in names for error in results[name] if error]
        case.note(feature, "; ".join(errors) or None)


def _results(report):
    """Test function -> per parameter set None or what went wrong. A skipped test shows nothing: that is an error too."""
    results = {}
    for test in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = test.get("name")
        wrong = next((child for child in test if child.tag in ("failure", "error", "skipped")), None)
        error = None if wrong is None else f"{name}: {wrong.tag}: {(wrong.get('message') or '').strip()[:300]}"
        results.setdefault(name.partition("[")[0], []).append(error)
    return results
