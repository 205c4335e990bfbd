"""The case record: what the run says of a case, put together from what its gates measured.

Its form is the README's "case record"; a field that was not measured is None. The record's
`conversion` (`describe`) says how a model came to its artifact, for the report's readers: it tells
a model that was not converted, and why, from one that was; and of a frozen graph what was repaired
and what was cut where.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from int8gate.engine.host import cpu_name
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.toolchains.registry import find
from int8gate.targets import registry as targets
from int8gate.validation.case_run import CaseRun
from int8gate.validation.verdict import WORST_FIRST, case_verdict, run_answer

SCHEMA = 2  # `results_model.py` has it in types
GATES = ("accuracy", "io_dtype", "integer_only", "size", "cpu_speedup", "npu_speedup")
PACKAGES = (
    "tensorflow",
    "keras",
    "ai-edge-litert",
    "ai-edge-quantizer",
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
        "training",
        "accuracy",
        "fidelity",
        "error_origin",
        "rescue",
        "io",
        "integer_ops",
        "size_bytes",
        "cpu",
        "generation",
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


def results(
    cases: list[dict],
    environment: dict,
    regressions: list[dict] = (),
    methods: list[dict] = (),
) -> dict:
    """The whole of `results.json`; `regressions` are figures that got worse than is allowed.

    Each has `case`, `figure`, `target`, `against` (a baseline's file or a run) and `message`.
    `methods` are the recipes of each model compared, as of `analysis.methods.summaries`.
    """
    ordered = sorted(cases, key=lambda case: (case["model"], case["recipe"]))
    whole = {"schema": SCHEMA, "environment": environment, "regressions": list(regressions)}
    answer = run_answer(whole | {"cases": ordered})
    ships = [f"{each['model']}-{each['recipe']}" for each in answer.may_ship]
    said = {"kind": answer.kind, "exit_code": answer.exit_code, "may_ship": ships}
    return whole | {"answer": said, "methods": list(methods), "cases": ordered}


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
        "cpu": cpu_name(),
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


def describe_conversion(run: CaseRun) -> dict:
    """The `conversion` of a case whose artifact was built, or is tried to be here."""
    try:
        built = run.built
    except Exception as error:  # whatever it was, the gate that needs the artifact tells it
        return _failed(run, error)
    log = built.log or built.artifact.path.with_name("converter.log")
    return _told(run, run.imported) | {
        "status": "not_applicable" if run.recipe.is_prequantized else "converted",
        "log": str(log) if log.is_file() else None,
    }


def _failed(run: CaseRun, error: Exception) -> dict:
    try:
        imported = run.imported
    except Exception:
        imported = None
    log = getattr(error, "log", None)
    return _told(run, imported) | {
        "status": "not_converted",
        "left": [str(error)],
        "log": str(log) if log else None,
    }


def _told(run: CaseRun, imported: dict | None) -> dict:
    nodes = imported["nodes"] if imported and "cut" in imported else None  # of a graph that was cut
    return {
        "how": _route(run.declared, run.recipe),
        "repairs": imported.get("repairs", []) if imported else [],
        "cut": imported.get("cut", []) if imported else [],
        "nodes": nodes,
        "left": [
            f"{part} ({nodes[part]} nodes) runs on the host, in float"
            for part in ("preprocessing", "postprocessing")
            if nodes and nodes[part]
        ],
    }


def _route(spec: ModelSpec, recipe: Recipe) -> str:
    if recipe.is_prequantized:
        twin = spec.own and spec.own.float_file
        return "came quantized, taken as it is" + (f", compared with {twin.name}" if twin else "")
    source = source_of(spec)
    return " → ".join([source.words, *find(recipe.toolchain).words(source.form, recipe)])
