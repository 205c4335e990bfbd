"""What a reader needs beside the figures: their kinds, the set-ups behind them, where it ran."""

from __future__ import annotations

from int8gate.reporting.fields import DASH, dig, text
from int8gate.reporting.rows import sorted_cases
from int8gate.validation.shipping import RULE

LEGEND = (
    ("Measured", "it ran on the hardware named, and was timed or scored there."),
    (
        "Simulated",
        "a simulator executed it: the numbers it computes count, its wall time does not.",
    ),
    ("Modelled", "a compiler or a roofline computed the time; nothing ran on that hardware."),
    (
        "Accuracy and size",
        (
            "measured: the models scored evaluation samples on this host, and the files were "
            "weighed. Size is float bytes over quantized bytes: more is smaller."
        ),
    ),
    (
        "Drop",
        (
            "how much worse than the float model, in units of the metric, with its upper 95% bound "
            "(≤). The accuracy gate passes where that bound is within what is allowed."
        ),
    ),
    (
        "Partly",
        "the selected gates of the case hold; others were not selected, so this is no yes.",
    ),
    ("Not judged", "accuracy, or an NPU that was asked for, could not be measured: the run fails."),
    ("To ship", RULE),
    (DASH, "not measured, or does not apply."),
)


def setups(results: dict) -> list[str]:
    """How each speed figure came about, each distinct set-up named once."""
    lines: dict[str, None] = {}
    for case in sorted_cases(results):
        if case.get("cpu"):
            lines[_cpu_setup(case["cpu"])] = None
    for case in sorted_cases(results):
        for entry in case.get("npu") or []:
            lines[_npu_setup(entry)] = None
    return list(lines)


def _cpu_setup(cpu: dict) -> str:
    kind, host, threads = (text(cpu.get(key)) for key in ("kind", "host", "threads"))
    return f"CPU: {kind} on {host}, threads {threads}; speedup over the float model."


def _npu_setup(entry: dict) -> str:
    names = ("target", "kind", "compiler", "system_config", "memory_mode", "clock_mhz")
    target, kind, compiler, system, memory, clock = (text(entry.get(name)) for name in names)
    core, core_kind = (text(dig(entry, "cpu_baseline", key)) for key in ("core", "kind"))
    return (
        f"NPU {target}: {kind} (compiler {compiler}, system config {system}, "
        f"memory mode {memory}, clock {clock} MHz); speedup over CPU {core} ({core_kind})."
    )


def environment_pairs(results: dict) -> list[tuple[str, str]]:
    """The environment as pairs of name and text, the packages after the rest."""
    environment = results.get("environment") or {}
    pairs = [(name, text(value)) for name, value in environment.items() if name != "packages"]
    packages = environment.get("packages") or {}
    return pairs + [(name, text(version)) for name, version in sorted(packages.items())]
