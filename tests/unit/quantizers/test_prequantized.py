"""A model that comes quantized: its file through every gate, with a float twin and without."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import tiny_zoo

from int8gate.engine.cache import ArtifactCache
from int8gate.engine.file_digest import sha256_of
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.quantizers.diagnosis import ConversionFailed
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.validation import measure, record
from int8gate.validation.case_run import CaseRun

SPEC = replace(
    tiny_zoo.TINY,
    source_format="tflite",
    recipes=("prequantized",),
    compact=replace(tiny_zoo.TINY.compact, official="tiny_quant.tflite"),
)
PREQUANTIZED = RECIPES["prequantized"]


class Setting:
    """Folders of weights, one with the quantized file and its twin, one with the file alone."""

    def __init__(self, folder, worker):
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
def setting(tmp_path_factory, worker):
    return Setting(tmp_path_factory.mktemp("tiny"), worker)


def test_the_file_is_taken_as_it_is(setting):
    run = setting.run("both")
    artifact = run.built.artifact
    assert artifact.sha256 == sha256_of(setting.folder / "both" / "tiny.tflite")
    assert artifact.provenance["file"] == "tiny.tflite"
    told = record.describe_conversion(run)
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


@pytest.fixture(scope="module")
def own(setting) -> OwnModel:
    """A team's quantized file with 600 labelled pictures and the Keras model that it came from."""
    from safetensors.numpy import load_file

    network = tiny_zoo.build((32, 32, 3), 10)
    for name, values in load_file(setting.folder / "both" / "tiny.safetensors").items():
        layer, _, weight = name.partition("/")
        getattr(network.get_layer(layer), weight).assign(values)
    twin = setting.folder / "twin.keras"
    network.save(twin)
    return OwnModel(
        "gadget",
        setting.folder / "both" / "tiny.tflite",
        "models.toml, [models.gadget]",
        "classification",
        data=setting.pictures,
        preprocessing=tiny_zoo.TINY.preprocessing,
        float_file=twin,
    )


def of_own(setting, own: OwnModel) -> CaseRun:
    pipeline = Pipeline(Settings(), ArtifactCache(setting.folder / "cache"), setting.worker)
    return CaseRun(declared_spec(own), PREQUANTIZED, pipeline)


def test_a_team_names_the_float_twin_in_any_format(setting, own):
    run = of_own(setting, own)
    accuracy = measure.accuracy(run)
    assert accuracy.result.status == "passed", accuracy.result.message
    assert accuracy.fields["accuracy"]["float"] > 0.5
    assert accuracy.fields["accuracy"]["drop_upper_95"] is not None
    assert measure.size(run).fields["size_bytes"]["ratio"] < 0.6
    assert measure.cpu_speedup(run).fields["cpu"]["speedup"] > 0
    assert "compared with twin.keras" in record.describe_conversion(run)["how"]


def test_no_picture_is_held_out_for_a_calibration_that_there_is_not(setting, own, tmp_path):
    run = of_own(setting, own)
    assert measure.accuracy(run).fields["accuracy"]["samples"] == 600
    few = tmp_path / "few"
    for file in sorted(setting.pictures.rglob("*.png"))[::30]:
        (few / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, few / file.parent.name / file.name)
    run = of_own(setting, replace(own, data=few))
    assert run.evaluated_samples == 20
    found = measure.accuracy(run)
    assert (found.result.status, found.fields) == ("invalid", {}), "known before anything is run"
    assert "one of 20 samples moves the metric by 0.05" in found.result.message
    split = tmp_path / "split"
    shutil.copytree(few, split / "evaluation")
    run = of_own(setting, replace(own, data=split))
    assert run.evaluated_samples == 20


def test_without_a_twin_the_message_says_how_to_name_one(setting, own):
    run = of_own(setting, replace(own, float_file=None))
    for gate in (measure.size, measure.cpu_speedup):
        found = gate(run).result
        assert found.status == "not_measured"
        assert 'float_file = "FILE"' in found.message


def test_a_twin_that_is_none_is_refused(setting, own, tmp_path):
    quantized = of_own(setting, replace(own, float_file=own.file))
    with pytest.raises(ValueError, match=r"float_file tiny\.tflite is quantized"):
        quantized.result("float_spec")
    of_float = of_own(setting, replace(own, file=own.float_file, float_file=own.float_file))
    with pytest.raises(ValueError, match=r"twin\.keras is a float model itself"):
        _ = of_float.spec
    large = tmp_path / "large.keras"
    tiny_zoo.build((40, 40, 3), 10).save(large)
    with pytest.raises(ValueError, match=r"size = \[32, 32\] contradicts the file"):
        of_own(setting, replace(own, float_file=large)).result("float_spec")
