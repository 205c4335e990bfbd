"""Which models a run has: those of the zoo, and a team's own (`--zoo`, `[tool.int8gate]`)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from model_zoo.own.declaration import OwnModel
from model_zoo.own.hooks import check_hook
from model_zoo.own.resolve import declared_spec
from model_zoo.own.toml_file import PYPROJECT, read_pyproject, read_zoo
from model_zoo.registry import zoo
from model_zoo.spec import ModelSpec
from quantizers.recipe import recipe
from runtimes.targets import check_target
from validation.expectations import check_entry

GATES = Path(__file__).with_name("gates.py")
BUILT_IN = "builtin"  # what `--zoo` takes to add the zoo's models in another repository
MODELS = pytest.StashKey[dict[str, ModelSpec]]()


def find_models(config: pytest.Config) -> dict[str, ModelSpec]:
    """Every model of the run by name; the zoo's own stand first where they belong.

    Raises ValueError or OSError naming the file, the table and the key that is wrong.
    """
    asked = config.getoption("--zoo") or []
    files = [Path(path) for path in asked if path != BUILT_IN]
    own = [model for file in files for model in read_zoo(file)]
    for file in files:
        find_hooks_in(file.absolute().parent)
    settings = config.rootpath / PYPROJECT
    if not asked and settings.is_file():
        own += read_pyproject(settings)
        find_hooks_in(config.rootpath)
    models = dict(zoo()) if _is_ours(config) or BUILT_IN in asked or not own else {}
    for model in own:
        if model.name in models or model.name in zoo():
            where = "in the zoo" if model.name in zoo() else "declared twice"
            raise ValueError(f"{model.where}: the name {model.name} is {where}: choose another")
        _check(model)
        models[model.name] = declared_spec(model)
    return models


def collect_gates(config: pytest.Config) -> None:
    """In another repository the gates are collected beside its own tests.

    Not where the command line names tests and no `--zoo`: then these are what is wanted.
    """
    has_own = any(spec.own for spec in config.stash[MODELS].values())
    named = config.args_source == config.ArgsSource.ARGS
    asked = config.getoption("--zoo")
    if _is_ours(config) or not (asked or (has_own and not named)):
        return
    if str(GATES) not in config.args:
        config.args = [*config.args, str(GATES)]


def remember_failed_gates(config: pytest.Config) -> None:
    """`--last-failed` passes over files without a failure; a gate's id outside the root folder
    begins with `::` and names no file.
    """
    plugin = config.pluginmanager.get_plugin("lfplugin")
    paths = getattr(plugin, "_last_failed_paths", None)  # None without --last-failed
    if paths is not None and any(str(failed).startswith("::") for failed in plugin.lastfailed):
        paths.add(GATES)


def find_hooks_in(folder: Path) -> None:
    """Modules that a declaration names stand beside it; worker processes take over the path."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def declared_metrics(models: Iterable[ModelSpec]) -> frozenset[str]:
    """The metrics (``module:NAME``) that users' own declarations name."""
    return frozenset(spec.own.metric for spec in models if spec.own and spec.own.metric)


def _is_ours(config: pytest.Config) -> bool:
    """A checkout of int8gate, which collects the gates by itself."""
    return (config.rootpath / "tests" / "zoo" / "test_gates.py").is_file()


def _check(model: OwnModel) -> None:
    for names, check in ((model.recipes, recipe), (model.targets, check_target)):
        for name in names:
            try:
                check(name)
            except ValueError as error:
                raise ValueError(f"{model.where}: {error}") from error
    check_entry(f"{model.where}, expect", model.expect)
    for key, place in model.hooks.items():
        check_hook(model.where, key, place)
