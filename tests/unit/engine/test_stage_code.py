"""The key of a stage changes with every module that it reaches, and with no other.

What is reached is found three ways: by `code_identity`; by the standard library's `modulefinder`,
from compiled code; and by running stages in processes of their own.
"""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from dataclasses import dataclass
from modulefinder import ModuleFinder
from pathlib import Path

import numpy as np
import onnx_files
import pytest
from data_folders import write
from tiny_run import ROOMS, ROOT, environment

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data
from int8gate.calibration_data.preprocessing import UNIT, Hooked
from int8gate.engine import code_identity
from int8gate.engine.code_identity import OURS, Code
from int8gate.model_zoo.registry import zoo
from int8gate.model_zoo.spec import Network
from int8gate.model_zoo.user_models import inspection
from int8gate.quantizers import auditing, stages
from int8gate.quantizers import sample_stages as samples
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.stage import Stage
from int8gate.quantizers.toolchains import registry as toolchains
from int8gate.quantizers.toolchains.onnx import stages as onnx_stages
from int8gate.targets.registry import targets
from int8gate.tasks.registry import scenes, task
from int8gate.validation.around_network import Scoring
from int8gate.validation.case_stages import scored_by
from int8gate.validation.evaluation import evaluate
from int8gate.validation.metrics.registry import places_of

MODULES = {
    ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for package, folder in ROOMS.items()
    for path in sorted(folder.rglob("*.py"))
}
MODELS = list({(spec.task, spec.source_format): spec for spec in zoo().values()}.values())


def stages_of(spec) -> list[Stage]:
    source = source_of(spec)
    floats = [each.floats.get(source.form) for each in toolchains.toolchains().values()]
    made = [source.stage(spec, "compact"), stages.preparation_of(spec), *floats]
    return [stage for stage in made if stage]


def roots() -> dict[str, tuple[str, ...]]:
    """Of every kind of stage and fact, for a model of each kind, what its key is made of."""
    found = {
        f"{stage.kind} of {spec.name}": stage.roots for spec in MODELS for stage in stages_of(spec)
    }
    for spec in MODELS:
        metrics = task(spec.task).metrics
        scored = scored_by(metrics, spec.decode, spec.preprocessing)
        found[f"scores of {spec.name}"] = scored
        found[f"test of {spec.name}"] = (
            "int8gate.validation.cached_results:compared",
            *places_of(metrics),
        )
    for name, toolchain in toolchains.toolchains().items():
        found[f"calibration {name}"] = toolchain.calibration.roots
        made = toolchain.quantization(RECIPES[f"{name}_int8"]).stage
        found[f"quantization {name}"] = made.roots
    tflite = toolchains.find("tflite")
    converted = tflite.quantization(RECIPES["tflite_int16x8"]).stage
    for stage in (converted, tflite.taking, tflite.naming):
        found[stage.function] = stage.roots
    for name in ("INSPECTION", "INPUTS", "ACTIVATION_AUDIT"):
        found[name] = getattr(stages, name).roots
    for data, drawn in scenes().items():
        found[f"scenes of {data}"] = ("int8gate.calibration_data:load", drawn.draw)
    return found | {
        "picture audit": stages.picture_audit_of(MODELS[0]).roots,
        "sample check": ("int8gate.calibration_data.sample_set:check_calibration",),
        **{f"compiled for {name}": each.roots for name, each in targets().items()},
        "float refused": ("int8gate.validation.gates.form:float_refused_by",),
        "integer ops": ("int8gate.runtimes.tflite_integers",),
    }


ROOTS = {asked: name for name, asked in roots().items()}  # the last of those that ask for the same


@dataclass(frozen=True)
class Tree:
    """A copy of the project's modules, and what is known of it unedited."""

    root: Path
    code: Code
    identities: dict
    reached: dict


