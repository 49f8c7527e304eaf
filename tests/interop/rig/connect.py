"""A Kafka Connect worker in distributed mode, and its REST interface."""

import http.client
import json
import time

from .processes import HOST, Child, CommandFailed, free_port, wait_until

FILES = "org.apache.kafka.connect.file.FileStream"
# In the stacks of a worker that does not stop (`Child.terminate`).
JOINING_ITS_WEB_SERVER = "org.apache.kafka.connect.runtime.rest.RestServer.stop(RestServer"


class Worker:
    """One worker process. Its port stays over `kill`, `stop` and `start`; everything else is in the broker's topics."""

    def __init__(self, case, name="worker", **settings):
        self.case, self.port, self.log, self.child = case, free_port(), case.path(name + ".log"), None
        self.properties = case.path(name + ".properties")
        settings = {key.replace("_", "."): value for key, value in settings.items()}
        values = {
            "bootstrap.servers": case.broker.bootstrap,
            "group.id": "connect",
            "config.storage.topic": "connect-configs",
            "offset.storage.topic": "connect-offsets",
            "status.storage.topic": "connect-status",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "listeners": f"http://{HOST}:{self.port}",
            # A test does not wait a minute for a commit, nor five for a worker that is gone, nor for a class path scan.
            "offset.flush.interval.ms": 500,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "consumer.session.timeout.ms": 6000,
            "consumer.heartbeat.interval.ms": 500,
            "scheduled.rebalance.max.delay.ms": 0,
            "plugin.discovery": "service_load",
            **settings,
        }
        if case.broker.counts_replicas:
            values.update({f"{kind}.storage.replication.factor": 1 for kind in ("config", "offset", "status")})
        with open(self.properties, "w", encoding="utf-8") as f:
            f.writelines(f"{key}={value}\n" for key, value in values.items())

    def start(self, seconds=60):
        """Returns when the worker is in its group and has read its topics: only then does it answer /connectors."""
        argv = self.case.java.argv("org.apache.kafka.connect.cli.ConnectDistributed", self.properties, heap="384m")
        self.child = Child(argv, self.log)
        wait_until(f"worker ready on {self.port}", self._ready, seconds, every=0.2)

    def _ready(self):
        self.case.true(f"the worker still runs, see {self.log}", self.child.running())
        try:
            return self.call("GET", "/connectors")[0] == 200
        except OSError:
            return False

    def kill(self):
        self.child.kill()

    def stop(self):
        """By SIGTERM. False if it had to be killed, for a race of its own: Connect's shutdown hook and that of its web server
        (RestServer's `setStopAtShutdown`) stop the server both, and in one stop of some tens it stays up and is joined for
        ever, before the worker leaves its group or ends a task. No broker has a part in that."""
        try:
            self.case.equal("the worker's exit code after SIGTERM", 143, self.child.terminate())
            return True
        except CommandFailed:
            if JOINING_ITS_WEB_SERVER not in self.child.log_text():
                raise
            print(f"  the web server of the worker on {self.port} did not stop: the worker was killed", flush=True)
            return False

    def call(self, method, path, body=None, seconds=30):
        """(status, JSON or None)"""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=seconds)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json", "Accept": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        with open(self.case.transcript, "a", encoding="utf-8") as log:
            log.write(f"\n{time.strftime('%H:%M:%S')} {method} {path} {payload or ''}\n{answer.status} {text.decode()[:2000]}\n")
        return answer.status, json.loads(text) if text else None

    def ask(self, method, path, body=None, status=200):
        """The JSON of an answer whose status is as expected. 409 means that the group rebalances: asked again, as Connect
        tells its users."""
        answers = []

        def settled():
            answers.append(self.call(method, path, body))
            return answers[-1][0] != 409

        wait_until(f"{method} {path} outside a rebalance", settled, 60, every=0.2)
        self.case.equal(f"status of {method} {path} ({answers[-1][1]})", status, answers[-1][0])
        return answers[-1][1]

    # --- one connector ---

    def create(self, name, connector_class, **config):
        config = {"connector.class": connector_class, "tasks.max": "1", **{k.replace("_", "."): v for k, v in config.items()}}
        self.ask("POST", "/connectors", {"name": name, "config": config}, 201)
        self.until(name, "RUNNING")

    def states(self, name):
        """The connector's state, then its tasks'; empty while it is not known."""
        status, said = self.call("GET", f"/connectors/{name}/status")
        if status != 200:
            return []
        return [said["connector"]["state"], *(task["state"] for task in said["tasks"])]

    def until(self, name, state, tasks=1, seconds=60):
        expected = [state] * (1 + tasks)
        wait_until(f"{name} is {state} with {tasks} tasks", lambda: self.states(name) == expected, seconds, every=0.1)

    def put(self, name, action, state, tasks=1):
        """pause, resume or stop; returns when connector and tasks are so."""
        self.ask("PUT", f"/connectors/{name}/{action}", status=204 if action == "stop" else 202)
        self.until(name, state, tasks)

    def offsets(self, name):
        """[(partition, offset)]"""
        return [(o["partition"], o["offset"]) for o in self.ask("GET", f"/connectors/{name}/offsets")["offsets"]]
