"""What the Python programs share: functions that each show a feature, run one after the other and told apart.

A feature's name is its function's docstring. One that fails does not hide the next.
"""

import json
import sys
import time
import traceback


def run(*features):
    """Calls each function with the bootstrap address of argv and prints a line for the rig to read."""
    for feature in features:
        started, error = time.monotonic(), None
        try:
            feature(sys.argv[1])
        except Exception as raised:  # whatever a client raises is what the rig shall show
            traceback.print_exc()
            error = f"{type(raised).__name__}: {raised}"[:400]
        print(json.dumps({"feature": feature.__doc__, "error": error, "seconds": round(time.monotonic() - started, 1)}), flush=True)


def equal(what, expected, found):
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r:.300}, found {found!r:.300}")


def wait_until(what, condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value
