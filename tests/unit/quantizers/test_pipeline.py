"""From a declaration to artifacts, with real networks, TensorFlow's converter and a real cache."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_zoo
from edited_code import edit
from tiny_zoo import TINY

from int8gate.calibration_data.preprocessing import UNIT
from int8gate.calibration_data.sample_set import SampleSet
from int8gate.engine.cache import ArtifactCache, CacheWarning
from int8gate.engine.framework_imports import OPTIONAL
from int8gate.engine.worker import Worker, WorkerCrashed
from int8gate.model_zoo.registry import model
from int8gate.quantizers.data_sets import DataSets
from int8gate.quantizers.diagnosis import ConversionFailed
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.runtimes.artifact import SAMPLES, TFLITE
from int8gate.runtimes.litert import LiteRTSession
from int8gate.runtimes.tflite_graph import read_graph
from int8gate.runtimes.tflite_integers import float_operators
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun

# But those that train, whose end depends on the time that they have.
CONVERTED = {
    name: one for name, one in RECIPES.items() if name.startswith("tflite") and not one.is_trained
}
INT8, UINT8 = RECIPES["tflite_int8"], RECIPES["tflite_uint8"]
STAGES = ("saved_model", "samples", "statistics", "artifact")


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    folder = tmp_path_factory.mktemp("tiny")
    return Settings(
        weights_dir=tiny_zoo.store_weights(folder / "weights"),
        data_dir=tiny_zoo.store_pictures(folder / "pictures", 600),
    )


@pytest.fixture(scope="module")
def pipeline(worker, settings, tmp_path_factory) -> Pipeline:
    """One cache for all tests of this module that add to it and damage nothing."""
    return Pipeline(settings, ArtifactCache(tmp_path_factory.mktemp("cache")), worker)


@pytest.fixture
def fresh(worker, settings, tmp_path) -> Pipeline:
    return Pipeline(settings, ArtifactCache(tmp_path / "cache"), worker)


def entries(pipeline: Pipeline) -> dict[str, set[str]]:
    """The keys in the cache by stage."""
    root = pipeline.cache.root
    return {stage: {path.name for path in root.glob(f"{stage}/*/*")} for stage in STAGES}


def added(pipeline: Pipeline, spec=TINY, recipe=INT8) -> dict[str, int]:
    """How many entries of each stage it takes to make an artifact."""
    before = entries(pipeline)
    pipeline.artifact(spec, recipe)
    return {stage: len(keys - before[stage]) for stage, keys in entries(pipeline).items()}


def evaluation_images(pipeline: Pipeline) -> np.ndarray:
    """Every ninth: they stand class by class."""
    samples = pipeline.data.samples(TINY, "evaluation")
    images, _ = next(samples.batches(100, np.arange(0, len(samples), 9)))
    return TINY.preprocessing.apply(images)


@pytest.mark.parametrize("recipe", CONVERTED.values(), ids=CONVERTED)
def test_recipe_gives_its_dtypes_and_computes_what_float_does(pipeline, recipe):
    artifact = pipeline.artifact(TINY, recipe).artifact
    assert [spec.dtype for spec in artifact.inputs + artifact.outputs] == [recipe.io] * 2
    assert artifact.inputs[0].shape == (1, 32, 32, 3)
    left = [found.op for found in float_operators(read_graph(artifact.path))]
    assert bool(left) is not recipe.is_full_integer, left
    images = evaluation_images(pipeline)
    reference = pipeline.artifact(TINY, RECIPES["tflite_fp32"]).artifact
    expected, found = (
        LiteRTSession(path).predict(images)[0] for path in (reference.path, artifact.path)
    )
    assert (expected.argmax(axis=1) == found.argmax(axis=1)).mean() > 0.9
    assert np.unique(expected.argmax(axis=1)).size > 5  # or the agreement would say nothing


def convert_publicly(saved_model: Path, samples: Path, io: str, directory: Path) -> None:
    """In the worker: TensorFlow's documented way, calibrating for each artifact."""
    import tensorflow as tf

    batch = np.load(samples)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in batch)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
    (directory / TFLITE).write_bytes(converter.convert())


@pytest.mark.parametrize("recipe", [INT8, UINT8], ids=["tflite_int8", "tflite_uint8"])
def test_calibrating_once_gives_what_the_public_converter_gives(pipeline, recipe, tmp_path):
    """But for CONVERSION_METADATA, a buffer of 64 bytes that the public way adds at the end."""
    ours = pipeline.artifact(TINY, recipe).artifact
    exported = pipeline.exported(TINY).path / "saved_model"
    samples = pipeline.data.calibration(TINY).path / SAMPLES
    pipeline.worker.run(convert_publicly, exported, samples, recipe.io, tmp_path, timeout_s=120)
    public = LiteRTSession(tmp_path / TFLITE)
    assert (ours.inputs, ours.outputs) == (public.inputs, public.outputs)
    levels = ours.inputs[0].quantize(evaluation_images(pipeline))
    expected, found = public.run_each(levels), LiteRTSession(ours.path).run_each(levels)
    np.testing.assert_array_equal(expected[0], found[0])
    assert len(np.unique(found[0], axis=0)) > 5


