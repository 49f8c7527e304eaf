"""What the rig needs on the machine: packages, MinIO, Apache Kafka's jars, the release binary.

Everything that is fetched or compiled lives outside the clone, in $AQUIFER_CACHE, and is made in a temporary place and
renamed: what exists is complete. Each long step says what it is doing at least every 20 s.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

REPOSITORY = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
POM = os.path.join(REPOSITORY, "tests", "interop", "kafka", "pom.xml")
TOOLS_JAVA = os.path.join(REPOSITORY, "tests", "interop", "kafka", "Tools.java")
# The last state of a repository that is no longer maintained and no longer ships binaries.
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"


class MissingTool(Exception):
    """Something the rig needs is absent and could not be installed."""


def say(text):
    print(f"rig: {text}", flush=True)


def cache_dir():
    """$AQUIFER_CACHE, else aquifer/ below the user's cache directory. Never inside the clone."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = os.environ.get("AQUIFER_CACHE") or os.path.join(base, "aquifer")
    os.makedirs(path, exist_ok=True)
    return os.path.realpath(path)


@contextlib.contextmanager
def exclusive(name):
    """One builder at a time per thing: .ci/run prepares in the background what the rig asks for later."""
    with open(os.path.join(cache_dir(), f".{name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process is at it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_with_progress(what, argv, **kwargs):
    """Runs a long command; prints a line when it starts, every 20 s, and when it ends. Its output is shown if it fails."""
    log_path = os.path.join(cache_dir(), f"{what.split()[0]}.log")
    started = time.monotonic()
    say(f"{what}: {' '.join(argv)}")
    with open(log_path, "wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **kwargs)
        try:
            while True:
                try:
                    code = process.wait(20)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{what}: {time.monotonic() - started:.0f} s, {_last_line(log_path)}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code != 0:
        with open(log_path, encoding="utf-8", errors="replace") as log:
            sys.stdout.write(log.read()[-8000:])
        raise MissingTool(f"{what} failed with exit code {code}; its log is above and in {log_path}")
    say(f"{what}: done in {time.monotonic() - started:.0f} s")


def _last_line(path):
    with open(path, "rb") as f:
        f.seek(max(0, os.path.getsize(path) - 400))
        lines = f.read().decode(errors="replace").split("\n")
    return next((line.strip()[:100] for line in reversed(lines) if line.strip()), "no output yet")


# --- packages ---------------------------------------------------------------------------------------------------------

_apt_updated = False


def install_packages(packages):
    """Installs packages, after one `apt-get update` per run."""
    global _apt_updated
    if not shutil.which("apt-get"):
        raise MissingTool(f"please install {' '.join(packages)} (no apt-get here)")
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    with exclusive("apt"):
        if not _apt_updated:
            run_with_progress("apt-get update", [*as_root, "apt-get", "update", "-q"], env=env)
            _apt_updated = True
        run_with_progress(
            f"apt-get install {' '.join(packages)}",
            [*as_root, "apt-get", "install", "-q", "-y", "--no-install-recommends", *packages],
            env=env,
        )


def ensure_command(command, packages):
    if not shutil.which(command):
        install_packages(packages)
    path = shutil.which(command)
    if not path:
        raise MissingTool(f"{command} is still absent after installing {' '.join(packages)}")
    return path


def ensure_kcat():
    return ensure_command("kcat", ["kcat"])


def ensure_java():
    """A JVM of 17 or newer: the broker, the tools and Connect of Kafka 4 need it (KIP-750)."""
    java = ensure_command("java", ["default-jdk-headless"])
    text = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', text)
    if not found or int(found.group(1)) < 17:
        raise MissingTool(f"Java 17 or newer is needed, {java} says: {text.strip().splitlines()[:1]}")
    return java


def ensure_go():
    """A Go of 1.21 or newer: those fetch the toolchain that MinIO's go.mod asks for by themselves."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin") or ensure_command("go", ["golang-go"])
    text = subprocess.run([go, "version"], capture_output=True, text=True).stdout
    found = re.search(r"go1\.(\d+)", text)
    if not found or int(found.group(1)) < 21:
        raise MissingTool(
            f"Go 1.21 or newer is needed to build MinIO, {go} says: {text.strip()}. Install a newer one (a distribution's"
            " backports have it) or put a MinIO binary at "
            + os.path.join(cache_dir(), "bin", "minio")
        )
    return go


# --- what is built or fetched -----------------------------------------------------------------------------------------


def ensure_minio():
    """The MinIO binary, compiled from the Go module once."""
    target = os.path.join(cache_dir(), "bin", "minio")
    if os.path.exists(target):
        return target
    with exclusive("minio"):
        if not os.path.exists(target):
            go = ensure_go()
            staging = os.path.join(cache_dir(), "bin.new")
            env = dict(os.environ, GOBIN=staging, GOFLAGS="-buildvcs=false", GOTOOLCHAIN="auto")
            run_with_progress(
                "minio from its Go module", [go, "install", "-v", f"github.com/minio/minio@{MINIO_VERSION}"], env=env
            )
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(os.path.join(staging, "minio"), target)
            os.rmdir(staging)
    return target


def ensure_kafka_libs():
    """The directory of Apache Kafka's jars, resolved by Maven once per change of the pom."""
    libs = os.path.join(cache_dir(), "kafka", "libs")
    if _kafka_libs_complete(libs):
        return libs
    with exclusive("kafka"):
        if not _kafka_libs_complete(libs):
            ensure_java()
            maven = ensure_command("mvn", ["maven"])
            staging = libs + ".new"
            shutil.rmtree(staging, ignore_errors=True)
            run_with_progress(
                "kafka jars",
                [
                    *(maven, "-B", "-ntp", "-f", POM, "dependency:copy-dependencies"),
                    *("-DincludeScope=runtime", f"-DoutputDirectory={staging}"),
                ],
            )
            if not _kafka_libs_complete(staging):
                found = len(glob.glob(os.path.join(staging, "*.jar")))
                raise MissingTool(f"{staging} holds {found} jars, {POM} expects {pom_value('expected.jars')}")
            shutil.rmtree(libs, ignore_errors=True)
            os.rename(staging, libs)
    return libs


def _kafka_libs_complete(libs):
    tools = os.path.join(libs, f"kafka-tools-{pom_value('kafka.version')}.jar")
    jars = glob.glob(os.path.join(libs, "*.jar"))
    return os.path.exists(tools) and len(jars) == int(pom_value("expected.jars"))


def ensure_kafka_calls(libs):
    """The directory of the compiled kafka/Tools.java, compiled once per change of it or of Kafka's version."""
    with open(TOOLS_JAVA, "rb") as f:
        digest = hashlib.sha256(f.read() + pom_value("kafka.version").encode()).hexdigest()[:12]
    target = os.path.join(cache_dir(), "kafka", f"calls-{digest}")
    if os.path.exists(target):
        return target
    with exclusive("kafka-calls"):
        if not os.path.exists(target):
            javac = ensure_command("javac", ["default-jdk-headless"])
            shutil.rmtree(target + ".new", ignore_errors=True)
            run_with_progress("kafka-calls", [javac, "-d", target + ".new", "-cp", os.path.join(libs, "*"), TOOLS_JAVA])
            os.rename(target + ".new", target)
    return target


def pom_value(name):
    with open(POM, encoding="utf-8") as f:
        return re.search(rf"<{re.escape(name)}>([^<]+)<", f.read()).group(1)


def build_aquifer():
    """The release binary of this clone, by cargo; $CARGO_TARGET_DIR is respected because cargo itself says where it is."""
    if not shutil.which("cargo"):
        raise MissingTool("cargo is absent: install Rust (rust-toolchain and Cargo.toml say which)")
    run_with_progress(
        "aquifer release build", ["cargo", "build", "--release", "-p", "aquifer", "--bin", "aquifer"], cwd=REPOSITORY
    )
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=REPOSITORY, capture_output=True, check=True
    )
    binary = os.path.join(json.loads(metadata.stdout)["target_directory"], "release", "aquifer")
    if not os.path.exists(binary):
        raise MissingTool(f"cargo built no {binary}")
    return binary
