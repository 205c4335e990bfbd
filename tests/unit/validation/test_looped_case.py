"""A case whose network the host calls step by step, FLUX on a few samples: its accuracy gate looks
at the pictures, too, and its layers are measured over the calls of all steps.

Half a minute exports FLUX as the zoo has it. By default the zoo's own gates ask for its pictures'
PSNR, `test_pictures.py` tests what decides then, and layers are those of a smaller FLUX.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_diffusion
from safetensors.numpy import save_file

from int8gate.analysis.layer_runs import _some_calls
from int8gate.analysis.sensitivity import STEP_BY_STEP
from int8gate.analysis.sensitivity import measure as measure_layers
from int8gate.calibration_data.synthetic import prompts
from int8gate.engine.cache import ArtifactCache
from int8gate.model_zoo import torch_networks
from int8gate.model_zoo.registry import model
from int8gate.quantizers import steps
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.steps import run_steps
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun

FEW = 30


SPEC, RECIPE = model("flux_1_schnell"), RECIPES["onnx_int8"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return ArtifactCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def judged(cache, worker):
    """The measurement where so many dB are asked for."""

    def measured(least_psnr_db: float) -> measure.Measurement:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(prompts.COUNT, "evaluation", FEW)
            pipeline = Pipeline(Settings(), cache, worker)
            run = CaseRun(SPEC, RECIPE, pipeline)
            asked = {"accuracy": "float - 0.5", "least_psnr_db": least_psnr_db}
            run.expected = replace(run.expected, **asked)
            return measure.accuracy(run)

    return measured


@pytest.mark.heavy
def test_pictures_as_near_as_is_asked_for_pass_and_are_kept(judged):
    found = judged(25.0)
    assert found.result.status == "passed", found.result.message
    accuracy = found.fields["accuracy"]
    assert accuracy["to_float"]["picture_psnr"]["lower_95"] > 25
    assert accuracy["to_float"]["picture_psnr"]["samples"] == FEW
    assert accuracy["pictures"].keys() == {"count", "float", "quantized"}
    assert accuracy["pictures"]["float"] != accuracy["pictures"]["quantized"]


@pytest.mark.heavy
def test_pictures_farther_from_floats_fail_though_they_are_read_as_well(judged):
    found = judged(70.0)
    assert found.result.status == "failed"
    assert "70 dB or more (least_psnr_db)" in found.result.message
    assert found.fields["accuracy"]["drop"] <= 0.5


def test_layers_are_measured_at_the_output_over_calls_of_all_steps(cache, worker, tmp_path):
    spec = tiny_diffusion.small("flux_1_schnell")
    drawn = torch_networks.tensors_of(tiny_diffusion.built("flux_1_schnell"))
    save_file(drawn, tmp_path / "flux_1_schnell.safetensors")
    pipeline = Pipeline(Settings(weights_dir=tmp_path), cache, worker)
    calls = run_steps(pipeline.steps(spec, RECIPE), pipeline.runner)[steps.INPUTS]
    found = measure_layers(
        pipeline, spec, RECIPE, samples=4, with_metric=True, modes=("wide",), only=["node_silu"]
    )
    assert found.metric is None
    assert found.why_no_metric == STEP_BY_STEP
    assert 20 < found.sqnr_all_db < 100
    (row,) = found.rows
    assert row.sqnr_wide_db >= found.sqnr_all_db
    times = _some_calls(steps.arrays_of(calls), 40)[1]
    assert len(np.unique(times, axis=0)) == spec.compact.arguments["steps"]
