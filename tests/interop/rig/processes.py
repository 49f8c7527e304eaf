"""Child processes, ports and waiting.

Owns: every process the rig starts, so that each ends by its own process id whatever happens. Does not know Kafka.
"""

import os
import signal
import socket
import subprocess
import time

HOST = "127.0.0.1"
# Below Linux's range for outgoing connections (32768..60999).
_ports = range(20000, 32000)
_children = []


class CommandFailed(Exception):
    """A command ended with another exit code than expected, or did not end in time."""


def free_port():
    """A loopback port nobody listens on, of those that are nobody else's: a broker that is killed and started again must
    find its port as it left it, not taken by some client's outgoing connection or by a case that runs beside."""
    for _ in range(1000):
        port = _ports[int.from_bytes(os.urandom(2), "big") % len(_ports)]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {_ports.start} and {_ports.stop}")


def own_share(slot, slots):
    """For a process that was forked to run a case beside others: ports of its own, and no child of its parent's."""
    global _ports
    size = len(_ports) // slots
    _ports = range(_ports.start + slot * size, _ports.start + (slot + 1) * size)
    _children.clear()


class Child:
    """A process that runs beside the case. Its output goes to a file, stdout and stderr apart if asked. One that `talks` has
    pipes instead: `process.stdin` and `process.stdout`."""

    def __init__(self, argv, log, env=None, stdout=None, talks=False):
        self.name = os.path.basename(argv[0])
        self.log = log
        self.stdout_path = stdout or log
        with open(log, "ab") as err:
            err.write(("\n$ " + " ".join(argv) + "\n").encode())
            err.flush()
            source, out = subprocess.DEVNULL, open(stdout, "ab") if stdout else err
            if talks:
                source = out = subprocess.PIPE
            self.process = subprocess.Popen(argv, stdin=source, stdout=out, stderr=err, env=env, start_new_session=True)
            if stdout:
                out.close()
        _children.append(self)

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def stdout(self):
        """What it has written so far; with a shared file, the log's text."""
        with open(self.stdout_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def kill(self):
        """SIGKILL, no farewell."""
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds=30):
        """SIGTERM, then its exit code. Raises CommandFailed (after SIGKILL) if it does not end in `seconds`."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._say_where_it_is()
            return self.wait(0, f"end after SIGTERM within {seconds} s")

    def _say_where_it_is(self):
        """A JVM writes the stacks of its threads to its log when asked by SIGQUIT, and goes on."""
        if self.name == "java":
            self.process.send_signal(signal.SIGQUIT)
            time.sleep(1)

    def wait(self, seconds, what="end"):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise CommandFailed(f"{self.name} (pid {self.pid}) did not {what}") from None


def running():
    """The children that have not ended."""
    return [child for child in _children if child.running()]


def kill_all():
    """Ends every child that still runs, by its process id. Safe to call twice."""
    for child in running():
        child.kill()


def wait_until(what, condition, seconds, every=0.05):
    """The first true value of `condition()`; CommandFailed names `what` if there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise CommandFailed(f"not within {seconds} s: {what}")
        time.sleep(every)


def accepts_connections(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def tail(path, lines):
    """The last `lines` lines of a file, or a word why not."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-lines:])
    except OSError as error:
        return f"({path}: {error.strerror})\n"
