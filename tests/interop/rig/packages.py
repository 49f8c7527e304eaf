"""Other people's clients, from their package registries by name and pinned version: Python, Node.js, Go.

The lists are in the clone (`python/requirements.txt`, `node/package.json` with its lock, `go/go.mod` with its sums). What
is installed lies in $AQUIFER_CACHE under a digest of the list, so that a new pin is a new installation; it is made in a
temporary place and renamed.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile

from .tools import REPOSITORY, cache_dir, ensure_command, ensure_go, exclusive, install_packages, pom_value, run_with_progress

INTEROP = os.path.join(REPOSITORY, "tests", "interop")
REQUIREMENTS = os.path.join(INTEROP, "python", "requirements.txt")
PACKAGE_JSON = os.path.join(INTEROP, "node", "package.json")
PACKAGE_LOCK = os.path.join(INTEROP, "node", "package-lock.json")
GO = os.path.join(INTEROP, "go")
# Stands in for kafka-python's `test/service.py`, whose classes start brokers.
SERVICE_PY = """class ExternalService:
    def __init__(self, host, port):
        pass

    def open(self):
        pass


class SpawnedService:
    pass
"""


def versions():
    """Package -> pinned version, of all three lists, and what there is of Apache Kafka."""
    found = dict(re.findall(r"^([\w-]+)==(\S+)$", _read(REQUIREMENTS), re.MULTILINE))
    found.update(json.loads(_read(PACKAGE_JSON))["dependencies"])
    found.update(re.findall(r"^\s*(?:require )?(\S+/\S+) v(\S+)$", _read(os.path.join(GO, "go.mod")), re.MULTILINE))
    found.update(dict.fromkeys(("Java clients", "Kafka tools", "Kafka Connect"), pom_value("kafka.version")))
    return found


def ensure_all():
    ensure_python()
    ensure_kafka_python_tests()
    ensure_node_modules()
    ensure_go_programs()


# --- Python -----------------------------------------------------------------------------------------------------------


def ensure_python():
    """The interpreter of a virtual environment that has what `python/requirements.txt` lists."""

    def make(staging):
        if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True).returncode:
            install_packages(["python3-venv"])
        run_with_progress("python-venv", [sys.executable, "-m", "venv", staging])
        pip = [os.path.join(staging, "bin", "python"), "-m", "pip", "--disable-pip-version-check", "install"]
        run_with_progress("python-packages", [*pip, "-r", REQUIREMENTS])

    return os.path.join(_ensure("python", f"{sys.version}{_read(REQUIREMENTS)}", make), "bin", "python")


def ensure_kafka_python_tests():
    """The directory that holds `test/`, kafka-python's own tests, from its source archive. The archive lacks two files:
    the package's `__init__.py`, without which Python finds its own `test` first, and `service.py`, which starts brokers
    and which a run against a given broker only imports."""

    def make(staging):
        pip = [ensure_python(), "-m", "pip", "--disable-pip-version-check"]
        archive = ["download", "--no-binary", ":all:", "--no-deps", "--dest", staging]
        run_with_progress("kafka-python-tests", [*pip, *archive, f"kafka-python=={versions()['kafka-python']}"])
        (name,) = os.listdir(staging)
        with tarfile.open(os.path.join(staging, name)) as sources:
            for member in sources.getmembers():
                inside = member.name.partition("/")[2]
                if member.isfile() and inside.startswith("test/") and ".." not in inside:
                    target = os.path.join(staging, inside)
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    with open(target, "wb") as f:
                        shutil.copyfileobj(sources.extractfile(member), f)
        os.remove(os.path.join(staging, name))
        open(os.path.join(staging, "test", "__init__.py"), "w").close()
        with open(os.path.join(staging, "test", "service.py"), "w", encoding="utf-8") as f:
            f.write(SERVICE_PY)

    return _ensure("kafka-python-tests", versions()["kafka-python"] + SERVICE_PY, make)


# --- Node.js and Go ---------------------------------------------------------------------------------------------------


def ensure_node():
    return ensure_command("node", ["nodejs"])


def ensure_node_modules():
    """The `node_modules` of `node/package-lock.json`, for NODE_PATH."""

    def make(staging):
        npm = ensure_command("npm", ["npm"])
        os.makedirs(staging)
        shutil.copy(PACKAGE_JSON, staging)
        shutil.copy(PACKAGE_LOCK, staging)
        npm_ci = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
        run_with_progress("node-packages", npm_ci, cwd=staging)

    ensure_node()
    return os.path.join(_ensure("node", _read(PACKAGE_LOCK), make), "node_modules")


def ensure_go_programs():
    """The directory of the compiled programs below `go/`."""
    sources = sorted(
        os.path.join(directory, file)
        for directory, _, files in os.walk(GO)
        for file in files
        if file.endswith((".go", ".mod", ".sum"))
    )

    def make(staging):
        env = dict(os.environ, GOBIN=staging, GOFLAGS="-buildvcs=false -mod=readonly", GOTOOLCHAIN="auto")
        run_with_progress("go-programs", [ensure_go(), "install", "./..."], cwd=GO, env=env)

    return _ensure("go", "".join(_read(source) for source in sources), make)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _ensure(name, content, make):
    """The directory that `make` filled for this content, now or in an earlier run."""
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    target = os.path.join(cache_dir(), "packages", f"{name}-{digest}")
    if not os.path.exists(target):
        with exclusive(f"packages-{name}"):
            if not os.path.exists(target):
                staging = target + ".new"
                shutil.rmtree(staging, ignore_errors=True)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                make(staging)
                os.rename(staging, target)
    return target


def _read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()
