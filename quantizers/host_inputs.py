"""What reaches the network that is quantized, behind the host's part: what it is calibrated on.

Behind a loop it is what every step feeds it: ranges of the first step, of noise, are not those of
the last (Li et al., "Q-Diffusion", 2023). Of a step of generation it is what the calls of it get,
its cache too. Runs in the worker process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.weights import Weights
from int8gate.quantizers.calibration.sample_file import SampleFile
from int8gate.runtimes.artifact import NETWORK_INPUTS, PROGRAM
from int8gate.runtimes.denoising_loop import DenoisingLoop
from int8gate.runtimes.hosts import open_host
from int8gate.runtimes.sessions import open_session

MOST_CALLS = 1000  # of the float network in a loop; a real pipeline's take seconds each
LEAST_PROMPTS = 8
KEPT_CALLS = 400  # calibration's samples behind a loop


def network_inputs(exported: Path, samples: Path, directory: Path) -> None:
    """Writes `directory`/network_inputs.npz: the network's inputs, (n, ...) each, in its order.

    `samples` (.npy, or .npz of several arrays, (n, ...)) are inputs of the whole model.
    """
    drawn, host = SampleFile(samples), open_host(exported)
    if isinstance(host, DenoisingLoop):
        rows = list(_of_loop(host, exported, drawn))
    else:
        rows = [host.before(drawn.sample(number)) for number in range(len(drawn))]
    _write(rows, directory)


def inputs_of_calls(
    spec: ModelSpec, profile: str, weights: Weights, seed: int, samples: Path, directory: Path
) -> None:
    """Writes `directory`/network_inputs.npz of a network that has `calls`, which get all samples.

    It computes in PyTorch, on one thread, with the weights that are exported.
    """
    from int8gate.quantizers.toolchains.onnx.from_torch import built
    from int8gate.runtimes.torch_program import one_thread

    network, drawn = spec.network(profile), SampleFile(samples)
    assert network.calls is not None  # of a step of generation
    tokens = np.concatenate([drawn.sample(number)[0] for number in range(len(drawn))])
    step = built(spec, profile, weights, seed)
    with one_thread():
        _write(list(resolve(network.calls)(step, tokens)), directory)


def _write(rows: list[list[np.ndarray]], directory: Path) -> None:
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    np.savez(directory / NETWORK_INPUTS, *columns)


def _of_loop(host: DenoisingLoop, exported: Path, drawn: SampleFile) -> Iterator[list[np.ndarray]]:
    """Calls of the float network, a batch of 1 each: every step as often as every other, of as many
    prompts as `MOST_CALLS` allow.
    """
    network = open_session(exported / PROGRAM)
    prompts = min(len(drawn), max(LEAST_PROMPTS, MOST_CALLS // host.calls))
    each = min(host.calls, math.ceil(KEPT_CALLS / prompts))
    for prompt in range(prompts):
        # Evenly over the loop, and a call later with each prompt.
        kept = {(prompt + place * host.calls // each) % host.calls for place in range(each)}
        calls, numbers = [], count()

        def recorded(*inputs, kept=kept, calls=calls, numbers=numbers):
            if next(numbers) in kept:
                calls.append([value.copy() for value in inputs])
            return network.predict(*inputs)

        host.outputs(recorded, host.before(drawn.sample(prompt)))
        yield from calls
