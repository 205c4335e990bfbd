"""The form of a team's TOML: what each key of [models.NAME] takes, as types.

What is wrong with a file is told in the order of the keys here; `task` stands before `decode`,
which depends on it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from int8gate.engine.schema import Exact, expected
from int8gate.tasks.registry import names, tasks

HOOK = r"[\w.]+:\w+"


def _task(name: str) -> str:
    if name not in tasks() or not tasks()[name].is_for_users:
        raise ValueError(f"one of {names()}")
    return name


def _decode(place: object, info: ValidationInfo) -> object:
    """A hook, or a head of the task; where that is wrong it is told first."""
    task = info.data.get("task")
    heads = tasks()[task].heads if task else {}
    if not isinstance(place, str) or not (place in heads or re.fullmatch(HOOK, place)):
        known = f" or one of {', '.join(heads)}" if heads else ""
        raise ValueError(f"module:function{known} for task {task}")
    return place


def _distinct(listed: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(listed)) < len(listed):
        raise ValueError("every name once")
    return listed


LIST = Field(strict=False, min_length=1)  # read as a tuple

Text = Annotated[str, Field(pattern=r"\S"), expected("a text")]
Hook = Annotated[str, Field(pattern=f"^{HOOK}$"), expected("a text module:function")]
Texts = Annotated[tuple[Text, ...], LIST, expected("a list of texts")]
Count = Annotated[int, Field(gt=0), expected("a whole number above 0")]
Pixel = Annotated[int, Field(ge=0, le=255), expected("a pixel value, a whole number 0..255")]
Numbers = Annotated[tuple[float, ...], LIST]
Levels = Annotated[float | Numbers, expected("a number, or a list with one for each channel")]
Scale = Annotated[float | Text, expected('a number, or a quotient as "1/255"')]
Pair = Annotated[tuple[float, float], LIST, expected("a list of two numbers, [low, high]")]
Size = Annotated[
    tuple[Count, Count], LIST, expected("a list of two whole numbers, [height, width]")
]
Symbol = Annotated[str, Field(min_length=1)]  # a space, too
Symbols = Annotated[tuple[Symbol, ...], LIST, AfterValidator(_distinct)]
Classes = Annotated[
    Count | Text | Symbols,
    expected("a whole number, a list of names, each once, or a file with one a line"),
]


class QatTable(Exact):
    """[models.NAME.qat]: a trained network and its checkpoint, or a loss to train a file with."""

    network: Hook | None = None
    checkpoint: Text | None = None
    loss: Hook | None = None

    @model_validator(mode="after")
    def _says_something(self) -> QatTable:
        if not self.model_fields_set:
            raise ValueError("network and checkpoint, or loss")
        return self


class Table(Exact):
    """[models.NAME]; None where it lacks a key. `file` may be missing where `qat` has a
    checkpoint.
    """

    file: Text | None = None
    task: Annotated[str, AfterValidator(_task)]
    data: Text | None = None
    labels: Text | None = None
    training_data: Text | None = None
    features: Hook | None = None
    float_file: Text | None = None
    signature: Text | None = None
    inputs: Texts | None = None
    outputs: Texts | None = None
    size: Size | None = None
    channels: Count | None = None
    classes: Classes | None = None
    layout: Text | None = None
    fit: Text | None = None
    interpolation: Text | None = None
    colours: Text | None = None
    crop: float | None = None
    pad: Pixel | None = None
    enlarge: bool | None = None
    scale: Scale | None = None
    mean: Levels | None = None
    std: Levels | None = None
    range: Pair | None = None
    preprocess: Hook | None = None
    decode: Annotated[str | None, BeforeValidator(_decode)] = None
    metric: Hook | None = None
    box_order: Literal["xyxy", "yxyx"] | None = None
    box_unit: Literal["fraction", "pixels"] | None = None
    background: Literal["none", "first", "last"] | None = None
    blank: Literal["first", "last"] | None = None
    recipes: Texts | None = None
    targets: Texts | None = None
    expect: dict | None = None
    qat: QatTable | None = None


class RecipeTable(Exact):
    """[recipes.NAME]: a recipe, with remedies in its name or not, and its operators of other widths
    by name.
    """

    base: Text
    int4: Texts | None = None
    int16: Texts | None = None
    float16: Texts | None = None
    float32: Texts | None = None

    @property
    def widths(self) -> dict[str, tuple[str, ...]]:
        """Globs of operators' names, by width."""
        found = {name: getattr(self, name) for name in type(self).model_fields if name != "base"}
        return {name: globs for name, globs in found.items() if globs}

    @model_validator(mode="after")
    def _names_operators(self) -> RecipeTable:
        if not self.widths:
            raise ValueError("operators in int4, int16, float16 or float32: a list of their names")
        return self


class Declarations(Exact):
    """A file; `plugins` is checked where they are loaded."""

    models: dict[str, dict] = Field(default_factory=dict)
    recipes: dict[str, RecipeTable] = Field(default_factory=dict)
    plugins: Any = None


class Settings(Declarations):
    """[tool.int8gate] of a `pyproject.toml`."""

    zoo: Annotated[tuple[Text, ...], Field(strict=False), expected("a list of files")] = ()