def test_same_inputs_give_the_same_bytes_in_another_cache(pipeline, fresh):
    """Whatever the worker built before: Keras numbers automatic layer names per process."""
    for recipe in CONVERTED.values():
        first, second = (made.artifact(TINY, recipe).artifact for made in (pipeline, fresh))
        assert first.path != second.path
        assert first.sha256 == second.sha256, recipe.name


def test_each_stage_runs_once_for_all_the_recipes_that_need_it(fresh):
    with_float = dict.fromkeys(STAGES, 1) | {"artifact": 2}  # which is calibrated
    assert added(fresh, recipe=INT8) == with_float
    assert added(fresh, recipe=INT8) == dict.fromkeys(STAGES, 0)
    only_quantized = dict.fromkeys(STAGES, 0) | {"artifact": 1}
    assert added(fresh, recipe=UINT8) == only_quantized
    assert added(fresh, recipe=RECIPES["tflite_int16x8"]) == only_quantized
    assert added(fresh, recipe=RECIPES["tflite_fp32"]) == dict.fromkeys(STAGES, 0)
    seconds = fresh.artifact(TINY, UINT8).seconds
    assert seconds["export"] > 0 < seconds["calibrate"]  # of the run that did it


def test_what_changes_the_result_changes_the_key(pipeline, settings, worker, tmp_path, monkeypatch):
    def rerun(spec=TINY, **changed) -> dict[str, int]:
        return added(Pipeline(replace(settings, **changed), pipeline.cache, worker), spec)

    pipeline.artifact(TINY, INT8)
    rebuilt = dict.fromkeys(STAGES, 1) | {"samples": 0, "artifact": 2}
    assert rerun() == dict.fromkeys(STAGES, 0)
    assert rerun(weights_dir=tiny_zoo.store_weights(tmp_path / "w", seed=1)) == rebuilt
    assert rerun(random_weights=True) == rebuilt
    assert rerun(random_weights=True, seed=1) == rebuilt
    more = tiny_zoo.store_pictures(tmp_path / "pictures", 650)
    assert rerun(data_dir=more) == dict.fromkeys(STAGES, 1) | {"saved_model": 0}
    assert rerun(replace(TINY, preprocessing=UNIT)) == dict.fromkeys(STAGES, 1) | {"artifact": 2}
    converted_again = dict.fromkeys(STAGES, 0) | {"statistics": 1, "artifact": 2}
    codes = {
        "tiny_zoo": rebuilt,
        "int8gate.quantizers.network_export": rebuilt,
        "int8gate.quantizers.toolchains.tflite.convert": converted_again,
    }
    for edited, built in codes.items():
        with monkeypatch.context() as patch:
            edit(patch, edited)
            assert rerun() == built, edited


def test_code_that_scores_is_in_the_key_of_an_evaluation(pipeline, monkeypatch):
    def evaluations() -> int:
        assert len(CaseRun(TINY, INT8, pipeline).evaluation.statistics) == 480
        return len(list(pipeline.cache.root.glob("evaluation/*/*")))

    once = evaluations()
    assert evaluations() == once
    edit(monkeypatch, "int8gate.validation.metrics.registry")
    assert evaluations() == once + 1


def test_model_is_timed_in_the_worker(pipeline, worker, monkeypatch):
    """A file that crashes its runtime must not take the whole run along."""
    pipeline.artifact(TINY, RECIPES["tflite_fp32"])
    pipeline.artifact(TINY, INT8)
    ran, in_worker = [], worker.run

    def watch(function, *args, **options):
        ran.append(function.__name__)
        return in_worker(function, *args, **options)

    monkeypatch.setattr(worker, "run", watch)
    assert measure.cpu_speedup(CaseRun(TINY, INT8, pipeline)).fields["cpu"]["speedup"] > 0
    assert ran == ["interleave"]


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("stage", "file"), [("artifact", "model.tflite"), ("saved_model", "saved_model/saved_model.pb")]
)
def test_truncated_file_in_the_cache_is_built_again(fresh, stage, file):
    intact = fresh.artifact(TINY, INT8).artifact.sha256
    damaged = next(fresh.cache.root.glob(f"{stage}/*/*/{file}"))
    shorten(damaged)
    with pytest.warns(CacheWarning, match=f"{file} has .* bytes instead of"):
        assert fresh.artifact(TINY, INT8).artifact.sha256 == intact
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh.artifact(TINY, INT8)


