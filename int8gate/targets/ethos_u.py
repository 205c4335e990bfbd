"""Arm Ethos-U NPUs, modelled by the Vela compiler (package ethos-u-vela).

Every figure here is *modelled*: Vela estimates cycles from its model of the accelerator and of the
memories named in the system configuration, which moves the estimate by 1.6x. Vela charges nothing
for operators that stay on the CPU, so a partial fallback looks faster than it is: `NpuEstimate`
carries those operators, and `arm_cpu.npu_speedup` charges them.

A uint8 network is the int8 one between two QUANTIZE operators, and may be estimated faster than it:
where inputs and outputs lie in DRAM (Dedicated_Sram modes), the int8 network's first and last
operator read and write them there, piece by piece, while QUANTIZE moves them at once and leaves
both to work in SRAM. Of an FSRCNN on ethos-u65-256 the last operator takes 17,514 cycles for the
DRAM in int8, and 4,489 in uint8 with 3,655 of its QUANTIZE (Vela's table per layer). It is a
difference of 2%, of where tensors lie, not of the arithmetic.

To add a configuration, add an entry to `TARGETS`. Importing this module does not import Vela.
"""

from __future__ import annotations

import csv
import difflib
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from int8gate.engine import extras
from int8gate.runtimes.tflite_graph import Graph, Operator, read_graph
from int8gate.targets.arm_cpu import NpuEstimate, npu_speedup
from int8gate.targets.registry import register
from int8gate.targets.target import MODELLED, Target

