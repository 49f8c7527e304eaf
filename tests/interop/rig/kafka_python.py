"""kafka-python's own integration tests against the broker of a case. A test says what it shows only by its name: the cases
map features to tests, and every test that the file has must belong to one."""

import os
import shutil
import xml.etree.ElementTree

from . import packages
from .clients import run_command

# Of brokers that are older than any here.
SKIPPED = {"test_kafka_consumer_offsets_for_time_old"}

# A pytest plugin that sees a race inside the client, and the property it gives a test in which that happened. Such a test is
# run once more when it failed.
RACE_PLUGIN = "rig.kafka_python_race"
RACED = "lost topics"
ROUNDS_MAX = 4
INTEROP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run_tests(case, file, tests, left_out=()):
    """Runs one file of tests and notes each feature of `tests` (feature -> test functions)."""
    copy = case.path("kafka-python")
    shutil.copytree(packages.ensure_kafka_python_tests(), copy)
    report = case.path("kafka-python.xml")
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", RACE_PLUGIN, "--tb=short", "--timeout=60"]
    pytest.append(f"--junitxml={report}")
    env = dict(os.environ, KAFKA_URI=f"kafka://{case.broker.bootstrap}", KAFKA_VERSION=case.broker.api_versions)
    # KAFKA_ROOT only has to exist: no broker is started from it.
    env.update(PYTHONPATH=os.pathsep.join([copy, INTEROP]), KAFKA_ROOT=copy)
    argv = [packages.ensure_python(), "-B", *pytest, f"--rootdir={copy}"]
    for name in left_out:
        argv += ["--deselect", f"test/integration/{file}::{name}"]
    path = os.path.join(copy, "test", "integration", file)
    results, chosen = {}, [path]
    for _ in range(ROUNDS_MAX):
        run_command([*argv, *chosen], case.transcript, seconds=240, codes=(0, 1), env=env)
        of_round, raced = _results(report)
        results.update(of_round)
        if not raced:
            break
        print(f"  once more, for a race in the client: {', '.join(raced)}", flush=True)
        chosen = [f"{path}::{name}" for name in raced]
    case.equal("tests of the archive and of the case", sorted(sum(tests.values(), [])), sorted(set(results) - SKIPPED))
    for feature, names in tests.items():
        errors = [error for name in names for error in results[name] if error]
        case.note(feature, "; ".join(errors) or None)


def _results(report):
    """Test function -> per parameter set None or what went wrong, and the functions of which one failed after a race in the
    client. A skipped test shows nothing: that is an error too."""
    results, raced = {}, set()
    for test in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = test.get("name")
        function = name.partition("[")[0]
        wrong = next((child for child in test if child.tag in ("failure", "error", "skipped")), None)
        error = None if wrong is None else f"{name}: {wrong.tag}: {(wrong.get('message') or '').strip()[:300]}"
        results.setdefault(function, []).append(error)
        if error and any(given.get("name") == RACED for given in test.iter("property")):
            raced.add(function)
    return results, sorted(raced)
