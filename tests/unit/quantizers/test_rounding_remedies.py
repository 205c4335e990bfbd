"""The remedies bias and adaround on small networks, through both quantizers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import weighted_networks

from int8gate.quantizers.calibration import table
from int8gate.quantizers.recipe import RECIPES, recipe
from int8gate.quantizers.remedies import bias_correction
from int8gate.quantizers.remedies.trial import Ratio, Trial
from int8gate.quantizers.toolchains import registry as toolchains
from int8gate.quantizers.toolchains.onnx import rounding_remedies as onnx_remedies
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.tflite import rounding_remedies as tflite_remedies

RECIPE = {"onnx": RECIPES["onnx_int8"], "tflite": RECIPES["tflite_int8"]}
PER_TENSOR = RECIPES["tflite_int8_per_tensor"]
CASES = [("onnx", RECIPE["onnx"]), ("tflite", RECIPE["tflite"]), ("tflite", PER_TENSOR)]
REMEDIES = {"onnx": onnx_remedies, "tflite": tflite_remedies}
SAMPLES = 60


class Given:
    """A float artifact with its statistics and samples, and what remedies are called with."""

    def __init__(self, form: str, folder: Path, slanted: bool):
        self.module, self.tools = REMEDIES[form], REMEDIES[form].TOOLS
        random, side = np.random.default_rng(1), weighted_networks.SIDE
        self.samples = folder / "samples.npy"
        pictures = random.normal(0.5, 0.6, size=(SAMPLES, side, side, 3)).astype(np.float32)
        np.save(self.samples, pictures)
        self.model = folder / self.tools.file
        if form == "onnx":
            prepare(weighted_networks.write_onnx(folder / "raw.onnx"), self.model)
        else:
            weighted_networks.write_tflite(self.model)
        if slanted:
            slant(self.tools.read(self.model), self.model)
        self.statistics = folder / "statistics.npz"
        table.write_table(self.statistics, self.tools.collect(self.model, self.samples))

    def remedied(self, name: str, chosen, folder: Path) -> tuple[Path, str]:
        """The float artifact behind a remedy, and the first note."""
        folder.mkdir(exist_ok=True)
        function = getattr(self.module, name)
        done = function(self.model, self.statistics, self.samples, chosen, folder)
        return folder / self.tools.file, done["notes"][0]

    def trial(self, chosen, folder: Path) -> Trial:
        folder.mkdir(exist_ok=True)
        return Trial(self.tools, self.model, self.samples, chosen, folder)


def slant(network, path: Path) -> None:
    """Puts every weight, but for the largest of an output, just below the middle of a step: all are
    rounded down.
    """
    for layer in network.layers:
        if network.sharing(layer):
            continue
        flat = layer.weights.reshape(layer.outputs, -1)
        scale = np.abs(flat).max(axis=1, keepdims=True) / 127
        slanted = (np.clip(np.floor(flat / scale), -126, 125) + 0.45) * scale
        is_largest = np.abs(flat) == np.abs(flat).max(axis=1, keepdims=True)
        weights = np.where(is_largest, flat, slanted).reshape(layer.weights.shape)
        network.set_weights(network.layer(layer.name), weights.astype(np.float32))
    network.save(path)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """By form; `slanted` ones have weights that are all rounded in one direction."""
    return {
        (form, slanted): Given(form, tmp_path_factory.mktemp(f"{form}{slanted}"), slanted)
        for form in RECIPE
        for slanted in (False, True)
    }


def output_errors(trial: Trial, model: Path) -> dict[str, np.ndarray]:
    """Mean errors of the outputs' channels of the float `model`, quantized."""
    sums: dict[str, list] = {}

    def see(number, wanted, found):
        for name in trial.original.outputs:
            error = (found[name] - wanted[name]).reshape(-1, wanted[name].shape[-1])
            sums.setdefault(name, []).append(error.mean(axis=0))

    trial.compare(trial.quantize(trial.tools.read(model)), trial.original.outputs, see)
    return {name: np.mean(rows, axis=0) for name, rows in sums.items()}


@pytest.mark.parametrize("form", RECIPE)
def test_bias_correction_takes_the_mean_error_from_the_outputs(networks, form, tmp_path):
    made, chosen = networks[form, True], RECIPE[form]
    model, note = made.remedied("correct_bias", chosen, tmp_path / "bias")
    assert note.startswith("bias correction changed the biases of"), note
    trial = made.trial(chosen, tmp_path / "trial")
    before, after = (output_errors(trial, each) for each in (made.model, model))
    total = [sum(np.abs(each).sum() for each in found.values()) for found in (before, after)]
    assert total[1] < 0.35 * total[0], (before, after)
    changed, given = made.tools.read(model), made.tools.read(made.model)
    assert len(changed.operators) == len(given.operators), "it adds none"
    for layer in given.layers:
        assert np.array_equal(changed.layer(layer.name).weights, layer.weights)


