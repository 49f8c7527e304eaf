"""MinIO honours create-if-absent: the one primitive the log rests on, asked without any broker.

A conditional PUT of a new key succeeds, of an existing key answers 412 and leaves the body; of many writers of one key at
the same time exactly one wins.
"""

from concurrent.futures import ThreadPoolExecutor

from rig.store import BUCKET

NEEDS_BROKER = False
STORAGES = ("minio",)
ONLY_IF_ABSENT = {"If-None-Match": "*"}


def run(case):
    put = lambda key, body: case.store.request("PUT", f"/{BUCKET}/{key}", body, ONLY_IF_ABSENT)[0]
    case.equal("first create", 200, put("probe/one", b"first"))
    case.equal("second create", 412, put("probe/one", b"second"))
    case.equal("body", (200, b"first"), case.store.request("GET", f"/{BUCKET}/probe/one"))

    for race in range(5):
        bodies = [f"writer {i}".encode() * 1000 for i in range(16)]
        with ThreadPoolExecutor(16) as writers:
            answers = list(writers.map(lambda body: put(f"probe/race-{race}", body), bodies))
        # 409 is S3's answer to a conditional write that meets another in flight; the loser does not exist.
        case.equal(f"winners of race {race}", 1, answers.count(200))
        case.equal(f"other answers of race {race}", set(), set(answers) - {200, 412, 409})
        stored = case.store.request("GET", f"/{BUCKET}/probe/race-{race}")
        case.equal(f"body after race {race}", (200, bodies[answers.index(200)]), stored)
