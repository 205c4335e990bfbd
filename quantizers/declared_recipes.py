"""Recipes that a team's TOML declares: those of ours, with single operators of other widths.

[recipes.gadget_int8]
base = "tflite_int8+cle"
int16 = ["head/*", "conv_1"]         # globs of operators' names, as the record has them
float32 = ["conv_2"]                 # likewise int4, float16; where several match, the widest
"""

from __future__ import annotations

from pathlib import Path

from int8gate.engine.plugins import PYPROJECT
from int8gate.model_zoo.registry import zoo
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.user_models import toml_file
from int8gate.quantizers.recipe import recipe, register


def register_recipes(file: Path) -> None:
    """Makes the recipes of a TOML known, also of the files that a `pyproject.toml` lists.

    Raises ValueError naming file and table where the base is unknown or the name is taken.
    """
    for name, (where, table) in toml_file.recipe_tables(file).items():
        try:
            register(recipe(table.base).with_widths(name, table.widths))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def declared_model(name: str, file: Path | None) -> ModelSpec:
    """One model by name, see `toml_file.spec_of`; the recipes beside it are known then."""
    if file or name not in zoo():
        register_recipes(file or Path(PYPROJECT))
    return toml_file.spec_of(name, file)
