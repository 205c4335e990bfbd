"""Several processes share a cache, and any of them may be killed at any moment."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from cache_builds import PARTS, build_two, leftovers, refuse, run_python

from int8gate.engine.cache import ArtifactCache

BUILD_FOREVER = """
import sys
from pathlib import Path
from int8gate.engine.cache import ArtifactCache

def build(directory):
    for number in range(8):
        (directory / f"{number}.bin").write_bytes(bytes([number]) * 50_000)

cache = ArtifactCache(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(100_000):
    cache.get_or_build("tflite", {"number": number}, build)
"""


def test_kill_at_any_moment_leaves_whole_entries_or_none(tmp_path):
    moments = random.Random(0)
    interrupted = entries = 0
    for round_number in range(10):
        root = tmp_path / str(round_number)
        builder = run_python(BUILD_FOREVER, root)
        builder.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.15))
        builder.kill()
        builder.communicate()
        interrupted += bool(leftovers(root))
        cache = ArtifactCache(root)
        assert not leftovers(root)  # swept
        places = list(root.glob("tflite/*/*"))
        entries += len(places)
        for number in range(len(places)):  # built in this order, so these are the finished ones
            assert cache.get_or_build("tflite", {"number": number}, refuse).hit
        rebuilt = cache.get_or_build("tflite", {"number": len(places)}, build_two)
        assert not rebuilt.hit
    assert interrupted >= 3, "the kills came between the builds: this proved nothing"
    assert entries > 0


BUILD_ONCE = """
import sys, time
from pathlib import Path
from int8gate.engine.cache import ArtifactCache

root, go, built = map(Path, sys.argv[1:])

def build(directory):
    with open(built, "a") as file:
        file.write("built\\n")
    time.sleep(0.4)
    (directory / "model").write_bytes(b"x")

cache = ArtifactCache(root)
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
print(cache.get_or_build("tflite", {"model": "unet"}, build).hit)
"""


def test_processes_that_want_the_same_entry_build_it_once(tmp_path):
    go, built = tmp_path / "go", tmp_path / "built"
    runs = [run_python(BUILD_ONCE, tmp_path / "cache", go, built) for _ in range(3)]
    for run in runs:
        run.stdout.readline()
    go.touch()
    hits = sorted(run.communicate(timeout=20)[0].strip() for run in runs)
    assert hits == ["False", "True", "True"]
    assert built.read_text() == "built\n"


def test_threads_that_want_the_same_entry_build_it_once(tmp_path):
    cache = ArtifactCache(tmp_path)

    def slow(directory: Path) -> dict:
        time.sleep(0.2)
        return build_two(directory)

    hits = []
    threads = [
        threading.Thread(target=lambda: hits.append(cache.get_or_build("a", PARTS, slow).hit))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(hits) == [False, True, True]


def test_opening_a_cache_leaves_a_build_in_progress_alone(tmp_path):
    cache = ArtifactCache(tmp_path)

    def open_again(directory: Path) -> dict:
        opened = threading.Thread(target=ArtifactCache, args=(cache.root,))
        opened.start()
        opened.join()
        assert directory.is_dir()
        return build_two(directory)

    assert not cache.get_or_build("tflite", PARTS, open_again).hit
    assert cache.get_or_build("tflite", PARTS, refuse).hit


def test_one_build_may_need_another_entry(tmp_path):
    cache = ArtifactCache(tmp_path)

    def quantize(directory: Path) -> dict:
        return {"float": str(cache.get_or_build("float", PARTS, build_two).path)}

    assert Path(cache.get_or_build("int8", PARTS, quantize).meta["float"]).is_dir()
