"""Each gate is handed what it judges: the right pictures, the right files, and it is there at all.

A gate may be right to the last digit and be fed the wrong thing: calibration with the pictures that
are scored, the float file twice. The rooms are the real ones here, on a network of three layers in
ONNX that needs no export, and on pictures that are dark where they calibrate and bright where they
are scored.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx_files
import pytest
from data_folders import write
from in_process import InProcess
from test_gates_of_a_file import run, team  # noqa: F401 (fixtures)

from int8gate.engine.cache import ArtifactCache, CacheEntry
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.plugin import gates
from int8gate.quantizers.calibration.table import read_table
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.runtimes.artifact import ONNX, SAMPLES, STATISTICS, Artifact, TensorSpec
from int8gate.validation import cached_results as kept
from int8gate.validation import causes, measure, speed
from int8gate.validation import gates as judged
from int8gate.validation.case_run import CaseRun
from int8gate.validation.evaluation import evaluate
from int8gate.validation.fidelity import SQNR_CEILING_DB
from int8gate.validation.gates import GateResult, io_dtype_gate
from int8gate.validation.measure import Measurement

pytest_plugins = "pytester"

CALIBRATION, EVALUATION = 30, 40  # pictures
DARK, BRIGHT = 40, 250  # the most that a pixel has
TABLE = """
[models.gadget]
file = "gadget.onnx"
task = "classification"
data = "pictures"
range = [0, 1]
expect = { accuracy = "0.5 * float" }
"""
EIGHT_BIT = {"accuracy", "io_dtype", "integer_only", "size", "cpu_speedup", "npu_speedup"}
FLOAT_ACTIVATIONS = ("tflite_fp16", "tflite_dynamic_int8", "onnx_dynamic_int8")
FLOAT_ACTIVATIONS += ("onnx_weight_int8", "onnx_weight_int4", "onnx_weight_int4_hqq")
FLOAT_ACTIVATIONS += ("onnx_weight_int4_gptq",)
FLOAT_PRODUCTS = ("onnx_int8x4", "onnx_qat_int8x4")  # of int4 weights
GATES_OF = {  # recipe -> its gates
    **dict.fromkeys(RECIPES, EIGHT_BIT),
    **dict.fromkeys((*FLOAT_ACTIVATIONS, *FLOAT_PRODUCTS), EIGHT_BIT - {"integer_only"}),
    **{name: {"accuracy", "io_dtype", "npu_speedup"} for name in ("tflite_fp32", "onnx_fp32")},
}


class Exported(Pipeline):
    """A pipeline that exports nothing: the model is ONNX. From there on all stages are real."""

    def exported(self, spec) -> CacheEntry:
        def copy(directory: Path) -> dict:
            shutil.copyfile(spec.own.file, directory / ONNX)
            return {"seconds": 0.0, "peak_rss_bytes": None, "result": {}}

        return self.cache.get_or_build("program", {"file": spec.name}, copy)


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> CaseRun:
    folder = tmp_path_factory.mktemp("team")
    rng = np.random.default_rng(0)
    for split, count, most in (
        ("calibration", CALIBRATION, DARK),
        ("evaluation", EVALUATION, BRIGHT),
    ):
        for number in range(count):
            picture = rng.integers(0, most, (16, 16, 3), dtype=np.uint8, endpoint=True)
            place = folder / "pictures" / split / f"class{number % 5}"
            write(place / f"{number}.png", picture)
    onnx_files.save(onnx_files.cnn(), folder / "gadget.onnx")
    (folder / "zoo.toml").write_text(TABLE)
    (own,) = read_zoo(folder / "zoo.toml")
    cache = ArtifactCache(folder / "cache")
    pipeline = Exported(Settings(min_calibration_samples=10), cache, InProcess())
    return CaseRun(declared_spec(own), RECIPES["onnx_int8"], pipeline)


def most_of_pixels(case: CaseRun, split: str) -> float:
    """The largest value that the network's input held when statistics of a split were collected."""
    statistics = case.pipeline.statistics(case.spec, "onnx", split)
    return float(read_table(statistics.path / STATISTICS)["image"].maximum)


