"""Why weights have a scale for each channel: what one scale a tensor does to depthwise layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import separable_networks
import trained_networks

from int8gate.analysis.ladder import rescue
from int8gate.engine.cache import open_cache
from int8gate.model_zoo.registry import model
from int8gate.model_zoo.weights import SHIPPED
from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.calibration.table import read_table
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.runtimes.tflite_graph import channel_spread
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun

SPEC = model("mobilenet_v1")
BLOCKS = range(2, 14)
EPSILON = 1e-3  # of the family's batch normalization
OUTLIER = 30


@pytest.fixture(scope="module")
def pipeline(worker, tmp_path_factory):
    """The shipped network, as long training leaves it: with a dead channel in each block."""
    from safetensors.numpy import load_file, save_file

    folder = tmp_path_factory.mktemp("weights")
    tensors = load_file(SHIPPED / f"{SPEC.name}.safetensors")
    for block in BLOCKS:
        _silence_a_channel(tensors, block)
    save_file(tensors, folder / f"{SPEC.name}.safetensors")
    cache = open_cache(str(tmp_path_factory.mktemp("cache")))
    return Pipeline(Settings(weights_dir=folder), cache, worker)


def _silence_a_channel(tensors: dict, block: int) -> None:
    """The channel into a depthwise convolution that its block uses least gives 0 from now on.

    A depthwise channel that sees zeros gets no gradient, and with its variance of 0, folding
    divides its weights by the square root of epsilon: nothing bounds them, and nothing in the
    network's function depends on them. In the published ImageNet weights they stand orders above
    the rest (Sheng et al. 2018, arXiv:1803.08607, section 3); here `OUTLIER` times.
    """
    before, after = f"conv_pw_{block - 1}_bn", f"conv_dw_{block}_bn"
    gamma = np.abs(tensors[f"{after}/gamma"])
    folding = gamma / np.sqrt(tensors[f"{after}/moving_variance"] + EPSILON)
    kernels = tensors[f"conv_dw_{block}/kernel"][..., 0]
    widest = (np.abs(kernels).max((0, 1)) * folding).max()
    used = np.abs(tensors[f"conv_pw_{block}/kernel"]).sum(axis=(0, 1, 3))
    channel = int(np.argmin(used * gamma))
    tensors[f"{before}/gamma"][channel], tensors[f"{before}/beta"][channel] = 0, -1
    for statistic in ("moving_mean", "moving_variance"):
        tensors[f"{after}/{statistic}"][channel] = 0
    now = np.abs(kernels[..., channel]).max() * gamma[channel] / np.sqrt(EPSILON)
    tensors[f"conv_dw_{block}/kernel"][:, :, channel] *= OUTLIER * widest / now


@pytest.mark.heavy
def test_per_tensor_weights_fail_the_accuracy_gate_and_the_message_says_why(pipeline):
    per_channel = measure.accuracy(CaseRun(SPEC, RECIPES["tflite_int8"], pipeline))
    assert per_channel.result.status == "passed", per_channel.result.message
    per_tensor = measure.accuracy(CaseRun(SPEC, RECIPES["tflite_int8_per_tensor"], pipeline))
    assert per_tensor.result.status == "failed"
    assert per_tensor.fields["accuracy"]["drop"] > 0.1
    for part in ("quantized per tensor", "conv_dw_", "levels", "tflite_int8"):
        assert part in per_tensor.result.message


@pytest.mark.heavy
def test_the_ladder_recovers_what_one_scale_a_tensor_costs(pipeline):
    per_channel = measure.accuracy(CaseRun(SPEC, RECIPES["tflite_int8"], pipeline))
    per_tensor = CaseRun(SPEC, RECIPES["tflite_int8_per_tensor"], pipeline)
    ladder = rescue(per_tensor, targets=("ethos_u85_512",))
    assert ladder.winner == "tflite_int8_per_tensor+cle"
    gap = ladder.base.drop - per_channel.fields["accuracy"]["drop"]
    assert ladder.tried[-1].gain >= 0.9 * gap


@pytest.mark.heavy
def test_the_spread_is_of_the_layer_with_the_dead_channel(pipeline):
    artifact = pipeline.artifact(SPEC, RECIPES["tflite_int8"]).artifact
    spread = channel_spread(artifact.path)
    assert "conv_dw_" in spread.tensor
    assert spread.ratio > 20


def quantized(folder: Path, wide: int, recipe: str) -> Path:
    """A small network, one of whose channels in layer `wide` has weights far beyond the others'."""
    layers = separable_networks.drawn(spread=1.0)
    layers[wide]["weights"][0] *= OUTLIER
    model = separable_networks.write_tflite(layers, "relu", folder / "float.tflite")
    statistics = trained_networks.write_statistics("tflite", model, folder / "statistics.npz")
    ranges = thresholds.ranges(read_table(statistics), "min_max")
    tools = trained_networks.TOOLS["tflite"]
    tools.quantize(model, RECIPES[recipe], ranges, folder)
    return folder / tools.file


@pytest.mark.parametrize("wide", [1, 4], ids=["depthwise", "pointwise"])
def test_the_spread_is_of_the_layer_with_a_wide_channel(tmp_path, wide):
    spread = channel_spread(quantized(tmp_path, wide, "tflite_int8"))
    assert spread.tensor == f"Relu_{wide}", "weights are called as the layer's end is"
    assert spread.ratio > OUTLIER / 2


def test_a_file_of_per_tensor_weights_has_no_spread(tmp_path):
    file = quantized(tmp_path, 1, "tflite_int8_per_tensor")
    with pytest.raises(ValueError, match="no weight tensor with a scale for each channel"):
        channel_spread(file)
