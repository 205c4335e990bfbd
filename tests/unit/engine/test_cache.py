"""The artifact cache gives back what was built, or builds it: never anything else."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from cache_builds import PARTS, build_two, flip, leftovers, refuse, run_python
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.engine.cache import (
    ArtifactCache,
    CacheWarning,
    cache_key,
    default_cache_dir,
    open_cache,
)


@pytest.fixture
def cache(tmp_path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


def test_miss_builds_and_hit_returns_the_same(cache):
    built = cache.get_or_build("tflite", PARTS, build_two)
    found = ArtifactCache(cache.root).get_or_build("tflite", PARTS, refuse)
    assert (built.hit, found.hit) == (False, True)
    assert built.path == found.path
    assert built.meta == found.meta == {"seconds": 1.5, "shape": [1, 2]}
    assert (found.path / "model.tflite").read_bytes() == bytes(range(256)) * 40
    key = cache_key(PARTS)
    assert found.path == cache.root / "tflite" / key[:2] / key
    assert not leftovers(cache.root)


def test_kind_and_parts_select_the_entry(cache):
    cache.get_or_build("tflite", PARTS, build_two)
    assert not cache.get_or_build("onnx", PARTS, build_two).hit
    assert not cache.get_or_build("tflite", PARTS | {"samples": 101}, build_two).hit
    for kind in ("", "..", "a/b", "TFLite", "a\n"):
        with pytest.raises(ValueError, match="must match"):
            cache.get_or_build(kind, PARTS, refuse)


DAMAGES = {
    "flipped": lambda place: flip(place / "model.tflite", 5000),
    "truncated": lambda place: os.truncate(place / "model.tflite", 100),
    "emptied": lambda place: os.truncate(place / "ranges" / "0.bin", 0),
    "grown": lambda place: os.truncate(place / "ranges" / "0.bin", 200),
    "file missing": lambda place: (place / "model.tflite").unlink(),
    "file is a directory": lambda place: (
        (place / "model.tflite").unlink(),
        (place / "model.tflite").mkdir(),
    ),
    "entry.json missing": lambda place: (place / "entry.json").unlink(),
    "entry.json truncated": lambda place: os.truncate(place / "entry.json", 50),
    "entry.json is a list": lambda place: (place / "entry.json").write_text("[]"),
    "entry.json is binary": lambda place: (place / "entry.json").write_bytes(b"\xff\0"),
    "meta altered": lambda place: (place / "entry.json").write_text(
        (place / "entry.json").read_text().replace("1.5", "2.5")
    ),
    "of another key": lambda place: (place / "entry.json").write_text(
        (place / "entry.json").read_text().replace(place.name, "0" * 64)
    ),
    "of other parts": lambda place: (
        shutil.rmtree(place),
        ArtifactCache(place.parents[2])
        .get_or_build("tflite", {"model": "other"}, build_two)
        .path.rename(place),
    ),
    "all missing": lambda place: (shutil.rmtree(place), place.mkdir()),
    "a file": lambda place: (shutil.rmtree(place), place.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_entry_is_removed_and_built_again(cache, damage):
    place = cache.get_or_build("tflite", PARTS, build_two).path
    damage(place)
    with pytest.warns(CacheWarning, match=f"{place} is damaged .*: removed"):
        again = cache.get_or_build("tflite", PARTS, build_two)
    assert not again.hit
    assert cache.get_or_build("tflite", PARTS, refuse).meta == again.meta
    assert not leftovers(cache.root)


@pytest.mark.filterwarnings("ignore::int8gate.engine.cache.CacheWarning")
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_repaired_or_harmless(data):
    with tempfile.TemporaryDirectory() as directory:
        cache = ArtifactCache(Path(directory))
        place = cache.get_or_build("tflite", PARTS, build_two).path
        files = [path for path in sorted(place.rglob("*")) if path.is_file()]
        victim = data.draw(st.sampled_from(files))
        flip(
            victim,
            data.draw(st.integers(0, victim.stat().st_size - 1)),
            data.draw(st.integers(0, 7)),
        )
        entry = cache.get_or_build("tflite", PARTS, build_two)
        assert entry.meta == {"seconds": 1.5, "shape": [1, 2]}
        assert (place / "model.tflite").read_bytes() == bytes(range(256)) * 40
        assert (place / "ranges" / "0.bin").read_bytes() == b"\0" * 100


def test_failed_build_leaves_nothing(cache):
    def fail(directory: Path) -> None:
        build_two(directory)
        raise RuntimeError("converter crashed")

    with pytest.raises(RuntimeError, match="converter crashed"):
        cache.get_or_build("tflite", PARTS, fail)
    assert not leftovers(cache.root)
    assert not cache.get_or_build("tflite", PARTS, build_two).hit


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda directory: {"scale": np.float32(1)}, TypeError, r"meta\['scale'\] is a numpy"),
        (lambda directory: (directory / "entry.json").write_text("{}") and None, ValueError, "not"),
        (lambda directory: (directory / "link").symlink_to("/etc"), ValueError, "not link"),
        (lambda directory: os.mkfifo(directory / "pipe"), ValueError, "not pipe"),
    ],
)
def test_unstorable_builds_are_refused(cache, build, error, says):
    with pytest.raises(error, match=says):
        cache.get_or_build("tflite", PARTS, build)
    assert not leftovers(cache.root)
    assert not list(cache.root.glob("tflite/*/*"))


def test_open_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert open_cache(None).root == open_cache("").root == default_cache_dir()
    assert default_cache_dir().name == "int8gate"
    monkeypatch.chdir(tmp_path)
    assert open_cache("here").root == tmp_path / "here"
    assert not list(tmp_path.iterdir())  # opening writes nothing


def test_cache_none_is_deleted_at_exit():
    code = """
from int8gate.engine.cache import open_cache
cache = open_cache("none")
path = cache.get_or_build("tflite", {}, lambda d: (d / "x").write_text("x") and None).path
print(cache.root, path.is_dir())
"""
    output, _ = run_python(code).communicate(timeout=20)
    root, existed = output.split()
    assert existed == "True"
    assert not Path(root).exists()


def test_importing_the_cache_is_cheap():
    output, _ = run_python("import int8gate.engine.cache, sys; print(*sys.modules)").communicate()
    assert not {"numpy", "filelock", "platformdirs"} & set(output.split())
