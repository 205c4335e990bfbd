"""What a framework would load only where it happens to be installed is not there meanwhile."""

from __future__ import annotations

import importlib
import sys

import pytest

from int8gate.engine import framework_imports

FRAMEWORK = """
try:
    import {optional}.part
except ImportError:
    found = False
else:
    found = True
import {inner}
"""
NAMES = {"optional": "optional_of_a_test", "inner": "inner_of_a_test"}


@pytest.fixture
def spared(tmp_path, monkeypatch):
    """Two frameworks, one of which imports the other, and a library that both would use."""
    (tmp_path / NAMES["optional"]).mkdir()
    for name in ("__init__", "part"):
        (tmp_path / NAMES["optional"] / f"{name}.py").touch()
    (tmp_path / "outer_of_a_test.py").write_text(FRAMEWORK.format(**NAMES))
    (tmp_path / "inner_of_a_test.py").write_text(FRAMEWORK.format(**NAMES | {"inner": "sys"}))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(framework_imports, "FRAMEWORKS", ("outer_of_a_test", "inner_of_a_test"))
    monkeypatch.setattr(framework_imports, "OPTIONAL", (NAMES["optional"],))
    framework_imports.spare_optional_libraries()
    yield lambda: importlib.import_module("outer_of_a_test")
    for name in [*sys.modules]:
        if name.partition(".")[0].endswith("_of_a_test"):
            del sys.modules[name]


def test_a_framework_finds_no_optional_library_and_others_do_later(spared):
    framework = spared()
    assert not framework.found
    assert not sys.modules["inner_of_a_test"].found
    assert NAMES["optional"] not in sys.modules
    assert importlib.import_module(f"{NAMES['optional']}.part")


def test_what_is_loaded_already_is_used(spared):
    optional = importlib.import_module(NAMES["optional"])
    assert spared().found
    assert sys.modules[NAMES["optional"]] is optional


def test_a_framework_that_fails_leaves_no_mark(spared, tmp_path):
    (tmp_path / "inner_of_a_test.py").write_text("raise OSError('no library')")
    with pytest.raises(OSError, match="no library"):
        spared()
    assert NAMES["optional"] not in sys.modules
    assert importlib.import_module(NAMES["optional"])


def test_it_is_asked_for_once():
    before = list(sys.meta_path)
    try:
        framework_imports.spare_optional_libraries()
        once = list(sys.meta_path)
        framework_imports.spare_optional_libraries()
        assert sys.meta_path == once
    finally:
        sys.meta_path[:] = before
