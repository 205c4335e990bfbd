"""What quantizing a checkpoint out of core takes, beside what its bytes and its arithmetic take.

    python benchmarks/out_of_core_checkpoints.py llama_3_2_3b DIR
    python benchmarks/out_of_core.py DIR OUTPUT [onnx_weight_int4]

prints JSON. Each part runs in a process of its own, on files that are not in the page cache:

    command      `int8gate quantize-checkpoint`, to the end
    bytes        the shards read, and as many bytes as the result has written and made durable
    arithmetic   ONNX Runtime's block quantizer alone, on as many weights, a slice of which is ready
                 in memory in the layout that it takes

`peak_gb` is the kernel's largest resident set of the process (ru_maxrss), in 10**9 bytes: memory of
its own and mapped pages of files alike. The shards are read, not mapped, and what the page cache
keeps of them is no process's memory. `allowed_gb` is 1.5 times the largest tensor in float32, and
1 GB. Seconds of the wall mean little on a machine that others use; CPU seconds are user and system.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from int8gate.quantizers.out_of_core.checkpoint import Checkpoint, open_checkpoint
from int8gate.quantizers.out_of_core.data_plan import UNIT_VALUES
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.toolchains.onnx.weight_only import bits_of

PIECE = 8 << 20  # bytes


def measure(directory: Path, output: Path, recipe: Recipe) -> dict:
    """JSON-ready: the three parts, and what the command takes relative to the other two."""
    checkpoint = open_checkpoint(directory)
    largest = max(math.prod(tensor.shape) for tensor in checkpoint.tensors.values())
    command = [sys.executable, "-m", "int8gate.cli.app", "quantize-checkpoint", str(directory)]
    command += ["--recipe", recipe.name, "--output", str(output)]
    parts = {"command": _run(command, checkpoint)}
    stored = sum(file.stat().st_size for file in output.iterdir())
    me = [sys.executable, __file__]
    parts["bytes"] = _run([*me, "bytes", str(directory), str(output), str(stored)], checkpoint)
    parts["arithmetic"] = _run([*me, "arithmetic", str(directory), recipe.name], checkpoint)
    floor = {key: parts["bytes"][key] + parts["arithmetic"][key] for key in ("wall_s", "cpu_s")}
    return {
        "recipe": recipe.name,
        "tensors": len(checkpoint.tensors),
        "source_gb": checkpoint.nbytes / 1e9,
        "stored_gb": stored / 1e9,
        "allowed_gb": 1.5 * largest * 4 / 1e9 + 1,
        "load": os.getloadavg()[0],
        **parts,
        "wall_relative_to_floor": parts["command"]["wall_s"] / floor["wall_s"],
        "cpu_relative_to_floor": parts["command"]["cpu_s"] / floor["cpu_s"],
    }


def _run(command: list[str], checkpoint: Checkpoint) -> dict:
    """Wall and CPU seconds and the peak of a process; raises where it fails."""
    for file in {tensor.file for tensor in checkpoint.tensors.values()}:
        _forget_pages(file)
    began = time.monotonic()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    return {
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "user_s": usage.ru_utime,
        "system_s": usage.ru_stime,
        "peak_gb": usage.ru_maxrss * 1024 / 1e9,
    }


def _forget_pages(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def move_bytes(directory: Path, output: Path, stored: int) -> None:
    """Reads every shard, then writes `stored` bytes and waits until they are durable."""
    buffer = bytearray(PIECE)
    for file in sorted({each.file for each in open_checkpoint(directory).tensors.values()}):
        with open(file, "rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass
    scratch = output.with_name(f"{output.name}.bytes")
    try:
        with open(scratch, "wb", buffering=0) as opened:
            for start in range(0, stored, PIECE):
                opened.write(memoryview(buffer)[: min(PIECE, stored - start)])
            os.fsync(opened.fileno())
    finally:
        scratch.unlink()


def quantize_weights(directory: Path, recipe: Recipe) -> None:
    """The library's quantizer on as many weights as the checkpoint's products have."""
    from onnxruntime.quantization import matmul_nbits_quantizer as stock

    bits, block = bits_of(recipe), recipe.block
    assert block is not None
    call = stock.quantize_matmul_4bits if bits == 4 else stock.quantize_matmul_8bits
    tensors = open_checkpoint(directory).tensors
    is_tied = "lm_head.weight" not in tensors
    for name, tensor in tensors.items():
        if len(tensor.shape) != 2 or ("embed" in name and not is_tied):
            continue
        outputs, inputs = tensor.shape
        rows = min(outputs, max(1, UNIT_VALUES // inputs))
        weights = np.ascontiguousarray(tensor.float_rows(0, rows).T)
        blocks = inputs // block
        packed = np.zeros((rows, blocks, block * bits // 8), np.uint8)
        scales = np.zeros((rows, blocks), np.float32)
        zeros = np.zeros((rows, -(-blocks * bits // 8)), np.uint8)
        for _ in range(math.ceil(outputs / rows)):
            call(packed, weights, scales, zeros, block, rows, inputs, False)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["bytes", directory, output, stored]:
            move_bytes(Path(directory), Path(output), int(stored))
        case ["arithmetic", directory, name]:
            quantize_weights(Path(directory), RECIPES[name])
        case [directory, output, *names]:
            name = names[0] if names else "onnx_weight_int4"
            print(json.dumps(measure(Path(directory), Path(output), RECIPES[name]), indent=1))
        case _:
            sys.exit(__doc__)
