"""The zoo: every declared model by name."""

from __future__ import annotations

import difflib
from functools import cache

from model_zoo.spec import ModelSpec


@cache
def zoo() -> dict[str, ModelSpec]:
    """Every model by name, in the order of the task files."""
    from model_zoo import classification, segmentation

    declared = [*classification.MODELS, *segmentation.MODELS]
    return {spec.name: spec for spec in declared}


def model(name: str) -> ModelSpec:
    """The model of that name; raises ValueError naming the nearest ones."""
    if name not in zoo():
        near = difflib.get_close_matches(name, zoo(), n=3, cutoff=0.4) or sorted(zoo())
        raise ValueError(
            f"no model {name!r} in the zoo: did you mean {', '.join(near)}? (see `int8gate list`)"
        )
    return zoo()[name]
