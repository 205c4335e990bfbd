"""From the outputs of a team's own model of arrays to what its task's metric takes.

Called as the functions of `decoding` are; one that has a third parameter `inputs` gets what the
network was fed, too: a list of arrays (n, ...) in the order of its inputs.
"""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.spec import Network


def values(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """The first output as (n, values)."""
    return outputs[0].reshape(len(outputs[0]), -1)


def anomaly_scores(
    outputs: list[np.ndarray], declared: Network, inputs: list[np.ndarray]
) -> np.ndarray:
    """Scores (n,): a first output of one number as it is; one of the first input's shape is its
    reconstruction, whose mean squared error is the score.

    Raises ValueError for other outputs.
    """
    first, fed = outputs[0], inputs[0]
    if first[0].size == 1:
        return first.reshape(-1)
    if first[0].size != fed[0].size:
        raise ValueError(
            f"task anomaly: the first output is {first.shape[1:]}, expected one score, or the "
            f"input's reconstruction {fed.shape[1:]}: add decode, a function that makes (n,) of it"
        )
    apart = first.reshape(len(first), -1) - fed.reshape(len(fed), -1).astype(np.float32)
    return np.square(apart).mean(axis=1)
