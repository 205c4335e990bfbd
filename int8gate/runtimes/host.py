"""What the host runs around the network that is quantized: a part before, one behind, or a loop.

    hosts.open_host(directory)                the host's part of an export
    host.before([sample arrays])              the network's inputs
    host.outputs(predict, inputs)             what the network gives, called once or step by step
    host.after([sample arrays], outputs)      what the whole model gives

Of a TF1 frozen graph it is `tensorflow_graphs.HostGraph`, of a diffusion pipeline
`denoising_loop.DenoisingLoop`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

Predict = Callable[..., list[np.ndarray]]


class Host(ABC):
    """Arrays are real values with a batch axis; `before` and `after` take a batch of 1."""

    has_preprocessing: bool
    has_postprocessing: bool
    output_names: tuple[str, ...] = ()  # of `outputs`; none where they are the network's own

    @abstractmethod
    def before(self, sample: list[np.ndarray]) -> list[np.ndarray]:
        """The network's inputs."""

    @abstractmethod
    def after(self, sample: list[np.ndarray], outputs: list[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs."""

    def outputs(self, predict: Predict, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """What comes of a batch of inputs where `predict` is the network (n, ...)."""
        return predict(*inputs)