def test_calibration_sees_calibrations_pictures_alone(case):
    samples = np.load(case.pipeline.data.calibration(case.spec).path / SAMPLES)
    assert len(samples) == CALIBRATION
    assert samples.max() == pytest.approx(DARK / 255)
    assert most_of_pixels(case, "calibration") == pytest.approx(DARK / 255)
    (image,) = (row for row in case.built.calibration["tensors"] if row["name"] == "image")
    assert image["high"] == pytest.approx(DARK / 255, rel=1e-3)


def test_scores_are_of_evaluations_pictures_alone(case):
    assert len(case.evaluation.statistics) == len(case.float_evaluation.statistics) == EVALUATION
    scored = case.pipeline.data.known(case.spec, "evaluation")
    assert scored.count == EVALUATION
    assert most_of_pixels(case, "evaluation") == pytest.approx(BRIGHT / 255)


def test_the_audit_knows_which_set_is_which(case):
    found = {each["kind"]: each for each in case.pipeline.data.audit(case.spec)}
    assert f"{CALIBRATION} " in found["few_samples"]["evidence"]


def test_the_audit_of_activations_is_part_of_the_accuracy_gate(case):
    audited = {each["kind"] for each in measure.accuracy(case).fields["calibration_audit"]}
    assert "activation_mismatch" in audited
    assert audited > {each["kind"] for each in case.pipeline.data.audit(case.spec)}


def test_size_is_that_of_the_two_files(case):
    files = case.float_built.artifact.path, case.built.artifact.path
    sizes = [path.stat().st_size for path in files]
    assert sizes[0] != sizes[1]
    found = measure.size(case).fields["size_bytes"]
    assert found == {"float": sizes[0], "quantized": sizes[1], "ratio": sizes[1] / sizes[0]}


def test_speed_is_of_float_and_quantized_in_turn(case):
    case.pipeline.worker.tasks.clear()
    timed = measure.cpu_speedup(case).fields["cpu"]
    ((function, arguments),) = case.pipeline.worker.tasks
    assert function is speed.interleave
    assert arguments == (case.float_built.artifact.path, case.built.artifact.path)
    assert timed["speedup"] > 0


def test_each_of_two_models_is_timed(tmp_path):
    """One of them does a thousand times the other's work."""
    for name, sides in (("small", 16), ("large", 512)):
        model = onnx_files.cnn(picture=f"1, 3, {sides}, {sides}")
        onnx_files.save(model, tmp_path / f"{name}.onnx")
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    assert speed.interleave(large, small).speedup > 5
    assert speed.interleave(small, large).speedup < 1 / 5


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_its_gates(name):
    assert set(RECIPES[name].gates) == GATES_OF[name]


def test_every_gate_is_a_test_and_measures_what_it_is_called():
    tests = {name: value for name, value in vars(gates).items() if name.startswith("test_")}
    assert set(tests) == {f"test_{name}" for name in EIGHT_BIT}
    for name, test in tests.items():
        asked = []
        names = test.__code__.co_varnames[: test.__code__.co_argcount]
        given = dict.fromkeys(names) | {
            "int8_gate": lambda measurement, *_, history=None: asked.append(measurement)  # noqa: B023
        }
        test(**given)
        assert asked == [name.removeprefix("test_")]
        assert callable(getattr(measure, asked[0]))
        assert {mark.name for mark in test.pytestmark} >= {name.removeprefix("test_")}


FAILED, PASSED = GateResult("failed", "as it was made to"), GateResult("passed")
UNLESS = ("too_few_samples", "floor_gate", "reference_gate")  # gates that say nothing of what holds
WITHIN = [  # a measurement, the recipe, and a gate that it must not leave out
    (measure.accuracy, "onnx_int8", "too_few_samples"),
    (measure.accuracy, "onnx_int8", "accuracy_gate"),
    (measure.accuracy, "onnx_int8", "floor_gate"),
    (measure.accuracy, "onnx_int8", "reference_gate"),
    (measure.accuracy, "onnx_fp32", "accuracy_gate"),
    (measure.accuracy, "onnx_fp32", "export_gate"),
    (measure.accuracy, "onnx_fp32", "reference_gate"),
    (measure.io_dtype, "onnx_int8", "io_dtype_gate"),
    (measure.integer_only, "onnx_int8", "integer_only_gate"),
    (measure.size, "onnx_int8", "size_gate"),
    (measure.cpu_speedup, "onnx_int8", "cpu_speed_gate"),
]


