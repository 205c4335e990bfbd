"""Our own recipe in a process of its own, as the peers of `benchmarks.peers` have theirs.

    python peer_ours.py RECIPE FLOAT SAMPLES FOLDER OPTIONS

OPTIONS is a JSON object: `pixel_range`, and `float32`, globs of operators that stay float32.

Calibration, remedies and quantization are the stages that the pipeline runs; imports are timed,
which the peers' are not, as our stages import what they use where they use it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

from int8gate.engine.plugins import resolve
from int8gate.quantizers.recipe import recipe
from int8gate.quantizers.toolchains import registry
from int8gate.runtimes.artifact import STATISTICS


def main() -> None:
    source, samples, folder = map(Path, sys.argv[2:5])
    chosen, options = recipe(sys.argv[1]), json.loads(sys.argv[5])
    pixels, wide = options["pixel_range"], options.get("float32")
    if wide:
        chosen = chosen.with_widths(f"{chosen.name}_wide", {"float32": wide})
    toolchain = registry.find(chosen.toolchain)
    started = time.process_time()
    calibrate = resolve(toolchain.calibration.function)

    def statistics_of(model: Path, name: str) -> Path:
        found, kept = folder / name, folder / f"{name}_kept"
        found.mkdir()
        kept.mkdir()
        calibrate(model, samples, kept, 1, found)
        return found / STATISTICS

    model, statistics = source, statistics_of(source, "statistics")
    for count, remedy in enumerate(chosen.remedies):
        cured = folder / remedy
        cured.mkdir()
        asked = replace(chosen, remedies=chosen.remedies[:count])
        resolve(toolchain.remedies[remedy].function)(model, statistics, samples, asked, cured)
        model = cured / toolchain.file
        statistics = statistics_of(model, f"statistics_{remedy}")
    quantize = resolve(toolchain.quantization(chosen).stage.function)
    quantize(model, chosen, statistics, pixels, folder)
    found = {
        "file": toolchain.file,
        "cpu_s": time.process_time() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
