"""Scales that silicon asks for, in a `.tflite` file as LiteRT runs it."""

from __future__ import annotations

import numpy as np
import pytest
import separable_networks

from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.exposed import exact_session
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.tflite.collector import collect
from int8gate.quantizers.toolchains.tflite.convert import quantize
from int8gate.quantizers.toolchains.tflite.differentiable import read
from int8gate.runtimes.artifact import TFLITE


@pytest.mark.parametrize("scales", ["symmetric", "power_of_two"])
def test_every_activation_has_the_scale_that_was_asked_for(tmp_path, scales):
    path = separable_networks.write_tflite(separable_networks.drawn(2.0), "relu", tmp_path / TFLITE)
    samples = separable_networks.pictures(20)
    np.save(tmp_path / "samples.npy", samples)
    recipe = RECIPES[f"tflite_int8_{scales}"]
    ranges = thresholds.ranges_of(collect(path, tmp_path / "samples.npy"), recipe)
    (tmp_path / "quantized").mkdir()
    quantize(path, recipe, ranges, None, tmp_path / "quantized")
    grids = read(tmp_path / "quantized" / TFLITE, path).grids
    assert len(grids) > 5
    for name, grid in grids.items():
        assert grid.zero_point == 0, name
        if scales == "power_of_two":
            assert np.frexp(np.float32(grid.scale))[0] == 0.5, name
    wanted, found = (
        exact_session(file).predict(samples)[0] for file in (path, tmp_path / "quantized" / TFLITE)
    )
    assert 10 * np.log10(wanted.var() / np.mean((wanted - found) ** 2)) > 12
