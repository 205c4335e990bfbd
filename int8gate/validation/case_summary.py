"""The figures of a case that are accepted, compared and followed over runs, from its record.

They are rounded here, once, to what is meaningful, so that a figure that went through a file equals
one that did not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from int8gate.quantizers.recipe import find
from int8gate.quantizers.toolchains import registry as toolchains
from int8gate.targets import registry as targets

PREDICTIONS = "predictions"  # the folder of what each sample scored, beside `results.json`
DIGITS = 6  # significant ones: a latency of 0.615107 ms, a score of 0.913980
# Packages that the figures of every case depend on.
ANY_TOOLCHAIN = ("int8gate", "numpy", "onnx", "torch", "transformers")
ARCHITECTURES = ("x86_64", "amd64", "aarch64", "arm64")


@dataclass(frozen=True)
class Accuracy:
    """Scores of both models in the metric's unit, and their samples of so many sources.

    `lower_95` and `upper_95` are one-sided bounds of the quantized score, None where its
    predictions were not kept. `tolerance` is the drop from float that the case's rule allowed;
    `predictions` the SHA-256 of the kept file. A model without a float twin has no `float`.
    """

    metric: str
    quantized: float
    samples: int
    sources: int
    unit: str = "fraction"
    float: float | None = None
    lower_95: float | None = None
    upper_95: float | None = None
    tolerance: float | None = None
    tolerance_rule: str | None = None
    predictions: str | None = None


@dataclass(frozen=True)
class Size:
    """Bytes of the float and of the quantized file."""

    quantized: int
    float: int | None = None


@dataclass(frozen=True)
class Npu:
    """Modelled latency and share of operators on the NPU; the compiler and what it assumed."""

    coverage: float | None = None
    latency_ms: float | None = None
    compiler: str | None = None
    system_config: str | None = None
    memory_mode: str | None = None


@dataclass(frozen=True)
class Figures:
    """What is compared of a case; None and absent targets were not measured.

    `environment` holds the host and the versions that matter, `artifact` the file's SHA-256,
    `judged` the gates that were run.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    artifact: str | None = None
    accuracy: Accuracy | None = None
    size_bytes: Size | None = None
    npu: Mapping[str, Npu] = field(default_factory=lambda: MappingProxyType({}))
    sqnr_db: float | None = None
    cpu_speedup: float | None = None
    judged: frozenset[str] = frozenset()


def case_key(record: dict) -> str:
    """`unet-tflite_int8`, and `full:unet-tflite_int8` of a profile that is not the default."""
    profile = record.get("profile") or "compact"
    case_id = f"{record.get('model')}-{record.get('recipe')}"
    return case_id if profile == "compact" else f"{profile}:{case_id}"


def figures_of(record: dict, environment: Mapping) -> Figures:
    """The figures of a case record; `environment` is that of its run."""
    accuracy, size = record.get("accuracy") or {}, record.get("size_bytes") or {}
    gates = record.get("gates") or {}
    return Figures(
        environment=relevant_environment(environment, record.get("recipe")),
        artifact=(record.get("artifact") or {}).get("sha256"),
        accuracy=_accuracy(accuracy) if accuracy.get("quantized") is not None else None,
        size_bytes=Size(size["quantized"], size.get("float")) if size.get("quantized") else None,
        npu={entry["target"]: _npu(entry) for entry in record.get("npu") or []},
        sqnr_db=_rounded((record.get("fidelity") or {}).get("sqnr_db"), 4),
        cpu_speedup=_rounded((record.get("cpu") or {}).get("speedup"), 4),
        judged=frozenset(gate for gate, status in gates.items() if status),
    )


def relevant_environment(environment: Mapping, recipe: str | None) -> dict[str, str]:
    """Architecture, CPU and the versions that a recipe's figures depend on, in order of name."""
    packages = {"int8gate": environment.get("int8gate"), **(environment.get("packages") or {})}
    known = find(recipe)
    toolchain = known.toolchain if known else None
    of_toolchain = toolchains.packages(toolchain)
    wanted = {*ANY_TOOLCHAIN, *of_toolchain, *targets.packages(toolchain)}
    found = {name: packages[name] for name in sorted(wanted) if packages.get(name)}
    platform = (environment.get("platform") or "").lower()
    host = next((name for name in ARCHITECTURES if re.search(rf"\b{name}\b", platform)), None)
    about = {"host": host, "cpu": environment.get("cpu")}
    return {name: text for name, text in about.items() if text} | found


def _accuracy(accuracy: dict) -> Accuracy:
    return Accuracy(
        metric=accuracy["metric"],
        quantized=_rounded(accuracy["quantized"]),
        samples=accuracy.get("samples") or 0,
        sources=accuracy.get("sources") or accuracy.get("samples") or 0,
        unit=accuracy.get("unit") or "fraction",
        float=_rounded(accuracy.get("float")),
        tolerance=_rounded(accuracy.get("tolerance"), 4),
        tolerance_rule=accuracy.get("tolerance_rule"),
        predictions=accuracy.get("predictions"),
    )


def _npu(entry: dict) -> Npu:
    on_npu, on_cpu = entry.get("npu_ops"), entry.get("cpu_ops")
    operators = (on_npu or 0) + (on_cpu or 0)
    return Npu(
        coverage=_rounded(on_npu / operators) if on_npu is not None and operators else None,
        latency_ms=_rounded(entry.get("latency_ms")),
        compiler=entry.get("compiler"),
        system_config=entry.get("system_config"),
        memory_mode=entry.get("memory_mode"),
    )


def _rounded(value: float | None, digits: int = DIGITS) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")
