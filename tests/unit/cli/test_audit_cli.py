"""`int8gate audit`: a folder of calibration pictures, judged alone."""

from __future__ import annotations

import numpy as np
import pytest
import team_repository
from PIL import Image
from typer.testing import CliRunner

from int8gate.cli.app import app
from int8gate.model_zoo.registry import model
from int8gate.model_zoo.weights import find_quantized_file


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return team_repository.write(tmp_path_factory.mktemp("team"))


def audit(repository, folder, *options):
    zoo = ["--model", "gadget", "--zoo", str(repository / "models.toml")]
    done = CliRunner().invoke(app, ["audit", str(folder), *zoo, *options])
    return done.exit_code, " ".join(done.output.split())


def test_the_teams_own_pictures(repository):
    code, said = audit(repository, repository / "pictures")
    assert code == 0, said
    assert "120 pictures calibrate, 480 are scored" in said
    assert "error" not in said


def test_noise_and_a_set_that_is_too_small(repository, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    for number, picture in enumerate(values):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    code, said = audit(repository, tmp_path)
    assert code == 1
    assert "too_few_samples" in said
    assert "random_noise" in said
    lowered = audit(repository, tmp_path, "--min-calibration-samples", "5")[1]
    assert "too_few_samples" not in lowered


def test_a_model_that_is_calibrated_already(repository, tmp_path):
    """Its samples are all scored: there is no calibration set to judge."""
    file = find_quantized_file(model("efficientnet_edgetpu_s"), "compact", None)
    file_keys = f'"{file}"\nenlarge = true'
    table = (repository / "models.toml").read_text().replace('"gadget.onnx"', file_keys)
    (tmp_path / "models.toml").write_text(table)
    code, said = audit(tmp_path, repository / "pictures")
    assert code == 2, said
    assert "gadget is quantized already: no samples calibrate it, there is nothing to" in said


def test_what_is_not_there_is_one_sentence(repository, tmp_path):
    code, said = audit(repository, tmp_path / "nowhere")
    assert code == 2
    assert "is not a directory: mend the path" in said
