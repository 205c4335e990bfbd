"""How a model came to its artifact: the record's `conversion`, for the report's readers.

It tells a model that was not converted, and why, from one that was; and of a frozen graph what was
repaired and what was cut where.
"""

from __future__ import annotations

from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.recipe import Recipe
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.toolchains.registry import find
from int8gate.validation.case_run import CaseRun


def describe(run: CaseRun) -> dict:
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
