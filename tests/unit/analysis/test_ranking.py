"""The order of layers by their noise, with as many samples as it needs."""

from __future__ import annotations

import numpy as np
import pytest
from data_folders import refused
from onnx_files import cnn, pictures, ranges_of, save
from scipy.stats import spearmanr

from int8gate.analysis import ranking
from int8gate.analysis.chain import FLOAT, Chain
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import tensors_to_quantize
from int8gate.quantizers.toolchains.onnx.segments import opened


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cnn")
    path = folder / "float.onnx"
    prepare(save(cnn(), folder / "raw.onnx"), path)
    ranges = ranges_of(path, tensors_to_quantize(path), pictures())
    return Chain(opened(path, ranges, RECIPES["onnx_int8"]), [np.tile(pictures(), (4, 1, 1, 1))])


def test_the_order_is_that_of_all_samples(chain):
    layers = chain.network.layers
    ranked = ranking.rank(chain, layers)
    wanted = chain.outputs(FLOAT)[0]
    noise = [
        np.mean((chain.outputs(FLOAT, chain.network.alone(each))[0] - wanted) ** 2)
        for each in layers
    ]
    by_name = {each.layer.name: each.sqnr_db for each in ranked}
    found = [by_name[layer.name] for layer in layers]
    assert spearmanr(found, noise).statistic < -0.9
    assert [each.sqnr_db for each in ranked] == sorted(by_name.values())


def test_samples_go_to_those_that_are_close(monkeypatch, chain):
    """Two layers of nearly the same noise get more samples than those that stand apart."""
    rng, layers = np.random.default_rng(0), chain.network.layers
    levels = dict(
        zip((layer.name for layer in layers), (0.0, 0.02, 30.0, 40.0, 50.0, 60.0), strict=True)
    )

    def noise(part, layer, signal):
        return 10 ** ((levels[layer.name] + rng.normal(0, 0.5, part.samples)) / 10)

    monkeypatch.setattr(ranking, "_noise", noise)
    samples = {each.layer.name: each.samples for each in ranking.rank(chain, layers, most=16)}
    close, near, *apart = (samples[layer.name] for layer in layers)
    assert max(apart) <= 2
    assert close == near == 16
    levels[layers[1].name] = 15.0
    clear = ranking.rank(chain, layers, most=16)
    assert max(each.samples for each in clear) <= 2
    assert [each.layer for each in clear] == list(reversed(layers))


def test_one_sample_is_refused(chain):
    refused(lambda: ranking.rank(chain, chain.network.layers, most=1), "1 samples", "two")
