"""Sensitivity of layers on networks whose loss is made in one known layer, in each toolchain."""

from __future__ import annotations

import outlier_networks
import pytest
from in_process import InProcess

from int8gate.analysis.sensitivity import measure
from int8gate.engine.cache import ArtifactCache
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings

TABLE = """
[models.gadget]
file = "gadget.{suffix}"
task = "classification"
data = "pictures"
range = [0, 1]
"""
TOOLCHAINS = ("onnx", "tflite")


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    outlier_networks.write_all(folder)
    for suffix in TOOLCHAINS:
        (folder / f"{suffix}.toml").write_text(TABLE.format(suffix=suffix))
    return folder


@pytest.fixture(scope="module")
def asked(team):
    """The pipeline, model and recipe of a toolchain."""

    def asked(toolchain: str, worker=None):
        (own,) = read_zoo(team / f"{toolchain}.toml")
        cache = ArtifactCache(team / "cache")
        pipeline = Pipeline(Settings(min_calibration_samples=50), cache, worker or InProcess())
        return pipeline, declared_spec(own), RECIPES[f"{toolchain}_int8"]

    return asked


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_the_layer_that_makes_the_loss_comes_first_in_both_modes(toolchain, asked):
    found = measure(*asked(toolchain), samples=40, with_metric=True)
    for row in found.rows:
        print(row)
    print(
        found.sqnr_all_db, found.drop_all, found.drop_all_interval, found.failed, found.unmeasured
    )
    worst = found.rows[0]
    assert outlier_networks.MIDDLE in worst.layer.name
    assert worst is max(found.rows, key=lambda row: row.gain_wide)
    assert worst is max(found.rows, key=lambda row: row.sqnr_wide_db)
