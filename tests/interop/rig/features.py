"""Client x feature x storage: what the cases declare, what the last runs showed, and the page made of both.

A case declares `CLIENT = "kafkajs"` and `FEATURES = ["produce with gzip", …]`. While it runs it notes each feature as shown
or not (`case.note`, `case.program`); a case that notes none shows them all by passing. `GAPS = {feature: reason}` names
what Aquifer is known to lack. A gap must fail: one that works is an error of the case, so that no gap outlives its reason.
"""

import json
import os

from . import packages
from .case import Mismatch
from .tools import REPOSITORY, cache_dir, exclusive

PAGE = os.path.join(REPOSITORY, "docs", "clients.md")
STORAGES = ("directory", "minio")
INTRODUCTION = """# Clients

Which of other people's clients and tools did what on which storage in the last run of its interop case. Written by
`tests/interop/run --table`, not by hand; a run of all cases fails if the rows are not those that the cases declare. "no" is
a gap that is known, with its reason. kcat is the distribution's; a version is what the rig pins.
"""


def judge(module, case, gaps_count):
    """Raises Mismatch unless the case noted what it declares: each feature shown, each gap (if they count) not."""
    declared = getattr(module, "FEATURES", [])
    if not case.notes:
        case.notes = {feature: None for feature in declared}
    gaps = getattr(module, "GAPS", {}) if gaps_count else {}
    case.equal("features, declared and noted", sorted(declared), sorted(case.notes))
    case.equal("gaps that are no features", [], sorted(set(gaps) - set(declared)))
    failed = {feature: error for feature, error in case.notes.items() if error and feature not in gaps}
    closed = [feature for feature in gaps if not case.notes[feature]]
    if failed or closed:
        lines = [f"{feature}: {error}" for feature, error in failed.items()]
        lines += [f"{feature}: works, but is declared a gap" for feature in closed]
        raise Mismatch("\n    ".join([f"{len(lines)} of {len(declared)} features", *lines]))


# --- results ----------------------------------------------------------------------------------------------------------


def _results_path():
    return os.path.join(cache_dir(), "interop-results.json")


def results():
    """case -> storage -> feature -> whether it was shown, of the last run of each."""
    try:
        with open(_results_path(), encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def keep(module, storage, notes, ok):
    """Keeps what one run of one case showed. Nothing noted: the case as a whole says it."""
    gaps = getattr(module, "GAPS", {})  # not kept: a gap that is taken out has not run yet
    shown = {f: f in notes and not notes[f] for f in getattr(module, "FEATURES", []) if f not in gaps}
    if not notes and ok:
        shown = {feature: True for feature in shown}
    with exclusive("interop-results"):
        kept = results()
        kept.setdefault(module.name, {})[storage] = shown
        with open(_results_path() + ".new", "w", encoding="utf-8") as f:
            json.dump(kept, f, indent=1)
        os.replace(_results_path() + ".new", _results_path())


# --- the page ---------------------------------------------------------------------------------------------------------


def _rows(cases):
    """(client, feature, case) of every declared feature, by client in order of the cases."""
    versions = packages.versions()
    rows = []
    for case in cases:
        client = getattr(case, "CLIENT", None)
        version = versions.get(getattr(case, "PACKAGE", client))
        named = f"{client} {version}" if version else client
        rows += [(named, feature, case) for feature in getattr(case, "FEATURES", [])]
    order = list(dict.fromkeys(client for client, _, _ in rows))
    return sorted(rows, key=lambda row: order.index(row[0]))


def _cell(case, feature, storage, kept):
    if storage not in case.storages:
        return ""
    if feature in getattr(case, "GAPS", {}):
        return f"no: {case.GAPS[feature]}"
    shown = kept.get(case.name, {}).get(storage, {}).get(feature)
    return {None: "not run", True: "yes", False: "failed"}[shown]


def write_page(cases):
    kept = results()
    lines = [INTRODUCTION, "| Client | Feature | Directory | MinIO | Case |", "|-|-|-|-|-|"]
    for client, feature, case in _rows(cases):
        cells = [_cell(case, feature, storage, kept) for storage in STORAGES]
        lines.append(f"| {client} | {feature} | {cells[0]} | {cells[1]} | `{case.name}` |")
    with open(PAGE, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def page_errors(cases):
    """What of the page's structure is not what the cases declare: rows too many, too few, or results never written."""
    with open(PAGE, encoding="utf-8") as f:
        table = [[cell.strip() for cell in line.strip(" |\n").split(" | ")] for line in f if line.startswith("| ")][1:]
    on_page = [(row[0], row[1], row[-1].strip("`")) for row in table]
    declared = [(client, feature, case.name) for client, feature, case in _rows(cases)]
    errors = [f"missing: {' | '.join(row)}" for row in declared if row not in on_page]
    return errors + [f"not declared: {' | '.join(row)}" for row in on_page if row not in declared]
