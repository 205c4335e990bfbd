"""What an evaluation holds in memory: a few samples' outputs, however many samples there are."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest

from int8gate.calibration_data.preprocessing import UNIT
from int8gate.calibration_data.sample_set import SampleSet
from int8gate.model_zoo.spec import Network
from int8gate.validation.around_network import BATCH, Scoring
from int8gate.validation.evaluation import evaluate, read_evaluation

SIDE, ENLARGED, CLASSES = 4, 1024, 4  # an output of 16 MB
NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 4, 4] image) => (float[1, 4, {side}, {side}] maps) {{
    sides = Constant <value_ints = [1, 4, {side}, {side}]> ()
    mean = ReduceMean <axes = [1], keepdims = 1> (image)
    pixel = ReduceMean <axes = [2, 3], keepdims = 1> (mean)
    maps = Expand (pixel, sides)
}}
"""


class Noise(SampleSet):
    def __init__(self, count: int):
        self.name, self.count, self.sources = "noise", count, np.arange(count)

    def __len__(self):
        return self.count

    def sample(self, index):
        random = np.random.default_rng(index)
        return random.integers(0, 256, (SIDE, SIDE, 3), np.uint8), np.int64(index % CLASSES)


def corner(outputs: list, network: Network) -> np.ndarray:
    """Maps (n, classes, h, w) to scores (n, classes)."""
    return outputs[0][:, :, 0, 0]


def evaluated(folder, side: int, count: int) -> tuple[dict, int]:
    """The scalars of an evaluation that wrote into `folder`, and its peak of Python's memory."""
    onnx.save(onnx.parser.parse_model(NET.format(side=side)), folder / "model.onnx")
    network = Network("", (SIDE, SIDE, 3), (SIDE, SIDE), CLASSES)
    scoring = Scoring(Noise(count), UNIT, ("top1",), network, f"{__name__}:corner")
    model = folder / "model.onnx"
    tracemalloc.start()
    try:
        scalars = evaluate(model, model, scoring, count, None, folder)
        return scalars, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_samples(tmp_path):
    _, few = evaluated(tmp_path, ENLARGED, 3)
    scalars, many = evaluated(tmp_path, ENLARGED, 9)
    assert many < 1.3 * few
    found = read_evaluation(tmp_path, scalars | {"seconds": 0.0, "peak_rss_bytes": None})
    assert len(found.statistics) == 9


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1])
def test_every_sample_is_scored_once(tmp_path, count):
    scalars, _ = evaluated(tmp_path, 1, count)
    found = read_evaluation(tmp_path, scalars | {"seconds": 0.0, "peak_rss_bytes": None})
    assert found.statistics.shape == (count, 2)
    assert found.distinct_outputs == count
    assert [row["cosine"] for row in found.fidelity] == pytest.approx([1])


BROKEN = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 4, 4] image) => (float[1, 3] scores, float[1, 3] roots) {
    pooled = GlobalAveragePool (image)
    scores = Flatten (pooled)
    half = Constant <value_float = 0.5> ()
    off = Sub (scores, half)
    roots = Sqrt (off)
}
"""


def roots(outputs: list, network: Network) -> np.ndarray:
    return outputs[1]


def mean_of_nothing(outputs: list, network: Network) -> np.ndarray:
    return np.full((len(outputs[0]), CLASSES), np.nan)


@pytest.mark.parametrize(
    ("decode", "names", "says"),
    [
        (roots, (), "output roots holds NaN on {dark} of 40 samples, first on number {first}: the"),
        (roots, ("a", "b"), "output b holds NaN"),
        (mean_of_nothing, (), "output roots holds NaN"),
    ],
)
def test_the_output_that_holds_nan_is_named(tmp_path, decode, names, says):
    onnx.save(onnx.parser.parse_model(BROKEN), tmp_path / "model.onnx")
    network = Network("", (SIDE, SIDE, 3), (SIDE, SIDE), CLASSES)
    place = f"{__name__}:{decode.__name__}"
    samples = Noise(40)
    dark = [(samples.sample(n)[0].mean((0, 1)) < 127.5).any() for n in range(40)]
    says = says.format(dark=sum(dark), first=dark.index(True))
    scoring = Scoring(samples, UNIT, ("top1",), network, place, outputs=names)
    with pytest.raises(ValueError, match=says):
        evaluate(tmp_path / "model.onnx", None, scoring, 40, None, tmp_path)


def test_nan_of_the_decoder_is_told_from_the_models(tmp_path):
    onnx.save(onnx.parser.parse_model(NET.format(side=1)), tmp_path / "model.onnx")
    network = Network("", (SIDE, SIDE, 3), (SIDE, SIDE), CLASSES)
    scoring = Scoring(Noise(3), UNIT, ("top1",), network, f"{__name__}:mean_of_nothing")
    with pytest.raises(ValueError, match=r"outputs \(maps\) are finite, and what is made of them"):
        evaluate(tmp_path / "model.onnx", None, scoring, 3, None, tmp_path)