def place_of(module: str, root: Path) -> Path:
    """The file of a copied module, where an installation has it."""
    place = root.joinpath(*module.split("."))
    is_package = MODULES[module].name == "__init__.py"
    place = place / "__init__.py" if is_package else place.with_suffix(".py")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Tree:
    root = tmp_path_factory.mktemp("copy")
    for module, path in MODULES.items():
        place_of(module, root).write_bytes(path.read_bytes())
    code = Code([str(root), *sys.path])
    identities = {asked: code.identity(*asked) for asked in ROOTS}
    reached = {asked: set(code.closure(*asked).modules) for asked in ROOTS}
    return Tree(root, code, identities, reached)


@pytest.mark.parametrize(
    "module",
    [  # every fourth by default
        pytest.param(module, marks=[pytest.mark.heavy] * (number % 4 > 0))
        for number, module in enumerate(MODULES)
    ],
)
def test_an_edited_module_changes_the_keys_of_what_reaches_it(tree, module):
    file = place_of(module, tree.root)
    source = file.read_bytes()
    try:
        file.write_bytes(source + b"# edited\n")
        changed = {asked for asked in ROOTS if tree.code.identity(*asked) != tree.identities[asked]}
    finally:
        file.write_bytes(source)
    assert changed == {asked for asked in ROOTS if module in tree.reached[asked]}


def test_the_modules_that_a_list_forgot_are_reached(tree):
    by_name = {name: tree.reached[asked] for name, asked in roots().items()}
    for spec in MODELS:
        if spec.task == "detection":
            scored, tested = (by_name[f"{what} of {spec.name}"] for what in ("scores", "test"))
            assert "int8gate.validation.metrics.coco_matching" in scored & tested
            assert "int8gate.validation.noninferiority" in tested
    families = "int8gate.model_zoo.families"
    decoding = {f"{families}.yolov4_tiny.decoding", f"{families}.ssd_mobilenet_v1.anchors"}
    assert decoding <= set().union(*by_name.values())


def test_stages_are_narrow(tree):
    """Or every edit would make everything anew."""
    by_name = {name: tree.reached[asked] for name, asked in roots().items()}
    assert not any("int8gate.quantizers.stages" in reached for reached in by_name.values())
    assert "int8gate.quantizers.toolchains.onnx.collector" not in by_name["calibration tflite"]
    assert "int8gate.quantizers.toolchains.tflite.convert" not in by_name["quantization onnx"]
    assert max(map(len, by_name.values())) < len(MODULES) / 2


@pytest.fixture(scope="module")
def stripped(tmp_path_factory) -> Path:
    """The modules without what they import for types alone."""
    root = tmp_path_factory.mktemp("stripped")
    for module, path in MODULES.items():
        place_of(module, root).write_text(without_type_checking(path.read_text()))
    return root


def without_type_checking(source: str) -> str:
    class Stripped(ast.NodeTransformer):
        def visit_If(self, node: ast.If):
            self.generic_visit(node)
            is_for_types = getattr(node.test, "id", "") == "TYPE_CHECKING"
            return (node.orelse or ast.Pass()) if is_for_types else node

    return ast.unparse(ast.fix_missing_locations(Stripped().visit(ast.parse(source))))


@pytest.mark.parametrize(
    "root",
    [
        "int8gate.quantizers.network_export",
        "int8gate.quantizers.toolchains.onnx.stages",
        "int8gate.validation.evaluation",
        "int8gate.validation.cached_results",
        "int8gate.model_zoo.user_models.inspection",
    ],
)
def test_modulefinder_reaches_the_same(tree, stripped, root):
    finder = ModuleFinder([str(stripped)])
    finder.import_hook(root)
    ours = {name for name in finder.modules if name.partition(".")[0] in OURS}
    assert set(tree.code.closure(root).modules) == ours


def test_every_file_is_parsed_once(monkeypatch):
    """The warm gate of the whole zoo takes two seconds: keys must not cost one of them."""
    parsed, parse = [], ast.parse

    def watch(content, *arguments):
        parsed.append(content)
        return parse(content, *arguments)

    monkeypatch.setattr(code_identity.ast, "parse", watch)
    code = Code()
    for _ in range(2):
        for asked in ROOTS:
            code.identity(*asked)
    assert len(parsed) <= len(MODULES)
    assert len(parsed) == len({name for asked in ROOTS for name in code.closure(*asked).modules})


