"""What declarations name as ``module:name``, looked up where it is used."""

from __future__ import annotations

import importlib
from typing import Any


def resolve(place: str) -> Any:
    """What ``module:name`` names, a function as a rule; imports the module."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