@pytest.mark.parametrize(("measurement", "name", "fails"), WITHIN)
def test_what_one_gate_within_a_measurement_refuses_is_refused(
    case, monkeypatch, measurement, name, fails
):
    """The others pass."""
    for gate in {gate for _, _, gate in WITHIN}:
        passed = None if gate in UNLESS else PASSED
        result = FAILED if gate == fails else passed
        monkeypatch.setattr(judged, gate, lambda *_, result=result: result)
    monkeypatch.setattr(causes, "error_origin", lambda _: None)
    one = CaseRun(case.declared, RECIPES[name], case.pipeline)
    one._results["audit"] = None
    one._results["timed"] = case.timed
    result = measurement(one).result
    assert result.status == "failed"
    assert result.message.startswith(FAILED.message)


def test_a_wrong_calibration_set_fails_whatever_the_scores(case, monkeypatch):
    monkeypatch.setattr(judged, "accuracy_gate", lambda *_: PASSED)
    result = measure.accuracy(case).result
    assert result.status == "invalid"
    assert "the calibration set is wrong" in result.message


def test_pictures_and_samples_are_checked_before_anything_is_calibrated(case, tmp_path):
    few = Exported(Settings(), ArtifactCache(tmp_path / "cache"), InProcess())
    with pytest.raises(ValueError, match=f"has {CALIBRATION} samples"):
        few.data.calibration(case.spec)


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        ("passed", "failed"),
        ("recorded", "failed"),
        ("failed", "xfailed"),
        ("inconclusive", "xfailed"),
        ("invalid", "failed"),
    ],
)
def test_a_declared_exception_is_strict(team, run, monkeypatch, status, ends):  # noqa: F811
    declared = '\nexpect = { unsupported = { size = "nothing to shrink" } }\n'
    file = team / "one.toml"
    file.write_text(file.read_text() + declared)
    monkeypatch.setattr(measure, "size", lambda _: Measurement("size", GateResult(status, "so")))
    done = run("--zoo=one.toml", "-m", "size")
    assert re.search(rf"\b1 {ends}\b", done.stdout.splitlines()[-1]), done.stdout
    assert (done.ret == 0) == (ends == "xfailed")
    if status in ("passed", "recorded"):
        assert "it works now: take the entry out" in done.stdout


def test_a_declared_exception_is_marked_from_collection_on(team, run, monkeypatch):  # noqa: F811
    """So it can be listed and selected, and `--runxfail` judges the gate as if it was not there."""
    file = team / "one.toml"
    past = 'accuracy = { reason = "old", expires = 2020-01-01 }'
    declared = f'expect = {{ unsupported = {{ size = "nothing to shrink", {past} }} }}'
    file.write_text(f"{file.read_text()}\n{declared}\n")
    listed = run("--zoo=one.toml", "--collect-only", "-m", "xfail").stdout
    assert re.findall(r"::test_(\w+)\[", listed) == ["size"], "one past its date holds no more"
    measured = Measurement("size", FAILED)
    monkeypatch.setattr(measure, "size", lambda _: measured)
    assert run("--zoo=one.toml", "-m", "size").ret == 0
    done = run("--zoo=one.toml", "-m", "size", "--runxfail", "-rA")
    assert done.ret == 1
    assert f"failed: one-onnx_int8 size: {FAILED.message}" in done.stdout
    monkeypatch.setattr(measure, "size", lambda _: Measurement("size", PASSED))
    assert run("--zoo=one.toml", "-m", "size").ret == 1
    assert run("--zoo=one.toml", "-m", "size", "--runxfail").ret == 0


def test_an_error_is_no_declared_exception(team, run, monkeypatch):  # noqa: F811
    def broken(_):
        raise ValueError("no such layer")

    file = team / "one.toml"
    file.write_text(file.read_text() + '\nexpect = { unsupported = { size = "so" } }\n')
    monkeypatch.setattr(measure, "size", broken)
    done = run("--zoo=one.toml", "-m", "size")
    assert done.ret == 1
    assert "error: one-onnx_int8: no such layer" in done.stdout


