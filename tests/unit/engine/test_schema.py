"""Files of a declared form: what is wrong with one is told by its place, and what it may mean."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import pytest
from pydantic import Field, ValidationInfo, field_validator

from int8gate.engine.schema import Exact, Mistakes, checked, expected

Ratio = Annotated[float, Field(gt=0, lt=1), expected("a number between 0 and 1")]
Names = Annotated[tuple[str, ...], Field(strict=False), expected("a list of names")]


class Part(Exact):
    ratio: Ratio | None = None
    names: Names = ()
    day: date | None = None


class Whole(Exact):
    title: str
    parts: dict[str, Part] = Field(default_factory=dict)

    @field_validator("title")
    @classmethod
    def is_short(cls, title: str, info: ValidationInfo) -> str:
        if len(title) > 9:
            raise ValueError("at most 9 characters")
        return title


def mistakes(content: object) -> list[str]:
    with pytest.raises(Mistakes) as raised:
        checked(Whole, content)
    return [str(mistake) for mistake in raised.value.found]


def part(**fields) -> dict:
    return {"title": "x", "parts": {"one": fields}}


def test_what_is_right_is_read():
    read = checked(Whole, part(ratio=0.5, names=["a", "b"], day=date(2027, 3, 1)))
    assert (read.parts["one"].ratio, read.parts["one"].names) == (0.5, ("a", "b"))


@pytest.mark.parametrize("value", [0, 1, True, "0.5", [0.5], float("nan"), 10**400])
def test_the_words_beside_a_type_stand_for_whatever_is_wrong_with_a_value(value):
    (told,) = mistakes(part(ratio=value))
    assert told.startswith("parts.one: ratio = ")
    assert told.endswith(", expected a number between 0 and 1")


def test_a_mistake_within_a_list_is_the_lists():
    assert mistakes(part(names=["a", 1])) == [
        "parts.one: names = ['a', 1], expected a list of names"
    ]


def test_a_validator_says_what_it_expects():
    assert mistakes({"title": "0123456789"}) == [
        "title = '0123456789', expected at most 9 characters"
    ]


def test_an_unknown_key_comes_first_with_the_one_that_it_may_be():
    assert mistakes({"titel": "x"}) == ["unknown titel; did you mean title?", "title is missing"]
    assert mistakes(part(x=1)) == ["parts.one: unknown x; known: ratio, names, day"]


@pytest.mark.parametrize("day", ["2027-03-01", datetime(2027, 3, 1), 5])
def test_a_date_is_one(day):
    (told,) = mistakes(part(day=day))
    assert told.endswith("expected a date such as 2027-03-01, without quotes")


def test_what_is_no_table_is_named_by_its_place():
    assert mistakes([]) == ["expected a table, found []"]
    assert mistakes({"title": "x", "parts": {"one": 1}}) == ["parts.one: expected a table, found 1"]


def test_it_stays_on_a_line_and_short():
    (told,) = mistakes({"title": "x", "parts": {"a\nb": {"c\nd" * 99: "e\n" * 99}}})
    assert told.startswith(r"parts.'a\nb': unknown 'c\nd")
    (told,) = mistakes({"title": ["e\n"] * 99})
    assert len(told) < 100
    assert "\n" not in told
