"""Building graphs with the control flow of TensorFlow 1, as frozen graphs in the wild have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def control_flow_v1() -> Iterator[None]:
    """Loops, conditions and TensorArrays built inside are TF1's; what was set before comes back."""
    from tensorflow.compat import v1  # pyright: ignore[reportMissingImports]

    enabled = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if enabled:
            v1.enable_control_flow_v2()
