"""Runs jobs beside each other, each in a process of its own.

A job has its own ports, its own children, its own alarm clock, and output that is shown when it has ended: two cases do not
disturb each other, and one that hangs is ended alone.
"""

import collections
import os
import signal
import sys
import time
import traceback

from . import processes

# `key` names the job; `work()` returns whether it went well; its output is collected in the file `output`.
Job = collections.namedtuple("Job", "key title output work")


def run_all(jobs, at_once):
    """Runs the jobs, in their order as there is room: {key: (ok, seconds)}."""
    waiting, free, running, ended = list(jobs), list(range(at_once)), {}, {}
    try:
        while waiting or running:
            while waiting and free:
                job, slot = waiting.pop(0), free.pop(0)
                print(job.title, flush=True)
                running[_fork(job, slot, at_once)] = (job, slot, time.monotonic())
            pid, code = _wait_for_one(running)
            job, slot, started = running.pop(pid)
            free.append(slot)
            with open(job.output, encoding="utf-8", errors="replace") as output:
                sys.stdout.write(output.read())
            ended[job.key] = (code == 0, time.monotonic() - started)
    finally:
        _end(running)
    return ended


def _fork(job, slot, slots):
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    ok, started = False, time.monotonic()
    try:
        with open(job.output, "wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        processes.own_share(slot, slots)
        ok = job.work()
    except SystemExit:  # SIGTERM
        pass
    except BaseException:  # whatever it is, the run that was forked may not go on here
        traceback.print_exc()
    finally:
        processes.kill_all()
        print(f"{job.key}: {'ok' if ok else 'FAIL'}, {time.monotonic() - started:.1f} s")
        sys.stdout.flush()
        os._exit(0 if ok else 1)


def _wait_for_one(running):
    """(pid, exit code) of a job that has ended. The run has other children (a store), which are not waited for here."""
    while True:
        for pid in running:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return pid, os.waitstatus_to_exitcode(status)
        time.sleep(0.02)


def _end(running):
    """SIGTERM: a job's process ends its own children before itself."""
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    for pid in running:
        os.waitpid(pid, 0)
