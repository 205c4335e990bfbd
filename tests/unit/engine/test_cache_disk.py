"""A cache that cannot be written says so in one sentence and leaves nothing half-written."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import tempfile
from pathlib import Path

import pytest
from cache_builds import PARTS, build_two, flip, leftovers, refuse

from int8gate.engine.cache import ArtifactCache, CacheUnusable

WAY_OUT = "pass --artifact-cache DIR .* or --artifact-cache none"


@contextlib.contextmanager
def read_only(root: Path):
    """No permission to write below `root`, root user included."""
    for path in [root, *root.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for path in [root, *root.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)


@pytest.fixture
def open_root():
    """A directory that another user can reach, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def test_read_only_cache_gives_hits_and_a_clear_error(open_root):
    ArtifactCache(open_root).get_or_build("tflite", PARTS, build_two)
    damaged = ArtifactCache(open_root).get_or_build("tflite", {"model": 1}, build_two)
    flip(damaged.path / "model.tflite", 0)
    with read_only(open_root):
        cache = ArtifactCache(open_root)
        assert cache.get_or_build("tflite", PARTS, refuse).hit
        for parts in ({"model": "other"}, {"model": 1}):
            with pytest.raises(CacheUnusable, match=f"{open_root} cannot .*denied.*{WAY_OUT}"):
                cache.get_or_build("tflite", parts, refuse)
    assert not leftovers(open_root)


def test_read_only_cache_that_nobody_wrote_to(open_root):
    with read_only(open_root), pytest.raises(CacheUnusable, match=WAY_OUT):
        ArtifactCache(open_root / "new").get_or_build("tflite", PARTS, refuse)


def test_what_is_remembered_is_found_again_where_nothing_can_be_kept(open_root):
    ArtifactCache(open_root).remembered("fact", PARTS, lambda: {"drop": 0.25})
    with read_only(open_root):
        cache, found = ArtifactCache(open_root), []
        assert cache.remembered("fact", PARTS, lambda: found.append(1)) == {"drop": 0.25}
        assert not found
        for _ in range(2):
            assert cache.remembered("fact", {"model": "other"}, lambda: found.append(1) or 7) == 7
        assert len(found) == 2


def test_what_cannot_be_found_is_not_remembered(tmp_path):
    def fail():
        raise ValueError("not comparable")

    for find in (fail, fail):
        with pytest.raises(ValueError, match="not comparable"):
            ArtifactCache(tmp_path).remembered("fact", PARTS, find)
    assert ArtifactCache(tmp_path).remembered("fact", PARTS, lambda: None) is None
    assert ArtifactCache(tmp_path).remembered("fact", PARTS, fail) is None


def test_cache_that_is_a_file(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(CacheUnusable, match=WAY_OUT):
        ArtifactCache(tmp_path / "cache").get_or_build("tflite", PARTS, refuse)


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 1 MB where mounting is allowed, else a limit on the size of files."""
    root = tmp_path / "small"
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(root)]
    if subprocess.run(command, capture_output=True).returncode == 0:
        yield root
        subprocess.run(["umount", str(root)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, hard))
    yield root
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_a_clear_error_and_leaves_nothing(full_disk):
    def too_large(directory: Path) -> None:
        (directory / "model").write_bytes(b"x" * 2_000_000)

    cache = ArtifactCache(full_disk)
    with pytest.raises(CacheUnusable, match=f"{full_disk} cannot be written .*: {WAY_OUT}"):
        cache.get_or_build("tflite", PARTS, too_large)
    assert not leftovers(full_disk)
    assert not list(full_disk.glob("tflite/*/*"))
    assert not cache.get_or_build("tflite", PARTS, build_two).hit  # there is room for this


def test_disk_that_fills_up_with_the_last_file(full_disk):
    """The build fits, entry.json does not."""

    def fill(directory: Path) -> dict:
        (directory / "model").write_bytes(b"x" * 800_000)
        return {"log": "x" * 1_000_000}

    with pytest.raises(CacheUnusable, match=WAY_OUT):
        ArtifactCache(full_disk).get_or_build("tflite", PARTS, fill)
    assert not leftovers(full_disk)
    assert not list(full_disk.glob("tflite/*/*"))
