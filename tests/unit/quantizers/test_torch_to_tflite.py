"""A PyTorch program as a TFLite file: the same outputs, and INT8 from end to end."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.tflite import convert as tflite
from int8gate.quantizers.toolchains.tflite.collector import close, collect
from int8gate.quantizers.toolchains.tflite.from_torch import (
    DEPTH,
    PROGRAM,
    quantizable,
    to_tflite,
    with_plain_padding,
)
from int8gate.quantizers.toolchains.tflite.ranges import activations
from int8gate.runtimes.artifact import TFLITE
from int8gate.runtimes.litert import LiteRTSession
from int8gate.runtimes.tflite_graph import read_graph
from int8gate.runtimes.tflite_integers import float_operators

HEIGHT, WIDTH = 16, 24
SAMPLES = 24


def network():
    """Pictures to a map (n, h, w, k) and scores (n, k), by way of what converters trip over."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.skip = nn.Conv2d(8, 8, 3, padding=1)
            self.map = nn.Conv2d(16, 4, 1)
            self.norm = nn.LayerNorm(8)
            self.scores = nn.Linear(8, 5)

        def forward(self, pictures):
            maps = nn.functional.leaky_relu(self.stem(pictures), 0.1)
            maps = maps + self.skip(maps)
            small = nn.functional.max_pool2d(maps, 3, 2, 1)  # padded with -inf
            again = nn.functional.interpolate(small, scale_factor=2, mode="nearest")
            places = self.norm(small.flatten(2).transpose(1, 2))
            weights = torch.softmax(places @ places.transpose(1, 2), -1)
            scores = self.scores(nn.functional.gelu(weights @ places).mean(1))
            return self.map(torch.cat([maps, again], 1)).permute(0, 2, 3, 1), scores

    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Where program and file lie, what the conversion said, samples, and what PyTorch makes."""
    import torch

    folder, module = tmp_path_factory.mktemp("torch"), network()
    pictures = torch.rand(SAMPLES, 3, HEIGHT, WIDTH) * 2 - 1
    with torch.no_grad():
        torch.export.save(torch.export.export(module, (pictures[:1],)), str(folder / PROGRAM))
        expected = [output.numpy() for output in module(pictures)]
    described = to_tflite(folder, folder)
    samples = np.ascontiguousarray(pictures.permute(0, 2, 3, 1).numpy())
    np.save(folder / "samples.npy", samples)
    yield folder, described, samples, expected
    close()


def test_inputs_are_channels_last_and_outputs_stay(case):
    _, described, _, expected = case
    assert [spec["shape"] for spec in described["inputs"]] == [(1, HEIGHT, WIDTH, 3)]
    assert [spec["shape"][1:] for spec in described["outputs"]] == [x.shape[1:] for x in expected]


def test_recursion_is_limited_again(case):
    """litert-torch lifts the limit: JSON that is nested too deeply was a crash afterwards."""
    assert sys.getrecursionlimit() < DEPTH
    with pytest.raises(RecursionError):
        json.loads("[" * 50_000)


def test_outputs_are_the_modules(case):
    folder, _, samples, expected = case
    for found, wanted in zip(
        LiteRTSession(folder / TFLITE).predict(samples), expected, strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("method", ["min_max", "percentile", "entropy"])
def test_every_method_gives_integers_only(case, tmp_path, method):
    folder, _, samples, expected = case
    found = collect(folder / TFLITE, folder / "samples.npy")
    assert found.keys() == activations((folder / TFLITE).read_bytes()).keys()
    chosen = {name: thresholds.METHODS[method](stats) for name, stats in found.items()}
    recipe = RECIPES["tflite_int8"]
    tflite.quantize(folder / TFLITE, recipe, chosen, (-1.0, 1.0), tmp_path)
    graph = read_graph(tmp_path / TFLITE)
    assert not float_operators(graph)
    outputs = LiteRTSession(tmp_path / TFLITE).predict(samples)
    for wanted, quantized in zip(expected, outputs, strict=True):
        noise = np.square(wanted - quantized).mean()
        assert noise < np.square(wanted).mean() / 100, "less than 20 dB of signal over noise"


def test_no_constant_is_infinite_and_the_quantizers_mark_is_gone(case):
    content = (case[0] / TFLITE).read_bytes()
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    assert b"keep_stablehlo_constant" not in [entry.name for entry in whole.metadata]
    lowest = []
    for tensor in whole.subgraphs[0].tensors:
        data = whole.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.FLOAT32 and data is not None and len(data):
            assert np.isfinite(data.view(np.float32)).all()
            lowest.append(data.view(np.float32).min())
    assert min(lowest) == np.finfo(np.float32).min, "the padding before the maximum"
    assert quantizable(content) == content


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_transposed_convolution_is_cut_to_what_padding_leaves(data):
    """Of any kernel, stride, padding, dilation, groups and output padding."""
    import torch

    draw = data.draw
    groups, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
    kernel = [draw(st.integers(1, 4)) for _ in "hw"]
    padding = [draw(st.integers(0, 2)) for _ in "hw"]
    extra = draw(st.integers(0, max(stride, dilation) - 1))
    sides = [3, 4]
    grown = [
        (side - 1) * stride + dilation * (k - 1) + 1 - 2 * pad + extra
        for side, k, pad in zip(sides, kernel, padding, strict=True)
    ]
    assume(min(grown) > 0)
    layer = torch.nn.ConvTranspose2d(
        2 * groups, 3 * groups, kernel, stride, padding, extra, groups, dilation=dilation
    )
    picture = torch.randn(1, 2 * groups, *sides, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network = with_plain_padding(torch.export.export(layer.eval(), (picture,)).module())
        torch.testing.assert_close(network(picture), layer(picture))


def test_transposed_convolutions_of_groups_and_odd_padding_are_converted(tmp_path):
    import torch
    from torch import nn

    torch.manual_seed(0)
    up = nn.Sequential(
        nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, groups=4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=4, bias=False),
    ).eval()
    picture = torch.randn(1, 8, 5, 6)
    torch.export.save(torch.export.export(up, (picture,)), str(tmp_path / PROGRAM))
    described = to_tflite(tmp_path, tmp_path)
    (found,) = LiteRTSession(tmp_path / TFLITE).run([picture.permute(0, 2, 3, 1).numpy()])
    expected = up(picture).detach().numpy()
    assert described["outputs"][0]["shape"] == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)
