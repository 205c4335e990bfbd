"""Which models a run has: those of the zoo, and a team's own (`--zoo`, `[tool.int8gate]`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from int8gate.engine.plugins import find_modules_in
from int8gate.model_zoo.registry import zoo
from int8gate.model_zoo.spec import ModelSpec
from int8gate.plugin.requested import requested_by

MODELS = pytest.StashKey[dict[str, ModelSpec]]()
MODELS_IN_FILE = pytest.StashKey[dict[Path, list[str]]]()
FULL_ALONE = pytest.StashKey[list[str]]()  # models left out of a run of the compact profile


def find_models(config: pytest.Config) -> dict[str, ModelSpec]:
    """Every model of the run by name; those of the zoo stand first where they belong. Models that
    lack the run's profile are left out and named in `FULL_ALONE`.

    Raises ValueError or OSError naming the file, the table and the key that is wrong.
    """
    requested = requested_by(config)
    profile = config.getoption("int8_profile")
    of_zoo = zoo() if requested.zoo else {}
    models = {name: spec for name, spec in of_zoo.items() if spec.has(profile)}
    config.stash[FULL_ALONE] = [name for name in of_zoo if name not in models]
    in_file: dict[Path, list[str]] = {}
    for file in requested.files:
        declared = _declared_in(file, models)
        models |= declared
        in_file[file] = list(declared)
    config.stash[MODELS_IN_FILE] = in_file
    return models


def models_of(config: pytest.Config, file: Path) -> list[ModelSpec]:
    """The models that a collected file stands for: those that it declares, or the zoo."""
    models = config.stash[MODELS]
    if file in config.stash[MODELS_IN_FILE]:
        return [models[name] for name in config.stash[MODELS_IN_FILE][file]]
    return [spec for spec in models.values() if not spec.own]


def declared_metrics(models: Iterable[ModelSpec]) -> frozenset[str]:
    """The metrics (``module:NAME``) that users' own declarations name."""
    return frozenset(spec.own.metric for spec in models if spec.own and spec.own.metric)


def _declared_in(file: Path, taken: Iterable[str]) -> dict[str, ModelSpec]:
    """The models of a TOML. What reads them is loaded for such a run alone."""
    from int8gate.model_zoo.user_models.resolve import declared_spec
    from int8gate.model_zoo.user_models.toml_file import read_tables
    from int8gate.model_zoo.user_models.user_hooks import check_hook
    from int8gate.quantizers.declared_recipes import register_recipes
    from int8gate.quantizers.recipe import recipe
    from int8gate.targets.registry import check_target
    from int8gate.validation.expectations import OWN_KEYS, check_entry

    found: dict[str, ModelSpec] = {}
    declared = read_tables(file)
    register_recipes(file)
    find_modules_in(file.parent)
    for own in declared:
        if own.name in taken or own.name in found or own.name in zoo():
            where = "in the zoo" if own.name in zoo() else "declared twice"
            raise ValueError(f"{own.where}: the name {own.name} is {where}: choose another")
        for names, check in ((own.recipes, recipe), (own.targets, check_target)):
            for name in names:
                try:
                    check(name)
                except ValueError as error:
                    raise ValueError(f"{own.where}: {error}") from error
        check_entry(f"{own.where}, expect", own.expect, OWN_KEYS)
        for key, place in own.hooks.items():
            check_hook(own.where, key, place)
        found[own.name] = declared_spec(own)
    return found
