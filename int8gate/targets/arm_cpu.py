"""Arm Cortex-A cores as a modelled range, for the CPU side of an NPU's speedup.

One core, one thread, and every figure here is *modelled*; nothing was measured on an Arm machine.

*best* is a roofline (Williams et al., 2009, doi:10.1145/1498765.1498785): an operator takes the
longer of its multiply-accumulates at the peak rate and its bytes at the peak bandwidth. It is
generous to the CPU: 8-bit types get the INT8 dot-product peak, activations come at the
load/store peak as if from the L1 cache, weights too when they all fit the last-level cache.
*typical* is what an end-to-end measurement leaves of the peak: `END_TO_END_EFFICIENCY`.

SOURCES, all *read*:
- INT8 dot product, 16 (A55) and 32 (A76) MAC/cycle: llvm-mca runs of this project; FP32, one and
  two 128-bit FMLA per cycle: Arm Cortex-A55 Software Optimization Guide (EPM128372) and Arm
  Cortex-A76 Software Optimization Guide (PJDOC-466751330-7215), section "ASIMD floating-point".
- int16 activations: no dot product before SVE2. SMLAL adds into 32-bit lanes, four of a 128-bit
  register (Arm Architecture Reference Manual, DDI 0487), so a pipe does no more than with FP32.
- Load/store: A55 a 64-bit load (github.com/microsoft/onnxruntime/pull/10754) beside a store of at
  most 128 bits; A76 two 128-bit accesses per cycle.
- A55: NXP i.MX 95, 1.8 GHz, 512 KiB L3; its 32-bit LPDDR5 at 6.4 GT/s is from memory of the NXP
  fact sheet, to be checked. A76: Rockchip RK3588, 2.4 GHz, 3 MiB L3, 64-bit memory (Rockchip brief
  data sheet); 4267 MT/s is the top rate of LPDDR4X (JEDEC JESD209-4-1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from int8gate.runtimes.tflite_graph import Graph, Operator
from int8gate.targets.target import MEASURED, MODELLED

# MobileNet v2 at 224, INT8, on an i.MX 95 (6 x Cortex-A55): 37.21 ms on its CPU
# (https://community.toradex.com/t/29531). Threads are not stated. Read as one thread, which is the
# highest efficiency that the figure allows; with six it would be a sixth of this for each core.
MOBILENET_V2_MACS = 300e6  # Sandler et al., arXiv:1801.04381, table 4
END_TO_END_EFFICIENCY = (MOBILENET_V2_MACS / 37.21e-3) / (16 * 1.8e9)  # 4.5 of 16 MAC/cycle: 28%
# Second anchor: 150 ms on an embedded Cortex-A53-class CPU, about 1.3 of 16 MAC/cycle, which has no
# dot product: typical must be faster than this.

VIEWS = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}  # need not move a byte, so free in the best case
# Assumed, not sourced: without a MAC kernel LiteRT often runs plain loops, an element per cycle at
# their peak. Transcendental functions (ELU, LOGISTIC in float) can take longer still.
SCALAR_ELEMENTS_PER_CYCLE = 1.0


@dataclass(frozen=True)
class ArmCore:
    """Peaks of one core in a named SoC: MAC and bytes per cycle, Hz, bytes and bytes/s.

    `wide_macs_per_cycle` is for FP32, and for int16 activations.
    """

    name: str
    soc: str
    clock_hz: float
    int8_macs_per_cycle: float
    wide_macs_per_cycle: float
    access_bytes_per_cycle: float
    dram_bytes_per_s: float
    cache_bytes: int


CORES: dict[str, ArmCore] = {
    core.name: core
    for core in (
        ArmCore("Cortex-A55", "NXP i.MX 95", 1.8e9, 16, 4, 8 + 16, 6.4e9 * 4, 512 << 10),
        ArmCore("Cortex-A76", "Rockchip RK3588", 2.4e9, 32, 8, 2 * 16, 4.267e9 * 8, 3 << 20),
    )
}


@dataclass(frozen=True)
class NpuEstimate:
    """A compiler's estimate of one inference. Clock in MHz, memories in bytes at their peak.

    `latency_ms` and `cycles` are the NPU's part alone, and None where nothing runs on it.
    `npu_ops` counts the model's own operators that went to the NPU, `cpu_ops` those left over,
    which are `fallback_operators`, and for the record `cpu_fallback`: {op, name, reason or None}.
    `compiled_path` is what an integrator flashes.
    """

    target: str
    compiler: str
    system_config: str
    memory_mode: str
    clock_mhz: float
    latency_ms: float | None
    cycles: int | None
    sram_bytes: int
    flash_bytes: int
    dram_bytes: int
    npu_ops: int
    cpu_ops: int
    cpu_fallback: tuple[dict[str, str | None], ...]
    compiled_path: Path
    fallback_operators: tuple[Operator, ...] = field(repr=False)
    kind: str = MODELLED


@dataclass(frozen=True)
class CpuEstimate:
    """Latency range of one inference in ms on one core; `macs` is what it was derived from."""

    core: str
    best_ms: float
    typical_ms: float
    clock_mhz: float
    soc: str
    macs: int
    threads: int = 1
    efficiency: float = field(default=END_TO_END_EFFICIENCY)
    kind: str = MODELLED


def find_core(name: str) -> ArmCore:
    """Raises ValueError for an unknown core."""
    if name not in CORES:
        raise ValueError(f"CPU core {name} is unknown: expected one of {', '.join(CORES)}")
    return CORES[name]


def estimate(graph: Graph, core: str) -> CpuEstimate:
    """Best and typical latency of a whole model on one core."""
    cpu = find_core(core)
    cached = graph.constant_bytes <= cpu.cache_bytes
    return CpuEstimate(
        core=cpu.name,
        best_ms=sum(best_ms(op, cpu, cached) for op in graph.operators),
        typical_ms=sum(operator_ms(op, cpu.name) for op in graph.operators),
        clock_mhz=cpu.clock_hz / 1e6,
        soc=cpu.soc,
        macs=graph.macs,
    )


def best_ms(operator: Operator, cpu: ArmCore, weights_cached: bool = False) -> float:
    """Roofline of one operator in ms: never slower than a real core should be."""
    if operator.opcode in VIEWS or _runs_once(operator):
        return 0.0
    near = cpu.access_bytes_per_cycle * cpu.clock_hz
    weights_at = near if weights_cached else min(near, cpu.dram_bytes_per_s)
    activation_bytes = operator.bytes_moved - operator.constant_bytes
    memory_s = activation_bytes / near + operator.constant_bytes / weights_at
    return 1e3 * max(_mac_s(operator, cpu), memory_s)


def operator_ms(operator: Operator, core: str) -> float:
    """Typical time of one operator in ms: its peaks times the end-to-end efficiency."""
    cpu = find_core(core)
    if _runs_once(operator):
        return 0.0
    slowest = min(cpu.dram_bytes_per_s, cpu.access_bytes_per_cycle * cpu.clock_hz)
    memory_s = operator.bytes_moved / slowest
    elements = 0 if operator.macs else sum(tensor.elements for tensor in operator.outputs)
    loop_s = elements / (SCALAR_ELEMENTS_PER_CYCLE * cpu.clock_hz)
    return 1e3 * max(_mac_s(operator, cpu), memory_s, loop_s) / END_TO_END_EFFICIENCY


def baseline(graph: Graph, core: str) -> dict:
    """What an NPU is compared with, the `cpu_baseline` of a record's entry."""
    cpu = estimate(graph, core)
    return {
        "core": cpu.core,
        "kind": cpu.kind,
        "best_ms": cpu.best_ms,
        "typical_ms": cpu.typical_ms,
    }


