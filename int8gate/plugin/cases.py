"""Which cases a run has, and in which of them each gate is a test."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from int8gate.model_zoo.spec import ModelSpec
from int8gate.plugin.models import FULL_ALONE, MODELS, models_of
from int8gate.plugin.options import DEFAULT_RECIPE
from int8gate.plugin.xfails import xfail_marks
from int8gate.quantizers.recipe import may_be_named, recipe, trained_recipes
from int8gate.targets.registry import DEFAULTS, HOST, check_target, taking
from int8gate.validation.expectations import expectations_of

ON_TARGETS = "npu_speedup"  # the gate that is a test for each NPU
ON_HOST = "cpu_speedup"


def check_choice(config: pytest.Config) -> None:
    """Raises ValueError for a recipe, a target or a case of the command line that is unknown, and
    where no case is left.
    """
    option, models = config.getoption, config.stash[MODELS].values()
    for name in option("int8_recipe") or ():
        if name != DEFAULT_RECIPE:
            recipe(name)
    for name in option("int8_target") or ():
        check_target(name)
    known = [case_id(spec, name) for spec in models for name in offered(config, spec)]
    for case in option("int8_case") or ():
        if not fnmatch.filter(known, case):
            for name in config.stash[FULL_ALONE]:
                if case.startswith(f"{name}-"):
                    raise ValueError(f"{name} has the full profile alone: add --profile full")
            near = difflib.get_close_matches(case, known, 3) or known[:3]
            raise ValueError(f"--int8-case {case}: no such case: did you mean {', '.join(near)}?")
    if known and not any(True for spec in models for _ in _recipes_of(config, spec)):
        chosen = " ".join(
            f"--int8-{name} {value}"
            for name in ("case", "recipe")
            for value in option(f"int8_{name}") or ()
        )
        declared = ", ".join(sorted({name for spec in models for name in spec.recipes}))
        raise ValueError(f"{chosen}: leaves no case: the models of this run declare {declared}")


@dataclass(frozen=True)
class Gate:
    """A gate of a case: a test, on one target where it is an NPU's."""

    spec: ModelSpec
    recipe: str
    name: str
    target: str | None = None

    @property
    def case(self) -> tuple[str, str, str, str]:
        """What the case's record is kept by: model, recipe, task, source format."""
        return self.spec.name, self.recipe, self.spec.task, self.spec.source_format

    @property
    def label(self) -> str:
        """What stands in the brackets of the test's id."""
        return "-".join(filter(None, (case_id(self.spec, self.recipe), self.target)))

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.label


def gates_of(config: pytest.Config, spec: ModelSpec) -> list[Gate]:
    """The gates of a model with the recipes and on the targets that the command line asks for."""
    targets, found = targets_of(config, spec), []
    for name in _recipes_of(config, spec):
        npus = taking(recipe(name).toolchain, targets)
        for gate in recipe(name).gates:
            if gate == ON_TARGETS:
                found += [Gate(spec, name, gate, npu) for npu in npus]
            elif gate != ON_HOST or HOST in targets:
                found.append(Gate(spec, name, gate))
    return found


def parameters(config: pytest.Config, file: Path, gate_name: str) -> list:
    """What the test of a gate is parametrized with, of the models that a collected file stands for:
    (model, recipe), and the target of a gate that has one for each.
    """
    return [
        _parameter(config, gate)
        for spec in models_of(config, file)
        for gate in gates_of(config, spec)
        if gate.name == gate_name
    ]


def gate_of(function) -> str:
    """The gate that a test is, as in the record: `test_size` is `size`."""
    return function.__name__.removeprefix("test_")


def case_id(spec: ModelSpec, recipe_name: str) -> str:
    return f"{spec.name}-{recipe_name}"


def has_test(config: pytest.Config, case: str, gate: str | None) -> bool:
    """Whether a run like this one, told of the case alone, has a test of the gate (of any)."""
    return any(
        fnmatch.fnmatchcase(case_id(spec, name), case)
        and (gate is None or gate in recipe(name).gates)
        and (gate != ON_TARGETS or _has_target(config, spec, name))
        for spec in config.stash[MODELS].values()
        for name in offered(config, spec)
    )


def offered(config: pytest.Config, spec: ModelSpec) -> Iterator[str]:
    """The model's recipes; those that train, under `--train`; those that the command line names, of
    remedies, of training, of int4 weights.
    """
    yield from spec.recipes
    trained = trained_recipes(spec.recipes) if config.getoption("int8_train") else []
    yield from trained
    cases = (each.partition("-") for each in config.getoption("int8_case") or ())
    named = [name for model, _, name in cases if model == spec.name]
    for name in dict.fromkeys((*(config.getoption("int8_recipe") or ()), *named)):
        base, *remedies = name.split("+")
        if name in (*spec.recipes, *trained):
            continue
        if may_be_named(name, spec.recipes) or (remedies and base in spec.recipes):
            yield recipe(name).name


def _has_target(config: pytest.Config, spec: ModelSpec, recipe_name: str) -> bool:
    return bool(taking(recipe(recipe_name).toolchain, targets_of(config, spec)))


def _recipes_of(config: pytest.Config, spec: ModelSpec) -> Iterator[str]:
    """The model's recipes that the command line asks for, all of them when it names none."""
    recipes, cases = config.getoption("int8_recipe"), config.getoption("int8_case")
    named = {spec.default_recipe if name == DEFAULT_RECIPE else name for name in recipes or ()}
    for name in offered(config, spec):
        if (not recipes or name in named) and (
            not cases or any(fnmatch.fnmatchcase(case_id(spec, name), case) for case in cases)
        ):
            yield name


def targets_of(config: pytest.Config, spec: ModelSpec) -> tuple[str, ...]:
    """Those of the command line, of the model's own declaration, or the usual ones."""
    chosen = config.getoption("int8_target")
    return tuple(chosen or (spec.own and spec.own.targets) or DEFAULTS)


def _parameter(config: pytest.Config, gate: Gate):
    case = (gate.spec.name, gate.recipe)
    values = [case] if gate.target is None else [case, gate.target]
    profile = config.getoption("int8_profile")
    marks = xfail_marks(expectations_of(gate.spec, gate.recipe, profile), gate.name)
    return pytest.param(*values, id=gate.label, marks=marks)
