"""What declarations name as ``module:name``, looked up where it is used."""

from __future__ import annotations

import importlib
from typing import Any


def resolve(place: str) -> Any:
    """What ``module:name`` names, a function as a rule; imports the module."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def class_name(thing: object) -> str:
    """``module:Class`` of a thing: that of a module which was loaded again is the same."""
    return f"{type(thing).__module__}:{type(thing).__qualname__}"
