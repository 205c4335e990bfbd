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

SCHEMA = 1
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
    "ethos-u-vela",
    "numpy",
    "pycocotools",
    "scikit-image",
    "scikit-learn",
    "pytest",
    "pytest-benchmark",
)
_WORST_FIRST = ("error", "invalid", "failed", "inconclusive")


def new_case(model: str, recipe: str, task: str, source_format: str, profile: str) -> dict:
    """A record in which nothing was measured yet."""
    unmeasured = (
        "conversion",
        "calibration",
        "calibration_audit",
        "accuracy",
        "fidelity",
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
    record["verdict"], record["reason"] = _verdict(record)


def results(cases: list[dict], environment: dict) -> dict:
    """The whole of `results.json`."""
    ordered = sorted(cases, key=lambda case: (case["model"], case["recipe"]))
    return {"schema": SCHEMA, "environment": environment, "cases": ordered}


def environment(profile: str, started: str, command: str, finished: bool) -> dict:
    """What the figures depend on besides the models, and whether the run came to its end."""
    return {
        "int8gate": _version("int8gate"),
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.release()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "profile": profile,
        "started": started,
        "command": command,
        "finished": finished,
    }


def _worse(known: str | None, status: str) -> str:
    """Raises ValueError for a status that is none."""
    ranking = (*_WORST_FIRST, "not_measured", "unsupported", "recorded", "passed")
    if status not in ranking:
        raise ValueError(f"gate status {status!r} is unknown: expected one of {', '.join(ranking)}")
    return status if known is None else min(known, status, key=ranking.index)


def _joined(known: str | None, message: str) -> str:
    """Messages as paragraphs, each once, in an order that does not depend on who came first."""
    paragraph = "\n".join(line for line in message.splitlines() if line.strip())
    said = {*(known or "").split("\n\n"), paragraph} - {""}
    return "\n\n".join(sorted(said))


def _verdict(record: dict) -> tuple[str | None, str]:
    """Verdict and reason; None while accuracy, on which all else rests, has not been run."""
    found = {gate: status for gate, status in record["gates"].items() if status}
    for verdict in _WORST_FIRST:
        bad = [gate for gate, status in found.items() if status == verdict]
        if bad:
            first = record["messages"].get(bad[0], "").splitlines() or [""]
            return verdict, f"{', '.join(bad)}: {first[0]}"
    said = record["messages"].get("accuracy", "")
    match found.get("accuracy"):
        case None:
            return None, "the accuracy gate was not run"
        case "not_measured":
            return "invalid", said or "accuracy was not measured"
        case "unsupported":
            return "unsupported", said
    return "passed", ""


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
