"""The broker under test: `aquifer`, or Apache Kafka itself.

Apache Kafka is here to prove the rig: a case that fails against Kafka is wrong, whatever Aquifer says. Both keep their
port and their storage over `kill` and `start`, which is what the crash cases rest on.
"""

import base64
import os
import subprocess
import uuid

from . import wire
from .processes import HOST, Child, CommandFailed, accepts_connections, free_port, wait_until

NODE_ID = 0
# What a test wants of any broker: a group's first rebalance does not wait for members that nobody starts.
SETTINGS = {"group.initial.rebalance.delay.ms": "0"}


class Broker:
    """Life: `start` -> (`kill` | `stop`) -> `start` …; `close` at the end of the case."""

    exit_codes = (0,)
    counts_replicas = False  # whether a topic's replication factor must not exceed the number of brokers
    deletions_survive_kill = True  # whether records once deleted are so after kill -9

    def __init__(self, case_dir):
        self.port = free_port()
        self.bootstrap = f"{HOST}:{self.port}"
        self.log = os.path.join(case_dir, "broker.log")
        self.child = None

    def start(self, seconds=60):
        """Starts the process and returns when it answers Metadata with itself as a live broker."""
        self.child = self._spawn()
        wait_until(f"{self.child.name} ready on {self.bootstrap}", self._ready, seconds)

    def _ready(self):
        if not self.child.running():
            raise CommandFailed(f"{self.child.name} ended at start with exit code {self.child.process.returncode}")
        if not accepts_connections(self.port):
            return False
        try:
            with wire.Connection(self.port, timeout=5) as connection:
                return any(b.node_id == NODE_ID and b.port == self.port for b in connection.brokers())
        except OSError:
            return False

    def kill(self):
        """kill -9. A broker that had already ended by itself is a failure, not a kill."""
        self.check_running()
        self.child.kill()

    def stop(self):
        """SIGTERM; it must leave within its grace of 30 s and with the exit code of an orderly end."""
        self.check_running()
        code = self.child.terminate(30)
        if code not in self.exit_codes:
            raise CommandFailed(f"{self.child.name} ended after SIGTERM with exit code {code}")

    def check_running(self):
        if not self.child.running():
            raise CommandFailed(f"{self.child.name} ended by itself with exit code {self.child.process.returncode}")

    def close(self):
        """The end of a passed case: an orderly stop, then whatever the broker can prove about what it stored."""
        self.stop()


class Aquifer(Broker):
    api_versions = "4.1"  # the Apache Kafka whose API versions it advertises

    def __init__(self, case_dir, binary, store, settings):
        super().__init__(case_dir)
        self.binary = binary
        self.settings = {**SETTINGS, **settings}
        self.storage_url = store.url(case_dir, "log")
        # AQUIFER_* are keys of the broker's configuration: what the caller's shell has of them is not a case's.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AQUIFER_")}
        self.env = {"RUST_LOG": "info", **inherited, "RUST_BACKTRACE": "1", **store.env()}

    def _spawn(self):
        argv = [self.binary, "--storage", self.storage_url, "--listeners", f"PLAINTEXT://{self.bootstrap}"]
        argv += ["--advertised-listeners", f"PLAINTEXT://{self.bootstrap}"]
        argv += ["--node-id", str(NODE_ID)]
        for key, value in self.settings.items():
            argv += ["--set", f"{key}={value}"]
        return Child(argv, self.log, env=self.env)

    def close(self):
        super().close()
        with open(self.log, encoding="utf-8", errors="replace") as log:
            if "panicked at" in log.read():
                raise CommandFailed(f"a task panicked, see {self.log}")
        self.verify()

    def verify(self):
        """`aquifer storage verify`: every object that the journal names is there and whole."""
        argv = [self.binary, "storage", "verify", "--storage", self.storage_url]
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=120)
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(argv)}\n{done.stdout}{done.stderr}(exit code {done.returncode})\n")
        if done.returncode != 0:
            raise CommandFailed(f"storage verify: exit code {done.returncode}: {(done.stdout + done.stderr)[-600:]}")


class ApacheKafka(Broker):
    """One process in both KRaft roles. It has a log directory of its own; the store of the run does not concern it."""

    api_versions = "4.3"
    exit_codes = (0, 143)
    counts_replicas = True
    deletions_survive_kill = False  # it notes where a log starts once a minute, and when it ends

    def __init__(self, case_dir, java, settings):
        super().__init__(case_dir)
        self.java = java
        self.properties = os.path.join(case_dir, "server.properties")
        controller = f"{HOST}:{free_port()}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(NODE_ID),
            "controller.quorum.bootstrap.servers": controller,
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": os.path.join(case_dir, "kafka-logs"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "5",
            # A broker killed with SIGKILL waits for its own old session to end before it is unfenced: keep that short.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            **SETTINGS,
            **settings,
        }
        with open(self.properties, "w", encoding="utf-8") as f:
            f.writelines(f"{key}={value}\n" for key, value in settings.items())
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A leading '-' would be read as an option by argparse4j.
        cluster_id = "A" + cluster_id[1:]
        self.java.run("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", self.properties, "--standalone")

    def _spawn(self):
        return Child(self.java.argv("kafka.Kafka", self.properties, heap="768m"), self.log)
