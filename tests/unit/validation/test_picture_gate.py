"""A diffusion model's accuracy gate looks at its pictures, too: FLUX, a few samples."""

from __future__ import annotations

from dataclasses import replace

import pytest

from int8gate.calibration_data.synthetic import prompts
from int8gate.engine.cache import ArtifactCache
from int8gate.engine.worker import Worker
from int8gate.model_zoo.registry import model
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun

FEW = 30


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The measurement where so many dB are asked for."""
    cache = ArtifactCache(tmp_path_factory.mktemp("cache"))

    def measured(least_psnr_db: float) -> measure.Measurement:
        with pytest.MonkeyPatch.context() as patch, Worker() as worker:
            patch.setitem(prompts.COUNT, "evaluation", FEW)
            pipeline = Pipeline(Settings(), cache, worker)
            run = CaseRun(model("flux_1_schnell"), RECIPES["onnx_int8"], pipeline)
            asked = {"accuracy": "float - 0.5", "least_psnr_db": least_psnr_db}
            run.expected = replace(run.expected, **asked)
            return measure.accuracy(run)

    return measured


def test_pictures_as_near_as_is_asked_for_pass_and_are_kept(judged):
    found = judged(25.0)
    assert found.result.status == "passed", found.result.message
    accuracy = found.fields["accuracy"]
    assert accuracy["to_float"]["picture_psnr"]["lower_95"] > 25
    assert accuracy["to_float"]["picture_psnr"]["samples"] == FEW
    assert accuracy["pictures"].keys() == {"count", "float", "quantized"}
    assert accuracy["pictures"]["float"] != accuracy["pictures"]["quantized"]


def test_pictures_farther_from_floats_fail_though_they_are_read_as_well(judged):
    found = judged(70.0)
    assert found.result.status == "failed"
    assert "70 dB or more (least_psnr_db)" in found.result.message
    assert found.fields["accuracy"]["drop"] <= 0.5