class Broken(SampleSet):
    """The pictures, and one that no camera takes: what a preprocessing of one's own may give."""

    name = "broken"

    def __init__(self, samples: SampleSet, value: float):
        self.samples, self.value, self.sources = samples, value, samples.sources

    def __len__(self) -> int:
        return len(self.samples)

    def check(self) -> None:
        """The files are sound: what is wrong comes of them later."""

    def sample(self, index: int):
        image, label = self.samples.sample(index)
        image = image.astype(np.float32)
        image[0, 0, 0] = self.value if index == 7 else image[0, 0, 0]
        return image, label


def test_models_that_take_the_same_pictures_share_one_drawing(worker, tmp_path):
    pipeline = Pipeline(Settings(), ArtifactCache(tmp_path), worker)
    for name in ("fsrcnn", "fsrcnn_published"):
        read = pipeline.data.evaluation(model(name))
        wanted = pipeline.data.samples(model(name), "evaluation")
        assert (len(read), read.digest()) == (len(wanted), wanted.digest())
        for found, drawn in zip(read.sample(70), wanted.sample(70), strict=True):
            np.testing.assert_array_equal(found, drawn)
    assert len(list(tmp_path.glob("drawn_samples/*/*"))) == 1


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_sample_that_crashes_converters_is_refused_first(worker, settings, tmp_path, value):
    class BrokenSets(DataSets):
        def samples(self, spec, split):
            return Broken(super().samples(spec, split), value)

    broken = Pipeline(settings, ArtifactCache(tmp_path), worker)
    broken.data = BrokenSets(settings, broken.runner)
    with pytest.raises(ValueError, match=f"set for tiny: sample 7 holds {value} .1 of .* remove"):
        broken.artifact(TINY, INT8)
    assert not entries(broken)["statistics"]


def quantize_infinity(float_model: Path) -> None:
    """In the worker: what TensorFlow's own calibrator and quantizer do with an infinite sample."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    samples = np.zeros((4, 1, 32, 32, 3), np.float32)
    samples[2, 0, 0, 0] = -np.inf
    ranged = Calibrator(float_model.read_bytes()).calibrate(lambda: ([one] for one in samples))
    mlir_quantize(ranged, input_data_type=tf.int8, output_data_type=tf.int8)


def loaded_libraries() -> set[str]:
    """In the worker."""
    return {name.partition(".")[0] for name in sys.modules}


def test_converter_that_segfaults_takes_its_worker_along_and_no_more(pipeline, settings, tmp_path):
    float_model = pipeline.artifact(TINY, RECIPES["tflite_fp32"]).artifact.path
    with Worker() as worker:
        with pytest.raises(WorkerCrashed, match="SIGSEGV"):
            worker.run(quantize_infinity, float_model, timeout_s=120)
        again = Pipeline(settings, ArtifactCache(tmp_path / "cache"), worker)
        assert again.artifact(TINY, INT8).artifact.sha256 == (
            pipeline.artifact(TINY, INT8).artifact.sha256
        )
        loaded = worker.run(loaded_libraries, timeout_s=120).value
    assert {"keras", "tensorflow"} <= loaded
    assert not loaded & set(OPTIONAL), "half of the time that importing TensorFlow takes"


@pytest.mark.parametrize("name", ["onnx_int8", "onnx_fp32"])
def test_toolchain_that_does_not_take_the_model_is_refused_in_a_sentence(pipeline, name):
    with pytest.raises(ValueError, match=f"tiny comes as keras, and {name} starts from PyTorch"):
        pipeline.artifact(TINY, RECIPES[name])


def test_dynamic_input_is_fixed_at_export(pipeline, settings, worker):
    """A Keras network for pictures of any size, which converters refuse or leave to the CPU."""
    spec = tiny_zoo.dynamic(replace(TINY, name="dynamic"))
    chosen = replace(settings, random_weights=True)
    artifact = Pipeline(chosen, pipeline.cache, worker).artifact(spec, INT8).artifact
    assert artifact.inputs[0].shape == (1, 32, 32, 3)
    assert artifact.outputs[0].shape == (1, 10)
    shapes = {op.outputs[0].shape for op in read_graph(artifact.path).operators}
    assert {(1, 16, 16, 8), (1, 8, 8, 16)} <= shapes


def test_weights_of_another_network_are_refused(settings, worker, tmp_path):
    spec = tiny_zoo.declare("tiny", pool=True)
    with pytest.raises(ConversionFailed, match=r"dense/kernel has shape .1024, 10., tiny needs"):
        Pipeline(settings, ArtifactCache(tmp_path), worker).artifact(spec, INT8)