def npu_speedup(npu: NpuEstimate, graph: Graph, core: str) -> dict:
    """The record's entry for one NPU: its latency with the CPU fallback, and the speedup.

    The fallback is charged at the typical speed of `core`, and the baseline is its best case, so
    the speedup leans to the low side; the cost of switching between NPU and CPU is not modelled.
    Without an operator on the NPU there is no latency and no speedup. `graph` is the quantized
    model before compilation. Raises ValueError for an unknown core.
    """
    cpu = baseline(graph, core)
    fallback_ms = sum(operator_ms(operator, core) for operator in npu.fallback_operators)
    latency_ms = None
    if npu.npu_ops > 0 and npu.latency_ms is not None:
        latency_ms = npu.latency_ms + fallback_ms
    return {
        "target": npu.target,
        "kind": npu.kind,
        "latency_ms": latency_ms,
        "npu_ops": npu.npu_ops,
        "cpu_ops": npu.cpu_ops,
        "cpu_fallback": list(npu.cpu_fallback),
        "cpu_baseline": cpu,
        "speedup": None if latency_ms is None else cpu["best_ms"] / latency_ms,
        "fallback_ms": fallback_ms,
        "system_config": npu.system_config,
        "memory_mode": npu.memory_mode,
        "clock_mhz": npu.clock_mhz,
        "compiler": npu.compiler,
    }


def with_measured_baseline(entry: dict, machine: str, host_ms: float) -> dict:
    """An entry of `npu_speedup` against what was measured on an Arm host instead of the model."""
    host = {"core": f"host {machine}", "kind": MEASURED}
    host |= {"best_ms": host_ms, "typical_ms": host_ms}
    speedup = host_ms / entry["latency_ms"] if entry["latency_ms"] is not None else None
    return entry | {"cpu_baseline": host, "speedup": speedup}


def _runs_once(operator: Operator) -> bool:
    """Operators on constants alone (fp16 weights to fp32) are computed when the model loads."""
    return bool(operator.inputs) and all(tensor.is_constant for tensor in operator.inputs)


def _mac_s(operator: Operator, cpu: ArmCore) -> float:
    """Seconds for the multiply-accumulates at peak, by the type of weights and activations."""
    if not operator.macs:
        return 0.0
    is_wide = operator.inputs[1].is_float or operator.dtype == "int16"
    rate = cpu.wide_macs_per_cycle if is_wide else cpu.int8_macs_per_cycle
    return operator.macs / (rate * cpu.clock_hz)
