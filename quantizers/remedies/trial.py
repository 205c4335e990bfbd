"""A float artifact quantized on trial, and compared with the one that a remedy was given.

    with Trial.of(tools, float_model, statistics, samples, recipe) as trial:
        quantized = trial.quantize(network)
        trial.measure(quantized, tensors)

Every fourth sample is held out: on these a remedy is judged, on the others it is fitted.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from int8gate.quantizers.calibration import table, thresholds
from int8gate.quantizers.calibration.sample_file import SampleFile
from int8gate.quantizers.exposed import exposed
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.remedies.float_network import IDENTITY, RESHAPE, Network

MOST = 120  # samples, spread over the file: more change little
HELD_OUT = 4  # of every so many samples one
SQUASHING = ("SOFTMAX", "LOGISTIC", "Softmax", "Sigmoid")
FEWEST_HELD_OUT = 5  # with fewer samples all are for both


@dataclass(frozen=True)
class Tools:
    """What a toolchain gives to a remedy.

    `collect(float model, samples)` gives the statistics, `quantize(float model, recipe, ranges,
    directory)` writes the artifact `file` there, `read(path)` views a float file, and
    `rounded(float model, quantized)` views it with the quantized file's weights.
    """

    file: str
    collect: Callable[[Path, Path], table.Table]
    quantize: Callable[[Path, Recipe, Mapping, Path], dict]
    read: Callable[[Path], Network]
    rounded: Callable[[Path, Path], Network]


@dataclass(frozen=True)
class Quantized:
    """A float file of the trial and what became of it."""

    float_model: Path
    path: Path
    weights: Network  # the float network with the weights as they are rounded


@dataclass
class Ratio:
    """The signal to quantization noise ratio of outputs, dB.

    Noise is the mean over samples of a sample's RMS error: of mean squares, a few samples near a
    decision are all that is seen, and another rounding of anything moves them by decibels.
    """

    signal: dict[str, np.ndarray] = field(default_factory=dict)  # count, sum, squares
    errors: dict[str, list[float]] = field(default_factory=dict)  # of each sample, RMS

    def add(self, wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> None:
        for name, real in wanted.items():
            real = np.asarray(real, np.float64).ravel()
            error = np.asarray(found[name], np.float64).ravel() - real
            sums = np.array([real.size, real.sum(), real @ real])
            self.signal[name] = self.signal.get(name, 0) + sums
            self.errors.setdefault(name, []).append(float(np.sqrt(np.mean(error**2))))

    def db(self) -> float:
        """The mean of the outputs' ratios, of those whose values differ; NaN without any."""
        found = []
        for name, (count, total, squares) in self.signal.items():
            spread = np.sqrt(max(squares / count - (total / count) ** 2, 0.0))
            if spread > 0:
                found.append(20 * np.log10(spread / max(np.mean(self.errors[name]), spread * 1e-6)))
        return float(np.mean(found)) if found else float("nan")


def unsquashed(network: Network, output: str) -> str:
    """The tensor before the softmax or sigmoid that gives an output, else the output.

    Behind one, samples of which the network is sure show no error at all, and few are left to tell.
    """
    producer = network.producer(output)
    while producer is not None and producer.kind in (*SQUASHING, RESHAPE, IDENTITY):
        output = producer.inputs[0]
        producer = network.producer(output)
    return output


class Trial:
    """See the module. `original` is the float network as it was given; `is_held` (n,) bool."""

    def __init__(
        self, tools: Tools, float_model: Path, samples: Path, recipe: Recipe, scratch: Path
    ) -> None:
        self.tools, self.samples, self._scratch = tools, SampleFile(samples), scratch
        self._float_model = float_model
        # What pixels become is not known here; it matters little for rounding errors.
        self._recipe = replace(recipe, pixel_ranges=False)
        self.original = tools.read(float_model)
        count, self._made = min(len(self.samples), MOST), 0
        self._numbers = np.linspace(0, len(self.samples) - 1, count).astype(int)
        held = np.arange(count) % HELD_OUT == HELD_OUT - 1
        self._ends = [unsquashed(self.original, name) for name in self.original.outputs]
        self.has_held_out = int(held.sum()) >= FEWEST_HELD_OUT
        self.is_held = held if self.has_held_out else np.zeros(count, bool)

    @classmethod
    @contextmanager
    def of(cls, tools: Tools, float_model: Path, samples: Path, recipe: Recipe) -> Iterator[Trial]:
        with tempfile.TemporaryDirectory() as scratch:
            yield cls(tools, float_model, samples, recipe, Path(scratch))

    def quantize(self, network: Network, statistics: Path | None = None) -> Quantized:
        """The network as the recipe quantizes it, calibrated anew where no `statistics` are given.

        Raises ValueError where the toolchain cannot.
        """
        folder = self._scratch / str(self._made)
        self._made += 1
        (folder / "quantized").mkdir(parents=True)
        model = folder / self.tools.file
        network.save(model)
        found = (
            table.read_table(statistics)
            if statistics
            else self.tools.collect(model, self.samples.path)
        )
        held = {name: each for name, each in found.items() if each.count}
        ranges = thresholds.ranges_of(held, self._recipe)
        self.tools.quantize(model, self._recipe, ranges, folder / "quantized")
        path = folder / "quantized" / self.tools.file
        return Quantized(model, path, self.tools.rounded(model, path))

    def values(self, model: Path, tensors: Collection[str]) -> Iterator[dict[str, np.ndarray]]:
        """Real values of tensors on each sample, of a float or a quantized file: those it has."""
        copy = model.with_name(f"exposed{model.suffix}")
        run = exposed(model, copy, tensors, is_exact=True)
        for number in self._numbers:
            yield run(self.samples.sample(number))

    def float_values(self, tensors: Collection[str]) -> Iterator[dict[str, np.ndarray]]:
        """The original's, on each sample."""
        copy = self._scratch / f"original{self._float_model.suffix}"
        shutil.copyfile(self._float_model, copy)
        yield from self.values(copy, tensors)

    def told(self, before: tuple[float, float], after: tuple[float, float]) -> str:
        """What `compare` found of two networks, in words: on the samples held out, if any were."""
        if np.isnan(after[1]):
            return "no output of the quantized file has the name of one of float, to judge it by"
        count = int(self.is_held.sum()) if self.has_held_out else len(self.is_held)
        which = "held out" if self.has_held_out else "that it was fitted on"
        return (
            f"the outputs' signal to noise ratio went from {before[1]:.1f} to {after[1]:.1f} dB "
            f"(RMS errors of {count} samples {which})"
        )

    def compare(
        self,
        quantized: Quantized,
        tensors: Collection[str] = (),
        see: Callable[[int, dict, dict], None] = lambda number, wanted, found: None,
    ) -> tuple[float, float]:
        """The ratio at the outputs in dB, on the samples for fitting and on those held out.

        `see` is shown the sample's number, the original's and the quantized network's `tensors`.
        """
        outputs = self._ends
        asked = {*tensors, *outputs}
        ratios = Ratio(), Ratio()
        pairs = zip(self.float_values(asked), self.values(quantized.path, asked), strict=True)
        for number, (wanted, found) in enumerate(pairs):
            see(number, wanted, found)
            ends = {name: wanted[name] for name in outputs if name in found and name in wanted}
            ratios[int(self.is_held[number])].add(ends, found)
        fitted = ratios[0].db()
        return fitted, ratios[1].db() if self.has_held_out else fitted
