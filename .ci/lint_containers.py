"""Checks docker-compose.yml and Dockerfile against what this project wants of them. Needs PyYAML; starts nothing.

The schema is checked by a compose loader beside this (see .ci/run); here are the rules that no loader knows: images are
pinned, every service that others wait for says when it is healthy, a broker gets its 30 s, nothing runs as root for long,
and the flags and stages that are named exist.

    lint_containers.py <root of the clone> [<aquifer binary, whose --help must know every flag>]
"""

import os
import re
import subprocess
import sys

import yaml

problems = []


def main(root, binary=None):
    stages = check_dockerfile(os.path.join(root, "Dockerfile"))
    with open(os.path.join(root, "docker-compose.yml"), encoding="utf-8") as f:
        compose = yaml.load(f, Loader=NoDuplicateKeys)
    services = compose["services"]
    for name, service in services.items():
        check_service(name, service, services, set(compose.get("volumes", {})), stages)
    if binary:
        check_flags(services, binary)
    for problem in problems:
        print(f"lint_containers: {problem}")
    print(f"lint_containers: {len(services)} services, {len(stages)} stages, {len(problems)} problems")
    return 1 if problems else 0


class NoDuplicateKeys(yaml.SafeLoader):
    """YAML says keys are unique, PyYAML takes the last in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in {key for key in keys if keys.count(key) > 1}:
            problems.append(f"docker-compose.yml line {node.start_mark.line + 1}: key {key!r} is there twice")
        return super().construct_mapping(node, deep)


def check_dockerfile(path):
    """The names of the stages. Every base is pinned to a version; what is run does not run as root."""
    with open(path, encoding="utf-8") as f:
        text = re.sub(r"\\\n", " ", f.read())
    stages, users, stage = {}, {}, None
    for line in text.splitlines():
        if started := re.match(r"FROM (\S+) AS (\S+)$", line):
            base, stage = started.groups()
            stages[stage] = base
            if base not in stages and (":" not in base or base.endswith(":latest")):
                problems.append(f"Dockerfile: base {base} of {stage} is not pinned")
        elif line.startswith("FROM"):
            problems.append(f"Dockerfile: a stage without a name: {line}")
        elif user := re.match(r"USER (\S+)", line):
            users[stage] = user.group(1)
        for source in re.findall(r"COPY --from=(\S+)", line):
            if source not in stages:
                problems.append(f"Dockerfile: COPY from unknown stage {source}")
    for stage in stages:
        is_run = not any(f"--from={stage} " in line for line in text.splitlines())
        if is_run and users.get(stage, "root").split(":")[0] in ("root", "0"):
            problems.append(f"Dockerfile: stage {stage} runs as root")
    return stages


def check_service(name, service, services, volumes, stages):
    where = f"docker-compose.yml: {name}"
    image = expand(service.get("image", ""))
    if ":" not in image or image.endswith(":latest"):
        problems.append(f"{where}: image {image!r} is not pinned")
    build = service.get("build")
    if build and build.get("target") not in stages:
        problems.append(f"{where}: no stage {build.get('target')!r} in the Dockerfile")
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if not source.startswith((".", "/")) and source not in volumes:
            problems.append(f"{where}: volume {source} is not declared")
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:"):
            problems.append(f"{where}: port {port} is open to the network by default")
    for other, wait in service.get("depends_on", {}).items():
        if other not in services:
            problems.append(f"{where}: depends on {other}, which is not there")
        elif wait["condition"] == "service_healthy" and "healthcheck" not in services[other]:
            problems.append(f"{where}: waits for the health of {other}, which has no health check")
        elif wait["condition"] == "service_started":
            problems.append(f"{where}: waits for {other} to start, not to be ready")
    if "--storage" in service.get("command", []):
        if service.get("stop_grace_period") != "30s":
            problems.append(f"{where}: a broker needs stop_grace_period 30s to drain")
        if "healthcheck" not in service:
            problems.append(f"{where}: a broker without a health check")


def expand(text):
    """${NAME:-default} as its default; a variable without one would start something else on every machine."""
    for name, default in re.findall(r"\$\{(\w+)(?::-([^}]*))?\}", text):
        if not default:
            problems.append(f"docker-compose.yml: ${{{name}}} has no default")
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def check_flags(services, binary):
    known = subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout
    for name, service in services.items():
        command = service.get("command", [])
        if "--storage" in command:
            for flag in (argument for argument in command if argument.startswith("--")):
                if not re.search(rf"{re.escape(flag)}\b", known):
                    problems.append(f"docker-compose.yml: {name}: aquifer does not know {flag}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