CONFIG_FILE = "Arm/vela.ini"  # Vela resolves it inside its own package
NPU_OPCODE = "CUSTOM:ethos-u"
# What Vela prints for an operator that it leaves to the CPU; its files do not hold the reason.
WARNING = re.compile(
    r"^Warning \([^)\n]*\) operator: \w+, ofm: '(?P<name>.*)'\n"
    r"(?:Reason: )?(?P<reason>(?:.+\n)+)",
    re.MULTILINE,
)
# Of its new compiler (U85), the one exception that is about the model.
REFUSAL = re.compile(r"^RuntimeError: (?P<words>.* could not run on NPU)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class EthosUTarget(Target):
    """An accelerator with a system configuration and a memory mode that Vela accepts with it."""

    name: str
    system_config: str
    memory_mode: str
    format = "tflite"
    kind = MODELLED
    packages = ("ethos-u-vela",)
    programs = ("ethosu",)  # Vela runs as a program
    larger = "ethos_u85_2048"
    widths = ("int16",)

    @property
    def accelerator(self) -> str:
        return self.name.replace("_", "-")

    def entry(self, model: Path, core: str, directory: Path, timeout_s: float) -> dict:
        """See `arm_cpu.npu_speedup`; raises as `estimate` does, but for a file that Vela refuses:
        of that `refused` has its words, and all operators are left to the CPU.
        """
        try:
            found = estimate(model, self.name, directory, timeout_s)
        except Refused as refusal:
            left = len(read_graph(model).operators)
            return {
                "npu_ops": 0,
                "cpu_ops": left,
                "refused": refusal.words,
                "compiler": compiler(),
                "system_config": self.system_config,
                "memory_mode": self.memory_mode,
            }
        return npu_speedup(found, read_graph(model), core) | {"compiled": found.compiled_path.name}


TARGETS: dict[str, EthosUTarget] = {
    target.name: target
    for target in (
        EthosUTarget("ethos_u55_128", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
        EthosUTarget("ethos_u65_256", "Ethos_U65_High_End", "Dedicated_Sram"),
        EthosUTarget("ethos_u85_512", "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
        EthosUTarget("ethos_u85_2048", "Ethos_U85_SYS_DRAM_High", "Dedicated_Sram_512KB"),
    )
}
for _each in TARGETS.values():
    register(_each)


def compiler() -> str:
    return f"vela {version('ethos-u-vela')}"


class VelaError(RuntimeError):
    """Vela is missing, failed, hung, or contradicts itself. The message has its last words."""


class Refused(VelaError):
    """Vela says of an operator that it cannot be compiled, and compiles nothing: its `words`."""

    def __init__(self, message: str, words: str):
        super().__init__(message)
        self.words = words


def find_target(name: str) -> EthosUTarget:
    """Raises ValueError, with the closest known name, for an unknown target."""
    if name in TARGETS:
        return TARGETS[name]
    close = difflib.get_close_matches(name, TARGETS, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"--target {name} is unknown: expected one of {', '.join(TARGETS)}{hint}")


def estimate(
    artifact_path: str | Path, target_name: str, work_dir: str | Path, timeout_s: float = 300.0
) -> NpuEstimate:
    """Compile a .tflite file for a target and return Vela's estimate.

    The compiled model stays in `work_dir` as `<stem>_<target>_vela.tflite`. Raises ValueError for
    an unknown target, a file that is no TFLite model, or one with loops or several signatures
    (Vela counts each body once); VelaError when Vela gives no result.
    """
    target = find_target(target_name)
    artifact = Path(artifact_path).resolve()
    source = read_graph(artifact)  # a damaged file ends Vela by a segmentation fault
    if any(operator.subgraph for operator in source.operators):
        raise ValueError(
            f"{artifact}: expected one subgraph, found control flow or several signatures, whose "
            "cycles Vela cannot total: export the part without loops, or one signature"
        )
    if any(tensor.dtype == "int4" for tensor in source.tensors):
        raise ValueError(
            f"{artifact}: {target.name} takes no int4 weights (Vela 5.2 ends by SIGFPE): leave its "
            "operators int8"
        )
    work = Path(work_dir).resolve()
    work.mkdir(parents=True, exist_ok=True)
    compiled_path = work / f"{artifact.stem}_{target.name}_vela.tflite"
    with tempfile.TemporaryDirectory(prefix="vela-", dir=work) as scratch:
        output = _run_vela(artifact, target, Path(scratch), timeout_s)
        summary = _one_row(_only(scratch, "*_summary_*.csv", output))
        cpu_rows = _cpu_rows(_only(scratch, "*_per-layer.csv", output))
        os.replace(_only(scratch, "*_vela.tflite", output), compiled_path)
    run = _VelaRun(output, summary, read_graph(compiled_path))
    if len(run.fallback) != cpu_rows:
        raise VelaError(
            f"{artifact.name} on {target.name}: Vela's table has {cpu_rows} CPU operators, its "
            f"compiled model {compiled_path} has {len(run.fallback)}: do not trust this estimate"
        )
    return _to_estimate(target, source, run)


@dataclass(frozen=True)
class _VelaRun:
    output: str
    summary: dict[str, str]
    compiled: Graph

    @property
    def fallback(self) -> tuple[Operator, ...]:
        return tuple(op for op in self.compiled.operators if op.opcode != NPU_OPCODE)


def _run_vela(artifact: Path, target: EthosUTarget, scratch: Path, timeout_s: float) -> str:
    if lacking := extras.missing(["ethosu"]):
        raise VelaError(extras.sentence(target.name, lacking))
    command = [sys.executable, "-m", "ethosu.vela", str(artifact), "--output-dir", str(scratch)]
    command += ["--accelerator-config", target.accelerator, "--config", CONFIG_FILE]
    command += ["--system-config", target.system_config, "--memory-mode", target.memory_mode]
    command += ["--verbose-performance"]  # writes the per-layer table
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    try:  # a list and no shell: a model's name is never interpreted
        done = subprocess.run(command, cwd=scratch, timeout=timeout_s, check=False, **pipes)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output, code = late.stdout or b"", None
    text = output.decode(errors="replace")
    if code == 0:
        return text
    ended = f"exited with {code}"
    if code is None:
        ended = f"gave no result within {timeout_s:g} s"
    elif code < 0:
        ended = f"crashed with {signal.Signals(-code).name}"
    message = f"Vela on {artifact.name} for {target.name} {ended}; last words: {_last_words(text)}"
    if refusal := REFUSAL.search(text):
        raise Refused(message, refusal["words"])
    raise VelaError(message)


def _last_words(output: str, lines: int = 5) -> str:
    return " | ".join([line for line in output.splitlines() if line.strip()][-lines:]) or "(none)"


def _only(folder: str, pattern: str, output: str) -> Path:
    found = list(Path(folder).glob(pattern))
    if len(found) != 1:
        words = _last_words(output)
        raise VelaError(f"Vela wrote {len(found)} {pattern}, expected one; last words: {words}")
    return found[0]


def _one_row(path: Path) -> dict[str, str]:
    with open(path, newline="") as file:
        return next(csv.DictReader(file))


def _cpu_rows(path: Path) -> int:
    """Rows of the per-layer table with the target CPU (names are last and unquoted there)."""
    lines = path.read_text(errors="replace").splitlines()
    column = lines[0].split(",").index("Target")
    return sum(line.split(",")[column : column + 1] == ["CPU"] for line in lines[1:])


def _to_estimate(target: EthosUTarget, source: Graph, run: _VelaRun) -> NpuEstimate:
    summary, fallback = run.summary, run.fallback
    on_npu = len(fallback) < len(run.compiled.operators)
    cycles, clock_hz = round(float(summary["cycles_total"])), float(summary["core_clock"])
    timed = on_npu and cycles > 0
    reasons = {found["name"]: found["reason"] for found in WARNING.finditer(run.output + "\n")}
    names = [(op.opcode, op.outputs[0].name if op.outputs else "") for op in fallback]

    def used(*areas: str) -> int:  # the table is in KiB
        return round(1024 * sum(float(summary[f"{area}_memory_used"]) for area in areas))

    return NpuEstimate(
        target=target.name,
        compiler=compiler(),
        system_config=summary["system_config"],
        memory_mode=summary["memory_mode"],
        clock_mhz=clock_hz / 1e6,
        latency_ms=cycles / clock_hz * 1e3 if timed else None,
        cycles=cycles if timed else None,
        sram_bytes=used("sram"),
        flash_bytes=used("on_chip_flash", "off_chip_flash"),
        dram_bytes=used("dram"),
        npu_ops=max(0, len(source.operators) - len(fallback)) if on_npu else 0,
        cpu_ops=len(fallback),
        cpu_fallback=tuple(
            {"op": op, "name": name, "reason": " ".join(reasons.get(name, "").split()) or None}
            for op, name in names
        ),
        compiled_path=run.compiled.path,
        fallback_operators=fallback,
    )
