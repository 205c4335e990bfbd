"""What the two toolchains share of calibration: statistics to a file, and ranges from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from int8gate.quantizers import file_scales
from int8gate.quantizers.calibration import shards, table, thresholds
from int8gate.quantizers.file_scales import FileScales, Shipped
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.training.trained_file import TRAINED, read_ranges
from int8gate.runtimes.artifact import STATISTICS


def collect(
    collector: ModuleType,
    float_model: Path,
    samples: Path,
    kept: Path,
    jobs: int,
    directory: Path,
) -> None:
    """Writes `directory`/statistics.npz of a model; finished shards stay in `kept`.

    `collector` has the functions `collect` and `close`.
    """
    found = shards.calibrate(collector.collect, float_model, samples, kept, jobs)
    collector.close()
    table.write_table(directory / STATISTICS, found)


def quantized(
    quantize: Callable[[Mapping[str, thresholds.Range] | None], dict],
    recipe: Recipe,
    statistics: Path | None,
    of_file: FileScales | None = None,
    shipped: Callable[[], Shipped] | None = None,
) -> dict:
    """The description of the artifact that `quantize` writes of ranges (None without statistics).

    With statistics it holds the record's `calibration`: the recipe's method, and of each tensor
    what it found and chose. Beside those of a trained recipe stand the trained ranges. The ranges
    that a model came with take the place of calibration's, and `notes` say so; `shipped()` reads
    what was written. Raises ValueError for a recipe that cannot ship the scales of its weights.
    """
    found = table_of(statistics) if statistics else None
    ranges, method = None, "trained" if recipe.is_trained else recipe.calibration
    if statistics and recipe.is_trained:
        ranges = read_ranges(statistics.with_name(TRAINED))
    elif found:
        ranges = thresholds.ranges_of(found, recipe)
    if of_file and ranges is not None:
        file_scales.check_weights(of_file, recipe)
        ranges = {**ranges, **of_file.ranges}
    described = quantize(ranges)
    if of_file and shipped and ranges is not None:
        told = file_scales.notes(of_file, ranges, shipped())
        described["notes"] = [*described.get("notes", ()), *told]
    if found:
        rows = table.summary(found, ranges)
        described["calibration"] = {"method": method, "tensors": rows}
    return described


def table_of(statistics: Path) -> table.Table:
    """The statistics of every tensor that held values: a mask of -inf alone has no range."""
    found = table.read_table(statistics)
    return {name: of_tensor for name, of_tensor in found.items() if of_tensor.count}