@pytest.mark.parametrize(("form", "chosen"), CASES, ids=[each.name for _, each in CASES])
def test_the_quantizer_finds_the_integers_that_adaround_chose(
    networks, form, chosen, tmp_path, monkeypatch
):
    made = networks[form, False]
    with_ratios(monkeypatch, step=1)  # so small a network may lose
    model, note = made.remedied("round_adaptively", chosen, tmp_path / "adaround")
    assert note.startswith("AdaRound chose how the weights of"), note
    trial = made.trial(chosen, tmp_path / "trial")
    given, network = made.tools.read(made.model), made.tools.read(model)
    nearest = {layer.name: layer.weights for layer in trial.quantize(given).weights.layers}
    moved = 0
    for layer in trial.quantize(network).weights.layers:
        asked, step = network.layer(layer.name).weights, np.abs(layer.weights).max() / 127
        is_on_grid = not np.allclose(asked, given.layer(layer.name).weights, atol=1e-7)
        if is_on_grid:
            assert np.abs(layer.weights - asked).max() < 0.51 * step, layer.name  # the largest
            off = np.abs(layer.weights - asked) > 1e-4 * step
            assert off.sum() <= layer.outputs, "the largest of each scale alone is not on the grid"
            largest = np.abs(asked).max(), np.abs(given.layer(layer.name).weights).max()
            assert largest[0] == pytest.approx(largest[1], rel=1e-6), "the scale is what it was"
            moved += np.count_nonzero(np.abs(layer.weights - nearest[layer.name]) > 0.5 * step)
    assert moved > 20


def with_ratios(monkeypatch, step: int) -> None:
    """Makes every comparison of a trial tell another ratio than the one before."""
    compare, calls = Trial.compare, []

    def told(self, *arguments, **named):
        fitted, _ = compare(self, *arguments, **named)
        calls.append(fitted)
        return fitted, 30.0 + step * len(calls)

    monkeypatch.setattr(Trial, "compare", told)


@pytest.mark.parametrize("name", ["correct_bias", "round_adaptively"])
@pytest.mark.parametrize("form", RECIPE)
def test_what_loses_on_samples_held_out_is_undone(networks, form, name, tmp_path, monkeypatch):
    made = networks[form, True]
    with_ratios(monkeypatch, step=-1)
    model, note = made.remedied(name, RECIPE[form], tmp_path)
    assert "was undone: the outputs' signal to noise ratio went from 29.0 to" in note
    assert "15 samples held out" in note
    assert model.read_bytes() == made.model.read_bytes()


@pytest.mark.parametrize("form", RECIPE)
def test_rounded_weights_are_those_of_the_quantized_file(networks, form, tmp_path):
    made = networks[form, False]
    trial = made.trial(RECIPE[form], tmp_path)
    weights = trial.quantize(trial.original).weights
    for layer in trial.original.layers:
        rounded = weights.layer(layer.name).weights
        step = np.abs(layer.weights).max() / 127
        off = np.abs(rounded - layer.weights)
        assert off.max() < 0.51 * step or np.array_equal(rounded, layer.weights)
    assert (
        sum(
            not np.array_equal(weights.layer(layer.name).weights, layer.weights)
            for layer in trial.original.layers
        )
        >= len(trial.original.layers) - 1
    )


def test_a_layer_that_a_rule_leaves_float_is_left_alone(networks, tmp_path):
    from dataclasses import replace

    from int8gate.quantizers.recipe_type import Rule

    made = networks["onnx", False]
    name = made.tools.read(made.model).layers[0].name
    chosen = RECIPE["onnx"]
    chosen = replace(chosen, rules=(*chosen.rules, Rule(name, "float32", "float32")))
    model, _ = made.remedied("round_adaptively", chosen, tmp_path / "mixed")
    given, found = made.tools.read(made.model), made.tools.read(model)
    assert np.array_equal(found.layer(name).weights, given.layer(name).weights)


def test_the_last_layers_are_those_behind_which_none_is(networks):
    network = networks["onnx", False].tools.read(networks["onnx", False].model)
    last = bias_correction.last_layers(network)
    outputs = {layer.output for layer in network.layers if layer.name in last}
    assert outputs == set(network.outputs)


def test_the_ratio_is_that_of_rms_errors():
    ratio, random = Ratio(), np.random.default_rng(0)
    for _ in range(200):
        real = random.normal(3, 2, 50)
        ratio.add({"out": real}, {"out": real + random.choice([-0.2, 0.2], 50)})
    assert ratio.db() == pytest.approx(20, abs=0.2)


def test_recipes_name_the_remedies_and_toolchains_have_them():
    for form in RECIPE:
        for name in ("bias", "adaround"):
            assert name in toolchains.find(form).remedies
            assert recipe(f"{form}_int8+{name}").remedies == (name,)


@pytest.mark.parametrize("form", RECIPE)
def test_what_cannot_be_judged_is_undone(networks, form, tmp_path, monkeypatch):
    made = networks[form, True]
    monkeypatch.setattr(Trial, "values", lambda self, path, tensors: ({} for _ in range(SAMPLES)))
    model, note = made.remedied("correct_bias", RECIPE[form], tmp_path)
    assert "was undone: no output of the quantized file has the name" in note
    assert model.read_bytes() == made.model.read_bytes()
