"""The clients: kcat (librdkafka) and Apache Kafka's Java tools. Thin: arguments in, text or records out."""

import json
import os
import subprocess
from collections import namedtuple

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
        log.write(_shortened(done.stdout) + done.stderr.decode(errors="replace") + f"(exit code {done.returncode})\n")
    if done.returncode not in codes:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-600:]
        raise CommandFailed(f"{os.path.basename(argv[0])} ended with exit code {done.returncode}: {said}")
    return Result(done.stdout, done.stderr.decode(errors="replace"), done.returncode)


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
    """Main classes of Apache Kafka. Small, quick JVMs: a start costs about a second of one core."""

    def __init__(self, binary, libs, transcript):
        self.binary, self.libs, self.transcript = binary, libs, transcript

    def argv(self, main_class, *args, heap="256m"):
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", f"-Xmx{heap}"]
        log = [f"-Dlog4j2.configurationFile={LOG4J}"]
        return [self.binary, *quick, *log, "-cp", os.path.join(self.libs, "*"), main_class, *map(str, args)]

    def run(self, main_class, *args, stdin=b"", seconds=90, codes=(0,)):
        return run_command(self.argv(main_class, *args), self.transcript, stdin, seconds, codes)
