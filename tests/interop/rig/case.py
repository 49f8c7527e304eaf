"""What a case gets: a fresh broker over a fresh storage, clients that talk to it, and comparisons that show the difference.

A case is a file `cases/NN_name.py` with a docstring (its first line is what the case shows), a function `run(case)`, and,
if it differs from the default, `NEEDS_BROKER = False`, `STORAGES = ("minio",)` or `SLOW = True` (left out by --quick, else
started first), `SETTINGS = {"num.partitions": "4"}` for its broker.
What it shows of a client goes into docs/clients.md: `features.py` says how it declares that.
"""

import json
import os

from . import packages, wire
from .clients import Java, Kcat, run_command
from .processes import CommandFailed, wait_until


class Mismatch(Exception):
    """What was read is not what was sent."""


class Case:
    def __init__(self, directory, store, installed, quick):
        self.directory = directory
        self.store = store
        self.quick = quick
        self.transcript = os.path.join(directory, "commands.log")
        self.java = Java(installed.java, installed.kafka_libs, self.transcript)
        self._installed = installed
        self.broker = None
        self.kcat = None
        self.notes = {}  # feature -> None if it was shown, else what went wrong

    def start_broker(self, make, settings):
        self.broker = make(self.directory, self.store, self.java, settings)
        self.broker.start()
        self.kcat = Kcat(self._installed.kcat, self.broker.bootstrap, self.transcript)

    def path(self, name):
        """A file of this case."""
        return os.path.join(self.directory, name)

    # --- the broker, raw ---

    def topic(self, name, partitions=1, **configs):
        """Makes a topic without a JVM; config keys are written with '_' for '.'. Returns when it has leaders."""
        with wire.Connection(self.broker.port) as connection:
            connection.create_topic(name, partitions, {key.replace("_", "."): value for key, value in configs.items()})
        wait_until(f"leaders of {name}", lambda: self._has_leaders(name, partitions), 15)
        return name

    def _has_leaders(self, name, partitions):
        try:
            return [self.end_offset(name, p) for p in range(partitions)] == [0] * partitions
        except (wire.ErrorCode, OSError):
            return False

    def end_offset(self, topic, partition=0):
        with wire.Connection(self.broker.port) as connection:
            return connection.offset(topic, partition, -1)

    def batches(self, topic, partition=0):
        with wire.Connection(self.broker.port) as connection:
            return connection.batches(topic, partition)

    # --- tools ---

    def tool(self, main_class, *args, **kwargs):
        """A Java tool of org.apache.kafka.tools (or a full class name) against the broker; its stdout as text."""
        return self._tool(main_class, *args, **kwargs).stdout.decode()

    def refused(self, main_class, *args, **kwargs):
        """The same for a tool that shall end with exit code 1: all that it said."""
        done = self._tool(main_class, *args, codes=(1,), **kwargs)
        return done.stdout.decode() + done.stderr

    def _tool(self, main_class, *args, **kwargs):
        main_class = main_class if main_class.startswith(("kafka.", "org.")) else f"org.apache.kafka.tools.{main_class}"
        # Most tools take it anywhere; where it must follow a subcommand, the case says it.
        server = () if "--bootstrap-server" in args else ("--bootstrap-server", self.broker.bootstrap)
        return self.java.call(main_class, *server, *args, **kwargs)

    def table(self, main_class, *args, **kwargs):
        """The rows of a Java tool's tables, as lists of words; without empty lines and head lines."""
        lines = [line.split() for line in self.tool(main_class, *args, **kwargs).splitlines()]
        return [words for words in lines if words and words[0] not in ("GROUP", "TOPIC")]

    # --- programs that use other people's clients ---

    def note(self, feature, error=None):
        """Notes a feature of FEATURES as shown, or what went wrong with it."""
        self.notes[feature] = error

    def python(self, program, *args, seconds=90):
        """A program of `python/`, in the environment that has the Python clients."""
        self._program([packages.ensure_python(), "-B", os.path.join(packages.INTEROP, "python", program)], args, seconds)

    def node(self, program, *args, seconds=90):
        """A program of `node/`."""
        env = dict(os.environ, NODE_PATH=packages.ensure_node_modules())
        self._program([packages.ensure_node(), os.path.join(packages.INTEROP, "node", program)], args, seconds, env)

    def go(self, program, *args, seconds=90):
        """A program of `go/`, compiled."""
        self._program([os.path.join(packages.ensure_go_programs(), program)], args, seconds)

    def _program(self, argv, args, seconds, env=None):
        """Runs it with the bootstrap address; it prints one line {"feature", "error"} per feature and ends with 0."""
        done = run_command([*argv, self.broker.bootstrap, *map(str, args)], self.transcript, seconds=seconds, env=env)
        for line in done.stdout.decode().splitlines():
            if line.startswith('{"feature"'):
                noted = json.loads(line)
                self.note(noted["feature"], noted["error"])

    # --- comparing ---

    def equal(self, what, expected, found):
        """Raises Mismatch with the first place where two values (lists: elements) differ."""
        if expected == found:
            return
        if not (isinstance(expected, list) and isinstance(found, list)):
            raise Mismatch(f"{what}: expected {_brief(expected)}, found {_brief(found)}")
        for i, (e, f) in enumerate(zip(expected, found)):
            if e != f:
                raise Mismatch(f"{what}: element {i} of {len(expected)}: expected {_brief(e)}, found {_brief(f)}")
        extra = expected[len(found) :] or found[len(expected) :]
        raise Mismatch(f"{what}: expected {len(expected)} elements, found {len(found)}; the first other is {_brief(extra[0])}")

    def true(self, what, condition):
        if not condition:
            raise Mismatch(what)

    def dense_from(self, first, records):
        """Offsets of one partition's records are first, first + 1, …: nothing lost, doubled or out of order (I3)."""
        self.equal("offsets", list(range(first, first + len(records))), [r.offset for r in records])

    def wait_until(self, what, condition, seconds=30):
        return wait_until(what, condition, seconds)


def _brief(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"


__all__ = ["Case", "CommandFailed", "Mismatch"]
