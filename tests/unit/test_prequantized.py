"""A model that comes quantized: its file through every gate, with a float twin and without."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import tiny_zoo

from quantizers.cache import ArtifactCache
from quantizers.diagnosis import ConversionFailed
from quantizers.pipeline import Pipeline
from quantizers.recipe import RECIPES
from quantizers.settings import Settings
from quantizers.worker import Worker
from runtimes.artifact import sha256_of
from validation import conversion, measure
from validation.case_run import CaseRun

# One worker of xdist runs them all: what they share is made once.
pytestmark = pytest.mark.xdist_group("prequantized")

SPEC = replace(
    tiny_zoo.TINY,
    source_format="tflite",
    recipes=("prequantized",),
    compact=replace(tiny_zoo.TINY.compact, official="tiny_quant.tflite"),
)
PREQUANTIZED = RECIPES["prequantized"]


class Setting:
    """Folders of weights, one with the quantized file and its twin, one with the file alone."""

    def __init__(self, folder, worker: Worker):
        self.folder, self.worker = folder, worker
        self.pictures = tiny_zoo.store_pictures(folder / "pictures", 600)
        both = tiny_zoo.store_weights(folder / "both")
        made = self.pipeline("both").artifact(tiny_zoo.TINY, RECIPES["tflite_uint8"]).artifact
        shutil.copyfile(made.path, both / "tiny.tflite")
        (folder / "alone").mkdir()
        shutil.copyfile(made.path, folder / "alone" / "tiny_quant.tflite")

    def pipeline(self, weights: str) -> Pipeline:
        chosen = Settings(weights_dir=self.folder / weights, data_dir=self.pictures)
        return Pipeline(chosen, ArtifactCache(self.folder / "cache"), self.worker)

    def run(self, weights: str) -> CaseRun:
        return CaseRun(SPEC, PREQUANTIZED, self.pipeline(weights))


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    with Worker() as worker:
        yield Setting(tmp_path_factory.mktemp("tiny"), worker)


def test_the_file_is_taken_as_it_is(setting):
    run = setting.run("both")
    artifact = run.built.artifact
    assert artifact.sha256 == sha256_of(setting.folder / "both" / "tiny.tflite")
    assert artifact.provenance["file"] == "tiny.tflite"
    told = conversion.describe(run)
    assert told["status"] == "not_applicable"
    assert "as it is" in told["how"]


def test_with_a_float_twin_it_is_compared_with_that(setting):
    run = setting.run("both")
    accuracy = measure.accuracy(run)
    assert accuracy.result.status == "passed", accuracy.result.message
    assert accuracy.fields["accuracy"]["float"] > accuracy.fields["accuracy"]["baseline"]["score"]
    assert accuracy.fields["fidelity"]["sqnr_db"] > 15
    assert measure.io_dtype(run).result.status == "passed"
    assert measure.integer_only(run).result.status == "passed"
    assert measure.size(run).fields["size_bytes"]["ratio"] < 0.6
    assert measure.cpu_speedup(run).fields["cpu"]["speedup"] > 0


def test_a_float_twin_below_what_it_is_known_to_reach_proves_nothing(setting, monkeypatch):
    run = setting.run("both")
    monkeypatch.setitem(run.__dict__, "expected", replace(run.expected, least_metric=0.999))
    found = measure.accuracy(run).result
    assert found.status == "invalid"
    assert "expected at least 0.9990 (least_metric)" in found.message


def test_without_one_the_labels_alone_judge(setting, monkeypatch):
    run = setting.run("alone")
    accuracy = measure.accuracy(run)
    assert accuracy.result.status == "passed", accuracy.result.message
    assert accuracy.fields["accuracy"]["float"] is None
    assert accuracy.fields["accuracy"]["quantized"] > 0.5
    assert "labels alone" in " ".join(accuracy.fields["notes"])
    assert measure.io_dtype(run).result.status == "passed"
    for gate in (measure.size, measure.cpu_speedup):
        assert gate(run).result.status == "not_measured"
    asked = replace(run.expected, least_metric=0.999)
    monkeypatch.setitem(run.__dict__, "expected", asked)
    failed = measure.accuracy(run).result
    assert failed.status == "failed"
    assert "at least 0.9990" in failed.message


def test_a_constant_file_fails_without_a_twin(setting, tmp_path):
    """Without a float model to be invalid, the file itself is at fault."""
    weights = tiny_zoo.fit()
    weights["dense/kernel"][:] = 0
    from safetensors.numpy import save_file

    save_file(weights, tmp_path / "tiny.safetensors")
    chosen = Settings(weights_dir=tmp_path, data_dir=setting.pictures)
    pipeline = Pipeline(chosen, ArtifactCache(tmp_path / "cache"), setting.worker)
    made = pipeline.artifact(tiny_zoo.TINY, RECIPES["tflite_uint8"]).artifact
    (tmp_path / "tiny.safetensors").unlink()
    shutil.copyfile(made.path, tmp_path / "tiny.tflite")
    found = measure.accuracy(CaseRun(SPEC, PREQUANTIZED, pipeline)).result
    assert found.status == "failed"
    assert "same output for every sample" in found.message


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 4096], ids=["empty", "text", "0"])
def test_a_file_that_is_no_model_is_refused_in_a_sentence(setting, tmp_path, content):
    (tmp_path / "tiny.tflite").write_bytes(content)
    chosen = Settings(weights_dir=tmp_path, data_dir=setting.pictures)
    pipeline = Pipeline(chosen, ArtifactCache(tmp_path / "cache"), setting.worker)
    with pytest.raises(ConversionFailed, match=r"LiteRT cannot load .*tiny\.tflite"):
        pipeline.artifact(SPEC, PREQUANTIZED)


def test_a_missing_file_is_named(setting, tmp_path):
    pipeline = Pipeline(Settings(weights_dir=tmp_path), ArtifactCache(tmp_path), setting.worker)
    with pytest.raises(FileNotFoundError, match=r"tiny\.tflite or tiny_quant\.tflite"):
        pipeline.artifact(SPEC, PREQUANTIZED)
