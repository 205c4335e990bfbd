"""Training of the zoo's networks: what is trained is what each file computes, scale by scale."""

from __future__ import annotations

import json

import numpy as np
import pytest

from int8gate.engine.cache import open_cache
from int8gate.engine.worker import Worker
from int8gate.model_zoo.registry import model
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import recipe
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.steps import TRAINED as TRAINED_STEP
from int8gate.quantizers.steps import run_steps
from int8gate.quantizers.toolchains.onnx import trained_artifact as onnx_trained
from int8gate.quantizers.toolchains.tflite import trained_artifact as tflite_trained
from int8gate.quantizers.training.trained_file import TRAINED
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun

TOOLS = {"onnx": onnx_trained.TOOLS, "tflite": tflite_trained.TOOLS}
KERAS = ("resnet50_v1", "mobilenet_v2", "unet", "vgg16", "efficientnet_b0")
TORCH = ("resnet50_torch", "vit", "deeplabv3plus", "yolov4_tiny", "edsr", "detr")
CASES = [
    *((name, "tflite_qat_int8") for name in KERAS),
    *((name, f"{toolchain}_qat_int8") for name in TORCH for toolchain in ("onnx", "tflite")),
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    with Worker() as worker:
        cache = open_cache(str(tmp_path_factory.mktemp("cache")))
        yield Pipeline(Settings(train_budget_s=10), cache, worker)


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_every_scale_that_ships_is_the_trained_one(pipeline, name, chosen):
    spec, trained = model(name), recipe(chosen)
    tools = TOOLS[trained.toolchain]
    built = pipeline.artifact(spec, trained)
    folder = run_steps(pipeline.steps(spec, trained), pipeline.runner)[TRAINED_STEP].path
    graph = tools.read(built.artifact.path, folder / tools.file)
    content = json.loads((folder / TRAINED).read_text())
    assert content["activations"].keys() == graph.grids.keys()
    for tensor, (scale, zero_point) in content["activations"].items():
        assert graph.grids[tensor].scale == pytest.approx(scale, rel=1e-6)
        assert graph.grids[tensor].zero_point == zero_point
    for tensor, scales in content["weights"].items():
        np.testing.assert_allclose(graph.constants[tensor].scales, scales, rtol=1e-6)
    whole = measure.integer_only(CaseRun(spec, trained, pipeline)).result
    assert whole.status == "passed", whole.message