@pytest.mark.parametrize(("expires", "ends"), [("2199-01-01", "xfailed"), ("2020-01-01", "failed")])
def test_a_declared_exception_ends_with_its_date(team, run, monkeypatch, expires, ends):  # noqa: F811
    told = f'{{ reason = "nothing to shrink", expires = {expires} }}'
    file = team / "one.toml"
    file.write_text(f"{file.read_text()}\nexpect = {{ unsupported = {{ size = {told} }} }}\n")
    monkeypatch.setattr(measure, "size", lambda _: Measurement("size", FAILED))
    done = run("--zoo=one.toml", "-m", "size")
    assert re.search(rf"\b1 {ends}\b", done.stdout.splitlines()[-1]), done.stdout


@pytest.mark.parametrize(
    ("part", "status"),
    [(1.0, "passed"), (1.029, "passed"), (0.971, "passed"), (1.031, "failed"), (0.969, "failed")],
)
def test_a_scale_may_be_off_by_three_percent(part, status):
    """Of 255 levels, eight at the far end: beyond it raw pixels are others."""
    taken = TensorSpec("image", (1, 8, 8, 3), "int8", part / 255, -128)
    assert io_gate(taken).status == status


@pytest.mark.parametrize(
    ("zero_point", "status"), [(-128, "passed"), (-127, "passed"), (-126, "failed")]
)
def test_a_zero_point_may_be_off_by_one_level(zero_point, status):
    taken = TensorSpec("image", (1, 8, 8, 3), "int8", 1 / 255, zero_point)
    assert io_gate(taken).status == status


def io_gate(taken: TensorSpec) -> GateResult:
    given = TensorSpec("classes", (1, 10), "int8", 1 / 255, -128)
    changed = Artifact(Path("model.tflite"), "", "tflite", (taken,), (given,))
    return io_dtype_gate(changed, RECIPES["tflite_int8"], (0.0, 1.0), "gadget-tflite_int8")


def test_fidelity_is_that_of_the_quantized_file_to_the_float_one(case):
    case.pipeline.worker.tasks.clear()
    fresh = CaseRun(case.declared, case.recipe, case.pipeline)
    fresh.pipeline.cache.get_or_build = _always_built(fresh.pipeline.cache)
    try:
        found = fresh.evaluation
    finally:
        del fresh.pipeline.cache.get_or_build
    ((model, reference),) = (
        arguments[:2] for task, arguments in case.pipeline.worker.tasks if task is evaluate
    )
    assert model == case.built.artifact.path
    assert reference == case.float_built.artifact.path
    assert found.sqnr_db < SQNR_CEILING_DB - 30  # that of a file to itself is the ceiling


def _always_built(cache):
    """`get_or_build` for which no evaluation is in the cache."""

    def build(name, parts, make, **options):
        fresh = {"again": True} if name == "evaluation" else {}
        return ArtifactCache.get_or_build(cache, name, {**parts, **fresh}, make, **options)

    return build


def test_scores_are_compared_sample_by_sample(tmp_path):
    """Half of the answers are right, in no order, and both models give the same."""
    right = np.random.default_rng(0).random(300) < 0.5
    rows = np.stack([right, np.ones(300)], axis=1).astype(float)
    scored = 200  # fewer than float is scored on
    about = {
        "sources": np.arange(300),
        "chance": 0.1,
        "distinct_outputs": 9,
        "also": {},
        "baseline": None,
        "groups": None,
        "to_float": {},
    }
    reference = SimpleNamespace(key="float", statistics=rows, **about)
    own = SimpleNamespace(key="own", statistics=rows[:scored], **about)
    own.sources = own.sources[:scored]
    cache = ArtifactCache(tmp_path / "cache")
    found = kept.compared(cache, ("top1",), reference, own, "rule", lambda _: 0.05, 0)
    assert found.float_score == found.quantized_score == rows[:scored, 0].mean()
    assert found.test.drop == 0
    assert found.test.drop_upper_95 < 3.5 / scored  # none is discordant: the rule of three
    assert found.test.verdict == "passed"
