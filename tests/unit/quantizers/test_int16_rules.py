"""Operators in int16 rescue a network whose activations 8 bits cannot hold, all integer."""

from __future__ import annotations

import outlier_networks
import pytest
from in_process import InProcess

from int8gate.engine.cache import ArtifactCache
from int8gate.quantizers.declared_recipes import declared_model
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import recipe
from int8gate.quantizers.settings import Settings
from int8gate.runtimes.tflite_graph import read_graph
from int8gate.targets.ethos_u import estimate
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun

TABLE = """
[models.gadget]
file = "gadget.tflite"
task = "classification"
data = "pictures"
range = [0, 1]
expect = { accuracy = "0.9 * float" }

[recipes.gadget_row]
base = "tflite_int8"
int16 = ["common/*", "middle/*"]

[recipes.gadget_one]
base = "tflite_int8"
int16 = ["middle/*"]
"""


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The run of a recipe by name, each once."""
    team, runs = tmp_path_factory.mktemp("team"), {}
    outlier_networks.write_common(team)
    (team / "models.toml").write_text(TABLE)

    def case(name: str) -> CaseRun:
        if name not in runs:
            spec, cache = declared_model("gadget", team / "models.toml"), ArtifactCache(team / "c")
            pipeline = Pipeline(Settings(min_calibration_samples=50), cache, InProcess())
            runs[name] = CaseRun(spec, recipe(name), pipeline)
        return runs[name]

    return case


def test_a_row_of_layers_in_int16_passes_where_8_bits_fail(case):
    plain, one, row = (
        measure.accuracy(case(name)) for name in ("tflite_int8", "gadget_one", "gadget_row")
    )
    assert plain.fields["accuracy"]["float"] == 1
    assert plain.result.status == one.result.status == "failed", "what they read has 8 bits"
    assert row.result.status == "passed", row.result.message
    gain = row.fields["fidelity"]["sqnr_db"] - plain.fields["fidelity"]["sqnr_db"]
    assert gain > 20


def test_it_is_integer_from_end_to_end_and_the_record_names_what_has_16_bits(case):
    found = measure.integer_only(case("gadget_row"))
    assert found.result.status == "passed", found.result.message
    told = found.fields["integer_ops"]
    assert (told["fraction"], told["float_ops"]) == (1, [])
    assert [name.split()[0] for name in told["int16_ops"]] == ["CONV_2D", "ADD", "CONV_2D"]
    assert measure.io_dtype(case("gadget_row")).result.status == "passed"
    plain = measure.integer_only(case("tflite_int8"))
    assert "int16_ops" not in plain.fields["integer_ops"]


def test_an_npu_takes_it_as_a_whole_with_its_borders(case, tmp_path):
    path = case("gadget_row").built.artifact.path
    assert "QUANTIZE" in {operator.opcode for operator in read_graph(path).operators}
    for target in ("ethos_u55_128", "ethos_u85_512"):
        mixed = estimate(path, target, tmp_path)
        plain = estimate(case("tflite_int8").built.artifact.path, target, tmp_path)
        assert (mixed.cpu_ops, plain.cpu_ops) == (0, 0)
        assert mixed.cycles > plain.cycles
