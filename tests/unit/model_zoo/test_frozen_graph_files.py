"""A user's own `.pb` in the place of a model's: taken as it is, or refused in one sentence."""

from __future__ import annotations

from dataclasses import replace

import frozen_graphs
import pytest

from int8gate.calibration_data.preprocessing import PIXELS
from int8gate.engine.cache import ArtifactCache
from int8gate.model_zoo.spec import ModelSpec, Network
from int8gate.quantizers.diagnosis import ConversionFailed
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings

SIDE = frozen_graphs.SIZE
NETWORK = Network("frozen_graphs:frozen", (SIDE, SIDE, 3), (SIDE, SIDE), 10)
SPEC = ModelSpec(
    name="own",
    task="classification",
    source_format="frozen_graph",
    preprocessing=PIXELS,
    compact=NETWORK,
    full=NETWORK,
    paper="none: a test",
)
INT8 = RECIPES["tflite_int8"]


@pytest.fixture
def convert(worker, tmp_path):
    """Puts `content` into own.pb and converts it; returns the pipeline and what was built."""

    def take(content: bytes, spec: ModelSpec = SPEC):
        (tmp_path / "own.pb").write_bytes(content)
        chosen = Settings(weights_dir=tmp_path)
        pipeline = Pipeline(chosen, ArtifactCache(tmp_path / "cache"), worker)
        return pipeline, pipeline.artifact(spec, INT8)

    return take


def test_a_graph_with_control_flow_around_its_network_is_converted(convert):
    pipeline, built = convert(frozen_graphs.frozen("detector"))
    assert {spec.dtype for spec in (*built.artifact.inputs, *built.artifact.outputs)} == {"int8"}
    report = pipeline.exported(SPEC).meta["result"]
    assert report["nodes"]["preprocessing"] > 0 < report["nodes"]["postprocessing"]
    assert report["cut"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: frozen_graphs.frozen("middle_loop"), "control flow between layers"),
        (lambda: frozen_graphs.frozen("detector")[:-3000], "truncated"),
        (lambda: str(frozen_graphs.graph_def("selected")).encode(), "is text"),
        (lambda: b"", "is empty"),
        (lambda: b"\x08\x01" * 50, "own.pb"),
    ],
    ids=["loop in the middle", "truncated", "text", "empty", "foreign"],
)
def test_what_is_no_network_is_refused_and_the_users_file_named(convert, tmp_path, content, said):
    spec = SPEC
    if said.startswith("control"):
        spec = replace(SPEC, preprocessing=replace(PIXELS, std=255.0))  # it takes float32
    with pytest.raises(ConversionFailed) as refused:
        convert(content(), spec)
    assert said in str(refused.value)
    assert str(tmp_path / "cache") not in str(refused.value)
