"""Functions of a team's own: a wrong name stops the run, a wrong result is told in a sentence."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from data_folders import refused

from int8gate.model_zoo.user_models.user_hooks import check_hook, decoded

SOURCE = """
import numpy as np
from numpy import asarray as plain
LEVEL: int = 3
raise RuntimeError("it is not run")
def people(outputs, declared):
    return outputs[0]
"""
WHERE = "models.toml, [models.gadget]"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of this source and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str, name: str = "own_heads_of_a_test") -> str:
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def test_a_name_that_is_there_passes_and_its_code_is_not_run(module):
    name = module(SOURCE.replace("raise RuntimeError", "print"))
    for attribute in ("people", "plain", "LEVEL"):
        check_hook(WHERE, "decode", f"{name}:{attribute}")
    assert name not in sys.modules


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("own_heads_of_a_test:peple", "did you mean people?"),
        ("own_heads_of_a_test:boxes", "own_heads_of_a_test.py has no boxes"),
        ("no_such_heads:people", "there is no module no_such_heads beside the TOML"),
        ("no.such.heads:people", "there is no module no.such.heads"),
    ],
)
def test_a_name_that_is_not_there_is_refused(module, place, words):
    module(SOURCE.replace("raise RuntimeError", "print"))
    refused(lambda: check_hook(WHERE, "decode", place), WHERE, "decode = ", words)


@pytest.mark.parametrize("source", ["from os.path import *\n", "if 1:\n    x = 1\n", "def broken("])
def test_names_that_only_running_it_would_tell_pass(module, source):
    check_hook(WHERE, "metric", f"{module(source)}:METRIC")


OUTPUTS = [np.zeros((4, 5), np.float32)]


def test_a_result_of_a_row_for_each_picture_passes():
    found = decoded("hooks:decode", lambda outputs, network: outputs[0] + 1, OUTPUTS, None)
    assert (found == 1).all()


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ([1, 2], "returned list for 4 samples"),
        (None, "returned NoneType for 4 samples"),
        (np.zeros((3, 6)), "returned shape (3, 6) for 4 samples"),
        (np.float32(1), "returned float32"),
    ],
)
def test_another_result_is_refused(result, words):
    call = lambda outputs, network: result  # noqa: E731
    refused(lambda: decoded("hooks:decode", call, OUTPUTS, None), "'hooks:decode'", words)


def test_what_a_function_raises_names_it_and_its_line():
    def failing(outputs, network):
        return {}["heat"]

    line = failing.__code__.co_firstlineno + 1
    said = ("decode = 'hooks:decode' raised KeyError: 'heat'", f"test_own_hooks.py, line {line}")
    refused(lambda: decoded("hooks:decode", failing, OUTPUTS, None), *said)
