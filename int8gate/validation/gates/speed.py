"""Gates of speed: on the host, on a target that tells a latency, on a simulated one."""

from __future__ import annotations

import platform
from dataclasses import replace

from int8gate.quantizers.recipe_type import Recipe
from int8gate.validation.expectations import Expectations
from int8gate.validation.gates.result import GateResult, failed
from int8gate.validation.metrics.registry import Metric
from int8gate.validation.rerun import REPORT, rerun

NOISE = 0.1  # of a measured speedup, between runs on one host


def cpu_speed_gate(
    speedup: float,
    recipe: Recipe,
    arm_speedup: float,
    expected: Expectations,
    case_id: str,
    has_dot_product: bool | None = None,
) -> GateResult:
    """The interleaved speed ratio on the host: gated for full INT8, recorded for the others.

    A CPU that is known to lack instructions for 8-bit integers (`engine.host`) fails no model: what
    it does not reach there says nothing of the CPUs that have them.
    """
    if not recipe.gates_cpu_speed:
        return GateResult("recorded", f"{speedup:.2f}x of float on this host: recorded, not gated")
    needed = arm_speedup if is_arm_host() else expected.cpu_speedup_x86
    if speedup >= needed:
        return GateResult("passed", is_narrow=speedup < needed * (1 + NOISE))
    if has_dot_product is False:
        return GateResult(
            "recorded",
            f"{speedup:.2f}x of float on this host, of at least {needed:.2f}x: recorded, not "
            "gated, for its CPU has no dot product of 8-bit integers (AVX-VNNI, AVX512-VNNI)",
            is_narrow=True,
        )
    return failed(
        f"{speedup:.2f}x of float on {platform.machine()} (median of interleaved runs)",
        f"at least {needed:.2f}x",
        "operators without a fast integer kernel on this CPU, or a network too small to gain",
        rerun(case_id, "cpu_speedup", remark="again, on an idle machine"),
    )


def generation_gate(generation: dict | None, case_id: str) -> GateResult | None:
    """Invalid where prefill and decode do not write what the scored network writes: their speed is
    that of another network. None where they do, or are not measured.
    """
    consistency = (generation or {}).get("consistency")
    if not consistency or consistency["holds"]:
        return None
    same = f"{consistency['same_tokens']:.1%} of the tokens are the same"
    apart = consistency["difference"]
    result = failed(
        "logits of generation with a cache are "
        + ("not finite" if apart is None else f"{apart:.2g} of their spread from the scored ones")
        + f", {same} ({consistency['tokens']} tokens)",
        f"at most {consistency['allowed']:.2g}",
        "a position, the mask or the cache of prefill or decode: see the model's `steps`",
        rerun(case_id, "cpu_speedup", REPORT, "both artifacts are in the record"),
    )
    return replace(result, status="invalid")


def npu_speed_gate(
    entry: dict, expected: Expectations, case_id: str, larger: str | None = None
) -> GateResult:
    """Coverage first, then the speedup over the best-case CPU: see `targets/`.

    `larger` is the target to try next where this one is too slow.
    """
    operators = entry["npu_ops"] + entry["cpu_ops"]
    coverage = entry["npu_ops"] / operators if operators else 0.0
    fallback = ", ".join(sorted({str(op.get("op", op)) for op in entry["cpu_fallback"]}))
    assumed = (entry.get("system_config"), entry.get("memory_mode"), entry["kind"])
    where = f"{entry['target']} ({', '.join(filter(None, assumed))})"
    if refused := entry.get("refused"):
        return failed(
            f"the compiler of {where} refuses the file: {refused}",
            f"coverage of at least {expected.npu_coverage:.0%}",
            "an operator that the compiler knows of, in a form that it cannot place",
            rerun(case_id, "integer_only"),
        )
    if coverage < expected.npu_coverage:
        return failed(
            f"{entry['npu_ops']} of {operators} operators on {where}; on the CPU: "
            f"{fallback or 'all'}",
            f"coverage of at least {expected.npu_coverage:.0%}",
            "float or unsupported operators: the compiler leaves them on the CPU without an error",
            rerun(case_id, "integer_only"),
        )
    if entry["speedup"] is not None and entry["speedup"] >= expected.npu_speedup:
        return GateResult("passed")
    return failed(
        _npu_times(entry, where),
        f"at least {expected.npu_speedup:.2f}x",
        "memory-bound layers, or operators that fall back to the CPU and are charged to the NPU",
        rerun(case_id, "npu_speedup", *([f"--int8-target={larger}"] if larger else [])),
    )


def simulated_gate(
    entry: dict, expected: Expectations, metric: Metric | None, case_id: str
) -> GateResult:
    """Of an NPU that is simulated: coverage, and the score there beside the host's; no speed.

    A target that is not available was asked for and could not be gated: not measured.
    `metric` is that of the entry's scores, None where nothing is scored.
    """
    if reason := entry.get("unavailable"):
        return GateResult("not_measured", reason)
    operators = entry["npu_ops"] + entry["cpu_ops"]
    if entry["npu_ops"] < expected.npu_coverage * operators:
        fallback = ", ".join(sorted({found["op"] for found in entry["cpu_fallback"]}))
        return failed(
            f"{entry['npu_ops']} of {operators} operators on {entry['target']} (simulated); on the "
            f"CPU: {fallback}",
            f"coverage of at least {expected.npu_coverage:.0%}",
            "operators or types that the compiler leaves to the CPU without an error",
            rerun(case_id, "integer_only"),
        )
    found = entry.get("accuracy")
    if found and _is_worse(found, expected, metric):
        return failed(
            f"{found['metric']} of {found['simulated']:.4f} on {entry['target']} (simulated), "
            f"{found['host']:.4f} on this host, {found['samples']} samples",
            f"worse than the host's by what {expected.accuracy} allows",
            "the NPU rounds elsewhere, or runs operators in another precision",
            rerun(case_id, "accuracy"),
        )
    return GateResult(
        "recorded",
        f"{entry['target']} compiles all {operators} operators; a simulator has no latency",
    )


def _is_worse(found: dict, expected: Expectations, metric: Metric) -> bool:
    allowed = expected.tolerance(found["host"], metric.higher_is_better)
    return bool(metric.drop(found["host"], found["simulated"]) > allowed)


def _npu_times(entry: dict, where: str) -> str:
    baseline = entry["cpu_baseline"]
    if baseline is None:
        return f"no speedup on {where}: the target names no CPU to compare with"
    against = f"{baseline['core']} best case {baseline['best_ms']:.4g} ms ({baseline['kind']})"
    if entry["speedup"] is None:
        return f"no speedup on {where}: the compiler gave no latency; {against}"
    return f"{entry['speedup']:.2f}x on {where}: {entry['latency_ms']:.4g} ms, {against}"


def is_arm_host() -> bool:
    """Whether measured CPU figures of this host are those of an ARM CPU."""
    return platform.machine().lower() in ("aarch64", "arm64")
