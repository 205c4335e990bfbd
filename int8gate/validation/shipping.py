"""Which recipe of a model that passed is the one to ship, and its file out of the cache.

The file gets the name of its case, and a description beside it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from int8gate.engine import atomic_file
from int8gate.engine.file_digest import sha256_of
from int8gate.quantizers.recipe import RECIPES, find
from int8gate.runtimes.artifact import ARTIFACT
from int8gate.targets.registry import HOST
from int8gate.validation.case_summary import case_key

RULE = (
    "Of a model's recipes that passed, the one to ship is quantized wholly to integers where one "
    "is, needs no declared exception, and is the fastest on the NPU, then the smallest, then the "
    "most accurate; figures within about 1% count as equal. On one target that is asked for it is "
    "the fastest there; times that were measured count as equal within about 10%."
)
SMALL_CHANGE = 0.01  # modelled times and sizes this close are the same
SMALL_MEASURED_CHANGE = 0.1  # times on this host this close may be noise


def to_ship(records: Iterable[dict], target: str | None = None) -> list[dict]:
    """One record for each model, in order of name, of those that `run_answer` says may ship.

    With a `target` the fastest there (see `RULE`), float models and what was not timed there last.
    """
    best: dict[str, dict] = {}
    for record in records:
        known = best.get(record["model"])
        if known is None or _rank(record, target) < _rank(known, target):
            best[record["model"]] = record
    return [best[model] for model in sorted(best)]


def latency_on(record: dict, target: str) -> float | None:
    """Milliseconds of a case's artifact on a target (or `HOST`), None where it was not timed."""
    if target == HOST:
        return (record.get("cpu") or {}).get("quantized_ms")
    entries = {entry["target"]: entry for entry in record.get("npu") or []}
    return entries.get(target, {}).get("latency_ms")


def same_latency(target: str) -> float:
    """The relative difference up to which times on a target count as equal."""
    return SMALL_MEASURED_CHANGE if target == HOST else SMALL_CHANGE


def _rank(record: dict, target: str | None) -> tuple:
    """The less the better; what was not measured comes last."""
    gates, recipe = record.get("gates") or {}, find(record.get("recipe"))
    is_float = recipe is not None and recipe.is_reference
    is_partly_float = recipe is not None and not (recipe.is_full_integer or recipe.is_prequantized)
    has_exception = "unsupported" in gates.values()
    if target:
        speed = _step(latency_on(record, target), same_latency(target))
        return is_float, speed, has_exception, *_beyond_speed(record)
    latencies = [entry.get("latency_ms") for entry in record.get("npu") or []]
    known = latencies and None not in latencies
    speed = _step(sum(latencies)) if known else math.inf
    return is_float, is_partly_float, has_exception, speed, *_beyond_speed(record)


def _beyond_speed(record: dict) -> tuple:
    gates, recipe = record.get("gates") or {}, find(record.get("recipe"))
    accuracy, fidelity = record.get("accuracy") or {}, record.get("fidelity") or {}
    sqnr, drop = fidelity.get("sqnr_db"), accuracy.get("drop")
    names = list(RECIPES)
    return (
        gates.get("cpu_speedup") != "passed",
        _step((record.get("size_bytes") or {}).get("quantized")),
        math.inf if drop is None else drop,
        math.inf if sqnr is None else -sqnr,
        names.index(recipe.name) if recipe and recipe.name in names else len(names),
    )


def _step(value: float | None, step: float = SMALL_CHANGE) -> float:
    """The logarithm in steps."""
    return math.inf if not value else round(math.log(value) / step)


def export(record: dict, directory: Path) -> Path:
    """Copies the artifact of a case record to `directory`; returns the path of the copy.

    The copy is ``unet-tflite_int8.tflite``; ``unet-tflite_int8.json`` beside it says its sha256,
    its inputs and outputs with dtype, scale and zero point, and the verdict. An ONNX file with
    weights beside itself, which it knows by their name, goes to a folder ``NAME-onnx_int8/`` with
    them. Raises ValueError for an artifact that is gone or is not the one of the record, OSError
    where nothing can be written.
    """
    case, artifact = case_key(record), record.get("artifact") or {}
    source = Path(artifact.get("path") or "")
    if not source.is_file():
        raise ValueError(
            f"{case}: its artifact {source} is gone: run it again, without --artifact-cache=none"
        )
    if sha256_of(source) != artifact["sha256"]:
        raise ValueError(f"{case}: {source} is not the file that was gated: run it again")
    target = directory / f"{_stem(case)}{source.suffix}"
    if weights := sorted(source.parent.glob(f"{source.name}?*")):
        target = directory / _stem(case) / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in weights:
        shutil.copyfile(file, target.parent / file.name)
    atomic_file.write(target, source.read_bytes())
    facts = _facts(record, target.relative_to(directory))
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    atomic_file.write(directory / f"{_stem(case)}.json", f"{text}\n".encode())
    return target


def withdraw(record: dict, directory: Path) -> None:
    """Removes what an earlier run exported of a case, which may not ship any more."""
    stem = _stem(case_key(record))
    for suffix in ("json", *ARTIFACT):
        (directory / f"{stem}.{suffix}").unlink(missing_ok=True)
    shutil.rmtree(directory / stem, ignore_errors=True)


def _facts(record: dict, file: Path) -> dict:
    io = record.get("io") or {}
    return {
        "file": file.as_posix(),
        "sha256": record["artifact"]["sha256"],
        "model": record["model"],
        "recipe": record["recipe"],
        "profile": record["profile"],
        "verdict": record.get("verdict"),
        "inputs": io.get("inputs"),
        "outputs": io.get("outputs"),
        "int8gate": version("int8gate"),
    }


def _stem(case: str) -> str:
    """The case as a file name; that of the other profile is ``full:unet-tflite_int8``."""
    return case.replace(":", "-")
