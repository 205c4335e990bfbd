"""The case record: what the run says of a case, put together from what its gates measured.

Its form is the README's "case record"; a field that was not measured is None.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from int8gate.targets import registry as targets
from int8gate.validation.verdict import WORST_FIRST, case_verdict, run_answer

SCHEMA = 2  # `results_model.py` has it in types
GATES = ("accuracy", "io_dtype", "integer_only", "size", "cpu_speedup", "npu_speedup")
PACKAGES = (
    "tensorflow",
    "keras",
    "ai-edge-litert",
    "torch",
    "transformers",
    "litert-torch",
    "onnx",
    "onnxruntime",
    "onnx2tf",
    "numpy",
    "pycocotools",
    "scikit-image",
    "scikit-learn",
    "pytest",
    "pytest-benchmark",
)


def new_case(model: str, recipe: str, task: str, source_format: str, profile: str) -> dict:
    """A record in which nothing was measured yet.

    Of the gates that exist for the case, `pending` are those still to run and `deselected` those
    that the command line left out.
    """
    unmeasured = (
        "conversion",
        "calibration",
        "calibration_audit",
        "accuracy",
        "fidelity",
        "error_origin",
        "io",
        "integer_ops",
        "size_bytes",
        "cpu",
    )
    return {
        "model": model,
        "recipe": recipe,
        "task": task,
        "source_format": source_format,
        "profile": profile,
        "verdict": None,
        "reason": "",
        "gates": dict.fromkeys(GATES),
        "pending": [],
        "deselected": [],
        **dict.fromkeys(unmeasured),
        "npu": [],
        "seconds": None,
        "peak_rss_bytes": None,
        "artifact": None,
        "messages": {},
        "notes": [],
    }


def add(record: dict, gate: str, status: str, message: str, fields: dict) -> None:
    """Puts what one gate found into the record, in place; NPU targets stand side by side.

    Adding the same measurement twice changes nothing, and neither does the order. Of a gate with
    several targets the worst status stands, with what each of the targets that got it said.
    """
    known, record["gates"][gate] = record["gates"][gate], _worse(record["gates"][gate], status)
    if record["gates"][gate] != known:
        record["messages"].pop(gate, None)
    if message.strip() and record["gates"][gate] == status:
        record["messages"][gate] = _joined(record["messages"].get(gate), message)
    for name, value in fields.items():
        if name == "npu":
            measured = {entry["target"] for entry in value}
            others = [entry for entry in record["npu"] if entry["target"] not in measured]
            record["npu"] = sorted([*others, *value], key=lambda entry: entry["target"])
        else:
            record[name] = value
    judge(record)


def judge(record: dict) -> None:
    """Puts verdict and reason into a record whose gates changed."""
    record["verdict"], record["reason"] = case_verdict(record)


def results(cases: list[dict], environment: dict, regressions: list[dict] = ()) -> dict:
    """The whole of `results.json`; `regressions` are figures that got worse than is allowed.

    Each has `case`, `figure`, `target`, `against` (a baseline's file or a run) and `message`.
    """
    ordered = sorted(cases, key=lambda case: (case["model"], case["recipe"]))
    whole = {"schema": SCHEMA, "environment": environment, "regressions": list(regressions)}
    answer = run_answer(whole | {"cases": ordered})
    ships = [f"{each['model']}-{each['recipe']}" for each in answer.may_ship]
    said = {"kind": answer.kind, "exit_code": answer.exit_code, "may_ship": ships}
    return whole | {"answer": said, "cases": ordered}


def environment(
    profile: str,
    started: str,
    command: str,
    finished: bool,
    weights: str = "trained",
    commit: str | None = None,
) -> dict:
    """What the figures depend on besides the models, and whether the run came to its end.

    `commit` is a short id, with + where files were changed since.
    """
    return {
        "int8gate": _version("int8gate"),
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.release()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in (*PACKAGES, *targets.packages())},
        "profile": profile,
        "weights": weights,
        "commit": commit,
        "started": started,
        "command": command,
        "finished": finished,
    }


def _worse(known: str | None, status: str) -> str:
    """Raises ValueError for a status that is none."""
    ranking = (*WORST_FIRST, "not_measured", "unsupported", "recorded", "passed")
    if status not in ranking:
        raise ValueError(f"gate status {status!r} is unknown: expected one of {', '.join(ranking)}")
    return status if known is None else min(known, status, key=ranking.index)


def _joined(known: str | None, message: str) -> str:
    """Messages as paragraphs, each once, in an order that does not depend on who came first."""
    paragraph = "\n".join(line for line in message.splitlines() if line.strip())
    said = {*(known or "").split("\n\n"), paragraph} - {""}
    return "\n\n".join(sorted(said))


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _cpu_name() -> str | None:
    with suppress(OSError):  # where py-cpuinfo looks first, before it spends a second elsewhere
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    import cpuinfo

    return cpuinfo.get_cpu_info().get("brand_raw")
