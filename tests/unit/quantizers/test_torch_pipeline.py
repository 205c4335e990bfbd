"""From PyTorch and from an ONNX file to artifacts of both toolchains, with the real converters."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_torch
import tiny_zoo

from int8gate.engine.cache import ArtifactCache
from int8gate.quantizers.calibration import table, thresholds
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES, REFERENCES
from int8gate.quantizers.settings import Settings
from int8gate.runtimes.artifact import STATISTICS
from int8gate.runtimes.sessions import open_session
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun

FORMATS = {"pytorch": tiny_torch.TORCH, "onnx": tiny_torch.ONNX}
CASES = ["onnx_fp32", "onnx_dynamic_int8", "onnx_int8", "onnx_int8_mse", "tflite_int8_entropy"]
INT8 = RECIPES["onnx_int8"]


@pytest.fixture(scope="module")
def pipeline(worker, tmp_path_factory) -> Pipeline:
    folder = tmp_path_factory.mktemp("tiny")
    settings = Settings(
        weights_dir=tiny_torch.store_weights(folder / "weights"),
        data_dir=tiny_zoo.store_pictures(folder / "pictures", 600),
    )
    return Pipeline(settings, ArtifactCache(folder / "cache"), worker)


def kept(pipeline: Pipeline, kind: str) -> set[str]:
    return {path.name for path in pipeline.cache.root.glob(f"{kind}/*/*")}


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_recipe_gives_its_dtypes_and_computes_what_float_does(pipeline, source, name):
    spec, recipe = FORMATS[source], RECIPES[name]
    artifact = pipeline.artifact(spec, recipe).artifact
    assert artifact.format == recipe.toolchain
    assert [tensor.dtype for tensor in artifact.inputs + artifact.outputs] == [recipe.io] * 2
    images, _ = next(pipeline.data.samples(spec, "evaluation").batches(100, np.arange(0, 480, 5)))
    real = spec.preprocessing.apply(images)
    reference = pipeline.artifact(spec, REFERENCES[recipe.toolchain]).artifact
    expected, found = (open_session(each.path).predict(real)[0] for each in (reference, artifact))
    assert (expected.argmax(axis=1) == found.argmax(axis=1)).mean() > 0.9
    assert np.unique(expected.argmax(axis=1)).size > 5  # or the agreement would say nothing


def test_calibration_runs_once_for_every_recipe_of_a_toolchain(pipeline):
    spec = tiny_torch.TORCH
    pipeline.artifact(spec, INT8)
    before = kept(pipeline, "statistics"), kept(pipeline, "artifact")
    for name in ("onnx_int8_entropy", "onnx_int8_percentile"):
        pipeline.artifact(spec, RECIPES[name])
    assert kept(pipeline, "statistics") == before[0]
    assert len(kept(pipeline, "artifact") - before[1]) == 2
    told = pipeline.artifact(spec, RECIPES["onnx_int8_percentile"]).calibration
    assert told["method"] == "percentile"
    assert {"conv", "relu", "image"} & {row["name"].split("_")[0] for row in told["tensors"]}


def scales(artifact: Path) -> dict[str, float]:
    """Of every activation that has a quantizer, by its name."""
    graph = onnx.load(str(artifact)).graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    of_output = "_QuantizeLinear_Input"  # what is behind an output's name before it is quantized
    return {
        node.input[0].removesuffix(of_output): float(constants[node.input[1]])
        for node in quantizers
    }


def test_every_quantizer_has_the_range_that_the_recipes_method_finds(pipeline):
    spec, seen = tiny_torch.TORCH, []
    statistics = table.read_table(pipeline.statistics(spec, "onnx").path / STATISTICS)
    for name in ("onnx_int8", "onnx_int8_entropy", "onnx_int8_percentile", "onnx_int8_mse"):
        found = scales(pipeline.artifact(spec, RECIPES[name]).artifact.path)
        wanted = thresholds.ranges(statistics, RECIPES[name].calibration)
        for tensor, (low, high) in wanted.items():
            assert found[tensor] == pytest.approx((max(high, 0) - min(low, 0)) / 255, rel=1e-5)
        seen.append(tuple(found.values()))
    assert len(set(seen)) >= 3, "so few values have no hundred thousandth to clip"


@pytest.mark.parametrize("toolchain", ["onnx", "tflite"])
def test_two_processes_calibrate_to_the_same_bytes(pipeline, worker, tmp_path, toolchain):
    spec = tiny_torch.TORCH
    apart = replace(pipeline.settings, calibration_jobs=2)
    copied = shutil.copytree(pipeline.cache.root, tmp_path / "cache", symlinks=True)
    shutil.rmtree(copied / "statistics", ignore_errors=True)
    again = Pipeline(apart, ArtifactCache(copied), worker)
    one, two = (each.statistics(spec, toolchain) for each in (pipeline, again))
    assert not two.hit
    assert (one.path / STATISTICS).read_bytes() == (two.path / STATISTICS).read_bytes()
    assert not list(copied.glob("shards/*"))  # of use only while it is not finished


def test_onnx_file_of_any_size_is_repaired_and_the_report_tells(pipeline):
    run = CaseRun(tiny_torch.ONNX, INT8, pipeline)
    conversion = measure.size(run).fields["conversion"]
    assert conversion["how"].startswith("ONNX file, checked and repaired")
    assert any("height" in told or "shape" in told for told in conversion["repairs"])
    assert run.built.artifact.inputs[0].shape == (1, 3, 32, 32)


def test_everything_ran_as_integer(pipeline):
    found = measure.integer_only(CaseRun(tiny_torch.TORCH, INT8, pipeline))
    assert found.result.status == "passed", found.result.message
    assert found.fields["integer_ops"] == {"fraction": 1.0, "float_ops": []}
    left = measure.integer_only(CaseRun(tiny_torch.TORCH, RECIPES["onnx_fp32"], pipeline))
    assert left.fields["integer_ops"]["fraction"] == 0


def test_float_artifact_is_compared_with_the_program_it_was_made_of(pipeline):
    for name in ("onnx_fp32", "tflite_fp32"):
        assert CaseRun(tiny_torch.TORCH, RECIPES[name], pipeline).evaluation.sqnr_db > 90
