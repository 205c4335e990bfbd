"""A collector that leaves a trace of each shard, for the tests of what is done twice."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

from int8gate.quantizers.calibration import shards
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector

TENSORS = ["image", "a", "b", "sum", "scores"]


def traced(
    model: Path, samples: Path, rows: range, log: str, hold_from: int = 10**9, bad: int = -1
):
    """Collects; `log` gets a line with the rows. From sample `hold_from` on it never ends; at
    sample `bad` it fails."""
    if rows.start >= hold_from:
        time.sleep(600)
    if bad in rows:
        raise ValueError(f"sample {bad} is bad")
    found = onnx_collector.collect(model, samples, rows, TENSORS, every=3)
    loaded = {name.partition(".")[0] for name in sys.modules}
    heavy = sorted(loaded & {"tensorflow", "torch", "transformers", "jax"})
    with open(log, "a") as file:
        file.write(f"{rows.start}:{rows.stop} {','.join(heavy)}\n")
    return found


def hold(model: Path, samples: Path, rows: range, log: str):
    """`traced`, which the process's state holds: an argument would make it other work."""
    return traced(model, samples, rows, log, hold.hold_from)


hold.hold_from = 10**9


def run_held(model: str, samples: str, directory: str, log: str, hold_from: str) -> None:
    """A run to be killed, in shards of 4 samples."""
    hold.hold_from = int(hold_from)
    collect = functools.partial(hold, log=log)
    shards.calibrate(collect, Path(model), Path(samples), Path(directory), shard=4)


if __name__ == "__main__":
    import shard_tasks  # by the name that a shard's key holds, not as __main__

    shard_tasks.run_held(*sys.argv[1:])