RUN = """
import pickle, sys
from pathlib import Path
function, arguments = pickle.loads(Path(sys.argv[1]).read_bytes())
function(*arguments)
print(*sorted(name for name in sys.modules if name.partition(".")[0] in sys.argv[2].split()))
"""
HOOKS = """
import team_scaling
def unit(pixels):
    return team_scaling.scaled(pixels)
"""
SCALING = "def scaled(pixels):\n    return pixels / 255\n"


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Path:
    """Labelled pictures, a model, hooks with a helper beside them."""
    folder = tmp_path_factory.mktemp("team")
    rng = np.random.default_rng(0)
    for number in range(24):
        picture = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        write(folder / "pictures" / f"class{number % 5}" / f"{number}.png", picture)
    onnx_files.save(onnx_files.cnn(), folder / "gadget.onnx")
    (folder / "team_hooks.py").write_text(HOOKS)
    (folder / "team_scaling.py").write_text(SCALING)
    np.save(folder / "samples.npy", rng.random((8, 16, 16, 3), dtype=np.float32))
    return folder


def loaded(folder: Path, function, *arguments) -> set[str]:
    """Our modules and the team's that a process loads which does nothing but call `function`."""
    task = folder / "task"
    task.write_bytes(pickle.dumps((function, arguments)))
    command = [sys.executable, "-c", RUN, str(task), " ".join([*OURS, "team_hooks team_scaling"])]
    paths = environment()
    paths["PYTHONPATH"] = f"{ROOT}:{folder}"
    done = subprocess.run(
        command, cwd=folder, env=paths, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_what_a_stage_loads_is_reached(team, tmp_path):
    pictures = [
        open_data(team / "pictures", "classification", split, Fit((16, 16)), classes=5)
        for split in ("calibration", "evaluation")
    ]
    hooked = Hooked(0.0, 255.0, "team_hooks:unit")
    decode = "int8gate.model_zoo.user_models.decoding:rows"
    network = Network("", (16, 16, 3), (16, 16), 5)
    scoring = Scoring(pictures[1], hooked, ("top1",), network, decode)
    model, of_pictures = team / "gadget.onnx", type(pictures[0]).__module__
    (tmp_path / "kept").mkdir()
    recipe = RECIPES["onnx_dynamic_int8"]
    code = Code([str(team), *sys.path])
    runs = {
        "samples": (
            (samples.prepare, pictures[0], hooked, False, tmp_path),
            ("int8gate.quantizers.sample_stages", *hooked.hooks, of_pictures),
        ),
        "audit": (
            (auditing.findings, *pictures, UNIT, 5, 100),
            ("int8gate.quantizers.auditing", of_pictures),
        ),
        "inspection": (
            (inspection.describe, model, "onnx", (), (), False, None, None, tmp_path),
            stages.INSPECTION.roots,
        ),
        "calibration": (
            (onnx_stages.calibrate, model, team / "samples.npy", tmp_path / "kept", 1, tmp_path),
            toolchains.find("onnx").calibration.roots,
        ),
        "quantization": (
            (onnx_stages.quantize, model, recipe, None, (0, 1), tmp_path),
            toolchains.find("onnx").quantization(recipe).stage.roots,
        ),
        "scores": (
            (evaluate, model, model, scoring, 10, None, tmp_path),
            (*scored_by(("top1",), decode, hooked), of_pictures),
        ),
    }
    for name, (called, asked) in runs.items():
        found, reached = loaded(team, *called), set(code.closure(*asked).modules)
        assert found <= reached, f"{name} loads {sorted(found - reached)}, which it does not reach"
        assert asked[0].partition(":")[0] in found
        if hooked in called or scoring in called:
            assert {"team_hooks", "team_scaling"} <= found


def test_a_helper_beside_a_hook_counts(team):
    asked = scored_by(("top1",), None, Hooked(0.0, 255.0, "team_hooks:unit"))
    code = Code([str(team), *sys.path])
    before = code.identity(*asked)
    helper = team / "team_scaling.py"
    helper.write_text(SCALING.replace("255", "127"))
    try:
        assert code.identity(*asked) != before
    finally:
        helper.write_text(SCALING)
    assert code.identity(*asked) == before
