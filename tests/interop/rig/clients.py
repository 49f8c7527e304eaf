"""The clients: kcat (librdkafka) and Apache Kafka's Java tools. Thin: arguments in, text or records out."""

import json
import os
import select
import struct
import subprocess
import time
from collections import namedtuple

from . import tools
from .processes import Child, CommandFailed

# headers is a tuple of (name, value) in order; key and value are None where they are null, else text.
Record = namedtuple("Record", "topic partition offset timestamp key value headers")
Result = namedtuple("Result", "stdout stderr code")

HERE = os.path.dirname(os.path.realpath(__file__))
LOG4J = os.path.join(HERE, "..", "kafka", "log4j2.properties")


def run_command(argv, transcript, stdin=b"", seconds=60, codes=(0,), env=None):
    """Runs a command to its end and notes it in the transcript. Raises CommandFailed for any code not in `codes`."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    with open(transcript, "a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(argv)}\n")
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, timeout=seconds, env=env)
        except subprocess.TimeoutExpired as late:
            for stream in (late.stdout, late.stderr):
                log.write((stream or b"").decode(errors="replace")[-4000:])
            raise CommandFailed(f"{argv[0]} still ran after {seconds} s") from None
    return _result(os.path.basename(argv[0]), transcript, done.stdout, done.stderr, done.returncode, codes)


def _result(name, transcript, stdout, stderr, code, codes):
    with open(transcript, "a", encoding="utf-8") as log:
        log.write(_shortened(stdout) + stderr.decode(errors="replace") + f"(exit code {code})\n")
    if code not in codes:
        said = (stderr or stdout).decode(errors="replace").strip()[-600:]
        raise CommandFailed(f"{name} ended with exit code {code}: {said}")
    return Result(stdout, stderr.decode(errors="replace"), code)


def _shortened(output, most=800):
    """Beginning and end: records differ little from one another, and a failing case names the first that does not fit."""
    text = output.decode(errors="replace")
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}\n[… {len(text) - most} characters …]\n{text[-most // 2 :]}"


class Kcat:
    """kcat against one broker. CRCs are checked, which librdkafka leaves out by default."""

    def __init__(self, binary, bootstrap, transcript):
        self.binary, self.bootstrap, self.transcript = binary, bootstrap, transcript

    def argv(self, *args):
        consumes = ["-X", "check.crcs=true"] if "-C" in args or "-G" in args else []
        return [self.binary, "-b", self.bootstrap, "-m", "20", *consumes, *map(str, args)]

    def run(self, *args, stdin=b"", seconds=60, codes=(0,)):
        return run_command(self.argv(*args), self.transcript, stdin, seconds, codes)

    def produce(self, topic, pairs, *args):
        """Sends (key, value) pairs as text, one record per line, acks=all; no key where it is None."""
        lines = "".join(f"{'' if key is None else key + '|'}{value}\n" for key, value in pairs)
        keyed = ["-K", "|"] if any(key is not None for key, _ in pairs) else []
        return self.run("-P", "-t", topic, *keyed, *args, stdin=lines)

    def consume(self, topic, *args, partition=None, offset="beginning"):
        """Records from `offset` to the end of the partition(s), in the order in which they arrived."""
        where = ["-p", partition] if partition is not None else []
        done = self.run("-C", "-q", "-J", "-e", "-t", topic, *where, "-o", offset, *args)
        return parse_json_records(done.stdout.decode())

    def consume_in_background(self, group, topic, output, *args):
        """A balanced consumer; its records go to `output`, its rebalances to `output`.log."""
        return Child(
            self.argv("-J", "-u", "-X", "auto.offset.reset=earliest", *args, "-G", group, topic),
            output + ".log",
            stdout=output,
        )


def parse_json_records(text):
    """kcat's JSON envelopes, one per line; a last line without its end is still being written and is left out."""
    records = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        envelope = json.loads(line)
        flat = envelope.get("headers", [])
        headers = tuple(zip(flat[::2], flat[1::2]))
        place = (envelope["topic"], envelope["partition"], envelope["offset"], envelope["ts"])
        records.append(Record(*place, envelope["key"], envelope["payload"], headers))
    return records


class Java:
    """Main classes of Apache Kafka. Small, quick JVMs: a start costs one to two seconds of a core."""

    def __init__(self, binary, libs, transcript):
        self.binary, self.libs, self.transcript = binary, libs, transcript
        self._server = None

    def argv(self, main_class, *args, heap="256m"):
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", f"-Xmx{heap}"]
        log = [f"-Dlog4j2.configurationFile={LOG4J}"]
        path = os.path.join(self.libs, "*") + os.pathsep + tools.ensure_kafka_calls(self.libs)
        return [self.binary, *quick, *log, "-cp", path, main_class, *map(str, args)]

    def run(self, main_class, *args, stdin=b"", seconds=90, codes=(0,)):
        """In a JVM of its own."""
        return run_command(self.argv(main_class, *args), self.transcript, stdin, seconds, codes)

    def call(self, main_class, *args, stdin=b"", seconds=90, codes=(0,)):
        """In the one JVM that runs the tools of a case, one after another (kafka/Tools.java)."""
        words = [main_class, *map(str, args)]
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        with open(self.transcript, "a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(words)}\n")
        if not (self._server and self._server.running()):
            self._server = Child(self.argv("Tools"), self.transcript + ".jvm.log", talks=True)
        parts = [word.encode() for word in words] + [stdin]
        message = b"".join(struct.pack(">i", len(part)) + part for part in parts)
        self._server.process.stdin.write(struct.pack(">i", len(words)) + message)
        self._server.process.stdin.flush()
        try:
            code, out, err = self._answer(time.monotonic() + seconds)
        except TimeoutError:
            self._server.kill()
            raise CommandFailed(f"{main_class} still ran after {seconds} s") from None
        return _result(main_class, self.transcript, out, err, code, codes)

    def _answer(self, deadline):
        number = lambda: struct.unpack(">i", self._exactly(4, deadline))[0]
        return number(), self._exactly(number(), deadline), self._exactly(number(), deadline)

    def _exactly(self, size, deadline):
        pipe, received = self._server.process.stdout.fileno(), bytearray()
        while len(received) < size:
            if not select.select([pipe], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            part = os.read(pipe, size - len(received))
            if not part:
                self._server.kill()
                raise CommandFailed(f"the JVM of the tools ended: the tool called System.exit, or see {self._server.log}")
            received += part
        return bytes(received)
