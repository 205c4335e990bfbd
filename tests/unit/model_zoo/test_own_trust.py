"""A model file with code in it: refused, until `--trust` says that it is the team's own."""

from __future__ import annotations

import json

import pytest
import tiny_zoo
from test_own_run import run

TABLE = """
[models.gadget]
file = "gadget.keras"
task = "classification"
data = "pictures"
labels = "none"
range = [0, 1]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    import keras

    folder = tmp_path_factory.mktemp("team")
    tiny_zoo.store_pictures(folder / "pictures", 600)
    side = tiny_zoo.digit_pictures("train")[0].shape[1]
    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((side, side, 3)),
            layers.Conv2D(8, 3, strides=2),
            layers.Lambda(lambda maps: maps * 2.0, output_shape=lambda shape: shape),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )
    network.save(folder / "gadget.keras")
    (folder / "models.toml").write_text(TABLE)
    return folder


def test_code_in_a_file_runs_only_when_it_is_trusted(repository):
    refused = run(repository, "--zoo=models.toml", "-m", "size")
    assert refused.returncode == 1
    assert "Lambda layer" in refused.stdout
    assert "--trust" in refused.stdout
    trusted = run(repository, "--zoo=models.toml", "-m", "size", "--trust", "--report=report")
    (case,) = json.loads((repository / "report" / "results.json").read_text())["cases"]
    assert case["gates"]["size"] in ("passed", "failed"), trusted.stdout  # it was quantized
    assert case["size_bytes"]["quantized"] > 0
