"""How much of the evaluation's activations calibrated ranges clip."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.quantizers.activation_audit import (
    MOST_CLIPPED,
    SAMPLES,
    activation_mismatch,
    clippings,
    judge,
    not_compared,
)
from int8gate.quantizers.calibration.statistics import TensorStatistics
from int8gate.quantizers.calibration.table import write_table
from int8gate.quantizers.calibration.thresholds import ranges
from int8gate.quantizers.recipe import RECIPES

TENSORS = ("input", "conv", "relu", "logits")
seeds = st.integers(0, 2**32 - 1)


def activations(seed: int, scale: float = 1.0, samples: int = 120) -> dict:
    """A small float network's activations over random inputs, as statistics by tensor."""
    weights = (
        np.random.default_rng(0).normal(size=(64, 32)),
        np.random.default_rng(1).normal(size=(32, 10)),
    )
    x = scale * np.random.default_rng(seed).normal(size=(samples, 64))
    hidden = x @ weights[0]
    relu = np.maximum(hidden, 0)
    table = {}
    for name, values in zip(TENSORS, (x, hidden, relu, relu @ weights[1]), strict=True):
        table[name] = TensorStatistics()
        table[name].update(values.astype(np.float32))
    return table


@settings(max_examples=20, deadline=None)
@given(seeds, seeds, st.sampled_from(["min_max", "percentile", "mse"]))
def test_two_draws_of_one_source_agree(one, other, method):
    calibration = activations(one)
    found = activation_mismatch(calibration, activations(other), ranges(calibration, method))
    assert found is None


@pytest.mark.parametrize("scale", [2.0, 8.0, 255.0])
@pytest.mark.parametrize("method", ["min_max", "percentile", "entropy", "mse"])
def test_what_calibration_never_reached_is_clipped(scale, method):
    calibration, evaluation = activations(1), activations(2, scale)
    finding = activation_mismatch(calibration, evaluation, ranges(calibration, method))
    assert finding.severity == "warning"
    assert finding.kind == "activation_mismatch"
    assert set(finding.samples) <= set(TENSORS)
    assert finding.samples[0] in finding.evidence


def test_smaller_activations_are_not_clipped():
    calibration = activations(1)
    evaluation = activations(2, 0.1)
    assert activation_mismatch(calibration, evaluation, ranges(calibration, "min_max")) is None


def test_shares_are_those_of_the_elements():
    calibration, evaluation = TensorStatistics(), TensorStatistics()
    calibration.update(np.linspace(-1, 1, 1000, dtype=np.float32))
    evaluation.update(np.linspace(-2, 2, 1000, dtype=np.float32))
    (clipping,) = clippings({"t": calibration}, {"t": evaluation}, {"t": (-1.0, 1.0)})
    assert clipping.calibration == pytest.approx(0, abs=0.01)
    assert clipping.evaluation == pytest.approx(0.5, abs=0.01)
    assert clipping.unforeseen > MOST_CLIPPED


def test_clipping_that_the_range_chose_is_no_mismatch():
    table = activations(3)
    narrow = {name: (low / 3, high / 3) for name, (low, high) in ranges(table, "min_max").items()}
    assert activation_mismatch(table, activations(4), narrow, most=0.05) is None


def test_worst_first_and_without_tensors_of_one_side():
    calibration, evaluation = activations(1), activations(2, 4.0)
    del evaluation["conv"]
    found = clippings(calibration, evaluation, ranges(calibration, "min_max"))
    assert {clipping.tensor for clipping in found} == {"input", "relu", "logits"}
    unforeseen = [clipping.unforeseen for clipping in found]
    assert unforeseen == sorted(unforeseen, reverse=True)


def test_tables_of_different_networks():
    table = activations(1)
    with pytest.raises(ValueError, match="none in common"):
        activation_mismatch(table, {"other": table["conv"]}, ranges(table, "min_max"))


@pytest.mark.parametrize("elements", [1, 2, 10])
def test_extremes_of_a_small_head_are_chance(elements):
    """Of 128 new samples some exceed 100 old ones in a head of few outputs: that is no mismatch."""
    found = []
    for seed in range(100):
        rng = np.random.default_rng([seed, elements])
        tables = []
        for samples in (100, SAMPLES):
            tables.append({"head": TensorStatistics()})
            for row in rng.normal(size=(samples, elements)).astype(np.float32):
                tables[-1]["head"].update(row)
        found.append(activation_mismatch(*tables, ranges(tables[0], "min_max")))
    assert sum(finding is not None for finding in found) <= 1


def judged(folder, recipe: str, calibration: dict, evaluation: dict, pixels=(0.0, 1.0)) -> list:
    files = folder / "calibration.npz", folder / "evaluation.npz"
    for file, statistics in zip(files, (calibration, evaluation), strict=True):
        write_table(file, statistics)
    return judge(*files, RECIPES[recipe], pixels)


@pytest.mark.parametrize("recipe", ["tflite_int8", "tflite_int8_percentile", "onnx_int8_mse"])
def test_files_of_statistics_are_judged_by_the_recipe(tmp_path, recipe):
    calibration = activations(1)
    assert judged(tmp_path, recipe, calibration, activations(2)) == []
    (finding,) = judged(tmp_path, recipe, calibration, activations(2, 3.0))
    assert finding["kind"] == "activation_mismatch"
    assert json.loads(json.dumps(finding)) == finding


def test_a_tensor_that_calibration_never_counted_is_left_out(tmp_path):
    calibration = activations(1) | {"mask": TensorStatistics()}
    assert judged(tmp_path, "tflite_int8", calibration, activations(2)) == []


def test_pictures_that_get_the_range_of_pixels_are_not_clipped(tmp_path):
    """Calibration saw 0.04 to 0.92 of pixels 0 to 1, and the recipe ranges them 0 to 1."""
    calibration, evaluation = TensorStatistics(), TensorStatistics()
    calibration.update(np.linspace(0.04, 0.92, 1000, dtype=np.float32))
    evaluation.update(np.linspace(0.0, 1.0, 1000, dtype=np.float32))
    tables = {"image": calibration}, {"image": evaluation}
    assert judged(tmp_path, "tflite_int8", *tables)
    assert not judged(tmp_path, "tflite_int8_pixels", *tables)
    assert judged(tmp_path, "tflite_int8_pixels", *tables, pixels=(-1.0, 1.0))


def test_what_could_not_be_collected_is_advice_with_its_reason():
    found = not_compared(ValueError("tensor relu of model.tflite holds NaN on sample 3"))
    assert found["severity"] == "advice"
    assert "tensor relu" in found["evidence"]
