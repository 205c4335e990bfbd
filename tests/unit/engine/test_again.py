"""A failure that is raised anew is a fresh exception that says the same."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from int8gate.engine.errors import TaskFailed, TaskLog, again
from int8gate.quantizers.diagnosis import ConversionFailed

ERRORS = [
    ValueError("models.toml: no such key"),
    FileNotFoundError(2, "No such file", "gadget.onnx"),
    ConversionFailed("the converter stops at ELU", Path("converter.log")),
    TaskFailed("convert", TaskLog(Path("absent.log"), True), "ValueError", "wrong", "Traceback"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_it_is_another_object_that_says_the_same(error):
    twin = again(error)
    assert twin is not error
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert getattr(twin, "log", None) == getattr(error, "log", None)
    assert getattr(twin, "__notes__", []) == getattr(error, "__notes__", [])


def test_its_traceback_is_that_of_whoever_met_it():
    def first():
        raise ValueError("once")

    with pytest.raises(ValueError, match="once") as met:
        first()
    for _ in range(2):
        with pytest.raises(ValueError, match="once") as later:
            raise again(met.value)
        assert "first" not in [
            frame.name for frame in traceback.extract_tb(later.value.__traceback__)
        ]
