"""A stage leaves what it reads as it was: looked at around every stage, and by hand for each route.

`Watching` reads every byte of the cache and of the user's folder; what the runner itself looks at
is sizes and times.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import own_files
import pytest
import tiny_zoo
from darknet_reference import weights_file
from in_process import InProcess
from test_own_formats import FILTERS, SIZE, _range_of

from int8gate.engine.cache import BUILDING, LOGS, SHARDS, ArtifactCache, CacheWarning
from int8gate.engine.worker import Worker
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.model_zoo.weights import Weights
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES, recipe
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.stage import InputChanged, StageRunner, unchanged
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun


@pytest.fixture
def runner(tmp_path) -> StageRunner:
    return StageRunner(Settings(), ArtifactCache(tmp_path / "cache"), InProcess())


@pytest.fixture
def entry(runner):
    """A cache entry with a model, and its external data in a folder."""

    def make(directory: Path) -> None:
        (directory / "data").mkdir()
        (directory / "data" / "weights").write_bytes(b"w" * 100)
        (directory / "model.onnx").write_bytes(b"m" * 100)

    return runner.kept("program", {}, make, tuple)


def read(model: Path, directory: Path) -> int:
    (directory / "out").write_bytes(model.read_bytes())
    return model.stat().st_size


def overwrite(model: Path, directory: Path) -> None:
    model.write_bytes(b"n" * 100)


def grow(model: Path, directory: Path) -> None:
    with model.open("ab") as file:
        file.write(b"more")


def touch_sibling(model: Path, directory: Path) -> None:
    (model.parent / "data" / "weights").write_bytes(b"v" * 100)


def add_sibling(model: Path, directory: Path) -> None:
    (model.parent / "model.log").write_text("done")


def remove_sibling(model: Path, directory: Path) -> None:
    (model.parent / "data" / "weights").unlink()


def test_a_stage_that_reads_is_kept(runner, entry):
    asked = lambda: (entry.path / "model.onnx",)  # noqa: E731
    assert runner.kept("artifact", {}, read, asked).meta["result"] == 100


@pytest.mark.parametrize(
    ("writes", "file", "how"),
    [
        (overwrite, "model.onnx", "was changed"),
        (grow, "model.onnx", "was changed"),
        (touch_sibling, "data/weights", "was changed"),
        (add_sibling, "model.log", "was written"),
        (remove_sibling, "data/weights", "was removed"),
    ],
)
def test_a_stage_that_writes_beside_its_input_is_refused(runner, entry, writes, file, how):
    model = entry.path / "model.onnx"
    said = rf"{file} {how} while the stage {writes.__name__} ran, which reads it"
    with pytest.raises(InputChanged, match=said):
        runner.kept("artifact", {}, writes, lambda: (model,))
    assert not list(runner.cache.root.glob("artifact/*/*")), "its result was kept"
    if how != "was written":  # what lies beside an entry's files hurts nobody
        with pytest.warns(CacheWarning, match="building it again"):
            assert entry.path.is_dir()
    assert model.read_bytes() == b"m" * 100
    assert runner.kept("artifact", {}, read, lambda: (model,)).meta["result"] == 100


def test_what_a_dataclass_names_is_watched(runner, tmp_path):
    source = tmp_path / "mine.onnx"
    source.write_bytes(b"mine")

    def careless(weights: Weights, directory: Path) -> None:
        weights.path.write_bytes(b"yours")

    with pytest.raises(InputChanged, match=r"mine\.onnx was changed while the stage careless ran"):
        runner.kept("program", {}, careless, lambda: (Weights("own", source),))


def test_a_stage_may_write_where_shards_are_kept(runner, tmp_path):
    shards = runner.cache.root / SHARDS / "k"

    def calibrate(kept: Path, directory: Path) -> None:
        kept.mkdir(parents=True)
        (kept / "0.npz").write_bytes(b"0")

    runner.kept("statistics", {}, calibrate, lambda: (shards,))


def test_what_is_not_there_is_no_input(tmp_path):
    with unchanged("stage", (tmp_path / "absent", 3, None), tmp_path / "cache"):
        pass


class Watching(Worker):
    """Compares all that lies in some folders before and after each task."""

    def __init__(self, *folders: Path):
        super().__init__()
        self.folders, self.stages, self.changed = folders, [], []

    def run(self, function, /, *args, **options):
        before = self._contents()
        result = super().run(function, *args, **options)
        self.stages.append(function.__name__)
        after = self._contents()
        self.changed += [
            f"{function.__name__}: {path}"
            for path in before.keys() | after.keys()
            if before.get(path) != after.get(path)
        ]
        return result

    def _contents(self) -> dict[Path, str]:
        passing = {BUILDING, LOGS, SHARDS, ".locks"}
        return {
            path: hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in self.folders
            for path in folder.rglob("*")
            if path.is_file() and passing.isdisjoint(path.relative_to(folder).parts)
        }


ROUTES = {  # kind of file -> recipes
    "keras": ("tflite_int8", "tflite_int16x8", "tflite_dynamic_int8"),
    "h5": ("tflite_uint8",),
    "saved_model": ("tflite_int8",),
    "pb": ("tflite_int8",),
    "fp32": ("tflite_int8",),
    "int8": ("prequantized",),
    "onnx": ("onnx_int8", "tflite_int8"),
    "pt2": ("onnx_int8", "onnx_dynamic_int8", "tflite_int8"),
    "cfg": ("onnx_int8", "tflite_int8"),
}


@pytest.mark.heavy
def test_no_stage_of_any_route_changes_what_it_reads(tmp_path):
    team = tmp_path / "team"
    team.mkdir()
    files = own_files.write_all(team)
    floats = np.random.default_rng(0).normal(0, 0.1, FILTERS).astype(np.float32)
    (team / "gadget.weights").write_bytes(weights_file(floats))
    (team / "pictures").mkdir()
    for number, file in enumerate(tiny_zoo.store_pictures(tmp_path / "all", 600).rglob("*.png")):
        os.rename(file, team / "pictures" / f"{number}.png")
    tables = [
        f'[models.of_{kind}]\nfile = "{files[kind].name}"\ntask = "other"\ndata = "pictures"\n'
        + f"recipes = {list(recipes)}\n" * (kind != "int8")
        + (_range_of(files[kind]) if kind == "int8" else SIZE.get(kind, ""))
        for kind, recipes in ROUTES.items()
    ]
    (team / "models.toml").write_text("\n".join(tables))
    cache = ArtifactCache(tmp_path / "cache")
    with Watching(cache.root, team) as worker:
        pipeline = Pipeline(Settings(), cache, worker)
        for own in read_zoo(team / "models.toml"):
            for name in ROUTES[own.name.removeprefix("of_")]:
                run = CaseRun(declared_spec(own), recipe(name), pipeline)
                measure.accuracy(run)
                measure.io_dtype(run)
                if RECIPES[name].is_full_integer:
                    measure.integer_only(run)
    assert worker.changed == []
    assert {"to_onnx", "to_tflite", "quantize", "calibrate", "evaluate"} <= set(worker.stages)
    assert len(worker.stages) > 50
