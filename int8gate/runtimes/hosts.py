"""The host's part of an export, by what the export's directory holds."""

from __future__ import annotations

from pathlib import Path

from int8gate.runtimes.denoising_loop import LOOP, DenoisingLoop
from int8gate.runtimes.host import Host


def open_host(directory: Path) -> Host:
    """What runs on the host around the network of an export that was cut."""
    if (directory / LOOP).is_file():
        return DenoisingLoop(directory)
    from int8gate.runtimes.tensorflow_graphs import HostGraph  # TensorFlow, for these models alone

    return HostGraph(directory)
