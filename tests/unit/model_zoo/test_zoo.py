"""The registry, the declarations, and the weights that come with the project."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from data_folders import refused

from int8gate.calibration_data.preprocessing import Preprocessing
from int8gate.engine.file_digest import sha256_of
from int8gate.model_zoo import weights
from int8gate.model_zoo.registry import model, zoo
from int8gate.model_zoo.spec import PROFILES, ModelSpec, Network
from int8gate.quantizers.recipe import RECIPES
from int8gate.tasks.registry import scenes, tasks

ROOT = Path(__file__).parents[3]
MOST_OF_ONE, MOST_OF_ALL = 3.2e6, 45e6  # bytes of shipped weights
# A compact network that is nearly perfect hides what quantization costs, a poor one proves nothing.
AIMED = {
    "top1": (0.80, 0.97),
    "mean_iou": (0.80, 0.92),
    "map_50_95": (0.50, 0.95),
    "oks_ap": (0.50, 0.95),
    "pck": (0.70, 0.99),
    "psnr": (25, 45),
    "reads_as": (0.90, 0.995),  # the PSNR against float's pictures tells what reading hides
    "perplexity": (2, 6),  # of 24 that the frequencies of bytes reach
}
LEAST_EVALUATED = 400


def networks() -> list[tuple[str, Network]]:
    return [
        (f"{spec.name} {profile}", spec.network(profile))
        for spec in zoo().values()
        for profile in PROFILES
        if spec.has(profile)
    ]


def of_compact() -> dict[str, ModelSpec]:
    return {name: spec for name, spec in zoo().items() if spec.has("compact")}


def test_every_declaration_is_in_the_zoo_once():
    rooms = [importlib.import_module(task.zoo) for task in tasks().values() if task.zoo]
    declared = [spec.name for room in rooms for spec in room.MODELS]
    assert declared == list(zoo()), "a name stands twice, or a task file is not registered"
    for name, spec in zoo().items():
        assert model(name) is spec
        assert re.fullmatch(r"[a-z0-9_]+", name), "a case is called MODEL-RECIPE"


@pytest.mark.parametrize(
    ("asked", "near"),
    [("resnet50", "resnet50_v1"), ("u-net", "unet"), ("MobileNetV2", "mobilenet")],
    ids=["short", "dashed", "capitals"],
)
def test_an_unknown_name_is_answered_with_the_nearest(asked, near):
    refused(lambda: model(asked), repr(asked), near, "did you mean", "int8gate list")


def test_a_name_like_no_other_is_answered_with_all():
    for asked in ("", "qqqq", "x" * 200):
        refused(lambda name=asked: model(name), *zoo(), "did you mean")


def test_no_library_loads_for_the_registry():
    code = (
        "import sys, int8gate.model_zoo.weights\n"
        "from int8gate.model_zoo.registry import zoo, model\n"
        "assert zoo()\n"
        "heavy = 'tensorflow keras torch onnx transformers diffusers jax PIL sklearn skimage h5py'"
        ".split()\nprint(*(name for name in heavy if name in sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "", f"imported with the registry: {found.stdout}"


def test_declarations_are_complete():
    for name, spec in zoo().items():
        assert spec.data in scenes(), name
        assert isinstance(spec.preprocessing, Preprocessing), name
        assert spec.preprocessing.std > 0, name
        assert spec.paper, name
        assert spec.arm_speedup >= 1, name
        assert len(set(spec.recipes)) == len(spec.recipes) > 0, name
        assert set(spec.recipes) <= RECIPES.keys(), name
        refused(lambda s=spec: s.network("tiny"), "tiny", kind=KeyError)


def test_inputs_are_consistent():
    for name, network in networks():
        if network.inputs:
            assert all(None not in each.shape for each in network.inputs), name
            assert network.tokenizer, f"{name}: what else would make its arrays of real data"
            continue
        assert len(network.input_shape) == 3, name
        assert len(network.size) == 2, name
        assert network.input_shape[-1] in (1, 3), name
        for declared, fixed in zip(network.input_shape, network.size, strict=False):
            assert declared in (None, fixed), f"{name}: input {declared} is converted at {fixed}"
            assert declared or name.split()[0] != "unet" or fixed % 16 == 0, name
        assert 0 < network.width <= 1, name


def test_compact_is_smaller_and_scored_on_the_scenes():
    for name, spec in of_compact().items():
        assert spec.compact.classes == scenes()[spec.data].classes, name
        assert spec.compact.official is None, f"{name}: compact weights come with the project"
        assert spec.compact.builder == spec.full.builder, f"{name}: another topology"
        assert spec.compact.size <= spec.full.size, name
        assert spec.full.width == 1, name
        assert spec.compact.input_shape[-1] == spec.full.input_shape[-1], name


def test_specs_travel_to_the_worker():
    import pickle

    for spec in zoo().values():
        assert pickle.loads(pickle.dumps(spec)) == spec
        assert spec != replace(spec, name="another")


@pytest.fixture(scope="module")
def manifest() -> dict:
    """What every shipped network is; fails until all are trained: untrained ones prove nothing."""
    found = weights.read_manifest()
    assert found, f"no {weights.SHIPPED / weights.MANIFEST}: run `int8gate train NAME`"
    return found


def test_every_model_ships_weights_and_nothing_else_does(manifest):
    assert manifest.keys() == of_compact().keys()
    files = {path.name for path in weights.SHIPPED.iterdir() if path.suffix != ".toml"}
    quantized = {f"{s.name}.tflite" for s in zoo().values() if s.source_format == "tflite"}
    assert files == {weights.MANIFEST, *(f"{name}.safetensors" for name in manifest), *quantized}


def test_shipped_files_are_those_of_the_manifest(manifest):
    for name, facts in manifest.items():
        found = weights.find_weights(model(name), "compact")
        assert (found.kind, found.path) == ("shipped", weights.SHIPPED / f"{name}.safetensors")
        assert found.identity == sha256_of(found.path) == facts["sha256"], name
        assert found.path.stat().st_size == facts["bytes"], name
        if model(name).source_format == "tflite":
            quantized = weights.find_quantized_file(model(name), "compact")
            assert sha256_of(quantized) == facts["quantized_sha256"], name


def test_shipped_files_are_small(manifest):
    sizes = {name: (weights.SHIPPED / f"{name}.safetensors").stat().st_size for name in manifest}
    assert max(sizes.values()) <= MOST_OF_ONE, sizes
    assert sum(sizes.values()) <= MOST_OF_ALL, sizes


def test_shipped_float_metric_is_neither_poor_nor_perfect(manifest):
    for name, facts in manifest.items():
        low, high = AIMED[facts["metric"]]
        assert low <= facts["float"] <= high, (name, facts["metric"], facts["float"])
        assert facts["samples"] >= LEAST_EVALUATED, name
        assert facts.keys() >= {"seed", "epochs", "seconds"}, name


def test_where_weights_come_from(tmp_path):
    spec = next(iter(zoo().values()))
    official = replace(spec, full=replace(spec.full, official="imagenet"))
    unofficial = replace(spec, name="new", full=replace(spec.full, official=None))
    find = weights.find_weights
    assert find(official, "full") == weights.Weights("official")
    assert find(official, "full").identity == "official"
    for profile in PROFILES:
        assert find(unofficial, profile, tmp_path / "absent", random=True).kind == "random"
    missing = FileNotFoundError
    refused(lambda: find(unofficial, "compact"), "new", "int8gate train new", kind=missing)
    refused(
        lambda: find(unofficial, "full"), "new", "--weights-dir", "--weights random", kind=missing
    )


def test_a_directory_of_weights(tmp_path):
    spec = next(iter(zoo().values()))
    expected = f"{spec.name}.safetensors or {spec.name}.weights.h5 or {spec.name}.h5"

    def find(directory: Path = tmp_path):
        return weights.find_weights(spec, "full", directory)

    missing = FileNotFoundError
    absent = tmp_path / "absent"
    refused(lambda: find(absent), f"--weights-dir {absent}", "mend", kind=missing)
    refused(find, str(tmp_path), expected, "found nothing", kind=missing)
    (tmp_path / "other.safetensors").touch()
    refused(find, str(tmp_path), expected, "found other.safetensors", "add", kind=missing)
    for suffix in reversed(weights.SUFFIXES):  # the safest format is preferred
        path = tmp_path / f"{spec.name}{suffix}"
        path.write_bytes(suffix.encode())
        found = find()
        assert (found.kind, found.path) == ("directory", path)
        assert found.identity == sha256_of(path)


def test_storing_keeps_other_entries(tmp_path):
    weights.annotate("one", {"float": 0.9}, tmp_path)
    weights.annotate("two", {"float": 0.8}, tmp_path)
    weights.annotate("one", {"samples": 5}, tmp_path)
    assert weights.read_manifest(tmp_path) == {
        "one": {"float": 0.9, "samples": 5},
        "two": {"float": 0.8},
    }
    assert [path.name for path in tmp_path.iterdir()] == [weights.MANIFEST]
    assert weights.read_manifest(tmp_path / "absent") == {}
    assert inspect.signature(weights.store).parameters["directory"].default == weights.SHIPPED
