"""When the cache reads the bytes of an entry: before they are used, and again once they changed."""

from __future__ import annotations

import os

import pytest
from cache_builds import PARTS, build_two, flip, refuse

from int8gate.engine import cache_entry
from int8gate.engine.cache import ArtifactCache, CacheWarning


@pytest.fixture
def cache(tmp_path) -> ArtifactCache:
    made = ArtifactCache(tmp_path / "cache")
    made.get_or_build("tflite", PARTS, build_two)
    return made


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The names of the files whose contents were read, in order."""
    names, digest = [], cache_entry.sha256_of

    def watch(path):
        names.append(path.name)
        return digest(path)

    monkeypatch.setattr(cache_entry, "sha256_of", watch)
    return names


@pytest.fixture
def settled(monkeypatch) -> None:
    """Files need not rest before they are remembered: the tests do not wait for that."""
    monkeypatch.setattr(cache_entry, "SETTLED_NS", 0)


def test_contents_are_read_when_the_path_is_asked_for(cache, read):
    entry = cache.get_or_build("tflite", PARTS, refuse, opened=False)
    assert entry.hit
    assert entry.meta == {"seconds": 1.5, "shape": [1, 2]}
    assert not read
    assert (entry.path / "model.tflite").is_file()
    assert sorted(read) == ["0.bin", "model.tflite"]
    assert entry.key == entry.path.name


def test_altered_contents_are_built_again_before_they_are_used(cache):
    entry = cache.get_or_build("tflite", PARTS, build_two, opened=False)
    flip(entry.place / "model.tflite", 5000)
    again = cache.get_or_build("tflite", PARTS, build_two, opened=False)
    assert again.hit  # nobody has used it yet
    with pytest.warns(CacheWarning, match="model.tflite was altered"):
        path = again.path
    assert (path / "model.tflite").read_bytes() == bytes(range(256)) * 40


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: os.truncate(place / "model.tflite", 100),
        lambda place: (place / "ranges" / "0.bin").unlink(),
        lambda place: (place / "entry.json").write_text("{}"),
    ],
    ids=["truncated", "missing", "entry.json"],
)
def test_what_shows_without_reading_is_found_at_once(cache, damage):
    damage(cache.get_or_build("tflite", PARTS, build_two, opened=False).place)
    with pytest.warns(CacheWarning, match="is damaged"):
        assert not cache.get_or_build("tflite", PARTS, build_two, opened=False).hit


def test_a_process_reads_the_same_contents_once(cache, read, settled):
    for _ in range(3):
        assert cache.get_or_build("tflite", PARTS, refuse).hit
    assert sorted(read) == ["0.bin", "model.tflite"]
    assert ArtifactCache(cache.root).get_or_build("tflite", PARTS, refuse).hit
    assert len(read) == 4  # another process has to see for itself


@pytest.mark.parametrize("name", ["model.tflite", "ranges/0.bin", "entry.json"])
def test_a_file_that_changes_after_it_was_read_is_noticed(cache, settled, name):
    place = cache.get_or_build("tflite", PARTS, refuse).path
    cache.get_or_build("tflite", PARTS, refuse)
    state = (place / name).stat()
    flip(place / name, state.st_size // 2)
    os.utime(place / name, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a careless copy does
    with pytest.warns(CacheWarning, match="is damaged"):
        assert not cache.get_or_build("tflite", PARTS, build_two).hit


def test_a_file_that_changed_a_moment_ago_is_read_again(cache, read):
    """Its next change might not show in its times; a file from the future is never remembered."""
    for _ in range(2):
        cache.get_or_build("tflite", PARTS, refuse)
    assert sorted(read) == ["0.bin", "0.bin", "model.tflite", "model.tflite"]
