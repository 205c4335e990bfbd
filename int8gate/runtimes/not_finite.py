"""What a model gives that is no number: refused where it is scored or read, and named by output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class NotFinite(ValueError):
    """What was to be scored or read holds NaN, or infinity where that is no score."""


def refuse_not_finite(values: np.ndarray, purpose: str = "score", infinity: bool = False) -> None:
    """Raises NotFinite where the outputs, of any shape and dtype, hold NaN or infinity.

    `purpose` is what they are for, a verb. `infinity`: that may stand in them, as in logits.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return
    if np.isnan(values).any() if infinity else not np.isfinite(values).all():
        held = "NaN" if infinity else "NaN or infinity"
        raise NotFinite(f"outputs hold {held}: the model is broken, there is nothing to {purpose}")


def which_output(outputs: Sequence[np.ndarray], names: Sequence[str], first_sample: int) -> str:
    """The sentence for a batch of outputs (n, ...), whose first is so manyth of all samples, of
    which `refuse_not_finite` refused what was made: the outputs that hold NaN, else infinity.
    """
    for held, is_held in (("NaN", np.isnan), ("infinity", np.isinf)):
        told = []
        for name, values in zip(names, outputs, strict=True):
            if not np.issubdtype(values.dtype, np.floating):
                continue
            bad = np.flatnonzero(is_held(values).reshape(len(values), -1).any(axis=1))
            if len(bad):
                which = f"{len(bad)} of {len(values)} samples, first on number"
                told.append(f"output {name} holds {held} on {which} {first_sample + bad[0]}")
        if told:
            return f"{', '.join(told)}: the model is broken, there is nothing to score"
    listed = ", ".join(names)
    return (
        f"the outputs ({listed}) are finite, and what is made of them for scoring is not: look at "
        "decode for a division by zero or a logarithm"
    )
