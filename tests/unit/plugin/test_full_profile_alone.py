"""A model may have the full profile alone: runs of the compact one name what they leave out."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from int8gate.model_zoo.registry import model

CHECKOUT = Path(__file__).parents[3]
PLUGIN = """
from dataclasses import replace

from int8gate.model_zoo import registry
from int8gate.plugin import models

of_zoo = registry.zoo()
large = replace(of_zoo["unet"], name="large", compact=None)
models.zoo = lambda: {"unet": of_zoo["unet"], "large": large}
"""


@pytest.fixture
def collect(tmp_path):
    """pytest's `--collect-only` of a zoo with such a model."""
    (tmp_path / "with_large.py").write_text(PLUGIN)

    def run(*args: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "with_large", *args]
        plain = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        environ = plain | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, env=environ)

    return run


def test_it_is_gated_in_the_full_profile(collect):
    done = collect("--profile", "full", "-k", "large and test_size")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_size[large-tflite_int8]" in done.stdout
    assert "leaves out" not in done.stdout


def test_a_compact_run_names_it(collect):
    done = collect("-m", "size")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "int8gate leaves out large: of the full profile alone" in done.stdout
    assert "test_size[unet-tflite_int8]" in done.stdout
    assert "large-" not in done.stdout


@pytest.mark.parametrize("chosen", [("-k", "large"), ("--int8-case", "large-tflite_int8")])
def test_a_compact_run_of_it_alone_says_what_to_do(collect, chosen):
    done = collect(*chosen)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "large has the full profile alone: add --profile full" in done.stderr + done.stdout


def test_its_compact_network_is_refused_in_a_sentence():
    alone = replace(model("unet"), name="large", compact=None)
    with pytest.raises(ValueError, match="large has the full profile alone: pass --profile full"):
        alone.network("compact")
    assert alone.network("full") == model("unet").full
