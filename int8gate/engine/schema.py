r"""Files of a declared form: types by pydantic, and what is wrong with a file in a sentence.

    class Size(Exact):
        float: Whole | None = None
        quantized: Whole

    checked(Size, content)      raises Mistakes; `each.place`, `each.told` of what is wrong

    Hook = Annotated[str, Field(pattern=r"^\w+:\w+$"), expected('a function as "module:name"')]

pydantic takes a tenth of a second: modules that import this one are loaded where a file is read.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator

from int8gate.engine.errors import instead, on_a_line

EXPECTED = {  # by pydantic's names of what is wrong
    "bool_type": "true or false",
    "date_type": "a date such as 2027-03-01, without quotes",
    "dict_type": "a table",
    "finite_number": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a table",
    "string_type": "a text",
}
LONGEST = 60  # characters of a value that is shown


class Exact(BaseModel):
    """The fields that are named, of exactly their types, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Open(BaseModel):
    """The fields that are named, of exactly their types, and others beside them."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Mistake:
    """`place` leads to what `told` is about: keys of tables, numbers within lists."""

    place: tuple[str | int, ...]
    told: str

    def __str__(self) -> str:
        """`cases[3].size_bytes: quantized = '12', expected a whole number`."""
        parts = (
            f"[{part}]" if isinstance(part, int) else f".{on_a_line(part)}" for part in self.place
        )
        place = "".join(parts).removeprefix(".")
        return f"{place}: {self.told}" if place else self.told


class Mistakes(ValueError):
    """What is wrong with a content, in the order of its form."""

    def __init__(self, found: list[Mistake]):
        super().__init__("; ".join(map(str, found)))
        self.found = found


Form = TypeVar("Form", bound=BaseModel)


def expected(words: str) -> WrapValidator:
    """Stands beside a type: whatever is wrong with a value, the words say what was expected."""

    def check(value: object, of_type: Callable[[object], object]) -> object:
        try:
            return of_type(value)
        except ValidationError:
            raise ValueError(words) from None

    return WrapValidator(check)


def checked(form: type[Form], content: object) -> Form:
    """The content in its form. Raises Mistakes, unknown keys first: one may be a missing one.

    A validator of a form raises ValueError with what it expects.
    """
    try:
        return form.model_validate(content)
    except ValidationError as error:
        found = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        raise Mistakes([_mistake(each, form) for each in found]) from None


def _mistake(error: dict, form: type[BaseModel]) -> Mistake:
    *place, last = error["loc"] or ("",)
    kind, value = error["type"], _short(repr(error["input"]))
    key = _short(on_a_line(str(last)))
    if kind == "missing":
        return Mistake((*place,), f"{key} is missing")
    if kind == "extra_forbidden":
        return Mistake((*place,), f"unknown {key}; {instead(str(last), _keys(form, place))}")
    if EXPECTED.get(kind) == "a table":
        return Mistake(error["loc"], f"expected a table, found {value}")
    context = error.get("ctx", {})
    words = EXPECTED.get(kind) or context.get("error") or context.get("expected") or error["msg"]
    return Mistake((*place,), f"{key} = {value}, expected {words}")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _keys(form: type[BaseModel], place: list) -> list[str]:
    """The fields of the table at a place of a form."""
    for part in place:
        inner = form.model_fields[part].annotation if part in form.model_fields else None
        form = next(_forms(inner), form)
    return [field.alias or name for name, field in form.model_fields.items()]


def _forms(annotation: object) -> Iterator[type[BaseModel]]:
    """The forms within `Size | None`, `list[Case]` or `dict[str, Npu]`."""
    if get_origin(annotation) in (Union, types.UnionType, list, dict):
        for part in get_args(annotation):
            yield from _forms(part)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
